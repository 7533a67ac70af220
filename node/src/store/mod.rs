//! Beside the line: the only user of object_store. Create, read, list, delete; where the bucket lies is checked at open.
//!
//! A directory, S3 and what speaks its protocol, Azure Blob Storage, Google Cloud Storage. Objects are created once whatever the
//! kind; a creation whose answer was lost knows its own object again.

#[cfg(test)]
mod bench_test;
mod bucket;
mod credentials;
mod errors;
#[cfg(test)]
mod faults_test;
#[cfg(test)]
mod front_test;
#[cfg(test)]
mod identity_test;
mod open;
mod places;
mod provider;
#[cfg(test)]
mod real_test;
mod report;
#[cfg(test)]
mod served_test;
mod versions;

#[cfg(test)]
pub(crate) use bucket::{Faults, StoreConfig};
pub(crate) use bucket::{Lies, Store};
pub(crate) use errors::StoreError;
pub(crate) use places::{ARCHIVE, COPIES, RESTORED};
