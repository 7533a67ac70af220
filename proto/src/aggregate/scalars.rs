//! One number per region: what cannot be merged further without a sketch stays a bounded list.

use serde::{Deserialize, Serialize};

use super::MergeError;
use crate::ids::{FieldId, RegionNumber};

/// Most regions one list may name.
pub const MAX_REGIONS: usize = 64;

/// A quantile of a declared numeric field, one value per region. `None` is a withheld one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantile {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// The quantile asked for, in thousandths: 950 is the 95th percentile.
    pub per_mille: u16,
    /// The regions' values in the declared unit, in rising order of the region numbers.
    pub regions: Vec<(RegionNumber, Option<i64>)>,
}

/// An estimate of distinct values, one per region, rounded to two significant digits. `None` is a withheld one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistinctEstimate {
    /// The field, by its place in the stream's allow-list.
    pub field: FieldId,
    /// The regions' estimates, in rising order of the region numbers.
    pub regions: Vec<(RegionNumber, Option<u64>)>,
}

impl Quantile {
    /// The identity of merging for this field and quantile.
    pub const fn empty(field: FieldId, per_mille: u16) -> Self {
        Self { field, per_mille, regions: Vec::new() }
    }

    /// Both lists together.
    ///
    /// # Errors
    /// [`MergeError::Shape`] where field or quantile differ, [`MergeError::SameRegion`] where a region stands in both,
    /// [`MergeError::TooManyCells`] beyond [`MAX_REGIONS`].
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field || self.per_mille != other.per_mille {
            return Err(MergeError::Shape);
        }
        Ok(Self { regions: union(self.regions, other.regions)?, ..self })
    }

    /// Whether the regions rise strictly and are not too many.
    pub fn is_well_formed(&self) -> bool {
        is_sorted(&self.regions) && self.per_mille <= 1_000
    }
}

impl DistinctEstimate {
    /// The identity of merging for this field.
    pub const fn empty(field: FieldId) -> Self {
        Self { field, regions: Vec::new() }
    }

    /// Both lists together.
    ///
    /// # Errors
    /// As [`Quantile::merge`].
    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        if self.field != other.field {
            return Err(MergeError::Shape);
        }
        Ok(Self { regions: union(self.regions, other.regions)?, ..self })
    }

    /// Bounds of the number of distinct values over all regions: `[largest, sum]` of the published ones.
    pub fn interval(&self) -> (u64, u64) {
        let known = || self.regions.iter().filter_map(|(_, estimate)| *estimate);
        (known().fold(0, u64::max), known().fold(0, u64::saturating_add))
    }

    /// Whether the regions rise strictly and are not too many.
    pub fn is_well_formed(&self) -> bool {
        is_sorted(&self.regions)
    }
}

fn union<T>(mut a: Vec<(RegionNumber, T)>, b: Vec<(RegionNumber, T)>) -> Result<Vec<(RegionNumber, T)>, MergeError> {
    a.extend(b);
    a.sort_by_key(|(region, _)| *region);
    if a.is_sorted_by(|x, y| x.0 < y.0) {
        if a.len() > MAX_REGIONS { Err(MergeError::TooManyCells) } else { Ok(a) }
    } else {
        Err(MergeError::SameRegion)
    }
}

fn is_sorted<T>(regions: &[(RegionNumber, T)]) -> bool {
    regions.len() <= MAX_REGIONS && regions.is_sorted_by(|a, b| a.0 < b.0)
}
