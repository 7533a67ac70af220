//! Between classify and wal: what the detectors took out of records is sealed before a byte of them is written (PRI-1).
//!
//! Where it cannot be sealed, the records it came from are refused and the others go on. Decides nothing about keys.

use domicile_proto::ids::Timestamp;

use parking_lot::Mutex;

use super::ingest::Group;
use crate::clock::Clock;
use crate::keys::{Day, KeysError, Original, Vault};
use crate::limits::CARRY_DEADLINE;
use crate::policy::Suppression;
use crate::receive::Failure;
use crate::wal::counts_from;

/// Under which day originals are sealed: never an earlier one than that by which their records count as accepted, or their keys
/// would go before them.
pub(crate) struct Days {
    clock: Clock,
    latest: Mutex<Option<Timestamp>>,
}

impl Days {
    /// By this node's clock, behind what its log holds.
    pub(crate) const fn behind(clock: Clock, latest: Option<Timestamp>) -> Self {
        Self { clock, latest: Mutex::new(latest) }
    }

    /// The day, as records that are taken now count.
    pub(super) fn today(&self) -> Day {
        let mut latest = self.latest.lock();
        let at = counts_from(*latest, self.clock.now());
        *latest = Some(at);
        Day::of(at)
    }

    /// When another node says that records came in, as far as this node's clock can believe it.
    pub(super) fn heard(&self, received_at: Timestamp) -> Timestamp {
        let now = self.clock.now();
        let longest = i64::try_from(CARRY_DEADLINE.as_micros()).unwrap_or(i64::MAX);
        received_at.clamp(Timestamp(now.0.saturating_sub(longest)), now)
    }
}

/// Seals the originals of a group. Records whose originals are not sealed are taken out of it, with their places; all of them
/// where the group is `whole`, so that a producer's batch is never taken in part.
pub(super) fn seal(
    (vault, suppression): (&Vault, &Suppression),
    group: &mut Group,
    day: Day,
    whole: bool,
) -> Vec<(usize, Failure)> {
    let (tenant, stream) = (group.stream.tenant, group.stream.id);
    let erased = suppression.now().of_stream(group.stream.tenant, group.stream.id);
    let mut all: Vec<Original> = Vec::new();
    let mut ends = Vec::with_capacity(group.records.len());
    for (_, record) in &mut group.records {
        let mut originals = record.take_originals();
        // Most were seen before: dropped here, a large batch holds only what is new.
        originals.retain(|original| !vault.knows(tenant, stream, day, original));
        // A record of an erased subject becomes part of no segment; its originals get no key again.
        if !originals.is_empty() && !erased.hides(record.subject(), record.id(), record.json()) {
            all.append(&mut originals);
        }
        ends.push(all.len());
    }
    if all.is_empty() {
        return Vec::new();
    }
    let Err(error) = vault.seal(tenant, stream, day, &all) else { return Vec::new() };
    tracing::warn!(%tenant, error = &error as &dyn std::error::Error, "records with personal data are refused");
    let failure = of_keys(&error);
    let mut from = 0;
    let is_safe: Vec<bool> = ends
        .into_iter()
        .map(|to| {
            let own = all.get(from..to).unwrap_or_default();
            from = to;
            !whole && vault.has_sealed(tenant, stream, day, own)
        })
        .collect();
    let mut refused = Vec::new();
    let places = std::mem::take(&mut group.places);
    let ids = std::mem::take(&mut group.ids);
    let records = std::mem::take(&mut group.records);
    for (((place, id), record), is_safe) in places.into_iter().zip(ids).zip(records).zip(is_safe) {
        if is_safe {
            group.places.push(place);
            group.ids.push(id);
            group.records.push(record);
        } else {
            refused.push((place, failure.clone()));
        }
    }
    refused
}

/// 503 with a time to come back while the key store is away; 500 where a person must look.
fn of_keys(error: &KeysError) -> Failure {
    Failure::of(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400 * Timestamp::MICROS;
    const NOW: Timestamp = Timestamp(21_000 * DAY + DAY / 2);

    #[test]
    fn keys_go_no_earlier_than_the_records_that_they_are_for() {
        let clock = Clock::standing_at(Timestamp(NOW.0 - 6 * DAY));
        // The log goes on from what it holds, whatever the clock shows after a start.
        let days = Days::behind(clock.clone(), Some(NOW));
        assert_eq!(days.today(), Day::of(NOW));
        clock.turn_to(Timestamp(NOW.0 + DAY));
        assert_eq!(days.today(), Day::of(Timestamp(NOW.0 + DAY)));
        clock.turn_to(NOW);
        assert_eq!(days.today(), Day::of(Timestamp(NOW.0 + DAY)));
        // A clock that was ahead for a moment is not believed for ever.
        clock.turn_to(Timestamp(NOW.0 + 400 * DAY));
        days.today();
        clock.turn_to(NOW);
        assert_eq!(days.today(), Day::of(NOW));
        // The clock of another node says when records came in, and not more.
        let longest = CARRY_DEADLINE.as_micros() as i64;
        for (said, heard) in [(-40 * DAY, -longest), (-7, -7), (0, 0), (365 * DAY, 0)] {
            assert_eq!(days.heard(Timestamp(NOW.0 + said)), Timestamp(NOW.0 + heard));
        }
    }
}
