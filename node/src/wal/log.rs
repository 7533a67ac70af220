//! The write-ahead log itself, without threads: files of frames, places given out, ids remembered.
//!
//! A group of batches becomes one frame and one flush. Whatever does not survive the flush is taken back before anybody is
//! answered; where even that is uncertain the log is poisoned and takes nothing more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;

use domicile_proto::ids::{Epoch, ShardId, Timestamp};
use domicile_proto::metadata::Durability;

use super::batch::{Accepted, Batch};
use super::disk::{Disk, LogFile};
use super::durable::Durable;
use super::errors::WalError;
use super::frame::{self, Entry};
use super::reckon::{Remembered, counts_from};
use super::seen::Sighting;
use super::stage::{Shard, Staged, into_durable, stage};
use super::takeover::Handed;
use crate::classify::Classified;
use crate::clock::Reading;
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
    /// Shards that are written into the region's store from now on.
    pub(super) handed_over: BTreeSet<ShardId>,
    /// Shards of which records were written since the log was opened.
    pub(super) written: BTreeSet<ShardId>,
    /// From when on ids are kept.
    pub(super) remembered: Remembered,
    /// When the newest batch counts as accepted.
    pub(super) latest: Option<Timestamp>,
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

impl Log {
    /// Takes a group of batches: each is answered, in order, and the records of those accepted are given on.
    pub(super) fn commit(
        &mut self,
        group: Vec<Batch>,
        now: Reading,
    ) -> (Vec<Result<Accepted, WalError>>, Vec<Durable>) {
        if self.is_poisoned {
            return (group.iter().map(|_| Err(self.poisoned())).collect(), Vec::new());
        }
        self.remembered.note(now);
        let at = counts_from(self.latest, now.wall);
        let mut sightings = Vec::new();
        let mut before = BTreeMap::new();
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for batch in group {
            match self.stage(batch, (at, now), &mut before, &mut sightings) {
                Ok(staged) => {
                    let is_new = staged.is_new();
                    let Staged { entry, accepted } = staged;
                    if is_new {
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
        if let Err(failed) = self.write(&entries, at) {
            self.take_back(&before, &sightings);
            let failed = |answer: Result<Accepted, WalError>| answer.and_then(|_| Err(failed.clone()));
            return (answers.into_iter().map(failed).collect(), Vec::new());
        }
        self.latest = Some(at);
        if let Some(file) = self.files.back_mut() {
            entries.iter().filter(|entry| !entry.records.is_empty()).for_each(|entry| {
                file.last.insert(entry.shard, entry.first_seq + entry.records.len() as u64 - 1);
                self.written.insert(entry.shard);
            });
            file.sightings.append(&mut sightings);
        }
        (answers, entries.into_iter().filter_map(|entry| into_durable(entry, at)).collect())
    }

    /// As [`stage`], for a shard of the disk.
    fn stage(
        &mut self,
        batch: Batch,
        moment: (Timestamp, Reading),
        before: &mut BTreeMap<ShardId, u64>,
        sightings: &mut Vec<Sighting>,
    ) -> Result<Staged, WalError> {
        if batch.stream.policy.durability == Durability::Bucket {
            let shard = batch.stream.shard.ok_or(WalError::NoShard)?.0;
            return Err(WalError::NotHeld { shard });
        }
        let (shard, _) = batch.stream.shard.ok_or(WalError::NoShard)?;
        if self.handed_over.contains(&shard) {
            return Err(WalError::NotHeld { shard });
        }
        let held = self.shards.entry(shard).or_default();
        before.entry(shard).or_insert(held.next_seq);
        stage(held, (shard, FIRST_EPOCH), batch, moment, sightings)
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
    fn write(&mut self, entries: &[Entry<Classified>], at: Timestamp) -> Result<(), WalError> {
        let bytes = self.encode(entries, at)?;
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

    fn encode(&self, entries: &[Entry<Classified>], at: Timestamp) -> Result<Vec<u8>, WalError> {
        let json: usize = entries.iter().flat_map(|entry| &entry.records).map(|record| record.json().len() + 64).sum();
        let mut bytes = Vec::with_capacity(json + 256 * entries.len());
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let start = frame::begin_frame(&mut bytes, at, count);
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

    /// Ends a shard: where it stands, and its ids. May be repeated.
    pub(super) fn hand_over(&mut self, shard: ShardId) -> Handed {
        self.handed_over.insert(shard);
        let stands = self.shards.entry(shard).or_default();
        let is_written = self.written.contains(&shard);
        Handed { last_seq: stands.next_seq - 1, is_written, sightings: stands.seen.sightings(shard) }
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
    pub(super) fn release(&mut self, durable: &BTreeMap<ShardId, u64>, now: Reading) -> Result<(), WalError> {
        let since = self.remembered.since(now);
        // The newest file stays while it may still grow.
        while self.files.len() > usize::from(self.open.is_some()) {
            let Some(file) = self.files.front() else { break };
            if self.is_poisoned || !file.last.iter().all(|(shard, last)| durable.get(shard) >= Some(last)) {
                break;
            }
            let name = log_name(file.number);
            self.keep_sightings(since)?;
            // One that cannot be removed stays the oldest: were a later one to go before it, the log would have a gap.
            self.disk.remove(&name).map_err(|error| disk_error(&name, &error))?;
            self.files.pop_front();
        }
        // One with ids of a clock that was ahead holds up no other.
        let mut at = 0;
        while let Some((name, newest)) = self.seen_files.get(at) {
            if *newest >= since {
                at += 1;
                continue;
            }
            self.disk.remove(name).map_err(|error| disk_error(name, &error))?;
            self.seen_files.remove(at);
        }
        Ok(())
    }

    fn keep_sightings(&mut self, since: Timestamp) -> Result<(), WalError> {
        let Some(file) = self.files.front() else { return Ok(()) };
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
