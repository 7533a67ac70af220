//! Replies in the shapes of the doors. Compact JSON: some shippers search the bytes `"errors":false,"items":[`.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::errors::ReceiveError;
use super::filter_path;
use super::reply::{Failure, Item, ItemOutcome, Reply};

/// A `_bulk` response.
pub(super) fn bulk(reply: &Reply, took: Duration, filter: Option<&str>) -> Response {
    let items = match reply {
        Reply::Failed(failure) => return elastic_failure(failure),
        Reply::Items { items, .. } => items,
    };
    let errors = items.iter().any(|item| matches!(item.outcome, ItemOutcome::Failed(_)));
    let mut body = String::with_capacity(64 + items.len() * 192);
    let _ = write!(body, "{{\"took\":{},\"errors\":{errors},\"items\":[", took.as_millis());
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        write_item(&mut body, item);
    }
    body.push_str("]}");
    match filter {
        None => respond(200, "application/json", body),
        Some(filter) => respond(200, "application/json", filter_path::filtered_text(body, filter)),
    }
}

/// The response to a method that the path does not take.
pub(super) fn wrong_method(shaped: fn(&Failure) -> Response, allowed: &'static str) -> Response {
    let mut response = shaped(&ReceiveError::WrongMethod.into());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The response to a single document.
pub(super) fn document(reply: &Reply) -> Response {
    match reply {
        Reply::Failed(failure) => elastic_failure(failure),
        Reply::Items { items, .. } => match items.first() {
            Some(Item { outcome: ItemOutcome::Failed(failure), .. }) => elastic_failure(failure),
            Some(item) => {
                let mut body = String::with_capacity(192);
                write_inner(&mut body, item, false);
                respond(item.status(), "application/json", body)
            }
            None => respond(200, "application/json", "{}".to_owned()),
        },
    }
}

/// The response of the native door: how many were taken, and which lines were not.
pub(super) fn native(reply: &Reply, took: Duration) -> Response {
    let (items, repeated) = match reply {
        Reply::Failed(failure) => return native_failure(failure),
        Reply::Items { items, repeated } => (items, *repeated),
    };
    let mut accepted = 0_usize;
    let mut rejected = 0_usize;
    let mut dropped = 0_usize;
    let mut lines = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let failure = match &item.outcome {
            ItemOutcome::Failed(failure) => failure,
            ItemOutcome::Dropped => {
                dropped += 1;
                continue;
            }
            ItemOutcome::Created { .. } | ItemOutcome::Noop { .. } => {
                accepted += 1;
                continue;
            }
        };
        rejected += 1;
        if lines.len() < MAX_REJECTED_LINES {
            let (message, action) = failure.halves();
            lines.push(json!({
                "record": place + 1,
                "status": failure.status,
                "error": {"code": failure.code, "message": message, "action": action},
            }));
        }
    }
    let status = if accepted == 0 && dropped == 0 { items.iter().map(Item::status).max().unwrap_or(200) } else { 200 };
    let body = json!({
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "accepted": accepted,
        "repeated": repeated,
        "dropped": dropped,
        "rejected": rejected,
        "rejections": lines,
    });
    respond(status, "application/json", body.to_string())
}

/// A failure in Elasticsearch's shape.
pub(crate) fn elastic_failure(failure: &Failure) -> Response {
    with_hints(respond(failure.status, "application/json", elastic_error(failure).to_string()), failure)
}

/// The body of [`elastic_failure`], also one of several answers.
pub(crate) fn elastic_error(failure: &Failure) -> serde_json::Value {
    let cause = json!({"type": failure.kind, "reason": failure.reason});
    json!({
        "error": {
            "root_cause": [cause],
            "type": failure.kind,
            "reason": failure.reason,
            "code": failure.code,
        },
        "status": failure.status,
    })
}

/// A failure in the native shape.
pub(crate) fn native_failure(failure: &Failure) -> Response {
    let (message, action) = failure.halves();
    let body = json!({"error": {"code": failure.code, "message": message, "action": action}});
    with_hints(respond(failure.status, "application/json", body.to_string()), failure)
}

fn with_hints(mut response: Response, failure: &Failure) -> Response {
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure.status == 401 {
        let challenge = HeaderValue::from_static("ApiKey, Bearer, Basic realm=\"domicile\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn respond(status: u16, media: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn write_item(body: &mut String, item: &Item) {
    let _ = write!(body, "{{\"{}\":", item.action.as_str());
    write_inner(body, item, true);
    body.push('}');
}

fn write_inner(body: &mut String, item: &Item, with_status: bool) {
    let _ = write!(body, "{{\"_index\":{}", quoted(&item.index));
    if let Some(id) = &item.id {
        let _ = write!(body, ",\"_id\":{}", quoted(id));
    }
    match &item.outcome {
        ItemOutcome::Created { seq } => write_taken(body, "created", *seq),
        ItemOutcome::Noop { seq } => write_taken(body, "noop", *seq),
        // What Elasticsearch says of a document that a pipeline dropped.
        ItemOutcome::Dropped => body
            .push_str(",\"_version\":-3,\"result\":\"noop\",\"_shards\":{\"total\":0,\"successful\":0,\"failed\":0}"),
        ItemOutcome::Failed(failure) => {
            let _ = write!(
                body,
                ",\"error\":{{\"type\":\"{}\",\"reason\":{},\"code\":\"{}\"}}",
                failure.kind,
                quoted(&failure.reason),
                failure.code
            );
        }
    }
    if with_status {
        let _ = write!(body, ",\"status\":{}", item.status());
    }
    body.push('}');
}

fn write_taken(body: &mut String, result: &str, seq: u64) {
    let _ = write!(
        body,
        ",\"_version\":1,\"result\":\"{result}\",\"_shards\":{{\"total\":1,\"successful\":1,\"failed\":0}},\"_seq_no\":{seq},\
         \"_primary_term\":1"
    );
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Rejections that are listed one by one; the rest is counted.
const MAX_REJECTED_LINES: usize = 1_000;
