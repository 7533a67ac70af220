//! One immutable segment, open for reading: a tantivy index of exactly one tantivy segment.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use domicile_proto::ids::{ShardId, Timestamp};
use tantivy::{DocId, Index, ReloadPolicy, Searcher, SegmentReader};

use super::Copied;
use super::errors::SegmentError;
use super::hidden::Hidden;
use super::lookup::Lookups;
use crate::index::builder::{Built, Layout};
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
    /// Records inside, hidden ones included; none is ever deleted in place.
    pub(crate) docs: u32,
    /// Times of the oldest and the newest record, both inclusive.
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
    /// First and last place in the shard, both inclusive.
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Size of its files, in bytes.
    pub(crate) bytes: u64,
    /// Where its files lie on the disk; `None` while it is young and in memory, and where it lies in the bucket alone.
    pub(crate) dir: Option<PathBuf>,
    /// Its copy, where that is the segment.
    pub(crate) copied: Option<Copied>,
    /// When it was built; of a merged one, its oldest part.
    pub(crate) built_at: Timestamp,
    /// When the last of its records was accepted: nothing inside was received later.
    pub(crate) received_until: Timestamp,
    pub(crate) fields: Arc<Fields>,
    pub(crate) searcher: Searcher,
    /// Where ids stand, of a segment that lies in the bucket.
    pub(super) lookups: Arc<Lookups>,
    /// Records that are shown to nobody and go with the next rewrite.
    pub(super) hidden: ArcSwap<Hidden>,
}

impl Segment {
    /// Opens a segment that was just built, in memory or in `dir`.
    pub(crate) fn open(
        layout: &Layout,
        (id, shard): (SegmentId, ShardId),
        built: Built,
        dir: Option<PathBuf>,
        built_at: Timestamp,
    ) -> Result<Self, SegmentError> {
        let searcher = searcher(&built.index).map_err(|source| SegmentError::Open { segment: id, source })?;
        let found = (searcher.segment_readers().len(), searcher.num_docs());
        if found != (1, u64::from(built.docs)) {
            return Err(SegmentError::Differs {
                segment: id,
                what: "records",
                expected: built.docs.into(),
                found: found.1,
            });
        }
        Ok(Self {
            id,
            shard,
            docs: built.docs,
            oldest: built.oldest,
            newest: built.newest,
            first_seq: built.first_seq,
            last_seq: built.last_seq,
            bytes: built.bytes,
            dir,
            copied: None,
            built_at,
            received_until: built.received_until,
            fields: Arc::clone(&layout.fields),
            searcher,
            lookups: Arc::default(),
            hidden: ArcSwap::from_pointee(Hidden::nothing(built.sifted)),
        })
    }

    /// Whether it is in memory alone: what is inside is durable in the write-ahead log and nowhere else.
    pub(crate) const fn is_young(&self) -> bool {
        self.dir.is_none() && self.copied.is_none()
    }

    /// Whether it lies in the bucket alone, so that whoever reads it may wait.
    pub(crate) const fn is_away(&self) -> bool {
        self.dir.is_none() && self.copied.is_some()
    }

    /// The documents with a number in a column of hashed ids, where a table says so; `None` where the column has to be read.
    ///
    /// # Errors
    /// The table's bytes cannot be had.
    pub(crate) fn looked_up(&self, column: &str, number: u64) -> io::Result<Option<Vec<DocId>>> {
        self.lookups.of(column).map(|lookup| lookup.find(number)).transpose()
    }

    /// The reader of its one tantivy segment.
    pub(crate) fn reader(&self) -> &SegmentReader {
        self.searcher.segment_reader(0)
    }
}

/// A searcher that never looks for changes: a segment has none. It keeps no blocks of stored events: whoever reads many of them
/// keeps one while it does.
pub(super) fn searcher(index: &Index) -> Result<Searcher, tantivy::TantivyError> {
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(0).try_into()?;
    Ok(reader.searcher())
}
