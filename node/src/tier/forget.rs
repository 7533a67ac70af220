//! The end of a copy: every object of a segment that was copied out is deleted. Decides not when.

use domicile_proto::ids::ShardId;

use crate::segment::{SegmentId, archive_of, delete_copy, object_of, restored_of};
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

/// Deletes all objects of a segment wherever in the store they lie, the archive included; how many.
///
/// # Errors
/// The bucket; what is left goes with the next call.
pub(crate) async fn forget_all(store: &Store, shard: ShardId, segment: SegmentId) -> Result<u64, StoreError> {
    let archived = delete_copy(store, &archive_of(shard, segment)).await?;
    let restored = delete_copy(store, &restored_of(shard, segment)).await?;
    Ok(forget(store, shard, segment).await? + archived + restored)
}

/// Whether an object of a segment is anywhere in the store.
///
/// # Errors
/// The bucket.
pub(crate) async fn is_anywhere(store: &Store, shard: ShardId, segment: SegmentId) -> Result<bool, StoreError> {
    for prefix in [archive_of(shard, segment), restored_of(shard, segment)] {
        if !store.list(&prefix).await?.is_empty() {
            return Ok(true);
        }
    }
    is_copied(store, shard, segment).await
}
