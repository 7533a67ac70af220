//! Clauses that columns answer: hashed ids, attributes, and values of `service` and `host` beyond plain equality.
//!
//! Each test is brought to ranges or sets of a column's numbers first (for texts: places in the column's dictionary), then
//! the column is read once. Gives rising lists of documents.

use std::ops::{Bound, Range, RangeInclusive};

use tantivy::columnar::{Column, ColumnType, DynamicColumn, StrColumn};
use tantivy::index::SegmentReader;
use tantivy::{DocId, TantivyError};

use super::QueryError;
use super::filter::Value;
use super::visit::Budget;
use crate::index::token;
use crate::index::words::words_of;
use crate::segment::Segment;

/// What a value of a column must be like.
pub(super) enum Test<'a> {
    Equals(&'a [Value]),
    StartsWith(&'a str),
    /// Words of the text occur: every one, or one of them.
    Holds(&'a [String], bool),
    /// The words occur one after another; the last may go on.
    Phrase(&'a [String], bool),
    Between(Bound<&'a Value>, Bound<&'a Value>),
    Any,
}

impl Test<'_> {
    /// Whether it asks for more of a value than that it is there, or is a certain one.
    pub(super) const fn needs_order(&self) -> bool {
        matches!(self, Self::StartsWith(_) | Self::Between(..))
    }
}

/// Whether a column of this name says of all its values only that they are there: they look like ids or are too long, and
/// stand elsewhere.
pub(super) fn stands_apart(reader: &SegmentReader, column: &str) -> Result<bool, QueryError> {
    let handles = reader.fast_fields().dynamic_column_handles(column)?;
    Ok(!handles.is_empty() && handles.iter().all(|handle| handle.column_type() == ColumnType::DateTime))
}

/// Most different texts of one column that are looked at one by one.
const MAX_TEXTS: usize = 2_000_000;
/// Texts that are gone through between two looks at the time.
const TEXTS_BETWEEN_LOOKS: u64 = 4_096;

/// Documents of the range with a value in one of the columns of this name that passes the test.
pub(super) fn matching(
    reader: &SegmentReader,
    column: &str,
    docs: &Range<DocId>,
    test: &Test<'_>,
    budget: &Budget,
) -> Result<Vec<DocId>, QueryError> {
    let mut found = Vec::new();
    let mut handles = reader.fast_fields().dynamic_column_handles(column)?;
    if matches!(test, Test::Any) {
        handles.extend(reader.fast_fields().dynamic_subpath_column_handles(column)?);
    }
    for handle in handles {
        match handle.open()? {
            DynamicColumn::Str(texts) => in_texts(&texts, docs, test, budget, &mut found)?,
            DynamicColumn::I64(numbers) => in_numbers(&numbers, docs, test, whole_ranges(test, Some), &mut found),
            DynamicColumn::U64(numbers) => {
                in_numbers(&numbers, docs, test, whole_ranges(test, |v| u64::try_from(v).ok()), &mut found);
            }
            DynamicColumn::F64(numbers) => in_numbers(&numbers, docs, test, float_ranges(test), &mut found),
            DynamicColumn::Bool(truths) => in_truths(&truths, docs, test, &mut found),
            // Marks where a value stands that no column holds.
            DynamicColumn::DateTime(marks) if matches!(test, Test::Any) => any_value(&marks, docs, &mut found),
            _ => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Documents of the range with this number in a column of hashed ids: by its table where the segment has one.
pub(super) fn with_id(
    segment: &Segment,
    name: &str,
    docs: &Range<DocId>,
    number: u64,
) -> Result<Vec<DocId>, QueryError> {
    if let Some(mut found) = segment.looked_up(name, number).map_err(TantivyError::from)? {
        found.retain(|doc| docs.contains(doc));
        return Ok(found);
    }
    Ok(with_number(&segment.reader().fast_fields().u64(name)?, docs, number))
}

/// Documents of the range with this number in a column of hashes or places.
pub(super) fn with_number(column: &Column<u64>, docs: &Range<DocId>, number: u64) -> Vec<DocId> {
    let mut found = Vec::new();
    if column.min_value() <= number && number <= column.max_value() {
        column.get_docids_for_value_range(number..=number, docs.clone(), &mut found);
        found.dedup();
    }
    found
}

fn any_value<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(
    column: &Column<T>,
    docs: &Range<DocId>,
    found: &mut Vec<DocId>,
) {
    found.extend(docs.clone().filter(|doc| column.index.has_value(*doc)));
}

fn in_numbers<T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static>(
    column: &Column<T>,
    docs: &Range<DocId>,
    test: &Test<'_>,
    ranges: Vec<RangeInclusive<T>>,
    found: &mut Vec<DocId>,
) {
    if matches!(test, Test::Any) {
        any_value(column, docs, found);
    }
    for range in ranges {
        let mut part = Vec::new();
        column.get_docids_for_value_range(range, docs.clone(), &mut part);
        found.extend(part);
    }
}

/// The ranges of whole numbers that pass.
fn whole_ranges<T: Copy + PartialOrd + Edge>(
    test: &Test<'_>,
    fit: impl Fn(i64) -> Option<T>,
) -> Vec<RangeInclusive<T>> {
    match test {
        Test::Equals(values) => {
            values.iter().filter_map(Value::whole).filter_map(&fit).map(|value| value..=value).collect()
        }
        Test::Between(from, to) => {
            // Bounds between two whole numbers move to the next one inside.
            let low = match from {
                Bound::Unbounded => Some(i64::MIN),
                Bound::Included(value) => value.number().map(|n| edge(n.ceil())),
                Bound::Excluded(value) => value.number().map(|n| edge(n.floor()).saturating_add(1)),
            };
            let high = match to {
                Bound::Unbounded => Some(i64::MAX),
                Bound::Included(value) => value.number().map(|n| edge(n.floor())),
                Bound::Excluded(value) => value.number().map(|n| edge(n.ceil()).saturating_sub(1)),
            };
            let (Some(low), Some(high)) = (low, high) else { return Vec::new() };
            if low > high || high < T::LOWEST {
                return Vec::new();
            }
            let low = fit(low.max(T::LOWEST)).into_iter();
            let high = if high == i64::MAX { Some(T::HIGHEST) } else { fit(high) };
            low.zip(high).map(|(low, high)| low..=high).collect()
        }
        _ => Vec::new(),
    }
}

/// Lowest and highest number of a column's type.
trait Edge {
    const LOWEST: i64;
    const HIGHEST: Self;
}

impl Edge for i64 {
    const LOWEST: Self = Self::MIN;
    const HIGHEST: Self = Self::MAX;
}

impl Edge for u64 {
    const LOWEST: i64 = 0;
    const HIGHEST: Self = Self::MAX;
}

#[allow(clippy::cast_possible_truncation, reason = "a cast of f64 saturates, which is what a bound should do")]
const fn edge(number: f64) -> i64 {
    number as i64
}

fn float_ranges(test: &Test<'_>) -> Vec<RangeInclusive<f64>> {
    match test {
        Test::Equals(values) => values.iter().filter_map(Value::number).map(|value| value..=value).collect(),
        Test::Between(from, to) => {
            let low = match from {
                Bound::Unbounded => Some(f64::MIN),
                Bound::Included(value) => value.number(),
                Bound::Excluded(value) => value.number().map(f64::next_up),
            };
            let high = match to {
                Bound::Unbounded => Some(f64::MAX),
                Bound::Included(value) => value.number(),
                Bound::Excluded(value) => value.number().map(f64::next_down),
            };
            low.zip(high).filter(|(low, high)| low <= high).map(|(low, high)| low..=high).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn in_truths(column: &Column<bool>, docs: &Range<DocId>, test: &Test<'_>, found: &mut Vec<DocId>) {
    let wanted: Vec<bool> = match test {
        Test::Any => return any_value(column, docs, found),
        Test::Equals(values) => values.iter().filter_map(truth).collect(),
        _ => return,
    };
    found.extend(docs.clone().filter(|doc| column.values_for_doc(*doc).any(|value| wanted.contains(&value))));
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Truth(truth) => Some(*truth),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn in_texts(
    column: &StrColumn,
    docs: &Range<DocId>,
    test: &Test<'_>,
    budget: &Budget,
    found: &mut Vec<DocId>,
) -> Result<(), QueryError> {
    let terms = column.num_terms() as u64;
    let places = match test {
        Test::Any => {
            any_value(column.ords(), docs, found);
            return Ok(());
        }
        Test::Equals(values) => {
            let mut places = Vec::new();
            for value in *values {
                places.extend(column.dictionary().term_ord(value.text().as_bytes())?);
            }
            places.sort_unstable();
            places.dedup();
            Places::Some(places)
        }
        // A value is not found by the beginning of a token in it.
        Test::StartsWith(prefix) if token::begun_in(prefix).is_some() => {
            Places::Some(places_by_words(column, test, budget)?)
        }
        Test::StartsWith(prefix) => {
            let after = after_prefix(prefix.as_bytes());
            let to = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            places_between(column, Bound::Included(prefix.as_bytes()), to)?
        }
        Test::Between(from, to) => {
            let texts = (text_bound(from), text_bound(to));
            let (Some(from), Some(to)) = texts else { return Ok(()) };
            let bytes = |bound: &Bound<String>| bound.as_ref().map(|text| text.as_bytes().to_vec());
            let (from, to) = (bytes(&from), bytes(&to));
            places_between(column, from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice))?
        }
        Test::Holds(..) | Test::Phrase(..) => Places::Some(places_by_words(column, test, budget)?),
    };
    match places {
        Places::Between(from, to) if from < to.min(terms) => {
            column.ords().get_docids_for_value_range(from..=to.min(terms) - 1, docs.clone(), found);
        }
        Places::Some(places) if places.len() == 1 => {
            let place = places.first().copied().unwrap_or_default();
            column.ords().get_docids_for_value_range(place..=place, docs.clone(), found);
        }
        Places::Some(places) if !places.is_empty() => {
            let mut wanted = vec![false; column.num_terms()];
            for place in places {
                if let Some(slot) = usize::try_from(place).ok().and_then(|place| wanted.get_mut(place)) {
                    *slot = true;
                }
            }
            let is_wanted = |place: u64| wanted.get(usize::try_from(place).unwrap_or(usize::MAX)) == Some(&true);
            found.extend(docs.clone().filter(|doc| column.ords().values_for_doc(*doc).any(is_wanted)));
        }
        _ => {}
    }
    Ok(())
}

/// Places in a dictionary: from the first on and below the second, or these in rising order.
enum Places {
    Between(u64, u64),
    Some(Vec<u64>),
}

fn places_between(column: &StrColumn, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Places, QueryError> {
    let (from, to) = column.dictionary().term_bounds_to_ord(from, to)?;
    let from = match from {
        Bound::Included(place) => place,
        Bound::Excluded(place) => place.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match to {
        Bound::Included(place) => place.saturating_add(1),
        Bound::Excluded(place) => place,
        Bound::Unbounded => u64::MAX,
    };
    Ok(Places::Between(from, to))
}

/// Texts are compared with texts only: a number as a bound says nothing about them.
fn text_bound(bound: &Bound<&Value>) -> Option<Bound<String>> {
    match bound {
        Bound::Unbounded => Some(Bound::Unbounded),
        Bound::Included(Value::Text(text)) => Some(Bound::Included(text.clone())),
        Bound::Excluded(Value::Text(text)) => Some(Bound::Excluded(text.clone())),
        _ => None,
    }
}

fn places_by_words(column: &StrColumn, test: &Test<'_>, budget: &Budget) -> Result<Vec<u64>, QueryError> {
    if column.num_terms() > MAX_TEXTS {
        return Err(QueryError::TooCostly);
    }
    let mut places = Vec::new();
    let mut stream = column.dictionary().stream()?;
    while stream.advance() {
        if stream.term_ord().is_multiple_of(TEXTS_BETWEEN_LOOKS) {
            budget.check()?;
        }
        let text = std::str::from_utf8(stream.key()).unwrap_or_default();
        let words = words_of(text);
        let passes = match test {
            Test::StartsWith(prefix) => {
                let token = token::begun_in(prefix).and_then(|at| text.get(at..)).and_then(token::at_start);
                token.is_none() && text.starts_with(prefix)
            }
            Test::Holds(wanted, true) => !wanted.is_empty() && wanted.iter().all(|word| words.contains(word)),
            Test::Holds(wanted, false) => wanted.iter().any(|word| words.contains(word)),
            Test::Phrase(wanted, open) => holds_phrase(&words, wanted, *open),
            _ => false,
        };
        if passes {
            places.push(stream.term_ord());
        }
    }
    Ok(places)
}

/// Whether the wanted words stand in the others one after another.
pub(super) fn holds_phrase(words: &[String], wanted: &[String], open: bool) -> bool {
    let Some((last, before)) = wanted.split_last() else { return false };
    words.windows(wanted.len()).any(|window| {
        window.split_last().is_some_and(|(end, start)| {
            start == before && if open { end.starts_with(last.as_str()) } else { end == last }
        })
    })
}

/// The smallest bytes behind everything that begins with the prefix; `None` where there are none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < u8::MAX {
            after.push(last + 1);
            return Some(after);
        }
    }
    None
}
