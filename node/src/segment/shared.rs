//! What the tasks of this stage share: where segments lie, which are shown, and who has to look again.
//!
//! Builds and merges nothing by itself.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use domicile_proto::ids::{ShardId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use super::copied::CopyOut;
use super::files::Files;
use super::merge::remove;
use super::repair::Lost;
use super::{Catalog, OpenCopied, PurgeArchive, RollOver, Segment, SegmentError, SegmentId};
use crate::audit::Ledger;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::index::builder::Layout;
use crate::ownership::Loads;
use crate::policy::{Scope, Suppressed, Suppression};
use crate::tasks::Tasks;
use crate::wal::{Durable, counts_from};

/// What intake and merger share.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) files: Files,
    pub(super) catalog: Catalog,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    /// Wakes the merger.
    pub(super) wake: Notify,
    /// Shards that have changed since the merger looked.
    pub(super) dirty: Mutex<BTreeSet<ShardId>>,
    /// What could not be built.
    pub(super) lost: Lost,
    /// Where it is recorded which segments come and go.
    pub(super) ledger: OnceLock<Arc<Ledger>>,
    /// Where it is measured what each shard asks of this node.
    pub(super) loads: OnceLock<Loads>,
    /// When segments roll over.
    pub(super) roll: OnceLock<RollOver>,
    /// Opens a segment where its copy lies.
    pub(super) open_copied: OpenCopied,
    /// Copies a segment of durability `bucket` into the store.
    pub(super) copy_out: OnceLock<CopyOut>,
    /// Takes what was erased out of the archive.
    pub(super) purge_archive: OnceLock<PurgeArchive>,
    /// Shards whose copies come and go with their manifest.
    pub(super) in_bucket: Mutex<BTreeSet<ShardId>>,
    /// Shards that were taken over, and not yet looked through for what was erased meanwhile.
    pub(super) taken: Mutex<BTreeSet<ShardId>>,
    /// Segments that are about to be deleted under their ids: they are merged no more.
    pub(super) spared: Mutex<BTreeSet<SegmentId>>,
    /// Whether a copy is being moved, deleted or made anew.
    pub(super) moving: RwLock<()>,
    pub(super) retries: AtomicU64,
    has_intake_ended: AtomicBool,
    is_reading_again: AtomicBool,
    /// Where a test ends the work, as a crash would.
    #[cfg(test)]
    pub(super) ends_at: Mutex<Option<&'static str>>,
}

impl Shared {
    pub(super) fn new(
        dir: &Path,
        tasks: &Tasks,
        (clock, suppression): (Clock, Suppression),
        open_copied: OpenCopied,
    ) -> Result<Self, SegmentError> {
        Ok(Self {
            layout: Layout::under(suppression),
            files: Files::open(dir)?,
            catalog: Catalog::default(),
            clock,
            tasks: tasks.clone(),
            wake: Notify::new(),
            dirty: Mutex::default(),
            lost: Lost::default(),
            ledger: OnceLock::new(),
            loads: OnceLock::new(),
            roll: OnceLock::new(),
            open_copied,
            copy_out: OnceLock::new(),
            purge_archive: OnceLock::new(),
            in_bucket: Mutex::default(),
            taken: Mutex::default(),
            spared: Mutex::default(),
            moving: RwLock::new(()),
            retries: AtomicU64::new(0),
            has_intake_ended: AtomicBool::new(false),
            is_reading_again: AtomicBool::new(false),
            #[cfg(test)]
            ends_at: Mutex::new(None),
        })
    }

    /// When segments roll over.
    pub(super) fn roll(&self) -> RollOver {
        self.roll.get().copied().unwrap_or_default()
    }

    /// Does work for a shard on this thread, and counts it as what the shard asks.
    pub(super) fn spend<T>(&self, shard: ShardId, work: impl FnOnce() -> T) -> T {
        match self.loads.get() {
            Some(loads) => loads.spend(shard, work),
            None => work(),
        }
    }

    /// Shows a new segment. Where it may not be shown, it goes: its records are in the log.
    pub(super) fn show(&self, segment: &Arc<Segment>) -> Result<(), SegmentError> {
        self.replace(&[], segment).inspect_err(|_| remove(segment.dir.clone()))?;
        self.mark(segment.shard);
        Ok(())
    }

    /// Shows a segment in the place of others, once what the suppression list says is hidden in it. Blocks and may compute.
    pub(super) fn replace(&self, gone: &[SegmentId], segment: &Arc<Segment>) -> Result<(), SegmentError> {
        let list = &self.layout.suppression;
        loop {
            let sifted = segment.sift(&list.now(), Scope::Open);
            sifted.map_err(|source| SegmentError::Open { segment: segment.id, source })?;
            if self.catalog.replace_sifted(gone, segment, list) {
                return Ok(());
            }
        }
    }

    /// Hides what the suppression list says in every segment that is shown.
    pub(super) fn hide_all(&self) -> Result<(), SegmentError> {
        let list = self.layout.suppression.now();
        let mut outcome = Ok(());
        for shard in self.catalog.shards() {
            let mut is_sifted = true;
            for segment in self.catalog.view(shard).iter() {
                if let Err(source) = segment.sift(&list, Scope::Open) {
                    (is_sifted, outcome) = (false, Err(SegmentError::Open { segment: segment.id, source }));
                }
            }
            // What may show somebody who was erased is not shown at all, until it was looked through.
            self.catalog.set_sifted(shard, is_sifted);
        }
        outcome
    }

    pub(super) fn count(&self, order: &Suppressed) -> Result<u64, SegmentError> {
        let mut count = 0;
        for shard in self.catalog.shards().into_iter().filter(|shard| order.concerns(*shard)) {
            let wanted = order.wanted();
            for segment in self.catalog.view(shard).iter() {
                let found = segment.holding(&wanted);
                count += found.map_err(|source| SegmentError::Open { segment: segment.id, source })?.len() as u64;
            }
        }
        Ok(count)
    }

    pub(super) fn take_dirty(&self) -> BTreeSet<ShardId> {
        std::mem::take(&mut *self.dirty.lock())
    }

    /// Shards with segments in memory, and their bytes.
    pub(super) fn young(&self) -> Vec<(ShardId, u64)> {
        let young = |shard: ShardId| {
            let view = self.catalog.view(shard);
            let bytes = view.iter().filter(|segment| segment.is_young()).map(|segment| segment.bytes).sum::<u64>();
            (bytes > 0).then_some((shard, bytes))
        };
        self.catalog.shards().into_iter().filter_map(young).collect()
    }

    /// Lets the merger look at a shard.
    pub(super) fn mark(&self, shard: ShardId) {
        self.dirty.lock().insert(shard);
        self.wake.notify_one();
    }

    /// Lets the merger look at every shard with segments in memory.
    pub(super) fn mark_young(&self) {
        let young = self.young();
        self.dirty.lock().extend(young.into_iter().map(|(shard, _)| shard));
    }

    /// A place where a test may end the work, as a crash would.
    #[cfg(test)]
    pub(super) fn step(&self, name: &'static str) -> Result<(), SegmentError> {
        let ends = *self.ends_at.lock() == Some(name);
        if ends { Err(SegmentError::Interrupted { shard: ShardId(0) }) } else { Ok(()) }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test ends the work here")]
    pub(super) const fn step(&self, _: &'static str) -> Result<(), SegmentError> {
        Ok(())
    }

    pub(super) fn intake_ended(&self) {
        self.has_intake_ended.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn has_intake_ended(&self) -> bool {
        self.has_intake_ended.load(Ordering::Acquire)
    }

    /// The log is read again at a start, or no more. Then what it gave waits to be merged.
    pub(super) fn read_again(&self, is_reading: bool) {
        self.is_reading_again.store(is_reading, Ordering::Release);
        if !is_reading {
            self.dirty.lock().extend(self.catalog.shards());
            self.wake.notify_one();
        }
    }

    /// Whether the log is read again: nobody can ask for anything yet.
    pub(super) fn is_reading_again(&self) -> bool {
        self.is_reading_again.load(Ordering::Acquire)
    }

    /// Places of a shard could not become a segment: the shard is not whole until they are built again. Told once.
    pub(super) fn lost(&self, shard: ShardId, places: Option<RangeInclusive<u64>>, error: &SegmentError) {
        let Some(places) = places else { return };
        let is_held =
            |segment: &Arc<Segment>| segment.first_seq <= *places.start() && *places.end() <= segment.last_seq;
        if self.catalog.view(shard).iter().any(is_held) {
            return;
        }
        self.count_retry();
        let is_first = self.lost.add(shard, places);
        // In this order: whoever takes the shard for whole looks at what is lost.
        self.catalog.set_whole(shard, false);
        if is_first {
            let (code, error) = (error.code(), error as &dyn std::error::Error);
            tracing::error!(%shard, code, error, "accepted records cannot be searched; they are tried again");
        }
    }

    /// All of a shard is here, but for what could not be built: then it is whole once that is.
    /// Whether it is.
    pub(super) fn whole_again(&self, shard: ShardId) -> bool {
        self.lost.unless_any(shard, || self.catalog.set_whole(shard, true))
    }

    /// Shows a segment of what was lost. Where that is lost no more, because the shard left meanwhile, the segment goes. Whether it
    /// is shown.
    pub(super) fn show_mended(
        &self,
        shard: ShardId,
        places: &RangeInclusive<u64>,
        segment: Option<Segment>,
    ) -> Result<bool, SegmentError> {
        let dir = segment.as_ref().and_then(|segment| segment.dir.clone());
        let show = || segment.map_or(Ok(()), |segment| self.show(&Arc::new(segment)));
        let is_shown = self.lost.mend(shard, places, show)?;
        if !is_shown {
            remove(dir);
        }
        Ok(is_shown)
    }

    /// Records as they count: accepted no earlier than those before them, which `gathered` says where they are in no segment yet. Another
    /// node may have taken these, whose clock was behind.
    pub(super) fn behind_others(&self, mut durable: Durable, gathered: Option<Timestamp>) -> Durable {
        let segment_before = || {
            let view = self.catalog.view(durable.shard);
            view.iter().find(|segment| segment.last_seq < durable.first_seq).map(|segment| segment.received_until)
        };
        durable.accepted_at = counts_from(gathered.or_else(segment_before), durable.accepted_at);
        durable
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}
