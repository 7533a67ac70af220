//! What goes into the write-ahead log and what comes back: a batch of classified records of one stream.

use std::sync::Arc;

use domicile_proto::ids::{Epoch, ShardId};

use crate::classify::Classified;
use crate::policy::StreamView;

/// What the producer asked for, record by record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Take it; a known `_id` is a conflict.
    Create,
    /// Take it; a known `_id` with the same bytes is a no-op, with other bytes a conflict.
    Index,
}

/// What is known of a batch that its producer gave an id (`X-Domicile-Batch`): a keyed hash of the id, in hexadecimal digits, and one of
/// the body it came in. Neither says anything to who does not have the region's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerBatch {
    pub(crate) id: Box<str>,
    pub(crate) sha256: [u8; 32],
}

/// Records of one stream that are accepted together or not at all.
pub(crate) struct Batch {
    pub(crate) stream: Arc<StreamView>,
    pub(crate) producer: Option<ProducerBatch>,
    pub(crate) records: Vec<(Op, Classified)>,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Durable, at this place of the shard.
    Created {
        /// Place in the shard; its generated `_id` is `<shard>-<seq>` in hexadecimal.
        seq: u64,
    },
    /// The same bytes under the same `_id` were accepted before, at this place.
    Noop {
        /// Place in the shard.
        seq: u64,
    },
    /// The `_id` is known with other bytes, or known at all to a `create`.
    Conflict,
}

/// A batch that survives kill -9 from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    /// One for each record, in the order of the batch.
    pub(crate) outcomes: Vec<Outcome>,
    /// The whole batch had been accepted before under the same producer id and bytes.
    pub(crate) repeated: bool,
}
