//! The write-ahead log itself, without threads: files of frames, places given out, ids remembered.
//!
//! A group of batches becomes one frame and one flush. Whatever does not survive the flush is taken back before anybody is
//! answered; where even that is uncertain the log is poisoned and takes nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;

use domicile_proto::ids::{Epoch, ShardId, Timestamp};
use domicile_proto::metadata::Durability;

use super::batch::{Accepted, Batch, Op, Outcome};
use super::disk::{Disk, LogFile};
use super::durable::Durable;
use super::errors::WalError;
use super::frame::{self, Entry};
use super::seen::{self, Answered, Place, Seen, Sighting};
use crate::classify::Classified;
use crate::limits::WAL_ROOM_BYTES;

/// The log.
pub(super) struct Log {
    pub(super) disk: Box<dyn Disk>,
    pub(super) shards: HashMap<ShardId, Shard>,
    /// Files that hold records, oldest first; the last one may still grow.
    pub(super) files: VecDeque<Stored>,
    /// Names of the files of ids, each with the time of its newest id.
    pub(super) seen_files: VecDeque<(String, Timestamp)>,
    pub(super) open: Option<Open>,
    pub(super) next_file: u64,
    pub(super) next_frame: u64,
    pub(super) file_bytes: u64,
    pub(super) is_poisoned: bool,
    /// Shards whose first record lay in the log when it was opened.
    pub(super) begun: BTreeSet<ShardId>,
}

/// What the log knows of a shard.
pub(super) struct Shard {
    pub(super) next_seq: u64,
    pub(super) seen: Seen,
}

impl Default for Shard {
    fn default() -> Self {
        Self { next_seq: 1, seen: Seen::default() }
    }
}

/// A file of the log.
pub(super) struct Stored {
    pub(super) number: u64,
    /// Last place of each shard in it.
    pub(super) last: BTreeMap<ShardId, u64>,
    /// The ids in it, which must be kept when it goes.
    pub(super) sightings: Vec<Sighting>,
}

/// The file that grows.
pub(super) struct Open {
    file: Box<dyn LogFile>,
    length: u64,
}

/// A batch that has its places but is not yet durable.
struct Staged {
    entry: Entry<Classified>,
    accepted: Accepted,
}

impl Log {
    /// Takes a group of batches: each is answered, in order, and the records of those accepted are given on.
    pub(super) fn commit(
        &mut self,
        group: Vec<Batch>,
        now: Timestamp,
    ) -> (Vec<Result<Accepted, WalError>>, Vec<Durable>) {
        if self.is_poisoned {
            return (group.iter().map(|_| Err(self.poisoned())).collect(), Vec::new());
        }
        let mut sightings = Vec::new();
        let mut before = BTreeMap::new();
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for batch in group {
            match self.stage(batch, now, &mut before, &mut sightings) {
                Ok(Staged { entry, accepted }) => {
                    if !entry.records.is_empty() || (entry.producer.is_some() && !accepted.repeated) {
                        entries.push(entry);
                    }
                    answers.push(Ok(accepted));
                }
                Err(refused) => answers.push(Err(refused)),
            }
        }
        if entries.is_empty() {
            return (answers, Vec::new());
        }
        if let Err(failed) = self.write(&entries, now) {
            self.take_back(&before, &sightings);
            let failed = |answer: Result<Accepted, WalError>| answer.and_then(|_| Err(failed.clone()));
            return (answers.into_iter().map(failed).collect(), Vec::new());
        }
        if let Some(file) = self.files.back_mut() {
            entries.iter().filter(|entry| !entry.records.is_empty()).for_each(|entry| {
                file.last.insert(entry.shard, entry.first_seq + entry.records.len() as u64 - 1);
            });
            file.sightings.append(&mut sightings);
        }
        (answers, entries.into_iter().filter_map(into_durable).collect())
    }

    /// Gives a batch its places and decides what becomes of each of its records.
    fn stage(
        &mut self,
        batch: Batch,
        now: Timestamp,
        before: &mut BTreeMap<ShardId, u64>,
        sightings: &mut Vec<Sighting>,
    ) -> Result<Staged, WalError> {
        let Batch { stream, producer, records } = batch;
        if stream.policy.durability == Durability::Bucket {
            return Err(WalError::NoBucket);
        }
        let (shard, _) = stream.shard.ok_or(WalError::NoShard)?;
        let Shard { next_seq, seen } = self.shards.entry(shard).or_default();
        seen.expire(now);
        let mut entry = Entry {
            tenant: stream.tenant,
            stream: stream.id,
            shard,
            epoch: FIRST_EPOCH,
            refresh_ms: stream.policy.refresh_ms,
            first_seq: *next_seq,
            producer: None,
            outcomes: None,
            records: Vec::new(),
        };
        let mut accepted = Accepted { shard, epoch: FIRST_EPOCH, outcomes: Vec::new(), repeated: false };
        let batch_id = producer.as_ref().map(|producer| seen::batch_id(&producer.id));
        #[cfg(feature = "jepsen-bugs")]
        let batch_id = batch_id.filter(|_| !crate::bugs::is_seeded("dup-on-retry"));
        if let (Some(id), Some(producer)) = (&batch_id, &producer)
            && let Some((content, Place::Batch(answered))) = seen.find(id)
        {
            if *content != seen::content(&producer.sha256) {
                return Err(WalError::OtherBytes { shard });
            }
            (accepted.outcomes, accepted.repeated) = (answered.outcomes(), true);
            return Ok(Staged { entry, accepted });
        }
        before.entry(shard).or_insert(*next_seq);
        entry.records.reserve_exact(records.len());
        accepted.outcomes.reserve_exact(records.len());
        for (op, record) in records {
            let outcome = take(op, &record, shard, next_seq, seen, now, sightings);
            accepted.outcomes.push(outcome);
            if matches!(outcome, Outcome::Created { .. }) {
                entry.records.push(record);
            }
        }
        if entry.records.len() < accepted.outcomes.len() {
            entry.outcomes = Some(accepted.outcomes.clone());
        }
        if let (Some(id), Some(producer)) = (batch_id, &producer) {
            let answered = Answered {
                first_seq: entry.first_seq,
                count: u32::try_from(accepted.outcomes.len()).unwrap_or(u32::MAX),
                listed: entry.outcomes.clone(),
            };
            let place = Place::Batch(Box::new(answered));
            let sighting = Sighting { shard, at: now, id, content: seen::content(&producer.sha256), place };
            seen.remember(&sighting);
            sightings.push(sighting);
        }
        entry.producer = producer;
        Ok(Staged { entry, accepted })
    }

    fn take_back(&mut self, before: &BTreeMap<ShardId, u64>, sightings: &[Sighting]) {
        for sighting in sightings.iter().rev() {
            if let Some(shard) = self.shards.get_mut(&sighting.shard) {
                shard.seen.take_back();
            }
        }
        for (shard, next_seq) in before {
            if let Some(shard) = self.shards.get_mut(shard) {
                shard.next_seq = *next_seq;
            }
        }
    }

    /// Writes one frame and flushes it.
    fn write(&mut self, entries: &[Entry<Classified>], now: Timestamp) -> Result<(), WalError> {
        let bytes = self.encode(entries, now)?;
        if self.open.as_ref().is_none_or(|open| open.length >= self.file_bytes) {
            self.begin_file().map_err(|error| self.failed(&error, true))?;
        }
        let next_frame = self.next_frame;
        let Some(open) = self.open.as_mut() else { return Err(self.poisoned()) };
        let written = if open.length == 0 {
            open.file.append(&frame::file_header(next_frame)).and_then(|()| open.file.append(&bytes))
        } else {
            open.file.append(&bytes)
        };
        if let Err(error) = written {
            let is_clean = open.file.cut(open.length).is_ok();
            return Err(self.failed(&error, is_clean));
        }
        if let Err(error) = open.file.sync() {
            return Err(self.failed(&error, false));
        }
        let header = if open.length == 0 { frame::FILE_HEADER_BYTES } else { 0 };
        open.length += (header + bytes.len()) as u64;
        self.next_frame += 1;
        Ok(())
    }

    fn encode(&self, entries: &[Entry<Classified>], now: Timestamp) -> Result<Vec<u8>, WalError> {
        let json: usize = entries.iter().flat_map(|entry| &entry.records).map(|record| record.json().len() + 64).sum();
        let mut bytes = Vec::with_capacity(json + 256 * entries.len());
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let start = frame::begin_frame(&mut bytes, now, count);
        entries.iter().for_each(|entry| frame::put_entry(&mut bytes, entry));
        let too_large = WalError::TooLarge { bytes: bytes.len(), most: u32::MAX as usize };
        frame::end_frame(&mut bytes, start, self.next_frame).ok_or(too_large)?;
        Ok(bytes)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        let number = self.next_file;
        self.next_file += 1;
        let file = self.disk.create(&log_name(number))?;
        self.open = Some(Open { file, length: 0 });
        self.files.push_back(Stored { number, last: BTreeMap::new(), sightings: Vec::new() });
        Ok(())
    }

    /// Ends the open file; the number of the first file that is begun after.
    pub(super) fn roll(&mut self) -> u64 {
        self.open = None;
        self.next_file
    }

    /// The number of the oldest file, or of the next one where there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.files.front().map_or(self.next_file, |file| file.number)
    }

    /// Whether a batch would find room; nothing of the try stays.
    pub(super) fn has_room(&self) -> bool {
        let tried = self.disk.publish(ROOM, &vec![0; WAL_ROOM_BYTES]);
        // What a full disk took of it goes as well; one that stays is removed by the next start.
        let removed = self.disk.remove(ROOM).or_else(|_| self.disk.remove(&format!("{ROOM}.tmp")));
        tried.and(removed).is_ok()
    }

    /// What a failed write means: no room is survived where the file is as before, all else poisons.
    fn failed(&mut self, error: &io::Error, is_clean: bool) -> WalError {
        let no_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if no_room && is_clean {
            return WalError::NoRoom { dir: self.disk.place() };
        }
        tracing::error!(kind = ?error.kind(), dir = self.disk.place(), "write-ahead log stopped; restart to recover");
        self.is_poisoned = true;
        self.poisoned()
    }

    fn poisoned(&self) -> WalError {
        WalError::Poisoned { dir: self.disk.place() }
    }

    /// Removes the files whose records all lie in durable segments, after the ids in them have been written elsewhere.
    pub(super) fn release(&mut self, durable: &BTreeMap<ShardId, u64>, now: Timestamp) -> Result<(), WalError> {
        // The newest file stays while it may still grow.
        while self.files.len() > usize::from(self.open.is_some()) {
            let Some(file) = self.files.front() else { break };
            if self.is_poisoned || !file.last.iter().all(|(shard, last)| durable.get(shard) >= Some(last)) {
                break;
            }
            let name = log_name(file.number);
            self.keep_sightings(now)?;
            // One that cannot be removed stays the oldest: were a later one to go before it, the log would have a gap.
            self.disk.remove(&name).map_err(|error| disk_error(&name, &error))?;
            self.files.pop_front();
        }
        while let Some((name, newest)) = self.seen_files.front() {
            if *newest >= seen::remembered_since(now) {
                break;
            }
            self.disk.remove(name).map_err(|error| disk_error(name, &error))?;
            self.seen_files.pop_front();
        }
        Ok(())
    }

    fn keep_sightings(&mut self, now: Timestamp) -> Result<(), WalError> {
        let Some(file) = self.files.front() else { return Ok(()) };
        let since = seen::remembered_since(now);
        let kept: Vec<_> = file.sightings.iter().filter(|sighting| sighting.at >= since).collect();
        let Some(newest) = kept.iter().map(|sighting| sighting.at).max() else { return Ok(()) };
        let name = seen_name(file.number);
        let content = super::recover::seen_file(&kept);
        self.disk.publish(&name, &content).map_err(|error| disk_error(&name, &error))?;
        // It is written again where the file of records could not be removed the last time.
        if self.seen_files.back().is_none_or(|(last, _)| *last != name) {
            self.seen_files.push_back((name, newest));
        }
        Ok(())
    }
}

/// Decides what becomes of one record; remembers its id.
fn take(
    op: Op,
    record: &Classified,
    shard: ShardId,
    next_seq: &mut u64,
    seen: &mut Seen,
    at: Timestamp,
    sightings: &mut Vec<Sighting>,
) -> Outcome {
    let seq = *next_seq;
    if let Some(id) = record.id().map(seen::record_id) {
        let content = seen::content(record.json());
        match (op, seen.find(&id)) {
            (Op::Index, Some((known, Place::Record(seq)))) if *known == content => return Outcome::Noop { seq: *seq },
            (_, Some(_)) => return Outcome::Conflict,
            (_, None) => {}
        }
        let sighting = Sighting { shard, at, id, content, place: Place::Record(seq) };
        seen.remember(&sighting);
        sightings.push(sighting);
    }
    *next_seq += 1;
    Outcome::Created { seq }
}

fn into_durable(entry: Entry<Classified>) -> Option<Durable> {
    let Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, records, .. } = entry;
    let refresh = std::time::Duration::from_millis(u64::from(refresh_ms));
    (!records.is_empty()).then_some(Durable { tenant, stream, shard, epoch, refresh, first_seq, records })
}

pub(super) fn log_name(number: u64) -> String {
    format!("log-{number:016x}")
}

pub(super) fn seen_name(number: u64) -> String {
    format!("seen-{number:016x}")
}

pub(super) fn disk_error(file: &str, error: &io::Error) -> WalError {
    WalError::Disk { file: file.to_owned(), kind: error.kind() }
}

/// The file that is tried; its name ends so that a start removes it.
const ROOM: &str = "room.tmp";

/// The epoch of every shard until ownership passes another one.
pub(super) const FIRST_EPOCH: Epoch = Epoch(1);
