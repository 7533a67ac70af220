//! The ingest door of the native API: JSON lines and plain text lines into one stream.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;

use super::answer;
use super::arrival::{Content, Door};
use super::elastic::{Wanted, parameter, take};
use super::inlet::Inlet;

/// `POST /api/v1/ingest/{stream}`: `text/plain` is one event a line, everything else one JSON object a line. The access key
/// decides the tenant.
pub(crate) fn router(inlet: Inlet) -> Router {
    Router::new()
        .route("/api/v1/ingest/{stream}", post(ingest))
        .route("/api/v1/ingest/{stream}/", post(ingest))
        .method_not_allowed_fallback(async || answer::wrong_method(answer::native_failure, "POST"))
        .layer(DefaultBodyLimit::disable())
        .with_state(inlet)
}

async fn ingest(
    State(inlet): State<Inlet>,
    Path(stream): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let began = tokio::time::Instant::now();
    let refresh = parameter(query.as_deref(), "refresh").is_some_and(|value| value == "true" || value.is_empty());
    let wanted = Wanted { target: Some(stream), id: None, content: content_of(&headers), refresh };
    let reply = take(&inlet, Door::Native, wanted, headers, body).await;
    answer::native(&reply, began.elapsed())
}

fn content_of(headers: &HeaderMap) -> Content {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media.trim_start().to_ascii_lowercase().starts_with("text/") { Content::TextLines } else { Content::JsonLines }
}
