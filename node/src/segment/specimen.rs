//! Small segments for tests of this stage and of those to the right.

use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Epoch, Level, ShardId, StreamId, TenantId, Timestamp};
use serde_json::{Map, Value};

use super::{Segment, SegmentId};
use crate::classify::Classified;
use crate::index::builder::{Builder, Layout};
use crate::parse::Envelope;
use crate::wal::Durable;

/// A record from JSON: its level from `level`, its id from `_id`, which is taken out; subject as given.
pub(crate) fn record(at: i64, subject: Option<u64>, event: Value) -> Classified {
    let mut source: Map<String, Value> = event.as_object().cloned().unwrap();
    let id = source.shift_remove("_id").map(|id| id.as_str().unwrap().into());
    let level = source.get("level").and_then(Value::as_str).and_then(Level::recognise).unwrap_or_default();
    let envelope = Envelope::locate(&source);
    let json = serde_json::to_vec(&source).unwrap();
    Classified::reopened(Timestamp(at), level, id, envelope, subject, json).unwrap()
}

/// For shards of which nothing lies in the bucket alone.
pub(crate) fn no_copies() -> super::OpenCopied {
    Arc::new(|_, _, row| {
        let segment = row.id().unwrap();
        Box::pin(async move { Err(super::SegmentError::Away { segment, source: "none is expected".into() }) })
    })
}

/// Records of a shard that follow each other.
pub(crate) fn durable(shard: u64, first_seq: u64, records: Vec<Classified>) -> Durable {
    Durable {
        tenant: TenantId(1),
        stream: StreamId(1),
        shard: ShardId(shard),
        epoch: Epoch(1),
        accepted_at: Timestamp(0),
        refresh: Duration::from_millis(100),
        first_seq,
        records,
    }
}

/// A segment in memory. The shard and the first place make its id.
pub(crate) fn segment(layout: &Layout, durable: Durable) -> Arc<Segment> {
    let shard = durable.shard;
    let id = SegmentId((u128::from(shard.0) << 64) | u128::from(durable.first_seq));
    let mut builder = Builder::in_memory(layout, 0).unwrap();
    builder.add(durable).unwrap();
    Arc::new(Segment::open(layout, (id, shard), builder.finish().unwrap().unwrap(), None, Timestamp(0)).unwrap())
}
