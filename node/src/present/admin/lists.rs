//! What there is: tenants, streams, keys and dictionaries, as far as they are the administrator's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::TenantId;
use serde_json::{Value, json};

use super::Admin;
use crate::policy::Policy;
use crate::present::desk::Desk;
use crate::present::native::{streams_about, told};

fn name_of(policy: &Policy, tenant: TenantId) -> Value {
    let found = policy.tenants.iter().find(|(_, id)| **id == tenant);
    found.map_or(Value::Null, |(name, _)| json!(name))
}

fn listed(desk: &Desk, headers: &HeaderMap, under: &str, rows: impl FnOnce(&Policy, &Admin) -> Vec<Value>) -> Response {
    let listed = Admin::of(desk, headers).map(|admin| {
        let rows = rows(&desk.parts.policy.now(), &admin);
        json!({under: rows})
    });
    told(listed)
}

/// `GET /api/v1/admin/tenants`.
pub(super) async fn tenants(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    listed(&desk, &headers, "tenants", |policy, admin| {
        let own = policy.tenants.iter().filter(|(_, id)| admin.may(**id));
        own.map(|(name, id)| json!({"name": name, "id": id})).collect()
    })
}

/// `GET /api/v1/admin/streams`.
pub(super) async fn streams(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    listed(&desk, &headers, "streams", |policy, admin| {
        let own = policy.streams.values().filter(|view| admin.may(view.tenant));
        let row = |view| {
            let mut about = streams_about(view, policy);
            if let Some(about) = about.as_object_mut() {
                about.insert("tenant".to_owned(), name_of(policy, view.tenant));
                about.insert("policy".to_owned(), json!(view.policy));
            }
            about
        };
        own.map(|view| row(view)).collect()
    })
}

/// `GET /api/v1/admin/keys`: of this region; never a key itself, and not even its hash.
pub(super) async fn keys(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    listed(&desk, &headers, "keys", |policy, admin| {
        let own = policy.keys.values().filter(|key| admin.may(key.tenant));
        own.map(|key| {
            let has = [
                (key.roles.ingest, "ingest"),
                (key.roles.create, "create"),
                (key.roles.search, "search"),
                (key.roles.audit, "audit"),
                (key.roles.admin, "admin"),
                (key.roles.reveal, "reveal"),
            ];
            let roles: Vec<&str> = has.iter().filter(|(has, _)| *has).map(|(_, role)| *role).collect();
            json!({"name": key.id, "tenant": name_of(policy, key.tenant), "roles": roles, "rows": key.rows})
        })
        .collect()
    })
}

/// `GET /api/v1/admin/dictionary`: every value that is known, and whether it may leave this region.
pub(super) async fn dictionary(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    listed(&desk, &headers, "dictionary", |policy, admin| {
        let own = policy.dictionaries.iter().filter(|((tenant, _), _)| admin.may(*tenant));
        own.flat_map(|((tenant, field), dictionary)| {
            dictionary.texts.iter().map(move |(id, text)| {
                json!({
                    "tenant": name_of(policy, *tenant), "field": field, "id": id, "value": text,
                    "approved_here": dictionary.approved.contains_key(id),
                })
            })
        })
        .collect()
    })
}
