//! Counts by approved value of a group field.

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::{MAX_CELLS, MergeError};
use crate::ids::{DictionaryId, FieldId};

/// Counts by approved value; every other value folds into `other`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// Counts by dictionary id, in rising order of the ids.
    pub cells: Vec<(DictionaryId, Cell)>,
    /// Everything whose value is not approved.
    pub other: Cell,
}

impl Terms {
    /// The identity of merging for this field.
    pub fn empty(field: FieldId) -> Self {
        Self { field, cells: Vec::new(), other: Cell::EMPTY }
    }

    /// Both together, value by value.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where the fields differ, [`MergeError::TooManyCells`] beyond the cap.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field {
            return Err(MergeError::Shape);
        }
        let cells = merge_sorted(self.cells, other.cells, |a, b| Some(a.merge(b))).ok_or(MergeError::Shape)?;
        if cells.len() >= MAX_CELLS {
            return Err(MergeError::TooManyCells);
        }
        Ok(Self { field: self.field, cells, other: self.other.merge(other.other) })
    }

    /// Whether the ids rise strictly.
    pub fn is_well_formed(&self) -> bool {
        self.cells.is_sorted_by(|a, b| a.0 < b.0)
    }
}

/// Union of two lists that are sorted by id; equal ids are joined by `both`. `None` where `both` refuses.
pub(super) fn merge_sorted<T>(
    a: Vec<(DictionaryId, T)>,
    b: Vec<(DictionaryId, T)>,
    both: impl Fn(T, T) -> Option<T>,
) -> Option<Vec<(DictionaryId, T)>> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let mut left = a.into_iter().peekable();
    let mut right = b.into_iter().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => l.0.cmp(&r.0),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return Some(out),
        };
        match order {
            std::cmp::Ordering::Less => out.extend(left.next()),
            std::cmp::Ordering::Greater => out.extend(right.next()),
            std::cmp::Ordering::Equal => {
                if let (Some((id, l)), Some((_, r))) = (left.next(), right.next()) {
                    out.push((id, both(l, r)?));
                }
            }
        }
    }
}
