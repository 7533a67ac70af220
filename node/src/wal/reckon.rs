//! What a wall clock that is set may do to the log: how old an id is, and when a record counts as accepted.
//!
//! A clock that jumps ahead makes no id old, and one that is put back makes no record older than those before it. Pure arithmetic
//! over times that are handed in. See docs/decisions/0068.

use std::collections::VecDeque;
use std::time::Duration;

use domicile_proto::ids::Timestamp;

use crate::clock::Reading;
use crate::limits::SEEN_FOR;

/// From when on ids are remembered: for as long as this process must have run since, whatever became of the wall clock.
#[derive(Default)]
pub(super) struct Remembered {
    /// Stretches of the last day and the hour before it, oldest first: by how long the process had run when each began, and how far
    /// the wall clock was ahead of that at its lowest, in microseconds.
    stretches: VecDeque<(Duration, i64)>,
}

impl Remembered {
    /// An id may be noted at this moment.
    pub(super) fn note(&mut self, now: Reading) {
        let ahead = now.wall.0.saturating_sub(micros(now.ran));
        while self.stretches.front().is_some_and(|(began, _)| *began + STRETCH + SEEN_FOR < now.ran) {
            self.stretches.pop_front();
        }
        match self.stretches.back_mut() {
            Some((began, lowest)) if now.ran < *began + STRETCH => *lowest = (*lowest).min(ahead),
            _ => self.stretches.push_back((now.ran, ahead)),
        }
    }

    /// Ids are on record, and the time by them is this. How much went by since the newest of them nobody knows, so none is taken to have.
    pub(super) fn recall(&mut self, by_record: Option<Timestamp>, now: Reading) {
        if let Some(by_record) = by_record {
            self.note(Reading { wall: by_record.min(now.wall), ..now });
        }
    }

    /// Ids from before are forgotten.
    pub(super) fn since(&mut self, now: Reading) -> Timestamp {
        self.note(now);
        let lowest = self.stretches.iter().map(|(_, ahead)| *ahead).min().unwrap_or_default();
        Timestamp(lowest.saturating_add(micros(now.ran)).saturating_sub(micros(SEEN_FOR)))
    }
}

/// The time by what is on record, given the times of that, so that what is older by [`SEEN_FOR`] was seen so long before the newest. Of a silence no more
/// counts than [`SILENCE`], for it may as well have been a clock that was set.
pub(super) fn by_record(mut times: Vec<Timestamp>) -> Option<Timestamp> {
    times.sort_unstable();
    let mut oldest = times.pop()?;
    let mut left = micros(SEEN_FOR);
    for at in times.into_iter().rev() {
        left -= oldest.0.saturating_sub(at.0).min(micros(SILENCE));
        if left < 0 {
            break;
        }
        oldest = at;
    }
    Some(Timestamp(oldest.0.saturating_add(micros(SEEN_FOR))))
}

/// When records count as accepted that came at `now`, behind others that count as accepted at `latest`: not before those, so that
/// nothing is deleted early that came while a clock was behind. Where it is behind by more than [`PUT_BACK_MOST`] it was
/// ahead before, and is believed, unless it shows a time at which there was no such build.
pub(crate) fn counts_from(latest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let Some(latest) = latest else { return now };
    let behind = latest.0.saturating_sub(now.0);
    if behind <= micros(PUT_BACK_MOST) || now < EARLIEST { latest.max(now) } else { now }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Within so long, clocks that differ are taken for one.
const STRETCH: Duration = Duration::from_secs(3_600);
/// Longest that nothing came and time is taken to have gone by all the same.
const SILENCE: Duration = Duration::from_secs(6 * 3_600);
/// Furthest that a clock is put back and what comes counts for the time before that: a clock that was ahead by years does not have
/// everything kept for years.
const PUT_BACK_MOST: Duration = Duration::from_secs(7 * 86_400);
/// 1 November 2026, UTC: a machine that shows less has lost its time.
const EARLIEST: Timestamp = Timestamp(1_793_491_200 * Timestamp::MICROS);

#[cfg(test)]
#[path = "reckon_test.rs"]
mod tests;
