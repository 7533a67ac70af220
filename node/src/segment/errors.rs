//! What can go wrong with segments.

use crate::errors::{Coded, Verdict};
use crate::segment::SegmentId;

/// Why a segment or a manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// Its files could not be read.
    #[error(
        "segment `{segment}` cannot be opened; it is damaged or its files are missing: restore it or remove its shard"
    )]
    Open {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: tantivy::TantivyError,
    },
    /// It holds another number of records than it should.
    #[error("segment `{segment}` should hold {expected} records and holds {found}; it is damaged: restore it")]
    Records {
        /// Which segment.
        segment: SegmentId,
        /// As its manifest or its builder says.
        expected: u32,
        /// As its files say.
        found: u64,
    },
}

impl Coded for SegmentError {
    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "DMC-SEGMENT-01",
            Self::Records { .. } => "DMC-SEGMENT-02",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Broken
    }
}
