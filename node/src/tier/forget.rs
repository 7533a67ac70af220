//! The end of a copy: every object of a segment that was copied out is deleted. Decides not when.

use domicile_proto::ids::ShardId;

use crate::segment::{SegmentId, delete_copy, object_of};
use crate::store::{Store, StoreError};

/// Deletes all objects of a segment's copy; how many. The footer goes first: a copy that is half gone is none.
///
/// # Errors
/// The bucket; what is left goes with the next call.
pub(crate) async fn forget(store: &Store, shard: ShardId, segment: SegmentId) -> Result<u64, StoreError> {
    delete_copy(store, &object_of(shard, segment)).await
}

/// Whether an object of a segment's copy is there.
///
/// # Errors
/// The bucket.
pub(crate) async fn is_copied(store: &Store, shard: ShardId, segment: SegmentId) -> Result<bool, StoreError> {
    Ok(!store.list(&object_of(shard, segment)).await?.is_empty())
}
