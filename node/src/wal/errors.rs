//! Why a batch was not accepted, or the log could not be opened.

use std::io;

use domicile_proto::ids::ShardId;

use crate::errors::{Coded, Verdict};
use crate::store::StoreError;

/// What can go wrong in the write-ahead log.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WalError {
    /// The stream has no shard in this region yet.
    #[error("stream has no shard in this region yet; send the batch again in a moment")]
    NoShard,
    /// Too many batches are waiting.
    #[error("{waiting} batches wait for the write-ahead log; send the batch again in a moment")]
    Busy {
        /// How many wait at most.
        waiting: usize,
    },
    /// The disk has no room. Nothing of the batch was kept.
    #[error("the disk below `{dir}` has no room for the write-ahead log; free some, then send the batch again")]
    NoRoom {
        /// Where the log lies.
        dir: String,
    },
    /// The batch, or an id in it, is larger than may be.
    #[error("batch or id of {bytes} bytes is longer than {most} bytes; send the batch in parts, or shorten the id")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// The producer used the id of an earlier batch for other bytes.
    #[error("this batch id was used in shard `{shard}` for other bytes; give each batch its own id")]
    OtherBytes {
        /// In which shard.
        shard: ShardId,
    },
    /// The region's store takes what is to be written more slowly than it comes.
    #[error(
        "{bytes} bytes wait to be written to the region's store, which is slow or away; send the batch again in a moment"
    )]
    StoreBehind {
        /// How many wait.
        bytes: usize,
    },
    /// The store did not say in time that it has the batch. It may have it, now or later.
    #[error(
        "the region's store did not confirm the batch within {seconds} seconds, and may have it; send it again, under the same batch id so that it is taken once"
    )]
    InDoubt {
        /// How long it was waited for.
        seconds: u64,
    },
    /// This node writes the shard, and has not yet read what was accepted before.
    #[error(
        "this node is about to take shard `{shard}` over and reads what was accepted before; send the batch again in a moment"
    )]
    NotHeld {
        /// Which shard.
        shard: ShardId,
    },
    /// Another node sealed this node's log for the shard.
    #[error(
        "another node of this region took shard `{shard}` over; nothing of the batch was taken here, send it again"
    )]
    Deposed {
        /// Which shard.
        shard: ShardId,
    },
    /// An object of the log in the store could not be written, read or deleted.
    #[error("`{object}` of the write-ahead log in the region's store could not be read or written; it is tried again")]
    Store {
        /// Which object.
        object: String,
        #[source]
        source: std::sync::Arc<StoreError>,
    },
    /// A write or fsync failed: what is on the disk is unknown.
    #[error(
        "the write-ahead log in `{dir}` stopped after a failed write or fsync; look at the disk, then restart the node"
    )]
    Poisoned {
        /// Where the log lies.
        dir: String,
    },
    /// The node is stopping.
    #[error("the node is stopping; send the batch to another node or in a moment")]
    Stopped,
    /// A file of the log is damaged where that cannot come from a crash.
    #[error(
        "`{file}` is damaged at byte {at}, and whole frames follow: restore the file or move it away, which loses its records"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// Where the damage begins.
        at: u64,
    },
    /// A file or the directory of the log could not be read or made.
    #[error(
        "`{file}` of the write-ahead log could not be read or written ({kind}); look at the disk and its permissions"
    )]
    Disk {
        /// Which file.
        file: String,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// A file was written by another build.
    #[error("`{file}` is not a file this build can read; start the build that wrote it once, or move the file away")]
    Foreign {
        /// Which file.
        file: String,
    },
    /// Records are missing between the segments and the log.
    #[error(
        "shard `{shard}` goes on at place {found} and should at {expected}: records between them are missing; restore its manifest and segments"
    )]
    Gap {
        /// Which shard.
        shard: ShardId,
        /// The place that should come.
        expected: u64,
        /// The place that came.
        found: u64,
    },
    /// Segments are there, and neither a manifest that names them nor a log that holds their records.
    #[error(
        "shard `{shard}` has segments in `{dir}`, no manifest that names them and no log that begins before them: nothing was deleted; \
         give the node the bucket that holds its manifests"
    )]
    NoManifest {
        /// Which shard.
        shard: ShardId,
        /// Where its segments lie.
        dir: String,
    },
}

impl Coded for WalError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoShard => "DMC-WAL-01",
            Self::Busy { .. } => "DMC-WAL-02",
            Self::NoRoom { .. } => "DMC-WAL-03",
            Self::TooLarge { .. } => "DMC-WAL-04",
            Self::OtherBytes { .. } => "DMC-WAL-05",
            Self::StoreBehind { .. } => "DMC-WAL-06",
            Self::Poisoned { .. } => "DMC-WAL-07",
            Self::Stopped => "DMC-WAL-08",
            Self::Damaged { .. } => "DMC-WAL-09",
            Self::Disk { .. } => "DMC-WAL-10",
            Self::Foreign { .. } => "DMC-WAL-11",
            Self::Gap { .. } | Self::NoManifest { .. } => "DMC-WAL-12",
            Self::InDoubt { .. } => "DMC-WAL-13",
            Self::NotHeld { .. } => "DMC-WAL-14",
            Self::Deposed { .. } => "DMC-WAL-15",
            Self::Store { .. } => "DMC-WAL-16",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::NoShard | Self::Busy { .. } | Self::Stopped | Self::NotHeld { .. } | Self::Deposed { .. } => {
                Verdict::NotNow(1)
            }
            Self::StoreBehind { .. } | Self::InDoubt { .. } => Verdict::NotNow(5),
            Self::Store { source, .. } => source.verdict(),
            Self::NoRoom { .. } => Verdict::NotNow(30),
            Self::TooLarge { .. } | Self::OtherBytes { .. } => Verdict::Refused,
            Self::Poisoned { .. }
            | Self::Damaged { .. }
            | Self::Disk { .. }
            | Self::Foreign { .. }
            | Self::Gap { .. }
            | Self::NoManifest { .. } => Verdict::Broken,
        }
    }
}
