//! How many exchanges another region may begin: questions and ledger heads, each of which makes the ledger grow for good.
//!
//! Asked before anything of an exchange is read or recorded. A region has its own count, so that one gone bad takes nothing from
//! the others. What is recorded, and what is said to whom was turned away, is not decided here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::limits::{LinkLimits, Rate};
use super::protocol::Protocol;
use crate::ids::Region;

/// The turnstiles of one link, for all regions.
pub(super) struct Turnstiles {
    questions: Rate,
    questions_of_day: Rate,
    heads: Rate,
    regions: Mutex<HashMap<Region, Counts>>,
}

#[derive(Default)]
struct Counts {
    questions: Bucket,
    questions_of_day: Bucket,
    heads: Bucket,
}

impl Turnstiles {
    pub(super) fn new(limits: &LinkLimits) -> Self {
        let LinkLimits { questions, questions_of_day, heads, .. } = *limits;
        Self { questions, questions_of_day, heads, regions: Mutex::default() }
    }

    /// Whether a region may begin one more; counts it where it may. Metadata has limits of its own, and what neighbours say to
    /// each other no other region can say.
    pub(super) fn lets_in(&self, region: &Region, protocol: Protocol, now: Instant) -> bool {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        // There are as many as there are trust bundles: nobody else comes through the handshake.
        let counts = regions.entry(region.clone()).or_default();
        match protocol {
            Protocol::Raft | Protocol::Region => true,
            Protocol::Ledger => counts.heads.take(self.heads, now),
            Protocol::Query => {
                counts.questions.has_room(self.questions, now)
                    && counts.questions_of_day.take(self.questions_of_day, now)
                    && counts.questions.take(self.questions, now)
            }
        }
    }
}

/// When everything that was let in would have come, had it come evenly.
#[derive(Default)]
struct Bucket(Option<Instant>);

impl Bucket {
    fn due(&self, now: Instant) -> Instant {
        self.0.map_or(now, |due| due.max(now))
    }

    fn has_room(&self, rate: Rate, now: Instant) -> bool {
        let ahead = self.due(now).saturating_duration_since(now);
        ahead + rate.every <= rate.every.saturating_mul(rate.at_once)
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let may = self.has_room(rate, now);
        if may {
            self.0 = Some(self.due(now) + rate.every);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn region(text: &str) -> Region {
        text.parse().expect("a name")
    }

    #[test]
    fn a_region_that_asks_too_much_is_turned_away_and_no_other_suffers_for_it() {
        let limits = LinkLimits {
            questions: Rate { at_once: 3, every: Duration::from_secs(1) },
            questions_of_day: Rate { at_once: 5, every: Duration::from_secs(100) },
            heads: Rate { at_once: 1, every: Duration::from_secs(10) },
            ..LinkLimits::default()
        };
        let turnstiles = Turnstiles::new(&limits);
        let began = Instant::now();
        let lets_in = |from: &str, protocol, after: u64| {
            turnstiles.lets_in(&region(from), protocol, began + Duration::from_secs(after))
        };
        let asks = |after| lets_in("frankfurt", Protocol::Query, after);
        assert_eq!([asks(0), asks(0), asks(0), asks(0)], [true, true, true, false], "three at once");
        assert_eq!([asks(1), asks(1), asks(2)], [true, false, true], "then one a second");
        assert_eq!([asks(3), asks(50), asks(99)], [false; 3], "five for the long run");
        assert_eq!([asks(101), asks(102)], [true, false], "and then one in a hundred seconds");
        assert!(lets_in("singapore", Protocol::Query, 3), "another region has its own count");
        let heads = |after| lets_in("frankfurt", Protocol::Ledger, after);
        assert_eq!([heads(0), heads(9), heads(10)], [true, false, true]);
        assert!(lets_in("frankfurt", Protocol::Raft, 0), "metadata is not counted here");
    }

    #[test]
    fn the_limits_of_a_region_are_reached_in_a_moment_and_in_a_day() {
        let (began, frankfurt) = (Instant::now(), region("frankfurt"));
        let at_once = |protocol| {
            let turnstiles = Turnstiles::new(&LinkLimits::default());
            (0..5_000).filter(|_| turnstiles.lets_in(&frankfurt, protocol, began)).count()
        };
        assert_eq!((at_once(Protocol::Query), at_once(Protocol::Ledger)), (2_000, 256));
        let turnstiles = Turnstiles::new(&LinkLimits::default());
        let seconds = (0..86_400).flat_map(|second| std::iter::repeat_n(began + Duration::from_secs(second), 20));
        let in_a_day = seconds.filter(|now| turnstiles.lets_in(&frankfurt, Protocol::Query, *now)).count();
        // The last of the 100,000 comes with the first moment of the next day.
        assert_eq!(in_a_day, 99_999);
    }
}
