//! Sums, quantiles and distinct numbers, released: the second way out beside cells of counts. All of them are reckoned from
//! published cells of leaf tables and hold nothing that those do not; what else rules R8 and R9 of CBAP-1 want is asked here.

use super::{ReleasePolicy, Released, ShapeError, released};
use crate::aggregate::MAX_CELLS;
use crate::aggregate::scalars::{DistinctEstimate, Quantile};
use crate::aggregate::sum::{Sum, SumCell, SumLayout};
use crate::ids::{DictionaryId, FieldId, RegionNumber};
use crate::leaf::{DISTINCT_SUBJECTS, Tally};
use crate::message::answer::AnswerHeader;
use crate::numbers::SumTally;

/// Releases sums of published sums, row by row: the approved values and then all others, or one row in all.
///
/// # Errors
/// [`ShapeError`] where the number of cells is not the layout's or beyond the cap.
pub fn release_sums(
    layout: SumLayout,
    values: Vec<DictionaryId>,
    sums: &[SumTally],
    policy: &ReleasePolicy,
    header: AnswerHeader,
) -> Result<Released<Sum>, ShapeError> {
    let len = layout.cells();
    let wanted = (values.len() + 1).saturating_mul(len);
    if sums.len() != wanted || wanted > MAX_CELLS {
        return Err(ShapeError { found: sums.len(), wanted });
    }
    let cell =
        |sum: &SumTally| SumCell { records: sum.records(), total: sum.total, withheld: u16::from(!sum.is_whole) };
    let mut cells = sums.iter().map(cell);
    let rows = values.into_iter().map(|id| (id, cells.by_ref().take(len).collect())).collect();
    Ok(released(Sum { layout, rows, other: cells.collect() }, policy, header))
}

/// A region's quantile: the smallest declared bound up to which so many thousandths of the published numbers lie. It is told
/// where one published cell on each side of that bound is about at least 2k subjects.
pub fn release_quantile(
    (field, bounds): (FieldId, &[i64]),
    per_mille: u16,
    region: RegionNumber,
    cells: &[Tally],
    policy: &ReleasePolicy,
    header: AnswerHeader,
) -> Released<Quantile> {
    let all: u128 = cells.iter().map(|cell| u128::from(cell.records().0)).sum();
    let mut below = 0_u128;
    let place = cells.iter().position(|cell| {
        below += u128::from(cell.records().0);
        all > 0 && below * 1_000 >= all * u128::from(per_mille)
    });
    let enough = policy.k.get().saturating_mul(2);
    let is_wide = |side: &[Tally]| policy.k.get() == 1 || side.iter().any(|cell| cell.seen() >= enough);
    let value = place.and_then(|place| {
        let (lower, upper) = cells.split_at_checked(place + 1)?;
        bounds.get(place).copied().filter(|_| is_wide(lower) && is_wide(upper))
    });
    released(Quantile { field, per_mille, regions: vec![(region, value)] }, policy, header)
}

/// How many approved values of a field a region publishes records of, to two significant digits. It is told where one
/// published cell is about at least [`DISTINCT_SUBJECTS`] subjects. `cells` are those of the values.
pub fn release_distinct(
    field: FieldId,
    region: RegionNumber,
    cells: &[Tally],
    policy: &ReleasePolicy,
    header: AnswerHeader,
) -> Released<DistinctEstimate> {
    let found = cells.iter().filter(|cell| cell.records().0 > 0).count() as u64;
    let is_wide = policy.k.get() == 1 || cells.iter().any(|cell| cell.seen() >= DISTINCT_SUBJECTS);
    let value = is_wide.then(|| two_digits(found));
    released(DistinctEstimate { field, regions: vec![(region, value)] }, policy, header)
}

/// A number rounded to two significant digits.
fn two_digits(number: u64) -> u64 {
    let mut step = 1_u64;
    while number / step >= 100 {
        step = step.saturating_mul(10);
    }
    number.saturating_add(step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_significant_digits_are_kept() {
        for (number, rounded) in
            [(0, 0), (7, 7), (99, 99), (100, 100), (104, 100), (105, 110), (995, 1_000), (12_499, 12_000)]
        {
            assert_eq!(two_digits(number), rounded, "{number}");
        }
    }
}
