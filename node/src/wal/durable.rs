//! What leaves the write-ahead log: records that survive kill -9, with their places.

use std::time::Duration;

use domicile_proto::ids::{Epoch, ShardId, StreamId, TenantId, Timestamp};

use crate::classify::Classified;

/// Records of one shard that are durable, in the order of their places. Made by the log alone.
pub(crate) struct Durable {
    #[allow(dead_code, reason = "part of what a durable batch is")]
    pub(crate) tenant: TenantId,
    #[allow(dead_code, reason = "part of what a durable batch is")]
    pub(crate) stream: StreamId,
    pub(crate) shard: ShardId,
    #[allow(dead_code, reason = "part of what a durable batch is")]
    pub(crate) epoch: Epoch,
    /// When it was accepted, by the clock of the node that did.
    pub(crate) accepted_at: Timestamp,
    /// How long after receipt they must be searchable, as their stream asked.
    pub(crate) refresh: Duration,
    /// Place of the first record; the others follow without a gap. Places begin with 1.
    pub(crate) first_seq: u64,
    pub(crate) records: Vec<Classified>,
}

impl Durable {
    /// Place of the last record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + (self.records.len() as u64).saturating_sub(1)
    }

    /// Size of the records' JSON, in bytes.
    pub(crate) fn json_bytes(&self) -> usize {
        self.records.iter().map(|record| record.json().len()).sum()
    }

    /// What of it lies behind a place.
    pub(super) fn after(mut self, place: u64) -> Option<Self> {
        let held = usize::try_from((place + 1).saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        self.records.drain(..held.min(self.records.len()));
        self.first_seq += held as u64;
        (!self.records.is_empty()).then_some(self)
    }
}
