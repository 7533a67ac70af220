//! Beside the line: the only user of object_store. Create, read, list, delete; the bucket's region is checked at open.

mod bucket;
mod errors;

#[cfg(test)]
pub(crate) use bucket::Faults;
pub(crate) use bucket::{Store, StoreConfig};
pub(crate) use errors::StoreError;
