//! What keeps a node from running: the error of the stage it came from, with that stage's code.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domicile_meta::error::MetaError;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::{IdentityError, PeerId};
use domicile_proto::link::pki::{self, PkiError};

use crate::audit::LedgerError;
use crate::classify::ClassifyError;
use crate::config::{ConfigError, NodeConfig};
use crate::erase::EraseError;
use crate::errors::{Coded, Verdict};
use crate::keys::KeysError;
use crate::policy::PolicyError;
use crate::query::QueryError;
use crate::receive::ReceiveError;
use crate::segment::SegmentError;
use crate::store::StoreError;
use crate::wal::WalError;

/// Why a node does not run, or did not stop in time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Erase(#[from] EraseError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The certificate names no region and node.
    #[error(
        "the certificate `{path}` does not say which node of which region this is; issue one with `domicile pki issue`"
    )]
    Identity { path: PathBuf, source: IdentityError },
    /// The data directory cannot be made.
    #[error("the data directory `{path}` cannot be made; correct `data_dir` or its permissions")]
    DataDir { path: PathBuf, source: std::io::Error },
    /// Another node works in the data directory.
    #[error("another node works in the data directory `{path}`; give each node a directory of its own in `data_dir`")]
    InUse { path: PathBuf },
    /// The operating system takes no wish to hear signals.
    #[error("signals cannot be heard; look at the limits of the process")]
    Signals(#[source] std::io::Error),
    /// Work that runs beside the runtime was cut off.
    #[error("starting was cut off; the log above says by what")]
    Interrupted,
    /// Not everything ended in time.
    #[error("not everything ended within {} s; what was acknowledged is safe in the log", limit.as_secs())]
    StopDeadline { limit: Duration },
}

impl Coded for NodeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Erase(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Classify(error) => error.code(),
            Self::Ledger(error) => error.code(),
            Self::Link(error) => error.code(),
            Self::Pki(error) => error.code(),
            Self::Meta(error) => error.code(),
            Self::Policy(error) => error.code(),
            Self::Segment(error) => error.code(),
            Self::Wal(error) => error.code(),
            Self::Query(error) => error.code(),
            Self::Receive(error) => error.code(),
            Self::Identity { .. } => "DMC-NODE-01",
            Self::DataDir { .. } => "DMC-NODE-02",
            Self::Signals(_) => "DMC-NODE-03",
            Self::Interrupted => "DMC-NODE-04",
            Self::StopDeadline { .. } => "DMC-NODE-05",
            Self::InUse { .. } => "DMC-NODE-08",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Broken
    }
}

/// Which node of which region this is: what its certificate says, and nothing else (RES-4).
pub(crate) fn identity_of(config: &NodeConfig) -> Result<PeerId, NodeError> {
    let path = &config.link.cert;
    let found = pki::describe(path)?;
    let wrong = |source| NodeError::Identity { path: path.clone(), source };
    match found.uris.as_slice() {
        [uri] => PeerId::from_spiffe_id(uri, &config.deployment).map_err(wrong),
        uris => Err(wrong(IdentityError::UriNames { found: uris.len() })),
    }
}

/// Takes the data directory for this node, for as long as the file lives. Before anything in it is opened.
pub(crate) fn take_dir(data: &Path) -> Result<File, NodeError> {
    make_dir(data)?;
    let path = data.join("in-use");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let lock = options.open(&path).map_err(|source| NodeError::DataDir { path: data.to_owned(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(NodeError::InUse { path: data.to_owned() }),
        Err(TryLockError::Error(source)) => Err(NodeError::DataDir { path: data.to_owned(), source }),
    }
}

/// Makes the data directory, for its owner alone.
pub(super) fn make_dir(path: &Path) -> Result<(), NodeError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| NodeError::DataDir { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_one_nodes_until_that_node_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let first = take_dir(&data).expect("free");
        let second = take_dir(&data).expect_err("taken");
        assert_eq!(second.code(), "DMC-NODE-08");
        assert!(second.to_string().contains(&data.display().to_string()), "{second}");
        drop(first);
        take_dir(&data).expect("free again");
    }
}
