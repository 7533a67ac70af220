//! Folding hits into groups: records and distinct subjects by value of one field and cell of time.
//!
//! The layout is the caller's (approved values and a grid), never the data's. Subjects are counted exactly, up to the
//! number from which more make no difference.

use std::collections::BTreeMap;

use domicile_proto::border::Measured;
use domicile_proto::ids::{RecordCount, SubjectCount, TimeRange, Timestamp};
use domicile_proto::numbers::PARTS;
use tantivy::DocId;
use tantivy::columnar::{Column, DynamicColumn};

use super::QueryError;
use super::field::Place;
use super::filter::both;
use super::hits::Hits;
use super::visit::{Unit, compiled, units, visit};
use crate::limits::MAX_BUCKETS;

/// Cells of equal width on the line of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Start of the first cell.
    pub(crate) start: Timestamp,
    /// Width of a cell, in microseconds; above 0.
    pub(crate) step: i64,
    /// Number of cells.
    pub(crate) len: usize,
}

/// The values that have a slot each; every other value falls into the slot behind them.
#[derive(Clone)]
pub(crate) struct Slots {
    /// The field.
    pub(crate) field: String,
    /// Slot by value; all below `len`.
    pub(crate) known: BTreeMap<String, usize>,
    /// Number of slots without the one for all other values.
    pub(crate) len: usize,
    /// Rising upper bounds of a numeric field, as many as slots; what lies above the last falls into the slot behind them.
    /// Empty for a field of values.
    pub(crate) bounds: Vec<i64>,
}

impl Slots {
    /// Slots between the bounds of a numeric field.
    pub(crate) fn between(field: &str, bounds: &[i64]) -> Self {
        Self { field: field.to_owned(), known: BTreeMap::new(), len: bounds.len(), bounds: bounds.to_vec() }
    }

    /// The slot of a number; `None` for one that is none.
    fn of_number(&self, number: f64) -> Option<u32> {
        #[allow(clippy::cast_precision_loss, reason = "bounds beyond 2^53 are no finer than the column's own floats")]
        let below = self.bounds.partition_point(|bound| (*bound as f64) < number);
        if number.is_nan() { None } else { u32::try_from(below).ok() }
    }

    /// A number as it is added up, clamped to the bounds: from 0, or the first bound where that lies below, to the last one.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a cast to i128 saturates; bounds beyond 2^53 are no finer than the column's own floats"
    )]
    pub(super) fn thousandths(&self, number: f64) -> i128 {
        let ends = (self.bounds.first().copied().unwrap_or(0).min(0), self.bounds.last().copied().unwrap_or(0));
        let clamped = number.max(ends.0 as f64).min(ends.1 as f64);
        (clamped * PARTS as f64).round() as i128
    }
}

/// What k counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// Records.
    Rows,
    /// Distinct subjects; a record without a subject adds none.
    Distinct,
}

/// How hits are folded.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Cells of time; `None` is one cell for the whole range.
    pub(crate) grid: Option<Cut>,
    /// Values; `None` is one slot for all records.
    pub(crate) slots: Option<Slots>,
    /// What is counted as a subject.
    pub(crate) subjects: Subjects,
    /// Subjects are counted up to here: more make no difference.
    pub(crate) cap: u32,
}

impl Plan {
    fn cells(&self) -> usize {
        self.grid.map_or(1, |grid| grid.len)
    }

    /// Rows of cells: one for each known value and one for all others, or one in all.
    fn rows(&self) -> usize {
        self.slots.as_ref().map_or(1, |slots| slots.len + 1)
    }
}

/// Records and subjects by slot and cell. Cannot be serialised and does not cross.
pub(crate) struct Groups {
    counts: Vec<u64>,
    /// Empty where records are the subjects.
    subjects: Vec<Few>,
}

impl Groups {
    fn new(plan: &Plan) -> Self {
        let len = plan.cells() * plan.rows();
        let subjects = if plan.subjects == Subjects::Distinct { vec![Few::default(); len] } else { Vec::new() };
        Self { counts: vec![0; len], subjects }
    }

    /// What was measured, slot by slot and within a slot cell by cell.
    pub(crate) fn measured(&self) -> Vec<Measured> {
        let subjects = |place: usize, count: u64| {
            if self.subjects.is_empty() { count } else { self.subjects.get(place).map_or(0, |few| few.0.len() as u64) }
        };
        self.counts
            .iter()
            .enumerate()
            .map(|(place, count)| Measured {
                records: RecordCount(*count),
                subjects: SubjectCount(subjects(place, *count)),
            })
            .collect()
    }

    fn add(&mut self, place: usize, subject: Option<u64>, cap: usize) {
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        if let (Some(few), Some(subject)) = (self.subjects.get_mut(place), subject) {
            few.add(subject, cap);
        }
    }

    fn merge(&mut self, other: &Self, cap: usize) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        for (few, more) in self.subjects.iter_mut().zip(&other.subjects) {
            for subject in &more.0 {
                few.add(*subject, cap);
            }
        }
    }
}

/// Distinct subjects in rising order, up to a cap.
#[derive(Clone, Default)]
struct Few(Vec<u64>);

impl Few {
    fn add(&mut self, subject: u64, cap: usize) {
        if self.0.len() < cap
            && let Err(place) = self.0.binary_search(&subject)
        {
            self.0.insert(place, subject);
        }
    }
}

impl Hits {
    /// Folds all hits (not only the page) into groups.
    ///
    /// # Errors
    /// [`QueryError`] where the groups are too many, a segment cannot be read or the time is up.
    pub(crate) fn fold(&self, plan: &Plan) -> Result<Groups, QueryError> {
        if plan.cells().saturating_mul(plan.rows()) > MAX_BUCKETS {
            return Err(QueryError::TooManyBuckets);
        }
        let range = plan.grid.map_or(self.range, |grid| both(self.range, range_of(grid)));
        let cap = usize::try_from(plan.cap).unwrap_or(usize::MAX);
        let parts = self.engine.each(units(&self.segments, range), &self.budget, |unit| {
            let mut groups = Groups::new(plan);
            Fold::new(plan, &unit, range)?.run(self, &unit, range, &mut groups)?;
            Ok(groups)
        })?;
        let mut whole = Groups::new(plan);
        for part in &parts {
            whole.merge(part, cap);
        }
        Ok(whole)
    }
}

fn range_of(grid: Cut) -> TimeRange {
    let len = i64::try_from(grid.len).unwrap_or(i64::MAX);
    let to = grid.start.0.saturating_add(grid.step.saturating_mul(len));
    TimeRange { from: grid.start, to: Timestamp(to) }
}

/// The columns one unit is folded with.
struct Fold<'a> {
    plan: &'a Plan,
    times: Option<(Column<i64>, Cut)>,
    slots: Option<SlotColumns>,
    subjects: Option<Column<u64>>,
}

impl<'a> Fold<'a> {
    fn new(plan: &'a Plan, unit: &Unit, _: TimeRange) -> Result<Self, QueryError> {
        let columns = unit.segment.reader().fast_fields();
        Ok(Self {
            plan,
            times: match plan.grid {
                Some(grid) => Some((columns.i64("ts")?, grid)),
                None => None,
            },
            slots: match &plan.slots {
                Some(slots) => Some(SlotColumns::open(slots, unit)?),
                None => None,
            },
            subjects: match plan.subjects {
                Subjects::Distinct => Some(columns.u64("subject")?),
                Subjects::Rows => None,
            },
        })
    }

    fn run(&self, hits: &Hits, unit: &Unit, range: TimeRange, groups: &mut Groups) -> Result<(), QueryError> {
        let cap = usize::try_from(self.plan.cap).unwrap_or(usize::MAX);
        let cells = self.plan.cells();
        let mut times = Vec::new();
        let mut clock = self.times.as_ref().map(|(_, grid)| CellClock::new(*grid));
        let mut slots = Vec::new();
        let mut seen = Vec::new();
        let mut subjects: Vec<Option<u64>> = Vec::new();
        visit(unit, compiled(&hits.filter, unit, false, &hits.budget)?, range, &hits.budget, &mut |docs| {
            if let Some((column, _)) = &self.times {
                times.resize(docs.len(), 0);
                column.values.get_vals(docs, &mut times);
            }
            subjects.clear();
            subjects.resize(docs.len(), None);
            if let Some(column) = &self.subjects {
                column.first_vals(docs, &mut subjects);
            }
            if let Some(columns) = &self.slots {
                columns.read(docs, &mut slots);
            }
            for (at, (doc, subject)) in docs.iter().zip(&subjects).enumerate() {
                let cell = match &mut clock {
                    Some(clock) => times.get(at).and_then(|time| clock.cell_of(*time)),
                    None => Some(0),
                };
                let Some(cell) = cell else { continue };
                match &self.slots {
                    None => groups.add(cell, *subject, cap),
                    Some(columns) => match slots.get(at).copied() {
                        Some(SlotOf::One(slot)) => groups.add(slot as usize * cells + cell, *subject, cap),
                        Some(SlotOf::Many) => {
                            columns.read_all(*doc, &mut seen);
                            for slot in &seen {
                                groups.add(*slot as usize * cells + cell, *subject, cap);
                            }
                        }
                        Some(SlotOf::None) | None => {}
                    },
                }
            }
            Ok(true)
        })
    }
}

/// Finds the cell of an instant; remembers the last one, since records come nearly in order.
pub(super) struct CellClock {
    grid: Cut,
    cell: usize,
    from: i64,
    to: i64,
}

impl CellClock {
    pub(super) const fn new(grid: Cut) -> Self {
        Self { grid, cell: 0, from: 0, to: 0 }
    }

    #[inline]
    pub(super) fn cell_of(&mut self, time: i64) -> Option<usize> {
        if self.from <= time && time < self.to {
            return Some(self.cell);
        }
        let offset = time.checked_sub(self.grid.start.0)?.div_euclid(self.grid.step);
        let cell = usize::try_from(offset).ok().filter(|cell| *cell < self.grid.len)?;
        self.cell = cell;
        self.from = self.grid.start.0.saturating_add(offset.saturating_mul(self.grid.step));
        self.to = self.from.saturating_add(self.grid.step);
        Some(cell)
    }
}

/// The slots of one document.
#[derive(Clone, Copy)]
pub(super) enum SlotOf {
    /// It has no value.
    None,
    One(u32),
    /// It has several values.
    Many,
}

/// Columns that give the values of a group field; the first with a value for a document speaks for it.
pub(super) struct SlotColumns {
    sources: Vec<(DynamicColumn, Vec<u32>)>,
    other: u32,
    /// The bounds, for a numeric field.
    between: Option<Slots>,
}

impl SlotColumns {
    pub(super) fn open(slots: &Slots, unit: &Unit) -> Result<Self, QueryError> {
        let other = u32::try_from(slots.len).unwrap_or(u32::MAX);
        let slot = |value: &str| slots.known.get(value).and_then(|slot| u32::try_from(*slot).ok()).unwrap_or(other);
        let mut sources = Vec::new();
        for column in open_columns(&Place::of(&slots.field), unit)? {
            let map = match &column {
                DynamicColumn::Str(texts) => {
                    let mut map = vec![other; texts.num_terms()];
                    for value in slots.known.keys() {
                        let place = texts.dictionary().term_ord(value.as_bytes())?;
                        let place = place.and_then(|place| usize::try_from(place).ok());
                        if let Some(entry) = place.and_then(|place| map.get_mut(place)) {
                            *entry = slot(value);
                        }
                    }
                    map
                }
                DynamicColumn::U64(_) if Place::of(&slots.field) == Place::Level => {
                    domicile_proto::ids::Level::ALL.map(|level| slot(level.as_str())).to_vec()
                }
                _ => Vec::new(),
            };
            sources.push((column, map));
        }
        let between = (!slots.bounds.is_empty()).then(|| slots.clone());
        Ok(Self { sources, other, between })
    }

    /// The slots of a block of documents.
    pub(super) fn read(&self, docs: &[DocId], out: &mut Vec<SlotOf>) {
        out.clear();
        out.resize(docs.len(), SlotOf::None);
        if let Some(slots) = &self.between {
            self.read_numbers(slots, docs, out);
            return;
        }
        for (column, map) in &self.sources {
            let numbers = match column {
                DynamicColumn::Str(texts) => texts.ords(),
                DynamicColumn::U64(numbers) => numbers,
                _ => {
                    for (doc, slot) in docs.iter().zip(out.iter_mut()) {
                        if matches!(slot, SlotOf::None) && column.column_index().has_value(*doc) {
                            *slot = SlotOf::One(self.other);
                        }
                    }
                    continue;
                }
            };
            let is_multi = numbers.get_cardinality().is_multivalue();
            let mut values = vec![None; docs.len()];
            numbers.first_vals(docs, &mut values);
            for ((doc, slot), value) in docs.iter().zip(out.iter_mut()).zip(values) {
                if let (SlotOf::None, Some(value)) = (&slot, value) {
                    let many = is_multi && numbers.index.value_row_ids(*doc).len() > 1;
                    *slot = if many { SlotOf::Many } else { SlotOf::One(self.slot_at(map, value)) };
                }
            }
        }
    }

    /// The slots of a numeric field.
    fn read_numbers(&self, slots: &Slots, docs: &[DocId], out: &mut [SlotOf]) {
        let mut found = Vec::new();
        self.numbers(docs, &mut found);
        for (number, slot) in found.iter().zip(out) {
            if let Some(place) = number.and_then(|number| slots.of_number(number)) {
                *slot = SlotOf::One(place);
            }
        }
    }

    /// The first number of each document.
    pub(super) fn numbers(&self, docs: &[DocId], out: &mut Vec<Option<f64>>) {
        out.clear();
        out.resize(docs.len(), None);
        for (column, _) in &self.sources {
            for (doc, found) in docs.iter().zip(out.iter_mut()) {
                #[allow(clippy::cast_precision_loss, reason = "as for the bounds")]
                let number = match column {
                    DynamicColumn::I64(numbers) => numbers.first(*doc).map(|number| number as f64),
                    DynamicColumn::U64(numbers) => numbers.first(*doc).map(|number| number as f64),
                    DynamicColumn::F64(numbers) => numbers.first(*doc),
                    _ => None,
                };
                if found.is_none() {
                    *found = number.filter(|number| !number.is_nan());
                }
            }
        }
    }

    fn slot_at(&self, map: &[u32], value: u64) -> u32 {
        usize::try_from(value).ok().and_then(|value| map.get(value)).copied().unwrap_or(self.other)
    }

    /// Every slot of a document with several values, each once.
    fn read_all(&self, doc: DocId, out: &mut Vec<u32>) {
        out.clear();
        for (column, map) in &self.sources {
            let numbers = match column {
                DynamicColumn::Str(texts) => texts.ords(),
                DynamicColumn::U64(numbers) => numbers,
                _ => continue,
            };
            out.extend(numbers.values_for_doc(doc).map(|value| self.slot_at(map, value)));
            if !out.is_empty() {
                break;
            }
        }
        out.sort_unstable();
        out.dedup();
    }
}

/// The columns that hold the values of a field, the one that speaks first in front.
pub(super) fn open_columns(place: &Place, unit: &Unit) -> Result<Vec<DynamicColumn>, QueryError> {
    let columns = unit.segment.reader().fast_fields();
    let names = match place {
        Place::Time => vec!["ts".to_owned()],
        Place::Level => vec!["level".to_owned()],
        Place::Service(None) => vec!["service".to_owned()],
        Place::Service(Some(path)) => vec![format!("attributes.{path}"), "service".to_owned()],
        Place::Host(None) => vec!["host".to_owned()],
        Place::Host(Some(path)) => vec![format!("attributes.{path}"), "host".to_owned()],
        Place::Attribute(path) => vec![format!("attributes.{path}")],
        Place::Trace => vec!["trace".to_owned()],
        Place::Id => vec!["seq".to_owned()],
        Place::Message | Place::More => Vec::new(),
    };
    let mut opened = Vec::new();
    for name in names {
        for handle in columns.dynamic_column_handles(&name)? {
            opened.push(handle.open()?);
        }
    }
    Ok(opened)
}
