//! The leaf table: what a region publishes of one leaf of time, by the values of up to two fields.
//!
//! A leaf is one cell of a stream's time grid. For a set of fields it has one cell for each combination of their values. A
//! cell is published where at least k distinct subjects fill it and complementary suppression spares it (CBAP-1 rules R4, R5
//! and R7). Every answer over allow-listed fields is a [`Tally`] of published cells and of nothing else, so that differences
//! between ranges, values, negations and nested grids hold nothing that the tables do not.
//!
//! The rule of suppression, and why nothing below k can be reckoned from what it leaves, is argued in
//! `docs/decisions/0006-one-released-table.md`. Judging is a pure function of the cells: no order, no clock, no chance.

use serde::{Deserialize, Serialize};

use crate::border::ShapeError;
use crate::ids::{KThreshold, RecordCount};
use crate::numbers::Contributions;

/// Most fields one table may have: with two, suppression is exact; a third would need a solver.
pub const MAX_FIELDS: usize = 2;
/// Most cells one leaf of a table may have.
pub const MAX_LEAF_CELLS: usize = 10_000;

/// Width of the leaf cells that leave a region. Source: CBAP-1 rule R6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LeafWidth {
    /// 60 s: for streams with thousands of records a minute.
    #[default]
    Minute,
    /// 300 s.
    FiveMinutes,
    /// 3,600 s: for streams of which little happens.
    Hour,
}

impl LeafWidth {
    /// In seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
        }
    }

    /// The width of so many seconds; `None` where there is none.
    pub const fn of_seconds(seconds: u32) -> Option<Self> {
        match seconds {
            60 => Some(Self::Minute),
            300 => Some(Self::FiveMinutes),
            3_600 => Some(Self::Hour),
            _ => None,
        }
    }
}

/// How long after its end a cell closes unless the policy says otherwise, in seconds. Long enough for agents that send in batches.
pub const CLOSE_AFTER_S: u32 = 60;

/// What k counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Distinct subjects.
    Subjects,
    /// Records: the stream names no subject.
    Records,
}

/// The smallest group, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The number.
    pub k: KThreshold,
    /// Of what.
    pub counted: Counted,
}

impl Threshold {
    /// Up to how many subjects are told apart: more make no difference to any rule, not even to a union.
    pub fn most_seen(&self) -> u32 {
        self.k.get().saturating_mul(2).max(DISTINCT_SUBJECTS)
    }
}

/// Fewest subjects of which a number of distinct values is told. Source: CBAP-1 rule R9.
pub const DISTINCT_SUBJECTS: u32 = 20;

/// What a region measured for one cell of one leaf. Cannot be serialised, printed or sent.
#[derive(Clone, Default)]
pub struct LeafCell {
    records: u64,
    /// Distinct subjects in rising order, at most [`Threshold::most_seen`] of them.
    subjects: Vec<u64>,
    /// Who added how much to the sum of the numeric field, where there is one.
    numbers: Option<Box<Contributions>>,
}

impl LeafCell {
    /// Counts one record.
    pub fn add(&mut self, subject: Option<u64>, threshold: &Threshold) {
        self.records = self.records.saturating_add(1);
        if let Some(subject) = subject {
            self.add_subject(subject, threshold);
        }
    }

    /// Counts everything of another cell.
    pub fn merge(&mut self, other: &Self, threshold: &Threshold) {
        self.records = self.records.saturating_add(other.records);
        for subject in &other.subjects {
            self.add_subject(*subject, threshold);
        }
        if let Some(numbers) = &other.numbers {
            self.numbers.get_or_insert_default().merge(numbers);
        }
    }

    /// Adds the number of a record that was counted; whether its contributor is new to the cell. `by` is the subject, or the
    /// record itself where records are counted; what belongs to nobody adds to the sum alone.
    pub fn add_number(&mut self, thousandths: i128, by: Option<u64>) -> bool {
        self.numbers.get_or_insert_default().add(thousandths, by)
    }

    /// The same cell without who added how much: where only counts are judged.
    pub(crate) fn counted(&self) -> Self {
        Self { records: self.records, subjects: self.subjects.clone(), numbers: None }
    }

    /// Who added how much.
    pub fn numbers(&self) -> Option<&Contributions> {
        self.numbers.as_deref()
    }

    /// Subjects, or records where those are counted, up to [`Threshold::most_seen`].
    pub fn seen(&self, threshold: &Threshold) -> u32 {
        let found = match threshold.counted {
            Counted::Subjects => self.subjects.len() as u64,
            Counted::Records => self.records,
        };
        u32::try_from(found).unwrap_or(u32::MAX).min(threshold.most_seen())
    }

    fn add_subject(&mut self, subject: u64, threshold: &Threshold) {
        if threshold.counted == Counted::Subjects
            && self.subjects.len() < threshold.most_seen() as usize
            && let Err(place) = self.subjects.binary_search(&subject)
        {
            self.subjects.insert(place, subject);
        }
    }

    /// Records counted so far.
    pub const fn records(&self) -> RecordCount {
        RecordCount(self.records)
    }

    /// Whether it holds no record.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether enough subjects fill it.
    pub fn fills(&self, threshold: &Threshold) -> bool {
        let k = u64::from(threshold.k.get());
        match threshold.counted {
            Counted::Subjects => self.subjects.len() as u64 >= k,
            Counted::Records => self.records >= k,
        }
    }

    /// Whether it holds something, and too little.
    pub(crate) fn is_small(&self, threshold: &Threshold) -> bool {
        !self.is_empty() && !self.fills(threshold)
    }
}

/// The published cells of one leaf for one set of fields. A cell's place counts the last field fastest.
///
/// Holds numbers that may leave the region, and of each how many subjects it is about, up to where a rule asks for it, which
/// stays; [`Table::judge`] makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// In rising order of the places.
    published: Vec<(u32, u64)>,
    /// [`LeafCell::seen`] of each; nothing where it is not known any more.
    seen: Vec<u32>,
}

impl Table {
    /// Judges the cells of one leaf. `dims` has the number of values of each field, none for the total.
    ///
    /// # Errors
    /// [`ShapeError`] where the cells are not as many as the values say, or beyond [`MAX_LEAF_CELLS`] and [`MAX_FIELDS`].
    pub fn judge(dims: &[usize], cells: &[LeafCell], threshold: &Threshold) -> Result<Self, ShapeError> {
        let wanted = dims.iter().fold(1_usize, |product, dim| product.saturating_mul(*dim));
        if wanted != cells.len() || wanted > MAX_LEAF_CELLS || dims.len() > MAX_FIELDS {
            return Err(ShapeError { found: cells.len(), wanted });
        }
        let told = match dims {
            [] => cells.iter().map(|cell| cell.fills(threshold)).collect(),
            [_] => line(cells, threshold),
            [_, columns, ..] => Plane::new(*columns, cells, threshold).judge(),
        };
        Ok(Self::told(cells, &told, threshold))
    }

    /// The cells that are told.
    pub(crate) fn told(cells: &[LeafCell], told: &[bool], threshold: &Threshold) -> Self {
        let places = (0_u32..).zip(cells).zip(told).filter(|(_, told)| **told);
        let told = places.map(|((place, cell), _)| ((place, cell.records), cell.seen(threshold)));
        let (published, seen) = told.unzip();
        Self { published, seen }
    }

    /// The table that was judged before and kept in the region's own store. `None` where the places do not rise: then it
    /// was not written by [`Table::cells`].
    pub fn reopen(published: Vec<(u32, u64)>, seen: Vec<u32>) -> Option<Self> {
        let fits = seen.is_empty() || seen.len() == published.len();
        (fits && published.is_sorted_by(|a, b| a.0 < b.0)).then_some(Self { published, seen })
    }

    /// The published cells with their places, to be kept in the region's own store.
    pub fn cells(&self) -> &[(u32, u64)] {
        &self.published
    }

    /// How many subjects each published cell is about, up to where a rule asks for it: for the region's own store alone.
    pub fn seen(&self) -> &[u32] {
        &self.seen
    }

    fn at(&self, place: usize) -> Option<(u64, u32)> {
        let place = u32::try_from(place).ok()?;
        let found = self.published.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let (_, records) = self.published.get(found)?;
        Some((*records, self.seen.get(found).copied().unwrap_or(0)))
    }
}

/// A sum of published cells, and whether something is missing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    records: u64,
    is_whole: bool,
    /// Most subjects that any one of the cells is known to be about.
    seen: u32,
}

impl Default for Tally {
    /// The empty sum.
    fn default() -> Self {
        Self { records: 0, is_whole: true, seen: 0 }
    }
}

impl Tally {
    /// Adds a cell of a table; a withheld one leaves a hole.
    pub fn add(&mut self, table: &Table, place: usize) {
        match table.at(place) {
            Some((records, seen)) => {
                self.records = self.records.saturating_add(records);
                self.seen = self.seen.max(seen);
            }
            None => self.is_whole = false,
        }
    }

    /// Notes that something is missing.
    pub const fn leave_hole(&mut self) {
        self.is_whole = false;
    }

    /// Records published.
    pub const fn records(&self) -> RecordCount {
        RecordCount(self.records)
    }

    /// Whether nothing is missing.
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Subjects that it is about at least, up to [`Threshold::most_seen`].
    pub(crate) const fn seen(&self) -> u32 {
        self.seen
    }

    /// What was measured of a stream without personal data.
    pub(crate) const fn measured(records: u64) -> Self {
        Self { records, is_whole: true, seen: u32::MAX }
    }
}

/// Judges cells whose sum is published: what is withheld must together be as large as a group, or empty; the smallest
/// published cells are withheld with it until it is.
pub(crate) fn line(cells: &[LeafCell], threshold: &Threshold) -> Vec<bool> {
    let told = cells.iter().map(|cell| cell.fills(threshold)).collect();
    complement(cells, told, threshold, |withheld| withheld.is_small(threshold))
}

/// Withholds the smallest cells that are told until those withheld are together not too little.
pub(crate) fn complement(
    cells: &[LeafCell],
    mut told: Vec<bool>,
    threshold: &Threshold,
    is_too_little: impl Fn(&LeafCell) -> bool,
) -> Vec<bool> {
    loop {
        let withheld = union(cells.iter().zip(&told).filter(|(_, told)| !**told).map(|(cell, _)| cell), threshold);
        if !is_too_little(&withheld) {
            return told;
        }
        let published = cells.iter().enumerate().zip(&told).filter(|(_, told)| **told).map(|(cell, _)| cell);
        let smallest = published.min_by_key(|(place, cell)| (cell.records, *place)).map(|(place, _)| place);
        match smallest.and_then(|place| told.get_mut(place)) {
            Some(told) => *told = false,
            None => return told,
        }
    }
}

pub(crate) fn union<'a>(cells: impl Iterator<Item = &'a LeafCell>, threshold: &Threshold) -> LeafCell {
    let mut sum = LeafCell::default();
    cells.for_each(|cell| sum.merge(cell, threshold));
    sum
}

/// A table of two fields on its way to be judged.
///
/// Lines whose total is withheld are wholly withheld, and count as one line from then on: only their sum is known. Whatever
/// else is withheld lies in a block of rows and columns that is withheld as a whole. Inside such a block nothing smaller than
/// its lines can be reckoned, and each of its lines is as large as a group, or empty.
pub(crate) struct Plane<'a> {
    columns: usize,
    cells: &'a [LeafCell],
    threshold: &'a Threshold,
    rows: Lines,
    cols: Lines,
    /// Cells by group of rows and group of columns.
    merged: Vec<Vec<LeafCell>>,
}

/// The lines of one direction.
pub(crate) struct Lines {
    /// Group of each line.
    group: Vec<usize>,
    /// The group of all lines whose total is withheld, where there are any.
    hidden: Option<usize>,
    /// Whether each group crosses the block.
    in_block: Vec<bool>,
}

impl Lines {
    fn new(totals: &[LeafCell], threshold: &Threshold) -> Self {
        Self::of(&line(totals, threshold))
    }

    /// Lines by whether the total of each is told.
    pub(crate) fn of(told: &[bool]) -> Self {
        let shown = told.iter().filter(|told| **told).count();
        let hidden = (shown < told.len()).then_some(shown);
        let mut next = 0..shown;
        let group = told.iter().map(|told| if *told { next.next().unwrap_or(shown) } else { shown }).collect();
        let groups = shown + usize::from(hidden.is_some());
        let in_block = (0..groups).map(|group| Some(group) == hidden).collect();
        Self { group, hidden, in_block }
    }

    fn crosses(&self, group: usize) -> bool {
        self.in_block.get(group).copied().unwrap_or(true)
    }

    /// Takes a group into the block; whether it was outside.
    fn take(&mut self, group: usize) -> bool {
        self.in_block.get_mut(group).is_some_and(|inside| !std::mem::replace(inside, true))
    }
}

impl<'a> Plane<'a> {
    pub(crate) fn new(columns: usize, cells: &'a [LeafCell], threshold: &'a Threshold) -> Self {
        Self::over(columns, cells, threshold, None)
    }

    /// A plane of which is known already which rows' totals are told.
    pub(crate) fn over(columns: usize, cells: &'a [LeafCell], threshold: &'a Threshold, rows: Option<Lines>) -> Self {
        let count = cells.len().checked_div(columns).unwrap_or(0);
        let mut row_totals = vec![LeafCell::default(); count];
        let mut col_totals = vec![LeafCell::default(); columns];
        for (row, total) in cells.chunks(columns.max(1)).zip(&mut row_totals) {
            for (cell, column) in row.iter().zip(&mut col_totals) {
                total.merge(cell, threshold);
                column.merge(cell, threshold);
            }
        }
        let rows = rows.unwrap_or_else(|| Lines::new(&row_totals, threshold));
        let cols = Lines::new(&col_totals, threshold);
        let mut merged = vec![vec![LeafCell::default(); cols.in_block.len()]; rows.in_block.len()];
        for (row, group) in cells.chunks(columns.max(1)).zip(&rows.group) {
            let Some(into) = merged.get_mut(*group) else { continue };
            for (cell, group) in row.iter().zip(&cols.group) {
                if let Some(into) = into.get_mut(*group) {
                    into.merge(cell, threshold);
                }
            }
        }
        Self { columns, cells, threshold, rows, cols, merged }
    }

    fn at(&self, row: usize, col: usize) -> Option<&LeafCell> {
        self.merged.get(row)?.get(col)
    }

    fn is_small(&self, row: usize, col: usize) -> bool {
        self.at(row, col).is_some_and(|cell| cell.is_small(self.threshold))
    }

    pub(crate) fn judge(mut self) -> Vec<bool> {
        while self.take_small_cells() || self.widen_lines() {}
        let mut told = Vec::with_capacity(self.cells.len());
        for (row, group) in self.cells.chunks(self.columns.max(1)).zip(&self.rows.group) {
            for (cell, column) in row.iter().zip(&self.cols.group) {
                let is_hidden = Some(*group) == self.rows.hidden || Some(*column) == self.cols.hidden;
                let is_inside = self.rows.crosses(*group) && self.cols.crosses(*column);
                told.push(!is_hidden && !is_inside && cell.fills(self.threshold));
            }
        }
        told
    }

    /// Every small cell lies in the block, and so does every small piece of the hidden lines.
    fn take_small_cells(&mut self) -> bool {
        let mut changed = false;
        for row in 0..self.rows.in_block.len() {
            for col in 0..self.cols.in_block.len() {
                if self.is_small(row, col) {
                    changed |= self.rows.take(row);
                    changed |= self.cols.take(col);
                }
            }
        }
        changed
    }

    /// Every line of the block is empty or as large as a group: where one is not, its smallest cell outside joins, and with
    /// it that cell's other line.
    fn widen_lines(&mut self) -> bool {
        let mut changed = false;
        for row in 0..self.rows.in_block.len() {
            if self.rows.crosses(row)
                && let Some(col) =
                    self.lacking(self.cols.in_block.len(), |p, col| (p.cols.crosses(col), p.at(row, col)))
            {
                changed |= self.cols.take(col);
            }
        }
        for col in 0..self.cols.in_block.len() {
            if self.cols.crosses(col)
                && let Some(row) =
                    self.lacking(self.rows.in_block.len(), |p, row| (p.rows.crosses(row), p.at(row, col)))
            {
                changed |= self.rows.take(row);
            }
        }
        changed
    }

    /// What a line of the block must take in, if its part in the block is too small.
    fn lacking<'s>(
        &'s self,
        len: usize,
        look: impl Fn(&'s Self, usize) -> (bool, Option<&'s LeafCell>),
    ) -> Option<usize> {
        let inside = (0..len).filter_map(|at| match look(self, at) {
            (true, cell) => cell,
            (false, _) => None,
        });
        if !union(inside, self.threshold).is_small(self.threshold) {
            return None;
        }
        let outside = (0..len).filter_map(|at| match look(self, at) {
            (false, Some(cell)) if !cell.is_empty() => Some((cell.records, at)),
            _ => None,
        });
        outside.min().map(|(_, at)| at)
    }
}
