//! What can be wrong with the memory of what this node has honoured.

use std::io;
use std::path::PathBuf;

use crate::errors::{Coded, Verdict};

/// What is wrong with that memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// It cannot be opened or read.
    #[error("what this node honoured before, `{path}`, cannot be opened; check the path and who may write it")]
    Open { path: PathBuf, source: io::Error },
    /// A line in it does not fit its checksum.
    #[error(
        "line {line} of what this node honoured before, `{path}`, is damaged; restore the file, for without it revoked consents could come back"
    )]
    Damaged { path: PathBuf, line: usize },
    /// A write or flush failed.
    #[error(
        "what this node honours could not be written to `{path}`; nothing new is honoured, make room on the disk and restart the node"
    )]
    Write { path: PathBuf, source: io::Error },
}

impl Coded for PolicyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "DMC-POLICY-01",
            Self::Damaged { .. } => "DMC-POLICY-02",
            Self::Write { .. } => "DMC-POLICY-03",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Broken
    }
}
