//! What is searched for, as the node that is asked understood it: dates are instants already, texts are still the caller's own. The
//! node that answers makes tokens of them and judges them for itself.

use std::ops::Bound;

use domicile_proto::ids::{ShardId, TimeRange, Timestamp};

use super::{Reader, VERSION, Writer};
use crate::limits::{MAX_BUCKETS, MAX_CLAUSES, MAX_FILTER_DEPTH, MAX_HITS};
use crate::query::filter::{Filter, Joined, Value};
use crate::query::search::{After, SearchRequest, Sort, TrackTotal};
use crate::query::visit::Budget;

/// A search as it is carried. No `Debug`: the filter may be personal.
pub(crate) struct Carried {
    /// With the budget of the node that reads it.
    pub(crate) request: SearchRequest,
    /// The object `aggs` as JSON text, where something is aggregated.
    pub(crate) aggregations: Option<String>,
    /// What its dates are read against.
    pub(crate) now: Timestamp,
    /// Whether all of it is wanted or nothing.
    pub(crate) is_wanted_whole: bool,
}

impl Carried {
    /// As bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.byte(VERSION);
        write_filter(&mut to, &self.request.filter);
        write_range(&mut to, self.request.range);
        to.byte(match self.request.sort {
            Sort::Newest => 0,
            Sort::Oldest => 1,
            Sort::Score => 2,
        });
        to.count(self.request.size);
        to.option(self.request.after, |to, After { score, time, tie }| {
            to.option(score, |to, score| to.short(score.to_bits()));
            to.long(time.0.cast_unsigned());
            to.option(tie, |to, (shard, seq)| {
                to.long(shard.0);
                to.long(seq);
            });
        });
        match self.request.total {
            TrackTotal::No => to.byte(0),
            TrackTotal::Exact => to.byte(1),
            TrackTotal::UpTo(limit) => {
                to.byte(2);
                to.long(limit);
            }
        }
        to.option(self.aggregations.as_deref(), Writer::text);
        to.long(self.now.0.cast_unsigned());
        to.flag(self.is_wanted_whole);
        to.0
    }

    /// What [`Carried::write`] wrote, if it is that and nothing else, and within the bounds of a search.
    pub(crate) fn read(bytes: &[u8], budget: Budget) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return None;
        }
        let filter = read_filter(&mut from, 1, &mut 0)?;
        let range = read_range(&mut from)?;
        let sort = match from.byte()? {
            0 => Sort::Newest,
            1 => Sort::Oldest,
            2 => Sort::Score,
            _ => return None,
        };
        let size = usize::try_from(from.short()?).ok().filter(|size| *size <= MAX_HITS)?;
        let after = from.option(|from| {
            let score = from.option(|from| from.short().map(f32::from_bits))?;
            let time = Timestamp(from.long()?.cast_signed());
            Some(After { score, time, tie: from.option(|from| Some((ShardId(from.long()?), from.long()?)))? })
        })?;
        let total = match from.byte()? {
            0 => TrackTotal::No,
            1 => TrackTotal::Exact,
            2 => TrackTotal::UpTo(from.long()?),
            _ => return None,
        };
        let aggregations = from.option(Reader::text)?;
        let now = Timestamp(from.long()?.cast_signed());
        let is_wanted_whole = from.flag()?;
        let request = SearchRequest { filter, range, sort, size, after, total, budget };
        from.is_over().then_some(Self { request, aggregations, now, is_wanted_whole })
    }
}

fn write_range(to: &mut Writer, range: TimeRange) {
    to.long(range.from.0.cast_unsigned());
    to.long(range.to.0.cast_unsigned());
}

fn read_range(from: &mut Reader<'_>) -> Option<TimeRange> {
    let mut at = || from.long().map(|micros| Timestamp(micros.cast_signed()));
    Some(TimeRange { from: at()?, to: at()? })
}

fn write_value(to: &mut Writer, value: &Value) {
    match value {
        Value::Text(text) => {
            to.byte(0);
            to.text(text);
        }
        Value::Number(number) => {
            to.byte(1);
            to.long(number.to_bits());
        }
        Value::Whole(whole) => {
            to.byte(2);
            to.long(whole.cast_unsigned());
        }
        Value::Truth(truth) => {
            to.byte(3);
            to.flag(*truth);
        }
    }
}

fn read_value(from: &mut Reader<'_>) -> Option<Value> {
    Some(match from.byte()? {
        0 => Value::Text(from.text()?),
        1 => Value::Number(f64::from_bits(from.long()?)),
        2 => Value::Whole(from.long()?.cast_signed()),
        3 => Value::Truth(from.flag()?),
        _ => return None,
    })
}

fn write_bound(to: &mut Writer, bound: &Bound<Value>) {
    match bound {
        Bound::Unbounded => to.byte(0),
        Bound::Included(value) => {
            to.byte(1);
            write_value(to, value);
        }
        Bound::Excluded(value) => {
            to.byte(2);
            write_value(to, value);
        }
    }
}

fn read_bound(from: &mut Reader<'_>) -> Option<Bound<Value>> {
    Some(match from.byte()? {
        0 => Bound::Unbounded,
        1 => Bound::Included(read_value(from)?),
        2 => Bound::Excluded(read_value(from)?),
        _ => return None,
    })
}

fn write_filter(to: &mut Writer, filter: &Filter) {
    let mut tag = |tag: u8, field: &str| {
        to.byte(tag);
        to.text(field);
    };
    match filter {
        Filter::All => to.byte(0),
        Filter::None => to.byte(1),
        Filter::Term { field, value } => {
            tag(2, field);
            write_value(to, value);
        }
        Filter::Terms { field, values } => {
            tag(3, field);
            to.count(values.len());
            values.iter().for_each(|value| write_value(to, value));
        }
        Filter::Words { field, text, every } => {
            tag(4, field);
            to.text(text);
            to.flag(*every);
        }
        Filter::Phrase { field, text, open } => {
            tag(5, field);
            to.text(text);
            to.flag(*open);
        }
        Filter::Prefix { field, text } => {
            tag(6, field);
            to.text(text);
        }
        Filter::Range { field, from, to: end } => {
            tag(7, field);
            write_bound(to, from);
            write_bound(to, end);
        }
        Filter::Time(range) => {
            to.byte(8);
            write_range(to, *range);
        }
        Filter::Exists { field } => tag(9, field),
        Filter::Bool(joined) => {
            to.byte(10);
            for clauses in [&joined.must, &joined.filter, &joined.should, &joined.must_not] {
                to.count(clauses.len());
                clauses.iter().for_each(|clause| write_filter(to, clause));
            }
            to.option(joined.minimum_should_match, Writer::count);
        }
    }
}

fn read_filter(from: &mut Reader<'_>, depth: usize, clauses: &mut usize) -> Option<Filter> {
    *clauses += 1;
    if depth > MAX_FILTER_DEPTH || *clauses > MAX_CLAUSES {
        return None;
    }
    Some(match from.byte()? {
        0 => Filter::All,
        1 => Filter::None,
        2 => Filter::Term { field: from.text()?, value: read_value(from)? },
        3 => {
            let field = from.text()?;
            let values = from.list(2, read_value)?;
            (values.len() <= MAX_BUCKETS).then_some(Filter::Terms { field, values })?
        }
        4 => Filter::Words { field: from.text()?, text: from.text()?, every: from.flag()? },
        5 => Filter::Phrase { field: from.text()?, text: from.text()?, open: from.flag()? },
        6 => Filter::Prefix { field: from.text()?, text: from.text()? },
        7 => Filter::Range { field: from.text()?, from: read_bound(from)?, to: read_bound(from)? },
        8 => Filter::Time(read_range(from)?),
        9 => Filter::Exists { field: from.text()? },
        10 => {
            let mut list = || from.list(1, |from| read_filter(from, depth + 1, clauses));
            let (must, filter, should, must_not) = (list()?, list()?, list()?, list()?);
            let minimum_should_match = from.option(|from| usize::try_from(from.short()?).ok())?;
            Filter::Bool(Box::new(Joined { must, filter, should, must_not, minimum_should_match }))
        }
        _ => return None,
    })
}
