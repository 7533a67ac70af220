//! The shards of this node, from opening to stopping: what `node.rs` and the stages to the right hold on to.
//!
//! Start: `Opened::open` (store, manifests, segments), then the write-ahead log with `Opened::indexed`, then `Opened::start` with the
//! log's receiver. Stop: `Shards::stop`, after nobody appends any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domicile_proto::ids::ShardId;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::intake::{Intake, Refresh};
use super::manifest::Manifest;
use super::merge::Merger;
use super::purge::{Purge, Purged};
use super::{Catalog, Rewritten, Segment, SegmentError, SegmentId};
use crate::clock::Clock;
use crate::errors::Coded;
use crate::index::builder::Layout;
use crate::limits::REFRESH_QUEUE;
use crate::policy::{Scope, Suppressed, Suppression};
use crate::store::Store;
use crate::tasks::{Kind, Tasks};
use crate::wal::{Durable, Wal};

/// The durable segments, open for search; nothing runs yet.
pub(crate) struct Opened {
    shared: Arc<Shared>,
    store: Store,
    manifests: BTreeMap<ShardId, Manifest>,
}

/// The shards while the node runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    shared: Arc<Shared>,
    wal: Wal,
    wishes: mpsc::Sender<Refresh>,
    purges: mpsc::Sender<Purge>,
    ended: CancellationToken,
}

impl Opened {
    /// Reads the newest manifests and opens what they name; removes what they do not.
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
        let manifests = Manifest::read_all(&store).await?;
        let shared = Arc::new(Shared {
            layout: Layout::under(suppression),
            files: Files::open(dir)?,
            catalog: Catalog::default(),
            clock,
            tasks: tasks.clone(),
            wake: Notify::new(),
            dirty: Mutex::new(BTreeSet::new()),
            is_failed: AtomicBool::new(false),
            has_intake_ended: AtomicBool::new(false),
            #[cfg(test)]
            ends_at: Mutex::new(None),
        });
        let (opening, named) = (Arc::clone(&shared), manifests.clone());
        let open = move || {
            opening.files.remove_orphans(&named)?;
            for manifest in &named {
                for row in &manifest.body.segments {
                    let segment = opening.files.reopen(&opening.layout, manifest.shard, row)?;
                    opening.replace(&[], &Arc::new(segment))?;
                }
            }
            Ok(())
        };
        tasks.blocking(open).await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })??;
        let manifests = manifests.into_iter().map(|manifest| (manifest.shard, manifest)).collect();
        Ok(Self { shared, store, manifests })
    }

    /// Last place of each shard that lies in a durable segment: what the write-ahead log need not give again.
    pub(crate) fn indexed(&self) -> BTreeMap<ShardId, u64> {
        self.manifests.iter().map(|(shard, manifest)| (*shard, manifest.body.last_seq)).collect()
    }

    /// Starts taking in what the log gives, and merging.
    pub(crate) fn start(self, wal: Wal, durable: mpsc::Receiver<Vec<Durable>>) -> Shards {
        let Self { shared, store, manifests } = self;
        let tasks = shared.tasks.clone();
        let (wishes, wished) = mpsc::channel(REFRESH_QUEUE);
        let intake = Intake { shared: Arc::clone(&shared), growing: HashMap::new() };
        tasks.spawn(Kind::Indexer, intake.run(durable, wished));
        let deposed = BTreeSet::new();
        let (purges, purging) = mpsc::channel(1);
        let merger = Merger { shared: Arc::clone(&shared), store, wal: wal.clone(), manifests, deposed, purging };
        let ended = CancellationToken::new();
        let at_end = ended.clone().drop_guard();
        tasks.spawn(Kind::Indexer, async move {
            merger.run().await;
            drop(at_end);
        });
        Shards { shared, wal, wishes, purges, ended }
    }
}

impl Shards {
    /// The segments that can be searched.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// How records are represented in them.
    #[allow(dead_code, reason = "cold segments are opened with it")]
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
        let interrupted = || SegmentError::Interrupted { shard: ShardId(0) };
        let behind = self.wal.roll().await.ok_or_else(interrupted)?;
        self.refresh(None).await;
        let (done, purged) = oneshot::channel();
        self.purges.send(Purge { done }).await.map_err(|_| interrupted())?;
        let Purged(rewritten) = purged.await.map_err(|_| interrupted())??;
        let oldest = self.wal.oldest().await.ok_or_else(interrupted)?;
        if oldest < behind { Err(SegmentError::LogStays { files: behind - oldest }) } else { Ok(rewritten) }
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

    /// Whether records were accepted that cannot become searchable before a restart. An error in the log says why.
    pub(crate) fn is_failed(&self) -> bool {
        self.shared.is_failed.load(Ordering::Relaxed)
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
    is_failed: AtomicBool,
    has_intake_ended: AtomicBool,
    /// Where a test ends the work, as a crash would.
    #[cfg(test)]
    pub(super) ends_at: Mutex<Option<&'static str>>,
}

impl Shared {
    /// Shows a new segment.
    pub(super) fn show(&self, segment: &Arc<Segment>) -> Result<(), SegmentError> {
        self.replace(&[], segment)?;
        self.dirty.lock().insert(segment.shard);
        self.wake.notify_one();
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

    /// Tells of an error, once, here.
    pub(super) fn failed(&self, error: &SegmentError) {
        tracing::error!(code = error.code(), error = error as &dyn std::error::Error, "shard needs a person");
        self.is_failed.store(true, Ordering::Relaxed);
    }
}
