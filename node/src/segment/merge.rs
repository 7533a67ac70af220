//! Merges, and has it published: one task that follows the plan of each shard, one merge at a time.
//!
//! Intake only ever adds a segment at the new end of a shard and this task alone replaces segments, so neither waits for the
//! other. A segment is in a manifest only after its files and their names are flushed; the write-ahead log is released only
//! after the manifest is created; a directory goes only after no manifest names it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{ShardId, Timestamp};
use tantivy::BitSet;
use tantivy::directory::{Directory, OwnedBytes, RamDirectory};
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::indexer::merge_filtered_segments;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::files::{self, Files};
use super::manifest::Manifest;
use super::moved::Moving;
use super::plan::{Merge, Piece, Pressure, Target, flush, plan};
use super::purge::Removal;
use super::repair::Retry;
use super::roll::Moment;
use super::shared::Shared;
use super::{Hidden, Segment, SegmentError, delete_copy};
use crate::errors::Coded;
use crate::index::builder::{Built, Layout};
use crate::index::directory::Unflushed;
use crate::limits::{UNMERGED_AT_START, YOUNG_BYTES};
use crate::store::Store;
use crate::wal::Wal;

/// The task.
pub(super) struct Merger {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) wal: Wal,
    pub(super) manifests: BTreeMap<ShardId, Manifest>,
    /// Manifests whose creation was begun, and nobody knows how it ended: they are repeated as they are before anything else.
    pub(super) begun: BTreeMap<ShardId, Manifest>,
    /// Shards whose last step failed.
    pub(super) put_off: BTreeMap<ShardId, Retry>,
    /// Shards of which this node has written what it took over into its own log.
    pub(super) settled: BTreeSet<ShardId>,
    /// Shards that another node owns now.
    pub(super) deposed: BTreeSet<ShardId>,
    /// The period in which each shard was last looked at because one was over.
    pub(super) closed: BTreeMap<ShardId, i64>,
    /// Shards that are looked at because one was over, one in each turn.
    pub(super) over: BTreeSet<ShardId>,
    /// Where segments lay that were replaced; it goes as soon as no manifest names it.
    pub(super) leaving: BTreeMap<ShardId, Vec<Left>>,
    /// Who wants something removed.
    pub(super) removing: mpsc::Receiver<Removal>,
    /// Who wants something to lie elsewhere.
    moving: mpsc::Receiver<Moving>,
}

/// Where a segment lay that was replaced.
#[derive(Debug)]
pub(super) enum Left {
    /// Its directory.
    Dir(PathBuf),
    /// What the names of its objects in the bucket begin with.
    Copy(String),
}

impl Left {
    pub(super) fn of(segment: &Segment) -> Vec<Self> {
        let copy = segment.copied.as_ref().map(|copied| Self::Copy(copied.object.clone()));
        segment.dir.clone().map(Self::Dir).into_iter().chain(copy).collect()
    }

    /// Whether it is one of these copies.
    pub(super) fn is_copy_of(&self, objects: &[String]) -> bool {
        matches!(self, Self::Copy(object) if objects.contains(object))
    }
}

impl Merger {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: Store,
        (wal, manifests): (Wal, BTreeMap<ShardId, Manifest>),
        (removing, moving): (mpsc::Receiver<Removal>, mpsc::Receiver<Moving>),
    ) -> Self {
        let (begun, put_off, leaving) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (settled, deposed, closed, over) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self {
            shared,
            store,
            wal,
            manifests,
            begun,
            put_off,
            settled,
            deposed,
            closed,
            over,
            leaving,
            removing,
            moving,
        }
    }

    /// Works until intake has ended, then makes durable what is in memory.
    pub(super) async fn run(mut self) {
        let token = self.shared.tasks.token().clone();
        // It goes on while there is always something to do: a stream with traffic must not keep others from being looked at.
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_AFTER, LOOK_AFTER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = self.shared.has_intake_ended();
            let mut shards = self.shared.take_dirty();
            shards.extend(self.put_off.keys());
            for shard in shards {
                self.settle(shard, Pressure::None, is_last).await;
            }
            for shard in self.short_of_memory(is_last) {
                self.settle(shard, Pressure::High, is_last).await;
            }
            if is_last {
                return;
            }
            // One of those whose period is over, and then whoever waits.
            if let Some(shard) = self.over.pop_first() {
                self.settle(shard, Pressure::None, is_last).await;
                self.shared.wake.notify_one();
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = self.shared.wake.notified() => {}
                Some(removal) = self.removing.recv() => self.obey(removal).await,
                Some(wish) = self.moving.recv() => self.carry(wish).await,
                _ = looks.tick() => {
                    self.shared.mark_young();
                    self.mark_over();
                }
            }
        }
    }

    /// Has each shard looked at once after each roll-over, not all of them at once, so that what is left of its period is joined
    /// also where nothing comes any more.
    fn mark_over(&mut self) {
        let (roll, now) = (self.shared.roll(), self.shared.clock.now());
        for shard in self.shared.catalog.shards() {
            let period = roll.closing(shard, now);
            if self.closed.insert(shard, period) != Some(period) {
                self.over.insert(shard);
            }
        }
    }

    /// Whoever asked and went away asks again.
    async fn obey(&mut self, removal: Removal) {
        match removal {
            Removal::Hidden { done } => drop(done.send(self.purge().await)),
            Removal::Whole { gone, done } => drop(done.send(self.drop_whole(&gone).await)),
            Removal::Spared { done } => drop(done.send(Ok(()))),
            Removal::Adopt { adopted, done } => drop(done.send(self.take_up(adopted).await)),
            Removal::Settle { shard, done } => drop(done.send(self.settle_now(shard).await)),
            Removal::Settled { shard, done } => drop(done.send(self.settled_now(shard).await)),
            Removal::Leave { shard, done } => {
                drop(done.send(self.leave_shard(shard).await));
            }
        }
    }

    /// Shards whose young segments must go to the disk now, largest first, until half of the limit is left; at the end, all.
    fn short_of_memory(&self, is_last: bool) -> Vec<ShardId> {
        let mut young = self.shared.young();
        let mut total: u64 = young.iter().map(|(_, bytes)| bytes).sum();
        if !is_last && total <= YOUNG_BYTES {
            return Vec::new();
        }
        young.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mut due = Vec::new();
        for (shard, bytes) in young {
            if !is_last && total <= YOUNG_BYTES / 2 {
                break;
            }
            total -= bytes;
            due.push(shard);
        }
        due
    }

    /// Does everything the plan wants for a shard. An error leaves the shard as it was, searchable and in the log, and is tried
    /// again; it is told once, until it works again.
    async fn settle(&mut self, shard: ShardId, pressure: Pressure, is_last: bool) {
        let put_off = self.put_off.get(&shard).copied();
        let is_early = !is_last && put_off.is_some_and(|retry| retry.due > Instant::now());
        if self.deposed.contains(&shard) || (is_early && pressure == Pressure::None) {
            return;
        }
        match self.try_settle(shard, pressure, !is_early).await {
            Ok(()) if is_early => {}
            Ok(()) => {
                if self.put_off.remove(&shard).is_some() {
                    tracing::info!(%shard, "segments of the shard are written again");
                }
            }
            Err(error @ SegmentError::Deposed { .. }) => {
                tracing::error!(%shard, code = error.code(), error = &error as &dyn std::error::Error, "shard needs a person");
                // What could not be built is another node's, and would not make it whole here.
                self.shared.lost.forget(shard);
                self.shared.catalog.set_whole(shard, false);
                self.close_log_of(shard).await;
                self.deposed.insert(shard);
                self.put_off.remove(&shard);
            }
            Err(error) => {
                self.shared.count_retry();
                let now = Instant::now();
                if put_off.is_none() {
                    let (code, error) = (error.code(), &error as &dyn std::error::Error);
                    tracing::warn!(%shard, code, error, "segments of the shard could not be written; this is tried again");
                }
                self.put_off.insert(shard, put_off.map_or_else(|| Retry::first(now), |retry| retry.next(now)));
            }
        }
    }

    /// Without manifests, because the bucket fails or is given a pause, memory is made free all the same.
    pub(super) async fn try_settle(
        &mut self,
        shard: ShardId,
        pressure: Pressure,
        may_publish: bool,
    ) -> Result<(), SegmentError> {
        let mut published = if may_publish { self.publish_and_sweep(shard).await } else { Ok(()) };
        loop {
            let mut segments = self.shared.catalog.view(shard).to_vec();
            segments.reverse();
            // Behind a gap lie records that a failed build left in the log: nothing may be merged across it. What a manifest
            // counts as durable and is not there was deleted for good.
            let durable = self.manifests.get(&shard).map_or(0, |manifest| manifest.body.last_seq);
            let follows = |a: &Segment, b: &Segment| b.first_seq <= a.last_seq.max(durable) + 1;
            let whole = segments.windows(2).take_while(|pair| matches!(pair, [a, b] if follows(a, b)));
            segments.truncate(whole.count() + 1);
            let (roll, now) = (self.shared.roll(), self.shared.clock.now());
            let spared = self.shared.spared.lock().clone();
            let piece = |segment: &Arc<Segment>| {
                let piece = Piece::of(segment, roll);
                Piece { is_away: piece.is_away || spared.contains(&segment.id), ..piece }
            };
            let pieces: Vec<_> = segments.iter().map(piece).collect();
            let moment = Moment { now, roll, lag: roll.lag_of(shard) };
            let is_deposed = matches!(published, Err(SegmentError::Deposed { .. }));
            // Nobody waits for a merge, and everybody for the node to be ready.
            let is_later = self.shared.is_reading_again() && pieces.len() < UNMERGED_AT_START;
            let next = if is_later { flush(&pieces, moment, pressure) } else { plan(&pieces, moment, pressure) };
            let next = next.filter(|_| !is_deposed);
            let Some(Merge { pieces, target }) = next else { return published };
            let parts: Vec<_> = segments.drain(pieces).collect();
            let may_publish = may_publish && published.is_ok();
            if !may_publish && parts.iter().any(|part| !part.is_young()) {
                // What a manifest names stays until another one does without it.
                return published;
            }
            let (shared, sources) = (Arc::clone(&self.shared), parts.clone());
            let work = move || {
                let now = shared.clock.now();
                let merged = shared.spend(shard, || merge(&shared.layout, &shared.files, &sources, target, now))?;
                let gone: Vec<_> = sources.iter().map(|part| part.id).collect();
                shared.replace(&gone, &Arc::new(merged))
            };
            let merged = self.shared.tasks.blocking(work).await;
            merged.map_err(|_| SegmentError::Interrupted { shard })??;
            self.leave(shard, parts.iter().flat_map(|part| Left::of(part)));
            if may_publish {
                published = self.publish_and_sweep(shard).await;
            }
        }
    }

    async fn publish_and_sweep(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        self.publish(shard).await?;
        self.sweep(shard).await;
        Ok(())
    }

    /// Remembers where segments lay that were replaced.
    pub(super) fn leave(&mut self, shard: ShardId, left: impl IntoIterator<Item = Left>) {
        self.leaving.entry(shard).or_default().extend(left);
    }

    /// Removes what was replaced, after a manifest was created that does without it. What cannot be removed is tried again.
    pub(super) async fn sweep(&mut self, shard: ShardId) {
        let mut stays = Vec::new();
        for left in self.leaving.remove(&shard).unwrap_or_default() {
            let is_gone = match &left {
                Left::Dir(dir) => is_removed(dir),
                Left::Copy(object) => {
                    let deleted = delete_copy(&self.store, object).await;
                    if let Err(error) = &deleted {
                        let (code, error) = (error.code(), error as &dyn std::error::Error);
                        tracing::warn!(code, error, object, "a copy that was replaced stays; this is tried again");
                    }
                    deleted.is_ok()
                }
            };
            if !is_gone {
                stays.push(left);
            }
        }
        if !stays.is_empty() {
            self.leaving.insert(shard, stays);
        }
    }

    /// Where a segment lay that was replaced and is still there.
    pub(super) fn left_over(&self) -> Option<&Left> {
        self.leaving.values().flatten().next()
    }

    pub(super) fn check_owned(&self, shard: ShardId) -> Result<(), SegmentError> {
        if self.deposed.contains(&shard) { Err(SegmentError::Deposed { shard, number: 0 }) } else { Ok(()) }
    }
}

/// Merges neighbours into one segment, in the order given, without what is hidden in them. Blocks and computes.
pub(super) fn merge(
    layout: &Layout,
    files: &Files,
    parts: &[Arc<Segment>],
    target: Target,
    now: Timestamp,
) -> Result<Segment, SegmentError> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Err(SegmentError::Interrupted { shard: ShardId(0) });
    };
    let shard = first.shard;
    let failed = |source| SegmentError::Merge { shard, source };
    let mut sources = Vec::with_capacity(parts.len());
    for part in parts {
        sources.extend(part.searcher.index().searchable_segments().map_err(failed)?);
    }
    let memory = RamDirectory::create();
    let (id, dir, directory): (_, Option<PathBuf>, Box<dyn Directory>) = match target {
        Target::Memory => (files::fresh_id(), None, Box::new(memory.clone())),
        Target::Disk => {
            let (id, dir) = files.place(shard)?;
            std::fs::create_dir(&dir).map_err(|source| files::disk(&dir, source))?;
            let directory = Unflushed::open(&dir).map_err(|error| failed(error.into()))?;
            (id, Some(dir), Box::new(directory))
        }
    };
    let hidden: Vec<_> = parts.iter().map(|part| part.hidden()).collect();
    let mut filters = Vec::with_capacity(parts.len());
    for (part, hidden) in parts.iter().zip(&hidden) {
        filters.push(alive(part, hidden).map_err(|source| failed(source.into()))?);
    }
    let removed: u32 = hidden.iter().map(|hidden| hidden.count).sum();
    let merged = merge_filtered_segments(&sources, Layout::settings(), filters, directory);
    let mut index = merged.map_err(|error| {
        remove(dir.clone());
        failed(error)
    })?;
    index.set_tokenizers(layout.tokenizers.clone());
    let filled = || parts.iter().filter(|part| part.docs > 0);
    let built = Built {
        index,
        bytes: memory.total_mem_usage() as u64,
        docs: parts.iter().map(|part| part.docs).sum::<u32>() - removed,
        oldest: filled().map(|part| part.oldest).min().unwrap_or_default(),
        newest: filled().map(|part| part.newest).max().unwrap_or_default(),
        first_seq: first.first_seq,
        last_seq: last.last_seq,
        received_until: parts.iter().map(|part| part.received_until).max().unwrap_or(now),
        sifted: hidden.iter().map(|hidden| hidden.sifted).min().unwrap_or_default(),
    };
    // As long as its oldest part was built, so long is what it holds not on the disk.
    let built_at = parts.iter().map(|part| part.built_at).min().unwrap_or(now);
    let opened = files::open_built(layout, (id, shard), built, dir.clone(), built_at).and_then(|mut merged| {
        if removed > 0 {
            merged.retime()?;
        }
        Ok(merged)
    });
    opened.inspect_err(|_| remove(dir))
}

/// The records of a segment that are not hidden; `None` means all.
fn alive(segment: &Segment, hidden: &Hidden) -> std::io::Result<Option<AliveBitSet>> {
    if hidden.is_empty() {
        return Ok(None);
    }
    let mut alive = BitSet::with_max_value_and_full(segment.docs);
    (0..segment.docs).filter(|doc| hidden.holds(*doc)).for_each(|doc| alive.remove(doc));
    let mut bytes = Vec::new();
    write_alive_bitset(&alive, &mut bytes)?;
    Ok(Some(AliveBitSet::open(OwnedBytes::new(bytes))))
}

/// Removes directories that nothing names; whatever stays goes at the next start.
pub(super) fn remove(dirs: impl IntoIterator<Item = PathBuf>) {
    dirs.into_iter().for_each(|dir| {
        is_removed(&dir);
    });
}

fn is_removed(dir: &Path) -> bool {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(kind = ?error.kind(), dir = %dir.display(), "segment directory stays until the next start");
            false
        }
        _ => true,
    }
}

/// How often young segments are looked at when nothing else happens.
const LOOK_AFTER: Duration = Duration::from_secs(5);
