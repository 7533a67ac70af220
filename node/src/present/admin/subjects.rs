//! The doors of erasure: erase, status, purge, hold, release; those of exports and of retention are beside them. All need the role `admin` of this region.
//!
//! A value is turned into keyed hashes and tokens here and goes no further. Values come in bodies, never in an address, for
//! addresses end up in logs. Decides nothing about an order.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use domicile_proto::ids::{Name, NodeId, TenantId};
use domicile_proto::metadata::Personal;
use domicile_proto::privacy::PersonalClass;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::links::{self, Tries};
use super::{Admin, export, retention};
use crate::erase::{AtNode, EraseError, Erasure, HoldStands, Progress, SilentNode, Stands, Whom};
use crate::index::token;
use crate::policy::{StreamView, tokens_in};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
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
        ("/api/v1/subjects/export", post(export::export)),
        ("/api/v1/exports/{link}", get(links::open)),
        ("/api/v1/retention", get(retention::show)),
        ("/api/v1/retention/run", post(retention::run)),
    ]
}

/// Whom a body is about.
pub(super) struct Named {
    pub(super) tenant: TenantId,
    pub(super) whom: Whom,
    /// All that the same person may be called: what is held, and what an order is compared with holds by.
    pub(super) names: Whom,
    pub(super) streams: Vec<Arc<StreamView>>,
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

    pub(super) fn named(&self, headers: &HeaderMap, body: &Value) -> Result<Named, Failure> {
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
        let only: Option<Vec<_>> =
            wanted.map(|_| streams.iter().map(|view| (view.id, view.shard.map(|(shard, _)| shard))).collect());
        let policy = self.desk.parts.policy.now();
        let (fields, whole) = (policy.subject_fields(tenant), policy.whole_classes(tenant));
        let hashes = |value: &str| {
            let hash = |field: &Name| self.erasure.vault().subject_of(tenant, field.as_str(), value);
            fields.iter().map(hash).collect::<BTreeSet<u64>>()
        };
        let tokens = |value: &str, whole: &[PersonalClass]| {
            let texts = self.written_ever(value, (tenant, streams.as_slice()), whole);
            let tokens = texts.iter().flat_map(|text| tokens_in(text.as_bytes()).map(Box::<str>::from));
            tokens.collect::<BTreeSet<Box<str>>>()
        };
        let (mut subjects, mut own): (BTreeSet<u64>, BTreeSet<Box<str>>) = (BTreeSet::new(), BTreeSet::new());
        if let Some(subject) = text("subject") {
            subjects.extend(hashes(subject));
        }
        if let Some(written) = text("token") {
            let quoted = token::quoted_in(written).unwrap_or_else(|| written.to_owned());
            own.extend(tokens_in(quoted.as_bytes()).map(Box::<str>::from));
        }
        if let Some(value) = text("value") {
            own.extend(tokens(value, &whole));
        }
        let (mut all_subjects, mut all_tokens) = (subjects.clone(), own.clone());
        for value in [text("subject"), text("value")].into_iter().flatten() {
            all_subjects.extend(hashes(value));
            all_tokens.extend(tokens(value, &[PersonalClass::Subject, PersonalClass::Declared]));
        }
        let meant = |subjects: BTreeSet<u64>, tokens: BTreeSet<Box<str>>| Whom {
            subjects: subjects.into_iter().collect(),
            tokens: tokens.into_iter().collect(),
            only: only.clone(),
        };
        let (whom, names) = (meant(subjects, own), meant(all_subjects, all_tokens));
        Ok(Named { tenant, whom, names, streams })
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
        EraseError::Held { .. } | EraseError::HoldUnseen { .. } => Failure::new(error, 409, "legal_hold_exception"),
        EraseError::Unknown { .. } | EraseError::NoExport => Failure::new(error, 404, "resource_not_found_exception"),
        EraseError::Links => Failure::new(error, 429, "es_rejected_execution_exception"),
        _ => Failure::of(error),
    }
}

/// The state is that of the region: what its slowest node says. Nodes that have not come as far are named, and those that say
/// nothing with what to do.
fn shown(stands: &Stands) -> Value {
    let missing = |far: Progress| {
        let behind = stands.nodes.iter().filter(|at| at.progress.is_none_or(|progress| progress < far));
        behind.map(|at| at.node).collect::<Vec<_>>()
    };
    let nodes = stands.nodes.iter().map(at_node);
    let here = if stands.is_here { stands.progress.as_str() } else { "not_told" };
    json!({
        "id": stands.id, "state": stands.everywhere.as_str(), "state_of_this_node": here,
        "nodes": nodes.collect::<Vec<_>>(), "not_shredded_at": missing(Progress::Shredded),
        "not_gone_at": missing(Progress::Gone), "region_receipt": stands.region_receipt,
        "ordered_at": stands.ordered_at,
        "shredded_at": stands.shredded.map(|shredded| shredded.at),
        "records_hidden": stands.hidden, "originals_destroyed": stands.originals,
        "percent": stands.percent, "gone_in_seconds_estimated": stands.gone_in_seconds,
        "receipt": stands.receipt, "problem": stands.problem,
    })
}

/// How an order stands at one node, in its own words where it says anything now.
fn at_node(at: &AtNode) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
    put("node", json!(at.node));
    put("state", json!(at.progress.map_or("not_told", Progress::as_str)));
    put("problem", json!(at.problem));
    if let Some(seconds) = at.silent_for.filter(|_| at.progress != Some(Progress::Gone)) {
        put("silent_for_seconds", json!(seconds));
        put("what_to_do", json!(what_to_do(at.node)));
    }
    if let Some(says) = at.says {
        put("percent", json!(says.percent));
        put("records_hidden", json!(says.hidden));
        put("originals_destroyed", json!(says.originals));
        put("gone_in_seconds_estimated", json!(says.gone_in_seconds));
    }
    Value::Object(shown)
}

fn what_to_do(node: NodeId) -> String {
    format!(
        "start node {node} again, or see why it cannot be reached; if its machine is lost, its region's officer takes it out: `domicile node remove --node {node}`"
    )
}

/// A node that says nothing, and what waits for it.
fn silent(silent: &SilentNode) -> Value {
    json!({
        "node": silent.node, "silent_for_seconds": silent.seconds, "keeps_answers_back": silent.keeps_answers,
        "keeps_new_orders_back": silent.keeps_orders, "orders_unfinished_there": silent.unfinished,
        "what_to_do": what_to_do(silent.node),
    })
}

/// Everything that is accepted is durable before it is searched for, so that nothing slips between.
async fn erase(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let ordered = async {
        let body = body.0?;
        let Named { tenant, whom, names, .. } = at.named(&headers, &body)?;
        let id = body.get("id").filter(|id| !id.is_null());
        let malformed = PresentError::Malformed { place: "id", wanted: "the id of an erasure of another node" };
        let id = id.map(|id| id.as_str().and_then(|id| id.parse().ok()).ok_or(malformed)).transpose()?;
        (at.desk.parts.around.refresh)(at.desk.parts.catalog.shards()).await;
        let (erasure, (done, ended)) = (Arc::clone(&at.erasure), oneshot::channel());
        // Whoever hangs up does not end it between two steps.
        at.desk
            .parts
            .tasks
            .spawn(Kind::Connection, async move { drop(done.send(erasure.order_of(tenant, (whom, names), id).await)) });
        let ordered = ended.await.unwrap_or(Err(EraseError::Stopping)).map_err(|error| failed(&error))?;
        // What the other nodes say of it comes beside what this one found.
        let problem = ordered.problem;
        let region = at.erasure.stands_in_region(tenant, &ordered.id).await;
        Ok(shown(&region.map_or(ordered, |region| Stands { problem, ..region })))
    };
    told(ordered.await)
}

async fn status(
    State(at): State<Arc<Subjects>>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let read = async {
        let admin = at.admin(&headers)?;
        let tenant = at.tenant(&admin, parameters.get("tenant").map(String::as_str))?;
        if let Some(id) = parameters.get("id") {
            let stands = at.erasure.stands_in_region(tenant, id).await;
            return stands.map(|stands| shown(&stands)).map_err(|error| failed(&error));
        }
        let erasures: Vec<Value> = at.erasure.all_in_region(tenant).await.iter().map(shown).collect();
        let holds: Vec<Value> = at.erasure.holds(tenant).iter().map(held).collect();
        let silent: Vec<Value> = at.erasure.silent().iter().map(silent).collect();
        let late = at.erasure.late();
        Ok(json!({"erasures": erasures, "holds": holds, "silent_nodes": silent, "late_records_left_out": late}))
    };
    told(read.await)
}

/// Does not wait for the window, on no node of the region. Rewrites for all tenants at once, so it is the operator's.
async fn purge(State(at): State<Arc<Subjects>>, headers: HeaderMap) -> Response {
    let purged = async {
        at.admin(&headers)?.operator()?;
        let told = at.erasure.have_purged().await;
        let gone = at.erasure.purge().await.map_err(|error| failed(&error))?;
        let of =
            |wanted: bool| told.iter().filter(|(_, begun)| **begun == wanted).map(|(node, _)| node).collect::<Vec<_>>();
        Ok(json!({"gone": gone, "begun_at": of(true), "not_begun_at": of(false)}))
    };
    told(purged.await)
}

fn held(stands: &HoldStands) -> Value {
    json!({"id": stands.id, "since": stands.since, "not_held_at": stands.not_held_at})
}

async fn hold(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let held = async {
        let Named { tenant, whom, names, .. } = at.named(&headers, &body.0?)?;
        // Rather too much is held than too little; but what names nobody holds nobody.
        let held_whom = if whom.is_nobody() { whom } else { names };
        at.erasure.hold(tenant, held_whom).await.map(|stands| held(&stands)).map_err(|error| failed(&error))
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

impl Subjects {
    /// How a value stands in the records of a stream: where detectors find it, and in each field that is replaced whole.
    fn written(&self, value: &str, view: &StreamView) -> BTreeSet<String> {
        let whole = view.policy.privacy.fields().iter().map(Name::as_str);
        let fields = iter::once("").chain(subject_field(view).map(Name::as_str)).chain(whole);
        fields.filter_map(|field| self.desk.parts.classifier.pseudonymise(field, value, view)).collect()
    }

    /// How it may stand in records of these streams, whatever their policies do with it now: replaced whole as one of these
    /// classes as well.
    fn written_ever(
        &self,
        value: &str,
        (tenant, streams): (TenantId, &[Arc<StreamView>]),
        whole: &[PersonalClass],
    ) -> BTreeSet<String> {
        let now = streams.iter().flat_map(|view| self.written(value, view));
        now.chain(self.desk.parts.classifier.written_ever(value, tenant, whole)).collect()
    }

    /// Tokens of the values that the caller names as the subject's own, each with the value.
    pub(super) fn own_values(&self, named: &Named, body: &Value) -> BTreeMap<String, String> {
        let listed = body.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
        let values = listed.iter().chain(body.get("value")).filter_map(Value::as_str).map(str::trim);
        let whole = self.desk.parts.policy.now().whole_classes(named.tenant);
        let mut own = BTreeMap::new();
        for value in values {
            // Only a value that is personal as a whole has a token of its own.
            let tokens = self.written_ever(value, (named.tenant, named.streams.as_slice()), &whole).into_iter();
            let tokens = tokens.filter(|clean| tokens_in(clean.as_bytes()).next() == Some(clean.as_str()));
            own.extend(tokens.map(|token| (token, value.to_owned())));
        }
        own
    }
}
