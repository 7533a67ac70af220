//! The doors of erasure: erase, status, purge, hold, release, export; those of retention are beside them. All need the role `admin` of this region.
//!
//! A value is turned into keyed hashes and tokens here and goes no further. Values come in bodies, never in an address, for
//! addresses end up in logs. Decides nothing about an order.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use domicile_proto::ids::{Name, TenantId, TimeRange};
use domicile_proto::metadata::Personal;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::links::{self, Tries};
use super::{Admin, retention};
use crate::erase::{EraseError, Erasure, HoldStands, Progress, Stands, Whom};
use crate::index::token;
use crate::policy::{StreamView, Wanted, tokens_in};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::query::QueryError;
use crate::receive::Failure;
use crate::tasks::Kind;

/// A desk with erasure beside it.
pub(crate) struct Subjects {
    pub(super) desk: Arc<Desk>,
    pub(super) erasure: Arc<Erasure>,
    pub(super) tries: Tries,
}

/// The doors.
pub(crate) fn router(desk: Arc<Desk>, erasure: Arc<Erasure>) -> Router {
    listed()
        .into_iter()
        .fold(Router::new(), |router, (path, method)| router.route(path, method))
        .with_state(Arc::new(Subjects { desk, erasure, tries: Tries::default() }))
}

/// Routes by path; every one stands in the API document.
pub(crate) fn listed() -> Vec<(&'static str, MethodRouter<Arc<Subjects>>)> {
    vec![
        ("/api/v1/subjects/erase", post(erase)),
        ("/api/v1/subjects/status", get(status)),
        ("/api/v1/subjects/purge", post(purge)),
        ("/api/v1/subjects/hold", post(hold)),
        ("/api/v1/subjects/release", post(release)),
        ("/api/v1/subjects/export", post(export)),
        ("/api/v1/exports/{link}", get(links::open)),
        ("/api/v1/retention", get(retention::show)),
        ("/api/v1/retention/run", post(retention::run)),
    ]
}

/// Whom a body is about.
struct Named {
    tenant: TenantId,
    whom: Whom,
    streams: Vec<Arc<StreamView>>,
}

impl Subjects {
    pub(super) fn admin(&self, headers: &HeaderMap) -> Result<Admin, Failure> {
        Admin::of(&self.desk, headers)
    }

    /// The tenant of a name; that of the key where none is given.
    pub(super) fn tenant(&self, admin: &Admin, named: Option<&str>) -> Result<TenantId, Failure> {
        let policy = self.desk.parts.policy.now();
        let tenant = match named {
            None => admin.0.tenant(),
            Some(named) => {
                let known = policy.tenants.iter().find(|(name, _)| name.as_str() == named).map(|(_, id)| *id);
                known.ok_or(PresentError::OtherTenant)?
            }
        };
        if admin.may(tenant) { Ok(tenant) } else { Err(PresentError::OtherTenant.into()) }
    }

    fn named(&self, headers: &HeaderMap, body: &Value) -> Result<Named, Failure> {
        let admin = self.admin(headers)?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let tenant = self.tenant(&admin, text("tenant"))?;
        let wanted: Option<Vec<&str>> =
            body.get("streams").and_then(Value::as_array).map(|all| all.iter().filter_map(Value::as_str).collect());
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        let mut streams: Vec<Arc<StreamView>> = self.desk.streams(tenant).into_values().collect();
        if let Some(wanted) = &wanted {
            if wanted.iter().any(|name| !streams.iter().any(|view| view.name.as_str() == *name)) {
                return Err(PresentError::Malformed { place: "streams", wanted: "streams of the tenant" }.into());
            }
            streams.retain(|view| wanted.contains(&view.name.as_str()));
        }
        let only = wanted.map(|_| streams.iter().map(|view| (view.id, view.shard.map(|(shard, _)| shard))).collect());
        let mut whom = Whom { only, ..Whom::default() };
        if let Some(subject) = text("subject") {
            for field in streams.iter().filter_map(|view| subject_field(view)) {
                whom.subjects.push(self.erasure.vault().subject_of(tenant, field.as_str(), subject));
            }
        }
        if let Some(written) = text("token") {
            let quoted = token::quoted_in(written).unwrap_or_else(|| written.to_owned());
            whom.tokens.extend(tokens_in(quoted.as_bytes()).map(Box::from));
        }
        if let Some(value) = text("value") {
            for clean in streams.iter().flat_map(|view| self.written(value, view)) {
                whom.tokens.extend(tokens_in(clean.as_bytes()).map(Box::from));
            }
        }
        whom.subjects.sort_unstable();
        whom.subjects.dedup();
        whom.tokens.sort_unstable();
        whom.tokens.dedup();
        Ok(Named { tenant, whom, streams })
    }
}

fn subject_field(view: &StreamView) -> Option<&Name> {
    match &view.policy.personal {
        Personal::Subject(field) => Some(field),
        Personal::Undeclared | Personal::No => None,
    }
}

pub(super) fn failed(error: &EraseError) -> Failure {
    match error {
        EraseError::Held { .. } => Failure::new(error, 409, "legal_hold_exception"),
        EraseError::Unknown { .. } | EraseError::NoExport => Failure::new(error, 404, "resource_not_found_exception"),
        EraseError::Links => Failure::new(error, 429, "es_rejected_execution_exception"),
        _ => Failure::of(error),
    }
}

/// The state is that of the region: what its slowest node says. Nodes that have not come as far are named.
fn shown(stands: &Stands) -> Value {
    let missing = |far: Progress| {
        let behind = stands.nodes.iter().filter(|at| at.progress.is_none_or(|progress| progress < far));
        behind.map(|at| at.node).collect::<Vec<_>>()
    };
    let nodes = stands.nodes.iter().map(|at| {
        let state = at.progress.map_or("not_told", Progress::as_str);
        json!({"node": at.node, "state": state, "problem": at.problem})
    });
    json!({
        "id": stands.id, "state": stands.everywhere.as_str(), "state_of_this_node": stands.progress.as_str(),
        "nodes": nodes.collect::<Vec<_>>(), "not_shredded_at": missing(Progress::Shredded),
        "not_gone_at": missing(Progress::Gone), "region_receipt": stands.region_receipt,
        "ordered_at": stands.ordered_at,
        "shredded_at": stands.shredded.map(|shredded| shredded.at),
        "records_hidden": stands.shredded.map(|shredded| shredded.hidden),
        "originals_destroyed": stands.shredded.map(|shredded| shredded.originals),
        "percent": stands.percent, "gone_in_seconds_estimated": stands.gone_in_seconds,
        "receipt": stands.receipt, "problem": stands.problem,
    })
}

/// Everything that is accepted is durable before it is searched for, so that nothing slips between.
async fn erase(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let ordered = async {
        let body = body.0?;
        let Named { tenant, whom, .. } = at.named(&headers, &body)?;
        let id = body.get("id").filter(|id| !id.is_null());
        let malformed = PresentError::Malformed { place: "id", wanted: "the id of an erasure of another node" };
        let id = id.map(|id| id.as_str().and_then(|id| id.parse().ok()).ok_or(malformed)).transpose()?;
        (at.desk.parts.around.refresh)(at.desk.parts.catalog.shards()).await;
        let (erasure, (done, ended)) = (Arc::clone(&at.erasure), oneshot::channel());
        // Whoever hangs up does not end it between two steps.
        at.desk
            .parts
            .tasks
            .spawn(Kind::Connection, async move { drop(done.send(erasure.order(tenant, whom, id).await)) });
        let ordered = ended.await.unwrap_or(Err(EraseError::Stopping));
        ordered.map(|stands| shown(&stands)).map_err(|error| failed(&error))
    };
    told(ordered.await)
}

async fn status(
    State(at): State<Arc<Subjects>>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let read = || {
        let admin = at.admin(&headers)?;
        let tenant = at.tenant(&admin, parameters.get("tenant").map(String::as_str))?;
        if let Some(id) = parameters.get("id") {
            return at.erasure.stands(tenant, id).map(|stands| shown(&stands)).map_err(|error| failed(&error));
        }
        let erasures: Vec<Value> = at.erasure.all(tenant).iter().map(shown).collect();
        let holds: Vec<Value> = at.erasure.holds(tenant).iter().map(held).collect();
        Ok(json!({"erasures": erasures, "holds": holds, "late_records_left_out": at.erasure.late()}))
    };
    told(read())
}

/// Does not wait for the window. Rewrites for all tenants at once, so it is the operator's.
async fn purge(State(at): State<Arc<Subjects>>, headers: HeaderMap) -> Response {
    let purged = async {
        at.admin(&headers)?.operator()?;
        at.erasure.purge().await.map(|gone| json!({"gone": gone})).map_err(|error| failed(&error))
    };
    told(purged.await)
}

fn held(stands: &HoldStands) -> Value {
    json!({"id": stands.id, "since": stands.since, "not_held_at": stands.not_held_at})
}

async fn hold(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let held = async {
        let Named { tenant, whom, .. } = at.named(&headers, &body.0?)?;
        at.erasure.hold(tenant, whom).await.map(|stands| held(&stands)).map_err(|error| failed(&error))
    };
    told(held.await)
}

async fn release(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let released = async {
        let (admin, body) = (at.admin(&headers)?, body.0?);
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let tenant = at.tenant(&admin, text("tenant"))?;
        let id = text("id").ok_or(PresentError::Malformed { place: "id", wanted: "the id of a hold" })?;
        at.erasure.release(tenant, id).await.map(|()| json!({})).map_err(|error| failed(&error))
    };
    told(released.await)
}

/// JSON lines: each record of the subject with its stream, at once or behind a link. Tokens stay tokens but for those of values that the caller names:
/// whose the others are is not known.
async fn export(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let exported = async {
        let body = body.0?;
        let named = at.named(&headers, &body)?;
        if named.whom.is_nobody() {
            return Err(failed(&EraseError::Nobody));
        }
        let hours = Subjects::link_hours(&body)?;
        at.desk.is_here(&named.streams)?;
        at.desk.is_whole(&named.streams)?;
        let before = at.erasure.before_export(named.tenant);
        let own = at.own_values(&named, &body);
        let mut lines = Vec::new();
        let mut records = 0;
        for view in &named.streams {
            records += at.export_stream(view, &named.whom, &own, &mut lines).await?;
        }
        let originals = u64::try_from(own.len()).unwrap_or(u64::MAX);
        at.erasure.tell_export(named.tenant, records, originals).await.map_err(|error| failed(&error))?;
        Ok(match hours {
            Some(hours) => told(at.linked(named.tenant, (&lines, records), hours, before).await),
            None => (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response(),
        })
    };
    exported.await.unwrap_or_else(|failure| told(Err(failure)))
}

impl Subjects {
    /// How a value stands in the records of a stream: where detectors find it, and in each field that is replaced whole.
    fn written(&self, value: &str, view: &StreamView) -> BTreeSet<String> {
        let whole = view.policy.privacy.fields().iter().map(Name::as_str);
        let fields = iter::once("").chain(subject_field(view).map(Name::as_str)).chain(whole);
        fields.filter_map(|field| self.desk.parts.classifier.pseudonymise(field, value, view)).collect()
    }

    /// Tokens of the values that the caller names as the subject's own, each with the value.
    fn own_values(&self, named: &Named, body: &Value) -> BTreeMap<String, String> {
        let listed = body.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
        let values = listed.iter().chain(body.get("value")).filter_map(Value::as_str).map(str::trim);
        let mut own = BTreeMap::new();
        for value in values {
            for view in &named.streams {
                // Only a value that is personal as a whole has a token of its own.
                let tokens = self.written(value, view).into_iter();
                let tokens = tokens.filter(|clean| tokens_in(clean.as_bytes()).next() == Some(clean.as_str()));
                own.extend(tokens.map(|token| (token, value.to_owned())));
            }
        }
        own
    }

    /// The records of one stream, oldest first; how many.
    async fn export_stream(
        &self,
        view: &StreamView,
        whom: &Whom,
        own: &BTreeMap<String, String>,
        lines: &mut Vec<u8>,
    ) -> Result<u64, Failure> {
        let Some((shard, _)) = view.shard else { return Ok(0) };
        let wanted =
            Wanted { subjects: whom.subjects.iter().copied().collect(), tokens: whom.tokens.iter().cloned().collect() };
        let (engine, segments) = (self.desk.parts.engine.clone(), self.desk.parts.catalog.view(shard).to_vec());
        let reading = self
            .desk
            .parts
            .tasks
            .blocking(move || engine.holding(segments, &wanted, TimeRange::ALL, Desk::budget(None)));
        let rows = reading.await.map_err(|_| QueryError::Cancelled)??;
        for row in &rows {
            let text = own.iter().fold(String::from_utf8_lossy(&row.source).into_owned(), |text, (token, value)| {
                let quoted = Value::String(value.clone()).to_string();
                text.replace(token.as_str(), quoted.trim_matches('"'))
            });
            let source: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let line = json!({"stream": view.name, "_id": row.id, "record": source});
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }
}
