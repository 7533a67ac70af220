//! What of a closed range is not judged yet -> a draft of the journal's next entry. Reads segments, decides nothing by time: the
//! range it is given is closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::ids::{DictionaryId, KThreshold, Level, Name, TimeRange, Timestamp};
use domicile_proto::leaf::{Counted, LeafCell, MAX_LEAF_CELLS, Table, Threshold};
use domicile_proto::metadata::{NumberField, Personal};
use domicile_proto::noise::{self, Noise};
use domicile_proto::numbers::{self, Sums};

use super::AggregateError;
use super::answer::Asked;
use super::book::{Book, CutRow, Dictionary, Entry, FieldSet, Generation, Noisy, TableRow};
use super::draft::Draft;
use crate::limits::LEAF_CELLS_AT_ONCE;
use crate::query::{Engine, Filter, LeafPlan, Slots, Window};
use crate::segment::Segment;

/// What is judged by, and what is judged.
pub(super) struct Judge<'a> {
    pub(super) engine: &'a Engine,
    pub(super) segments: &'a [Arc<Segment>],
    pub(super) asked: &'a Asked,
    /// Closed, and a whole number of leaves.
    pub(super) closed: TimeRange,
}

/// A generation that lacks the table that is asked for.
pub(super) struct Target {
    start: i64,
    generation: u32,
    window: Window,
    records: u64,
}

/// Targets that are judged alike: width, threshold, and the dictionary of each field.
pub(super) type Alike = (u32, KThreshold, bool, Vec<u32>);

impl Asked {
    /// The smallest group of the stream, and what it counts.
    pub(super) fn threshold(&self) -> Threshold {
        let counted = match self.stream.policy.personal {
            Personal::Subject(_) => Counted::Subjects,
            Personal::No | Personal::Undeclared => Counted::Records,
        };
        Threshold { k: self.policy.release(&self.stream).k, counted }
    }

    /// The ids of a field's values that may leave this region, in rising order. The levels are built in.
    pub(super) fn approved_ids(&self, field: &Name) -> Vec<DictionaryId> {
        if *field == Name::level() {
            return Level::ALL.into_iter().map(Level::dictionary_id).collect();
        }
        self.policy.dictionary(self.stream.tenant, field).approved.keys().copied().collect()
    }

    /// The values a field of a table has from now on: the bounds of the numeric field that is asked for, else approved ids.
    pub(super) fn dictionary(&self, field: &Name) -> Dictionary {
        match self.number().filter(|number| number.field == *field) {
            Some(number) => Dictionary::Bounds(number.bounds.clone()),
            None => Dictionary::Ids(self.approved_ids(field)),
        }
    }

    /// The numeric field that is asked for.
    pub(super) fn number(&self) -> Option<&NumberField> {
        self.question.ask.number().and_then(|field| self.stream.number(field))
    }

    /// The texts of ids; `None` where one is not known any more.
    fn texts(&self, field: &Name, ids: &[DictionaryId]) -> Option<Vec<String>> {
        if *field == Name::level() {
            return Some(Level::ALL.into_iter().map(|level| level.as_str().to_owned()).collect());
        }
        let dictionary = self.policy.dictionary(self.stream.tenant, field);
        ids.iter().map(|id| dictionary.texts.get(id).cloned()).collect()
    }
}

impl Judge<'_> {
    /// Cuts what has become enough, and judges the tables of `fields` that are missing.
    ///
    /// # Errors
    /// [`AggregateError`] where the segments cannot be read in time or the cells are too many.
    pub(super) fn next_entry(&self, book: &mut Book, fields: &FieldSet) -> Result<Draft, AggregateError> {
        let width = self.asked.stream.policy.grid.seconds();
        let threshold = self.asked.threshold();
        let noise = self.asked.stream.policy.noise;
        book.aim(width, threshold, noise);
        self.examine(book, width, threshold)?;
        let mut entry = Entry { version: Entry::VERSION, ..Entry::default() };
        entry.cuts = self.cuts(book, width, threshold);
        if !fields.is_empty() {
            for (alike, targets) in self.targets(book, fields, &mut entry) {
                self.judge(book, fields, alike, targets, &mut entry)?;
            }
        }
        Ok(Draft { entry, noise })
    }

    /// Counts the records that no generation holds, where there may be ones that were not counted yet.
    fn examine(&self, book: &mut Book, width: u32, threshold: Threshold) -> Result<(), AggregateError> {
        let upto = settled(self.segments);
        for (piece, seen) in book.examined.pieces(self.closed) {
            let news: Vec<_> = self.segments.iter().filter(|segment| segment.last_seq > seen).cloned().collect();
            let counted = {
                let book = &*book;
                let windows = move |start: i64| {
                    let after = book.counted_upto(start);
                    if after < upto && !book.is_barred(start, width) {
                        vec![Window { after, upto }]
                    } else {
                        Vec::new()
                    }
                };
                let (fields, filter, is_sampled) = (Vec::new(), Filter::All, self.asked.stream.policy.noise.is_some());
                let plan = LeafPlan { width, fields, threshold, filter, is_sampled, windows: &windows };
                self.engine.tabulate(&news, piece, &plan, &self.asked.budget).map_err(AggregateError::Query)?
            };
            for ((start, _), cells) in counted {
                let pending = book.pending.entry(start).or_default();
                cells.iter().for_each(|cell| pending.cell.merge(cell, &threshold));
                pending.upto = upto;
            }
            book.examined.set(piece, upto);
        }
        Ok(())
    }

    /// The generations that have become large enough.
    fn cuts(&self, book: &Book, width: u32, threshold: Threshold) -> Vec<CutRow> {
        let inside = seconds(self.closed, width);
        let pending = book.pending.range(inside);
        let full = pending.filter(|(start, pending)| pending.cell.fills(&threshold) && !book.is_barred(**start, width));
        let noise = self.asked.stream.policy.noise;
        // With noise a subject counts once in a leaf: whoever comes late is not told of in a second generation.
        let full = full.filter(|(start, _)| noise.is_none() || book.released_upto(**start) == 0);
        let noisy = |start: i64, cell: &LeafCell, noise: Noise| {
            let bounded = noise::bound(std::slice::from_ref(cell), start, &noise, &threshold);
            Noisy { records: bounded.iter().map(|cell| cell.records().0).sum(), noise }
        };
        let cut = |(start, pending): (&i64, &super::book::Pending)| CutRow {
            start: *start,
            width,
            after: book.released_upto(*start),
            upto: pending.upto,
            records: pending.cell.records().0,
            k: threshold.k,
            by_records: threshold.counted == Counted::Records,
            journal: 0,
            noisy: noise.map(|noise| noisy(*start, &pending.cell, noise)),
        };
        full.map(cut).collect()
    }

    /// Generations, cut before or just now, that lack the table of the fields.
    fn targets(&self, book: &Book, fields: &FieldSet, entry: &mut Entry) -> BTreeMap<Alike, Vec<Target>> {
        let mut found: BTreeMap<Alike, Vec<Target>> = BTreeMap::new();
        let mut now: Option<Vec<u32>> = None;
        let mut add = |cut: &CutRow, number: usize, dictionaries: Vec<u32>| {
            let generation = u32::try_from(number).unwrap_or(u32::MAX);
            self.again(&mut found, (cut.start, generation), cut, dictionaries);
        };
        let approved = |entry: &mut Entry, now: &mut Option<Vec<u32>>| {
            let number = |name| book.number_of(&self.asked.dictionary(name), entry);
            now.get_or_insert_with(|| fields.iter().map(number).collect()).clone()
        };
        for (_, leaf) in book.inside(self.closed) {
            for (number, generation) in leaf.generations.iter().enumerate() {
                if generation.tables.contains_key(fields) || !self.may_still_judge(&generation.cut) {
                    continue;
                }
                let standard = approved(entry, &mut now);
                add(&generation.cut, number, dictionaries(generation, fields, standard));
            }
        }
        for cut in entry.cuts.clone() {
            let standard = approved(entry, &mut now);
            let before = book.inside(leaf_range(&cut)).map(|(_, leaf)| leaf.generations.len()).next();
            add(&cut, before.unwrap_or(0), standard);
        }
        found
    }

    /// A generation is judged to its end under the threshold it was cut under. Where the policy has become stricter since,
    /// or counts something else, what was not judged stays withheld; and so where it wants noise and did not, or the other way.
    fn may_still_judge(&self, cut: &CutRow) -> bool {
        let (then, now) = (cut.threshold(), self.asked.threshold());
        let is_alike = cut.noisy.is_some() == self.asked.stream.policy.noise.is_some();
        is_alike && then.counted == now.counted && then.k >= now.k
    }

    /// Adds a generation that was judged before, to judge it again. It was judged as a whole or not at all: against the records
    /// it was cut with.
    pub(super) fn again(
        &self,
        found: &mut BTreeMap<Alike, Vec<Target>>,
        (start, generation): (i64, u32),
        cut: &CutRow,
        dictionaries: Vec<u32>,
    ) {
        let window = Window { after: cut.after, upto: cut.upto };
        let alike = (cut.width, cut.k, cut.by_records, dictionaries);
        found.entry(alike).or_default().push(Target { start, generation, window, records: cut.records });
    }

    /// Judges one table for all targets that are alike.
    pub(super) fn judge(
        &self,
        book: &Book,
        fields: &FieldSet,
        alike: Alike,
        mut targets: Vec<Target>,
        entry: &mut Entry,
    ) -> Result<(), AggregateError> {
        let (width, k, by_records, numbers) = alike;
        let counted = if by_records { Counted::Records } else { Counted::Subjects };
        let threshold = Threshold { k, counted };
        let Some(slots) = self.slots(book, fields, &numbers, entry) else { return Ok(()) };
        let dims: Vec<usize> = slots.iter().map(Slots::cells).collect();
        let numeric = slots.iter().position(Slots::is_numeric);
        let cells = dims.iter().fold(1_usize, |product, dim| product.saturating_mul(*dim));
        if cells > MAX_LEAF_CELLS {
            return Err(AggregateError::TooManyCells);
        }
        targets.sort_by_key(|target| (target.start, target.generation));
        for targets in targets.chunks((LEAF_CELLS_AT_ONCE / 2 / cells).max(1)) {
            let mut by_leaf: BTreeMap<i64, Vec<(Window, &Target)>> = BTreeMap::new();
            targets.iter().for_each(|target| by_leaf.entry(target.start).or_default().push((target.window, target)));
            let windows = |start: i64| by_leaf.get(&start).into_iter().flatten().map(|(window, _)| *window).collect();
            let noise = self.asked.stream.policy.noise;
            let (fields_of, filter, is_sampled) = (slots.clone(), Filter::All, noise.is_some());
            let plan = LeafPlan { width, fields: fields_of, threshold, filter, is_sampled, windows: &windows };
            let range = hull(&by_leaf, width);
            let mut found =
                self.engine.tabulate(self.segments, range, &plan, &self.asked.budget).map_err(AggregateError::Query)?;
            for (start, in_leaf) in &by_leaf {
                for (window, (_, target)) in in_leaf.iter().enumerate() {
                    let measured = found.remove(&(*start, window)).unwrap_or_default();
                    let found: u64 = measured.iter().map(|cell| cell.records().0).sum();
                    let measured = match noise {
                        Some(noise) => noise::bound(&measured, *start, &noise, &threshold),
                        None => measured,
                    };
                    // Where the records of a generation are not those it was cut with (some were erased since), the difference
                    // to what is already released would tell of exactly those: then nothing more is published of it. Where none is
                    // left, as after a deletion, there is nothing to judge.
                    let (table, sums) = if found == target.records && found > 0 {
                        judged(&dims, numeric, &measured, &threshold)?
                    } else {
                        (Table::default(), Sums::default())
                    };
                    entry.tables.push(TableRow {
                        start: *start,
                        generation: target.generation,
                        fields: fields.iter().cloned().zip(numbers.iter().copied()).collect(),
                        cells: table.cells().to_vec(),
                        seen: table.seen().to_vec(),
                        sums: sums.cells().to_vec(),
                    });
                }
            }
        }
        Ok(())
    }

    fn slots(&self, book: &Book, fields: &FieldSet, numbers: &[u32], entry: &Entry) -> Option<Vec<Slots>> {
        let known = book.dictionaries();
        let slots = |(name, number): (&Name, &u32)| {
            let number = *number as usize;
            match known.get(number).or_else(|| entry.dictionaries.get(number.checked_sub(known.len())?))? {
                Dictionary::Ids(ids) => {
                    let texts = self.asked.texts(name, ids)?;
                    let known = texts.into_iter().enumerate().map(|(slot, text)| (text, slot)).collect();
                    Some(Slots { field: name.as_str().to_owned(), known, len: ids.len(), bounds: Vec::new() })
                }
                Dictionary::Bounds(bounds) => Some(Slots::between(name.as_str(), bounds)),
            }
        };
        fields.iter().zip(numbers).map(slots).collect()
    }
}

/// The table of a leaf, and its sums where one of its fields is numeric.
pub(super) fn judged(
    dims: &[usize],
    numeric: Option<usize>,
    measured: &[LeafCell],
    threshold: &Threshold,
) -> Result<(Table, Sums), AggregateError> {
    let judged = match numeric {
        Some(axis) => numbers::judge(dims, axis, measured, threshold),
        None => Table::judge(dims, measured, threshold).map(|table| (table, Sums::default())),
    };
    judged.map_err(AggregateError::Shape)
}

fn dictionaries(generation: &Generation, fields: &FieldSet, standard: Vec<u32>) -> Vec<u32> {
    let fixed = fields.iter().map(|name| generation.fields.get(name).copied());
    fixed.zip(standard).map(|(fixed, standard)| fixed.unwrap_or(standard)).collect()
}

/// Last place up to which no record is missing: a build that failed leaves a gap, and what lies behind it comes later.
pub(super) fn settled(segments: &[Arc<Segment>]) -> u64 {
    let mut upto = None;
    let mut in_order: Vec<_> = segments.iter().collect();
    in_order.sort_unstable_by_key(|segment| segment.first_seq);
    for segment in in_order {
        if upto.is_some_and(|upto| segment.first_seq > upto + 1) {
            break;
        }
        upto = Some(upto.unwrap_or(0).max(segment.last_seq));
    }
    upto.unwrap_or(0)
}

fn leaf_range(cut: &CutRow) -> TimeRange {
    let micros = |second: i64| Timestamp(second.saturating_mul(Timestamp::MICROS));
    TimeRange { from: micros(cut.start), to: micros(cut.start.saturating_add(cut.width.into())) }
}

fn hull<T>(by_leaf: &BTreeMap<i64, T>, width: u32) -> TimeRange {
    let micros = |second: i64| Timestamp(second.saturating_mul(Timestamp::MICROS));
    let first = by_leaf.keys().next().copied().unwrap_or(0);
    let last = by_leaf.keys().next_back().map_or(first, |last| last.saturating_add(width.into()));
    TimeRange { from: micros(first), to: micros(last) }
}

/// The leaves of a range by their starts, in seconds. Its ends lie on the grid, or at the ends of time.
fn seconds(range: TimeRange, width: u32) -> std::ops::Range<i64> {
    let width = i64::from(width);
    let from = range.from.0.div_euclid(Timestamp::MICROS);
    let to = range.to.0.div_euclid(Timestamp::MICROS).saturating_sub(width).saturating_add(1);
    from..to.max(from)
}
