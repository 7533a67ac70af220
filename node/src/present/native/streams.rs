//! The streams of a key's tenant: listed, and made.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::Name;
use domicile_proto::metadata::Personal;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{Body, told};
use crate::classify::Standing;
use crate::policy::{Policy, StreamView};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;

/// What is told of a stream under one state of the policy.
pub(in crate::present) fn about(view: &StreamView, policy: &Policy) -> Value {
    let personal = match &view.policy.personal {
        Personal::Undeclared => "undeclared".to_owned(),
        Personal::Subject(field) => format!("subject {field}"),
        Personal::No => "no".to_owned(),
    };
    json!({
        "name": view.name, "id": view.id, "personal": personal, "k": view.policy.threshold(),
        "group_fields": view.policy.group_fields, "text_questions": view.policy.text_questions,
        "grid_s": view.policy.grid.seconds(), "close_after_s": view.policy.close_after_s, "numbers": view.policy.numbers,
        "shard": view.shard.map(|(shard, _)| shard), "owner": view.shard.map(|(_, owner)| owner),
        "epoch": view.shard.and_then(|(shard, _)| policy.epochs.get(&shard)),
    })
}

/// `GET /api/v1/streams`.
pub(super) async fn list(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let listed = desk.anybody(&headers).map(|who| {
        let policy = desk.parts.policy.now();
        (Desk::streams_under(&policy, who.tenant()), policy)
    });
    let (own, policy) = match listed {
        Ok(listed) => listed,
        Err(error) => return told(Err(error)),
    };
    let views: Vec<&Arc<StreamView>> = own.values().collect();
    let (mut streams, mut is_silent) = (Vec::with_capacity(views.len()), false);
    for some in views.chunks(STATEMENTS_AT_ONCE) {
        let standings = join_all(some.iter().map(|view| standing(&desk, view, is_silent))).await;
        // Where the bucket does not answer, it is not asked for each of thousands.
        is_silent |= standings.contains(&Some(Standing::Unknown));
        streams.extend(some.iter().zip(standings).map(|(view, standing)| {
            let mut about = about(view, &policy);
            if let Some(about) = about.as_object_mut() {
                about.insert("statement".to_owned(), json!(standing.map(Standing::as_str)));
            }
            about
        }));
    }
    told(Ok(json!({"streams": streams})))
}

/// Whether what is stated of a stream stands, as its owner knows; nothing at other nodes, and where nothing is stated.
async fn standing(desk: &Desk, view: &StreamView, is_silent: bool) -> Option<Standing> {
    let is_ours = view.shard.is_none_or(|(_, owner)| owner == desk.parts.node);
    if !is_ours || view.policy.personal != Personal::No {
        return None;
    }
    if is_silent { Some(Standing::Unknown) } else { desk.parts.statements.standing_now(view).await }
}

/// Streams whose statements are looked up beside each other.
const STATEMENTS_AT_ONCE: usize = 16;

/// `POST /api/v1/streams` `{"name": …}`: with the most restrictive policy everywhere; an officer may sign another.
pub(super) async fn create(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let created = async {
        let who = desk.holder(&headers, "create", |roles| roles.create || roles.admin)?;
        let body = body.0?;
        let wrong = PresentError::Malformed { place: "name", wanted: "1 to 63 characters of `a-z 0-9 . _ -`" };
        let name = body.get("name").and_then(Value::as_str).and_then(|name| name.parse::<Name>().ok()).ok_or(wrong)?;
        let view = desk.parts.ownership.stream(who.tenant(), &name, true).await?;
        Ok(about(&view, &desk.parts.policy.now()))
    };
    told(created.await)
}
