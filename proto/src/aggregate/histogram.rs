//! Counts between fixed bounds that the policy declares: the only way to a quantile of the whole world.

use serde::{Deserialize, Serialize};

use super::MergeError;
use super::cell::{Cell, merge_rows};
use crate::ids::FieldId;

/// Counts of a numeric field between declared bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedHistogram {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// Rising upper bounds of all cells but the last, in the declared unit.
    pub bounds: Vec<i64>,
    /// One more cell than bounds.
    pub cells: Vec<Cell>,
}

impl FixedHistogram {
    /// The identity of merging for this field and these bounds.
    pub fn empty(field: FieldId, bounds: Vec<i64>) -> Self {
        let cells = vec![Cell::EMPTY; bounds.len() + 1];
        Self { field, bounds, cells }
    }

    /// Both together, cell by cell.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where field or bounds differ.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field || self.bounds != other.bounds {
            return Err(MergeError::Shape);
        }
        let cells = merge_rows(self.cells, &other.cells).ok_or(MergeError::Shape)?;
        Ok(Self { field: self.field, bounds: self.bounds, cells })
    }

    /// Whether the bounds rise and the cells fit them.
    pub fn is_well_formed(&self) -> bool {
        self.cells.len() == self.bounds.len() + 1 && self.bounds.is_sorted_by(|a, b| a < b)
    }
}
