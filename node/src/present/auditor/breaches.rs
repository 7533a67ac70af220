//! The register of breaches: an administrator of the operator writes it, an auditor reads it. It lies in the ledger and nowhere else;
//! what is kept in memory is how far it was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::{TenantId, Timestamp};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::super::admin::OPERATORS;
use super::super::errors::PresentError;
use super::super::native::{Body, told};
use super::Office;
use crate::audit::{Breach, BreachClock, BreachStep, Breaches, CLOCKS, Event, LedgerError};
use crate::receive::Failure;

/// How far a time that is given may lie ahead of this node's clock, in microseconds.
const AHEAD: i64 = 60 * Timestamp::MICROS;

/// How far the ledger was read for the register.
#[derive(Clone, Default)]
pub(super) struct Register(Arc<Mutex<Breaches>>);

impl Office {
    /// The register, with every entry that is durable now.
    async fn register(&self) -> Result<Breaches, Failure> {
        let (ledger, register) = (Arc::clone(&self.desk.parts.ledger), self.register.clone());
        let head = ledger.head().size;
        let reading = self.desk.parts.tasks.blocking(move || {
            let mut known = register.0.lock();
            if known.upto() < head {
                for entry in ledger.entries_after(known.upto())? {
                    let (number, entry) = entry?;
                    if number > head {
                        break;
                    }
                    known.take(number, &entry);
                }
            }
            Ok::<Breaches, LedgerError>(known.clone())
        });
        let read = reading.await.map_err(|_| Failure::of(&LedgerError::Closed))?;
        read.map_err(|error| Failure::of(&error))
    }

    fn shown(&self, id: &str, breach: &Breach) -> Value {
        let time =
            |at: Timestamp| jiff::Timestamp::from_microsecond(at.0).map_or(Value::Null, |at| json!(at.to_string()));
        let laws = self.facts.laws();
        let running = CLOCKS.iter().filter(|clock| clock.law.is_empty() || laws.iter().any(|law| law == clock.law));
        let clock = |clock: &BreachClock| {
            json!({
                "law": clock.law, "source": clock.source, "due": clock.due(breach).map(time),
                "done": clock.done(breach).map(time), "void": clock.is_void(breach),
            })
        };
        json!({
            "id": id, "learned": time(breach.learned), "closed": breach.closed.map(time), "entries": breach.entries,
            "assessed": breach.assessed.map(|(at, notifiable, malicious)| json!({"at": time(at), "notifiable": notifiable, "malicious": malicious})),
            "told": breach.told.iter().map(|(whom, at)| json!({"whom": whom, "at": time(*at)})).collect::<Vec<_>>(),
            "clocks": running.map(clock).collect::<Vec<_>>(),
        })
    }
}

/// `GET /api/v1/audit/breaches?tenant=`: what this node's ledger says of breaches of a tenant, with the clocks of the region's laws.
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    headers: HeaderMap,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let listed = async {
        let (tenant, name, _) = office.asked(&headers, asked.get("tenant"))?;
        let register = office.register().await?;
        let rows: Vec<Value> = register.of(tenant).map(|(id, breach)| office.shown(id, breach)).collect();
        Ok(
            json!({"region": office.desk.parts.region, "node": office.desk.parts.node, "tenant": name, "breaches": rows}),
        )
    };
    told(listed.await)
}

/// `POST /api/v1/breaches` `{"tenant", "breach", "step", "when"}`: one more step; without `breach` it is opened. It is in the ledger
/// when this returns.
pub(super) async fn note(State(office): State<Arc<Office>>, headers: HeaderMap, body: Body) -> Response {
    let noted = async {
        let who = office.desk.holder(&headers, "admin", |roles| roles.admin)?;
        if who.tenant() != OPERATORS {
            return Err(PresentError::OtherTenant.into());
        }
        let body = body.0?;
        let tenant = office.tenant_named(&body)?;
        let step = body.get("step").cloned().unwrap_or_else(|| json!("opened"));
        let malformed = |place, wanted| Failure::from(PresentError::Malformed { place, wanted });
        let step: BreachStep = serde_json::from_value(step)
            .map_err(|_| malformed("step", "`opened`, `assessed`, `notified` with `whom`, or `closed`"))?;
        let now = office.desk.parts.clock.now();
        let when = body.get("when").and_then(Value::as_i64).map_or(now, Timestamp);
        if when.0 < 0 || when.0 > now.0 + AHEAD {
            return Err(malformed("when", "microseconds since 1970, not in the future"));
        }
        let named = body.get("breach").and_then(Value::as_str);
        let id = match (named, step) {
            (None, BreachStep::Opened) => draw()?,
            (Some(id), step) if step != BreachStep::Opened => {
                let register = office.register().await?;
                let is_known = register.get(tenant, id).is_some();
                if is_known {
                    id.into()
                } else {
                    return Err(malformed(
                        "breach",
                        "the id of a breach of this tenant that is open in this node's ledger",
                    ));
                }
            }
            _ => return Err(malformed("breach", "an id for every step but `opened`")),
        };
        let event = Event::Breach { breach: Box::clone(&id), tenant, step, when };
        office.desk.parts.ledger.record(event).await.map_err(|error| Failure::of(&error))?;
        let register = office.register().await?;
        Ok(register.get(tenant, &id).map_or_else(|| json!({"id": id}), |breach| office.shown(&id, breach)))
    };
    told(noted.await)
}

impl Office {
    fn tenant_named(&self, body: &Value) -> Result<TenantId, Failure> {
        let policy = self.desk.parts.policy.now();
        let wanted = PresentError::Malformed { place: "tenant", wanted: "the name of a tenant" };
        let name = body.get("tenant").and_then(Value::as_str).unwrap_or("default");
        let known = policy.tenants.iter().find(|(known, _)| known.as_str() == name);
        Ok(known.map(|(_, id)| *id).ok_or(wanted)?)
    }
}

/// An id that says nothing.
fn draw() -> Result<Box<str>, Failure> {
    let mut bits = [0; 8];
    SystemRandom::new().fill(&mut bits).map_err(|_| Failure::of(&LedgerError::Closed))?;
    Ok(hex::encode(bits).into())
}
