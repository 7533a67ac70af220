//! The doors of an auditor: what a region states about itself, and its ledger, as they go into an audit pack. Role `audit`, which
//! opens nothing else; and the register of breaches, which an administrator writes.
//!
//! Of another tenant's entries only the commitments are given: the tree stays whole and says nothing about them. Nothing is
//! changed here; what the node signs is that it said this, and when.

mod breaches;
mod destroy;
mod replay;
mod rules;
mod state;
mod statement;
mod visible;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use domicile_proto::ids::{Name, TenantId};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::admin::OPERATORS;
use super::desk::Desk;
use super::errors::PresentError;
use super::native::{Body, told};
use crate::aggregate::Releases;
use crate::audit::{LedgerError, sbom_digest};
use crate::config::RegionFacts;
use crate::erase::Erasure;
use crate::receive::Failure;
use crate::store::Store;

pub(crate) use statement::{Bucket, Erasure as StatedErasure, OwnBucket, Segment, Statement, Stream, Transfer};
use visible::Visible;

/// First line of what is signed over a statement.
pub(crate) const STATEMENT_TITLE: &str = "domicile audit statement v1";
/// First line of what is signed over the manifest of a pack.
pub(crate) const PACK_TITLE: &str = "domicile audit pack v1";

/// A desk with what an auditor may be told beside it.
pub(crate) struct Office {
    desk: Arc<Desk>,
    erasure: Arc<Erasure>,
    releases: Releases,
    deployment: Name,
    facts: RegionFacts,
    /// SHA-256 of the program, in hexadecimal digits.
    program: String,
    /// SHA-256 of what it was built of, likewise.
    sbom: String,
    /// The region's bucket and those beside it, as they were found when the node opened them.
    store: Store,
    register: breaches::Register,
}

impl Office {
    /// From its parts.
    pub(crate) fn new(
        desk: Arc<Desk>,
        erasure: Arc<Erasure>,
        releases: Releases,
        (deployment, facts): (Name, RegionFacts),
        program: String,
        store: Store,
    ) -> Arc<Self> {
        let (sbom, register) = (hex::encode(sbom_digest()), breaches::Register::default());
        Arc::new(Self { desk, erasure, releases, deployment, facts, program, sbom, store, register })
    }

    /// The tenant an auditor asks about: the own one, for the operator's any.
    fn asked(&self, headers: &HeaderMap, named: Option<&String>) -> Result<(TenantId, Name, Name), Failure> {
        let who = self.desk.holder(headers, "audit", |roles| roles.audit)?;
        let policy = self.desk.parts.policy.now();
        let known = match named {
            Some(named) => policy.tenants.iter().find(|(name, _)| name.as_str() == named),
            None => policy.tenants.iter().find(|(_, id)| **id == who.tenant()),
        };
        let (name, id) = known.ok_or(PresentError::OtherAuditor)?;
        if *id != who.tenant() && who.tenant() != OPERATORS {
            return Err(PresentError::OtherAuditor.into());
        }
        Ok((*id, name.clone(), who.key().clone()))
    }
}

/// The doors.
pub(crate) fn router(office: &Arc<Office>) -> Router {
    let routes = listed().into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method));
    routes.with_state(Arc::clone(office))
}

/// Routes by path; every one stands in the API document.
pub(crate) fn listed() -> Vec<(&'static str, MethodRouter<Arc<Office>>)> {
    vec![
        ("/api/v1/audit/statement", get(statement_of)),
        ("/api/v1/audit/log", get(log)),
        ("/api/v1/audit/bodies", get(bodies)),
        ("/api/v1/audit/rules", get(rules::rules)),
        ("/api/v1/audit/seal", post(seal)),
        ("/api/v1/audit/replay", post(replay::replay)),
        ("/api/v1/audit/breaches", get(breaches::list)),
        ("/api/v1/breaches", post(breaches::note)),
        ("/api/v1/ledger/message", get(destroy::message)),
        ("/api/v1/ledger/destroy", post(destroy::destroy)),
    ]
}

type Parameters = Query<BTreeMap<String, String>>;

/// `GET /api/v1/audit/statement?tenant=`: the statement as a text, so that its bytes stay what was signed.
async fn statement_of(State(office): State<Arc<Office>>, headers: HeaderMap, Query(asked): Parameters) -> Response {
    let stated = async {
        let (tenant, name, _) = office.asked(&headers, asked.get("tenant"))?;
        let lying = office.lying(tenant, &name).await.map_err(|error| Failure::of(&error))?;
        let text = serde_json::to_string_pretty(&office.state(tenant, &name, &lying)).unwrap_or_default();
        let note = office.sign(STATEMENT_TITLE, digest(&SHA256, text.as_bytes()).as_ref(), &[])?;
        Ok(json!({"statement": text, "note": note}))
    };
    told(stated.await)
}

/// `GET /api/v1/audit/log`: a checkpoint over all that was entered until now, those that were kept, the one that others cosigned, and
/// the keys.
async fn log(State(office): State<Arc<Office>>, headers: HeaderMap) -> Response {
    let read = async {
        let (tenant, ..) = office.asked(&headers, None)?;
        let permit = office.desk.permit(tenant)?;
        let ledger = Arc::clone(&office.desk.parts.ledger);
        // Whoever makes a pack right after an act finds the act in it. A ledger that takes nothing more shows what it has; one that is
        // behind with the disk is asked again.
        if !ledger.is_poisoned() {
            ledger.checkpoint().await.map_err(|error| Failure::of(&error))?;
        }
        let reading = office.desk.parts.tasks.blocking(move || {
            let _permit = permit;
            ledger.shown()
        });
        let shown = reading.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        let shown = shown.map_err(|error| Failure::of(&error))?;
        Ok(json!({"verifier": shown.verifier, "checkpoint": shown.checkpoint, "kept": shown.kept,
            "cosigned": shown.cosigned.as_ref().map(|(note, _)| note), "witnesses": shown.cosigned.as_ref().map(|(_, keys)| keys)}))
    };
    told(read.await)
}

/// `GET /api/v1/audit/bodies?bundle=&size=&tenant=`: the entries of one bundle of a log of that size.
async fn bodies(State(office): State<Arc<Office>>, headers: HeaderMap, Query(asked): Parameters) -> Response {
    let number = |name: &'static str| {
        let read = asked.get(name).and_then(|text| text.parse::<u64>().ok());
        read.ok_or(PresentError::Malformed { place: name, wanted: "a number" })
    };
    let read = async {
        let (tenant, ..) = office.asked(&headers, asked.get("tenant"))?;
        let (bundle, size) = (number("bundle")?, number("size")?);
        let permit = office.desk.permit(tenant)?;
        let (ledger, visible) = (Arc::clone(&office.desk.parts.ledger), Visible::to(&office, tenant));
        let reading = office.desk.parts.tasks.blocking(move || {
            let _permit = permit;
            ledger.copied(bundle, size, &|entry| visible.shows(entry))
        });
        let bytes = reading.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        bytes.map_err(|error| Failure::of(&error))
    };
    match read.await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(failure) => told(Err(failure)),
    }
}

/// `POST /api/v1/audit/seal` `{"sha256": …}`: the region's word that a pack with this manifest was made, when and with which key.
async fn seal(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    let sealed = || {
        let (_, _, key) = office.asked(&headers, None)?;
        let body = body.0?;
        let wrong = PresentError::Malformed { place: "sha256", wanted: "64 hexadecimal digits" };
        let text = body.get("sha256").and_then(Value::as_str).ok_or(wrong)?;
        let wrong = PresentError::Malformed { place: "sha256", wanted: "64 hexadecimal digits" };
        let digest: [u8; 32] = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)?;
        let at = office.desk.parts.clock.now();
        let at = jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string());
        let note = office.sign(PACK_TITLE, &digest, &[&at, key.as_str()])?;
        Ok(json!({"note": note}))
    };
    told(sealed())
}

/// A number of a body.
fn number(body: &Value, place: &'static str) -> Result<u64, PresentError> {
    body.get(place).and_then(Value::as_u64).ok_or(PresentError::Malformed { place, wanted: "a number" })
}

impl Office {
    /// A signed note: title, name of the log, digest, and what else is said, one line each.
    fn sign(&self, title: &str, digest: &[u8], more: &[&str]) -> Result<String, Failure> {
        let mut lines = vec![hex::encode(digest)];
        lines.extend(more.iter().map(|line| (*line).to_owned()));
        self.desk.parts.ledger.says(title, &lines).map_err(|error| Failure::of(&error))
    }
}
