//! What is wrong with a configuration: which file, which key, and what to write instead.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use domicile_proto::ids::Region;

use crate::errors::{Coded, Verdict};

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or not readable.
    #[error("the configuration `{path}` cannot be read; name a readable file with `--config`")]
    File { path: PathBuf, source: io::Error },
    /// Not TOML, an unknown or missing key, or a value of another kind.
    #[error("the configuration `{path}` is not right; correct the key that is named below")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    /// A file of region facts is not readable.
    #[error("the region facts in `{path}` cannot be read; correct `regions_dir` or the file's permissions")]
    RegionFile { path: PathBuf, source: io::Error },
    /// A file of region facts is not right.
    #[error("the region facts in `{path}` are not right: {reason}; `regions/README.md` explains every key")]
    RegionFacts { path: PathBuf, reason: String },
    /// There are no facts about the region.
    #[error("there are no facts about region `{region}`; add `{region}.yaml` to `regions_dir`")]
    UnknownRegion { region: Region },
    /// Plain HTTP towards others.
    #[error(
        "`listeners.{key}` is `{addr}`, which is not loopback, and there is no `listeners.tls`; add it, or write `allow_plaintext = true`"
    )]
    Plaintext { key: &'static str, addr: SocketAddr },
    /// Others cannot reach this address.
    #[error("`link.advertise` must be an address that other nodes can reach, and is `{addr}`; write the node's own")]
    Advertise { addr: SocketAddr },
    /// A bound is broken.
    #[error("`{key}` is {found}, allowed is {allowed}; correct it in `{path}`")]
    Bound { path: PathBuf, key: &'static str, found: u64, allowed: &'static str },
    /// The region's key cannot be read.
    #[error(
        "`{path}` is no key of a region, or cannot be read; name the `region.key` of `domicile pki init` in `link.region_key`"
    )]
    RegionKey { path: PathBuf, source: io::Error },
    /// The key store is not described.
    #[error("`{key}` should be {wanted}; correct it in `{path}`")]
    KeyStore { path: PathBuf, key: &'static str, wanted: &'static str },
    /// The object store is not described.
    #[error("`{key}` should be {wanted}; correct it in `{path}`")]
    Store { path: PathBuf, key: &'static str, wanted: &'static str },
    /// A witness that cannot be asked, or that could not be believed.
    #[error(
        "`audit.witnesses` number {number} has no `http(s)://` address or no key of a witness; correct it in `{path}`"
    )]
    Witness { path: PathBuf, number: usize },
    /// The list of buckets of tenants and streams contradicts itself, or an entry is not whole.
    #[error("`[[store.buckets]]` number {number} {problem}; correct it in `{path}`")]
    Buckets { path: PathBuf, number: usize, problem: String },
}

impl Coded for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "DMC-CONFIG-01",
            Self::Toml { .. } => "DMC-CONFIG-02",
            Self::RegionFile { .. } => "DMC-CONFIG-03",
            Self::RegionFacts { .. } => "DMC-CONFIG-04",
            Self::UnknownRegion { .. } => "DMC-CONFIG-05",
            Self::Plaintext { .. } => "DMC-CONFIG-06",
            Self::Advertise { .. } => "DMC-CONFIG-07",
            Self::Bound { .. } => "DMC-CONFIG-08",
            Self::KeyStore { .. } => "DMC-CONFIG-09",
            Self::RegionKey { .. } => "DMC-CONFIG-10",
            Self::Store { .. } => "DMC-CONFIG-11",
            Self::Witness { .. } => "DMC-CONFIG-12",
            Self::Buckets { .. } => "DMC-CONFIG-13",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Refused
    }
}
