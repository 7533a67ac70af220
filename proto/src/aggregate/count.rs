//! A single count.

use serde::{Deserialize, Serialize};

use super::MergeError;
use super::cell::Cell;

/// How many records match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The one cell.
    pub cell: Cell,
}

impl Count {
    /// The identity of merging.
    pub const EMPTY: Self = Self { cell: Cell::EMPTY };

    /// Both counts together.
    ///
    /// # Errors
    /// Never; the signature is that of all shapes.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        Ok(Self { cell: self.cell.merge(other.cell) })
    }
}
