//! A segment's copy in the region's bucket: what a manifest says of it, where its objects lie, and how they end.
//!
//! Writes no copy and reads none: that is the next stage's.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, Timestamp};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::manifest::Row;
use super::{Segment, SegmentError, SegmentId};
use crate::index::builder::Layout;
pub(crate) use crate::store::COPIES;
use crate::store::{Store, StoreError};

/// A copy that a manifest names: it is the segment, or, with durability `bucket`, lies beside the one on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Copied {
    /// What the names of its objects begin with.
    pub(crate) object: String,
    /// SHA-256 of its footer, which names the digest of every other object; hexadecimal.
    pub(crate) sha256: String,
    /// Size of all its objects.
    pub(crate) bytes: u64,
    /// When it was verified.
    pub(crate) at: Timestamp,
}

impl Copied {
    /// The digest of its footer; `None` where the manifest was not written by this build.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        hex::decode(&self.sha256).ok()?.try_into().ok()
    }
}

/// Opens a segment where its copy lies. The next stage gives it, for this one knows no copy.
pub(crate) type OpenCopied =
    Arc<dyn Fn(Layout, ShardId, Row) -> BoxFuture<'static, Result<Segment, SegmentError>> + Send + Sync>;

/// Copies a durable segment into the store, where it is not there yet, and reads it back. The next stage gives it.
pub(crate) type CopyOut =
    Arc<dyn Fn(Arc<Segment>, Timestamp) -> BoxFuture<'static, Result<Copied, SegmentError>> + Send + Sync>;

/// What the names of the objects of a copy begin with.
pub(crate) fn object_of(shard: ShardId, segment: SegmentId) -> String {
    format!("{COPIES}/{:016x}/{segment}", shard.0)
}

/// What the names of all objects of the copies of a shard begin with, one for each copy of which an object is there.
///
/// # Errors
/// The bucket.
pub(super) async fn copies_of(store: &Store, shard: ShardId) -> Result<BTreeSet<String>, StoreError> {
    copies_below(store, COPIES, shard).await
}

/// The same of copies that lie elsewhere.
///
/// # Errors
/// The bucket.
pub(super) async fn copies_below(store: &Store, prefix: &str, shard: ShardId) -> Result<BTreeSet<String>, StoreError> {
    let above = format!("{prefix}/{:016x}", shard.0);
    let listed = store.list(&above).await?;
    let copy = |(object, _): (String, _)| Some(object.rsplit_once('/')?.0.to_owned());
    Ok(listed.into_iter().filter_map(copy).filter(|copy| *copy != above).collect())
}

/// Deletes all objects of a copy; how many. The footer goes first: a copy that is half gone is none.
///
/// # Errors
/// The bucket; what is left goes with the next call.
pub(crate) async fn delete_copy(store: &Store, object: &str) -> Result<u64, StoreError> {
    let mut deleted = 0;
    // `footer` sorts after the parts, which have numbers.
    for (object, _) in store.list(object).await?.iter().rev() {
        store.delete(object).await?;
        deleted += 1;
    }
    Ok(deleted)
}
