//! Segments of durability `bucket` on their way into the region's store, as the stage that makes them asks for it.
//!
//! The segment stays on the disk; its copy is what another node opens when the disk is gone.

use std::sync::Arc;

use domicile_proto::ids::Timestamp;

use super::errors::TierError;
use super::pack::Tier;
use crate::segment::{Copied, CopyOut, Segment, SegmentError};
use crate::store::StoreError;

impl Tier {
    /// What copies out over this.
    pub(crate) fn copier(&self) -> CopyOut {
        let tier = self.clone();
        Arc::new(move |segment, now| Box::pin(copy(tier.clone(), segment, now)))
    }
}

async fn copy(tier: Tier, segment: Arc<Segment>, now: Timestamp) -> Result<Copied, SegmentError> {
    let failed = |source: TierError| SegmentError::Copy { segment: segment.id, source: Box::new(source) };
    let copied = match tier.copy_out(&segment).await {
        // An interrupted try copied it whole.
        Err(TierError::Store { source, .. }) if matches!(*source, StoreError::AlreadyThere { .. }) => {
            tier.copy_at(segment.shard, segment.id).await
        }
        copied => copied,
    };
    let cold = copied.map_err(failed)?;
    let bytes = tier.verify(&cold, |_| {}).await.map_err(failed)?;
    Ok(cold.named_by(bytes, now))
}
