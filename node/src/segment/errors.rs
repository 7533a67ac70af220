//! What can go wrong with segments and their manifests.

use std::io;

use domicile_proto::ids::ShardId;

use crate::errors::{Coded, Verdict};
use crate::index::IndexError;
use crate::segment::SegmentId;
use crate::store::StoreError;
use crate::wal::WalError;

/// Why a segment or a manifest could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// Its files could not be read.
    #[error(
        "segment `{segment}` cannot be opened: it is damaged or files are missing; restore its directory from a copy"
    )]
    Open {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: tantivy::TantivyError,
    },
    /// It holds other records or bytes than it should.
    #[error(
        "segment `{segment}` is damaged: it should hold {expected} {what} and holds {found}; restore its directory from a copy"
    )]
    Differs {
        /// Which segment.
        segment: SegmentId,
        /// Of what.
        what: &'static str,
        /// As its manifest or its builder says.
        expected: u64,
        /// As its files say.
        found: u64,
    },
    /// Its copy in the bucket could not be opened.
    #[error("segment `{segment}` lies in the bucket alone and cannot be opened there")]
    Away {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Files or directories could not be made, flushed or removed.
    #[error("`{path}` could not be written, flushed or listed; look at the disk below `data` and its permissions")]
    Disk {
        /// Which.
        path: String,
        #[source]
        source: io::Error,
    },
    /// Another node published this manifest: the shard has another owner.
    #[error(
        "manifest {number} of shard `{shard}` was created by another node, which owns the shard now; this node stops writing it"
    )]
    Deposed {
        /// Which shard.
        shard: ShardId,
        /// Number of the manifest.
        number: u64,
    },
    /// A manifest was written by another build, or is damaged.
    #[error("manifest `{object}` cannot be read by this build; start the build that wrote it, or restore the object")]
    Manifest {
        /// Which object.
        object: String,
    },
    /// The store failed.
    #[error("manifest of shard `{shard}` could not be read or written")]
    Store {
        /// Which shard; 0 where all are meant.
        shard: ShardId,
        #[source]
        source: StoreError,
    },
    /// Building failed.
    #[error(
        "records of shard `{shard}` could not become a segment; they are safe in the write-ahead log and tried again: look at the disk"
    )]
    Build {
        /// Which shard.
        shard: ShardId,
        #[source]
        source: IndexError,
    },
    /// The work on a segment ended before its time.
    #[error(
        "work on shard `{shard}` ended before its time; its records are safe in the write-ahead log and tried again"
    )]
    Interrupted {
        /// Which shard; 0 where several are meant.
        shard: ShardId,
    },
    /// Accepted records of a shard are in no segment yet, or another node owns it.
    #[error(
        "accepted records of shard `{shard}` cannot be searched right now, and an answer without them would be wrong; ask again in a moment"
    )]
    NotWhole {
        /// Which shard.
        shard: ShardId,
    },
    /// Records lie here of which the metadata group's state, as this node has it, knows nothing.
    #[error(
        "shard `{shard}` has records on this node and belongs to no stream it knows of, so a stream without records may be wrong; ask again when the node has caught up with the metadata group"
    )]
    Unclaimed {
        /// Which shard.
        shard: ShardId,
    },
    /// The write-ahead log does not fit the segments, or did not give records again.
    #[error(transparent)]
    Log(#[from] WalError),
    /// Files of the log that should be gone are not.
    #[error(
        "{files} files of the write-ahead log still hold records that lie in no durable segment; it is tried again, and an earlier error about a shard says why"
    )]
    LogStays {
        /// How many.
        files: u64,
    },
    /// A segment could not be copied into the store.
    #[error("segment `{segment}` could not be copied into the region's store; this is tried again")]
    Copy {
        /// Which segment.
        segment: SegmentId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was erased could not be taken out of the archive.
    #[error("the archive could not be looked through for what was erased; this is tried again")]
    Archive {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Merging failed.
    #[error("segments of shard `{shard}` could not be merged; they stay as they are")]
    Merge {
        /// Which shard.
        shard: ShardId,
        #[source]
        source: tantivy::TantivyError,
    },
}

impl Coded for SegmentError {
    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "DMC-SEGMENT-01",
            Self::Differs { .. } => "DMC-SEGMENT-02",
            Self::Disk { .. } => "DMC-SEGMENT-03",
            Self::Deposed { .. } => "DMC-SEGMENT-04",
            Self::Manifest { .. } => "DMC-SEGMENT-05",
            Self::Store { .. } => "DMC-SEGMENT-06",
            Self::Build { .. } => "DMC-SEGMENT-07",
            Self::Merge { .. } => "DMC-SEGMENT-08",
            Self::Interrupted { .. } => "DMC-SEGMENT-09",
            Self::NotWhole { .. } => "DMC-SEGMENT-10",
            Self::LogStays { .. } => "DMC-SEGMENT-11",
            Self::Unclaimed { .. } => "DMC-SEGMENT-12",
            Self::Away { .. } => "DMC-SEGMENT-13",
            Self::Copy { .. } => "DMC-SEGMENT-14",
            Self::Archive { .. } => "DMC-SEGMENT-15",
            Self::Log(error) => error.code(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Store { source, .. } => source.verdict(),
            Self::Deposed { .. } => Verdict::Refused,
            Self::NotWhole { .. } | Self::Unclaimed { .. } | Self::Copy { .. } => Verdict::NotNow(5),
            Self::Away { .. } | Self::Archive { .. } => Verdict::NotNow(30),
            Self::Log(error) => error.verdict(),
            _ => Verdict::Broken,
        }
    }
}
