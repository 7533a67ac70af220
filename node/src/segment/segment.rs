//! One immutable segment, open for reading: a tantivy index of exactly one tantivy segment.

use std::fmt;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, Timestamp};
use tantivy::{Searcher, SegmentReader};

use crate::index::schema::Fields;

/// Id of a segment, drawn at random when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(pub(crate) u128);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A segment that can be searched. Cheap to hold: its files are mapped, or in memory while it is young.
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) shard: ShardId,
    /// Records inside; none is ever deleted in place.
    pub(crate) docs: u32,
    /// Times of the oldest and the newest record, both inclusive.
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    /// First and last place in the shard, both inclusive.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Size of its files, in bytes.
    pub(crate) bytes: u64,
    pub(crate) fields: Arc<Fields>,
    pub(crate) searcher: Searcher,
}

impl Segment {
    /// The reader of its one tantivy segment.
    pub(crate) fn reader(&self) -> &SegmentReader {
        self.searcher.segment_reader(0)
    }
}
