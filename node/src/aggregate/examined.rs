//! Which stretches of time were looked at, and up to which place of the shard: what was seen need not be looked at again.

use std::collections::BTreeMap;

use domicile_proto::ids::{TimeRange, Timestamp};

/// Stretches that do not overlap, by where they begin: where they end, and up to which place they were seen.
#[derive(Default)]
pub(super) struct Examined(BTreeMap<i64, (i64, u64)>);

impl Examined {
    /// A range in the stretches it was seen in; 0 where it never was.
    pub(super) fn pieces(&self, range: TimeRange) -> Vec<(TimeRange, u64)> {
        let mut pieces = Vec::new();
        if range.to <= range.from {
            return pieces;
        }
        let mut at = range.from.0;
        let piece = |from: i64, to: i64, upto| (TimeRange { from: Timestamp(from), to: Timestamp(to) }, upto);
        for (from, (to, upto)) in self.overlapping(range) {
            let (from, to) = (from.max(range.from.0), to.min(range.to.0));
            if at < from {
                pieces.push(piece(at, from, 0));
            }
            pieces.push(piece(from, to, upto));
            at = to;
        }
        if at < range.to.0 {
            pieces.push(piece(at, range.to.0, 0));
        }
        pieces
    }

    /// Notes that a range was seen up to a place.
    pub(super) fn set(&mut self, range: TimeRange, upto: u64) {
        if range.to <= range.from {
            return;
        }
        for (from, (to, before)) in self.overlapping(range) {
            self.0.remove(&from);
            if from < range.from.0 {
                self.0.insert(from, (range.from.0, before));
            }
            if range.to.0 < to {
                self.0.insert(range.to.0, (to, before));
            }
        }
        let (mut from, mut to) = (range.from.0, range.to.0);
        // Neighbours that were seen as far become one stretch, so that the list stays short.
        if let Some((before, _)) =
            self.0.range(..from).next_back().filter(|(_, (end, seen))| (*end, *seen) == (from, upto))
        {
            from = *before;
            self.0.remove(&from);
        }
        if let Some((end, _)) = self.0.get(&to).copied().filter(|(_, seen)| *seen == upto) {
            self.0.remove(&to);
            to = end;
        }
        self.0.insert(from, (to, upto));
    }

    fn overlapping(&self, range: TimeRange) -> Vec<(i64, (i64, u64))> {
        let first = self.0.range(..=range.from.0).next_back().map_or(range.from.0, |(from, _)| *from);
        let found = self.0.range(first..range.to.0.max(first));
        found.filter(|(_, (to, _))| *to > range.from.0).map(|(from, stretch)| (*from, *stretch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange { from: Timestamp(from), to: Timestamp(to) }
    }

    proptest! {
        #[test]
        fn says_of_every_instant_what_was_noted_last(notes in prop::collection::vec((0..40_i64, 0..40_i64, 1..4_u64), 0..12), asked in (0..40_i64, 0..40_i64)) {
            let mut examined = Examined::default();
            let mut model = [0_u64; 40];
            for (from, to, upto) in notes {
                examined.set(range(from, to), upto);
                (from..to).for_each(|at| model[at as usize] = upto);
            }
            let pieces = examined.pieces(range(asked.0, asked.1));
            let mut at = asked.0;
            for (piece, upto) in pieces {
                prop_assert_eq!(piece.from.0, at);
                prop_assert!((piece.from.0..piece.to.0).all(|at| model[at as usize] == upto));
                at = piece.to.0;
            }
            prop_assert_eq!(at, asked.1.max(asked.0));
        }
    }
}
