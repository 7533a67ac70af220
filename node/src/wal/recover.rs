//! Opening the log after a stop or a crash: what is whole, where each shard stands, which ids have been seen.
//!
//! Only the torn end of the newest file is cut off, and files without a byte go, which a full disk leaves behind; damage anywhere
//! else is an error a person must see.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;

use domicile_proto::ids::{ShardId, Timestamp};

use super::disk::Disk;
use super::durable::Durable;
use super::errors::WalError;
use super::frame::{self, Entry, Found, Reader, Written};
use super::log::{Log, Stored, disk_error, seen_name};
use super::reckon::{Remembered, by_record};
use super::seen::{self, Answered, Place, Sighting};
use crate::clock::Reading;

const SEEN_MAGIC: [u8; 8] = *b"DMCSEEN1";

impl Log {
    /// Opens the log. `indexed` is the last place of each shard that lies in a durable segment.
    pub(super) fn open(
        disk: Box<dyn Disk>,
        indexed: &BTreeMap<ShardId, u64>,
        file_bytes: u64,
        now: Reading,
    ) -> Result<Self, WalError> {
        let mut log = Self {
            disk,
            shards: HashMap::new(),
            files: VecDeque::new(),
            seen_files: VecDeque::new(),
            open: None,
            next_file: 1,
            next_frame: 1,
            file_bytes,
            is_poisoned: false,
            begun: BTreeSet::new(),
            handed_over: BTreeSet::new(),
            written: BTreeSet::new(),
            remembered: Remembered::default(),
            latest: None,
        };
        for (shard, last) in indexed {
            log.shards.entry(*shard).or_default().next_seq = last + 1;
        }
        let names = log.disk.list().map_err(|error| disk_error(&log.disk.place(), &error))?;
        let (logs, seens) = sort(&log, &names)?;
        let mut places = Places { indexed, last: BTreeMap::new(), begun: BTreeSet::new(), times: Vec::new() };
        for number in seens {
            log.recall_seen_file(number, &mut places.times)?;
            log.next_file = log.next_file.max(number + 1);
        }
        let newest = logs.last().copied();
        let mut expected = None;
        for number in logs {
            log.next_file = log.next_file.max(number + 1);
            log.recover_file(number, Some(number) == newest, &mut expected, &mut places)?;
        }
        log.next_frame = expected.unwrap_or(1);
        log.begun = places.begun;
        let by_record = by_record(places.times);
        log.remembered.recall(by_record, now);
        for shard in log.shards.values_mut().filter(|shard| !shard.seen.is_empty()) {
            shard.seen.recall(by_record, now);
            shard.seen.expire(now);
        }
        Ok(log)
    }

    fn recover_file(
        &mut self,
        number: u64,
        is_newest: bool,
        expected: &mut Option<u64>,
        places: &mut Places<'_>,
    ) -> Result<(), WalError> {
        let name = super::log::log_name(number);
        let damaged = |at: usize| WalError::Damaged { file: name.clone(), at: at as u64 };
        let bytes = self.disk.read(&name).map_err(|error| disk_error(&name, &error))?;
        let first = match frame::read_file_header(&bytes) {
            Some(first) => first,
            None if bytes.is_empty() || (is_newest && frame::is_torn_header(&bytes)) => return self.drop_file(&name),
            None => return Err(WalError::Foreign { file: name }),
        };
        if expected.is_some_and(|expected| expected != first) {
            return Err(damaged(0));
        }
        let mut stored = Stored { number, last: BTreeMap::new(), sightings: Vec::new() };
        let (mut at, mut next_frame) = (frame::FILE_HEADER_BYTES, first);
        loop {
            match frame::frame_at(&bytes, at) {
                Found::End => break,
                Found::Frame { number, body, next } if number == next_frame => {
                    let (accepted_at, entries) = frame::read_body(body).ok_or_else(|| damaged(at))?;
                    places.times.push(accepted_at);
                    self.latest = Some(accepted_at);
                    for entry in &entries {
                        places.check(entry)?;
                        self.recall(entry, accepted_at, &mut stored);
                    }
                    (at, next_frame) = (next, next_frame + 1);
                }
                Found::Frame { .. } => return Err(damaged(at)),
                Found::Broken if is_newest && !frame::frame_follows(&bytes, at + 1, next_frame) => {
                    tracing::warn!(
                        file = name,
                        at,
                        bytes = bytes.len() - at,
                        "cut off a batch that was never acknowledged"
                    );
                    self.disk.truncate(&name, at as u64).map_err(|error| disk_error(&name, &error))?;
                    break;
                }
                Found::Broken => return Err(damaged(at)),
            }
        }
        *expected = Some(next_frame);
        if next_frame == first && is_newest {
            return self.drop_file(&name);
        }
        self.files.push_back(stored);
        Ok(())
    }

    /// Removes a file that never held a whole frame.
    fn drop_file(&self, name: &str) -> Result<(), WalError> {
        self.disk.remove(name).map_err(|error| disk_error(name, &error))
    }

    fn recall(&mut self, entry: &Entry<Written<'_>>, at: Timestamp, stored: &mut Stored) {
        let shard = self.shards.entry(entry.shard).or_default();
        let count = entry.records.len() as u64;
        if count > 0 {
            let last = entry.first_seq + count - 1;
            shard.next_seq = shard.next_seq.max(last + 1);
            stored.last.insert(entry.shard, last);
        }
        for sighting in sightings_of(entry, at) {
            shard.seen.remember(&sighting);
            stored.sightings.push(sighting);
        }
    }

    fn recall_seen_file(&mut self, number: u64, times: &mut Vec<Timestamp>) -> Result<(), WalError> {
        let name = seen_name(number);
        let bytes = self.disk.read(&name).map_err(|error| disk_error(&name, &error))?;
        let sightings = read_seen_file(&bytes).ok_or_else(|| WalError::Foreign { file: name.clone() })?;
        let newest = sightings.iter().map(|sighting| sighting.at).max().unwrap_or_default();
        times.extend(sightings.iter().map(|sighting| sighting.at));
        times.dedup();
        for sighting in &sightings {
            self.shards.entry(sighting.shard).or_default().seen.remember(sighting);
        }
        self.seen_files.push_back((name, newest));
        Ok(())
    }

    /// Gives on what lies in the log but not in a durable segment, file by file, in the order it was accepted.
    pub(super) fn replay(
        &self,
        indexed: &BTreeMap<ShardId, u64>,
        mut give: impl FnMut(Vec<Durable>) -> bool,
    ) -> Result<(), WalError> {
        for stored in &self.files {
            let name = super::log::log_name(stored.number);
            let bytes = self.disk.read(&name).map_err(|error| disk_error(&name, &error))?;
            let mut at = frame::FILE_HEADER_BYTES;
            while let Found::Frame { body, next, .. } = frame::frame_at(&bytes, at) {
                let damaged = || WalError::Damaged { file: name.clone(), at: at as u64 };
                let (accepted_at, entries) = frame::read_body(body).ok_or_else(damaged)?;
                let mut group = Vec::new();
                for entry in entries {
                    let indexed = indexed.get(&entry.shard).copied().unwrap_or_default();
                    group.extend(reopen(entry, accepted_at, indexed).ok_or_else(damaged)?);
                }
                if !group.is_empty() && !give(group) {
                    return Ok(());
                }
                at = next;
            }
        }
        Ok(())
    }
}

impl Log {
    /// Records of a shard again, from one place to another: what was given on and could not be built.
    pub(super) fn reread(&self, shard: ShardId, places: &RangeInclusive<u64>) -> Result<Vec<Durable>, WalError> {
        let (mut next, last) = (*places.start(), *places.end());
        let mut found = Vec::new();
        let holds = |stored: &&Stored| stored.last.get(&shard).is_some_and(|held| held >= places.start());
        for stored in self.files.iter().filter(holds) {
            let name = super::log::log_name(stored.number);
            let bytes = self.disk.read(&name).map_err(|error| disk_error(&name, &error))?;
            let mut at = frame::FILE_HEADER_BYTES;
            while let Found::Frame { body, next: after, .. } = frame::frame_at(&bytes, at) {
                let damaged = || WalError::Damaged { file: name.clone(), at: at as u64 };
                let (accepted_at, entries) = frame::read_body(body).ok_or_else(damaged)?;
                for entry in entries.into_iter().filter(|entry| entry.shard == shard) {
                    let reopened = reopen(entry, accepted_at, next - 1).ok_or_else(damaged)?;
                    let Some(mut durable) = reopened else { continue };
                    if durable.first_seq != next {
                        return Err(WalError::Gap { shard, expected: next, found: durable.first_seq });
                    }
                    let wanted = usize::try_from(last + 1 - next).unwrap_or(usize::MAX);
                    durable.records.truncate(wanted);
                    next = durable.last_seq() + 1;
                    found.push(durable);
                    if next > last {
                        return Ok(found);
                    }
                }
                at = after;
            }
        }
        Err(WalError::Gap { shard, expected: next, found: last + 1 })
    }
}

/// The ids in a batch that was written.
pub(super) fn sightings_of(entry: &Entry<Written<'_>>, at: Timestamp) -> Vec<Sighting> {
    let shard = entry.shard;
    let ids = (entry.first_seq..).zip(&entry.records).filter_map(|(seq, record)| Some((seq, record, record.id?)));
    let mut sightings: Vec<_> = ids
        .map(|(seq, record, id)| {
            let (id, content) = (seen::record_id(id), seen::content(record.json));
            Sighting { shard, at, id, content, place: Place::Record(seq) }
        })
        .collect();
    if let Some(producer) = &entry.producer {
        let count = entry.outcomes.as_ref().map_or(entry.records.len(), Vec::len);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let answered = Answered { first_seq: entry.first_seq, count, listed: entry.outcomes.clone() };
        let (id, content) = (seen::batch_id(&producer.id), seen::content(&producer.sha256));
        sightings.push(Sighting { shard, at, id, content, place: Place::Batch(Box::new(answered)) });
    }
    sightings
}

/// Numbers of the files of records and of ids; leftovers of an interrupted write are removed.
fn sort(log: &Log, names: &[String]) -> Result<(Vec<u64>, Vec<u64>), WalError> {
    let (mut logs, mut seens) = (Vec::new(), Vec::new());
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16);
    for name in names {
        if let Some(number) = name.strip_prefix("log-").and_then(number) {
            logs.push(number);
        } else if let Some(number) = name.strip_prefix("seen-").and_then(number) {
            seens.push(number);
        } else if name.ends_with(".tmp") {
            log.drop_file(name)?;
        } else {
            return Err(WalError::Foreign { file: name.clone() });
        }
    }
    logs.sort_unstable();
    seens.sort_unstable();
    // Where both are there, the file of ids was written and the file of records not yet removed: its ids come from it.
    seens.retain(|number| !logs.contains(number));
    Ok((logs, seens))
}

/// Checks that no place of a shard is missing between durable segments and the log, nor within it.
struct Places<'a> {
    indexed: &'a BTreeMap<ShardId, u64>,
    last: BTreeMap<ShardId, u64>,
    /// Shards whose first record lies in the log.
    begun: BTreeSet<ShardId>,
    /// When batches were accepted.
    times: Vec<Timestamp>,
}

impl Places<'_> {
    fn check(&mut self, entry: &Entry<Written<'_>>) -> Result<(), WalError> {
        let indexed = self.indexed.get(&entry.shard).copied().unwrap_or_default();
        let count = entry.records.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let fits = match self.last.get(&entry.shard) {
            Some(last) => entry.first_seq == last + 1,
            None => entry.first_seq <= indexed + 1,
        };
        if !fits {
            let expected = self.last.get(&entry.shard).copied().unwrap_or(indexed) + 1;
            return Err(WalError::Gap { shard: entry.shard, expected, found: entry.first_seq });
        }
        if entry.first_seq == 1 {
            self.begun.insert(entry.shard);
        }
        self.last.insert(entry.shard, entry.first_seq + count - 1);
        Ok(())
    }
}

/// The records of a batch behind the place `indexed`; `Some(None)` where there are none.
pub(super) fn reopen(entry: Entry<Written<'_>>, accepted_at: Timestamp, indexed: u64) -> Option<Option<Durable>> {
    let Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, records, .. } = entry;
    let held = usize::try_from((indexed + 1).saturating_sub(first_seq)).ok()?.min(records.len());
    let first_seq = first_seq + held as u64;
    let records = records.iter().skip(held).map(Written::reopen).collect::<Option<Vec<_>>>()?;
    let refresh = std::time::Duration::from_millis(u64::from(refresh_ms));
    let durable = Durable { tenant, stream, shard, epoch, accepted_at, refresh, first_seq, records };
    Some((!durable.records.is_empty()).then_some(durable))
}

/// The bytes of a file of ids: magic, CRC-32 of the rest, the ids.
pub(super) fn seen_file(sightings: &[&Sighting]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(sightings.len() * 64);
    sightings.iter().for_each(|sighting| sighting.put(&mut rest));
    let mut bytes = SEEN_MAGIC.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    bytes.append(&mut rest);
    bytes
}

pub(super) fn read_seen_file(bytes: &[u8]) -> Option<Vec<Sighting>> {
    let mut reader = Reader(bytes);
    if reader.array::<8>()? != SEEN_MAGIC || reader.u32()? != crc32fast::hash(reader.0) {
        return None;
    }
    let mut sightings = Vec::new();
    while !reader.0.is_empty() {
        sightings.push(Sighting::read(&mut reader)?);
    }
    Some(sightings)
}

#[cfg(test)]
#[path = "recover_test.rs"]
mod tests;
