//! Everything about a subject: read on this node and on the other nodes of the region that hold a part, whole or not at all.
//!
//! Rows go from node to node of one region and no further (RES-1). Tokens stay tokens but for those of values that the caller
//! names: whose the others are is not known. Decides nothing about links.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domicile_proto::ids::{NodeId, ShardId, StreamId, TenantId, TimeRange};
use domicile_proto::message::region::{NotGiven, PersonRows, RowBytes};
use domicile_proto::metadata::Rows;
use serde_json::{Value, json};

use super::subjects::{Named, Subjects, failed};
use crate::erase::{EraseError, RowsHere};
use crate::policy::{PolicyWatch, StreamView, Wanted};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::native::{Body, told};
use crate::present::searching::archived;
use crate::query::{Engine, Given, QueryError, Row, RowBatch};
use crate::receive::Failure;
use crate::segment::Catalog;
use crate::tasks::Tasks;

/// JSON lines: each record of the subject with its stream, at once or behind a link.
pub(super) async fn export(State(at): State<Arc<Subjects>>, headers: HeaderMap, body: Body) -> Response {
    let exported = async {
        let body = body.0?;
        at.may_export(&headers, &body)?;
        let named = at.named(&headers, &body)?;
        if named.whom.is_nobody() {
            return Err(failed(&EraseError::Nobody));
        }
        let hours = Subjects::link_hours(&body)?;
        let before = at.erasure.before_export(named.tenant);
        let own = at.own_values(&named, &body);
        let mut lines = Vec::new();
        let mut records = 0;
        for (view, rows) in at.gathered(&named).await? {
            records += rows.len();
            rows.iter().for_each(|row| line(&view, row, &own, &mut lines));
        }
        let (records, originals) = (count(records), count(own.len()));
        at.erasure.tell_export(named.tenant, records, originals).await.map_err(|error| failed(&error))?;
        Ok(match hours {
            Some(hours) => told(at.linked(named.tenant, (&lines, records), hours, before).await),
            None => (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response(),
        })
    };
    exported.await.unwrap_or_else(|failure| told(Err(failure)))
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// One record, with the values that are the subject's own in the place of their tokens.
fn line(view: &StreamView, row: &Given, own: &BTreeMap<String, String>, lines: &mut Vec<u8>) {
    let text = own.iter().fold(String::from_utf8_lossy(&row.source).into_owned(), |text, (token, value)| {
        let quoted = Value::String(value.clone()).to_string();
        text.replace(token.as_str(), quoted.trim_matches('"'))
    });
    let source: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let line = json!({"stream": view.name, "_id": row.id, "record": source});
    lines.extend_from_slice(line.to_string().as_bytes());
    lines.push(b'\n');
}

impl Subjects {
    /// Whether the key may have this export, by the same rules as a search: records are rows, and whether a value occurs may only be
    /// asked by keys that may see it. Says nothing of what is stored.
    fn may_export(&self, headers: &HeaderMap, body: &Value) -> Result<(), Failure> {
        let rows = self.admin(headers)?.0.rows();
        let names = |key: &str| {
            let said = body.get(key).filter(|said| !said.is_null());
            said.is_some_and(|said| said.as_array().is_none_or(|all| !all.is_empty()))
        };
        let (least, wanted) = if names("value") || names("values") {
            (Rows::Full, "`full`, as an export that names a value takes")
        } else {
            (Rows::Redacted, "`redacted` or `full`")
        };
        if rows < least { Err(PresentError::NotCleared { wanted }.into()) } else { Ok(()) }
    }

    /// The records of every stream that is meant, whichever node of the region holds it.
    async fn gathered(&self, named: &Named) -> Result<Vec<(Arc<StreamView>, Vec<Given>)>, Failure> {
        let us = self.desk.parts.node;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            named.streams.iter().cloned().partition(|view| view.shard.is_none_or(|(_, owner)| owner == us));
        self.desk.is_whole(&here)?;
        let mut by_node: BTreeMap<NodeId, Vec<StreamId>> = BTreeMap::new();
        for view in &elsewhere {
            if let Some((_, owner)) = view.shard {
                by_node.entry(owner).or_default().push(view.id);
            }
        }
        let whom = (named.tenant, &named.whom);
        let asked = by_node.into_iter().map(async |(node, streams)| {
            let (pieces, records) = self.erasure.rows_at(node, whom, streams.clone()).await?;
            let unread = EraseError::Elsewhere { node, why: "gave records that do not read here" };
            read(&pieces, &streams, records).ok_or(unread)
        });
        let mut found: BTreeMap<StreamId, Vec<Given>> = BTreeMap::new();
        for rows in futures::future::join_all(asked).await {
            found.extend(rows.map_err(|error| failed(&error))?);
        }
        let wanted = wanted(&named.whom.subjects, named.whom.tokens.iter().cloned());
        for view in &here {
            let Some((shard, _)) = view.shard else { continue };
            let (engine, catalog, tasks) = (&self.desk.parts.engine, &self.desk.parts.catalog, &self.desk.parts.tasks);
            if let Some(missing) = catalog.unsearched(shard, TimeRange::ALL, &catalog.view(shard)) {
                // Everything about somebody is everything.
                return Err(archived(&(view.name.clone(), missing)).into());
            }
            let rows = read_shard(engine, catalog, tasks, (shard, wanted.clone())).await?;
            found.insert(view.id, rows.into_iter().map(Given::from).collect());
        }
        let of = |view: &Arc<StreamView>| (Arc::clone(view), found.remove(&view.id).unwrap_or_default());
        Ok(named.streams.iter().map(of).collect())
    }
}

/// Rows by stream, if they are of these streams and as many as was said.
fn read(pieces: &[RowBytes], streams: &[StreamId], records: u64) -> Option<BTreeMap<StreamId, Vec<Given>>> {
    let mut found: BTreeMap<StreamId, Vec<Given>> = BTreeMap::new();
    for piece in pieces {
        let batch = RowBatch::read(&piece.0).filter(|batch| streams.contains(&batch.stream))?;
        found.entry(batch.stream).or_default().extend(batch.rows);
    }
    (count(found.values().map(Vec::len).sum()) == records).then_some(found)
}

fn wanted(subjects: &[u64], tokens: impl Iterator<Item = Box<str>>) -> Wanted {
    Wanted { subjects: subjects.iter().copied().collect(), tokens: tokens.collect() }
}

async fn read_shard(
    engine: &Engine,
    catalog: &Catalog,
    tasks: &Tasks,
    (shard, wanted): (ShardId, Wanted),
) -> Result<Vec<Row>, QueryError> {
    let (engine, segments) = (engine.clone(), catalog.view(shard).to_vec());
    let reading = tasks.blocking(move || engine.holding(segments, &wanted, TimeRange::ALL, Desk::budget(None)));
    reading.await.map_err(|_| QueryError::Cancelled)?
}

/// What records are read with where another node of the region asks for them.
pub(crate) struct Reading {
    pub(crate) us: NodeId,
    pub(crate) engine: Engine,
    pub(crate) catalog: Catalog,
    pub(crate) policy: PolicyWatch,
    pub(crate) tasks: Tasks,
}

/// Reads records of a person on this node for another one of the region: everything of the streams, or nothing.
pub(crate) fn rows_here(reading: Reading) -> RowsHere {
    let reading = Arc::new(reading);
    Arc::new(move |person| {
        let reading = Arc::clone(&reading);
        Box::pin(async move { reading.rows(person).await })
    })
}

impl Reading {
    async fn rows(&self, person: PersonRows) -> Result<(Vec<RowBytes>, u64), NotGiven> {
        let PersonRows { tenant, subjects, tokens, streams } = person;
        let wanted = wanted(&subjects, tokens.into_iter().map(|token| String::from(token).into()));
        let (mut pieces, mut records) = (Vec::new(), 0_u64);
        for stream in streams {
            let shard = self.shard_of(tenant, stream).ok_or(NotGiven::NotWhole)?;
            let rows = read_shard(&self.engine, &self.catalog, &self.tasks, (shard, wanted.clone())).await;
            let rows = rows.map_err(|error| match error {
                QueryError::TooManyHits => NotGiven::TooMany,
                _ => NotGiven::Failed,
            })?;
            records = records.saturating_add(count(rows.len()));
            pieces.extend(RowBatch::pieces(stream, rows).into_iter().map(RowBytes));
        }
        Ok((pieces, records))
    }

    /// The shard of a stream that this node holds, all of it.
    fn shard_of(&self, tenant: TenantId, stream: StreamId) -> Option<ShardId> {
        let policy = self.policy.now();
        let view = policy.streams.values().find(|view| view.tenant == tenant && view.id == stream)?;
        let (shard, _) = view.shard.filter(|(_, owner)| *owner == self.us)?;
        let is_archived = self.catalog.unsearched(shard, TimeRange::ALL, &self.catalog.view(shard)).is_some();
        (self.catalog.is_whole(shard) && !is_archived).then_some(shard)
    }
}
