//! The closed set of shapes that may cross a border, with their merge laws; one file each.
//!
//! No string, no bytes, no map of strings, no recursive type, no sketch, no minimum and no maximum stands here (RES-1).
//! Every shape is a commutative monoid: merging is associative and commutative, and `empty` of the same shape is its
//! identity. What a cell says and when it may be said is decided in [`crate::border`], not here.

pub mod cell;
pub mod count;
pub mod date_grid;
pub mod histogram;
pub mod scalars;
pub mod sum;
pub mod term_grid;
pub mod terms;

use serde::{Deserialize, Serialize};

use count::Count;
use date_grid::DateGrid;
use histogram::FixedHistogram;
use scalars::{DistinctEstimate, Quantile};
use sum::Sum;
use term_grid::TermGrid;
use terms::Terms;

/// Most cells that one answer may hold. Source: CBAP-1 rule R12.
pub const MAX_CELLS: usize = 10_000;

/// Why two aggregates cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They answer questions of different shapes.
    #[error("the two answers have different shapes; they do not belong to the same question")]
    Shape,
    /// Both hold a scalar of the same region.
    #[error("two answers claim to speak for the same region")]
    SameRegion,
    /// Together they would hold more cells than an answer may.
    #[error("the merged answer would hold more than {MAX_CELLS} cells; ask for a coarser grid")]
    TooManyCells,
}

/// One aggregate of any shape, as it stands in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregate {
    /// One number.
    Count(Count),
    /// Counts on a grid of time.
    DateGrid(DateGrid),
    /// Counts by approved value.
    Terms(Terms),
    /// Counts by approved value on a grid of time.
    TermGrid(TermGrid),
    /// Clamped sums of a declared numeric field.
    Sum(Sum),
    /// Counts between fixed bounds.
    FixedHistogram(FixedHistogram),
    /// One quantile per region.
    Quantile(Quantile),
    /// One estimate of distinct values per region.
    DistinctEstimate(DistinctEstimate),
}

impl Aggregate {
    /// Merges two aggregates of the same shape.
    ///
    /// # Errors
    /// [`MergeError`] where the shapes differ or the result would break a cap.
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        Ok(match (self, other) {
            (Self::Count(a), Self::Count(b)) => Self::Count(a.merge(b)?),
            (Self::DateGrid(a), Self::DateGrid(b)) => Self::DateGrid(a.merge(b)?),
            (Self::Terms(a), Self::Terms(b)) => Self::Terms(a.merge(b)?),
            (Self::TermGrid(a), Self::TermGrid(b)) => Self::TermGrid(a.merge(b)?),
            (Self::Sum(a), Self::Sum(b)) => Self::Sum(a.merge(b)?),
            (Self::FixedHistogram(a), Self::FixedHistogram(b)) => Self::FixedHistogram(a.merge(b)?),
            (Self::Quantile(a), Self::Quantile(b)) => Self::Quantile(a.merge(b)?),
            (Self::DistinctEstimate(a), Self::DistinctEstimate(b)) => Self::DistinctEstimate(a.merge(b)?),
            _ => return Err(MergeError::Shape),
        })
    }

    /// Number of cells inside, withheld ones included.
    pub fn cells(&self) -> usize {
        match self {
            Self::Count(_) => 1,
            Self::Sum(sum) => sum.cells(),
            Self::DateGrid(grid) => grid.cells.len(),
            Self::Terms(terms) => terms.cells.len() + 1,
            Self::TermGrid(grid) => (grid.rows.len() + 1).saturating_mul(grid.grid.len as usize),
            Self::FixedHistogram(histogram) => histogram.cells.len(),
            Self::Quantile(quantile) => quantile.regions.len(),
            Self::DistinctEstimate(estimate) => estimate.regions.len(),
        }
    }

    /// Whether the parts fit each other: lengths as the shape says, ids in rising order, within the caps.
    ///
    /// Checked on arrival: a message that decodes may still come from a malicious peer.
    pub fn is_well_formed(&self) -> bool {
        self.cells() <= MAX_CELLS
            && match self {
                Self::Count(_) => true,
                Self::Sum(sum) => sum.is_well_formed(),
                Self::DateGrid(grid) => grid.is_well_formed(),
                Self::Terms(terms) => terms.is_well_formed(),
                Self::TermGrid(grid) => grid.is_well_formed(),
                Self::FixedHistogram(histogram) => histogram.is_well_formed(),
                Self::Quantile(quantile) => quantile.is_well_formed(),
                Self::DistinctEstimate(estimate) => estimate.is_well_formed(),
            }
    }
}
