//! The ingest door of the Elasticsearch API, at the root of its own port. Searching is `present`'s.

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use super::answer;
use super::arrival::{Arrival, Content, Door};
use super::body;
use super::errors::ReceiveError;
use super::filter_path;
use super::inlet::Inlet;
use super::reply::{Action, Failure, Reply};
use crate::limits::MAX_BATCH_ID_BYTES;

/// The endpoints that take records. Wrap the whole port in [`product`].
pub(crate) fn router(inlet: Inlet) -> Router {
    let bulk = || -> MethodRouter<Inlet> { post(bulk).put(bulk) };
    let bulk_into = || -> MethodRouter<Inlet> { post(bulk_into).put(bulk_into) };
    Router::new()
        .route("/_bulk", bulk())
        .route("/_bulk/", bulk())
        .route("/{index}/_bulk", bulk_into())
        .route("/{index}/_bulk/", bulk_into())
        .route("/{index}/_doc", post(doc))
        .route("/{index}/_doc/", post(doc))
        .route("/{index}/_doc/{id}", post(doc_by_id).put(doc_by_id))
        .route("/{index}/_create/{id}", post(create_by_id).put(create_by_id))
        .method_not_allowed_fallback(async || answer::wrong_method(answer::elastic_failure, "POST, PUT"))
        .layer(DefaultBodyLimit::disable())
        .with_state(inlet)
}

/// Clients refuse a server that does not name itself so on every response; a compatibility header, no claim of origin.
pub(crate) async fn product(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
    response
}

async fn bulk(State(inlet): State<Inlet>, RawQuery(query): RawQuery, headers: HeaderMap, body: Body) -> Response {
    take_bulk(&inlet, None, query.as_deref(), headers, body).await
}

async fn bulk_into(
    State(inlet): State<Inlet>,
    Path(index): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take_bulk(&inlet, Some(index), query.as_deref(), headers, body).await
}

async fn take_bulk(
    inlet: &Inlet,
    index: Option<String>,
    query: Option<&str>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let began = tokio::time::Instant::now();
    let filter = parameter(query, "filter_path");
    if filter.as_deref().is_some_and(|filter| !filter_path::is_bounded(filter)) {
        let error = ReceiveError::Malformed { what: "filter_path", expected: filter_path::BOUNDS };
        return answer::elastic_failure(&error.into());
    }
    let wanted = Wanted { target: index, id: None, content: Content::Bulk, refresh: refresh(query) };
    let reply = take(inlet, Door::Elastic, wanted, headers, body).await;
    answer::bulk(&reply, began.elapsed(), filter.as_deref())
}

async fn doc(
    State(inlet): State<Inlet>,
    Path(index): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let action = action_of(query.as_deref());
    let wanted =
        Wanted { target: Some(index), id: None, content: Content::Single(action), refresh: refresh(query.as_deref()) };
    answer::document(&take(&inlet, Door::Elastic, wanted, headers, body).await)
}

async fn doc_by_id(
    State(inlet): State<Inlet>,
    Path((index, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let content = Content::Single(action_of(query.as_deref()));
    let wanted = Wanted { target: Some(index), id: Some(id), content, refresh: refresh(query.as_deref()) };
    answer::document(&take(&inlet, Door::Elastic, wanted, headers, body).await)
}

async fn create_by_id(
    State(inlet): State<Inlet>,
    Path((index, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let content = Content::Single(Action::Create);
    let wanted = Wanted { target: Some(index), id: Some(id), content, refresh: refresh(query.as_deref()) };
    answer::document(&take(&inlet, Door::Elastic, wanted, headers, body).await)
}

/// What path and query say about a body.
pub(super) struct Wanted {
    pub(super) target: Option<String>,
    pub(super) id: Option<String>,
    pub(super) content: Content,
    pub(super) refresh: bool,
}

/// Reads a body and sends it down the line: first the sender, then the bytes.
pub(super) async fn take(inlet: &Inlet, door: Door, wanted: Wanted, headers: HeaderMap, body: Body) -> Reply {
    // Strangers are turned away before their body.
    if let Err(failure) = inlet.knock(&headers) {
        return Reply::Failed(failure);
    }
    // Who waits for leave to send its body has not sent it.
    let is_on_its_way = !headers.contains_key(header::EXPECT);
    let mut body = body.into_data_stream();
    match arrive(inlet, door, wanted, headers, &mut body).await {
        Ok(reply) => reply,
        Err(failure) => {
            if is_on_its_way {
                body::pass_over(&mut body).await;
            }
            Reply::Failed(failure)
        }
    }
}

async fn arrive(
    inlet: &Inlet,
    door: Door,
    wanted: Wanted,
    headers: HeaderMap,
    body: &mut BodyDataStream,
) -> Result<Reply, Failure> {
    let batch = batch_id(&headers)?;
    let (body, room) = body::read(inlet, &headers, body).await?;
    let received_at = inlet.clock().now();
    let arrival = Arrival {
        door,
        headers,
        target: wanted.target.map(Into::into),
        id: wanted.id.map(Into::into),
        batch,
        content: wanted.content,
        body,
        refresh: wanted.refresh,
        received_at,
        room,
    };
    Ok(inlet.send(arrival).await)
}

fn batch_id(headers: &HeaderMap) -> Result<Option<Box<str>>, ReceiveError> {
    let Some(value) = headers.get(BATCH) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_BATCH_ID_BYTES).contains(&text.len()));
    let expected = "1 to 128 visible ASCII characters";
    text.map(|text| Some(text.into())).ok_or(ReceiveError::Malformed { what: "X-Domicile-Batch", expected })
}

/// A parameter of the query, percent-decoded; the last one wins.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.rev().find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
}

fn decoded(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (ahead.next().map(char::from), ahead.next().map(char::from));
        match (byte, digits) {
            (b'%', (Some(high), Some(low))) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let nibble = |digit: char| digit.to_digit(16).unwrap_or(0);
                out.push(u8::try_from(nibble(high) * 16 + nibble(low)).unwrap_or(b'?'));
                bytes = ahead;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn refresh(query: Option<&str>) -> bool {
    parameter(query, "refresh").is_some_and(|value| matches!(value.as_str(), "" | "true" | "wait_for"))
}

fn action_of(query: Option<&str>) -> Action {
    if parameter(query, "op_type").as_deref() == Some("create") { Action::Create } else { Action::Index }
}

/// The header clients look for.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
/// The producer's own id of a batch.
const BATCH: HeaderName = HeaderName::from_static("x-domicile-batch");
