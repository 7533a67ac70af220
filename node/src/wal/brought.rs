//! What a shard that comes to this node brings along, made ready to be held: without the lock of the log, and on no thread that
//! answers others meanwhile, for it may be a gigabyte.

use std::collections::BTreeMap;

use domicile_proto::ids::{ShardId, Timestamp};

use super::durable::Durable;
use super::frame::{self, Entry};
use super::reckon::by_record;
use super::seen::Sighting;
use super::stage::{Shard, into_durable};
use super::takeover::Tail;
use crate::clock::Reading;

/// A shard as its new owner begins with it.
pub(super) struct Brought {
    pub(super) shard: ShardId,
    /// Its next place and the ids it has seen.
    pub(super) held: Shard,
    /// The last place that lies in a segment.
    pub(super) last_seq: u64,
    /// The time by which its ids are on record.
    pub(super) by_record: Option<Timestamp>,
    /// In the order of their places.
    pub(super) batches: Vec<Carried>,
}

/// A batch that lies in a log.
pub(super) struct Carried {
    /// Where it lies in logs of other nodes alone.
    pub(super) again: Option<Again>,
    /// What of it lies in no segment yet.
    pub(super) durable: Option<Durable>,
}

/// A batch that is written into this log once more.
pub(super) struct Again {
    pub(super) written: Vec<u8>,
    pub(super) accepted_at: Timestamp,
    pub(super) sightings: Vec<Sighting>,
}

impl Brought {
    /// What the logs hold of a shard.
    pub(super) fn of(shard: ShardId, tail: Tail, now: Reading) -> Self {
        let Tail { last_seq, next_seq, batches, sightings, .. } = tail;
        let mut held = Shard { next_seq, ..Shard::default() };
        sightings.iter().for_each(|sighting| held.seen.remember(sighting));
        let by_record = by_record(sightings.iter().map(|sighting| sighting.at).collect());
        held.seen.recall(by_record, now);
        held.seen.expire(now);
        let by_place = by_place(&sightings);
        let carried = batches.into_iter().map(|(is_ours, accepted_at, entry)| {
            let again = (!is_ours).then(|| {
                let mut written = Vec::new();
                frame::put_entry(&mut written, &entry);
                Again { written, accepted_at, sightings: sightings_of(&by_place, &entry) }
            });
            let durable = into_durable(entry, accepted_at).and_then(|durable| durable.after(last_seq));
            Carried { again, durable }
        });
        let batches = carried.collect();
        Self { shard, held, last_seq, by_record, batches }
    }
}

/// Ids by the place of what they stand for.
type ByPlace<'a> = BTreeMap<u64, Vec<&'a Sighting>>;

fn by_place(sightings: &[Sighting]) -> ByPlace<'_> {
    let mut by_place = ByPlace::new();
    for sighting in sightings {
        let (_, seq) = sighting.place_of();
        by_place.entry(seq).or_default().push(sighting);
    }
    by_place
}

fn sightings_of<R>(by_place: &ByPlace<'_>, entry: &Entry<R>) -> Vec<Sighting> {
    // A batch of which nothing is new has a place as well.
    let behind = entry.first_seq + (entry.records.len() as u64).max(1);
    let near = by_place.range(entry.first_seq..behind).flat_map(|(_, sightings)| sightings);
    near.filter(|sighting| sighting.is_of(entry)).map(|sighting| (*sighting).clone()).collect()
}
