//! A shard whose segments lie in the region's store comes to this node, or leaves it.
//!
//! A shard comes in four steps: the logs of other nodes are sealed for it (`wal`), a manifest of the new epoch is created, so that
//! the owner before can publish none, its segments are opened, and what the logs hold behind them is taken up. Every step may be
//! interrupted and repeated. Decides not which shards come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::{Epoch, NodeId, ShardId};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use super::manifest::{Manifest, Row};
use super::merge::Merger;
use super::plan::Pressure;
use super::purge::Removal;
use super::shards::Shards;
use super::{Segment, SegmentError, SegmentId};
use crate::errors::Coded;
use crate::limits::{COPIES_OPENED_AT_ONCE, SHARDS_TAKEN_UP_AT_ONCE};
use crate::policy::Scope;
use crate::wal::{Bucket, Handed, Tail, WalError};

/// A shard that the merger is given.
pub(super) struct Adopted {
    manifest: Manifest,
    segments: Vec<Arc<Segment>>,
}

impl Shards {
    /// The log in the region's store.
    pub(crate) fn bucket(&self) -> Option<Bucket> {
        self.wal().bucket().cloned()
    }

    /// Whether all that was accepted of a shard lies in the store that this node uses: its owner said so there before it took the
    /// first batch. A node with a bucket of its own can take nothing over.
    pub(crate) async fn lies_in_store(&self, shard: ShardId) -> bool {
        let newest = Manifest::newest(self.store(), shard).await;
        matches!(newest, Ok(Some(manifest)) if manifest.body.in_bucket)
    }

    /// The same, where it is to be told from a store that is out of reach.
    ///
    /// # Errors
    /// [`SegmentError::Store`], [`SegmentError::Manifest`].
    pub(crate) async fn is_kept_in_store(&self, shard: ShardId) -> Result<bool, SegmentError> {
        Ok(Manifest::newest(self.store(), shard).await?.is_some_and(|manifest| manifest.body.in_bucket))
    }

    /// Takes shards up, each in an epoch in which this node writes it; `others` are the region's other nodes. What failed of which
    /// shard; the rest can be written and searched.
    pub(crate) async fn adopt(
        &self,
        others: &BTreeSet<NodeId>,
        shards: &BTreeMap<ShardId, Epoch>,
    ) -> BTreeMap<ShardId, SegmentError> {
        let mut failed = BTreeMap::new();
        let Some(bucket) = self.bucket() else { return failed };
        let is_moved = |(_, epoch): &(&ShardId, &Epoch)| epoch.0 > 1;
        let moved: BTreeMap<_, _> = shards.iter().filter(is_moved).map(|(shard, epoch)| (*shard, *epoch)).collect();
        // They lie in the store since they left who wrote them before, or from now on, also where their policy says `disk` by then.
        bucket.await_shards(shards.keys().copied());
        let mut due = shards.clone();
        if !moved.is_empty()
            && let Err(error) = bucket.seal(others, &moved).await
        {
            due.retain(|shard, _| !moved.contains_key(shard));
            failed.extend(moved.keys().map(|shard| (*shard, SegmentError::Log(error.clone()))));
        }
        let (mut reach, mut last) = (BTreeMap::new(), BTreeMap::new());
        let taking: Vec<_> = due
            .into_iter()
            .map(|(shard, epoch)| async move { (shard, epoch, self.take_up(shard, epoch).await) })
            .collect();
        let mut taking = futures::stream::iter(taking).buffer_unordered(SHARDS_TAKEN_UP_AT_ONCE);
        while let Some((shard, epoch, taken)) = taking.next().await {
            match taken {
                Ok((last_seq, handed)) => {
                    last.insert(shard, last_seq);
                    reach.insert(shard, (epoch, handed));
                }
                Err(error) => drop(failed.insert(shard, error)),
            }
        }
        drop(taking);
        if reach.is_empty() {
            return failed;
        }
        let mut tails = bucket
            .collect(&last)
            .await
            .unwrap_or_else(|error| last.keys().map(|shard| (*shard, Err(error.clone()))).collect());
        // All at once: what they bring along goes into the store together, in one object after the other.
        let going: Vec<_> = reach
            .into_iter()
            .filter_map(|(shard, (epoch, handed))| {
                let (tail, bucket) = (tails.remove(&shard)?, &bucket);
                Some(async move {
                    let held = match (tail, handed) {
                        (Ok(tail), Some(handed)) => self.go_on(bucket, (shard, epoch), tail.with(handed)).await,
                        (Ok(tail), None) => self.go_on(bucket, (shard, epoch), tail).await,
                        (Err(error), _) => Err(error.into()),
                    };
                    (shard, held)
                })
            })
            .collect();
        for (shard, held) in join_all(going).await {
            match held {
                Ok(()) => {
                    self.shared().whole_again(shard);
                }
                Err(error) => drop(failed.insert(shard, error)),
            }
        }
        failed
    }

    async fn go_on(&self, bucket: &Bucket, (shard, epoch): (ShardId, Epoch), tail: Tail) -> Result<(), SegmentError> {
        let batches = tail.batches();
        bucket.hold(shard, epoch, tail).await?;
        self.wal().handed_over(shard);
        self.refresh(Some(shard)).await;
        if epoch.0 > 1 {
            self.shared().taken.lock().insert(shard);
        }
        self.catalog().set_taken_up(shard, epoch);
        if let Some(loads) = self.shared().loads.get() {
            // What it brought along is not what it asks.
            loads.came(shard);
        }
        tracing::info!(%shard, epoch = epoch.0, batches, "this node writes the shard");
        Ok(())
    }

    /// Manifest and segments of a shard; the last place in them. A shard that was written to this node's disk until now brings all
    /// of its records into segments first. Whatever it has there, it brings its ids.
    async fn take_up(&self, shard: ShardId, epoch: Epoch) -> Result<(u64, Option<Handed>), SegmentError> {
        let store = self.store();
        let mut brought = None;
        let newest = Manifest::newest(store, shard).await?;
        let was_on_disk = newest.as_ref().is_some_and(|manifest| !manifest.body.in_bucket);
        if was_on_disk || self.wal().is_on_disk(shard) {
            let handed = self.wal().hand_over(shard).await.ok_or(WalError::Stopped)?;
            // A file of the log outlives what was in it of a shard. Where the shard lies in the bucket already, its records of the disk
            // are in segments there, and what came after them is in the logs of the store.
            if !newest.is_some_and(|manifest| self.was_brought(&manifest, &handed)) {
                self.settle(shard).await?;
                if self.last_seq(shard).await? != handed.last_place() {
                    return Err(SegmentError::NotWhole { shard });
                }
            }
            brought = Some(handed);
        }
        for _ in 0..TRIES {
            let newest = Manifest::newest(store, shard).await?;
            if newest.is_none() && epoch.0 > 1 {
                // Who wrote it before wrote a manifest first: this is another bucket.
                return Err(SegmentError::NotWhole { shard });
            }
            let newest = newest.unwrap_or_else(|| Manifest::none(shard));
            if newest.body.epoch > epoch {
                return Err(SegmentError::Deposed { shard, number: newest.number });
            }
            let manifest = if newest.body.in_bucket && newest.body.epoch == epoch {
                newest
            } else {
                let next = newest.taken_over(epoch);
                match next.publish(store).await {
                    // The owner before published once more: what it says is new counts.
                    Err(SegmentError::Deposed { .. }) => continue,
                    published => published.map(|()| next)?,
                }
            };
            let is_taken = epoch.0 > 1 && !manifest.body.settled;
            let opening = manifest.body.segments.iter().map(|row| self.segment_of(shard, row, is_taken));
            let segments: Vec<_> = futures::stream::iter(opening.collect::<Vec<_>>())
                .buffered(COPIES_OPENED_AT_ONCE)
                .map_ok(Arc::new)
                .try_collect()
                .await?;
            let last_seq = manifest.body.last_seq;
            let (done, told) = oneshot::channel();
            self.ask(Removal::Adopt { adopted: Adopted { manifest, segments }, done }).await?;
            told.await.map_err(|_| SegmentError::Interrupted { shard })??;
            return Ok((last_seq, brought));
        }
        Err(SegmentError::Deposed { shard, number: 0 })
    }

    /// Whether a manifest names all that this node's disk has of a shard. Not what was given up, nor what it took without knowing where
    /// the shard lies.
    fn was_brought(&self, manifest: &Manifest, handed: &Handed) -> bool {
        let is_ours = |node| self.wal().bucket().is_some_and(|bucket| bucket.node() == node);
        let is_given_up = manifest.body.left.is_some_and(|left| is_ours(left.node));
        let is_named = !handed.is_written() || handed.last_place() == manifest.body.last_seq;
        manifest.body.in_bucket && !is_given_up && is_named && handed.last_place() <= manifest.body.last_seq
    }

    async fn last_seq(&self, shard: ShardId) -> Result<u64, SegmentError> {
        Ok(Manifest::newest(self.store(), shard).await?.map_or(0, |manifest| manifest.body.last_seq))
    }

    /// From this node's disk where it is still there, else where its copy lies.
    async fn segment_of(&self, shard: ShardId, row: &Row, is_taken: bool) -> Result<Segment, SegmentError> {
        let (shared, known) = (self.shared(), row.clone());
        let reopening = self.shared().tasks.blocking(move || {
            if known.is_away() {
                return Ok(None);
            }
            match shared.files.reopen(&shared.layout, shard, &known) {
                Err(_) if known.copied.is_some() => shared.files.discard(shard, known.id()).map(|()| None),
                opened => opened.map(Some),
            }
        });
        let segment = match reopening.await.map_err(|_| SegmentError::Interrupted { shard })?? {
            Some(segment) => segment,
            None => (self.shared().open_copied)(self.layout().clone(), shard, row.clone()).await?,
        };
        if !is_taken {
            return Ok(segment);
        }
        // Who wrote it until now may have fallen silent before it carried out what was erased here long ago.
        let list = self.layout().suppression.now();
        let sifting = self.shared().tasks.blocking(move || {
            let sifted = segment.sift(&list, Scope::All);
            sifted.map_err(|source| SegmentError::Open { segment: segment.id, source }).map(|()| segment)
        });
        sifting.await.map_err(|_| SegmentError::Interrupted { shard })?
    }

    /// What was taken over becomes this node's own: nothing that was erased meanwhile is left of it, and then a manifest says that
    /// the logs of others can let go of it. To be called again and again; what fails is done by the next call.
    pub(crate) async fn settle_taken(&self) {
        let shared = self.shared();
        let taken = shared.taken.lock().clone();
        if taken.is_empty() {
            return;
        }
        // Where a move or an erasure is under way, the next call does it.
        let Ok(_moving) = shared.moving.try_write() else { return };
        let list = self.layout().suppression.now();
        if taken.iter().any(|shard| !list.of_shard(*shard, Scope::All).is_empty())
            && let Err(error) = self.purge().await
        {
            let (code, error) = (error.code(), &error as &dyn std::error::Error);
            tracing::warn!(code, error, "what was erased lies in a shard that was taken over; this is tried again");
            return;
        }
        for shard in taken {
            let (done, told) = oneshot::channel();
            let is_asked = self.ask(Removal::Settled { shard, done }).await.is_ok();
            match told.await {
                Ok(Ok(())) if is_asked => drop(shared.taken.lock().remove(&shard)),
                Ok(Err(error)) => {
                    let (code, error) = (error.code(), &error as &dyn std::error::Error);
                    tracing::debug!(code, error, %shard, "the manifest follows later");
                }
                _ => return,
            }
        }
    }

    /// Brings everything of a shard into durable segments and a manifest.
    pub(crate) async fn settle(&self, shard: ShardId) -> Result<(), SegmentError> {
        self.refresh(Some(shard)).await;
        let (done, told) = oneshot::channel();
        self.ask(Removal::Settle { shard, done }).await?;
        told.await.map_err(|_| SegmentError::Interrupted { shard })?
    }

    /// Ends shards here that another node writes from now on: they can be neither written nor searched here any more.
    pub(crate) async fn leave(&self, shard: ShardId, by: Epoch) {
        if let Some(bucket) = self.wal().bucket() {
            bucket.end(shard, by).await;
        }
        if let Some(loads) = self.shared().loads.get() {
            loads.left(shard);
        }
        // What intake still holds of it is shown first, so that nothing of it comes later.
        self.refresh(Some(shard)).await;
        let (done, told) = oneshot::channel();
        if self.ask(Removal::Leave { shard, done }).await.is_ok()
            && let Ok(Err(error)) = told.await
        {
            let (code, error) = (error.code(), &error as &dyn std::error::Error);
            tracing::error!(%shard, code, error, "files of a shard that left stay until the next start");
        }
    }

    /// Logs in the store of nodes that are none of `known` are emptied of what the new owners of their shards have. Of a shard that is on
    /// its way, `epochs` names a later one than its manifest: whoever settled it may be the one whose log this is.
    ///
    /// # Errors
    /// [`SegmentError::Store`], [`SegmentError::Manifest`], [`SegmentError::Log`]; to be called again.
    pub(crate) async fn clear_logs_of_others_than(
        &self,
        known: &BTreeSet<NodeId>,
        epochs: &BTreeMap<ShardId, Epoch>,
    ) -> Result<(), SegmentError> {
        let Some(bucket) = self.wal().bucket() else { return Ok(()) };
        let gone: Vec<_> = bucket.logs().await?.into_iter().filter(|node| !known.contains(node)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let manifests = Manifest::read_all(self.store()).await?;
        let is_there = |shard: ShardId, epoch: Epoch| epochs.get(&shard).is_none_or(|newest| epoch >= *newest);
        let settled = manifests.iter().filter(|manifest| manifest.body.in_bucket && manifest.body.settled);
        let settled = settled.filter(|manifest| is_there(manifest.shard, manifest.body.epoch));
        let settled = settled.map(|manifest| (manifest.shard, manifest.body.epoch)).collect();
        for node in gone {
            let left = bucket.clear(node, &settled).await?;
            tracing::info!(%node, left, "the log of a node that is gone was emptied of what others have");
        }
        Ok(())
    }

    /// Objects of this node's log go whose records other nodes took over whole.
    pub(crate) async fn forget_what_others_have(&self) {
        let Some(bucket) = self.wal().bucket() else { return };
        for shard in bucket.held_up() {
            let Some(by) = bucket.deposed_by(shard) else { continue };
            // A manifest of the later epoch is there before the new owner reads; it has written what it read once it publishes
            // records of its own.
            if let Ok(Some(manifest)) = Manifest::newest(self.store(), shard).await
                && manifest.body.epoch >= by
                && manifest.body.settled
            {
                bucket.forget(shard);
            }
        }
    }
}

impl Merger {
    pub(super) async fn take_up(&mut self, adopted: Adopted) -> Result<(), SegmentError> {
        let Adopted { manifest, segments } = adopted;
        let shard = manifest.shard;
        // What an earlier time here could not build is given once more, or lies in these segments.
        self.shared.lost.forget(shard);
        let shown: BTreeSet<SegmentId> = self.shared.catalog.view(shard).iter().map(|segment| segment.id).collect();
        let named: BTreeSet<SegmentId> = segments.iter().map(|segment| segment.id).collect();
        // What was shown of an earlier epoch and no manifest took up is in the logs, or was never accepted.
        self.shared.catalog.take_out(shard, &shown.difference(&named).copied().collect());
        let shared = Arc::clone(&self.shared);
        let showing = self.shared.tasks.blocking(move || {
            let mut new = segments.iter().filter(|segment| !shown.contains(&segment.id));
            new.try_for_each(|segment| shared.replace(&[], segment))
        });
        showing.await.map_err(|_| SegmentError::Interrupted { shard })??;
        self.deposed.remove(&shard);
        self.begin_with(manifest);
        self.shared.mark(shard);
        Ok(())
    }

    /// What was taken over lies in this node's own log.
    pub(super) async fn settled_now(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        self.check_owned(shard)?;
        self.settled.insert(shard);
        self.try_settle(shard, Pressure::None, true).await
    }

    pub(super) async fn settle_now(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        let settled = self.try_settle(shard, Pressure::High, true).await;
        if matches!(settled, Err(SegmentError::Deposed { .. })) {
            self.close_log_of(shard).await;
        }
        settled
    }

    /// All of it lies in the store, and is another node's: nothing of it stays here.
    pub(super) async fn leave_shard(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        self.deposed.insert(shard);
        self.shared.lost.forget(shard);
        let all = self.shared.catalog.view(shard).iter().map(|segment| segment.id).collect();
        self.shared.catalog.take_out(shard, &all);
        self.shared.catalog.set_whole(shard, true);
        self.forget_shard(shard);
        let shared = Arc::clone(&self.shared);
        let discarding = self.shared.tasks.blocking(move || shared.files.discard(shard, None));
        discarding.await.map_err(|_| SegmentError::Interrupted { shard })?
    }
}

/// How often a manifest of the new epoch is tried while the owner before still publishes.
const TRIES: usize = 8;
