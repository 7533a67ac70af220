//! A clamped sum of a declared numeric field.

use serde::{Deserialize, Serialize};

use super::MergeError;
use crate::ids::FieldId;

/// Sum of a field whose values were clamped to their declared bounds. Source: CBAP-1 rule R8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// Sum of the published regions, in the declared unit. Wide, so that adding never overflows in practice; it wraps.
    pub total: i128,
    /// Regions that withheld theirs.
    pub withheld: u16,
}

impl Sum {
    /// The identity of merging for this field.
    pub const fn empty(field: FieldId) -> Self {
        Self { field, total: 0, withheld: 0 }
    }

    /// Both sums together.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where the fields differ.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field {
            return Err(MergeError::Shape);
        }
        Ok(Self {
            field: self.field,
            total: self.total.wrapping_add(other.total),
            withheld: self.withheld.saturating_add(other.withheld),
        })
    }
}
