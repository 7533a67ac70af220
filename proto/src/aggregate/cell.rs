//! One cell of an answer: how many records it publishes, and how many regions withheld theirs.

use serde::{Deserialize, Serialize};

use crate::ids::RecordCount;

/// A cell of a released or merged answer.
///
/// A region's own cell is the sum of what it published; `withheld` is 1 where it withheld some or all of it. Merged cells add
/// both, so that a sum with a hole in it says so (HON-1). Addition saturates, which keeps it associative and commutative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Records that were published.
    pub records: RecordCount,
    /// Regions that withheld some or all of what they have, be it nothing or too little.
    pub withheld: u16,
}

impl Cell {
    /// The identity of merging: nothing published, nothing withheld.
    pub const EMPTY: Self = Self { records: RecordCount(0), withheld: 0 };
    /// One region's cell below the threshold.
    pub const WITHHELD: Self = Self { records: RecordCount(0), withheld: 1 };

    /// One region's published cell.
    pub const fn published(records: RecordCount) -> Self {
        Self { records, withheld: 0 }
    }

    /// Whether nobody withheld anything.
    pub const fn is_exact(&self) -> bool {
        self.withheld == 0
    }

    /// Both cells together.
    #[must_use]
    pub const fn merge(self, other: Self) -> Self {
        Self {
            records: RecordCount(self.records.0.saturating_add(other.records.0)),
            withheld: self.withheld.saturating_add(other.withheld),
        }
    }
}

/// Merges two rows of cells of the same length, cell by cell; `None` where the lengths differ.
pub(super) fn merge_rows(mut a: Vec<Cell>, b: &[Cell]) -> Option<Vec<Cell>> {
    if a.len() != b.len() {
        return None;
    }
    for (cell, other) in a.iter_mut().zip(b) {
        *cell = cell.merge(*other);
    }
    Some(a)
}
