//! Beside the line: the keys of this region, and what is sealed under them.
//!
//! root (key store) -> key of a tenant -> key of a stream and day -> key of a subject -> original. Everything but the root lies
//! in the keyring, wrapped. Tokens and subject numbers are keyed hashes under a key of their own.

mod destroy;
mod errors;
mod file;
#[cfg(test)]
mod fuzz_test;
mod journal;
mod known;
mod link;
mod notice;
mod original;
mod pseudonym;
mod rewrite;
mod ring;
mod root;
mod seal;
mod secret;
mod unfolded;
mod vault;

#[cfg(test)]
pub(crate) mod specimen;

#[allow(unused_imports, reason = "erasure and subject access stand on these")]
pub(crate) use destroy::{Destroyed, Target};
pub(crate) use errors::KeysError;
pub(crate) use link::LinkKey;
pub(crate) use notice::Notice;
pub(crate) use original::Original;
pub(crate) use pseudonym::{PseudonymKeys, TenantPseudonyms};
pub(crate) use ring::{Bucket, Day};
pub(crate) use root::open as open_store;
#[allow(unused_imports, reason = "erasure and subject access stand on these")]
pub(crate) use vault::{Revealed, Vault, VaultFacts};
