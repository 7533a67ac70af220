//! The doors of the lifecycle: what should lie elsewhere and why, where everything lies, whether it is whole, and what a question
//! would read of it. Role `admin`; of the own tenant, for the operator's of all. Only the operator has something moved.
//!
//! Shows numbers and digests of segments, and nothing of a record. Decides nothing about when a segment moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use domicile_proto::ids::{Name, ShardId, TenantId, Timestamp};
use serde_json::{Value, json};

use super::{OPERATORS, archive};
use crate::admit::Principal;
use crate::config::StoreSection;
use crate::policy::StreamView;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::query::{Literals, SearchRequest, Sort, TrackTotal, elastic};
use crate::receive::Failure;
use crate::segment::{Archived, Segment, SegmentId};
use crate::tier::{Lying, Move, Mover, Why};

/// A desk with the mover beside it.
pub(crate) struct Places {
    pub(super) desk: Arc<Desk>,
    pub(super) mover: Arc<Mover>,
    store: StoreSection,
}

/// The doors.
pub(crate) fn router(desk: Arc<Desk>, mover: Arc<Mover>, store: StoreSection) -> Router {
    listed()
        .into_iter()
        .fold(Router::new(), |router, (path, method)| router.route(path, method))
        .with_state(Arc::new(Places { desk, mover, store }))
}

/// Routes by path; every one stands in the API document.
pub(crate) fn listed() -> Vec<(&'static str, MethodRouter<Arc<Places>>)> {
    vec![
        ("/api/v1/lifecycle", get(plan)),
        ("/api/v1/lifecycle/run", post(run)),
        ("/api/v1/lifecycle/restore", post(archive::restore)),
        ("/api/v1/lifecycle/restores", get(archive::restores)),
        ("/api/v1/storage", get(list)),
        ("/api/v1/storage/verify", post(verify)),
        ("/api/v1/storage/explain", post(explain)),
    ]
}

/// Whose segments somebody may see, by shard.
type Seen = BTreeMap<ShardId, Arc<StreamView>>;

impl Places {
    /// Who asks, and what is seen.
    pub(super) fn seen(&self, headers: &HeaderMap) -> Result<(Principal, Seen), Failure> {
        let who = self.desk.holder(headers, "admin", |roles| roles.admin)?;
        let tenant = who.tenant();
        let may = |of: TenantId| tenant == OPERATORS || of == tenant;
        let policy = self.desk.parts.policy.now();
        let own = policy.streams.values().filter(|view| may(view.tenant));
        Ok((who, own.filter_map(|view| Some((view.shard?.0, Arc::clone(view)))).collect()))
    }

    /// Who asks, and the segment of the archive that a body names, where it is one.
    fn archived(&self, headers: &HeaderMap, body: &Value) -> Result<Option<(Principal, ShardId, Archived)>, Failure> {
        let (who, seen) = self.seen(headers)?;
        let wanted = body.get("segment").and_then(Value::as_str).unwrap_or_default();
        let found = seen.keys().find_map(|shard| {
            let archive = self.desk.parts.catalog.archive(*shard);
            let one = archive.iter().find(|one| one.id().is_some_and(|id| id.to_string() == wanted));
            one.map(|one| (*shard, one.clone()))
        });
        Ok(found.map(|(shard, one)| (who, shard, one)))
    }

    /// Who asks, and the segment that a body names with its stream, where it may be seen.
    fn named(&self, headers: &HeaderMap, body: &Value) -> Result<Named, Failure> {
        let (who, seen) = self.seen(headers)?;
        let wanted = || PresentError::Malformed { place: "segment", wanted: "the id of a segment of this node" };
        let id = body.get("segment").and_then(Value::as_str).and_then(|text| u128::from_str_radix(text, 16).ok());
        let id = SegmentId(id.ok_or_else(wanted)?);
        let all = |shard: &ShardId| self.desk.parts.catalog.view(*shard).to_vec();
        let mut all = seen.iter().flat_map(|(shard, stream)| all(shard).into_iter().map(move |one| (one, stream)));
        let (segment, stream) = all.find(|(segment, _)| segment.id == id).ok_or_else(wanted)?;
        Ok(Named { who, segment, stream: Arc::clone(stream) })
    }
}

struct Named {
    who: Principal,
    segment: Arc<Segment>,
    stream: Arc<StreamView>,
}

/// `GET /api/v1/lifecycle`.
async fn plan(State(at): State<Arc<Places>>, headers: HeaderMap) -> Response {
    let shown = async {
        let (_, seen) = at.seen(&headers)?;
        let moves: Vec<_> =
            at.mover.planned().iter().filter(|one| seen.contains_key(&one.lying.shard)).map(shown).collect();
        let state = at.mover.state();
        let trouble = state.trouble.map(|(code, since)| json!({"code": code, "at": since}));
        Ok(json!({"moves": moves, "moved": state.moved, "moving": state.moving, "trouble": trouble}))
    };
    told(shown.await)
}

/// `POST /api/v1/lifecycle/run`: does not wait for the next look.
async fn run(State(at): State<Arc<Places>>, headers: HeaderMap) -> Response {
    let moved = async {
        let who = at.desk.holder(&headers, "admin", |roles| roles.admin)?;
        if who.tenant() != OPERATORS {
            return Err(PresentError::OtherTenant.into());
        }
        Ok(json!({"moved": at.mover.carry_out().await, "trouble": at.mover.state().trouble.map(|(code, _)| code)}))
    };
    told(moved.await)
}

/// `GET /api/v1/storage`.
async fn list(State(at): State<Arc<Places>>, headers: HeaderMap) -> Response {
    let shown = async {
        let (who, seen) = at.seen(&headers)?;
        let lying: BTreeMap<SegmentId, Lying> = at.mover.lying().iter().map(|one| (one.segment, *one)).collect();
        let mut rows = Vec::new();
        for (shard, stream) in &seen {
            let archive = at.desk.parts.catalog.archive(*shard);
            let in_archive = |segment: &Segment| archive.iter().any(|one| one.id() == Some(segment.id));
            let view = at.desk.parts.catalog.view(*shard);
            rows.extend(view.iter().filter(|one| !in_archive(one)).map(|one| row(one, stream, lying.get(&one.id))));
            rows.extend(archive.iter().map(|one| archived(one, (*shard, stream), &lying)));
        }
        let place = |store: &StoreSection| {
            let StoreSection { kind, bucket, prefix, location, path, .. } = store;
            json!({"kind": kind, "name": bucket, "prefix": prefix, "location": location, "directory": path})
        };
        let policy = at.desk.parts.policy.now();
        let is_seen = |tenant: &Name| who.tenant() == OPERATORS || policy.tenants.get(tenant) == Some(&who.tenant());
        let own = at.store.buckets.iter().filter(|entry| entry.tenant.as_ref().is_some_and(is_seen));
        let own = own.map(|entry| {
            let (tenant, stream, closed) = (&entry.tenant, &entry.stream, entry.closed);
            json!({"tenant": tenant, "stream": stream, "closed": closed, "bucket": place(&entry.store)})
        });
        Ok(json!({
            "region": at.desk.parts.region, "node": at.desk.parts.node, "bucket": place(&at.store),
            "own_buckets": own.collect::<Vec<_>>(), "segments": rows,
        }))
    };
    told(shown.await)
}

/// `POST /api/v1/storage/verify`: reads a segment again, all of it, and compares it with its checksums.
async fn verify(State(at): State<Arc<Places>>, headers: HeaderMap, body: Body) -> Response {
    let verified = async {
        let body = body.0?;
        let (_permit, id, verified) = match at.archived(&headers, &body)? {
            Some((who, shard, archived)) => {
                let permit = at.desk.permit(who.tenant())?;
                let id = archived.id().unwrap_or(SegmentId(0)).to_string();
                (permit, id, at.mover.verify_archived(shard, &archived).await)
            }
            None => {
                let Named { who, segment, .. } = at.named(&headers, &body)?;
                let permit = at.desk.permit(who.tenant())?;
                (permit, segment.id.to_string(), at.mover.verify(segment).await)
            }
        };
        Ok(match verified {
            Ok(bytes) => json!({"segment": id, "is_whole": true, "bytes": bytes}),
            Err(error) => {
                let code = crate::errors::Coded::code(&error);
                json!({"segment": id, "is_whole": false, "code": code, "damage": error.to_string()})
            }
        })
    };
    told(verified.await)
}

/// `POST /api/v1/storage/explain`: what a question reads of a segment of which nothing has been read. Counts it by asking.
async fn explain(State(at): State<Arc<Places>>, headers: HeaderMap, body: Body) -> Response {
    let explained = async {
        let body = body.0?;
        let Named { who, segment, stream } = at.named(&headers, &body)?;
        let permit = at.desk.permit(who.tenant())?;
        let Some(cold) = at.mover.unread(&segment).await.map_err(|error| Failure::of(&error))? else {
            return Ok(json!({
                "segment": segment.id.to_string(), "tier": "disk",
                "opening": {"requests": 0, "bytes": 0}, "question": {"requests": 0, "bytes": 0},
            }));
        };
        let query = body.get("query").cloned().unwrap_or_else(|| json!({"match_all": {}}));
        let (classifier, streams, rows) = (&at.desk.parts.classifier, &[stream][..], who.rows());
        let filter = Literals { classifier, streams, rows }.in_filter(elastic::filter(&query, &at.desk.dates())?)?;
        let request = SearchRequest {
            filter,
            range: domicile_proto::ids::TimeRange::ALL,
            sort: Sort::Newest,
            size: 10,
            after: None,
            total: TrackTotal::Exact,
            budget: Desk::budget(None),
        };
        let (engine, asked) = (at.desk.parts.engine.clone(), Arc::clone(&cold.segment));
        let asking = at.desk.parts.tasks.blocking(move || {
            let _permit = permit;
            engine.search(&request, vec![asked], rows)?.rows()
        });
        asking.await.map_err(|_| crate::query::QueryError::Cancelled)??;
        let (requests, bytes) = cold.read();
        Ok(json!({
            "segment": segment.id.to_string(), "tier": "cold", "opening": {"requests": 1, "bytes": cold.opening},
            "question": {"requests": requests, "bytes": bytes},
        }))
    };
    told(explained.await)
}

fn shown(one: &Move) -> Value {
    let why = match &one.why {
        Why::Age { days, after } => format!("received {days} days ago, and the policy says {after}"),
        Why::Validity { days, after } => format!("archived {days} days ago, and kept there for {after}"),
        Why::Wanted { until } => format!("somebody wants it searched until {}", day(*until)),
        Why::Expired => "its copy was wanted until now".to_owned(),
        Why::Watermark { used, mark } => format!("the disk holds {used} bytes of segments, and {mark} are its mark"),
        Why::Held(hold) => format!("would be; legal hold {hold} keeps it"),
        Why::Erasing => "would be; erased records go first".to_owned(),
    };
    json!({
        "stream": one.name, "segment": one.lying.segment.to_string(), "records": one.lying.records,
        "bytes": one.lying.bytes, "received_until": one.lying.received_until,
        "from": one.lying.place.as_str(), "to": one.action.as_str(), "is_due": one.is_due(), "why": why,
    })
}

fn day(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.0}"))
}

/// One that lies in the archive; whether a copy of it is searched.
fn archived(one: &Archived, (shard, stream): (ShardId, &StreamView), lying: &BTreeMap<SegmentId, Lying>) -> Value {
    let (row, copied) = (&one.row, one.row.copied.as_ref());
    let known = one.id().and_then(|id| lying.get(&id)).and_then(|lying| lying.archive);
    json!({
        "stream": stream.name, "shard": shard, "segment": one.id().map(|id| id.to_string()), "tier": "archived",
        "records": row.docs, "bytes": row.bytes, "oldest": row.oldest, "newest": row.newest,
        "received_until": row.received_until, "object": copied.map(|copied| &copied.object),
        "sha256": copied.map(|copied| &copied.sha256), "bytes_in_bucket": copied.map(|copied| copied.bytes),
        "moved_at": one.since, "is_restored": known.is_some_and(|known| known.is_restored),
        "wanted_until": one.wanted_until,
    })
}

fn row(segment: &Segment, stream: &StreamView, lying: Option<&Lying>) -> Value {
    let copied = segment.copied.as_ref();
    json!({
        "stream": stream.name, "shard": segment.shard, "segment": segment.id.to_string(),
        "tier": lying.map_or("memory", |lying| lying.place.as_str()), "records": segment.docs, "bytes": segment.bytes,
        "oldest": segment.oldest, "newest": segment.newest, "received_until": segment.received_until,
        "object": copied.map(|copied| &copied.object), "sha256": copied.map(|copied| &copied.sha256),
        "bytes_in_bucket": copied.map(|copied| copied.bytes), "moved_at": copied.map(|copied| copied.at),
    })
}
