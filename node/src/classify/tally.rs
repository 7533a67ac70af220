//! Whether a statement that a stream holds no personal data stands, by what the detectors found: the rule alone, without a clock, a bucket
//! or a lock. Source: CBAP-1 rule R4.
//!
//! Counts lie by UTC day and by writer, which is one run of one node. A writer only ever counts on, so that whatever is heard of it in
//! whatever order, and however often, comes to the same: the largest of each of its numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::keys::Day;

/// What one run of a node counted in a day, or several of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Records that were classified.
    pub(super) classified: u64,
    /// Those in which a detector found personal data.
    pub(super) found: u64,
    /// Whether there was a record on this day by which it was too much. What came after it is not told any more.
    pub(super) contradicts: bool,
}

impl Counts {
    /// Two words of one writer.
    fn join(self, other: Self) -> Self {
        Self {
            classified: self.classified.max(other.classified),
            found: self.found.max(other.found),
            contradicts: self.contradicts || other.contradicts,
        }
    }

    /// Of two writers, or of two days.
    fn plus(self, other: Self) -> Self {
        Self {
            classified: self.classified.saturating_add(other.classified),
            found: self.found.saturating_add(other.found),
            contradicts: self.contradicts || other.contradicts,
        }
    }

    /// Whether so many were found of so many that the statement does not stand: one in [`RATE`] is too much, and so is one of fewer.
    pub(super) fn are_too_many(self) -> bool {
        self.contradicts || (self.found > 0 && self.found.saturating_mul(RATE) >= self.classified)
    }
}

/// Who counted: a number drawn at the start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Writer(pub(super) u64);

/// Days, both of them included, of which questions are answered as if nothing were stated, for ever.
pub(super) type Mark = (Day, Day);

/// What was counted of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<Day, BTreeMap<Writer, Counts>>, BTreeSet<Mark>);

impl Tally {
    /// Takes in what a writer had counted by some moment of a day.
    pub(super) fn hear(&mut self, day: Day, writer: Writer, counts: Counts) {
        let known = self.0.entry(day).or_default().entry(writer).or_default();
        *known = known.join(counts);
    }

    /// Marks days for questions about them; the week does not look at it.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.1.insert(mark);
    }

    /// Counts on as a writer, and judges the week with it. Returns what that writer has of the day by now.
    pub(super) fn count(&mut self, day: Day, writer: Writer, more: Counts) -> Counts {
        let counts = self.0.entry(day).or_default().entry(writer).or_default();
        *counts = counts.plus(more);
        if more.found > 0 {
            let is_too_much = self.week(day).are_too_many();
            let counts = self.0.entry(day).or_default().entry(writer).or_default();
            counts.contradicts |= is_too_much;
        }
        self.of(day, writer)
    }

    /// What a writer has of a day.
    pub(super) fn of(&self, day: Day, writer: Writer) -> Counts {
        self.0.get(&day).and_then(|writers| writers.get(&writer)).copied().unwrap_or_default()
    }

    /// Whether the statement does not stand for a question about these days that is asked today: for this week, for what was counted in
    /// it; and for days on which it did not stand, and those beside them, for ever. What comes on a day is mostly of that day.
    pub(super) fn contradicts(&self, today: Day, asked: &RangeInclusive<Day>) -> bool {
        let beside = Day(asked.start().0.saturating_sub(1))..=Day(asked.end().0.saturating_add(1));
        // A range that is turned around holds nothing, and a map is not asked for one.
        let is_of_then = beside.start() <= beside.end()
            && (self.1.iter().any(|(first, last)| first <= beside.end() && beside.start() <= last)
                || self.0.range(beside).any(|(_, writers)| writers.values().any(|counts| counts.contradicts)));
        is_of_then || self.falls(today)
    }

    /// Whether the statement does not stand for what is asked today about any day.
    pub(super) fn falls(&self, today: Day) -> bool {
        self.week(today).are_too_many()
    }

    /// Whether it does not stand by the rate alone, and no day of the week says so for itself: what was taken of the week's records may
    /// have become less with a day that left it, or with what a restart forgot.
    pub(super) fn falls_unmarked(&self, today: Day) -> bool {
        let week = self.week(today);
        !week.contradicts && week.are_too_many()
    }

    /// The days of the week on which something was found.
    pub(super) fn found_on(&self, today: Day) -> BTreeSet<Day> {
        let days = self.0.range(Day(today.0.saturating_sub(WEEK - 1))..);
        let hit = days.filter(|(_, writers)| writers.values().any(|counts| counts.found > 0));
        hit.map(|(day, _)| *day).collect()
    }

    /// The last seven days, today among them. What lies ahead of a clock that was set back counts as well.
    fn week(&self, today: Day) -> Counts {
        let first = Day(today.0.saturating_sub(WEEK - 1));
        let days = self.0.range(first..).flat_map(|(_, writers)| writers.values());
        days.fold(Counts::default(), |sum, counts| sum.plus(*counts))
    }

    /// Lets go of the days before the week on which nothing contradicted: no answer depends on them.
    pub(super) fn forget_before(&mut self, today: Day) {
        let first = Day(today.0.saturating_sub(WEEK - 1));
        self.0.retain(|day, writers| *day >= first || writers.values().any(|counts| counts.contradicts));
    }

    /// Takes in all that another one has heard.
    pub(super) fn merge(&mut self, other: &Self) {
        for (day, writers) in &other.0 {
            writers.iter().for_each(|(writer, counts)| self.hear(*day, *writer, *counts));
        }
        self.1.extend(&other.1);
    }
}

/// Days that are judged together.
pub(super) const WEEK: u32 = 7;
/// Of so many records not one may hold personal data. Source: CBAP-1 rule R4, a rate below 1e-5.
pub(super) const RATE: u64 = 100_000;

#[cfg(test)]
#[path = "tally_test.rs"]
mod tests;
