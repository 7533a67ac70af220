//! What a record must be like to match: one tree for every way of asking. Knows no segment.

use std::ops::Bound;

use domicile_proto::ids::{TimeRange, Timestamp};

use super::QueryError;
use super::field::Place;
use crate::limits::{MAX_CLAUSES, MAX_FILTER_DEPTH};

/// One value of a clause.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// A whole number.
    Whole(i64),
    /// True or false.
    Truth(bool),
}

impl Value {
    /// As a person would write it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Whole(whole) => whole.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }

    /// As a number, where it is one or reads like one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Number(number) => Some(*number),
            #[allow(clippy::cast_precision_loss, reason = "compared with whole numbers as such first")]
            Self::Whole(whole) => Some(*whole as f64),
            Self::Truth(_) => None,
        }
    }

    /// As a whole number, where it is one or reads like one.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            #[allow(clippy::cast_possible_truncation, reason = "guarded by the bounds")]
            Self::Number(number) => (number.fract() == 0.0 && number.abs() < 9e15).then_some(*number as i64),
            Self::Whole(whole) => Some(*whole),
            Self::Truth(_) => None,
        }
    }

    /// From JSON; `None` for null, lists and objects.
    pub(crate) fn of_json(json: &serde_json::Value) -> Option<Self> {
        match json {
            serde_json::Value::String(text) => Some(Self::Text(text.clone())),
            serde_json::Value::Bool(truth) => Some(Self::Truth(*truth)),
            serde_json::Value::Number(number) => {
                number.as_i64().map(Self::Whole).or_else(|| number.as_f64().map(Self::Number))
            }
            _ => None,
        }
    }
}

/// Clauses joined as Elasticsearch joins them.
#[derive(Clone, Default, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Joined {
    /// All of these, and they count for the score.
    pub(crate) must: Vec<Filter>,
    /// All of these.
    pub(crate) filter: Vec<Filter>,
    /// At least `minimum_should_match` of these.
    pub(crate) should: Vec<Filter>,
    /// None of these.
    pub(crate) must_not: Vec<Filter>,
    /// `None`: one where there is neither `must` nor `filter`, else none.
    pub(crate) minimum_should_match: Option<usize>,
}

/// The tree. No `Debug`: its literals may be personal.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Filter {
    /// Every record.
    All,
    /// No record.
    None,
    /// The field has this value, exactly.
    Term {
        /// The field as it was written.
        field: String,
        /// The value.
        value: Value,
    },
    /// The field has one of these values.
    Terms {
        /// The field as it was written.
        field: String,
        /// The values.
        values: Vec<Value>,
    },
    /// The field holds words of the text.
    Words {
        /// The field as it was written.
        field: String,
        /// The text.
        text: String,
        /// Whether every word must occur, or one is enough.
        every: bool,
    },
    /// The words of the text occur in the field one after another.
    Phrase {
        /// The field as it was written.
        field: String,
        /// The text.
        text: String,
        /// Whether the last word may go on.
        open: bool,
    },
    /// A word (of `message`) or the whole value (of other fields) begins with the text.
    Prefix {
        /// The field as it was written.
        field: String,
        /// The text.
        text: String,
    },
    /// The field lies in a range.
    Range {
        /// The field as it was written; not one of the time.
        field: String,
        /// From here on.
        from: Bound<Value>,
        /// Up to here.
        to: Bound<Value>,
    },
    /// The event happened in this range.
    Time(TimeRange),
    /// The field has any value.
    Exists {
        /// The field as it was written.
        field: String,
    },
    /// Several clauses.
    Bool(Box<Joined>),
}

impl Filter {
    /// A clause on one value.
    pub(crate) fn term(field: &str, value: impl Into<String>) -> Self {
        Self::Term { field: field.to_owned(), value: Value::Text(value.into()) }
    }

    /// A clause on the order of values.
    ///
    /// # Errors
    /// [`QueryError::Malformed`] for a field without an order.
    pub(crate) fn range(field: &str, from: Bound<Value>, to: Bound<Value>) -> Result<Self, QueryError> {
        match Place::of(field) {
            Place::Message | Place::More => Err(QueryError::malformed(
                field,
                "searched by words, a phrase or `begin*`: running text has no order, so a range over it finds nothing",
            )),
            Place::Trace | Place::Id => Err(QueryError::malformed(
                field,
                "searched by its whole value: ids have no order here, so a range over them finds nothing",
            )),
            _ => Ok(Self::Range { field: field.to_owned(), from, to }),
        }
    }

    /// A clause on how words or values begin.
    ///
    /// # Errors
    /// [`QueryError::Malformed`] for a field whose values have no beginning.
    pub(crate) fn prefix(field: &str, text: &str) -> Result<Self, QueryError> {
        match Place::of(field) {
            Place::Trace | Place::Id => Err(QueryError::malformed(
                field,
                "searched by its whole value: of ids only a hash is kept, so their beginning finds nothing",
            )),
            Place::Time => {
                Err(QueryError::malformed(field, "searched by a range or a date: a time has no beginning of its text"))
            }
            _ => Ok(Self::Prefix { field: field.to_owned(), text: text.to_owned() }),
        }
    }

    /// All of the clauses.
    pub(crate) fn every(mut clauses: Vec<Self>) -> Self {
        if clauses.len() > 1 {
            return Self::Bool(Box::new(Joined { must: clauses, ..Joined::default() }));
        }
        clauses.pop().unwrap_or(Self::All)
    }

    /// One of the clauses at least.
    pub(crate) fn any(mut clauses: Vec<Self>) -> Self {
        if clauses.len() > 1 {
            return Self::Bool(Box::new(Joined { should: clauses, ..Joined::default() }));
        }
        clauses.pop().unwrap_or(Self::None)
    }

    /// What the clause does not match.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::All => Self::None,
            Self::None => Self::All,
            other => Self::Bool(Box::new(Joined { must_not: vec![other], ..Joined::default() })),
        }
    }

    /// Checks number and depth of the clauses.
    ///
    /// # Errors
    /// [`QueryError::TooManyClauses`], [`QueryError::TooDeep`].
    pub(crate) fn check_bounds(&self) -> Result<(), QueryError> {
        let mut clauses = 0;
        self.count(1, &mut clauses)
    }

    fn count(&self, depth: usize, clauses: &mut usize) -> Result<(), QueryError> {
        if depth > MAX_FILTER_DEPTH {
            return Err(QueryError::TooDeep);
        }
        *clauses += 1;
        if *clauses > MAX_CLAUSES {
            return Err(QueryError::TooManyClauses);
        }
        if let Self::Terms { values, .. } = self
            && values.len() > crate::limits::MAX_BUCKETS
        {
            return Err(QueryError::TooManyClauses);
        }
        if let Self::Bool(joined) = self {
            for clause in [&joined.must, &joined.filter, &joined.should, &joined.must_not].into_iter().flatten() {
                clause.count(depth + 1, clauses)?;
            }
        }
        Ok(())
    }

    /// Takes out the time that every match lies in, so that whole segments can be passed over: what is left and the time
    /// say together what the filter said.
    pub(crate) fn split_time(self) -> (TimeRange, Self) {
        match self {
            Self::Time(range) => (range, Self::All),
            Self::Bool(mut joined) => {
                let had_required = !joined.must.is_empty() || !joined.filter.is_empty();
                let mut range = TimeRange::ALL;
                for list in [&mut joined.must, &mut joined.filter] {
                    let clauses = std::mem::take(list);
                    for clause in clauses {
                        let (part, rest) = clause.split_time();
                        range = both(range, part);
                        if rest != Self::All {
                            list.push(rest);
                        }
                    }
                }
                if had_required && joined.minimum_should_match.is_none() {
                    // Clauses that were optional stay so when the required ones have gone.
                    joined.minimum_should_match = Some(0);
                }
                let bare = joined.must.is_empty() && joined.filter.is_empty() && joined.must_not.is_empty();
                let optional = joined.should.is_empty() && joined.minimum_should_match.unwrap_or(0) == 0;
                (range, if bare && optional { Self::All } else { Self::Bool(joined) })
            }
            other => (TimeRange::ALL, other),
        }
    }
}

/// What lies in both ranges.
pub(crate) fn both(a: TimeRange, b: TimeRange) -> TimeRange {
    let from = a.from.max(b.from);
    TimeRange { from, to: Timestamp(a.to.0.min(b.to.0).max(from.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange { from: Timestamp(from), to: Timestamp(to) }
    }

    #[test]
    fn the_time_of_required_clauses_is_taken_out() {
        let filter =
            Filter::every(vec![Filter::Time(range(0, 50)), Filter::term("a", "b"), Filter::Time(range(10, 99))]);
        let (time, rest) = filter.split_time();
        assert_eq!(time, range(10, 50));
        assert_eq!(rest.split_time().0, TimeRange::ALL);
        assert_eq!(Filter::any(vec![Filter::Time(range(0, 5)), Filter::All]).split_time().0, TimeRange::ALL);
        assert_eq!(Filter::Time(range(0, 5)).negated().split_time().0, TimeRange::ALL);
        assert_eq!(both(range(0, 5), range(9, 20)), range(9, 9));
    }

    #[test]
    fn optional_clauses_stay_optional_when_the_time_is_taken_out() {
        let joined =
            Joined { filter: vec![Filter::Time(range(0, 5))], should: vec![Filter::None], ..Joined::default() };
        let (_, rest) = Filter::Bool(Box::new(joined)).split_time();
        assert!(matches!(rest, Filter::Bool(joined) if joined.minimum_should_match == Some(0)));
    }

    #[test]
    fn too_many_and_too_deep_clauses_are_refused() {
        let wide = |n| Filter::any((0..n).map(|n| Filter::term("a", n.to_string())).collect());
        assert!(wide(MAX_CLAUSES - 1).check_bounds().is_ok());
        assert!(matches!(wide(MAX_CLAUSES).check_bounds(), Err(QueryError::TooManyClauses)));
        let deep = |n| (1..n).fold(Filter::term("a", "b"), |inner, _| inner.negated());
        assert!(deep(MAX_FILTER_DEPTH).check_bounds().is_ok());
        assert!(matches!(deep(MAX_FILTER_DEPTH + 1).check_bounds(), Err(QueryError::TooDeep)));
    }
}
