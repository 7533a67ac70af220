//! The object `aggs` of a search, read. What is not known is refused by its name.

use std::ops::Bound;

use domicile_proto::ids::{TimeRange, Timestamp};
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use crate::limits::{MAX_AGGREGATIONS, MAX_BUCKETS, MAX_FILTER_DEPTH};
use crate::query::dates::{DateContext, Unit, duration, zone_of};
use crate::query::filter::{Filter, Value};
use crate::query::{Literals, QueryError, elastic};

/// Aggregations by name, in the order they were asked for.
#[derive(Clone, Default)]
pub(crate) struct Aggs(pub(super) Vec<(String, Agg)>);

#[derive(Clone)]
pub(super) struct Agg {
    pub(super) kind: Kind,
    pub(super) children: Aggs,
}

#[derive(Clone)]
pub(super) enum Kind {
    Dates(Dates),
    Terms(Terms),
    /// Filters by name; the name of the bucket for everything else.
    Filters(Vec<(String, Filter)>, Option<String>),
    Filter(Filter),
    /// Ranges of a numeric field: name, from, to; and whether they are told by their names.
    Ranges(String, Vec<(String, Option<f64>, Option<f64>)>, bool),
    Metric(String, Metric),
}

#[derive(Clone)]
pub(super) enum Metric {
    Count,
    Cardinality,
    Min,
    Max,
    Avg,
    Sum,
    Stats,
    /// And whether they are told by their names.
    Percentiles(Vec<f64>, bool),
}

/// A date histogram.
#[derive(Clone)]
pub(super) struct Dates {
    pub(super) width: Width,
    pub(super) offset: i64,
    pub(super) zone: TimeZone,
    pub(super) min_count: u64,
    /// First and last instant that must have a bucket.
    pub(super) bounds: Option<(Timestamp, Timestamp)>,
    pub(super) descending: bool,
    pub(super) format: Option<String>,
    pub(super) keyed: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Width {
    /// In microseconds.
    Fixed(i64),
    Calendar(Unit),
}

impl Dates {
    /// The bucket around an instant.
    pub(super) fn around(&self, at: i64) -> TimeRange {
        let moved = Timestamp(at.saturating_sub(self.offset));
        let back = |at: Timestamp| Timestamp(at.0.saturating_add(self.offset));
        match self.width {
            Width::Fixed(step) => {
                let zone = jiff::Timestamp::from_microsecond(moved.0)
                    .map_or(0, |at| i64::from(self.zone.to_offset(at).seconds()) * Timestamp::MICROS);
                let local = moved.0.saturating_add(zone);
                let from = local.div_euclid(step).saturating_mul(step).saturating_sub(zone);
                TimeRange { from: back(Timestamp(from)), to: back(Timestamp(from.saturating_add(step))) }
            }
            Width::Calendar(unit) => {
                // Beyond the calendar there is one bucket for each instant.
                let one = TimeRange { from: moved, to: Timestamp(moved.0.saturating_add(1)) };
                let found = unit.around(moved, &self.zone).unwrap_or(one);
                TimeRange { from: back(found.from), to: back(found.to) }
            }
        }
    }
}

/// A terms aggregation.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) field: String,
    pub(super) size: usize,
    pub(super) order: Vec<(Order, bool)>,
    pub(super) missing: Option<String>,
    pub(super) min_count: u64,
}

/// What buckets are ordered by; the flag beside it says "descending".
#[derive(Clone, PartialEq)]
pub(super) enum Order {
    Count,
    Key,
    /// The value of a metric below.
    Metric(String),
}

impl Aggs {
    /// Reads the object `aggs` (or `aggregations`).
    ///
    /// # Errors
    /// [`QueryError`] names the aggregation or option that is not known or not well-formed.
    pub(crate) fn read(json: &Json, dates: &DateContext) -> Result<Self, QueryError> {
        let aggs = read(json, dates, 0)?;
        let (all, parts) = aggs.size();
        if all > MAX_AGGREGATIONS || parts > MAX_AGGREGATIONS {
            return Err(QueryError::TooManyAggregations);
        }
        Ok(aggs)
    }

    /// With the texts of their filters as they stand in the records.
    ///
    /// # Errors
    /// [`QueryError::Personal`] for a text that the key may not look for.
    pub(crate) fn in_filters(self, literals: &Literals<'_>) -> Result<Self, QueryError> {
        let one = |(name, Agg { kind, children }): (String, Agg)| {
            let kind = match kind {
                Kind::Filter(filter) => Kind::Filter(literals.in_filter(filter)?),
                Kind::Filters(filters, other) => {
                    let read = filters.into_iter().map(|(name, filter)| Ok((name, literals.in_filter(filter)?)));
                    Kind::Filters(read.collect::<Result<_, QueryError>>()?, other)
                }
                Kind::Terms(terms) => {
                    literals.field(&terms.field)?;
                    Kind::Terms(terms)
                }
                Kind::Ranges(ref field, ..) | Kind::Metric(ref field, _) => {
                    literals.field(field)?;
                    kind
                }
                Kind::Dates(_) => kind,
            };
            Ok((name, Agg { kind, children: children.in_filters(literals)? }))
        };
        Ok(Self(self.0.into_iter().map(one).collect::<Result<_, QueryError>>()?))
    }

    /// How many aggregations there are, and how many filters and ranges in them.
    fn size(&self) -> (usize, usize) {
        self.0.iter().fold((0, 0), |(all, parts), (_, agg)| {
            let (below, below_parts) = agg.children.size();
            let own = match &agg.kind {
                Kind::Filters(filters, _) => filters.len(),
                Kind::Ranges(_, ranges, _) => ranges.len(),
                Kind::Filter(_) => 1,
                Kind::Dates(_) | Kind::Terms(_) | Kind::Metric(..) => 0,
            };
            (all + 1 + below, parts + own + below_parts)
        })
    }

    /// Whether there is nothing to aggregate.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn read(json: &Json, dates: &DateContext, depth: usize) -> Result<Aggs, QueryError> {
    if depth >= MAX_FILTER_DEPTH {
        return Err(QueryError::TooDeep);
    }
    let object = json.as_object().ok_or_else(|| QueryError::malformed("aggs", "an object of named aggregations"))?;
    let mut aggs = Vec::new();
    for (name, body) in object {
        let body = body.as_object().ok_or_else(|| QueryError::malformed(name.as_str(), "an aggregation"))?;
        let mut kind = None;
        let mut children = Aggs::default();
        for (key, value) in body {
            match key.as_str() {
                "aggs" | "aggregations" => children = read(value, dates, depth + 1)?,
                "meta" => {}
                _ if kind.is_some() => return Err(QueryError::malformed(name.as_str(), "one aggregation")),
                _ => kind = Some(kind_of(key, value, dates)?),
            }
        }
        let kind = kind.ok_or_else(|| QueryError::malformed(name.as_str(), "an aggregation"))?;
        if matches!(kind, Kind::Metric(..)) && !children.is_empty() {
            return Err(QueryError::malformed(name.as_str(), "without aggregations below: a metric has none"));
        }
        aggs.push((name.clone(), Agg { kind, children }));
    }
    Ok(Aggs(aggs))
}

fn kind_of(key: &str, body: &Json, dates: &DateContext) -> Result<Kind, QueryError> {
    let options = Options { name: key, body: body.as_object().ok_or_else(|| QueryError::malformed(key, "an object"))? };
    let metric = |metric| -> Result<Kind, QueryError> {
        options.only(&["field", "precision_threshold", "format", "percents", "keyed", "tdigest", "hdr"])?;
        Ok(Kind::Metric(options.field()?, metric))
    };
    match key {
        "date_histogram" => dates_of(&options, dates).map(Kind::Dates),
        "terms" => terms_of(&options).map(Kind::Terms),
        "filters" => filters_of(&options, dates),
        "filter" => Ok(Kind::Filter(elastic::filter(body, dates)?)),
        "range" => ranges_of(&options),
        "value_count" => metric(Metric::Count),
        "cardinality" => metric(Metric::Cardinality),
        "min" => metric(Metric::Min),
        "max" => metric(Metric::Max),
        "avg" => metric(Metric::Avg),
        "sum" => metric(Metric::Sum),
        "stats" => metric(Metric::Stats),
        "percentiles" => {
            let percents = match options.body.get("percents") {
                None => vec![1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0],
                Some(percents) => {
                    let wrong = || QueryError::malformed("percents", "a list of numbers from 0 to 100");
                    let list = percents.as_array().ok_or_else(wrong)?.iter();
                    list.map(|p| p.as_f64().filter(|p| (0.0..=100.0).contains(p)).ok_or_else(wrong))
                        .collect::<Result<_, _>>()?
                }
            };
            let keyed = options.body.get("keyed").and_then(Json::as_bool).unwrap_or(true);
            metric(Metric::Percentiles(percents, keyed))
        }
        _ => Err(QueryError::unknown("aggregation", key)),
    }
}

/// The body of one aggregation.
struct Options<'a> {
    name: &'a str,
    body: &'a Map<String, Json>,
}

impl Options<'_> {
    fn only(&self, known: &[&str]) -> Result<(), QueryError> {
        match self.body.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(QueryError::unknown("option of an aggregation", &format!("{}.{key}", self.name))),
            None => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.body.get(key).and_then(Value::of_json).map(|value| value.text())
    }

    fn field(&self) -> Result<String, QueryError> {
        self.text("field").ok_or_else(|| QueryError::malformed(format!("{}.field", self.name), "a field"))
    }

    fn count(&self, key: &str, default: u64) -> Result<u64, QueryError> {
        let wrong = || QueryError::malformed(format!("{}.{key}", self.name), "a number");
        self.body.get(key).map_or(Ok(default), |value| value.as_u64().ok_or_else(wrong))
    }
}

fn dates_of(options: &Options<'_>, dates: &DateContext) -> Result<Dates, QueryError> {
    options.only(&[
        "field",
        "fixed_interval",
        "calendar_interval",
        "interval",
        "time_zone",
        "offset",
        "min_doc_count",
        "extended_bounds",
        "format",
        "keyed",
        "order",
    ])?;
    if crate::query::field::Place::of(&options.field()?) != crate::query::field::Place::Time {
        return Err(QueryError::malformed("date_histogram.field", "`@timestamp`: other dates are not supported"));
    }
    let wrong = || QueryError::malformed("interval", "an interval such as `1m`, `30s` or `day`");
    let fixed = |text: &str| duration(text).filter(|step| *step >= 1_000).map(Width::Fixed);
    let calendar = |text: &str| Unit::of_name(text).map(Width::Calendar);
    let width = if let Some(text) = options.text("fixed_interval") {
        fixed(&text).ok_or_else(wrong)?
    } else if let Some(text) = options.text("calendar_interval") {
        calendar(&text).ok_or_else(wrong)?
    } else {
        let text = options.text("interval").ok_or_else(wrong)?;
        calendar(&text).or_else(|| fixed(&text)).ok_or_else(wrong)?
    };
    let zone = match options.text("time_zone") {
        None => TimeZone::UTC,
        Some(text) => zone_of(&text).ok_or_else(|| QueryError::malformed("time_zone", "a zone such as `+09:00`"))?,
    };
    let offset = match options.text("offset") {
        None => 0,
        Some(text) => duration(&text).ok_or_else(|| QueryError::malformed("offset", "a duration such as `+6h`"))?,
    };
    let bounds = match options.body.get("extended_bounds") {
        None | Some(Json::Null) => None,
        Some(bounds) => {
            let wrong = || QueryError::malformed("extended_bounds", "`min` and `max` as dates");
            let at = |key: &str| -> Result<Timestamp, QueryError> {
                let value = bounds.get(key).ok_or_else(wrong)?;
                let millis = value.as_i64().map(Timestamp::from_millis);
                let read = || dates.stretch(value.as_str()?).map(|stretch| stretch.from);
                millis.or_else(read).ok_or_else(wrong)
            };
            Some((at("min")?, at("max")?))
        }
    };
    let descending = orders_of(options, vec![(Order::Key, false)])?.first().is_some_and(|(_, descending)| *descending);
    Ok(Dates {
        width,
        offset,
        zone,
        min_count: options.count("min_doc_count", 0)?,
        bounds,
        descending,
        format: options.text("format"),
        keyed: options.body.get("keyed").and_then(Json::as_bool).unwrap_or(false),
    })
}

fn terms_of(options: &Options<'_>) -> Result<Terms, QueryError> {
    options.only(&[
        "field",
        "size",
        "order",
        "missing",
        "min_doc_count",
        "shard_size",
        "show_term_doc_count_error",
        "execution_hint",
        "collect_mode",
    ])?;
    let size = usize::try_from(options.count("size", 10)?).unwrap_or(usize::MAX);
    if size == 0 || size > MAX_BUCKETS {
        return Err(if size == 0 { QueryError::malformed("size", "above 0") } else { QueryError::TooManyBuckets });
    }
    Ok(Terms {
        field: options.field()?,
        size,
        order: orders_of(options, vec![(Order::Count, true)])?,
        missing: options.text("missing"),
        min_count: options.count("min_doc_count", 1)?,
    })
}

fn orders_of(options: &Options<'_>, default: Vec<(Order, bool)>) -> Result<Vec<(Order, bool)>, QueryError> {
    let wrong = || QueryError::malformed("order", "an object such as `{\"_count\": \"desc\"}`");
    let list = match options.body.get("order") {
        None => return Ok(default),
        Some(Json::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
    };
    let mut orders = Vec::new();
    for entry in list {
        for (key, way) in entry.as_object().ok_or_else(wrong)? {
            let order = match key.as_str() {
                "_count" => Order::Count,
                "_key" | "_term" | "_time" => Order::Key,
                name => Order::Metric(name.strip_suffix(".value").unwrap_or(name).to_owned()),
            };
            match way.as_str() {
                Some("asc") => orders.push((order, false)),
                Some("desc") => orders.push((order, true)),
                _ => return Err(wrong()),
            }
        }
    }
    Ok(orders)
}

fn filters_of(options: &Options<'_>, dates: &DateContext) -> Result<Kind, QueryError> {
    options.only(&["filters", "other_bucket", "other_bucket_key"])?;
    let filters = options.body.get("filters").and_then(Json::as_object);
    let filters = filters.ok_or_else(|| QueryError::malformed("filters.filters", "an object of named queries"))?;
    let read = filters.iter().map(|(name, query)| Ok((name.clone(), elastic::filter(query, dates)?)));
    let filters = read.collect::<Result<Vec<_>, QueryError>>()?;
    let named = options.text("other_bucket_key");
    let wanted = options.body.get("other_bucket").and_then(Json::as_bool).unwrap_or_else(|| named.is_some());
    Ok(Kind::Filters(filters, wanted.then(|| named.unwrap_or_else(|| "_other_".to_owned()))))
}

fn ranges_of(options: &Options<'_>) -> Result<Kind, QueryError> {
    options.only(&["field", "ranges", "keyed"])?;
    let wrong = || QueryError::malformed("range.ranges", "a list of objects with `from`, `to` or both, as numbers");
    let mut ranges = Vec::new();
    for range in options.body.get("ranges").and_then(Json::as_array).ok_or_else(wrong)? {
        let end = |key: &str| match range.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(end) => end.as_f64().map(Some).ok_or_else(wrong),
        };
        let (from, to) = (end("from")?, end("to")?);
        let shown = |end: Option<f64>| end.map_or_else(|| "*".to_owned(), |end| format!("{end:?}"));
        let key = range.get("key").and_then(Json::as_str).map(str::to_owned);
        ranges.push((key.unwrap_or_else(|| format!("{}-{}", shown(from), shown(to))), from, to));
    }
    let field = options.field()?;
    Filter::range(&field, Bound::Unbounded, Bound::Unbounded)?;
    let keyed = options.body.get("keyed").and_then(Json::as_bool).unwrap_or(false);
    Ok(Kind::Ranges(field, ranges, keyed))
}
