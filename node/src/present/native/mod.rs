//! The native API: how the node is, which streams there are, and questions to one region or all of them.

mod asked;
mod ledger;
mod openapi;
mod read;
mod ready;
mod reveal;
mod search;
pub(in crate::present) mod shown;
mod state;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;

use super::desk::Desk;
use super::errors::PresentError;
use crate::receive::{Failure, native_failure};

/// Routes by path; every one stands in the API document.
pub(super) type Listed = Vec<(&'static str, MethodRouter<Arc<Desk>>)>;

/// The native port besides ingest and administration.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let routes = listed().into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method));
    routes.fallback(no_route).method_not_allowed_fallback(no_route).with_state(desk)
}

pub(super) fn listed() -> Listed {
    vec![
        ("/healthz", get(state::health)),
        ("/readyz", get(ready::ready)),
        ("/readyz/ingest", get(ready::for_ingest)),
        ("/readyz/search", get(ready::for_search)),
        ("/metrics", get(state::metrics)),
        ("/api/v1/openapi.json", get(openapi::document)),
        ("/api/v1/status", get(state::status)),
        ("/api/v1/whoami", get(state::whoami)),
        ("/api/v1/ledger", get(ledger::entries)),
        ("/api/v1/reveal", post(reveal::reveal)),
        ("/api/v1/search", post(search::search)),
        ("/api/v1/streams", get(streams::list).post(streams::create)),
    ]
}

/// An answer or its failure, in the native shape.
pub(super) fn told(outcome: Result<Value, Failure>) -> Response {
    match outcome {
        Ok(body) => axum::Json(body).into_response(),
        Err(failure) => native_failure(&failure),
    }
}

pub(super) use read::Body;
pub(super) use state::about_keys;
pub(super) use streams::about as streams_about;

async fn no_route(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let path = uri.path().chars().take(80).collect();
    told(Err(PresentError::NoRoute { method: method.to_string(), path }.into()))
}

#[cfg(test)]
mod native_test;
