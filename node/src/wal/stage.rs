//! A batch gets its places: which of its records are new to its shard, and what its producer is told of each.
//!
//! The same for a shard whose records lie on the disk and for one whose records lie in the bucket. Writes nothing.

use std::time::Duration;

use domicile_proto::ids::{Epoch, ShardId, Timestamp};

use super::batch::{Accepted, Batch, Op, Outcome};
use super::durable::Durable;
use super::errors::WalError;
use super::frame::Entry;
use super::seen::{self, Answered, Place, Seen, Sighting};
use crate::classify::Classified;
use crate::clock::Reading;

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

/// A batch that has its places but is not yet durable.
pub(super) struct Staged {
    pub(super) entry: Entry<Classified>,
    pub(super) accepted: Accepted,
}

impl Staged {
    /// Whether there is anything to write.
    pub(super) fn is_new(&self) -> bool {
        !self.entry.records.is_empty() || (self.entry.producer.is_some() && !self.accepted.repeated)
    }
}

/// Gives a batch that counts as accepted `at` its places and decides what becomes of each of its records.
pub(super) fn stage(
    held: &mut Shard,
    (shard, epoch): (ShardId, Epoch),
    batch: Batch,
    (at, now): (Timestamp, Reading),
    sightings: &mut Vec<Sighting>,
) -> Result<Staged, WalError> {
    let Batch { stream, producer, records } = batch;
    let Shard { next_seq, seen } = held;
    seen.expire(now);
    let mut entry = Entry {
        tenant: stream.tenant,
        stream: stream.id,
        shard,
        epoch,
        refresh_ms: stream.policy.refresh_ms,
        first_seq: *next_seq,
        producer: None,
        outcomes: None,
        records: Vec::new(),
    };
    let mut accepted = Accepted { shard, epoch, outcomes: Vec::new(), repeated: false };
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
    entry.records.reserve_exact(records.len());
    accepted.outcomes.reserve_exact(records.len());
    for (op, record) in records {
        let outcome = take(op, &record, shard, next_seq, seen, at, sightings);
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
        let sighting = Sighting { shard, at, id, content: seen::content(&producer.sha256), place };
        seen.remember(&sighting);
        sightings.push(sighting);
    }
    entry.producer = producer;
    Ok(Staged { entry, accepted })
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

/// What leaves the log of a batch that was accepted at a time; none where no record of it was created.
pub(super) fn into_durable(entry: Entry<Classified>, accepted_at: Timestamp) -> Option<Durable> {
    let Entry { tenant, stream, shard, epoch, refresh_ms, first_seq, records, .. } = entry;
    let refresh = Duration::from_millis(u64::from(refresh_ms));
    let durable = Durable { tenant, stream, shard, epoch, accepted_at, refresh, first_seq, records };
    (!durable.records.is_empty()).then_some(durable)
}
