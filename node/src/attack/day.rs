//! The synthetic day the attacks are run on: a few hundred users, most of whom seldom write. Drawn from a seed; the truth about
//! every record is kept, so that a success is counted and not felt.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Users, drawn by Zipf's law.
const USERS: u64 = 400;
/// Approved services with their shares; the last is used by few.
pub const SERVICES: [(&str, u64); 4] = [("checkout", 55), ("payments", 30), ("search", 13), ("vault", 2)];
/// A service nobody approved.
pub const UNAPPROVED: &str = "projectx";
/// What stands for the values that are not named.
pub const OTHER: &str = "__other__";
/// The user who alone writes very much, and how much.
const CHATTY_USER: u64 = 7_777;
const CHATTY_RECORDS: u64 = 10_000;
/// Most records of one leaf but for the chatty user's: a very large threshold withholds everything, and need not fill memory.
const MOST_OF_A_LEAF: u64 = 250;

/// Leaves of the day that hold many records.
pub const DENSE: Range<i64> = 0..60;
/// Leaves that hold few.
pub const SPARSE: Range<i64> = 60..180;
/// Leaves in which one user alone writes.
pub const CHATTY: Range<i64> = 240..250;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// In which leaf of the day.
    pub leaf: i64,
    /// Whose.
    pub user: u64,
    /// Its service.
    pub service: &'static str,
    /// Its level.
    pub level: &'static str,
}

/// What a group is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Distinct users.
    Users,
    /// Records.
    Records,
}

/// The day of one region, and what is true of it.
#[derive(Clone, Debug)]
pub struct Day {
    /// Its records.
    pub records: Vec<Record>,
    /// A group of fewer is small: nobody may learn its number.
    small: usize,
    counted: Counted,
}

/// A small generator for synthetic data whose whole state is its seed; no source of secrets.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64: one addition and three mixing steps.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Day {
    /// The day of a region. Only the attacked one has sparse leaves and a chatty user: what the others say is no secret. Groups
    /// of fewer than `small` are what is attacked, and the day is drawn so that many are just that small.
    pub fn draw(seed: u64, is_attacked: bool, (small, counted): (usize, Counted)) -> Self {
        let k = u64::try_from(small).unwrap_or(u64::MAX).min(MOST_OF_A_LEAF);
        let (dense, mut dice, mut records) = ((2 * k + 30).min(MOST_OF_A_LEAF), Dice::new(seed), Vec::new());
        for leaf in DENSE {
            (0..dense).for_each(|_| records.push(record(&mut dice, leaf)));
        }
        for leaf in SPARSE {
            let number = if is_attacked { k.saturating_sub(2) + dice.below(7) } else { dense };
            (0..number).for_each(|_| records.push(record(&mut dice, leaf)));
        }
        if is_attacked {
            let chatty = |leaf| Record { leaf, user: CHATTY_USER, service: "checkout", level: "INFO" };
            let leaves = CHATTY.cycle().take(usize::try_from(CHATTY_RECORDS).unwrap_or_default());
            records.extend(leaves.map(chatty));
        }
        Self { records, small, counted }
    }

    /// Records and size of the group of those that fit.
    pub fn census(&self, fits: impl Fn(&Record) -> bool) -> (u64, usize) {
        let found: Vec<&Record> = self.records.iter().filter(|record| fits(record)).collect();
        let size = match self.counted {
            Counted::Users => found.iter().map(|record| record.user).collect::<BTreeSet<_>>().len(),
            Counted::Records => found.len(),
        };
        (found.len() as u64, size)
    }

    /// Whether a group of this size is one that nobody may learn the number of.
    pub fn is_small(&self, size: usize) -> bool {
        (1..self.small).contains(&size)
    }

    /// Sparse leaves with somebody in them, and too few, with their records: what an attacker wants to know.
    pub fn small_leaves(&self) -> Vec<(i64, u64)> {
        let mut leaves: BTreeMap<i64, (u64, BTreeSet<u64>)> = BTreeMap::new();
        for record in self.records.iter().filter(|record| SPARSE.contains(&record.leaf)) {
            let (records, users) = leaves.entry(record.leaf).or_default();
            *records += 1;
            users.insert(record.user);
        }
        let size = |(records, users): &(u64, BTreeSet<u64>)| match self.counted {
            Counted::Users => users.len(),
            Counted::Records => usize::try_from(*records).unwrap_or(usize::MAX),
        };
        let small = leaves.into_iter().filter(|(_, found)| self.is_small(size(found)));
        small.map(|(leaf, (records, _))| (leaf, records)).collect()
    }

    /// At most so many small leaves, from the whole day.
    pub(super) fn targets(&self, most: usize) -> Vec<(i64, u64)> {
        let small = self.small_leaves();
        let step = (small.len() / most).max(1);
        small.into_iter().step_by(step).take(most).collect()
    }

    /// Users of the first leaves, each once, in order.
    pub(super) fn users(&self) -> Vec<u64> {
        let early = self.records.iter().filter(|record| record.leaf < SPARSE.end);
        early.map(|record| record.user).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How often the commonest number of records is right of the small leaves, in thousandths.
    pub(super) fn commonest_per_mille(&self) -> u64 {
        let (small, mut times) = (self.small_leaves(), BTreeMap::<u64, u64>::new());
        small.iter().for_each(|(_, records)| *times.entry(*records).or_default() += 1);
        let most = times.into_values().max().unwrap_or_default();
        most * 1_000 / (small.len() as u64).max(1)
    }
}

fn record(dice: &mut Dice, leaf: i64) -> Record {
    const LEVELS: [&str; 6] = ["INFO", "INFO", "INFO", "INFO", "WARN", "ERROR"];
    let service = match dice.below(40) {
        0 => UNAPPROVED,
        _ => share(dice.below(100)),
    };
    let drawn = usize::try_from(dice.below(6)).ok().and_then(|place| LEVELS.get(place));
    let (user, is_fatal) = (zipf(dice), dice.below(200) == 0);
    Record { leaf, user, service, level: if is_fatal { "FATAL" } else { drawn.copied().unwrap_or("INFO") } }
}

fn share(percent: u64) -> &'static str {
    let mut below = 0;
    let found = SERVICES.iter().find(|(_, share)| {
        below += share;
        percent < below
    });
    found.map_or("checkout", |(name, _)| name)
}

/// A user by Zipf's law: the first writes twice as much as the second.
fn zipf(dice: &mut Dice) -> u64 {
    // Weights of 1/rank, in millionths, drawn by walking the ranks.
    let total: u64 = (1..=USERS).map(|rank| 1_000_000 / rank).sum();
    let mut drawn = dice.below(total);
    for rank in 1..=USERS {
        let weight = 1_000_000 / rank;
        if drawn < weight {
            return rank;
        }
        drawn -= weight;
    }
    USERS
}

/// What each order of a user costs; below the last bound, so that nothing is clamped.
pub const fn amount(user: u64) -> u64 {
    10 + user * 37 % 900
}

/// The bounds of the amounts.
pub const AMOUNT_BOUNDS: [i64; 2] = [100, 1_000];

/// The word that stands for a user in messages; no detector knows it.
pub fn account(user: u64) -> String {
    format!("account{user}")
}

/// The message of a user's record.
pub fn message(user: u64) -> String {
    format!("order placed by {}", account(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_many_groups_that_are_just_too_small_whatever_the_threshold() {
        for (k, counted) in [(3, Counted::Users), (5, Counted::Users), (12, Counted::Users), (50, Counted::Records)] {
            let day = Day::draw(7, true, (k, counted));
            let small = day.small_leaves();
            assert!(small.len() >= 20, "{} of {k}", small.len());
            assert_eq!(day.records, Day::draw(7, true, (k, counted)).records, "the seed decides");
            assert_ne!(day.records, Day::draw(8, true, (k, counted)).records);
            let (leaf, records) = small[0];
            let (found, size) = day.census(|record| record.leaf == leaf);
            assert!(found == records && day.is_small(size));
            assert!((1..1_000).contains(&day.commonest_per_mille()));
        }
        assert!(Day::draw(7, false, (5, Counted::Users)).small_leaves().is_empty(), "only one region is attacked");
    }
}
