//! Gathering buckets over one stretch of a segment, and merging those of several.
//!
//! Each aggregation numbers its buckets as it meets them and passes the documents on to those below with the number of
//! their bucket: one flat table for each aggregation, whatever the nesting.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use tantivy::columnar::DynamicColumn;
use tantivy::{BitSet, DocId};

use super::numbers::Numbers;
use super::request::{Agg, Dates, Kind, Metric, Terms};
use crate::index::schema::id_hash;
use crate::query::QueryError;
use crate::query::columns::stands_apart;
use crate::query::field::Place;
use crate::query::groups::open_columns;
use crate::query::visit::{Budget, Unit, compiled, visit};
use domicile_proto::ids::{Level, TimeRange};

/// What one aggregation found below one bucket of its parent.
#[derive(Default)]
pub(super) struct Node {
    pub(super) buckets: BTreeMap<Key, Bucket>,
    pub(super) numbers: Numbers,
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) count: u64,
    pub(super) children: Vec<Node>,
}

/// What a bucket stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Start of the bucket, in microseconds.
    Time(i64),
    Whole(i64),
    /// A fraction, as bits that rise with it.
    Fraction(u64),
    Truth(bool),
    Text(String),
    /// Place in the request.
    Place(usize),
}

impl Node {
    /// Takes the buckets of another stretch in; the room of those that were there already is given back.
    pub(super) fn merge(&mut self, other: Self, budget: &Budget) {
        self.numbers.merge(other.numbers, budget);
        for (key, bucket) in other.buckets {
            match self.buckets.entry(key) {
                Entry::Vacant(place) => drop(place.insert(bucket)),
                Entry::Occupied(mut mine) => {
                    budget.give_back(BUCKET_BYTES);
                    let mine = mine.get_mut();
                    mine.count = mine.count.saturating_add(bucket.count);
                    if mine.children.is_empty() {
                        mine.children = bucket.children;
                    } else {
                        for (child, more) in mine.children.iter_mut().zip(bucket.children) {
                            child.merge(more, budget);
                        }
                    }
                }
            }
        }
    }
}

/// One aggregation over one stretch.
pub(super) struct Gatherer<'a> {
    budget: &'a Budget,
    source: Source<'a>,
    table: Table,
    numbers: Vec<Numbers>,
    children: Vec<Self>,
}

/// Where bucket keys or numbers come from.
enum Source<'a> {
    Dates(&'a Dates, tantivy::columnar::Column<i64>, TimeRange),
    Terms(&'a Terms, Vec<DynamicColumn>),
    /// For each filter, which documents of the stretch match; whether there is a bucket for all others.
    Filters(Vec<BitSet>, bool, DocId),
    Ranges(&'a [(String, Option<f64>, Option<f64>)], Vec<DynamicColumn>, Place),
    Metric(&'a Metric, Vec<DynamicColumn>, Place),
}

/// Numbers of buckets by parent and key; a key is the place of a column and a value in it.
#[derive(Default)]
struct Table {
    numbers: HashMap<(u32, u32, u64), u32>,
    /// The same for small values of the first column: `parent * DENSE + value`.
    dense: Vec<u32>,
    last: Option<((u32, u32, u64), u32)>,
    buckets: Vec<((u32, u32, u64), u64)>,
}

const DENSE: u64 = 64;

impl Table {
    #[inline]
    fn number(&mut self, parent: u32, column: u32, value: u64, budget: &Budget) -> Result<u32, QueryError> {
        let key = (parent, column, value);
        if let Some((last, number)) = self.last
            && last == key
        {
            return Ok(self.counted(number));
        }
        let dense = (column == 0 && value < DENSE && parent < 1 << 16).then_some(u64::from(parent) * DENSE + value);
        let dense = dense.and_then(|place| usize::try_from(place).ok());
        if let Some(number) = dense.and_then(|place| self.dense.get(place)).copied().filter(|n| *n != u32::MAX) {
            return Ok(self.counted(number));
        }
        let known = if dense.is_some() { None } else { self.numbers.get(&key).copied() };
        let number = match known {
            Some(number) => number,
            None => {
                let number = u32::try_from(self.buckets.len()).unwrap_or(u32::MAX);
                budget.gather(BUCKET_BYTES)?;
                self.buckets.push((key, 0));
                match dense {
                    Some(place) => {
                        if self.dense.len() <= place {
                            self.dense.resize(place + DENSE as usize, u32::MAX);
                        }
                        if let Some(slot) = self.dense.get_mut(place) {
                            *slot = number;
                        }
                    }
                    None => {
                        self.numbers.insert(key, number);
                    }
                }
                number
            }
        };
        self.last = Some((key, number));
        Ok(self.counted(number))
    }

    #[inline]
    fn counted(&mut self, number: u32) -> u32 {
        if let Some((_, count)) = self.buckets.get_mut(number as usize) {
            *count += 1;
        }
        number
    }
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(agg: &'a Agg, unit: &Unit, budget: &'a Budget) -> Result<Self, QueryError> {
        let columns = |field: &str| {
            let place = Place::of(field);
            if let Place::Attribute(path) = &place
                && stands_apart(unit.segment.reader(), &format!("attributes.{path}"))?
            {
                return Err(QueryError::apart(field));
            }
            open_columns(&place, unit)
        };
        let marked = |filter: &crate::query::Filter| -> Result<BitSet, QueryError> {
            let mut marks = BitSet::with_max_value(unit.docs.end - unit.docs.start);
            let all = TimeRange::ALL;
            visit(unit, compiled(filter, unit, false, budget)?, all, budget, &mut |docs| {
                for doc in docs {
                    marks.insert(doc - unit.docs.start);
                }
                Ok(true)
            })?;
            Ok(marks)
        };
        let source = match &agg.kind {
            Kind::Dates(dates) => {
                let times = unit.segment.reader().fast_fields().i64("ts")?;
                let never = domicile_proto::ids::Timestamp(0);
                Source::Dates(dates, times, TimeRange { from: never, to: never })
            }
            Kind::Terms(terms) => Source::Terms(terms, columns(&terms.field)?),
            Kind::Filters(filters, other) => {
                let marks = filters.iter().map(|(_, filter)| marked(filter)).collect::<Result<_, _>>()?;
                Source::Filters(marks, other.is_some(), unit.docs.start)
            }
            Kind::Filter(filter) => Source::Filters(vec![marked(filter)?], false, unit.docs.start),
            Kind::Ranges(field, ranges, _) => Source::Ranges(ranges, columns(field)?, Place::of(field)),
            Kind::Metric(field, metric) => Source::Metric(metric, columns(field)?, Place::of(field)),
        };
        let children = agg.children.0.iter().map(|(_, child)| Self::new(child, unit, budget));
        let children = children.collect::<Result<_, _>>()?;
        Ok(Self { budget, source, table: Table::default(), numbers: Vec::new(), children })
    }

    /// Takes documents, each with the number of its bucket in the aggregation above.
    pub(super) fn gather(&mut self, docs: &[DocId], parents: &[u32]) -> Result<(), QueryError> {
        let mut out = Out { docs: Vec::with_capacity(docs.len()), numbers: Vec::with_capacity(docs.len()) };
        let (table, budget) = (&mut self.table, self.budget);
        match &mut self.source {
            Source::Dates(dates, column, current) => {
                let mut times = vec![0; docs.len()];
                column.values.get_vals(docs, &mut times);
                for ((doc, parent), time) in docs.iter().zip(parents).zip(times) {
                    if time < current.from.0 || current.to.0 <= time {
                        *current = dates.around(time);
                    }
                    out.push(*doc, table.number(*parent, 0, current.from.0.cast_unsigned(), budget)?);
                }
            }
            Source::Terms(terms, columns) => gather_terms(terms, columns, docs, parents, table, budget, &mut out)?,
            Source::Filters(marks, has_other, start) => {
                for (doc, parent) in docs.iter().zip(parents) {
                    let mut any = false;
                    for (place, marks) in marks.iter().enumerate() {
                        if marks.contains(doc - *start) {
                            any = true;
                            out.push(*doc, table.number(*parent, 0, place as u64, budget)?);
                        }
                    }
                    if *has_other && !any {
                        out.push(*doc, table.number(*parent, 0, marks.len() as u64, budget)?);
                    }
                }
            }
            Source::Ranges(ranges, columns, place) => {
                let mut values = Vec::new();
                for (doc, parent) in docs.iter().zip(parents) {
                    numbers_of(columns, place, *doc, &mut values);
                    for (at, (_, from, to)) in ranges.iter().enumerate() {
                        let inside = |v: &f64| from.is_none_or(|from| from <= *v) && to.is_none_or(|to| *v < to);
                        if values.iter().any(inside) {
                            out.push(*doc, table.number(*parent, 0, at as u64, budget)?);
                        }
                    }
                }
            }
            Source::Metric(metric, columns, place) => {
                return gather_numbers(metric, columns, place, docs, parents, budget, &mut self.numbers);
            }
        }
        for child in &mut self.children {
            child.gather(&out.docs, &out.numbers)?;
        }
        Ok(())
    }

    /// One node for each of the `parents` buckets above.
    pub(super) fn finish(self, parents: usize) -> Result<Vec<Node>, QueryError> {
        let mut nodes: Vec<Node> = Vec::new();
        nodes.resize_with(parents, Node::default);
        for (node, numbers) in nodes.iter_mut().zip(self.numbers) {
            node.numbers = numbers;
        }
        let buckets = self.table.buckets;
        let mut below: Vec<Vec<Node>> = Vec::new();
        below.resize_with(buckets.len(), Vec::new);
        for child in self.children {
            for (children, node) in below.iter_mut().zip(child.finish(buckets.len())?) {
                children.push(node);
            }
        }
        for (((parent, column, value), count), children) in buckets.into_iter().zip(below) {
            let Some(key) = key_of(&self.source, column, value)? else { continue };
            if let Some(node) = nodes.get_mut(parent as usize) {
                let bucket = Bucket { count, children };
                // Two columns may hold the same value (text and number); they are one bucket then.
                let mut one = Node::default();
                one.buckets.insert(key, bucket);
                node.merge(one, self.budget);
            }
        }
        Ok(nodes)
    }
}

/// Documents with the numbers of their buckets.
struct Out {
    docs: Vec<DocId>,
    numbers: Vec<u32>,
}

impl Out {
    #[inline]
    fn push(&mut self, doc: DocId, number: u32) {
        self.docs.push(doc);
        self.numbers.push(number);
    }
}

fn gather_terms(
    terms: &Terms,
    columns: &[DynamicColumn],
    docs: &[DocId],
    parents: &[u32],
    table: &mut Table,
    budget: &Budget,
    out: &mut Out,
) -> Result<(), QueryError> {
    // The usual case: one column with at most one value for a record.
    let only = match columns {
        [DynamicColumn::Str(texts)] => Some(texts.ords()),
        [DynamicColumn::U64(numbers)] => Some(numbers),
        _ => None,
    };
    if let Some(column) = only.filter(|column| !column.get_cardinality().is_multivalue()) {
        let mut values = vec![None; docs.len()];
        column.first_vals(docs, &mut values);
        for ((doc, parent), value) in docs.iter().zip(parents).zip(values) {
            match value {
                Some(value) => out.push(*doc, table.number(*parent, 0, value, budget)?),
                None if terms.missing.is_some() => out.push(*doc, table.number(*parent, MISSING, 0, budget)?),
                None => {}
            }
        }
        return Ok(());
    }
    let mut values = Vec::new();
    for (doc, parent) in docs.iter().zip(parents) {
        values.clear();
        for (place, column) in (0_u32..).zip(columns) {
            raw_values(column, *doc, |value| values.push((place, value)));
        }
        values.sort_unstable();
        values.dedup();
        for (place, value) in &values {
            out.push(*doc, table.number(*parent, *place, *value, budget)?);
        }
        if values.is_empty() && terms.missing.is_some() {
            out.push(*doc, table.number(*parent, MISSING, 0, budget)?);
        }
    }
    Ok(())
}

/// Stands for the column of records without a value.
const MISSING: u32 = u32::MAX;

fn raw_values(column: &DynamicColumn, doc: DocId, mut each: impl FnMut(u64)) {
    match column {
        DynamicColumn::Str(texts) => texts.term_ords(doc).for_each(each),
        DynamicColumn::U64(numbers) => numbers.values_for_doc(doc).for_each(each),
        DynamicColumn::I64(numbers) => numbers.values_for_doc(doc).for_each(|n| each(n.cast_unsigned())),
        DynamicColumn::F64(numbers) => numbers.values_for_doc(doc).for_each(|n| each(tantivy::f64_to_u64(n))),
        DynamicColumn::Bool(truths) => truths.values_for_doc(doc).for_each(|truth| each(u64::from(truth))),
        _ => {}
    }
}

fn key_of(source: &Source<'_>, column: u32, value: u64) -> Result<Option<Key>, QueryError> {
    Ok(match source {
        Source::Dates(..) => Some(Key::Time(value.cast_signed())),
        Source::Filters(..) | Source::Ranges(..) => usize::try_from(value).ok().map(Key::Place),
        Source::Metric(..) => None,
        Source::Terms(terms, _) if column == MISSING => terms.missing.clone().map(Key::Text),
        Source::Terms(terms, columns) => match columns.get(column as usize) {
            Some(DynamicColumn::Str(texts)) => {
                let mut text = String::new();
                texts.ord_to_str(value, &mut text)?.then_some(Key::Text(text))
            }
            Some(DynamicColumn::U64(_)) if Place::of(&terms.field) == Place::Level => {
                Level::from_number(value).map(|level| Key::Text(level.as_str().to_owned()))
            }
            Some(DynamicColumn::U64(_)) => Some(Key::Whole(i64::try_from(value).unwrap_or(i64::MAX))),
            Some(DynamicColumn::I64(_)) => Some(Key::Whole(value.cast_signed())),
            Some(DynamicColumn::F64(_)) => Some(Key::Fraction(value)),
            Some(DynamicColumn::Bool(_)) => Some(Key::Truth(value == 1)),
            _ => None,
        },
    })
}

#[allow(clippy::cast_precision_loss, reason = "metrics reckon in f64, as clients expect")]
fn numbers_of(columns: &[DynamicColumn], place: &Place, doc: DocId, out: &mut Vec<f64>) {
    out.clear();
    for column in columns {
        match column {
            DynamicColumn::I64(numbers) if *place == Place::Time => {
                out.extend(numbers.values_for_doc(doc).map(|micros| micros.div_euclid(1_000) as f64));
            }
            DynamicColumn::I64(numbers) => out.extend(numbers.values_for_doc(doc).map(|n| n as f64)),
            DynamicColumn::U64(numbers) => out.extend(numbers.values_for_doc(doc).map(|n| n as f64)),
            DynamicColumn::F64(numbers) => out.extend(numbers.values_for_doc(doc)),
            DynamicColumn::Bool(truths) => out.extend(truths.values_for_doc(doc).map(|t| f64::from(u8::from(t)))),
            _ => {}
        }
    }
}

fn gather_numbers(
    metric: &Metric,
    columns: &[DynamicColumn],
    place: &Place,
    docs: &[DocId],
    parents: &[u32],
    budget: &Budget,
    numbers: &mut Vec<Numbers>,
) -> Result<(), QueryError> {
    let most = parents.iter().max().map_or(0, |most| *most as usize + 1);
    if numbers.len() < most {
        budget.gather((most - numbers.len()) * BUCKET_BYTES)?;
        numbers.resize_with(most, Numbers::held);
    }
    let mut values = Vec::new();
    let keeps_sketch = matches!(metric, Metric::Percentiles(..));
    let mut texts: HashMap<(usize, u64), u64> = HashMap::new();
    for (doc, parent) in docs.iter().zip(parents) {
        let Some(mine) = numbers.get_mut(*parent as usize) else { continue };
        match metric {
            Metric::Count => {
                columns.iter().for_each(|column| raw_values(column, *doc, |_| mine.count += 1));
            }
            Metric::Cardinality => {
                for (at, column) in columns.iter().enumerate() {
                    let mut raw = Vec::new();
                    raw_values(column, *doc, |value| raw.push(value));
                    for value in raw {
                        let hash = match texts.get(&(at, value)) {
                            Some(hash) => *hash,
                            None => *texts.entry((at, value)).or_insert(hash_of(column, value)?),
                        };
                        if mine.distinct.insert(hash) {
                            budget.gather(DISTINCT_BYTES)?;
                        }
                    }
                }
            }
            _ => {
                numbers_of(columns, place, *doc, &mut values);
                for value in &values {
                    if mine.add(*value, keeps_sketch) {
                        budget.gather(DISTINCT_BYTES)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A hash of a value that is the same in all segments.
fn hash_of(column: &DynamicColumn, value: u64) -> Result<u64, QueryError> {
    Ok(match column {
        DynamicColumn::Str(texts) => {
            let mut text = String::new();
            texts.ord_to_str(value, &mut text)?;
            id_hash("", &text)
        }
        DynamicColumn::F64(_) => id_hash("number", &tantivy::u64_to_f64(value).to_string()),
        DynamicColumn::I64(_) => id_hash("number", &value.cast_signed().to_string()),
        DynamicColumn::Bool(_) => id_hash("truth", &value.to_string()),
        _ => id_hash("number", &value.to_string()),
    })
}

/// What a bucket or a metric of one takes, in bytes: its place in the table, in the tree, and a key of ordinary length.
pub(super) const BUCKET_BYTES: usize = 256;
/// What a distinct value takes, or a step of a sketch, in bytes.
pub(super) const DISTINCT_BYTES: usize = 24;
