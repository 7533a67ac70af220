//! A segment takes the place of the same one that lies elsewhere, or of its neighbours: the manifest is switched, and only then does
//! what it names no more go.
//!
//! May be interrupted anywhere: until the new manifest is created the old one holds, and everything it names is there. Moves no
//! byte by itself and decides not when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::ShardId;
use tokio::sync::oneshot;

use super::archived::Keeping;
use super::merge::{Left, Merger, merge};
use super::plan::Target;
use super::repair::Retry;
use super::{Segment, SegmentError, SegmentId};

/// A wish that a segment lies elsewhere. The answer says whether it does now: not where what it replaces has changed meanwhile.
pub(super) enum Moving {
    /// This is the segment from now on, in the place of the one with its id.
    To { new: Arc<Segment>, done: oneshot::Sender<Result<bool, SegmentError>> },
    /// These neighbours become one.
    Joined { shard: ShardId, parts: BTreeSet<SegmentId>, done: oneshot::Sender<Result<bool, SegmentError>> },
    /// Something of the archive.
    Kept { shard: ShardId, keeping: Keeping, done: oneshot::Sender<Result<bool, SegmentError>> },
}

impl Merger {
    pub(super) async fn carry(&mut self, wish: Moving) {
        // Whoever asked and went away asks again.
        match wish {
            Moving::To { new, done } => {
                let moved = self.switch(&new).await;
                drop(done.send(self.again(new.shard, moved)));
            }
            Moving::Joined { shard, parts, done } => {
                let joined = self.join(shard, &parts).await;
                drop(done.send(self.again(shard, joined)));
            }
            Moving::Kept { shard, keeping, done } => {
                let kept = self.keep(shard, keeping).await;
                drop(done.send(self.again(shard, kept)));
            }
        }
    }

    /// What is shown and not yet in a manifest is published as soon as that goes.
    fn again(&mut self, shard: ShardId, outcome: Result<bool, SegmentError>) -> Result<bool, SegmentError> {
        if outcome.is_err() {
            self.put_off.entry(shard).or_insert_with(|| Retry::first(Instant::now()));
        }
        outcome
    }

    /// Shows a segment where it lies now, names it in the manifest, and gives up where it lay.
    async fn switch(&mut self, new: &Arc<Segment>) -> Result<bool, SegmentError> {
        let shard = new.shard;
        self.check_owned(shard)?;
        let view = self.shared.catalog.view(shard);
        let Some(old) = view.iter().find(|old| old.id == new.id && old.dir.is_some() != new.dir.is_some()) else {
            return Ok(false);
        };
        if !old.hidden().is_empty() {
            // Erased since it was copied: it is made anew first.
            return Ok(false);
        }
        let (shared, shown) = (Arc::clone(&self.shared), Arc::clone(new));
        let showing = self.shared.tasks.blocking(move || shared.replace(&[shown.id], &shown));
        showing.await.map_err(|_| SegmentError::Interrupted { shard })??;
        self.shared.step("shown")?;
        self.leave(shard, Left::of(old));
        self.publish(shard).await?;
        self.shared.step("published")?;
        self.sweep(shard).await;
        Ok(true)
    }

    /// Makes neighbours on the disk one segment.
    async fn join(&mut self, shard: ShardId, parts: &BTreeSet<SegmentId>) -> Result<bool, SegmentError> {
        self.check_owned(shard)?;
        let view = self.shared.catalog.view(shard);
        let at = |id: &SegmentId| view.iter().position(|segment| segment.id == *id);
        let places: Vec<usize> = parts.iter().filter_map(at).collect();
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else { return Ok(false) };
        let mut sources: Vec<_> = view.get(*first..=*last).unwrap_or_default().to_vec();
        sources.reverse();
        let is_whole = sources.len() == parts.len() && sources.iter().all(|source| source.dir.is_some());
        let is_spared = !self.shared.spared.lock().is_disjoint(parts);
        if !is_whole || is_spared || sources.len() < 2 {
            return Ok(false);
        }
        let (shared, merged) = (Arc::clone(&self.shared), sources.clone());
        let work = move || {
            let new = merge(&shared.layout, &shared.files, &merged, Target::Disk, shared.clock.now())?;
            let gone: Vec<_> = merged.iter().map(|part| part.id).collect();
            shared.replace(&gone, &Arc::new(new))
        };
        self.shared.tasks.blocking(work).await.map_err(|_| SegmentError::Interrupted { shard })??;
        self.leave(shard, sources.iter().flat_map(|source| Left::of(source)));
        self.publish(shard).await?;
        self.sweep(shard).await;
        Ok(true)
    }
}
