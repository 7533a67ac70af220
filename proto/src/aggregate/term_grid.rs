//! Counts by approved value on a grid of time.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, merge_rows};
use super::date_grid::Grid;
use super::terms::merge_sorted;
use super::{MAX_CELLS, MergeError};
use crate::ids::{DictionaryId, FieldId};

/// Counts by approved value and cell of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermGrid {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// The grid of time.
    pub grid: Grid,
    /// One row of cells for each value, in rising order of the ids.
    pub rows: Vec<(DictionaryId, Vec<Cell>)>,
    /// The row of everything whose value is not approved.
    pub other: Vec<Cell>,
}

impl TermGrid {
    /// The identity of merging for this field and grid.
    pub fn empty(field: FieldId, grid: Grid) -> Self {
        Self { field, grid, rows: Vec::new(), other: vec![Cell::EMPTY; grid.len as usize] }
    }

    /// Both together, cell by cell.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where field or grid differ, [`MergeError::TooManyCells`] beyond the cap.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field || self.grid != other.grid {
            return Err(MergeError::Shape);
        }
        let rows = merge_sorted(self.rows, other.rows, |a, b| merge_rows(a, &b)).ok_or(MergeError::Shape)?;
        let cells = merge_rows(self.other, &other.other).ok_or(MergeError::Shape)?;
        if (rows.len() + 1).saturating_mul(self.grid.len as usize) > MAX_CELLS {
            return Err(MergeError::TooManyCells);
        }
        Ok(Self { field: self.field, grid: self.grid, rows, other: cells })
    }

    /// Whether rows are as long as the grid and the ids rise strictly.
    pub fn is_well_formed(&self) -> bool {
        let len = self.grid.len as usize;
        self.grid.is_well_formed()
            && self.other.len() == len
            && self.rows.iter().all(|(_, row)| row.len() == len)
            && self.rows.is_sorted_by(|a, b| a.0 < b.0)
    }
}
