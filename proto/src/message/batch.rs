//! Batches of records on their way to the node of the region that writes their streams, and what that node says became of each.
//!
//! Raw records stand here, as a producer sent them. Only [`crate::link::neighbour::Neighbour`] sends them, over a protocol on
//! which no node of another region is listened to (RES-1). No `Debug` here shows a letter of what a producer gave.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::region::Asker;
use crate::ids::{StreamId, Timestamp};

/// Largest batch that one message carries, in bytes as [`RecordBatch::weight`] counts them: with the frame's own it fits.
pub const MAX_BATCH: usize = 15 << 20;
/// Most streams of one such batch.
pub const MAX_BATCH_STREAMS: usize = 256;
/// Most records of one such batch.
pub const MAX_BATCH_RECORDS: usize = 100_000;
/// Longest id that a producer gave, in bytes.
pub const MAX_GIVEN_ID: usize = 512;
/// What a record takes in the message beside its bytes and its id, in bytes, at most.
const PLACE_BYTES: usize = 32;

/// Bytes of records, as a producer sent them. `Debug` says how many and shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBytes(pub Vec<u8>);

impl fmt::Debug for RecordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBytes").field("bytes", &self.0.len()).finish()
    }
}

// In one piece, for they are megabytes; the bytes of the frame are those of a sequence.
impl Serialize for RecordBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes of records")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// An id that a producer gave to a record or to a batch. `Debug` shows no letter: it may name a person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GivenId(pub Box<str>);

impl GivenId {
    fn is_bounded(&self) -> bool {
        (1..=MAX_GIVEN_ID).contains(&self.0.len())
    }
}

impl fmt::Debug for GivenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenId")
    }
}

/// What the records of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchForm {
    /// JSON objects.
    Json,
    /// Any text.
    Text,
}

/// One record of a batch: where it stands in the body, and what its producer said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// The place of its stream in [`RecordBatch::streams`].
    pub stream: u16,
    /// Whether it is taken only where its id is not known yet.
    pub is_create: bool,
    /// Its id.
    pub id: Option<GivenId>,
    /// Its first byte in the body.
    pub from: u32,
    /// The byte behind its last one.
    pub to: u32,
}

/// Records that came in at one node of a region, for streams that the node which is told writes. That one takes them or says why
/// not, and passes nothing on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBatch {
    /// For whom; the node that is told looks the key up itself.
    pub asker: Asker,
    /// Their streams; one alone where the batch has an id.
    pub streams: Vec<StreamId>,
    /// What they are.
    pub form: BatchForm,
    /// When they came in.
    pub received_at: Timestamp,
    /// The producer's id of the batch. With it the body is the producer's own, byte for byte, so that it is known again whichever
    /// node it comes in at.
    pub id: Option<GivenId>,
    /// Whether the answer waits until the records can be searched.
    pub refresh: bool,
    /// The records, in the order of the request.
    pub records: Vec<BatchRecord>,
    /// What their places point into.
    pub body: RecordBytes,
}

impl RecordBatch {
    /// How much of [`MAX_BATCH`] it takes, in bytes.
    pub fn weight(&self) -> usize {
        let of = |record: &BatchRecord| PLACE_BYTES + record.id.as_ref().map_or(0, |id| id.0.len());
        self.records.iter().map(of).fold(self.body.0.len(), usize::saturating_add)
    }

    /// Whether everything is within its bound, and every place lies in the body.
    pub fn is_bounded(&self) -> bool {
        let fits = |record: &BatchRecord| {
            let is_inside =
                record.from <= record.to && usize::try_from(record.to).is_ok_and(|to| to <= self.body.0.len());
            is_inside
                && usize::from(record.stream) < self.streams.len()
                && record.id.as_ref().is_none_or(GivenId::is_bounded)
        };
        let streams = if self.id.is_some() { 1 } else { MAX_BATCH_STREAMS };
        (1..=streams).contains(&self.streams.len())
            && (1..=MAX_BATCH_RECORDS).contains(&self.records.len())
            && self.id.as_ref().is_none_or(GivenId::is_bounded)
            && self.weight() <= MAX_BATCH
            && self.records.iter().all(fits)
    }
}

/// What became of one record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordFate {
    /// Durable, at this place of its shard.
    Created(u64),
    /// Was durable before, at this place of its shard.
    Noop(u64),
    /// Dropped, as the stream's policy says.
    Dropped,
    /// Not taken: the place of the reason in [`BatchFates::failures`], and whether the record is told of by its id.
    Failed(u16, bool),
    /// Not taken: the node does not write its stream.
    NotMine,
}

/// Why a record was not taken, for the door it came in at. It holds nothing of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFailure {
    /// HTTP status.
    pub status: u16,
    /// Elasticsearch's name for the kind of failure.
    pub kind: Box<str>,
    /// Stable code.
    pub code: Box<str>,
    /// What failed, and what to do.
    pub reason: Box<str>,
    /// Seconds after which a repetition makes sense.
    pub retry_after: Option<u32>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFates {
    /// Of each record, in the order of the batch.
    pub fates: Vec<RecordFate>,
    /// Why records were not taken, each reason once.
    pub failures: Vec<BatchFailure>,
    /// Ids that records have there, by place, where they are not those that were given: what is personal in one was replaced.
    pub ids: Vec<(u32, GivenId)>,
    /// Everything had been accepted before under the same id of the batch.
    pub repeated: bool,
}

/// Why a node takes nothing of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotTaken {
    /// It does not know the key, or not as one that may send records.
    Stranger,
    /// The batch breaks a bound.
    Unread,
    /// It is about to stop.
    Stopping,
    /// It has no room for it, or the tenant's rate is used up.
    Full(BatchFailure),
}
