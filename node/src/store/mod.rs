//! Beside the line: the only user of object_store. Create, read, list, delete; where the bucket lies is checked at open.
//!
//! A directory, S3 and what speaks its protocol, Azure Blob Storage, Google Cloud Storage. Objects are created once whatever the
//! kind; a creation whose answer was lost knows its own object again.

mod bucket;
mod credentials;
mod errors;
mod open;
mod provider;
mod report;
mod versions;

pub(crate) use bucket::Store;
#[cfg(test)]
pub(crate) use bucket::{Faults, StoreConfig};
pub(crate) use errors::StoreError;
