//! What can be wrong with the ledger.

use std::io;
use std::path::PathBuf;

use domicile_proto::ids::{PolicyVersion, Region};

use crate::errors::{Coded, Verdict};
use crate::limits::OLDER_POLICY_LEAVES_FOR;

/// What is wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// It cannot be opened or read.
    #[error("the ledger `{path}` cannot be opened; check the path and who may write it")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the middle does not fit its checksum, the tree or its checkpoint.
    #[error(
        "the ledger's file `{path}` was altered or damaged after it was written (byte {offset}); the node does not write on, keep the file and restore it from a copy"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
    },
    /// Entries that a checkpoint was signed over are not there.
    #[error(
        "at `{path}` the ledger has other entries than its newest checkpoint is over: one of them is an old copy; restore the newest tail and checkpoint"
    )]
    Rewound {
        /// Where.
        path: PathBuf,
    },
    /// The key of the log is missing, or is none.
    #[error(
        "the key of the ledger `{path}` is missing or no Ed25519 key; restore it from a copy, a log cannot go on under another"
    )]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a newer build, or for another region.
    #[error(
        "the ledger `{path}` is not one of this region that this build can read; give the node its own directory or a newer build"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A write or flush failed; nothing is recorded, and so nothing leaves, until the node is started again.
    #[error(
        "the ledger could not be written and refuses everything; make room on the disk or replace it, then restart the node"
    )]
    Poisoned,
    /// The node is stopping.
    #[error("the ledger is closed; the node is stopping")]
    Closed,
    /// Its body cannot be destroyed, for it holds nothing about a person.
    #[error(
        "entry {entry} is no question and no answer that crossed: bodies of other entries hold nothing about a person and stay; give the number of a message"
    )]
    NotAMessage {
        /// Which.
        entry: u64,
    },
    /// Its bundle is still written on.
    #[error("the body of entry {entry} lies in the newest bundle; try again when {more} more entries have come")]
    TooYoung {
        /// Which.
        entry: u64,
        /// How many.
        more: u64,
    },
    /// Its body was destroyed before.
    #[error("the body of entry {entry} is destroyed already; the ledger has an entry that says why")]
    Gone {
        /// Which.
        entry: u64,
    },
    /// The route was closed before this entry.
    #[error("the route to `{to}` is closed; nothing that is released goes there until its officer opens it again")]
    Shut {
        /// Where it would have gone.
        to: Region,
    },
    /// A newer policy was told of long before this entry.
    #[error(
        "the answer was released under policy version {version}, and the ledger told of a newer one more than {} s before it would leave; it stays here, ask again",
        OLDER_POLICY_LEAVES_FOR.as_secs()
    )]
    Outdated {
        /// The version that it was released under.
        version: PolicyVersion,
    },
    /// An entry is too large.
    #[error("an entry of {bytes} bytes is larger than the ledger takes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl Coded for LedgerError {
    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "DMC-AUDIT-01",
            Self::Damaged { .. } => "DMC-AUDIT-02",
            Self::Foreign { .. } => "DMC-AUDIT-03",
            Self::Poisoned => "DMC-AUDIT-04",
            Self::Closed => "DMC-AUDIT-05",
            Self::TooLarge { .. } => "DMC-AUDIT-06",
            Self::Key { .. } => "DMC-AUDIT-07",
            Self::Rewound { .. } => "DMC-AUDIT-08",
            Self::NotAMessage { .. } => "DMC-AUDIT-09",
            Self::TooYoung { .. } => "DMC-AUDIT-10",
            Self::Gone { .. } => "DMC-AUDIT-11",
            Self::Shut { .. } => "DMC-AUDIT-12",
            Self::Outdated { .. } => "DMC-AUDIT-13",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Closed => Verdict::NotNow(5),
            Self::Outdated { .. } => Verdict::NotNow(1),
            Self::TooLarge { .. } | Self::NotAMessage { .. } | Self::Gone { .. } | Self::Shut { .. } => {
                Verdict::Refused
            }
            Self::TooYoung { .. } => Verdict::NotNow(60),
            Self::Open { .. }
            | Self::Damaged { .. }
            | Self::Rewound { .. }
            | Self::Key { .. }
            | Self::Foreign { .. }
            | Self::Poisoned => Verdict::Broken,
        }
    }
}
