//! Merges, flushes and publishes: one task that follows the plan of each shard, one merge at a time.
//!
//! Intake only ever adds a segment at the new end of a shard and this task alone replaces segments, so neither waits for the
//! other. A segment is in a manifest only after its files and their names are flushed; the write-ahead log is released only
//! after the manifest is created; a directory goes only after no manifest names it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{ByteCount, Epoch, ShardId, Timestamp};
use futures::future::join_all;
use tantivy::BitSet;
use tantivy::directory::{Directory, OwnedBytes, RamDirectory};
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::indexer::merge_filtered_segments;
use tokio::sync::mpsc;

use super::files::{self, Files};
use super::manifest::{Manifest, Row};
use super::plan::{Merge, Piece, Pressure, Target, plan};
use super::purge::{Removal, sha256_of};
use super::repair::Retry;
use super::shards::Shared;
use super::{Hidden, Segment, SegmentError, SegmentId};
use crate::audit::Event;
use crate::errors::Coded;
use crate::index::builder::{Built, Layout};
use crate::index::directory::Unflushed;
use crate::limits::YOUNG_BYTES;
use crate::store::Store;
use crate::wal::Wal;

/// The task.
pub(super) struct Merger {
    pub(super) shared: Arc<Shared>,
    store: Store,
    wal: Wal,
    manifests: BTreeMap<ShardId, Manifest>,
    /// Manifests whose creation was begun, and nobody knows how it ended: they are repeated as they are before anything else.
    begun: BTreeMap<ShardId, Manifest>,
    /// Shards whose last step failed.
    put_off: BTreeMap<ShardId, Retry>,
    /// Shards of which this node has written what it took over into its own log.
    settled: BTreeSet<ShardId>,
    /// Shards that another node owns now.
    pub(super) deposed: BTreeSet<ShardId>,
    /// Directories of segments that were replaced; they go as soon as no manifest names them.
    leaving: BTreeMap<ShardId, Vec<PathBuf>>,
    /// Who wants something removed.
    pub(super) removing: mpsc::Receiver<Removal>,
}

impl Merger {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: Store,
        (wal, manifests): (Wal, BTreeMap<ShardId, Manifest>),
        removing: mpsc::Receiver<Removal>,
    ) -> Self {
        let (begun, put_off, leaving) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (settled, deposed) = (BTreeSet::new(), BTreeSet::new());
        Self { shared, store, wal, manifests, begun, put_off, settled, deposed, leaving, removing }
    }

    /// Works until intake has ended, then makes durable what is in memory.
    pub(super) async fn run(mut self) {
        let token = self.shared.tasks.token().clone();
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
            tokio::select! {
                () = token.cancelled() => return,
                () = self.shared.wake.notified() => {}
                Some(removal) = self.removing.recv() => self.obey(removal).await,
                () = tokio::time::sleep(LOOK_AFTER) => self.shared.mark_young(),
            }
        }
    }

    /// Whoever asked and went away asks again.
    async fn obey(&mut self, removal: Removal) {
        match removal {
            Removal::Hidden { done } => drop(done.send(self.purge().await)),
            Removal::Whole { gone, done } => drop(done.send(self.drop_whole(&gone).await)),
            Removal::Adopt { adopted, done } => drop(done.send(self.take_up(adopted))),
            Removal::Settle { shard, done } => drop(done.send(self.settle_now(shard).await)),
            Removal::Settled { shard } => self.settled_now(shard).await,
            Removal::Leave { shard, done } => {
                self.leave_shard(shard);
                let _ = done.send(());
            }
        }
    }

    /// A shard goes on after this manifest.
    pub(super) fn begin_with(&mut self, manifest: Manifest) {
        self.forget_shard(manifest.shard);
        if manifest.body.settled {
            self.is_settled(manifest.shard);
        }
        self.wal.release(&BTreeMap::from([(manifest.shard, manifest.body.last_seq)]));
        self.manifests.insert(manifest.shard, manifest);
    }

    pub(super) fn is_settled(&mut self, shard: ShardId) {
        self.settled.insert(shard);
    }

    pub(super) fn forget_shard(&mut self, shard: ShardId) {
        self.settled.remove(&shard);
        self.begun.remove(&shard);
        self.put_off.remove(&shard);
        self.manifests.remove(&shard);
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
                let (code, error) = (error.code(), &error as &dyn std::error::Error);
                tracing::error!(%shard, code, error, "shard needs a person");
                self.shared.catalog.set_whole(shard, false);
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
            let pieces: Vec<_> = segments.iter().map(|segment| piece(segment)).collect();
            let is_deposed = matches!(published, Err(SegmentError::Deposed { .. }));
            let next = plan(&pieces, self.shared.clock.now(), pressure).filter(|_| !is_deposed);
            let Some(Merge { pieces, target }) = next else { return published };
            let parts: Vec<_> = segments.drain(pieces).collect();
            let may_publish = may_publish && published.is_ok();
            if !may_publish && parts.iter().any(|part| part.dir.is_some()) {
                // What a manifest names stays until another one does without it.
                return published;
            }
            let (shared, sources) = (Arc::clone(&self.shared), parts.clone());
            let work = move || {
                let merged = merge(&shared.layout, &shared.files, &sources, target, shared.clock.now())?;
                let gone: Vec<_> = sources.iter().map(|part| part.id).collect();
                shared.replace(&gone, &Arc::new(merged))
            };
            let merged = self.shared.tasks.blocking(work).await;
            merged.map_err(|_| SegmentError::Interrupted { shard })??;
            self.leave(shard, parts.iter().filter_map(|part| part.dir.clone()));
            if may_publish {
                published = self.publish_and_sweep(shard).await;
            }
        }
    }

    async fn publish_and_sweep(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        self.publish(shard).await?;
        self.sweep(shard);
        Ok(())
    }

    /// Remembers directories of segments that were replaced.
    pub(super) fn leave(&mut self, shard: ShardId, dirs: impl IntoIterator<Item = PathBuf>) {
        self.leaving.entry(shard).or_default().extend(dirs);
    }

    /// Removes what was replaced, after a manifest was created that does without it. What cannot be removed is tried again.
    pub(super) fn sweep(&mut self, shard: ShardId) {
        if let Some(mut dirs) = self.leaving.remove(&shard) {
            dirs.retain(|dir| !is_removed(dir));
            if !dirs.is_empty() {
                self.leaving.insert(shard, dirs);
            }
        }
    }

    /// A directory that was replaced and is still there.
    pub(super) fn left_over(&self) -> Option<&PathBuf> {
        self.leaving.values().flatten().next()
    }

    /// Creates a manifest of the segments that are durable without a gap, if they are others than before, and releases the log.
    pub(super) async fn publish(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        if let Some(begun) = self.begun.get(&shard).cloned() {
            begun.publish(&self.store).await?;
            self.published(begun);
        }
        let manifest = self.manifests.entry(shard).or_insert_with(|| Manifest::none(shard));
        let view = self.shared.catalog.view(shard);
        let mut last_seq = manifest.body.last_seq;
        let mut durable = Vec::new();
        for segment in view.iter().rev() {
            if segment.dir.is_none() || segment.first_seq > last_seq + 1 {
                break;
            }
            last_seq = last_seq.max(segment.last_seq);
            durable.push(Arc::clone(segment));
        }
        let mut rows: Vec<_> = durable.iter().map(|segment| manifest.row_of(segment)).collect();
        let is_settled = self.settled.contains(&shard);
        let lacks = manifest.body.in_bucket
            && (manifest.body.settled != is_settled || rows.iter().any(|row| row.copied.is_none()));
        if rows == manifest.body.segments && !lacks {
            return Ok(());
        }
        let manifest = manifest.clone();
        let known: BTreeSet<_> = manifest.body.segments.iter().filter_map(Row::id).collect();
        let files = self.shared.files.clone();
        let gone = manifest.body.segments.iter().filter_map(Row::id);
        let gone: Vec<_> = gone.filter(|id| durable.iter().all(|segment| segment.id != *id)).collect();
        let is_told = self.shared.ledger.get().is_some();
        let flush = move || {
            let new = durable.iter().filter(|segment| !known.contains(&segment.id));
            let flushed = new.map(|segment| {
                files.flush(segment)?;
                let digest = if is_told { sha256_of(segment.dir.as_deref())? } else { [0; 32] };
                Ok((Arc::clone(segment), digest))
            });
            flushed.collect::<Result<Vec<_>, SegmentError>>()
        };
        let flushed = self.shared.tasks.blocking(flush).await;
        let new = flushed.map_err(|_| SegmentError::Interrupted { shard })??;
        if manifest.body.in_bucket {
            self.copy_out(shard, &view, &mut rows).await?;
        }
        let mut next = manifest.next(manifest.body.epoch.max(FIRST_EPOCH), last_seq, rows);
        next.body.settled = is_settled && manifest.body.in_bucket;
        self.tell(&next, new, gone.clone()).await;
        self.begun.insert(shard, next.clone());
        next.publish(&self.store).await?;
        self.published(next);
        if let Some(copies) = self.shared.copies.get().filter(|_| manifest.body.in_bucket) {
            for segment in gone {
                if let Err(error) = (copies.forget)(shard, segment).await {
                    // No manifest names it: it costs room, and the next purge of copies finds what was erased in it.
                    tracing::warn!(error = &error as &dyn std::error::Error, %segment, "a copy in the store stays for now");
                }
            }
        }
        Ok(())
    }

    /// Sees that every segment lies in the store, and notes it in its row.
    async fn copy_out(&self, shard: ShardId, view: &[Arc<Segment>], rows: &mut [Row]) -> Result<(), SegmentError> {
        let copies = self.shared.copies.get().ok_or(SegmentError::Interrupted { shard })?;
        for row in rows.iter_mut().filter(|row| row.copied.is_none()) {
            let segment = view.iter().find(|segment| row.id() == Some(segment.id)).cloned();
            let sha256 = (copies.out)(segment.ok_or(SegmentError::Interrupted { shard })?).await?;
            row.copied = Some(hex::encode(sha256));
        }
        Ok(())
    }

    /// What the next manifest changes lies in the ledger before it is there. A ledger that takes nothing holds up no segment: what
    /// was accepted must become durable, and nothing leaves the region meanwhile.
    async fn tell(&self, next: &Manifest, new: Vec<(Arc<Segment>, [u8; 32])>, gone: Vec<SegmentId>) {
        let Some(ledger) = self.shared.ledger.get() else { return };
        let (shard, manifest) = (next.shard, next.number);
        let published = new.iter().map(|(segment, sha256)| Event::SegmentPublished {
            shard,
            manifest,
            segment: segment.id.to_string().into(),
            records: segment.docs.into(),
            bytes: ByteCount(segment.bytes),
            sha256: *sha256,
        });
        let deleted = gone.iter().map(|id| Event::SegmentDeleted { shard, manifest, segment: id.to_string().into() });
        for told in join_all(published.chain(deleted).map(|event| ledger.record(event))).await {
            if let Err(error) = told {
                tracing::error!(error = &error as &dyn std::error::Error, "a change of segments is not recorded");
            }
        }
    }

    fn published(&mut self, manifest: Manifest) {
        self.begun.remove(&manifest.shard);
        self.wal.release(&BTreeMap::from([(manifest.shard, manifest.body.last_seq)]));
        self.manifests.insert(manifest.shard, manifest);
    }
}

fn piece(segment: &Segment) -> Piece {
    Piece { bytes: segment.bytes, docs: segment.docs, in_memory: segment.dir.is_none(), built_at: segment.built_at }
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
        sifted: hidden.iter().map(|hidden| hidden.sifted).min().unwrap_or_default(),
    };
    // The age of a segment is that of its oldest part: what was built today is sealed tomorrow, however often it was merged.
    let built_at = parts.iter().map(|part| part.built_at).min().unwrap_or(now);
    let opened = files::open_built(layout, (id, shard), built, dir.clone(), built_at).and_then(|mut merged| {
        merged.received_until = parts.iter().map(|part| part.received_until).max().unwrap_or(now);
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
/// The epoch of a shard that was never taken over.
const FIRST_EPOCH: Epoch = Epoch(1);
