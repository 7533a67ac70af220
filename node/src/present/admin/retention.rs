//! The doors of retention: what is past its period, what a hold keeps, what was deleted; and a deletion now. Role `admin`.
//!
//! Shows numbers and digests of segments, and nothing of a record. Decides nothing about a period.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::Timestamp;
use serde_json::{Value, json};

use super::subjects::{Subjects, failed};
use crate::erase::{Fate, Planned};
use crate::present::native::{Body, told};

/// `GET /api/v1/retention`.
pub(super) async fn show(
    State(at): State<Arc<Subjects>>,
    headers: HeaderMap,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    let shown = async {
        let admin = at.admin(&headers)?;
        let tenant = at.tenant(&admin, parameters.get("tenant").map(String::as_str))?;
        let planned = at.erasure.retention_plan_with_persons(Some(tenant)).await.map_err(|error| failed(&error))?;
        Ok(json!({"streams": streams(&planned), "deletions": at.erasure.deletions(tenant)}))
    };
    told(shown.await)
}

/// `POST /api/v1/retention/run`: does not wait for the next look.
pub(super) async fn run(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let dropped = async {
        let (admin, body) = (at.admin(&headers)?, body.0?);
        let tenant = at.tenant(&admin, body.get("tenant").and_then(Value::as_str))?;
        at.erasure.drop_due(Some(tenant)).await.map(|ids| json!({"deletions": ids})).map_err(|error| failed(&error))
    };
    told(dropped.await)
}

/// What there is of a stream, by fate.
#[derive(Default)]
struct Sum {
    segments: Vec<Value>,
    records: u64,
    bytes: u64,
    next: Option<Timestamp>,
}

impl Sum {
    fn add(&mut self, one: &Planned) {
        let hold = if let Fate::Held(id) = &one.fate { Some(id) } else { None };
        let received_until = one.lying.received_until;
        self.segments.push(json!({
            "segment": one.lying.segment.to_string(), "records": one.lying.records, "bytes": one.lying.bytes,
            "received_until": received_until, "hold": hold,
        }));
        self.records += u64::from(one.lying.records);
        self.bytes += one.lying.bytes;
        if let Fate::Until(until) = one.fate {
            self.next = Some(self.next.map_or(until, |next| next.min(until)));
        }
    }

    fn told(&self) -> Value {
        json!({"segments": self.segments, "records": self.records, "bytes": self.bytes})
    }
}

fn streams(planned: &[Planned]) -> Vec<Value> {
    let mut sums: BTreeMap<&str, (u32, Sum, Sum, Sum)> = BTreeMap::new();
    for one in planned {
        let (days, due, held, kept) = sums.entry(one.period.name.as_str()).or_default();
        *days = one.period.days;
        match one.fate {
            Fate::Due => due.add(one),
            Fate::Held(_) => held.add(one),
            Fate::Until(_) => kept.add(one),
        }
    }
    let told = sums.into_iter().map(|(stream, (days, due, held, kept))| {
        json!({
            "stream": stream, "retention_days": days, "due": due.told(), "held": held.told(),
            "kept": {"segments": kept.segments.len(), "records": kept.records, "bytes": kept.bytes},
            "next_due_at": kept.next,
        })
    });
    told.collect()
}
