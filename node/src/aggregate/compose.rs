//! The book and a question -> sums of published cells. Post-processing of what was released, and nothing else: no record,
//! no segment and no clock is looked at here.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::ids::{DictionaryId, Level, Name, TimeRange, Timestamp};
use domicile_proto::leaf::{Table, Tally};
use domicile_proto::message::question::{Ask, Filter as Condition, Question};
use domicile_proto::numbers::{SumTally, Sums};

use super::answer::Asked;
use super::book::{Book, Dictionary, FieldSet, Generation};

/// The fields a question groups or filters by, in rising order. `None` where one is not allowed.
pub(super) fn fields(asked: &Asked) -> Option<FieldSet> {
    let Question { filters, ask, .. } = &asked.question;
    let mut fields = BTreeSet::new();
    if let Some(field) = ask.field() {
        fields.insert(asked.stream.field(field)?.clone());
    }
    if let Some(field) = ask.number() {
        fields.insert(asked.stream.number(field)?.field.clone());
    }
    for condition in filters {
        match condition {
            Condition::Level { .. } => drop(fields.insert(Name::level())),
            Condition::Value { field, .. } => drop(fields.insert(asked.stream.field(*field)?.clone())),
            Condition::Text { .. } | Condition::TextIn { .. } => {}
        }
    }
    Some(fields.into_iter().collect())
}

/// What published cells are added up to.
pub(super) trait Adds: Default + Clone {
    type Table;

    /// The table that answers a question, if it was judged, and the fields its places count.
    fn table<'a>(of: &Of<'a>, generation: &'a Generation, fields: &FieldSet) -> Option<&'a Self::Table>;
    fn fields(asked: &Asked, fields: &FieldSet) -> FieldSet;
    fn put(&mut self, table: &Self::Table, place: usize);
    fn skip(&mut self);
}

/// Of which question and book a table is asked for.
pub(super) struct Of<'a> {
    asked: &'a Asked,
    book: &'a Book,
}

impl Adds for Tally {
    type Table = Table;

    fn table<'a>(_: &Of<'a>, generation: &'a Generation, fields: &FieldSet) -> Option<&'a Table> {
        generation.tables.get(fields)
    }

    fn fields(_: &Asked, fields: &FieldSet) -> FieldSet {
        fields.clone()
    }

    fn put(&mut self, table: &Table, place: usize) {
        self.add(table, place);
    }

    fn skip(&mut self) {
        self.leave_hole();
    }
}

impl Adds for SumTally {
    type Table = Sums;

    /// Sums that were clamped to other bounds than those of now are others.
    fn table<'a>(of: &Of<'a>, generation: &'a Generation, fields: &FieldSet) -> Option<&'a Sums> {
        let number = of.asked.number()?;
        let judged = of.book.dictionaries().get(*generation.fields.get(&number.field)? as usize)?;
        let is_same = matches!(judged, Dictionary::Bounds(bounds) if *bounds == number.bounds);
        generation.sums.get(fields).filter(|_| is_same)
    }

    fn fields(asked: &Asked, fields: &FieldSet) -> FieldSet {
        fields.iter().filter(|field| asked.number().is_none_or(|number| number.field != **field)).cloned().collect()
    }

    fn put(&mut self, table: &Sums, place: usize) {
        self.add(table, place);
    }

    fn skip(&mut self) {
        self.leave_hole();
    }
}

/// The sums that answer a question, row by row: the approved values of its group field and then all others, or one row in
/// all; within a row the cells of its grid, or one cell for the whole range.
pub(super) fn compose<T: Adds>(
    asked: &Asked,
    book: &Book,
    fields: &FieldSet,
    covered: TimeRange,
    closed: TimeRange,
) -> Vec<T> {
    let ask = asked.question.ask;
    let group = ask.field().and_then(|field| asked.stream.field(field));
    let rows = match (group, asked.number()) {
        (Some(group), _) => Rows::Values(group, asked.approved_ids(group)),
        (None, Some(number)) if !matches!(ask, Ask::Sum(_)) => Rows::Between(&number.field, &number.bounds),
        (None, _) => Rows::One,
    };
    let buckets = Buckets { grid: ask.grid(), covered };
    let mut sums = vec![vec![T::default(); buckets.len()]; rows.len()];
    let mut filled = vec![0_i64; buckets.len()];
    let along = T::fields(asked, fields);
    let sieve = Sieve { asked, fields: &along, rows };
    let of = Of { asked, book };
    let mut sifts: BTreeMap<Vec<u32>, Sift> = BTreeMap::new();
    for (start, leaf) in book.inside(closed) {
        let Some(bucket) = buckets.of(start, leaf.width) else { continue };
        if let Some(filled) = filled.get_mut(bucket) {
            *filled += i64::from(leaf.width);
        }
        for generation in &leaf.generations {
            let table = T::table(&of, generation, fields).map(|table| (table, generation));
            add(&sieve, book, table, &mut sifts, sums.iter_mut().filter_map(|row| row.get_mut(bucket)));
        }
    }
    for (bucket, filled) in filled.iter().enumerate() {
        if *filled == 0 || *filled != buckets.seconds() {
            sums.iter_mut().filter_map(|row| row.get_mut(bucket)).for_each(T::skip);
        }
    }
    sums.into_iter().flatten().collect()
}

/// Adds one generation to the rows of one cell of time.
fn add<'a, T: Adds + 'a>(
    sieve: &Sieve<'_>,
    book: &Book,
    table: Option<(&T::Table, &Generation)>,
    sifts: &mut BTreeMap<Vec<u32>, Sift>,
    rows: impl Iterator<Item = &'a mut T>,
) {
    let mut rows: Vec<_> = rows.collect();
    let Some((table, generation)) = table else {
        rows.into_iter().for_each(T::skip);
        return;
    };
    let numbers: Vec<u32> = sieve.fields.iter().filter_map(|name| generation.fields.get(name)).copied().collect();
    let sift = match sifts.entry(numbers) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(new) => {
            let dictionaries: Vec<_> =
                new.key().iter().filter_map(|number| book.dictionaries().get(*number as usize)).collect();
            let sift = sieve.sift(&dictionaries);
            new.insert(sift)
        }
    };
    for (place, row) in &sift.places {
        if let Some(row) = rows.get_mut(*row) {
            row.put(table, *place);
        }
    }
    for row in &sift.holes {
        if let Some(row) = rows.get_mut(*row) {
            row.skip();
        }
    }
}

/// The cells of time of an answer.
pub(super) struct Buckets {
    pub(super) grid: Option<Grid>,
    pub(super) covered: TimeRange,
}

impl Buckets {
    pub(super) fn len(&self) -> usize {
        self.grid.map_or(1, |grid| grid.len as usize)
    }

    /// The cell that a leaf lies in as a whole.
    pub(super) fn of(&self, start: i64, width: u32) -> Option<usize> {
        let Some(grid) = self.grid else { return Some(0) };
        let first = Timestamp(start.saturating_mul(Timestamp::MICROS));
        let last = Timestamp(start.saturating_add(width.into()).saturating_mul(Timestamp::MICROS).saturating_sub(1));
        grid.cell_of(first).filter(|cell| grid.cell_of(last) == Some(*cell))
    }

    /// Length of each.
    pub(super) fn seconds(&self) -> i64 {
        match self.grid {
            Some(grid) => i64::from(grid.step),
            None => self.covered.to.0.saturating_sub(self.covered.from.0).div_euclid(Timestamp::MICROS),
        }
    }
}

/// Which cells of a table belong to which row of an answer.
#[derive(Default)]
struct Sift {
    places: Vec<(usize, usize)>,
    /// Rows whose records cannot be told from others in this table, since their value was approved after it was judged.
    holes: Vec<usize>,
}

/// The rows of an answer.
enum Rows<'a> {
    /// All records in one.
    One,
    /// One for each approved value of a field, and one for all others.
    Values(&'a Name, Vec<DictionaryId>),
    /// One for each bound of a numeric field, and one above them.
    Between(&'a Name, &'a [i64]),
}

impl Rows<'_> {
    fn len(&self) -> usize {
        match self {
            Self::One => 1,
            Self::Values(_, approved) => approved.len() + 1,
            Self::Between(_, bounds) => bounds.len() + 1,
        }
    }
}

struct Sieve<'a> {
    asked: &'a Asked,
    fields: &'a FieldSet,
    rows: Rows<'a>,
}

/// Where a record stands along one field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Id(DictionaryId),
    /// It has a value that had not been approved, or several.
    Other,
    /// A number, by the place of its bound.
    Number(usize),
    None,
}

impl Sieve<'_> {
    fn sift(&self, dictionaries: &[&Dictionary]) -> Sift {
        let mut sift = Sift::default();
        let tests: Vec<Test> =
            self.asked.question.filters.iter().filter_map(|condition| self.test(condition)).collect();
        let is_blind = |test: &Test| self.along(&test.field, dictionaries).is_none_or(|values| test.is_blind(values));
        if tests.iter().any(is_blind) {
            sift.holes = (0..self.rows.len()).collect();
        } else {
            sift.holes = self.unknown_rows(dictionaries);
        }
        let dims: Vec<usize> = dictionaries.iter().map(|values| values.len() + 2).collect();
        for place in 0..dims.iter().product() {
            let slots = slots_of(place, dictionaries);
            let passes = |test: &Test| {
                let mut along = self.fields.iter().zip(&slots).zip(dictionaries);
                along.all(|((name, slot), values)| *name != test.field || test.holds(*slot, values))
            };
            if tests.iter().all(passes)
                && let Some(row) = self.row(&slots, dictionaries)
            {
                sift.places.push((place, row));
            }
        }
        sift
    }

    fn along<'d>(&self, field: &Name, dictionaries: &[&'d Dictionary]) -> Option<&'d Dictionary> {
        self.fields.iter().zip(dictionaries).find(|(name, _)| *name == field).map(|(_, values)| *values)
    }

    /// Rows that a table knows nothing of: values approved since it was judged, or bounds of another policy.
    fn unknown_rows(&self, dictionaries: &[&Dictionary]) -> Vec<usize> {
        match &self.rows {
            Rows::One => Vec::new(),
            Rows::Values(group, approved) => match self.along(group, dictionaries) {
                Some(Dictionary::Ids(ids)) => {
                    let unknown = approved.iter().enumerate().filter(|(_, id)| !ids.contains(id));
                    unknown.map(|(row, _)| row).collect()
                }
                _ => (0..self.rows.len()).collect(),
            },
            Rows::Between(field, bounds) => match self.along(field, dictionaries) {
                Some(Dictionary::Bounds(judged)) if judged == bounds => Vec::new(),
                _ => (0..self.rows.len()).collect(),
            },
        }
    }

    /// The row of a cell; `None` for records without a value of the group field.
    fn row(&self, slots: &[Slot], dictionaries: &[&Dictionary]) -> Option<usize> {
        let of = |field: &Name| self.fields.iter().zip(slots).find(|(name, _)| *name == field).map(|(_, slot)| *slot);
        match &self.rows {
            Rows::One => Some(0),
            Rows::Values(group, approved) => match of(group)? {
                Slot::Other => Some(approved.len()),
                // A value that may not leave any more counts among the others.
                Slot::Id(id) => Some(approved.iter().position(|known| *known == id).unwrap_or(approved.len())),
                Slot::None | Slot::Number(_) => None,
            },
            Rows::Between(field, bounds) => match (of(field)?, self.along(field, dictionaries)?) {
                (Slot::Number(place), Dictionary::Bounds(judged)) if judged == bounds => Some(place),
                _ => None,
            },
        }
    }

    fn test(&self, condition: &Condition) -> Option<Test> {
        match condition {
            Condition::Level { levels, negated } => {
                let wanted = levels.iter().map(|level: &Level| level.dictionary_id()).collect();
                Some(Test { field: Name::level(), wanted, negated: *negated })
            }
            Condition::Value { field, values, negated } => {
                let field = self.asked.stream.field(*field)?.clone();
                // Ids that this region has not approved match nothing.
                let approved = self.asked.approved_ids(&field);
                let wanted = values.iter().copied().filter(|id| approved.contains(id)).collect();
                Some(Test { field, wanted, negated: *negated })
            }
            Condition::Text { .. } | Condition::TextIn { .. } => None,
        }
    }
}

/// A condition on one field.
struct Test {
    field: Name,
    wanted: Vec<DictionaryId>,
    negated: bool,
}

impl Test {
    /// Whether a wanted value had not been approved when the table was judged: its records are among the others.
    fn is_blind(&self, values: &Dictionary) -> bool {
        match values {
            Dictionary::Ids(ids) => self.wanted.iter().any(|id| !ids.contains(id)),
            Dictionary::Bounds(_) => true,
        }
    }

    fn holds(&self, slot: Slot, values: &Dictionary) -> bool {
        match slot {
            Slot::Id(id) => self.wanted.contains(&id) != self.negated,
            Slot::Other => self.negated && !self.is_blind(values),
            Slot::Number(_) => false,
            Slot::None => self.negated,
        }
    }
}

/// Takes a place apart: the last field counts fastest.
fn slots_of(mut place: usize, dictionaries: &[&Dictionary]) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(dictionaries.len());
    for values in dictionaries.iter().rev() {
        let len = values.len();
        let slot = place % (len + 2);
        place /= len + 2;
        slots.push(match values {
            _ if slot > len => Slot::None,
            Dictionary::Ids(ids) => ids.get(slot).map_or(Slot::Other, |id| Slot::Id(*id)),
            Dictionary::Bounds(_) => Slot::Number(slot),
        });
    }
    slots.reverse();
    slots
}
