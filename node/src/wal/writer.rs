//! The write-ahead log as the line sees it: batches go in from any task, one thread writes them in groups.
//!
//! Everything that waits while a group is flushed becomes the next group: the slower the disk, the larger the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use domicile_proto::ids::{ShardId, Timestamp};
use domicile_proto::metadata::Durability;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::batch::{Accepted, Batch};
use super::disk::{Directory, Disk};
use super::durable::Durable;
use super::errors::WalError;
use super::log::{Log, disk_error, log_name};
use super::shipper::Bucket;
use super::takeover::Handed;
use crate::clock::Clock;
use crate::limits::{
    MAX_DECOMPRESSED_BYTES, MAX_ID_BYTES, WAL_FILE_BYTES, WAL_GROUP_BYTES, WAL_GROUPS_AHEAD, WAL_QUEUE, WAL_ROOM_EVERY,
};
use crate::tasks::Kind;

/// Where the log lies.
#[derive(Clone, Debug)]
pub(crate) struct WalConfig {
    /// Its directory, made where it is missing. Nothing else may be in it.
    pub(crate) dir: PathBuf,
    /// Size at which a file ends, in bytes.
    pub(crate) file_bytes: u64,
}

impl WalConfig {
    /// A log in a directory, with the usual limits.
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, file_bytes: WAL_FILE_BYTES }
    }
}

/// The log. Clones write into the same one.
#[derive(Clone)]
pub(crate) struct Wal {
    orders: mpsc::Sender<Order>,
    released: Arc<Mutex<BTreeMap<ShardId, u64>>>,
    is_poisoned: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    begun: Arc<BTreeSet<ShardId>>,
    place: Arc<str>,
    /// When what was accepted last counts as accepted, by what was found when the log was opened.
    latest: Option<Timestamp>,
    /// Where the shards of durability `bucket` are written.
    bucket: Option<Bucket>,
    /// Shards that this node wrote to its disk since it started, or of which it found records or ids there, until all of that lies in
    /// the store.
    on_disk: Arc<Mutex<BTreeSet<ShardId>>>,
    /// Files that held records when the log was opened, with the last place of each shard in them.
    found: Arc<Vec<(PathBuf, BTreeMap<ShardId, u64>)>>,
}

type Reread = oneshot::Sender<Result<Vec<Durable>, WalError>>;

enum Order {
    Append {
        batch: Batch,
        json_bytes: usize,
        reply: oneshot::Sender<Result<Accepted, WalError>>,
    },
    Release,
    /// Looks whether there is room again.
    Room,
    Again {
        shard: ShardId,
        places: RangeInclusive<u64>,
        reply: Reread,
    },
    Given {
        done: oneshot::Sender<()>,
    },
    /// Ends a shard of the disk. Told: where it stands, and its ids.
    HandOver {
        shard: ShardId,
        done: oneshot::Sender<Handed>,
    },
    /// Ends the open file. Told: the number of the first file that is begun after.
    Roll {
        done: oneshot::Sender<u64>,
    },
    /// Told: the number of the oldest file, after files that are no longer needed were removed.
    Oldest {
        done: oneshot::Sender<u64>,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
}

impl Wal {
    /// Opens the log and starts its thread. `indexed` is the last place of each shard that lies in a durable segment; what
    /// the log holds beyond comes out of the receiver first, then what is newly accepted, in order. With [`EVERYTHING`] nothing of a
    /// shard comes, and its files stay until they are released. Blocks while it reads.
    ///
    /// # Errors
    /// [`WalError::Damaged`], [`WalError::Gap`], [`WalError::Foreign`] or [`WalError::Disk`]; all need a person.
    #[cfg(test)]
    pub(crate) fn open(
        config: &WalConfig,
        indexed: &BTreeMap<ShardId, u64>,
        clock: Clock,
    ) -> Result<(Self, mpsc::Receiver<Vec<Durable>>), WalError> {
        Self::open_beside(config, indexed, clock, None)
    }

    /// As [`Self::open`], with a log in the region's store beside it, which gives its records to the same receiver.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open_beside(
        config: &WalConfig,
        indexed: &BTreeMap<ShardId, u64>,
        clock: Clock,
        bucket: Option<Bucket>,
    ) -> Result<(Self, mpsc::Receiver<Vec<Durable>>), WalError> {
        let disk =
            Directory::open(&config.dir).map_err(|error| disk_error(&config.dir.display().to_string(), &error))?;
        Self::on_both(Box::new(disk), config.file_bytes, indexed, (clock, bucket))
    }

    /// Opens the log of a disk.
    #[cfg(test)]
    pub(super) fn on(
        disk: Box<dyn Disk>,
        file_bytes: u64,
        indexed: &BTreeMap<ShardId, u64>,
        clock: Clock,
    ) -> Result<(Self, mpsc::Receiver<Vec<Durable>>), WalError> {
        Self::on_both(disk, file_bytes, indexed, (clock, None))
    }

    fn on_both(
        disk: Box<dyn Disk>,
        file_bytes: u64,
        indexed: &BTreeMap<ShardId, u64>,
        (clock, bucket): (Clock, Option<Bucket>),
    ) -> Result<(Self, mpsc::Receiver<Vec<Durable>>), WalError> {
        let mut log = Log::open(disk, indexed, file_bytes, clock.reading())?;
        log.begun.extend(bucket.iter().flat_map(Bucket::mentioned));
        let (begun, is_poisoned) = (Arc::new(std::mem::take(&mut log.begun)), Arc::default());
        let is_full = Arc::new(AtomicBool::new(false));
        let place = log.disk.place().into();
        let (orders, incoming) = mpsc::channel(WAL_QUEUE);
        let (durable, outgoing) = mpsc::channel(WAL_GROUPS_AHEAD);
        let released = Arc::new(Mutex::new(BTreeMap::new()));
        if let Some(bucket) = &bucket {
            let token = bucket.tasks().token().clone();
            bucket.tasks().spawn(Kind::Indexer, bucket.clone().run(durable.clone(), token));
        }
        let is_kept = |shard: &ShardId| indexed.get(shard).is_none_or(|last| *last < EVERYTHING);
        // Also those of which nothing is left there but ids.
        let known = log.shards.iter().filter(|(_, shard)| !shard.seen.is_empty()).map(|(shard, _)| *shard);
        let written = log.files.iter().flat_map(|file| file.last.keys().copied());
        let on_disk = written.chain(known).filter(is_kept).collect();
        let dir = PathBuf::from(log.disk.place());
        let found = log.files.iter().map(|file| (dir.join(log_name(file.number)), file.last.clone())).collect();
        let wal = Self {
            orders,
            released: Arc::clone(&released),
            is_poisoned: Arc::clone(&is_poisoned),
            is_full: Arc::clone(&is_full),
            begun,
            place,
            latest: log.latest.max(bucket.as_ref().and_then(Bucket::latest)),
            bucket,
            on_disk: Arc::new(Mutex::new(on_disk)),
            found: Arc::new(found),
        };
        // Of what was given up the log gives nothing again; that it is put aside, and can go, is said later.
        let (kept, indexed) = (indexed.clone(), indexed.iter().filter(|(shard, _)| is_kept(shard)));
        let indexed = indexed.map(|(shard, last)| (*shard, *last)).collect();
        let writer =
            Writer { log, incoming, durable, released, kept, indexed, clock, is_poisoned, is_full, looked: None };
        let spawned = std::thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run());
        spawned.map_err(|error| disk_error("wal", &error))?;
        Ok((wal, outgoing))
    }

    /// Takes a batch. Once this returns `Ok` its records survive kill -9 and loss of power, each exactly once, even if the
    /// caller goes away while it waits.
    ///
    /// # Errors
    /// Any [`WalError`]; after one of them nothing of the batch was accepted, but for [`WalError::Poisoned`] and
    /// [`WalError::Stopped`], where that is unknown until the node has been restarted.
    pub(crate) async fn append(&self, batch: Batch) -> Result<Accepted, WalError> {
        #[cfg(feature = "jepsen-bugs")]
        batch.records.iter().for_each(|(_, record)| crate::bugs::remember(&String::from_utf8_lossy(record.json())));
        let json_bytes: usize = batch.records.iter().map(|(_, record)| record.json().len()).sum();
        if json_bytes > MAX_BATCH_BYTES {
            return Err(WalError::TooLarge { bytes: json_bytes, most: MAX_BATCH_BYTES });
        }
        let ids = batch.records.iter().filter_map(|(_, record)| record.id());
        let longest = ids.chain(batch.producer.as_ref().map(|producer| &*producer.id)).map(str::len).max();
        if let Some(bytes) = longest.filter(|bytes| *bytes > MAX_ID_BYTES) {
            return Err(WalError::TooLarge { bytes, most: MAX_ID_BYTES });
        }
        if let Some(bucket) = self.bucket.as_ref().filter(|bucket| is_in_bucket(bucket, &batch)) {
            return bucket.append(batch).await;
        }
        if let Some((shard, _)) = batch.stream.shard.filter(|(shard, _)| !self.is_on_disk(*shard)) {
            self.on_disk.lock().insert(shard);
        }
        let (reply, answer) = oneshot::channel();
        self.orders.try_send(Order::Append { batch, json_bytes, reply }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => WalError::Busy { waiting: WAL_QUEUE },
            mpsc::error::TrySendError::Closed(_) => WalError::Stopped,
        })?;
        answer.await.unwrap_or(Err(WalError::Stopped))
    }

    /// Ends a shard of the disk: what comes for it goes into the region's store. Where it stands, and its ids; `None` where the
    /// log has stopped. To be repeated until [`Self::handed_over`].
    pub(crate) async fn hand_over(&self, shard: ShardId) -> Option<Handed> {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::HandOver { shard, done }).await.ok()?;
        let handed = told.await.ok()?;
        self.on_disk.lock().insert(shard);
        Some(handed)
    }

    /// Everything that a shard had on the disk lies in the store, its ids too.
    pub(crate) fn handed_over(&self, shard: ShardId) {
        self.on_disk.lock().remove(&shard);
    }

    /// Whether records or ids of a shard are on this node's disk that may not be in the store.
    pub(crate) fn is_on_disk(&self, shard: ShardId) -> bool {
        self.on_disk.lock().contains(&shard)
    }

    /// Files that held a record of a shard behind a place when the log was opened.
    pub(crate) fn files_behind(&self, shard: ShardId, after: u64) -> Vec<PathBuf> {
        let holds = |last: &BTreeMap<ShardId, u64>| last.get(&shard).is_some_and(|last| *last > after);
        self.found.iter().filter(|(_, last)| holds(last)).map(|(file, _)| file.clone()).collect()
    }

    /// Says up to which place each shard lies in durable segments; files of the log that are no longer needed are removed
    /// soon after.
    pub(crate) fn release(&self, durable: &BTreeMap<ShardId, u64>) {
        self.bucket.iter().for_each(|bucket| bucket.release(durable));
        self.released.lock().extend(durable.iter().map(|(shard, last)| (*shard, *last)));
        // A full queue means that the thread is awake and looks by itself.
        let _ = self.orders.try_send(Order::Release);
    }

    /// Records of a shard again, from one place to another: what came out of the receiver and did not become a segment. They
    /// are there as long as they were not released.
    ///
    /// # Errors
    /// [`WalError::Disk`], [`WalError::Damaged`], [`WalError::Gap`] or [`WalError::Stopped`].
    pub(crate) async fn again(&self, shard: ShardId, places: RangeInclusive<u64>) -> Result<Vec<Durable>, WalError> {
        if let Some(bucket) = self.bucket.as_ref().filter(|bucket| bucket.epoch_of(shard).is_some()) {
            return bucket.again(shard, &places).await;
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(Order::Again { shard, places, reply }).await;
        sent.map_err(|_| WalError::Stopped)?;
        answer.await.unwrap_or(Err(WalError::Stopped))
    }

    /// Whether the first record of a shard lay in the log when it was opened: then nothing of the shard is anywhere else alone.
    pub(crate) fn begins(&self, shard: ShardId) -> bool {
        self.begun.contains(&shard)
    }

    /// When what was accepted last before this start counts as accepted.
    pub(crate) const fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Whether the log takes nothing more before a restart.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Relaxed) || self.bucket.as_ref().is_some_and(Bucket::is_poisoned)
    }

    /// The log in the region's store.
    pub(crate) const fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// Whether the last batch found no room and nothing shows yet that there is some again. Whoever asks has it looked for.
    pub(crate) fn is_full(&self) -> bool {
        let is_full = self.is_full.load(Ordering::Relaxed);
        if is_full {
            // Where the queue is full of batches, they will show it.
            let _ = self.orders.try_send(Order::Room);
        }
        is_full
    }

    /// # Errors
    /// [`WalError::Poisoned`] where the log takes nothing more before a restart.
    pub(crate) fn check(&self) -> Result<(), WalError> {
        if self.is_poisoned() { Err(WalError::Poisoned { dir: self.place.to_string() }) } else { Ok(()) }
    }

    /// Returns when everything acknowledged before has been put into the receiver.
    pub(crate) async fn given(&self) {
        if let Some(bucket) = &self.bucket {
            bucket.given().await;
        }
        let (done, given) = oneshot::channel();
        if self.orders.send(Order::Given { done }).await.is_ok() {
            let _ = given.await;
        }
    }

    /// Ends the open file, and the newest object; what is begun after. `None` where the log has stopped.
    pub(crate) async fn roll(&self) -> Option<Ends> {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Roll { done }).await.ok()?;
        let objects = match &self.bucket {
            Some(bucket) => bucket.roll().await?,
            None => 0,
        };
        Some(Ends { files: told.await.ok()?, objects })
    }

    /// The oldest file and the oldest object that are left, or the next ones where none are. `None` where the log has stopped.
    pub(crate) async fn oldest(&self) -> Option<Ends> {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Oldest { done }).await.ok()?;
        let objects = match &self.bucket {
            Some(bucket) => bucket.oldest().await,
            None => 0,
        };
        Some(Ends { files: told.await.ok()?, objects })
    }

    /// Takes what was sent before, then ends the thread and closes the receiver.
    pub(crate) async fn stop(&self) {
        if let Some(bucket) = &self.bucket {
            bucket.stop().await;
        }
        let (done, ended) = oneshot::channel();
        if self.orders.send(Order::Stop { done }).await.is_ok() {
            let _ = ended.await;
        }
    }
}

/// Where the log begins or ends: numbers of a file of the disk and of an object of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    files: u64,
    objects: u64,
}

impl Ends {
    /// How many files and objects lie from here to another place.
    pub(crate) const fn before(self, other: Self) -> u64 {
        other.files.saturating_sub(self.files) + other.objects.saturating_sub(self.objects)
    }
}

/// Whether a batch goes into the store: its stream asks for it, or its shard is written there already and stays there.
fn is_in_bucket(bucket: &Bucket, batch: &Batch) -> bool {
    let is_held = |shard| bucket.epoch_of(shard).is_some();
    // One that another node took over is refused there, also where this node has it on its disk.
    let is_ended = |shard| bucket.deposed_by(shard).is_some();
    let is_there = |shard| is_held(shard) || is_ended(shard) || bucket.is_awaited(shard);
    batch.stream.policy.durability == Durability::Bucket || batch.stream.shard.is_some_and(|(shard, _)| is_there(shard))
}

/// Who waits for the end of a group, or of the log.
#[derive(Default)]
struct Waiting {
    room: bool,
    again: Vec<(ShardId, RangeInclusive<u64>, Reread)>,
    given: Vec<oneshot::Sender<()>>,
    hand_over: Vec<(ShardId, oneshot::Sender<Handed>)>,
    roll: Vec<oneshot::Sender<u64>>,
    oldest: Vec<oneshot::Sender<u64>>,
    stop: Vec<oneshot::Sender<()>>,
}

struct Writer {
    log: Log,
    incoming: mpsc::Receiver<Order>,
    durable: mpsc::Sender<Vec<Durable>>,
    released: Arc<Mutex<BTreeMap<ShardId, u64>>>,
    /// Up to which place nothing of a shard is given again.
    kept: BTreeMap<ShardId, u64>,
    /// Up to which place the files of a shard may go.
    indexed: BTreeMap<ShardId, u64>,
    clock: Clock,
    is_poisoned: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    /// When it was last looked for room.
    looked: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        let durable = self.durable.clone();
        if let Err(error) =
            self.log.replay(&std::mem::take(&mut self.kept), |group| durable.blocking_send(group).is_ok())
        {
            tracing::error!(error = &error as &dyn std::error::Error, "write-ahead log could not be read again");
            self.log.is_poisoned = true;
        }
        self.show_state();
        self.release_up_to(BTreeMap::new());
        while let Some(order) = self.incoming.blocking_recv() {
            let mut waiting = Waiting::default();
            let (group, replies) = self.gather(order, &mut waiting);
            if !group.is_empty() {
                let (answers, durable) = self.log.commit(group, self.clock.reading());
                self.show_state();
                self.show_room(&answers);
                replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(answer)));
                // Nobody receives only when the node is going down; the records are in the log.
                let _ = durable.is_empty() || self.durable.blocking_send(durable).is_ok();
            }
            if waiting.room {
                self.look_for_room();
            }
            waiting.again.into_iter().for_each(|(shard, places, reply)| {
                let _ = reply.send(self.log.reread(shard, &places));
            });
            waiting.hand_over.into_iter().for_each(|(shard, done)| {
                let _ = done.send(self.log.hand_over(shard));
            });
            waiting.given.into_iter().for_each(|done| {
                let _ = done.send(());
            });
            waiting.roll.into_iter().for_each(|done| {
                let _ = done.send(self.log.roll());
            });
            self.release();
            waiting.oldest.into_iter().for_each(|done| {
                let _ = done.send(self.log.oldest());
            });
            if !waiting.stop.is_empty() {
                drop(self);
                waiting.stop.into_iter().for_each(|done| {
                    let _ = done.send(());
                });
                return;
            }
        }
    }

    /// Whatever waits, up to the size of a group.
    #[allow(clippy::type_complexity, reason = "batches and whom to answer, side by side")]
    fn gather(
        &mut self,
        first: Order,
        waiting: &mut Waiting,
    ) -> (Vec<Batch>, Vec<oneshot::Sender<Result<Accepted, WalError>>>) {
        let (mut group, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Append { batch, json_bytes, reply } => {
                    group.push(batch);
                    replies.push(reply);
                    bytes += json_bytes;
                }
                Order::Release => {}
                Order::Room => waiting.room = true,
                Order::Again { shard, places, reply } => waiting.again.push((shard, places, reply)),
                Order::Given { done } => waiting.given.push(done),
                Order::HandOver { shard, done } => waiting.hand_over.push((shard, done)),
                Order::Roll { done } => waiting.roll.push(done),
                Order::Oldest { done } => waiting.oldest.push(done),
                Order::Stop { done } => {
                    self.incoming.close();
                    waiting.stop.push(done);
                    // What was sent before the stop is already here; what comes now is refused by the closed queue.
                }
            }
            next = if bytes < WAL_GROUP_BYTES { self.incoming.try_recv().ok() } else { None };
        }
        (group, replies)
    }

    fn show_state(&self) {
        self.is_poisoned.store(self.log.is_poisoned, Ordering::Relaxed);
    }

    /// A batch that was written, or found no room, says how it is; one that was refused for what it is says nothing.
    fn show_room(&self, answers: &[Result<Accepted, WalError>]) {
        let mut said = answers.iter().rev().filter_map(|answer| match answer {
            Ok(accepted) => (!accepted.repeated).then_some(false),
            Err(error) => matches!(error, WalError::NoRoom { .. }).then_some(true),
        });
        if let Some(is_full) = said.next() {
            self.is_full.store(is_full, Ordering::Relaxed);
        }
    }

    fn look_for_room(&mut self) {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= WAL_ROOM_EVERY);
        if self.is_full.load(Ordering::Relaxed) && is_due {
            self.is_full.store(!self.log.has_room(), Ordering::Relaxed);
            self.looked = Some(Instant::now());
        }
    }

    fn release(&mut self) {
        let released = std::mem::take(&mut *self.released.lock());
        if !released.is_empty() {
            self.release_up_to(released);
        }
    }

    fn release_up_to(&mut self, released: BTreeMap<ShardId, u64>) {
        self.indexed.extend(released);
        if let Err(error) = self.log.release(&self.indexed, self.clock.reading()) {
            tracing::error!(error = &error as &dyn std::error::Error, "files of the write-ahead log stay for now");
        }
    }
}

/// A place behind every record of a shard.
pub(crate) const EVERYTHING: u64 = u64::MAX >> 1;
/// Largest batch, in bytes of JSON: what one request may hold, with room for replaced spans that grew.
const MAX_BATCH_BYTES: usize = 2 * MAX_DECOMPRESSED_BYTES;
