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
use super::{Catalog, Segment, SegmentError};
use crate::clock::Clock;
use crate::errors::Coded;
use crate::index::builder::Layout;
use crate::limits::REFRESH_QUEUE;
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
    ended: CancellationToken,
}

impl Opened {
    /// Reads the newest manifests and opens what they name; removes what they do not.
    ///
    /// # Errors
    /// Any [`SegmentError`]; it names the segment or manifest a person must look at.
    pub(crate) async fn open(dir: &Path, store: Store, tasks: &Tasks, clock: Clock) -> Result<Self, SegmentError> {
        let manifests = Manifest::read_all(&store).await?;
        let shared = Arc::new(Shared {
            layout: Layout::new(),
            files: Files::open(dir)?,
            catalog: Catalog::default(),
            clock,
            tasks: tasks.clone(),
            wake: Notify::new(),
            dirty: Mutex::new(BTreeSet::new()),
            is_failed: AtomicBool::new(false),
            has_intake_ended: AtomicBool::new(false),
        });
        let (opening, named) = (Arc::clone(&shared), manifests.clone());
        let open = move || {
            opening.files.remove_orphans(&named)?;
            for manifest in &named {
                for row in &manifest.body.segments {
                    let segment = opening.files.reopen(&opening.layout, manifest.shard, row)?;
                    opening.catalog.replace(manifest.shard, &[], Some(Arc::new(segment)));
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
        let merger = Merger { shared: Arc::clone(&shared), store, wal: wal.clone(), manifests, deposed };
        let ended = CancellationToken::new();
        let at_end = ended.clone().drop_guard();
        tasks.spawn(Kind::Indexer, async move {
            merger.run().await;
            drop(at_end);
        });
        Shards { shared, wal, wishes, ended }
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
}

impl Shared {
    /// Shows a new segment.
    pub(super) fn show(&self, segment: Arc<Segment>) {
        let shard = segment.shard;
        self.catalog.replace(shard, &[], Some(segment));
        self.dirty.lock().insert(shard);
        self.wake.notify_one();
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
