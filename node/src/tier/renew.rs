//! Copies and erasure: a copy in the bucket that still holds what was erased is made anew without it, and the old one goes.
//!
//! A copy from before an erasure that somebody puts back is found again by the next purge. May be interrupted anywhere: the old
//! copy goes only after the new one is there and was opened. Decides not when.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, Timestamp};

use super::errors::TierError;
use super::forget::forget;
use super::pack::{Cold, Tier};
use crate::index::builder::Layout;
use crate::segment::files::Files;
use crate::segment::{COPIES, Rewritten, Segment, SegmentError, SegmentId, Sha256, renew, sha256_of};

impl Tier {
    /// Every copy in the bucket that is whole, of some shards.
    ///
    /// # Errors
    /// [`TierError::Store`], [`TierError::Altered`].
    pub(crate) async fn copies(&self, of: impl Fn(ShardId) -> bool) -> Result<Vec<Cold>, TierError> {
        let nowhere = |source| TierError::Store { segment: SegmentId(0), source: Box::new(source) };
        let mut copies = Vec::new();
        for (object, _) in self.store.list(COPIES).await.map_err(nowhere)? {
            if let Some((shard, id)) = place_of(&object).filter(|(shard, _)| of(*shard)) {
                copies.push(self.copy_at(shard, id).await?);
            }
        }
        Ok(copies)
    }

    /// Makes every copy anew that holds something of the suppression list and is no segment by itself, as those in `named` are, of
    /// shards whose copies are this node's to look after; which. Fetches and decodes every one.
    ///
    /// # Errors
    /// Any [`TierError`]; what was done stays done, and the rest is done by the next call.
    pub(crate) async fn purge(
        &self,
        layout: &Layout,
        (named, is_ours): (&BTreeSet<SegmentId>, impl Fn(ShardId) -> bool),
        now: Timestamp,
    ) -> Result<Vec<Rewritten>, TierError> {
        let mut rewritten = Vec::new();
        for old in self.copies(&is_ours).await?.into_iter().filter(|copy| !named.contains(&copy.id)) {
            let segment = Arc::new(self.open(layout, &old).await?);
            if !segment.hidden().is_empty() {
                rewritten.push(self.renew(layout, (&old, &segment), now).await?);
            }
            self.leave(&segment).await?;
        }
        Ok(rewritten)
    }

    async fn renew(
        &self,
        layout: &Layout,
        (old, segment): (&Cold, &Arc<Segment>),
        now: Timestamp,
    ) -> Result<Rewritten, TierError> {
        let (new, (old_sha256, new_sha256)) = self.made_anew(layout, segment, now).await?;
        let cold = self.copy_out(&new).await?;
        let again = Arc::new(self.open(layout, &cold).await?);
        if !again.hidden().is_empty() {
            return Err(TierError::Altered { object: cold.object });
        }
        let stored = |source| TierError::Store { segment: old.id, source: Box::new(source) };
        forget(&self.store, old.shard, old.id).await.map_err(stored)?;
        self.leave(&again).await?;
        self.leave(&Arc::new(new)).await?;
        Ok(Rewritten {
            shard: old.shard,
            old: old.id,
            old_sha256,
            new: cold.id,
            new_sha256,
            removed: old.row.docs.saturating_sub(cold.row.docs),
            kept: cold.row.docs,
        })
    }

    /// Makes a segment anew in the cache, without what is hidden in it; with the digests of the files of both.
    pub(super) async fn made_anew(
        &self,
        layout: &Layout,
        segment: &Arc<Segment>,
        now: Timestamp,
    ) -> Result<(Segment, (Sha256, Sha256)), TierError> {
        let (id, shard) = (segment.id, segment.shard);
        let (layout, parts, dir) = (layout.clone(), Arc::clone(segment), self.cache.join(ANEW));
        let made = self.tasks.blocking(move || {
            let files = Files::open(&dir)?;
            let new = renew(&layout, &files, &parts, now)?;
            files.flush(&new)?;
            let digests = (sha256_of(parts.dir.as_deref())?, sha256_of(new.dir.as_deref())?);
            Ok((new, digests))
        });
        let made = made.await.unwrap_or(Err(SegmentError::Interrupted { shard }));
        made.map_err(|source| TierError::Open { segment: id, source: Box::new(source) })
    }

    /// Removes the files of a segment from the cache.
    pub(super) async fn leave(&self, segment: &Arc<Segment>) -> Result<(), TierError> {
        let Some(dir) = segment.dir.clone() else { return Ok(()) };
        self.blocking(move || {
            std::fs::remove_dir_all(&dir).map_err(|source| TierError::Disk { path: dir.display().to_string(), source })
        })
        .await
    }
}

/// Shard and segment of a footer's name.
fn place_of(object: &str) -> Option<(ShardId, SegmentId)> {
    let (shard, rest) = object.strip_prefix(COPIES)?.strip_prefix('/')?.split_once('/')?;
    let id = rest.strip_suffix("/footer")?;
    let shard = u64::from_str_radix(shard, 16).ok()?;
    Some((ShardId(shard), SegmentId(u128::from_str_radix(id, 16).ok()?)))
}

/// Below the cache: where segments are made anew.
const ANEW: &str = "anew";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_footer_says_that_a_copy_is_there() {
        let name = format!("{COPIES}/{:016x}/{}", 7, SegmentId(9));
        assert_eq!(place_of(&format!("{name}/footer")), Some((ShardId(7), SegmentId(9))));
        for other in [format!("{name}/000000"), name.clone(), format!("x{name}/footer"), "segments/footer".to_owned()] {
            assert_eq!(place_of(&other), None, "{other}");
        }
    }
}
