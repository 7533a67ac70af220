//! What can go wrong while records become documents.

use crate::errors::{Coded, Verdict};

/// Why a segment could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The engine refused or failed, most often because of the disk beneath it.
    #[error("building a segment failed; look at the disk below `data`; the records are safe in the write-ahead log")]
    Build(#[source] tantivy::TantivyError),
    /// The directory of a new segment could not be made.
    #[error("directory `{dir}` of a new segment could not be made; check that `data` is writable and has room")]
    Directory {
        /// Which directory.
        dir: String,
        #[source]
        source: std::io::Error,
    },
}

impl Coded for IndexError {
    fn code(&self) -> &'static str {
        match self {
            Self::Build(_) => "DMC-INDEX-01",
            Self::Directory { .. } => "DMC-INDEX-02",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Broken
    }
}
