//! Folding records into the leaf cells of a table: by leaf of time, by place in the shard, by the values of a few fields.
//!
//! Every record falls into exactly one cell: one without a value into the last slot of the field, one with several values
//! or with an unknown one into the slot before it. Sparse in time, so that one record of another century costs one leaf.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::{TimeRange, Timestamp};
use domicile_proto::leaf::{Counted, LeafCell, Threshold};
use domicile_proto::noise;
use tantivy::columnar::Column;

use super::QueryError;
use super::filter::Filter;
use super::groups::{SlotColumns, SlotOf, Slots};
use super::search::Engine;
use super::visit::{Budget, Unit, compiled, units, visit};
use crate::limits::{CONTRIBUTION_BYTES, LEAF_CELLS_AT_ONCE};
use crate::segment::Segment;

/// Records of one leaf that are counted together: those with places above `after` up to `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) after: u64,
    pub(crate) upto: u64,
}

/// How records are folded into leaves.
pub(crate) struct LeafPlan<'a> {
    /// Width of a leaf, in seconds; above 0.
    pub(crate) width: u32,
    /// The fields, in the order of the cells' places; one of them at most is numeric, and its numbers are added up as well.
    pub(crate) fields: Vec<Slots>,
    /// What is counted, and up to where.
    pub(crate) threshold: Threshold,
    /// Which records are counted.
    pub(crate) filter: Filter,
    /// Whether only chosen subjects count in each leaf, and each cell knows with how many records (CBAP-1 rule R11).
    pub(crate) is_sampled: bool,
    /// What is counted of the leaf that begins at this second; windows do not overlap.
    pub(crate) windows: &'a (dyn Fn(i64) -> Vec<Window> + Sync),
}

/// Cells by start of the leaf, in seconds, and number of the window. Cannot be serialised and does not cross.
pub(crate) type LeafCells = BTreeMap<(i64, usize), Vec<LeafCell>>;

impl Slots {
    /// Number of cells along this field: the known values, all others, and none.
    pub(crate) const fn cells(&self) -> usize {
        self.len + 2
    }

    /// Whether it is a numeric field.
    pub(crate) const fn is_numeric(&self) -> bool {
        !self.bounds.is_empty()
    }
}

impl Engine {
    /// Folds all records of the range into leaf cells. Blocks and computes.
    ///
    /// # Errors
    /// [`QueryError`] where the cells are too many, a segment cannot be read or the time is up.
    pub(crate) fn tabulate(
        &self,
        segments: &[Arc<Segment>],
        range: TimeRange,
        plan: &LeafPlan<'_>,
        budget: &Budget,
    ) -> Result<LeafCells, QueryError> {
        let mut whole = LeafCells::new();
        let work = |unit: Unit| Tabulator::new(plan, &unit)?.run(&unit, range, budget);
        let parts = self.each(units(segments, range), budget, work)?;
        for (key, cells) in parts.into_iter().flatten() {
            match whole.entry(key) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(cells)),
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    for (sum, cell) in place.get_mut().iter_mut().zip(&cells) {
                        sum.merge(cell, &plan.threshold);
                    }
                }
            }
        }
        Ok(whole)
    }
}

/// The part of a table that one unit fills.
struct Tabulator<'a> {
    plan: &'a LeafPlan<'a>,
    times: Column<i64>,
    seqs: Column<u64>,
    subjects: Option<Column<u64>>,
    fields: Vec<SlotColumns>,
    cells: usize,
    leaf: Leaf,
    open: Option<((i64, usize), Vec<LeafCell>)>,
    done: LeafCells,
}

/// The leaf the last record fell into.
struct Leaf {
    span: TimeRange,
    start: i64,
    windows: Vec<Window>,
}

impl<'a> Tabulator<'a> {
    fn new(plan: &'a LeafPlan<'a>, unit: &Unit) -> Result<Self, QueryError> {
        let columns = unit.segment.reader().fast_fields();
        let subjects = match plan.threshold.counted {
            Counted::Subjects => Some(columns.u64("subject")?),
            Counted::Records => None,
        };
        let fields: Result<_, _> = plan.fields.iter().map(|slots| SlotColumns::open(slots, unit)).collect();
        Ok(Self {
            plan,
            times: columns.i64("ts")?,
            seqs: columns.u64("seq")?,
            subjects,
            fields: fields?,
            cells: plan.fields.iter().map(Slots::cells).product(),
            leaf: Leaf { span: TimeRange { from: Timestamp(0), to: Timestamp(0) }, start: 0, windows: Vec::new() },
            open: None,
            done: LeafCells::new(),
        })
    }

    fn run(mut self, unit: &Unit, range: TimeRange, budget: &Budget) -> Result<LeafCells, QueryError> {
        let (mut times, mut seqs) = (Vec::new(), Vec::new());
        let mut subjects: Vec<Option<u64>> = Vec::new();
        let mut slots: Vec<Vec<SlotOf>> = vec![Vec::new(); self.fields.len()];
        let numeric = self.plan.fields.iter().position(Slots::is_numeric);
        let mut numbers = Vec::new();
        visit(unit, compiled(&self.plan.filter, unit, false, budget)?, range, budget, &mut |docs| {
            times.resize(docs.len(), 0);
            self.times.values.get_vals(docs, &mut times);
            seqs.resize(docs.len(), 0);
            self.seqs.values.get_vals(docs, &mut seqs);
            subjects.clear();
            subjects.resize(docs.len(), None);
            if let Some(column) = &self.subjects {
                column.first_vals(docs, &mut subjects);
            }
            for (columns, slots) in self.fields.iter().zip(&mut slots) {
                columns.read(docs, slots);
            }
            if let Some(columns) = numeric.and_then(|numeric| self.fields.get(numeric)) {
                columns.numbers(docs, &mut numbers);
            }
            for (at, ((time, seq), subject)) in times.iter().zip(&seqs).zip(&subjects).enumerate() {
                let Some(window) = self.window_of(*time, *seq) else { continue };
                let place = self.place(&slots, at);
                if self.plan.is_sampled {
                    self.sample(window, place, *subject, budget)?;
                    continue;
                }
                self.count(window, place, *subject)?;
                if let Some(number) = numbers.get(at).copied().flatten() {
                    self.add_up(place, number, *subject, *seq, budget)?;
                }
            }
            Ok(true)
        })?;
        self.turn_to(None)?;
        Ok(self.done)
    }

    fn window_of(&mut self, time: i64, seq: u64) -> Option<usize> {
        if !(self.leaf.span.from.0 <= time && time < self.leaf.span.to.0) {
            let width = i64::from(self.plan.width);
            let start = time.div_euclid(width * Timestamp::MICROS) * width;
            let micros = |second: i64| Timestamp(second.saturating_mul(Timestamp::MICROS));
            let span = TimeRange { from: micros(start), to: micros(start.saturating_add(width)) };
            self.leaf = Leaf { span, start, windows: (self.plan.windows)(start) };
        }
        self.leaf.windows.iter().position(|window| window.after < seq && seq <= window.upto)
    }

    /// The cell of a record: the last field counts fastest.
    fn place(&self, slots: &[Vec<SlotOf>], at: usize) -> usize {
        let fields = self.plan.fields.iter().zip(slots);
        fields.fold(0, |place, (field, slots)| {
            let slot = match slots.get(at) {
                Some(SlotOf::One(slot)) => *slot as usize,
                Some(SlotOf::Many) => field.len,
                Some(SlotOf::None) | None => field.len + 1,
            };
            place * field.cells() + slot
        })
    }

    fn count(&mut self, window: usize, place: usize, subject: Option<u64>) -> Result<(), QueryError> {
        let key = (self.leaf.start, window);
        if self.open.as_ref().is_none_or(|(open, _)| *open != key) {
            self.turn_to(Some(key))?;
        }
        if let Some(cell) = self.open.as_mut().and_then(|(_, cells)| cells.get_mut(place)) {
            cell.add(subject, &self.plan.threshold);
        }
        Ok(())
    }

    /// Counts a record whose subject counts in the leaf.
    fn sample(&mut self, window: usize, place: usize, subject: Option<u64>, budget: &Budget) -> Result<(), QueryError> {
        let Some(by) = subject.filter(|by| noise::counts(*by, self.leaf.start, self.plan.width)) else { return Ok(()) };
        self.count(window, place, subject)?;
        let cell = self.open.as_mut().and_then(|(_, cells)| cells.get_mut(place));
        if cell.is_some_and(|cell| cell.add_number(1, Some(by))) {
            budget.gather(CONTRIBUTION_BYTES)?;
        }
        Ok(())
    }

    /// Adds the number of a record that was just counted.
    fn add_up(
        &mut self,
        place: usize,
        number: f64,
        subject: Option<u64>,
        seq: u64,
        budget: &Budget,
    ) -> Result<(), QueryError> {
        let by = match self.plan.threshold.counted {
            _ if self.plan.threshold.k.get() == 1 => None,
            Counted::Subjects => subject,
            Counted::Records => Some(seq),
        };
        let numeric = self.plan.fields.iter().find(|slots| slots.is_numeric());
        let thousandths = numeric.map_or(0, |slots| slots.thousandths(number));
        let cell = self.open.as_mut().and_then(|(_, cells)| cells.get_mut(place));
        if cell.is_some_and(|cell| cell.add_number(thousandths, by)) {
            budget.gather(CONTRIBUTION_BYTES)?;
        }
        Ok(())
    }

    /// Puts the open leaf down and takes another one up.
    fn turn_to(&mut self, key: Option<(i64, usize)>) -> Result<(), QueryError> {
        if let Some((key, cells)) = self.open.take() {
            self.done.insert(key, cells);
        }
        if let Some(key) = key {
            let cells = self.done.remove(&key).unwrap_or_else(|| vec![LeafCell::default(); self.cells]);
            self.open = Some((key, cells));
        }
        if self.done.len().saturating_mul(self.cells) > LEAF_CELLS_AT_ONCE {
            return Err(QueryError::TooManyBuckets);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::{Duration, Instant};

    use domicile_proto::ids::KThreshold;
    use serde_json::json;

    use super::*;
    use crate::index::builder::Layout;
    use crate::segment::specimen::{durable, record, segment};

    #[test]
    fn more_leaf_cells_than_are_held_at_once_are_too_many() {
        let along = 5_000;
        let leaves = LEAF_CELLS_AT_ONCE / (along + 2);
        let tabulated = |leaves: usize| {
            let event =
                |minute: usize| record(minute as i64 * 60_000_000, Some(1), json!({"message": "ok", "level": "INFO"}));
            let records = durable(1, 1, (0..leaves).map(event).collect());
            let fields =
                vec![Slots { field: "level".to_owned(), known: BTreeMap::new(), len: along, bounds: Vec::new() }];
            let threshold = Threshold { k: KThreshold(NonZeroU32::MIN), counted: Counted::Subjects };
            let windows = |_: i64| vec![Window { after: 0, upto: u64::MAX }];
            let filter = Filter::All;
            let plan = LeafPlan { width: 60, fields, threshold, filter, is_sampled: false, windows: &windows };
            let budget = Budget::until(Instant::now() + Duration::from_secs(60));
            let segments = [segment(&Layout::new(), records)];
            Engine::new().unwrap().tabulate(&segments, TimeRange::ALL, &plan, &budget).map(|cells| cells.len())
        };
        assert_eq!(tabulated(leaves).unwrap(), leaves);
        assert!(matches!(tabulated(leaves + 1), Err(QueryError::TooManyBuckets)));
    }
}
