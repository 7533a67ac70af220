//! The order in which entries come to be: their times, by a clock that somebody may set in between, the routes that are closed
//! by the last of them, and the versions of the policy that they told of.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use domicile_proto::ids::{PolicyVersion, Region, Timestamp};

use super::entry::{Entry, Event};
use crate::clock::{Clock, Reading};
use crate::limits::{CLOCK_TOLERANCE, OLDER_POLICY_LEAVES_FOR};

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
    told: Told,
}

/// Versions of the policy that entries told of since the start, rising, each with when that was by the steady clock.
#[derive(Default)]
struct Told {
    lately: VecDeque<(PolicyVersion, Duration)>,
    /// The newest of those that are told of for longer than an answer under an older one may be on its way.
    settled: PolicyVersion,
}

impl Told {
    fn tell(&mut self, version: PolicyVersion, ran: Duration) {
        if self.lately.back().is_some_and(|(newest, _)| version < *newest) || version < self.settled {
            // The group began anew with a backup: its versions do so too.
            *self = Self::default();
        }
        while let Some((settled, _)) = self.lately.front().copied().filter(|(_, told)| is_over(*told, ran)) {
            self.settled = settled;
            self.lately.pop_front();
        }
        self.lately.push_back((version, ran));
    }

    /// Whether a newer version was told of for too long.
    fn is_over(&self, version: PolicyVersion, ran: Duration) -> bool {
        let newer = self.lately.iter().find(|(newer, _)| *newer > version);
        version < self.settled || newer.is_some_and(|(_, told)| is_over(*told, ran))
    }
}

fn is_over(told: Duration, ran: Duration) -> bool {
    ran.saturating_sub(told) > OLDER_POLICY_LEAVES_FOR
}

impl Passing {
    /// From now on; every route is open.
    pub(super) fn from(clock: &Clock) -> Self {
        Self { shut: BTreeSet::new(), ahead: ahead(clock.reading()), told: Told::default() }
    }

    /// Whether what was released under a version of the policy may not leave any more: a newer one was told of for so long that no
    /// question takes that time.
    pub(super) fn is_over(&self, version: PolicyVersion, now: Reading) -> bool {
        self.told.is_over(version, now.ran)
    }

    /// Whether nothing closed the route to a region.
    pub(super) fn lets_out_to(&self, to: &Region) -> bool {
        !self.shut.contains(to)
    }

    /// The region to which an event may not leave.
    pub(super) fn refuses<'a>(&self, event: &'a Event) -> Option<&'a Region> {
        event.needs_route().filter(|to| self.shut.contains(*to))
    }

    /// How far the clock was set since this was last asked, where it was.
    pub(super) fn was_set(&mut self, now: Reading) -> Option<i64> {
        let by = jump(self.ahead, ahead(now))?;
        self.ahead = ahead(now);
        Some(by)
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
        if let Event::PolicyChanged { version, .. } = event {
            self.told.tell(*version, began.ran);
        }
        let was_set = self.was_set(now);
        let meanwhile = jump(ahead(began), ahead(now)).unwrap_or(0);
        (Timestamp(began.wall.0.saturating_add(meanwhile)), was_set)
    }
}

/// How far a clock was set, where that is more than clocks do by themselves.
pub(super) fn jump(before: i64, after: i64) -> Option<i64> {
    let by = after.saturating_sub(before);
    (by.unsigned_abs() > u64::try_from(CLOCK_TOLERANCE.as_micros()).unwrap_or(u64::MAX)).then_some(by)
}

/// The time between entries of one ledger, whatever its clock was set to between them. A node that was away counts the time that its clock
/// came to show, for nobody else knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elapsed {
    set_by: i64,
    /// Where a start found the clock behind: by how much, less what it was set forward since. What it is set forward beyond that went by
    /// while the node was away, or may have.
    behind: Option<i64>,
    /// Whether that start is the one of which the next entry will say so.
    is_starting: bool,
    /// The time of the entry before.
    last: i64,
}

impl Elapsed {
    /// One more entry: its time by a clock that nobody ever set, in microseconds.
    pub(crate) fn take(&mut self, entry: &Entry) -> i64 {
        match entry.event {
            Event::ClockJumped { by, ordered: true, at_start } => {
                let by = match self.behind {
                    Some(behind) => by.min(behind),
                    None => by,
                };
                self.set_by = self.set_by.saturating_add(by);
                if at_start || self.behind.is_some() {
                    self.behind = Some(self.behind.unwrap_or(0).saturating_sub(by));
                }
                self.is_starting |= at_start;
            }
            // Set right while the node was away, perhaps.
            Event::NodeStarted { .. } if !std::mem::take(&mut self.is_starting) => {
                self.behind = self.behind.and_then(|behind| {
                    let by = entry.at.0.saturating_sub(self.last).clamp(0, behind);
                    self.set_by = self.set_by.saturating_add(by);
                    (behind > by).then_some(behind.saturating_sub(by))
                });
            }
            _ => {}
        }
        self.last = entry.at.0;
        entry.at.0.saturating_sub(self.set_by)
    }

    /// How far the clock was set by now.
    pub(crate) const fn set_by(self) -> i64 {
        self.set_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn set(by: i64) -> Event {
        Event::ClockJumped { by, ordered: true, at_start: false }
    }

    fn found_behind(by: i64) -> Event {
        Event::ClockJumped { by: -by, ordered: true, at_start: true }
    }

    fn started() -> Event {
        Event::NodeStarted { node: domicile_proto::ids::NodeId(1), binary: [0; 32], config: [0; 32], sbom: None }
    }

    /// The time that passed by these entries, from the first to the last.
    fn passed(entries: impl IntoIterator<Item = (i64, Event)>) -> i64 {
        let mut elapsed = Elapsed::default();
        let times = entries.into_iter().map(|(at, event)| elapsed.take(&Entry::specimen(Timestamp(at), None, event)));
        let times: Vec<i64> = times.collect();
        times[times.len() - 1] - times[0]
    }

    fn moment(wall: i64, ran: i64) -> Reading {
        Reading { wall: Timestamp(wall), ran: Duration::from_micros(ran.unsigned_abs()) }
    }

    #[test]
    fn what_waited_while_the_clock_was_set_has_the_time_that_it_would_have_by_the_new_one() {
        let start = started();
        let mut passing = Passing { shut: BTreeSet::new(), ahead: 1_000 * MINUTE, told: Told::default() };
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
    fn a_version_is_over_when_a_newer_one_was_told_of_for_as_long_as_an_answer_may_be_on_its_way() {
        let (second, long) = (Duration::from_secs(1), OLDER_POLICY_LEAVES_FOR);
        let (version, at) = (PolicyVersion, |seconds: u32| second * seconds);
        let mut told = Told::default();
        assert!(!told.is_over(version(0), at(900)), "nothing was told of");
        told.tell(version(4), at(100));
        told.tell(version(7), at(110));
        for (of, ran, wanted) in [
            (4, at(110) + long, false),
            (4, at(111) + long, true),
            // Version 7 is younger, and 4 was newer than this one for longer.
            (3, at(101) + long, true),
            (3, at(100) + long, false),
            (5, at(111) + long, true),
            (7, at(9_000), false),
            (8, at(9_000), false),
        ] {
            assert_eq!(told.is_over(version(of), ran), wanted, "{of} {ran:?}");
        }
        // What is settled is remembered as one number.
        told.tell(version(9), at(1_000));
        assert_eq!((told.lately.len(), told.settled), (1, version(7)));
        assert!(told.is_over(version(6), at(1_000)) && !told.is_over(version(7), at(1_000)));
        // A group that begins anew with a backup has its own.
        told.tell(version(5), at(1_001));
        assert!(!told.is_over(version(5), at(9_000)) && !told.is_over(version(4), at(1_001) + long));
        assert!(told.is_over(version(4), at(1_002) + long));
    }

    #[test]
    fn the_time_between_entries_is_that_which_passed() {
        let other = || Event::TornTail { bytes: 0, sha256: [0; 32] };
        let forth_and_back =
            [(10, other()), (2 * MINUTE + 20, set(2 * MINUTE)), (2 * MINUTE + 30, other()), (40, set(-2 * MINUTE))];
        assert_eq!(passed(forth_and_back), 30);
        // An earlier build said it up to a minute later: what stands before may be by either clock.
        let earlier = Event::ClockJumped { by: MINUTE, ordered: false, at_start: false };
        assert_eq!(passed([(10, other()), (MINUTE, earlier)]), MINUTE - 10);
    }

    #[test]
    fn what_went_by_while_a_node_was_away_is_not_set_away() {
        let (day, years) = (1_440 * MINUTE, 40 * 365 * 1_440 * MINUTE);
        let other = || Event::TornTail { bytes: 0, sha256: [0; 32] };
        let begun = || (years, other());
        assert_eq!(passed([begun(), (years + day, started())]), day);
        // Away for a day, back with a clock that is behind, which somebody sets right, at once or in two steps.
        let away = || [begun(), (1, found_behind(years - 1)), (2, started())];
        let at_once = [(years + day + 2, set(years + day - 1)), (years + day + 3, other())];
        assert_eq!(passed(away().into_iter().chain(at_once)), day + 3);
        let in_two = [(years + 2, set(years - 1)), (years + day + 3, set(day)), (years + day + 4, other())];
        assert_eq!(passed(away().into_iter().chain(in_two)), day + 4);
        // Set right while it was away once more, or at the next start but one.
        let again = [(years + day, started()), (years + day + 5, other())];
        assert_eq!(passed(away().into_iter().chain(again)), day + 5);
        let later = [(9, started()), (years + day + 9, set(years + day - 1)), (years + day + 10, other())];
        assert_eq!(passed(away().into_iter().chain(later)), day + 10);
        // After that the clock is as any other.
        let right = [(years + day, started()), (years + 2 * day, set(day - 7)), (years + 2 * day, other())];
        assert_eq!(passed(away().into_iter().chain(right)), day + 7);
        // Set further back while it is behind, and forward by as much.
        let further = [(2 - day, set(-day)), (2, set(day)), (3, other())];
        assert_eq!(passed(away().into_iter().chain(further)), 2);
    }
}
