//! Counts on a fixed grid of time.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, merge_rows};
use super::{MAX_CELLS, MergeError};
use crate::ids::{TimeRange, Timestamp};

/// A fixed grid of time: `len` cells of `step` seconds from `start`, aligned to the UTC epoch.
///
/// Source of the alignment: CBAP-1 rule R6; a grid that could be shifted would give single records away by difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Number of the first cell: its start in seconds since the epoch, divided by `step`.
    pub first: i64,
    /// Width of a cell in seconds, a multiple of 60.
    pub step: u32,
    /// Number of cells.
    pub len: u32,
}

impl Grid {
    /// Narrowest cell, in seconds. Source: CBAP-1 rule R6.
    pub const FINEST_STEP: u32 = 60;
    /// Widest cell, in seconds: 366 days.
    pub const COARSEST_STEP: u32 = 366 * 86_400;

    /// The largest grid of whole cells inside `range`; the range shrinks to it. `None` where the step is not a multiple
    /// of 60 in bounds, or more than [`MAX_CELLS`] cells would be needed. A range narrower than a cell gives no cells.
    pub fn inside(range: TimeRange, step: u32) -> Option<Self> {
        let micros = Self::step_micros(step)?;
        let first = range.from.0.div_euclid(micros) + i64::from(range.from.0.rem_euclid(micros) != 0);
        let end = range.to.0.div_euclid(micros);
        Self::from_numbers(first, end, step)
    }

    /// The smallest grid of whole cells that covers `range`. `None` as for [`Grid::inside`].
    pub fn covering(range: TimeRange, step: u32) -> Option<Self> {
        let micros = Self::step_micros(step)?;
        let first = range.from.0.div_euclid(micros);
        let end = range.to.0.div_euclid(micros) + i64::from(range.to.0.rem_euclid(micros) != 0);
        Self::from_numbers(first, end, step)
    }

    fn step_micros(step: u32) -> Option<i64> {
        let ok = (Self::FINEST_STEP..=Self::COARSEST_STEP).contains(&step) && step.is_multiple_of(Self::FINEST_STEP);
        ok.then(|| i64::from(step) * Timestamp::MICROS)
    }

    fn from_numbers(first: i64, end: i64, step: u32) -> Option<Self> {
        let len = u32::try_from(end.saturating_sub(first).max(0)).ok()?;
        (len as usize <= MAX_CELLS).then_some(Self { first, step, len })
    }

    /// The cell `at` falls into, if it lies on the grid.
    pub fn cell_of(&self, at: Timestamp) -> Option<usize> {
        let number = at.0.div_euclid(i64::from(self.step) * Timestamp::MICROS);
        let offset = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (offset < self.len as usize).then_some(offset)
    }

    /// Start of cell number `index` of the grid; saturates at the end of time.
    pub fn start_of(&self, index: usize) -> Timestamp {
        let number = self.first.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        Timestamp(number.saturating_mul(i64::from(self.step)).saturating_mul(Timestamp::MICROS))
    }

    /// The time the grid covers.
    pub fn range(&self) -> TimeRange {
        TimeRange { from: self.start_of(0), to: self.start_of(self.len as usize) }
    }

    /// Whether step and length lie in their bounds.
    pub fn is_well_formed(&self) -> bool {
        Self::step_micros(self.step).is_some() && self.len as usize <= MAX_CELLS
    }
}

/// Counts by cell of a [`Grid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateGrid {
    /// The grid.
    pub grid: Grid,
    /// One cell for each of the grid's, in order of time.
    pub cells: Vec<Cell>,
}

impl DateGrid {
    /// The identity of merging for this grid.
    pub fn empty(grid: Grid) -> Self {
        Self { grid, cells: vec![Cell::EMPTY; grid.len as usize] }
    }

    /// Both together, cell by cell.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where the grids differ.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.grid != other.grid {
            return Err(MergeError::Shape);
        }
        let cells = merge_rows(self.cells, &other.cells).ok_or(MergeError::Shape)?;
        Ok(Self { grid: self.grid, cells })
    }

    /// Whether there are as many cells as the grid says.
    pub fn is_well_formed(&self) -> bool {
        self.grid.is_well_formed() && self.cells.len() == self.grid.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = Timestamp::MICROS;

    #[test]
    fn shrinks_a_range_to_whole_cells() {
        let range = TimeRange { from: Timestamp(61 * S), to: Timestamp(299 * S) };
        assert_eq!(Grid::inside(range, 60), Some(Grid { first: 2, step: 60, len: 2 }));
        assert_eq!(Grid::covering(range, 60), Some(Grid { first: 1, step: 60, len: 4 }));
        let narrow = TimeRange { from: Timestamp(61 * S), to: Timestamp(62 * S) };
        assert_eq!(Grid::inside(narrow, 60).map(|grid| grid.len), Some(0));
    }

    #[test]
    fn refuses_steps_off_the_grid_and_grids_too_long() {
        let day = TimeRange { from: Timestamp(0), to: Timestamp(86_400 * S) };
        for step in [0, 1, 59, 61, u32::MAX] {
            assert_eq!(Grid::inside(day, step), None, "{step}");
        }
        assert_eq!(Grid::inside(TimeRange::ALL, 60), None);
        let longest = TimeRange { from: Timestamp(0), to: Timestamp(60 * S * MAX_CELLS as i64) };
        assert!(Grid::inside(longest, 60).is_some());
        let longer = TimeRange { from: Timestamp(0), to: Timestamp(60 * S * (MAX_CELLS as i64 + 1)) };
        assert!(Grid::inside(longer, 60).is_none());
    }

    #[test]
    fn finds_the_cell_of_an_instant() {
        let grid = Grid { first: -1, step: 60, len: 2 };
        for (at, cell) in [(-60 * S, Some(0)), (-1, Some(0)), (0, Some(1)), (60 * S, None), (-60 * S - 1, None)] {
            assert_eq!(grid.cell_of(Timestamp(at)), cell, "{at}");
        }
    }
}
