//! Segments of durability `bucket` on their way into the region's store and back, as the stage that makes them asks for it.

use std::sync::Arc;

use domicile_proto::ids::ShardId;

use super::errors::TierError;
use super::forget::forget;
use super::pack::{Cold, Tier};
use crate::index::builder::Layout;
use crate::segment::manifest::Row;
use crate::segment::{Copies, Segment, SegmentError, SegmentId};
use crate::store::StoreError;

impl Tier {
    /// What copies out, fetches and forgets over this.
    pub(crate) fn copies(self) -> Copies {
        let (out, fetch, store) = (self.clone(), self.clone(), self.store);
        Copies {
            out: Arc::new(move |segment| Box::pin(copy_out(out.clone(), segment))),
            fetch: Arc::new(move |layout, shard, row| Box::pin(fetch_one(fetch.clone(), layout, shard, row))),
            forget: Arc::new(move |shard, segment| {
                let store = store.clone();
                Box::pin(async move {
                    let forgotten = forget(&store, shard, segment).await;
                    forgotten.map(drop).map_err(|source| SegmentError::Copy { segment, source: Box::new(source) })
                })
            }),
        }
    }
}

async fn copy_out(tier: Tier, segment: Arc<Segment>) -> Result<[u8; 32], SegmentError> {
    let (id, shard) = (segment.id, segment.shard);
    match tier.copy_out(&segment).await {
        Ok(cold) => Ok(cold.sha256),
        // An interrupted try copied it whole.
        Err(TierError::Store { source, .. }) if matches!(*source, StoreError::AlreadyThere { .. }) => {
            tier.copy_at(shard, id).await.map(|cold| cold.sha256).map_err(failed(id))
        }
        Err(error) => Err(failed(id)(error)),
    }
}

async fn fetch_one(tier: Tier, layout: Layout, shard: ShardId, row: Row) -> Result<Segment, SegmentError> {
    let id = row.id().unwrap_or(SegmentId(0));
    let known = tier.copy_at(shard, id).await.map_err(failed(id))?;
    if row.copied != Some(hex::encode(known.sha256)) {
        return Err(failed(id)(TierError::Altered { object: known.object }));
    }
    tier.open(&layout, &Cold { row, ..known }).await.map_err(failed(id))
}

fn failed(segment: SegmentId) -> impl Fn(TierError) -> SegmentError {
    move |source| SegmentError::Copy { segment, source: Box::new(source) }
}
