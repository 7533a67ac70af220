//! The native API: how the node is, and questions to one region or all of them.

mod search;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::desk::Desk;

/// Health, metrics, status and search.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/healthz", get(state::health))
        .route("/readyz", get(state::health))
        .route("/metrics", get(state::metrics))
        .route("/api/v1/status", get(state::status))
        .route("/api/v1/whoami", get(state::whoami))
        .route("/api/v1/search", post(search::search))
        .with_state(desk)
}
