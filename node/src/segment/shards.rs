//! The shards of this node, from opening to stopping: what `node.rs` and the stages to the right hold on to.
//!
//! Start: `Opened::open` (store, manifests, segments), then the write-ahead log with `Opened::indexed`, then `Opened::start` with the
//! log's receiver. Stop: `Shards::stop`, after nobody appends any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use domicile_proto::ids::ShardId;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::adopt::Copies;
use super::files::Files;
use super::intake::{Intake, Refresh};
use super::manifest::{Manifest, Row};
use super::merge::{Merger, remove};
use super::purge::{Removal, Sha256, Whole, sha256_of};
use super::repair::{Lost, Repairer};
use super::{Catalog, Rewritten, Segment, SegmentError, SegmentId};
use crate::audit::Ledger;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::index::builder::Layout;
use crate::limits::REFRESH_QUEUE;
use crate::policy::{Scope, Suppressed, Suppression, Wanted};
use crate::store::Store;
use crate::tasks::{Kind, Tasks};
use crate::wal::{Durable, Wal};

/// The durable segments, open for search; nothing runs yet.
pub(crate) struct Opened {
    shared: Arc<Shared>,
    store: Store,
    manifests: BTreeMap<ShardId, Manifest>,
    /// Shards whose segments lie in the store: who writes them takes them up.
    in_bucket: BTreeMap<ShardId, Manifest>,
}

/// The shards while the node runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    shared: Arc<Shared>,
    wal: Wal,
    store: Store,
    wishes: mpsc::Sender<Refresh>,
    removals: mpsc::Sender<Removal>,
    ended: CancellationToken,
}

impl Opened {
    /// Reads the newest manifests and opens what they name. Removes nothing: what the log holds is not known yet.
    ///
    /// # Errors
    /// Any [`SegmentError`]; it names the segment or manifest a person must look at.
    pub(crate) async fn open(
        dir: &Path,
        store: Store,
        tasks: &Tasks,
        clock: Clock,
        suppression: Suppression,
    ) -> Result<Self, SegmentError> {
        Self::open_of(dir, store, tasks, (clock, suppression), |_| None).await
    }

    /// As [`Self::open`], in a store that other nodes of the region use as well: `is_ours` says of a shard who writes it, where
    /// it is known. One of which it is not known is opened where its directory is there.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn open_of(
        dir: &Path,
        store: Store,
        tasks: &Tasks,
        (clock, suppression): (Clock, Suppression),
        is_ours: impl Fn(ShardId) -> Option<bool>,
    ) -> Result<Self, SegmentError> {
        let (in_bucket, manifests): (Vec<_>, Vec<_>) =
            Manifest::read_all(&store).await?.into_iter().partition(|manifest| manifest.body.in_bucket);
        let manifests: Vec<_> = manifests.into_iter().filter(|one| is_ours(one.shard) != Some(false)).collect();
        let shared = Arc::new(Shared {
            layout: Layout::under(suppression),
            files: Files::open(dir)?,
            catalog: Catalog::default(),
            clock,
            tasks: tasks.clone(),
            wake: Notify::new(),
            dirty: Mutex::new(BTreeSet::new()),
            lost: Lost::default(),
            ledger: OnceLock::new(),
            copies: OnceLock::new(),
            retries: AtomicU64::new(0),
            has_intake_ended: AtomicBool::new(false),
            #[cfg(test)]
            ends_at: Mutex::new(None),
        });
        let (opening, named) = (Arc::clone(&shared), manifests.clone());
        let open = move || {
            for manifest in &named {
                for row in &manifest.body.segments {
                    let segment = opening.files.reopen(&opening.layout, manifest.shard, row)?;
                    opening.replace(&[], &Arc::new(segment))?;
                }
            }
            Ok::<(), SegmentError>(())
        };
        tasks.blocking(open).await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })??;
        let by_shard = |all: Vec<Manifest>| all.into_iter().map(|manifest| (manifest.shard, manifest)).collect();
        Ok(Self { shared, store, manifests: by_shard(manifests), in_bucket: by_shard(in_bucket) })
    }

    /// Has segments of shards of durability `bucket` moved by this.
    pub(crate) fn copying(self, copies: Copies) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.copies.set(copies);
        self
    }

    /// Shards whose segments lie in the store, of any node: none of them can be searched before it is taken up.
    pub(crate) fn in_bucket(&self) -> BTreeSet<ShardId> {
        self.in_bucket.keys().copied().collect()
    }

    /// Has it recorded which segments come and go.
    pub(crate) fn telling(self, ledger: Arc<Ledger>) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.ledger.set(ledger);
        self
    }

    /// Last place of each shard that lies in a durable segment: what the write-ahead log need not give again.
    pub(crate) fn indexed(&self) -> BTreeMap<ShardId, u64> {
        let all = self.manifests.iter().chain(&self.in_bucket);
        all.map(|(shard, manifest)| (*shard, manifest.body.last_seq)).collect()
    }

    /// Removes segments that no manifest names, then starts taking in what the log gives, and merging. Returns when what the log
    /// gives again can be searched: an answer after a restart is not smaller than one before.
    ///
    /// # Errors
    /// [`WalError::NoManifest`](crate::wal::WalError::NoManifest) where that would remove the only copy of records; then nothing
    /// is removed. [`SegmentError::Disk`]. [`SegmentError::Log`] where the log could not be read again.
    pub(crate) async fn start(self, wal: Wal, durable: mpsc::Receiver<Vec<Durable>>) -> Result<Shards, SegmentError> {
        let Self { shared, store, manifests, in_bucket } = self;
        let tasks = shared.tasks.clone();
        let (files, mut named, log) = (shared.files.clone(), manifests.clone(), wal.clone());
        named.extend(in_bucket);
        let removing = tasks.blocking(move || files.remove_orphans(&named, |shard| log.begins(shard)));
        removing.await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })??;
        let (wishes, wished) = mpsc::channel(REFRESH_QUEUE);
        let intake = Intake { shared: Arc::clone(&shared), growing: HashMap::new() };
        tasks.spawn(Kind::Indexer, intake.run(durable, wished));
        tasks.spawn(Kind::Indexer, Repairer { shared: Arc::clone(&shared), wal: wal.clone() }.run());
        let (removals, removing) = mpsc::channel(1);
        let merger = Merger::new(Arc::clone(&shared), store.clone(), (wal.clone(), manifests), removing);
        let ended = CancellationToken::new();
        let at_end = ended.clone().drop_guard();
        tasks.spawn(Kind::Indexer, async move {
            merger.run().await;
            drop(at_end);
        });
        let shards = Shards { shared, wal, store, wishes, removals, ended };
        shards.refresh(None).await;
        shards.wal.check()?;
        Ok(shards)
    }
}

impl Shards {
    pub(super) const fn wal(&self) -> &Wal {
        &self.wal
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn copies(&self) -> Option<&Copies> {
        self.shared.copies.get()
    }

    /// A segment from this node's disk.
    pub(super) async fn reopened(&self, shard: ShardId, row: &Row) -> Result<Segment, SegmentError> {
        let (shared, row) = (Arc::clone(&self.shared), row.clone());
        let opening = self.shared.tasks.blocking(move || shared.files.reopen(&shared.layout, shard, &row));
        opening.await.map_err(|_| SegmentError::Interrupted { shard })?
    }

    pub(super) async fn ask(&self, wish: Removal) -> Result<(), SegmentError> {
        self.removals.send(wish).await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })
    }

    /// The segments that can be searched.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// How records are represented in them.
    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// Makes searchable what was acknowledged before, of one shard or of all. Returns when it is, or when the node stops.
    pub(crate) async fn refresh(&self, shard: Option<ShardId>) {
        self.wal.given().await;
        let (done, ready) = oneshot::channel();
        if self.wishes.send(Refresh { shard, done }).await.is_ok() {
            let _ = ready.await;
        }
    }

    /// Adds an order to the suppression list and hides what it says in every segment. Once this returns nothing of it can be
    /// found any more; how many records were hidden.
    ///
    /// # Errors
    /// A segment cannot be read: the order is on the list, and hidden is not everything.
    pub(crate) async fn suppress(&self, order: Suppressed) -> Result<u64, SegmentError> {
        let shared = Arc::clone(&self.shared);
        let hiding = self.shared.tasks.blocking(move || {
            let list = &shared.layout.suppression;
            shared.catalog.enforce(|| list.add(&order));
            shared.hide_all()?;
            shared.count(&order)
        });
        hiding.await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })?
    }

    /// Rewrites every segment that hides something, without it, deletes the old files and every file of the write-ahead log
    /// that was begun before. Hides nothing by itself.
    ///
    /// # Errors
    /// Any [`SegmentError`]; what was done stays done, and the rest is done by the next call.
    pub(crate) async fn purge(&self) -> Result<Vec<Rewritten>, SegmentError> {
        self.remove(|done| Removal::Hidden { done }).await
    }

    /// Deletes whole segments for good, with their files, and every file of the write-ahead log that was begun before.
    ///
    /// # Errors
    /// Any [`SegmentError`]; what was done stays done, and the rest is done by the next call.
    pub(crate) async fn drop_whole(&self, gone: Whole) -> Result<(), SegmentError> {
        self.remove(|done| Removal::Whole { gone, done }).await
    }

    async fn remove<T>(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<T, SegmentError>>) -> Removal,
    ) -> Result<T, SegmentError> {
        let interrupted = || SegmentError::Interrupted { shard: ShardId(0) };
        let behind = self.wal.roll().await.ok_or_else(interrupted)?;
        self.refresh(None).await;
        let (done, removed) = oneshot::channel();
        self.removals.send(wish(done)).await.map_err(|_| interrupted())?;
        let removed = removed.await.map_err(|_| interrupted())??;
        let oldest = self.wal.oldest().await.ok_or_else(interrupted)?;
        match oldest.before(behind) {
            0 => Ok(removed),
            files => Err(SegmentError::LogStays { files }),
        }
    }

    /// The digest of all files of a durable segment.
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub(crate) async fn digest(&self, segment: Arc<Segment>) -> Result<Sha256, SegmentError> {
        let shard = segment.shard;
        let reading = self.shared.tasks.blocking(move || sha256_of(segment.dir.as_deref()));
        reading.await.map_err(|_| SegmentError::Interrupted { shard })?
    }

    /// Whether a segment holds a record of these, hidden or not.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) async fn holds(&self, segment: Arc<Segment>, wanted: Wanted) -> Result<bool, SegmentError> {
        let (id, shard) = (segment.id, segment.shard);
        let looking = self.shared.tasks.blocking(move || segment.holding(&wanted));
        let found = looking.await.map_err(|_| SegmentError::Interrupted { shard })?;
        found.map(|found| !found.is_empty()).map_err(|source| SegmentError::Open { segment: id, source })
    }

    /// How many records of all segments, hidden or not, an order concerns. Decodes every segment.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) async fn count(&self, order: Suppressed) -> Result<u64, SegmentError> {
        let shared = Arc::clone(&self.shared);
        let counting = self.shared.tasks.blocking(move || shared.count(&order));
        counting.await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })?
    }

    /// Records and bytes of segments that wait to be made anew.
    pub(crate) fn remaining(&self) -> (u64, u64) {
        let catalog = &self.shared.catalog;
        let views = catalog.shards().into_iter().map(|shard| catalog.view(shard));
        views.fold((0, 0), |sum, view| {
            let hiding = view.iter().filter(|segment| !segment.hidden().is_empty());
            hiding.fold(sum, |(records, bytes), segment| {
                (records + u64::from(segment.hidden().count), bytes + segment.bytes)
            })
        })
    }

    /// Ends the next purge at a step, as a crash would.
    #[cfg(test)]
    pub(super) fn end_at(&self, step: &'static str) {
        *self.shared.ends_at.lock() = Some(step);
    }

    /// Whether records were accepted that cannot be searched now. An error in the log says why.
    pub(crate) fn is_failed(&self) -> bool {
        self.shared.catalog.failures() > 0
    }

    /// Whether the write-ahead log takes nothing more before a restart.
    pub(crate) fn is_log_poisoned(&self) -> bool {
        self.wal.is_poisoned()
    }

    /// How often work on segments and manifests failed and was put off.
    pub(crate) fn retries(&self) -> u64 {
        self.shared.retries.load(Ordering::Relaxed)
    }

    /// Stops the write-ahead log, makes everything it gave durable in segments, and ends. May be abandoned at any time:
    /// what is not yet in segments is in the log.
    pub(crate) async fn stop(&self) {
        self.wal.stop().await;
        self.ended.cancelled().await;
    }
}

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
    dirty: Mutex<BTreeSet<ShardId>>,
    /// What could not be built.
    pub(super) lost: Lost,
    /// Where it is recorded which segments come and go.
    pub(super) ledger: OnceLock<Arc<Ledger>>,
    /// What moves segments between the disk and the store.
    pub(super) copies: OnceLock<Copies>,
    retries: AtomicU64,
    has_intake_ended: AtomicBool,
    /// Where a test ends the work, as a crash would.
    #[cfg(test)]
    pub(super) ends_at: Mutex<Option<&'static str>>,
}

impl Shared {
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
    fn hide_all(&self) -> Result<(), SegmentError> {
        let list = self.layout.suppression.now();
        for shard in self.catalog.shards() {
            for segment in self.catalog.view(shard).iter() {
                let sifted = segment.sift(&list, Scope::Open);
                sifted.map_err(|source| SegmentError::Open { segment: segment.id, source })?;
            }
        }
        Ok(())
    }

    fn count(&self, order: &Suppressed) -> Result<u64, SegmentError> {
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
            let bytes = view.iter().filter(|segment| segment.dir.is_none()).map(|segment| segment.bytes).sum::<u64>();
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

    /// Places of a shard could not become a segment: the shard is not whole until they are built again. Told once.
    pub(super) fn lost(&self, shard: ShardId, places: Option<RangeInclusive<u64>>, error: &SegmentError) {
        let Some(places) = places else { return };
        let is_held =
            |segment: &Arc<Segment>| segment.first_seq <= *places.start() && *places.end() <= segment.last_seq;
        if self.catalog.view(shard).iter().any(is_held) {
            return;
        }
        self.catalog.set_whole(shard, false);
        self.count_retry();
        if self.lost.add(shard, places) {
            let (code, error) = (error.code(), error as &dyn std::error::Error);
            tracing::error!(%shard, code, error, "accepted records cannot be searched; they are tried again");
        }
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}
