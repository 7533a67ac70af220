//! Clamped sums of a declared numeric field, by approved value and cell of time as far as they were asked for.

use serde::{Deserialize, Serialize};

use super::date_grid::Grid;
use super::terms::merge_sorted;
use super::{MAX_CELLS, MergeError};
use crate::ids::{DictionaryId, FieldId, RecordCount};

/// One cell of a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumCell {
    /// Records whose numbers were added up: those of published cells alone, so that a mean is theirs.
    pub records: RecordCount,
    /// Their sum, in the declared unit. Wide, so that adding never overflows in practice; it wraps.
    pub total: i128,
    /// Regions that withheld some or all of theirs.
    pub withheld: u16,
}

impl SumCell {
    /// The identity of merging.
    pub const EMPTY: Self = Self { records: RecordCount(0), total: 0, withheld: 0 };

    /// Both cells together.
    #[must_use]
    pub const fn merge(self, other: Self) -> Self {
        Self {
            records: RecordCount(self.records.0.saturating_add(other.records.0)),
            total: self.total.wrapping_add(other.total),
            withheld: self.withheld.saturating_add(other.withheld),
        }
    }
}

/// What sums are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumLayout {
    /// The numeric field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// The group field, if there is one.
    pub by: Option<FieldId>,
    /// The grid of time, if there is one.
    pub grid: Option<Grid>,
}

impl SumLayout {
    /// Cells of one row.
    pub fn cells(&self) -> usize {
        self.grid.map_or(1, |grid| grid.len as usize)
    }
}

/// Sums of a field whose values were clamped to their declared bounds. Source: CBAP-1 rule R8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// What was asked for.
    pub layout: SumLayout,
    /// One row of cells for each value of the group field, in rising order of the ids; none without a group field.
    pub rows: Vec<(DictionaryId, Vec<SumCell>)>,
    /// The row of everything whose value is not approved; of everything, without a group field.
    pub other: Vec<SumCell>,
}

impl Sum {
    /// The identity of merging for this layout.
    pub fn empty(layout: SumLayout) -> Self {
        Self { layout, rows: Vec::new(), other: vec![SumCell::EMPTY; layout.cells()] }
    }

    /// Both together, cell by cell.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where the layouts differ, [`MergeError::TooManyCells`] beyond the cap.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.layout != other.layout {
            return Err(MergeError::Shape);
        }
        let rows = merge_sorted(self.rows, other.rows, |a, b| merge_rows(a, &b)).ok_or(MergeError::Shape)?;
        let cells = merge_rows(self.other, &other.other).ok_or(MergeError::Shape)?;
        let sum = Self { layout: self.layout, rows, other: cells };
        if sum.cells() > MAX_CELLS { Err(MergeError::TooManyCells) } else { Ok(sum) }
    }

    /// Number of cells inside.
    pub fn cells(&self) -> usize {
        (self.rows.len() + 1).saturating_mul(self.layout.cells())
    }

    /// Every cell, row by row.
    pub fn all(&self) -> impl Iterator<Item = &SumCell> {
        self.rows.iter().flat_map(|(_, row)| row).chain(&self.other)
    }

    /// Whether rows are as long as the layout says and the ids rise strictly.
    pub fn is_well_formed(&self) -> bool {
        let len = self.layout.cells();
        self.layout.grid.is_none_or(|grid| grid.is_well_formed())
            && self.other.len() == len
            && self.rows.iter().all(|(_, row)| row.len() == len)
            && self.rows.is_sorted_by(|a, b| a.0 < b.0)
            && (self.layout.by.is_some() || self.rows.is_empty())
    }
}

fn merge_rows(mut a: Vec<SumCell>, b: &[SumCell]) -> Option<Vec<SumCell>> {
    if a.len() != b.len() {
        return None;
    }
    for (cell, other) in a.iter_mut().zip(b) {
        *cell = cell.merge(*other);
    }
    Some(a)
}
