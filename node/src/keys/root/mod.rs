//! The root of the key tree: a key that never leaves its store, in versions. It wraps the keys below it and nothing else.
//!
//! One trait and the places where a root can be: a local file (development), Transit of Vault or OpenBao, a PKCS#11 module.
//! Calls block. Nothing here is asked for a record.

pub(super) mod local;
mod pkcs11;
mod transit;

use std::path::Path;

use tokio::runtime::Handle;

use super::errors::KeysError;
use super::file;
use super::secret::Secret;
use crate::config::{KeysConfig, StoreKind};
use local::Local;
use pkcs11::Hsm;
use transit::Transit;

/// The key store that the configuration names. Blocks; must not be called on a thread of the runtime.
///
/// # Errors
/// [`KeysError`]: the store does not answer, refuses, or a file of it is missing, damaged or exposed.
pub(crate) fn open(config: &KeysConfig, dir: &Path, runtime: Handle) -> Result<Box<dyn KeyStore>, KeysError> {
    let missing = |section: &str| file::unreadable(Path::new(section), std::io::ErrorKind::NotFound.into());
    Ok(match config.store {
        StoreKind::Local => {
            tracing::warn!("the root of all keys lies in a local file, which is meant for development");
            Box::new(Local::open(&config.path.clone().unwrap_or_else(|| dir.join("root.key")))?)
        }
        StoreKind::Transit => {
            let transit = config.transit.as_ref().ok_or_else(|| missing("keys.transit"))?;
            Box::new(Transit::open(transit, runtime)?)
        }
        StoreKind::Pkcs11 => Box::new(Hsm::open(config.pkcs11.as_ref().ok_or_else(|| missing("keys.pkcs11"))?)?),
    })
}

/// A key under a version of the root.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// Which version.
    pub(super) version: u32,
    /// As the store gave it.
    pub(super) bytes: Vec<u8>,
}

/// Where a root lies. A region's root never leaves it.
pub(crate) trait KeyStore: Send + Sync {
    /// What it is called in messages, `status` and the ledger.
    fn kind(&self) -> &'static str;

    /// Wraps a key under the newest version. `label` says what the key is for and must be shown again to open it.
    ///
    /// # Errors
    /// [`KeysError::OutOfReach`], [`KeysError::Denied`], or what is wrong with a file.
    fn wrap(&self, key: &WrappableKey<'_>, label: &[u8]) -> Result<Wrapped, KeysError>;

    /// Opens a wrapped key.
    ///
    /// # Errors
    /// As [`KeyStore::wrap`], and [`KeysError::DoesNotOpen`].
    fn open(&self, wrapped: &Wrapped, label: &[u8]) -> Result<OpenedKey, KeysError>;

    /// Makes a new version, which wraps from now on; its number, greater than all before.
    ///
    /// # Errors
    /// As [`KeyStore::wrap`].
    fn rotate(&self) -> Result<u32, KeysError>;

    /// Destroys all versions before one. Doing it again changes nothing.
    ///
    /// # Errors
    /// As [`KeyStore::wrap`].
    fn retire_before(&self, version: u32) -> Result<(), KeysError>;
}

/// A key on its way into a store.
pub(crate) struct WrappableKey<'a>(pub(super) &'a Secret);

/// A key that came out of one.
pub(crate) struct OpenedKey(pub(super) Secret);

impl Wrapped {
    /// As it lies in the keyring.
    pub(super) fn to_row(&self) -> Vec<u8> {
        let mut row = self.version.to_be_bytes().to_vec();
        row.extend_from_slice(&self.bytes);
        row
    }

    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        let (version, bytes) = row.split_first_chunk::<4>()?;
        Some(Self { version: u32::from_be_bytes(*version), bytes: bytes.to_vec() })
    }
}

#[cfg(test)]
mod real_test;
