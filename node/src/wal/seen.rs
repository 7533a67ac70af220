//! The ids a shard has seen, so that a batch or a record sent twice is taken once.
//!
//! An id is kept as 128 bits of its SHA-256 beside 128 bits of that of its content. Remembered for a day or until
//! [`SEEN_IDS`] newer ones came, whichever is first; a wall clock that is set makes none older (see `reckon`). Does not touch the disk;
//! `log` keeps it there.

use std::collections::{HashMap, VecDeque};

use domicile_proto::ids::{ShardId, Timestamp};
use ring::digest::{Context, SHA256};

use super::batch::Outcome;
use super::frame::{Entry, Reader, put_outcomes};
use super::reckon::Remembered;
use crate::clock::Reading;
use crate::limits::SEEN_IDS;

/// 128 bits of a SHA-256.
pub(super) type Digest = [u8; 16];

/// What an id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A record, at this place.
    Record(u64),
    /// A batch, with what was answered.
    Batch(Box<Answered>),
}

/// What was answered to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) first_seq: u64,
    pub(super) count: u32,
    /// `None` where every record was created.
    pub(super) listed: Option<Vec<Outcome>>,
}

impl Answered {
    /// The outcomes again.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let all_created = || (self.first_seq..).take(self.count as usize).map(|seq| Outcome::Created { seq }).collect();
        self.listed.clone().unwrap_or_else(all_created)
    }
}

/// An id that has been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) shard: ShardId,
    pub(super) at: Timestamp,
    pub(super) id: Digest,
    pub(super) content: Digest,
    pub(super) place: Place,
}

impl Sighting {
    /// How much it counts: what it costs to remember, in ids.
    fn weight(&self) -> usize {
        match &self.place {
            Place::Record(_) => 1,
            Place::Batch(answered) => 1 + answered.listed.as_ref().map_or(0, Vec::len) / 4,
        }
    }

    /// Whether it is one of a batch, by its place.
    pub(super) const fn is_of<R>(&self, entry: &Entry<R>) -> bool {
        let (from, count) = (entry.first_seq, entry.records.len() as u64);
        match &self.place {
            Place::Record(seq) => from <= *seq && *seq < from + count,
            Place::Batch(answered) => answered.first_seq == from,
        }
    }

    /// Whether it is a batch's, and its place.
    pub(super) const fn place_of(&self) -> (bool, u64) {
        match &self.place {
            Place::Record(seq) => (false, *seq),
            Place::Batch(answered) => (true, answered.first_seq),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.content);
        match &self.place {
            Place::Record(seq) => {
                out.push(0);
                out.extend_from_slice(&seq.to_le_bytes());
            }
            Place::Batch(answered) => {
                out.push(1);
                out.extend_from_slice(&answered.first_seq.to_le_bytes());
                out.extend_from_slice(&answered.count.to_le_bytes());
                put_outcomes(out, answered.listed.as_deref());
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let shard = ShardId(reader.u64()?);
        let at = Timestamp(reader.i64()?);
        let (id, content) = (reader.array()?, reader.array()?);
        let place = match reader.u8()? {
            0 => Place::Record(reader.u64()?),
            1 => {
                let (first_seq, count) = (reader.u64()?, reader.u32()?);
                Place::Batch(Box::new(Answered { first_seq, count, listed: reader.outcomes()? }))
            }
            _ => return None,
        };
        Some(Self { shard, at, id, content, place })
    }
}

/// An id as it was seen last.
#[derive(Debug)]
struct Known {
    content: Digest,
    place: Place,
    /// Its number in the order: an id that was forgotten and accepted again, in files that are read again, stands there twice.
    number: u64,
}

/// The ids of one shard.
#[derive(Default)]
pub(super) struct Seen {
    known: HashMap<Digest, Known>,
    /// In the order they came, with their weight.
    order: VecDeque<(Timestamp, Digest, usize)>,
    /// Number of the first in `order`, counted from the first that ever came.
    first: u64,
    weight: usize,
    remembered: Remembered,
}

impl Seen {
    /// The content under an id, and what became of it.
    pub(super) fn find(&self, id: &Digest) -> Option<(&Digest, &Place)> {
        self.known.get(id).map(|known| (&known.content, &known.place))
    }

    /// Remembers an id; forgets the oldest ones beyond the limit.
    pub(super) fn remember(&mut self, sighting: &Sighting) {
        let weight = sighting.weight();
        let number = self.first + self.order.len() as u64;
        let known = Known { content: sighting.content, place: sighting.place.clone(), number };
        self.known.insert(sighting.id, known);
        self.order.push_back((sighting.at, sighting.id, weight));
        self.weight += weight;
        while self.weight > SEEN_IDS {
            self.forget_oldest();
        }
    }

    /// Whether no id is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All ids, oldest first.
    pub(super) fn sightings(&self, shard: ShardId) -> Vec<Sighting> {
        let all = (self.first..).zip(&self.order).filter_map(|(number, (at, id, _))| {
            let known = self.known.get(id).filter(|known| known.number == number)?;
            Some(Sighting { shard, at: *at, id: *id, content: known.content, place: known.place.clone() })
        });
        all.collect()
    }

    /// Forgets the newest id again, which did not become durable.
    pub(super) fn take_back(&mut self) {
        if let Some((_, id, weight)) = self.order.pop_back() {
            self.known.remove(&id);
            self.weight -= weight;
        }
    }

    /// Its ids are on record, and the time by that is this.
    pub(super) fn recall(&mut self, by_record: Option<Timestamp>, now: Reading) {
        self.remembered.recall(by_record, now);
    }

    /// Forgets what is older than the limit.
    pub(super) fn expire(&mut self, now: Reading) {
        let since = self.remembered.since(now);
        while self.order.front().is_some_and(|(at, ..)| *at < since) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id, weight)) = self.order.pop_front() {
            if self.known.get(&id).is_some_and(|known| known.number == self.first) {
                self.known.remove(&id);
            }
            self.first += 1;
            self.weight -= weight;
        }
    }
}

/// The digest of an id of a record.
pub(super) fn record_id(id: &str) -> Digest {
    digest(&[b"record", id.as_bytes()])
}

/// The digest of an id of a batch.
pub(super) fn batch_id(id: &str) -> Digest {
    digest(&[b"batch ", id.as_bytes()])
}

/// The digest of a content.
pub(super) fn content(bytes: &[u8]) -> Digest {
    digest(&[bytes])
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut short = Digest::default();
    short.iter_mut().zip(context.finish().as_ref()).for_each(|(place, byte)| *place = *byte);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(n: u64, at: i64) -> Sighting {
        let id = record_id(&n.to_string());
        Sighting { shard: ShardId(1), at: Timestamp(at), id, content: content(b"x"), place: Place::Record(n) }
    }

    #[test]
    fn ids_are_forgotten_after_their_time_and_not_before() {
        let mut seen = Seen::default();
        let day = 24 * 3_600 * Timestamp::MICROS;
        seen.remember(&sighting(1, 0));
        seen.remember(&sighting(2, 10));
        seen.expire(Timestamp(day).into());
        assert!(seen.find(&record_id("1")).is_some(), "exactly a day old");
        seen.expire(Timestamp(day + 1).into());
        assert!(seen.find(&record_id("1")).is_none());
        assert!(seen.find(&record_id("2")).is_some());
    }

    #[test]
    fn an_id_that_was_forgotten_and_accepted_again_is_known_as_long_as_its_newer_sighting() {
        let day = 24 * 3_600 * Timestamp::MICROS;
        // Read again from files, both are there before anything is forgotten.
        let mut seen = Seen::default();
        seen.remember(&Sighting { content: content(b"old"), ..sighting(1, 0) });
        seen.remember(&Sighting { content: content(b"new"), ..sighting(1, day + 1) });
        seen.expire(Timestamp(day + 2).into());
        assert_eq!(seen.find(&record_id("1")).map(|(found, _)| *found), Some(content(b"new")));
        seen.expire(Timestamp(2 * day + 2).into());
        assert!(seen.find(&record_id("1")).is_none() && seen.order.is_empty() && seen.weight == 0);
    }

    #[test]
    fn the_oldest_ids_make_room_for_newer_ones() {
        let mut seen = Seen::default();
        for n in 0..=SEEN_IDS as u64 {
            seen.remember(&sighting(n, 0));
        }
        assert!(seen.find(&record_id("0")).is_none());
        assert!(seen.find(&record_id("1")).is_some());
        assert_eq!((seen.known.len(), seen.order.len()), (SEEN_IDS, SEEN_IDS));
    }

    #[test]
    fn a_sighting_is_written_and_read_back() {
        let listed = Some(vec![Outcome::Created { seq: 4 }, Outcome::Noop { seq: 2 }, Outcome::Conflict]);
        let batch = Place::Batch(Box::new(Answered { first_seq: 4, count: 3, listed }));
        for place in [Place::Record(7), batch] {
            let sighting = Sighting { place, ..sighting(1, 5) };
            let mut bytes = Vec::new();
            sighting.put(&mut bytes);
            let mut reader = Reader(&bytes);
            assert_eq!(Sighting::read(&mut reader), Some(sighting));
            assert!(reader.0.is_empty());
            assert!((0..bytes.len()).all(|cut| Sighting::read(&mut Reader(&bytes[..cut])).is_none()));
        }
    }
}
