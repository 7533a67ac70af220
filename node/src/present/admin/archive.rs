//! The doors of the archive: what of it is to be restored, and how that goes. Role `admin`; of the own tenant, for the operator's of
//! all. Restoring costs money and puts records back where they are searched, so a search key cannot ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::{ShardId, TenantId, TimeRange, Timestamp};
use serde_json::{Value, json};

use super::lifecycle::Places;
use crate::limits::{RESTORE_DAYS, RESTORE_DAYS_MOST};
use crate::policy::StreamView;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::receive::Failure;
use crate::segment::Archived;
use crate::tier::{Back, DAY};

/// `POST /api/v1/lifecycle/restore`.
pub(super) async fn restore(State(at): State<Arc<Places>>, headers: HeaderMap, body: Body) -> Response {
    let asked = async {
        let body = body.0?;
        let (_, seen) = at.seen(&headers)?;
        let shards = shards_of(&at, &seen, &body)?;
        let range = range_of(&at, &body)?;
        let until = until_of(&at, &body)?;
        let asked = at.mover.ask_back(&shards, range, until).await.map_err(|error| Failure::of(&error))?;
        // Nobody waits here for what may take hours.
        at.mover.look_now();
        Ok(json!({
            "segments": asked.segments, "records": asked.records, "bytes": asked.bytes, "until": until,
            "from": range.from, "to": range.to,
        }))
    };
    told(asked.await)
}

/// `GET /api/v1/lifecycle/restores`.
pub(super) async fn restores(State(at): State<Arc<Places>>, headers: HeaderMap) -> Response {
    let shown = async {
        let (_, seen) = at.seen(&headers)?;
        let (mut restores, mut fetched, mut wanted) = (Vec::new(), 0, 0);
        for back in at.mover.backs() {
            let Some(stream) = seen.get(&back.shard) else { continue };
            fetched += back.fetched.min(back.archived.bytes());
            wanted += back.archived.bytes();
            restores.push(of(&back, stream));
        }
        let trouble = at.mover.state().trouble.map(|(code, since)| json!({"code": code, "at": since}));
        Ok(json!({"restores": restores, "bytes": wanted, "fetched": fetched, "trouble": trouble}))
    };
    told(shown.await)
}

fn of(back: &Back, stream: &StreamView) -> Value {
    let Archived { row, since, .. } = &back.archived;
    let state = match (back.is_restored, back.fetched) {
        (true, _) => "restored",
        (false, 0) => "waiting",
        (false, _) => "restoring",
    };
    json!({
        "stream": stream.name, "segment": row.id().map(|id| id.to_string()), "state": state,
        "fetched": back.fetched.min(back.archived.bytes()), "bytes": back.archived.bytes(), "records": row.docs,
        "oldest": row.oldest, "newest": row.newest, "archived_at": since, "until": back.until,
    })
}

/// The shards of the stream that a body names. What of it lies in the archive is known to the node that writes it.
fn shards_of(at: &Places, seen: &BTreeMap<ShardId, Arc<StreamView>>, body: &Value) -> Result<Vec<ShardId>, Failure> {
    let wrong = |place, wanted| PresentError::Malformed { place, wanted };
    let name = body.get("stream").and_then(Value::as_str).ok_or_else(|| wrong("stream", "the name of a stream"))?;
    let tenant = match body.get("tenant") {
        None | Some(Value::Null) => None,
        Some(tenant) => {
            Some(serde_json::from_value::<TenantId>(tenant.clone()).map_err(|_| wrong("tenant", "its number"))?)
        }
    };
    let is_meant = |stream: &StreamView| stream.name.as_str() == name && tenant.is_none_or(|of| of == stream.tenant);
    let found: Vec<_> = seen.iter().filter(|(_, stream)| is_meant(stream)).collect();
    if found.iter().any(|(_, stream)| found.first().is_some_and(|(_, first)| first.tenant != stream.tenant)) {
        return Err(wrong("tenant", "its number: several tenants have a stream of this name").into());
    }
    if found.is_empty() {
        return Err(PresentError::NoIndex { index: name.chars().take(80).collect() }.into());
    }
    let streams: Vec<_> = found.iter().map(|(_, stream)| Arc::clone(stream)).collect();
    at.desk.is_here(&streams)?;
    Ok(found.into_iter().map(|(shard, _)| *shard).collect())
}

/// Both ends as far as they are written: a day means all of it.
fn range_of(at: &Places, body: &Value) -> Result<TimeRange, PresentError> {
    let wrong =
        PresentError::Malformed { place: "from, to", wanted: "dates, as `2026-11-20` or `2026-11-20T10:00:00Z`" };
    let dates = at.desk.dates();
    let read = |key: &str| body.get(key).and_then(Value::as_str).and_then(|text| dates.stretch(text));
    match (read("from"), read("to")) {
        (Some(from), Some(to)) if from.from < to.to => Ok(TimeRange { from: from.from, to: to.to }),
        _ => Err(wrong),
    }
}

fn until_of(at: &Places, body: &Value) -> Result<Timestamp, PresentError> {
    let days = body.get("days").filter(|days| !days.is_null());
    let days = days.map_or_else(|| Some(u64::from(RESTORE_DAYS)), Value::as_u64);
    let days = days.and_then(|days| u32::try_from(days).ok()).filter(|days| (1..=RESTORE_DAYS_MOST).contains(days));
    let wrong = PresentError::Malformed { place: "days", wanted: "how many days they are wanted, 1 to 90" };
    let now = at.desk.parts.clock.now();
    days.map(|days| Timestamp(now.0.saturating_add(i64::from(days) * DAY))).ok_or(wrong)
}
