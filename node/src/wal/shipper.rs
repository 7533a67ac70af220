//! Durability `bucket`: batches of all shards are group-committed into objects of the region's store, and acknowledged when their
//! object is there.
//!
//! One task writes one object after the other, a few a second at most: whatever comes meanwhile becomes the next one. An object
//! whose creation failed or whose answer was lost is created again under the same number with the same bytes until it is there;
//! nothing is skipped, so that a log has no gap. Which batches and which numbers is decided in `bucket`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{Accepted, Batch};
use super::brought::Brought;
use super::bucket::{Core, Kept};
use super::durable::Durable;
use super::errors::WalError;
use super::ids::{Ids, failed, list};
use super::objects::{self, LOGS, Said};
use super::reckon::{by_record, counts_from};
use super::recover::{reopen, sightings_of};
use super::seen::Sighting;
use super::takeover::Tail;
use crate::clock::{Clock, Reading};
use crate::errors::Coded;
use crate::limits::{STORE_ACK_DEADLINE, WAL_OBJECT_EVERY, WAL_RETRY_LONGEST, WAL_RETRY_SHORTEST};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// The log in the region's store. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub(crate) struct Bucket(Arc<Inner>);

struct Inner {
    store: Store,
    node: NodeId,
    clock: Clock,
    tasks: Tasks,
    core: Mutex<Core>,
    /// Wakes the task.
    wake: Notify,
    is_stopping: AtomicBool,
    /// Shards come and go.
    changes: watch::Sender<()>,
    /// Whether objects may have become needless.
    is_released: AtomicBool,
    ids: tokio::sync::Mutex<Ids>,
    /// Objects whose creation was begun.
    puts: AtomicU64,
    /// Shards that are written here and not on the disk, whatever their policy says, also before this node has taken them up.
    awaited: Mutex<BTreeSet<ShardId>>,
    /// From which epoch on this node sealed another one's log for a shard, since it started.
    sealed: Mutex<BTreeMap<(NodeId, ShardId), Epoch>>,
    /// What was left of logs of nodes that are gone: seals, which stay.
    emptied: Mutex<BTreeMap<NodeId, Vec<u64>>>,
}

impl Bucket {
    /// Reads this node's own log and closes it against whoever wrote it before: an object of a node that was killed may still be
    /// on its way, and loses.
    ///
    /// # Errors
    /// [`WalError::Store`]; [`WalError::Foreign`], which needs a person.
    pub(crate) async fn open(store: Store, node: NodeId, clock: Clock, tasks: Tasks) -> Result<Self, WalError> {
        let listed = list(&store, &objects::log_of(node)).await?;
        let mut numbers: Vec<u64> =
            listed.iter().filter_map(|name| objects::place_of(LOGS, name)).map(|(_, n)| n).collect();
        numbers.sort_unstable();
        let reads = numbers.clone().into_iter().map(|number| {
            let (store, name) = (store.clone(), objects::name(node, number));
            async move { store.read(&name).await.map(|bytes| (number, bytes)).map_err(|source| failed(&name, source)) }
        });
        let read: Vec<(u64, Bytes)> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let (mut kept, mut seals, mut times) = (VecDeque::new(), BTreeMap::new(), Vec::new());
        for (number, bytes) in &read {
            take(node, *number, bytes, (&mut kept, &mut times), &mut seals)?;
        }
        let mut next = numbers.last().map_or(1, |newest| newest + 1);
        loop {
            let name = objects::name(node, next);
            let at = counts_from(times.last().copied(), clock.now());
            let marker = objects::object(next, at, std::iter::empty()).ok_or(WalError::Stopped)?;
            match store.create(&name, marker).await {
                Err(StoreError::AlreadyThere { .. }) => {
                    let late = store.read(&name).await.map_err(|source| failed(&name, source))?;
                    take(node, next, &late, (&mut kept, &mut times), &mut seals)?;
                    next += 1;
                }
                created => {
                    created.map_err(|source| failed(&name, source))?;
                    kept.push_back(Kept { number: next, last: BTreeMap::new(), sightings: Vec::new() });
                    break;
                }
            }
        }
        let mut core = Core::new(node, next + 1, kept);
        seals.into_iter().for_each(|(shard, epoch)| core.end(shard, epoch));
        let (latest, (ids, of_ids)) = (times.last().copied(), Ids::read(&store, node).await?);
        times.extend(of_ids);
        core.go_on(latest);
        core.recall(by_record(times), clock.reading());
        Ok(Self(Arc::new(Inner {
            store,
            node,
            clock,
            tasks,
            core: Mutex::new(core),
            wake: Notify::new(),
            is_stopping: AtomicBool::new(false),
            changes: watch::Sender::new(()),
            is_released: AtomicBool::new(false),
            ids: tokio::sync::Mutex::new(ids),
            puts: AtomicU64::new(0),
            awaited: Mutex::default(),
            sealed: Mutex::default(),
            emptied: Mutex::default(),
        })))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// When what was accepted last counts as accepted.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.0.core.lock().latest()
    }

    /// Whose log it is.
    pub(crate) fn node(&self) -> NodeId {
        self.0.node
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(super) fn sealed(&self) -> &Mutex<BTreeMap<(NodeId, ShardId), Epoch>> {
        &self.0.sealed
    }

    pub(super) fn emptied(&self) -> &Mutex<BTreeMap<NodeId, Vec<u64>>> {
        &self.0.emptied
    }

    fn now(&self) -> Reading {
        self.0.clock.reading()
    }

    /// Takes a batch; returns when the store has it.
    ///
    /// # Errors
    /// As [`super::Wal::append`]; after [`WalError::InDoubt`] the store may have it.
    pub(super) async fn append(&self, batch: Batch) -> Result<Accepted, WalError> {
        if self.0.is_stopping.load(Ordering::Relaxed) {
            return Err(WalError::Stopped);
        }
        if let Some((shard, _)) = batch.stream.shard {
            self.about_to_hold(shard).await;
        }
        let (reply, answer) = oneshot::channel();
        self.0.core.lock().append(batch, self.now(), reply);
        self.0.wake.notify_one();
        match tokio::time::timeout(STORE_ACK_DEADLINE, answer).await {
            Ok(answer) => answer.unwrap_or(Err(WalError::Stopped)),
            Err(_) => Err(WalError::InDoubt { seconds: STORE_ACK_DEADLINE.as_secs() }),
        }
    }

    /// Waits a little for a shard that this node is about to write, as it is when its stream is new.
    async fn about_to_hold(&self, shard: ShardId) {
        let mut changes = self.0.changes.subscribe();
        let settled = async {
            while self.epoch_of(shard).is_none() && self.deposed_by(shard).is_none() && changes.changed().await.is_ok()
            {
            }
        };
        // Whether it is so by then is looked at with the batch.
        let _ = tokio::time::timeout(HOLD_WAIT, settled).await;
    }

    /// Shards lie in the store: what comes for them waits until this node has taken them up, or is refused.
    pub(crate) fn await_shards(&self, shards: impl IntoIterator<Item = ShardId>) {
        self.0.awaited.lock().extend(shards);
    }

    /// Whether a shard is to be written into this log and into no other.
    pub(crate) fn is_awaited(&self, shard: ShardId) -> bool {
        self.0.awaited.lock().contains(&shard)
    }

    /// The epoch in which this node writes a shard.
    pub(crate) fn epoch_of(&self, shard: ShardId) -> Option<Epoch> {
        self.0.core.lock().epoch_of(shard)
    }

    /// The epoch from which another node writes a shard, as this node learned from its seal.
    pub(crate) fn deposed_by(&self, shard: ShardId) -> Option<Epoch> {
        self.0.core.lock().deposed_by(shard)
    }

    /// All of them, as far as this node has met their seals.
    pub(crate) fn deposed(&self) -> BTreeMap<ShardId, Epoch> {
        self.0.core.lock().deposed()
    }

    /// Meets every seal that lies in this node's log by now, with an object that holds nothing; whether it did.
    pub(crate) async fn meet(&self) -> bool {
        self.roll().await.is_some()
    }

    /// Shards of which something lies in this node's log.
    pub(crate) fn mentioned(&self) -> BTreeSet<ShardId> {
        self.0.core.lock().mentioned()
    }

    /// Shards whose records hold up objects of this log, and which this node does not write.
    pub(crate) fn held_up(&self) -> BTreeSet<ShardId> {
        self.0.core.lock().held_up()
    }

    /// The new owner of a shard has all of it.
    pub(crate) fn forget(&self, shard: ShardId) {
        self.0.core.lock().forget(shard);
        self.0.is_released.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
    }

    /// Begins to write a shard. Returns when everything that was accepted of it lies in this node's log or in segments, and
    /// has been given on.
    ///
    /// # Errors
    /// [`WalError::Deposed`] where a seal of this log says that another node writes it since a later epoch;
    /// [`WalError::Stopped`]; [`WalError::Store`].
    pub(crate) async fn hold(&self, shard: ShardId, epoch: Epoch, tail: Tail) -> Result<(), WalError> {
        if self.deposed_by(shard).is_some_and(|by| by > epoch) {
            return Err(WalError::Deposed { shard });
        }
        if !tail.fresh.is_empty() {
            self.keep_ids(tail.fresh.clone()).await?;
        }
        let (done, held) = oneshot::channel();
        let now = self.now();
        let brought =
            self.0.tasks.blocking(move || Brought::of(shard, tail, now)).await.map_err(|_| WalError::Stopped)?;
        {
            let mut core = self.0.core.lock();
            // Somebody else may have taken it meanwhile.
            if core.deposed_by(shard).is_some_and(|by| by > epoch) {
                return Err(WalError::Deposed { shard });
            }
            core.hold(brought, epoch, now, done);
        }
        self.0.wake.notify_one();
        let held = held.await.map_err(|_| WalError::Stopped);
        self.0.changes.send_replace(());
        held
    }

    /// Keeps ids of objects that go, or never were.
    pub(super) async fn keep_ids(&self, sightings: Vec<Sighting>) -> Result<(), WalError> {
        let mut ids = self.0.ids.lock().await;
        let since = {
            let (mut core, now) = (self.0.core.lock(), self.now());
            core.recall(by_record(sightings.iter().map(|sighting| sighting.at).collect()), now);
            core.since(now)
        };
        ids.keep(&self.0.store, self.0.node, sightings, since).await
    }

    /// Ends a shard here: nothing of it is taken any more. Returns when what was taken is in the store and answered.
    pub(crate) async fn end(&self, shard: ShardId, by: Epoch) {
        self.0.core.lock().end(shard, by);
        self.0.changes.send_replace(());
        self.given().await;
    }

    /// Ends a shard here that was never written into this log, without waiting for anything.
    pub(crate) fn close(&self, shard: ShardId, by: Epoch) {
        self.0.core.lock().end(shard, by);
        self.0.changes.send_replace(());
    }

    /// Returns when everything that was acknowledged before has been given on.
    pub(super) async fn given(&self) {
        let (done, given) = oneshot::channel();
        self.0.core.lock().barrier(done);
        self.0.wake.notify_one();
        let _ = given.await;
    }

    /// Says up to which place shards lie in segments that are in the store.
    pub(super) fn release(&self, durable: &BTreeMap<ShardId, u64>) {
        self.0.core.lock().release(durable);
        self.0.is_released.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
    }

    /// Closes the newest object, so that all before can go; the number from which on they stay.
    pub(super) async fn roll(&self) -> Option<u64> {
        // What waits comes into an object of its own, before the one that closes it.
        self.given().await;
        let (done, rolled) = oneshot::channel();
        let behind = self.0.core.lock().roll(self.now(), done);
        self.0.wake.notify_one();
        rolled.await.ok().map(|()| behind)
    }

    /// Number of the oldest object that is left, after needless ones were deleted.
    pub(super) async fn oldest(&self) -> u64 {
        if let Err(error) = self.sweep_all().await {
            tracing::error!(error = &error as &dyn std::error::Error, "objects of the write-ahead log stay for now");
        }
        self.0.core.lock().oldest()
    }

    /// How many objects were begun.
    #[cfg(test)]
    pub(super) fn puts(&self) -> u64 {
        self.0.puts.load(Ordering::Relaxed)
    }

    /// Whether the log takes nothing more before a restart.
    pub(super) fn is_poisoned(&self) -> bool {
        self.0.core.lock().is_poisoned()
    }

    /// Records of a shard again, from one place to another.
    ///
    /// # Errors
    /// [`WalError::Store`], [`WalError::Foreign`], [`WalError::Gap`].
    pub(super) async fn again(&self, shard: ShardId, places: &RangeInclusive<u64>) -> Result<Vec<Durable>, WalError> {
        let (mut next, last) = (*places.start(), *places.end());
        let mut found = Vec::new();
        let numbers = self.0.core.lock().holding(shard, next);
        for number in numbers {
            let name = objects::name(self.0.node, number);
            let bytes = self.0.store.read(&name).await.map_err(|source| failed(&name, source))?;
            let foreign = || WalError::Foreign { file: name.clone() };
            let Said::Batches(at, entries) = objects::read(&bytes, number).ok_or_else(foreign)? else { continue };
            for entry in entries.into_iter().filter(|entry| entry.shard == shard) {
                let Some(mut durable) = reopen(entry, at, next - 1).ok_or_else(foreign)? else { continue };
                if durable.first_seq != next {
                    return Err(WalError::Gap { shard, expected: next, found: durable.first_seq });
                }
                durable.records.truncate(usize::try_from(last + 1 - next).unwrap_or(usize::MAX));
                next = durable.last_seq() + 1;
                found.push(durable);
                if next > last {
                    return Ok(found);
                }
            }
        }
        Err(WalError::Gap { shard, expected: next, found: last + 1 })
    }

    /// Takes nothing more; what was taken is written, and then the task ends. Returns when it is so.
    pub(super) async fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
        self.given().await;
        if let Err(error) = self.sweep_all().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "objects of the write-ahead log stay for now");
        }
    }

    /// The task: writes objects and gives on what is in them, until the log stops or the node is told to.
    pub(crate) async fn run(self, durable: mpsc::Sender<Vec<Durable>>, token: CancellationToken) {
        let work = self.write(durable);
        token.run_until_cancelled(work).await;
    }

    async fn write(&self, durable: mpsc::Sender<Vec<Durable>>) {
        let mut last_put: Option<Instant> = None;
        loop {
            if self.0.is_released.swap(false, Ordering::Relaxed) {
                match self.sweep(OBJECTS_AT_ONCE).await {
                    // The others go in the next turns: whoever waits for an acknowledgement does not wait for all of them.
                    Ok(gone) if gone > 0 => self.0.is_released.store(true, Ordering::Relaxed),
                    Ok(_) => {}
                    Err(error) => {
                        let (code, error) = (error.code(), &error as &dyn std::error::Error);
                        tracing::warn!(code, error, "objects of the write-ahead log stay for now");
                    }
                }
            }
            if self.0.core.lock().is_idle() {
                if self.0.is_stopping.load(Ordering::Relaxed) {
                    return;
                }
                if !self.0.is_released.load(Ordering::Relaxed) {
                    self.0.wake.notified().await;
                }
                continue;
            }
            let needs_object = self.0.core.lock().needs_object();
            if let Some(last) = last_put.filter(|_| needs_object) {
                tokio::time::sleep_until(last + WAL_OBJECT_EVERY).await;
            }
            if self.0.core.lock().take_off() {
                last_put = Some(Instant::now());
                self.ship().await;
            }
            let (given, waiting) = self.0.core.lock().landed();
            // Nobody receives only when the node is going down; the records are in the store.
            let _ = given.is_empty() || durable.send(given).await.is_ok();
            waiting.into_iter().for_each(super::bucket::Waiting::tell);
        }
    }

    /// Creates the object that is on its way, until it is there.
    async fn ship(&self) {
        let mut pause = WAL_RETRY_SHORTEST;
        loop {
            let Some((name, _, content)) = self.0.core.lock().object() else { return };
            self.0.puts.fetch_add(1, Ordering::Relaxed);
            let error = match self.create(&name, content).await {
                Ok(Created::Ours) => return,
                Ok(Created::Sealed(shards)) => {
                    tracing::warn!(
                        shards = shards.len(),
                        "another node of the region took shards over; this one steps down"
                    );
                    self.0.core.lock().sealed(&shards);
                    continue;
                }
                Ok(Created::Foreign) => {
                    tracing::error!(object = name, "somebody else writes this node's log; restart the node");
                    self.0.core.lock().poison();
                    return;
                }
                Err(error) => error,
            };
            if pause == WAL_RETRY_SHORTEST {
                let (code, error) = (error.code(), &error as &dyn std::error::Error);
                tracing::warn!(
                    object = name,
                    code,
                    error,
                    "the store does not take the write-ahead log; this is tried again"
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(WAL_RETRY_LONGEST);
        }
    }

    async fn create(&self, name: &str, content: Bytes) -> Result<Created, StoreError> {
        match self.0.store.create(name, content.clone()).await {
            Err(StoreError::AlreadyThere { .. }) => {}
            created => return created.map(|()| Created::Ours),
        }
        let found = self.0.store.read(name).await?;
        if found == content {
            return Ok(Created::Ours);
        }
        let number = objects::place_of(LOGS, name).map_or(0, |(_, number)| number);
        Ok(match objects::read(&found, number) {
            Some(Said::Seal(shards)) => Created::Sealed(shards),
            _ => Created::Foreign,
        })
    }

    /// Deletes every object whose records all lie in segments in the store.
    async fn sweep_all(&self) -> Result<(), WalError> {
        while self.sweep(1).await? > 0 {}
        Ok(())
    }

    /// Deletes some of them, after their ids were written elsewhere, where there are at least so many. How many.
    async fn sweep(&self, at_least: usize) -> Result<usize, WalError> {
        let mut ids = self.0.ids.lock().await;
        let (numbers, sightings) = self.0.core.lock().releasable(OBJECTS_AT_ONCE);
        if numbers.is_empty() || numbers.len() < at_least {
            return Ok(0);
        }
        let since = self.0.core.lock().since(self.now());
        ids.keep(&self.0.store, self.0.node, sightings, since).await?;
        // In order, so that what an interrupted run leaves has no gap.
        for number in &numbers {
            let name = objects::name(self.0.node, *number);
            self.0.store.delete(&name).await.map_err(|source| failed(&name, source))?;
        }
        self.0.core.lock().dropped(&numbers);
        Ok(numbers.len())
    }
}

/// What became of a creation.
enum Created {
    /// It is there, by this call or an earlier one.
    Ours,
    /// Another node was first: it writes these shards now.
    Sealed(BTreeMap<ShardId, Epoch>),
    /// Something else is there.
    Foreign,
}

/// An object of this node's own log, read at its start.
fn take(
    node: NodeId,
    number: u64,
    bytes: &[u8],
    (kept, times): (&mut VecDeque<Kept>, &mut Vec<Timestamp>),
    seals: &mut BTreeMap<ShardId, Epoch>,
) -> Result<(), WalError> {
    match objects::read(bytes, number).ok_or_else(|| WalError::Foreign { file: objects::name(node, number) })? {
        Said::Seal(shards) => seals.extend(shards),
        Said::Batches(at, entries) => {
            let mut read = Kept { number, last: BTreeMap::new(), sightings: Vec::new() };
            for entry in &entries {
                if !entry.records.is_empty() {
                    read.last.insert(entry.shard, entry.first_seq + entry.records.len() as u64 - 1);
                }
                read.sightings.extend(sightings_of(entry, at));
            }
            kept.push_back(read);
            times.push(at);
        }
    }
    Ok(())
}

/// Objects read at once when the log is opened.
const READS_AT_ONCE: usize = 16;
/// Objects that are needless before a sweep is worth its requests, and that are deleted in one: batches wait meanwhile.
const OBJECTS_AT_ONCE: usize = 16;
/// How long a batch waits for its shard to be taken up: as long as reading a few objects takes.
const HOLD_WAIT: Duration = Duration::from_secs(5);
