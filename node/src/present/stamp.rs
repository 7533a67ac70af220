//! `Domicile-Ledger-Checkpoint` in every response: the newest checkpoint of this node's ledger in one line, so that every client that
//! keeps its answers is a witness too. Origin, size, root and signature stand in it as in the signed note.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

use crate::audit::Ledger;

/// The header.
const CHECKPOINT: &str = "domicile-ledger-checkpoint";

/// Adds the header to whatever is answered, refusals included.
pub(crate) async fn stamp(State(ledger): State<Arc<Ledger>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&ledger.stamp()) {
        response.headers_mut().insert(CHECKPOINT, value);
    }
    response
}
