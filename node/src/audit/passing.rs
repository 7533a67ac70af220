//! The order in which entries come to be: their times, by a clock that somebody may set in between, and the routes that are closed
//! by the last of them.

use std::collections::BTreeSet;

use domicile_proto::ids::{Region, Timestamp};

use super::entry::{Entry, Event};
use crate::clock::{Clock, Reading};
use crate::limits::CLOCK_TOLERANCE;

/// By how much a clock is ahead of the time that passed, in microseconds. It changes when somebody sets it, or the machine slept.
fn ahead(at: Reading) -> i64 {
    at.wall.0.saturating_sub(i64::try_from(at.ran.as_micros()).unwrap_or(i64::MAX))
}

/// What whoever makes an entry passes, one behind the other.
pub(super) struct Passing {
    /// Regions whose routes are closed by the last entry about them.
    shut: BTreeSet<Region>,
    /// How far the clock is ahead by the entries.
    ahead: i64,
}

impl Passing {
    /// From now on; every route is open.
    pub(super) fn from(clock: &Clock) -> Self {
        Self { shut: BTreeSet::new(), ahead: ahead(clock.reading()) }
    }

    /// Whether nothing closed the route to a region.
    pub(super) fn lets_out_to(&self, to: &Region) -> bool {
        !self.shut.contains(to)
    }

    /// The region to which an event may not leave.
    pub(super) fn refuses<'a>(&self, event: &'a Event) -> Option<&'a Region> {
        event.needs_route().filter(|to| self.shut.contains(*to))
    }

    /// Takes an event that began at a moment: its time, and how far the clock was set since the last one, where it was.
    ///
    /// All times of entries behind that are by the clock as it was set, also of what began before.
    pub(super) fn take(&mut self, event: &Event, began: Reading, now: Reading) -> (Timestamp, Option<i64>) {
        if let Event::RouteChanged { to, open, .. } = event {
            if *open {
                self.shut.remove(to)
            } else {
                self.shut.insert(to.clone())
            };
        }
        let was_set = jump(self.ahead, ahead(now));
        if was_set.is_some() {
            self.ahead = ahead(now);
        }
        let meanwhile = jump(ahead(began), ahead(now)).unwrap_or(0);
        (Timestamp(began.wall.0.saturating_add(meanwhile)), was_set)
    }
}

/// How far a clock was set, where that is more than clocks do by themselves.
pub(super) fn jump(before: i64, after: i64) -> Option<i64> {
    let by = after.saturating_sub(before);
    (by.unsigned_abs() > u64::try_from(CLOCK_TOLERANCE.as_micros()).unwrap_or(u64::MAX)).then_some(by)
}

/// The time between entries of one ledger, whatever its clock was set to between them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elapsed(i64);

impl Elapsed {
    /// One more entry: its time by a clock that nobody ever set, in microseconds.
    pub(crate) fn take(&mut self, entry: &Entry) -> i64 {
        if let Event::ClockJumped { by, ordered: true } = entry.event {
            self.0 = self.0.saturating_add(by);
        }
        entry.at.0.saturating_sub(self.0)
    }

    /// How far the clock was set by now.
    pub(crate) const fn set_by(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn moment(wall: i64, ran: i64) -> Reading {
        Reading { wall: Timestamp(wall), ran: Duration::from_micros(ran.unsigned_abs()) }
    }

    #[test]
    fn what_waited_while_the_clock_was_set_has_the_time_that_it_would_have_by_the_new_one() {
        let start = Event::ClockJumped { by: 0, ordered: true };
        let mut passing = Passing { shut: BTreeSet::new(), ahead: 1_000 * MINUTE };
        let began = moment(1_001 * MINUTE, MINUTE);
        assert_eq!(passing.take(&start, began, moment(1_001 * MINUTE + 9, MINUTE + 9)), (began.wall, None));
        // Two minutes back, while it waited for a second.
        let now = moment(999 * MINUTE + 1_000_000, MINUTE + 1_000_000);
        assert_eq!(passing.take(&start, began, now), (Timestamp(999 * MINUTE), Some(-2 * MINUTE)));
        // Whoever began before is the next; the clock is known by now.
        assert_eq!(passing.take(&start, began, now), (Timestamp(999 * MINUTE), None));
        // What clocks do by themselves is nothing, until it is more than that together.
        let later = |minutes: i64, drift: i64| moment((999 + minutes) * MINUTE + drift, (1 + minutes) * MINUTE);
        assert_eq!(passing.take(&start, later(1, 1_900_000), later(1, 1_900_000)).1, None);
        assert_eq!(passing.take(&start, later(2, 2_100_000), later(2, 2_100_000)).1, Some(2_100_000));
    }

    #[test]
    fn the_time_between_entries_is_that_which_passed() {
        let mut elapsed = Elapsed::default();
        let mut at = |at: i64, event: Event| elapsed.take(&Entry::specimen(Timestamp(at), None, event));
        let other = || Event::TornTail { bytes: 0, sha256: [0; 32] };
        assert_eq!(at(10, other()), 10);
        assert_eq!(at(2 * MINUTE + 20, Event::ClockJumped { by: 2 * MINUTE, ordered: true }), 20);
        assert_eq!(at(2 * MINUTE + 30, other()), 30);
        assert_eq!(at(40, Event::ClockJumped { by: -2 * MINUTE, ordered: true }), 40);
        // An earlier build said it up to a minute later: what stands before may be by either clock.
        assert_eq!(at(MINUTE, Event::ClockJumped { by: MINUTE, ordered: false }), MINUTE);
    }
}
