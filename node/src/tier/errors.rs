//! What can go wrong while segments move.

use std::io;

use crate::errors::{Coded, Verdict};
use crate::segment::{SegmentError, SegmentId};
use crate::store::StoreError;

/// Why a segment could not be copied out or opened again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TierError {
    /// It is still in memory.
    #[error("segment `{segment}` is still in memory; it can be copied out once it is durable")]
    Young {
        /// Which segment.
        segment: SegmentId,
    },
    /// Its files on the local disk are damaged: a damaged copy is not made.
    #[error("file `{file}` of segment `{segment}` is damaged; restore its directory from a copy")]
    Damaged {
        /// Which segment.
        segment: SegmentId,
        /// Which file.
        file: String,
    },
    /// The object is not what was copied out.
    #[error("object `{object}` is not what was copied out; restore it from another copy of the bucket")]
    Altered {
        /// Which object.
        object: String,
    },
    /// Files could not be read or written.
    #[error("`{path}` could not be read or written; look at the disk below `data` and its permissions")]
    Disk {
        /// Which.
        path: String,
        #[source]
        source: io::Error,
    },
    /// The bucket failed.
    #[error("segment `{segment}` could not be moved to or from the bucket")]
    Store {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: Box<StoreError>,
    },
    /// What came back does not open.
    #[error("segment `{segment}` came back from the bucket and does not open")]
    Open {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: Box<SegmentError>,
    },
}

impl Coded for TierError {
    fn code(&self) -> &'static str {
        match self {
            Self::Young { .. } => "DMC-TIER-01",
            Self::Damaged { .. } => "DMC-TIER-02",
            Self::Altered { .. } => "DMC-TIER-03",
            Self::Disk { .. } => "DMC-TIER-04",
            Self::Store { .. } => "DMC-TIER-05",
            Self::Open { .. } => "DMC-TIER-06",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Young { .. } => Verdict::NotNow(60),
            Self::Store { source, .. } => source.verdict(),
            Self::Open { source, .. } => source.verdict(),
            Self::Damaged { .. } | Self::Altered { .. } | Self::Disk { .. } => Verdict::Broken,
        }
    }
}
