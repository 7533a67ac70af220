//! What an operator may change: thin translations to commands of the metadata group. What widens a region carries its
//! officer's signature already when it arrives; a command of this region without it is refused here, so that nobody waits
//! for something that every node would ignore.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domicile_proto::metadata::{Command, MAX_BATCH, Personal};
use serde_json::{Value, json};

use super::desk::Desk;
use super::errors::PresentError;
use crate::receive::{Failure, native_failure};

/// Commands, lists, and this node's place in the group.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/v1/admin/cluster/init", post(begin))
        .route("/api/v1/admin/commands", post(commands))
        .route("/api/v1/admin/node/drain", post(drain))
        .route("/api/v1/admin/node/leave", post(leave))
        .route("/api/v1/admin/tenants", get(tenants))
        .route("/api/v1/admin/streams", get(streams))
        .route("/api/v1/admin/keys", get(keys))
        .with_state(desk)
}

fn told(outcome: Result<Value, Failure>) -> Response {
    match outcome {
        Ok(body) => Json(body).into_response(),
        Err(failure) => native_failure(&failure),
    }
}

fn read(body: &Value) -> Result<Vec<Command>, Failure> {
    let wrong = PresentError::Malformed { place: "commands", wanted: "a list of commands" };
    let commands: Vec<Command> =
        serde_json::from_value(body.get("commands").cloned().unwrap_or_default()).map_err(|_| wrong)?;
    if commands.len() > MAX_BATCH {
        return Err(PresentError::Malformed { place: "commands", wanted: "at most 256 commands" }.into());
    }
    Ok(commands)
}

async fn begin(State(desk): State<Arc<Desk>>, Json(body): Json<Value>) -> Response {
    let begun = async { (desk.parts.around.begin)(read(&body)?).await.map(|()| json!({})) };
    told(begun.await)
}

async fn commands(State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let decided = async {
        desk.holder(&headers, "admin", |roles| roles.admin)?;
        let commands = read(&body)?;
        for command in &commands {
            if let Command::Regional(change) = command
                && change.region == desk.parts.region
                && change.signature.is_some()
                && !desk.parts.officer.consents(change)
            {
                return Err(PresentError::NeedsOfficer.into());
            }
        }
        let mut applied = Vec::with_capacity(commands.len());
        for command in commands {
            applied.push(desk.parts.propose.decide(command).await.map_err(|_| PresentError::NotDecided)?);
        }
        Ok(json!({ "applied": applied }))
    };
    told(decided.await)
}

async fn drain(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let drained = async {
        desk.holder(&headers, "admin", |roles| roles.admin)?;
        (desk.parts.around.drain)().await.map(|()| json!({}))
    };
    told(drained.await)
}

async fn leave(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let left = async {
        desk.holder(&headers, "admin", |roles| roles.admin)?;
        (desk.parts.around.leave)().await.map(|()| json!({}))
    };
    told(left.await)
}

async fn tenants(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let listed = desk.holder(&headers, "admin", |roles| roles.admin).map(|_| {
        let policy = desk.parts.policy.now();
        let rows = policy.tenants.iter().map(|(name, id)| json!({ "name": name, "id": id }));
        json!({ "tenants": rows.collect::<Vec<_>>() })
    });
    told(listed)
}

async fn streams(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let listed = desk.holder(&headers, "admin", |roles| roles.admin).map(|_| {
        let policy = desk.parts.policy.now();
        let rows = policy.streams.values().map(|view| {
            let tenant = policy.tenants.iter().find(|(_, id)| **id == view.tenant).map(|(name, _)| name.clone());
            let personal = match &view.policy.personal {
                Personal::Undeclared => "undeclared".to_owned(),
                Personal::Subject(field) => format!("subject {field}"),
                Personal::No => "no".to_owned(),
            };
            json!({
                "tenant": tenant, "name": view.name, "id": view.id, "personal": personal,
                "k": view.policy.threshold(), "group_fields": view.policy.group_fields,
                "text_questions": view.policy.text_questions,
            })
        });
        json!({ "streams": rows.collect::<Vec<_>>() })
    });
    told(listed)
}

async fn keys(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let listed = desk.holder(&headers, "admin", |roles| roles.admin).map(|_| {
        let policy = desk.parts.policy.now();
        let rows = policy.keys.values().map(|key| {
            let tenant = policy.tenants.iter().find(|(_, id)| **id == key.tenant).map(|(name, _)| name.clone());
            let has = [
                (key.roles.ingest, "ingest"),
                (key.roles.create, "create"),
                (key.roles.search, "search"),
                (key.roles.audit, "audit"),
                (key.roles.admin, "admin"),
            ];
            let roles: Vec<&str> = has.iter().filter(|(has, _)| *has).map(|(_, role)| *role).collect();
            json!({ "name": key.id, "tenant": tenant, "roles": roles, "rows": key.rows })
        });
        json!({ "keys": rows.collect::<Vec<_>>() })
    });
    told(listed)
}
