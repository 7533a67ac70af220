//! The shards of this node, from opening to stopping: what `node.rs` and the stages to the right hold on to.
//!
//! Start: `Opened::open` (store, manifests, segments), then the write-ahead log with `Opened::indexed`, then `Opened::start` with the
//! log's receiver. Stop: `Shards::stop`, after nobody appends any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domicile_proto::ids::ShardId;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::copied::CopyOut;
use super::files::Files;
use super::intake::{Intake, Refresh};
use super::manifest::Manifest;
use super::merge::Merger;
use super::moved::Moving;
use super::purge::{Removal, Sha256, Whole, digest_of};
use super::repair::Repairer;
use super::shared::Shared;
use super::{Catalog, OpenCopied, PurgeArchive, Rewritten, RollOver, Segment, SegmentError, SegmentId};
use crate::audit::Ledger;
use crate::clock::Clock;
use crate::index::builder::Layout;
use crate::limits::{COPIES_OPENED_AT_ONCE, REFRESH_QUEUE};
use crate::ownership::Loads;
use crate::policy::{Suppressed, Suppression, Wanted};
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
    /// Those of them that another node writes: what lies of them on this disk is of the past.
    left: BTreeSet<ShardId>,
}

/// The shards while the node runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    shared: Arc<Shared>,
    wal: Wal,
    store: Store,
    wishes: mpsc::Sender<Refresh>,
    removals: mpsc::Sender<Removal>,
    moves: mpsc::Sender<Moving>,
    ended: CancellationToken,
}

impl Opened {
    /// Reads the newest manifests and opens what they name. Removes nothing: what the log holds is not known yet.
    ///
    /// # Errors
    /// Any [`SegmentError`]; it names the segment or manifest a person must look at.
    #[cfg(test)]
    pub(crate) async fn open(
        dir: &Path,
        store: Store,
        tasks: &Tasks,
        clock: Clock,
        suppression: Suppression,
        copies: &OpenCopied,
    ) -> Result<Self, SegmentError> {
        Self::open_of(dir, store, tasks, (clock, suppression), copies, |_| Some(true)).await
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
        time: (Clock, Suppression),
        copies: &OpenCopied,
        is_ours: impl Fn(ShardId) -> Option<bool>,
    ) -> Result<Self, SegmentError> {
        let is_here = |files: &Files, shard| is_ours(shard).unwrap_or_else(|| files.has(shard));
        let (in_bucket, manifests): (Vec<_>, Vec<_>) =
            Manifest::read_all(&store).await?.into_iter().partition(|manifest| manifest.body.in_bucket);
        let shared = Arc::new(Shared::new(dir, tasks, time, copies.clone())?);
        let manifests: Vec<_> = manifests.into_iter().filter(|one| is_here(&shared.files, one.shard)).collect();
        for manifest in &manifests {
            shared.catalog.set_archive(manifest.shard, manifest.body.archived.clone());
        }
        let (opening, named) = (Arc::clone(&shared), manifests.clone());
        let open = move || {
            for manifest in &named {
                for row in manifest.body.segments.iter().filter(|row| !row.is_away()) {
                    let segment = opening.files.reopen(&opening.layout, manifest.shard, row)?;
                    opening.replace(&[], &Arc::new(segment))?;
                }
            }
            Ok::<(), SegmentError>(())
        };
        tasks.blocking(open).await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })??;
        let away = manifests.iter().flat_map(|manifest| {
            let copied = manifest.body.segments.iter().filter(|row| row.is_away());
            copied.map(|row| copies(shared.layout.clone(), manifest.shard, row.clone()))
        });
        let mut away = futures::stream::iter(away.collect::<Vec<_>>()).buffer_unordered(COPIES_OPENED_AT_ONCE);
        while let Some(segment) = away.try_next().await? {
            let (shared, shard) = (Arc::clone(&shared), segment.shard);
            let shown = tasks.blocking(move || shared.replace(&[], &Arc::new(segment))).await;
            shown.map_err(|_| SegmentError::Interrupted { shard })??;
        }
        let by_shard = |all: Vec<Manifest>| all.into_iter().map(|manifest| (manifest.shard, manifest)).collect();
        let left = in_bucket.iter().map(|one| one.shard).filter(|shard| is_ours(*shard) == Some(false)).collect();
        Ok(Self { shared, store, manifests: by_shard(manifests), in_bucket: by_shard(in_bucket), left })
    }

    /// Has segments of shards of durability `bucket` copied out by this.
    pub(crate) fn copying(self, out: CopyOut) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.copy_out.set(out);
        self
    }

    /// Has it measured what each shard asks of this node.
    pub(crate) fn measuring(self, loads: Loads) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.loads.set(loads);
        self
    }

    /// Has segments roll over so; without it, as is usual.
    pub(crate) fn rolling(self, roll: RollOver) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.roll.set(roll);
        self
    }

    /// Has these segments keep their ids: somebody is about to delete them.
    pub(crate) fn sparing(self, segments: impl IntoIterator<Item = SegmentId>) -> Self {
        self.shared.spared.lock().extend(segments);
        self
    }

    pub(super) fn of_bucket(&self) -> impl Iterator<Item = &Manifest> {
        self.in_bucket.values()
    }

    pub(super) fn files(&self) -> &Files {
        &self.shared.files
    }

    /// Has what was erased taken out of the archive by this.
    pub(crate) fn archiving(self, purge: PurgeArchive) -> Self {
        // There is none yet: nobody else has seen these shards.
        let _ = self.shared.purge_archive.set(purge);
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
        let Self { shared, store, manifests, in_bucket, left } = self;
        let tasks = shared.tasks.clone();
        if let Some(bucket) = wal.bucket() {
            bucket.await_shards(in_bucket.keys().copied());
        }
        let (files, mut named, log) = (shared.files.clone(), manifests.clone(), wal.clone());
        named.extend(in_bucket);
        let of_the_past = left.iter().map(|shard| (*shard, Manifest::none(*shard)));
        named.extend(of_the_past);
        let removing = tasks.blocking(move || files.remove_orphans(&named, |shard| log.begins(shard)));
        removing.await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })??;
        let (wishes, wished) = mpsc::channel(REFRESH_QUEUE);
        shared.read_again(true);
        tasks.spawn(Kind::Indexer, Intake::new(Arc::clone(&shared)).run(durable, wished));
        tasks.spawn(Kind::Indexer, Repairer { shared: Arc::clone(&shared), wal: wal.clone() }.run());
        let ((removals, removing), (moves, moving)) = (mpsc::channel(1), mpsc::channel(1));
        let merger = Merger::new(Arc::clone(&shared), store.clone(), (wal.clone(), manifests), (removing, moving));
        let ended = CancellationToken::new();
        let at_end = ended.clone().drop_guard();
        tasks.spawn(Kind::Indexer, async move {
            merger.run().await;
            drop(at_end);
        });
        let shards = Shards { shared, wal, store, wishes, removals, moves, ended };
        shards.refresh(None).await;
        shards.shared.read_again(false);
        shards.wal.check()?;
        if let Some(loads) = shards.shared.loads.get() {
            // What the log gave again was taken in before.
            loads.begin_anew();
        }
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

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Whether the copies of a shard's segments come and go with its manifest.
    pub(crate) fn is_in_bucket(&self, shard: ShardId) -> bool {
        self.shared.in_bucket.lock().contains(&shard)
    }

    pub(super) async fn ask(&self, wish: Removal) -> Result<(), SegmentError> {
        self.removals.send(wish).await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })
    }

    /// The segments that can be searched.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// When they roll over.
    pub(crate) fn roll(&self) -> RollOver {
        self.shared.roll()
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

    /// Rewrites every segment that hides something, in the archive too, without it, deletes the old files and every file of the write-ahead log
    /// that was begun before. Hides nothing by itself.
    ///
    /// # Errors
    /// Any [`SegmentError`]; what was done stays done, and the rest is done by the next call.
    pub(crate) async fn purge(&self) -> Result<Vec<Rewritten>, SegmentError> {
        let mut rewritten = match self.shared.purge_archive.get() {
            Some(purge) => purge(self.clone(), self.shared.clock.now()).await?,
            // Without it nothing came into the archive; where something lies there, nothing may be told gone.
            None => match self.catalog().archives().first() {
                Some(shard) => return Err(SegmentError::Interrupted { shard: *shard }),
                None => Vec::new(),
            },
        };
        rewritten.extend(self.remove(|done| Removal::Hidden { done }).await?);
        Ok(rewritten)
    }

    /// Has these segments keep their ids from now on, for somebody is about to delete them. Once this returns, one that is not there
    /// has become another, and none does so any more.
    ///
    /// # Errors
    /// [`SegmentError::Interrupted`] where the node stops.
    pub(crate) async fn spare(&self, segments: impl IntoIterator<Item = SegmentId>) -> Result<(), SegmentError> {
        self.shared.spared.lock().extend(segments);
        let (done, spared) = oneshot::channel();
        self.ask(Removal::Spared { done }).await?;
        spared.await.map_err(|_| SegmentError::Interrupted { shard: ShardId(0) })?
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

    /// Has a segment take the place of the one with its id, which lies elsewhere: in what is shown, then in the manifest; then
    /// what lies there goes. Whether it did: not where that one is gone, or hides what was erased since.
    ///
    /// # Errors
    /// Any [`SegmentError`]; until the manifest is created the old place holds.
    pub(crate) async fn switch(&self, new: Arc<Segment>) -> Result<bool, SegmentError> {
        let shard = new.shard;
        self.wish(shard, |done| Moving::To { new, done }).await
    }

    /// Makes neighbours on the disk one segment. Whether it did: not where they are no neighbours, or not there any more.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn join(&self, shard: ShardId, parts: BTreeSet<SegmentId>) -> Result<bool, SegmentError> {
        self.wish(shard, |done| Moving::Joined { shard, parts, done }).await
    }

    pub(super) async fn wish(
        &self,
        shard: ShardId,
        wish: impl FnOnce(oneshot::Sender<Result<bool, SegmentError>>) -> Moving,
    ) -> Result<bool, SegmentError> {
        let (done, moved) = oneshot::channel();
        self.moves.send(wish(done)).await.map_err(|_| SegmentError::Interrupted { shard })?;
        moved.await.map_err(|_| SegmentError::Interrupted { shard })?
    }

    /// Held by whoever moves a copy, shared; and alone by whoever deletes or makes anew what is copied.
    pub(crate) fn moving(&self) -> &RwLock<()> {
        &self.shared.moving
    }

    /// Ends the next step of a move, as a crash would.
    #[cfg(test)]
    pub(crate) fn end_move_at(&self, step: Option<&'static str>) {
        *self.shared.ends_at.lock() = step;
    }

    /// The digest of a durable segment.
    ///
    /// # Errors
    /// [`SegmentError::Disk`].
    pub(crate) async fn digest(&self, segment: Arc<Segment>) -> Result<Sha256, SegmentError> {
        let shard = segment.shard;
        let reading = self.shared.tasks.blocking(move || digest_of(&segment));
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

    /// Which of several has a record in a segment that is one of `going` as well: [`Segment::shared_with`].
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) async fn shared_with(
        &self,
        segment: Arc<Segment>,
        going: Wanted,
        kept: Vec<Wanted>,
    ) -> Result<Option<usize>, SegmentError> {
        let (id, shard) = (segment.id, segment.shard);
        let looking = self.shared.tasks.blocking(move || segment.shared_with(&going, &kept));
        let found = looking.await.map_err(|_| SegmentError::Interrupted { shard })?;
        found.map_err(|source| SegmentError::Open { segment: id, source })
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

    /// Whether the write-ahead log found no room of late.
    pub(crate) fn is_log_full(&self) -> bool {
        self.wal.is_full()
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
