//! The leaf table of a numeric field: counts between its declared bounds, and sums over all of them.
//!
//! The sums are about fewer things than the counts: not about bounds, only about having a number at all. Both are told of the
//! same records, so they are judged together: first whether a record has a number (a table of its own), then the bounds among
//! those that do. A sum must besides not be one person's: nobody may make up more than 85 % of it, and the second largest must
//! not be able to reckon the largest to within 10 % (CBAP-1 rule R8). What is withheld of the sums must together be such a
//! sum as well, or nothing. Pure, as all of [`crate::leaf`].

use std::collections::HashMap;

use crate::border::ShapeError;
use crate::ids::RecordCount;
use crate::leaf::{LeafCell, Lines, MAX_FIELDS, MAX_LEAF_CELLS, Plane, Table, Threshold, complement, line, union};

/// Parts of the declared unit in which numbers are added, so that fractions are not lost one by one.
pub const PARTS: i128 = 1_000;
/// Largest share of a sum that one contributor may have, in hundredths. Source: CBAP-1 rule R8, (1,85).
const DOMINANT: u128 = 85;
/// How near to the largest contribution the rest may be, in hundredths of it. Source: CBAP-1 rule R8, the p%-rule.
const REVEALING: u128 = 10;

/// Who added how much to a sum. Never leaves the region.
#[derive(Clone, Default)]
pub struct Contributions {
    total: i128,
    /// Sizes without their signs, by contributor.
    by: HashMap<u64, u128>,
}

impl Contributions {
    pub(crate) fn add(&mut self, thousandths: i128, by: Option<u64>) -> bool {
        self.total = self.total.saturating_add(thousandths);
        let Some(by) = by else { return false };
        let before = self.by.len();
        let size = self.by.entry(by).or_default();
        *size = size.saturating_add(thousandths.unsigned_abs());
        self.by.len() > before
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.total = self.total.saturating_add(other.total);
        for (by, more) in &other.by {
            let size = self.by.entry(*by).or_default();
            *size = size.saturating_add(*more);
        }
    }

    /// The sum in whole units; `None` beyond what an answer can hold.
    pub fn total(&self) -> Option<i64> {
        let half = PARTS / 2 * self.total.signum();
        i64::try_from(self.total.saturating_add(half) / PARTS).ok()
    }

    /// How much each contributor added, without signs.
    pub(crate) fn by(&self) -> impl Iterator<Item = (u64, u128)> {
        self.by.iter().map(|(by, size)| (*by, *size))
    }

    /// Whether the sum would tell of its largest contributor.
    fn is_one_persons(&self) -> bool {
        let all = self.by.values().fold(0_u128, |sum, size| sum.saturating_add(*size));
        let (first, second) = self.by.values().fold((0, 0), |(first, second), size| match *size {
            size if size > first => (size, first),
            size => (first, second.max(size)),
        });
        let rest = all.saturating_sub(first).saturating_sub(second);
        let is_dominant = first.saturating_mul(100) > all.saturating_mul(DOMINANT);
        let is_revealing = rest.saturating_mul(100) < first.saturating_mul(REVEALING);
        is_dominant || is_revealing
    }
}

/// The published sums of one leaf: place along the other field (0 where there is none), records, sum in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    published: Vec<(u32, u64, i64)>,
}

impl Sums {
    /// The sums that were judged before and kept in the region's own store; as [`Table::reopen`].
    pub fn reopen(published: Vec<(u32, u64, i64)>) -> Option<Self> {
        published.is_sorted_by(|a, b| a.0 < b.0).then_some(Self { published })
    }

    /// The published sums, to be kept in the region's own store.
    pub fn cells(&self) -> &[(u32, u64, i64)] {
        &self.published
    }

    fn at(&self, place: usize) -> Option<(u64, i64)> {
        let place = u32::try_from(place).ok()?;
        let found = self.published.binary_search_by_key(&place, |(place, ..)| *place).ok()?;
        self.published.get(found).map(|(_, records, total)| (*records, *total))
    }
}

/// A sum of published sums, over how many records, and whether something is missing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumTally {
    pub(crate) records: u64,
    pub(crate) total: i128,
    pub(crate) is_whole: bool,
}

impl Default for SumTally {
    /// The empty sum.
    fn default() -> Self {
        Self { records: 0, total: 0, is_whole: true }
    }
}

impl SumTally {
    /// Adds the sum at a place; a withheld one leaves a hole.
    pub fn add(&mut self, sums: &Sums, place: usize) {
        match sums.at(place) {
            Some((records, total)) => self.put(records, total),
            None => self.is_whole = false,
        }
    }

    /// Notes that something is missing.
    pub const fn leave_hole(&mut self) {
        self.is_whole = false;
    }

    /// Adds what was measured of a stream that an officer declared free of personal data; of any other it is a hole.
    pub fn add_measured(&mut self, cell: &LeafCell, threshold: &Threshold) {
        match cell.numbers() {
            _ if threshold.k.get() > 1 => self.is_whole = false,
            None => {}
            Some(numbers) => match numbers.total() {
                Some(total) => self.put(cell.records().0, total),
                None => self.is_whole = false,
            },
        }
    }

    fn put(&mut self, records: u64, total: i64) {
        self.records = self.records.saturating_add(records);
        self.total = self.total.saturating_add(i128::from(total));
    }

    /// Records whose numbers were added up.
    pub const fn records(&self) -> RecordCount {
        RecordCount(self.records)
    }
}

/// Judges the cells of one leaf that have a numeric field. Along it, the last cell is that of records without a number.
///
/// # Errors
/// [`ShapeError`] where the cells are not as many as the values say, or beyond the bounds of a leaf table.
pub fn judge(
    dims: &[usize],
    axis: usize,
    cells: &[LeafCell],
    threshold: &Threshold,
) -> Result<(Table, Sums), ShapeError> {
    let wanted = dims.iter().fold(1_usize, |product, dim| product.saturating_mul(*dim));
    let width = dims.get(axis).copied().unwrap_or(0);
    if wanted != cells.len() || wanted > MAX_LEAF_CELLS || dims.len() > MAX_FIELDS || width < 2 {
        return Err(ShapeError { found: cells.len(), wanted });
    }
    let layout = Layout { rows: wanted / width, bounds: width - 1, is_first: axis == 0 };
    let measured = layout.present(cells);
    let with: Vec<LeafCell> = measured.chunks(layout.bounds).map(|row| union(row.iter().copied(), threshold)).collect();
    let without = (0..layout.rows).filter_map(|row| cells.get(layout.place(row, width - 1)));
    let coarse: Vec<LeafCell> =
        with.iter().zip(without).flat_map(|(with, without)| [with.counted(), without.counted()]).collect();
    let present: Vec<LeafCell> = measured.iter().map(|cell| cell.counted()).collect();
    let has_rows = dims.len() > 1;
    let told = if has_rows { Plane::new(2, &coarse, threshold).judge() } else { line(&coarse, threshold) };
    let told_with: Vec<bool> = told.iter().step_by(2).copied().collect();
    let told_without = told.iter().skip(1).step_by(2).copied();

    let fine = match told_with.first() {
        _ if has_rows => Plane::over(layout.bounds, &present, threshold, Some(Lines::of(&told_with))).judge(),
        Some(true) => line(&present, threshold),
        _ => vec![false; present.len()],
    };
    let mut all = vec![false; cells.len()];
    for (row, without) in told_without.enumerate() {
        let bounds = fine.iter().skip(row * layout.bounds).take(layout.bounds).copied();
        for (slot, told) in bounds.chain([without]).enumerate() {
            if let Some(place) = all.get_mut(layout.place(row, slot)) {
                *place = told;
            }
        }
    }
    Ok((Table::told(cells, &all, threshold), sums(&with, &told_with, threshold)))
}

/// Where the cells of a numeric field lie.
struct Layout {
    rows: usize,
    bounds: usize,
    /// Whether the numeric field counts slowest.
    is_first: bool,
}

impl Layout {
    const fn place(&self, row: usize, slot: usize) -> usize {
        if self.is_first { slot * self.rows + row } else { row * (self.bounds + 1) + slot }
    }

    /// The cells of records that have a number, row by row.
    fn present<'a>(&self, cells: &'a [LeafCell]) -> Vec<&'a LeafCell> {
        let places = (0..self.rows).flat_map(|row| (0..self.bounds).map(move |slot| self.place(row, slot)));
        places.filter_map(|place| cells.get(place)).collect()
    }
}

/// The sums that may be told, of those whose count may be.
fn sums(cells: &[LeafCell], counted: &[bool], threshold: &Threshold) -> Sums {
    let total = |cell: &LeafCell| cell.numbers().and_then(Contributions::total);
    let is_safe = |cell: &LeafCell| {
        let is_one_persons = cell.numbers().is_none_or(Contributions::is_one_persons);
        cell.fills(threshold) && total(cell).is_some() && (threshold.k.get() == 1 || !is_one_persons)
    };
    let told = cells.iter().zip(counted).map(|(cell, counted)| *counted && is_safe(cell)).collect();
    let told = complement(cells, told, threshold, |withheld| !withheld.is_empty() && !is_safe(withheld));
    let places = (0_u32..).zip(cells).zip(told).filter(|(_, told)| *told);
    let published = places.filter_map(|((place, cell), _)| Some((place, cell.records().0, total(cell)?))).collect();
    Sums { published }
}
