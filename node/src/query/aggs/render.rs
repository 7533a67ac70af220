//! Gathered buckets as the JSON that Elasticsearch's clients expect.

use std::cell::Cell;
use std::cmp::Ordering;

use domicile_proto::ids::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::collect::{Bucket, Key, Node};
use super::numbers::Numbers;
use super::request::{Agg, Aggs, Dates, Kind, Metric, Order, Terms};
use crate::limits::MAX_BUCKETS;
use crate::query::QueryError;
use crate::query::field::Place;

/// Buckets that the answer may still have, of all its aggregations together.
struct Left(Cell<usize>);

impl Left {
    fn take(&self) -> Result<(), QueryError> {
        let left = self.0.get().checked_sub(1).ok_or(QueryError::TooManyBuckets)?;
        self.0.set(left);
        Ok(())
    }
}

/// The object `aggregations`.
pub(super) fn object(aggs: &Aggs, nodes: &[Node]) -> Result<Map<String, Json>, QueryError> {
    below(aggs, nodes, &Left(Cell::new(MAX_BUCKETS)))
}

fn below(aggs: &Aggs, nodes: &[Node], left: &Left) -> Result<Map<String, Json>, QueryError> {
    let empty = Node::default();
    let mut object = Map::new();
    for (place, (name, agg)) in aggs.0.iter().enumerate() {
        object.insert(name.clone(), one(agg, nodes.get(place).unwrap_or(&empty), left)?);
    }
    Ok(object)
}

fn one(agg: &Agg, node: &Node, left: &Left) -> Result<Json, QueryError> {
    let empty = Bucket::default();
    let at = |place: usize| node.buckets.get(&Key::Place(place)).unwrap_or(&empty);
    match &agg.kind {
        Kind::Dates(dates) => date_buckets(dates, agg, node, left),
        Kind::Terms(terms) => term_buckets(terms, agg, node, left),
        Kind::Filter(_) => Ok(Json::Object(body(Map::new(), agg, at(0), left)?)),
        Kind::Filters(filters, other) => {
            let names = filters.iter().map(|(name, _)| name).chain(other);
            let mut buckets = Map::new();
            for (place, name) in names.enumerate() {
                buckets.insert(name.clone(), Json::Object(body(Map::new(), agg, at(place), left)?));
            }
            Ok(json!({ "buckets": buckets }))
        }
        Kind::Ranges(_, ranges, keyed) => {
            let mut buckets = Vec::new();
            let mut by_key = Map::new();
            for (place, (key, from, to)) in ranges.iter().enumerate() {
                let mut bucket = Map::new();
                if !keyed {
                    bucket.insert("key".to_owned(), json!(key));
                }
                from.iter().for_each(|from| drop(bucket.insert("from".to_owned(), json!(from))));
                to.iter().for_each(|to| drop(bucket.insert("to".to_owned(), json!(to))));
                let bucket = Json::Object(body(bucket, agg, at(place), left)?);
                if *keyed { drop(by_key.insert(key.clone(), bucket)) } else { buckets.push(bucket) }
            }
            Ok(if *keyed { json!({ "buckets": by_key }) } else { json!({ "buckets": buckets }) })
        }
        Kind::Metric(field, kind) => Ok(metric(field, kind, &node.numbers)),
    }
}

/// Count and aggregations below of one bucket.
fn body(
    mut bucket: Map<String, Json>,
    agg: &Agg,
    found: &Bucket,
    left: &Left,
) -> Result<Map<String, Json>, QueryError> {
    left.take()?;
    bucket.insert("doc_count".to_owned(), json!(found.count));
    bucket.extend(below(&agg.children, &found.children, left)?);
    Ok(bucket)
}

fn date_buckets(dates: &Dates, agg: &Agg, node: &Node, left: &Left) -> Result<Json, QueryError> {
    let mut keys: Vec<i64> =
        node.buckets.keys().filter_map(|key| if let Key::Time(at) = key { Some(*at) } else { None }).collect();
    if dates.min_count == 0 {
        let bounds = dates.bounds.iter().flat_map(|(min, max)| [min.0, max.0]).map(|at| dates.around(at).from.0);
        let ends = keys.iter().copied().chain(bounds);
        let (first, last) = ends.fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(at), last.max(at)));
        keys.clear();
        let mut next = first;
        while next <= last && first <= last {
            if keys.len() >= MAX_BUCKETS {
                return Err(QueryError::TooManyBuckets);
            }
            keys.push(next);
            let to = dates.around(next).to.0;
            if to <= next {
                break;
            }
            next = to;
        }
    }
    if keys.len() > MAX_BUCKETS {
        return Err(QueryError::TooManyBuckets);
    }
    if dates.descending {
        keys.reverse();
    }
    let empty = Bucket::default();
    let mut buckets = Vec::new();
    let mut keyed = Map::new();
    for key in keys {
        let found = node.buckets.get(&Key::Time(key)).unwrap_or(&empty);
        if found.count < dates.min_count {
            continue;
        }
        let shown = date_text(dates, key);
        let mut bucket = Map::new();
        bucket.insert("key_as_string".to_owned(), json!(shown));
        bucket.insert("key".to_owned(), json!(Timestamp(key).as_millis()));
        let bucket = Json::Object(body(bucket, agg, found, left)?);
        if dates.keyed { drop(keyed.insert(shown, bucket)) } else { buckets.push(bucket) }
    }
    Ok(if dates.keyed { json!({ "buckets": keyed }) } else { json!({ "buckets": buckets }) })
}

fn date_text(dates: &Dates, micros: i64) -> String {
    let at = Timestamp(micros);
    let Ok(instant) = jiff::Timestamp::from_microsecond(micros) else { return at.as_millis().to_string() };
    let zoned = instant.to_zoned(dates.zone.clone());
    match dates.format.as_deref() {
        Some("epoch_millis") => at.as_millis().to_string(),
        Some("epoch_second") => at.0.div_euclid(Timestamp::MICROS).to_string(),
        None | Some("date_time" | "strict_date_optional_time" | "strict_date_time") => {
            let zone = if zoned.offset().is_zero() { "Z" } else { "%:z" };
            zoned.strftime(&format!("%Y-%m-%dT%H:%M:%S.%3f{zone}")).to_string()
        }
        Some(pattern) => {
            let pattern = pattern.split("||").next().unwrap_or_default().replace('%', "%%").replace('\'', "");
            let letters = [
                ("yyyy", "%Y"),
                ("uuuu", "%Y"),
                ("MM", "%m"),
                ("dd", "%d"),
                ("HH", "%H"),
                ("mm", "%M"),
                ("ss", "%S"),
                ("SSS", "%3f"),
                ("XXX", "%:z"),
            ];
            let pattern = letters.iter().fold(pattern, |pattern, (java, here)| pattern.replace(java, here));
            zoned.strftime(&pattern).to_string()
        }
    }
}

fn term_buckets(terms: &Terms, agg: &Agg, node: &Node, left: &Left) -> Result<Json, QueryError> {
    let mut found: Vec<(&Key, &Bucket)> =
        node.buckets.iter().filter(|(_, bucket)| bucket.count >= terms.min_count).collect();
    for (order, _) in &terms.order {
        if let Order::Metric(name) = order
            && !agg.children.0.iter().any(|(child, _)| child == name)
        {
            return Err(QueryError::unknown("order", name));
        }
    }
    found.sort_by(|a, b| {
        for (order, descending) in &terms.order {
            let ordering = match order {
                Order::Count => a.1.count.cmp(&b.1.count),
                Order::Key => a.0.cmp(b.0),
                Order::Metric(name) => metric_value(agg, name, a.1).total_cmp(&metric_value(agg, name, b.1)),
            };
            let ordering = if *descending { ordering.reverse() } else { ordering };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        a.0.cmp(b.0)
    });
    let other = found.iter().skip(terms.size).fold(0_u64, |sum, (_, bucket)| sum.saturating_add(bucket.count));
    let mut buckets = Vec::new();
    for (key, bucket) in found.into_iter().take(terms.size) {
        let mut shown = Map::new();
        let (key, text) = match key {
            Key::Text(text) => (json!(text), None),
            Key::Whole(whole) | Key::Time(whole) => (json!(whole), None),
            Key::Fraction(bits) => (json!(tantivy::u64_to_f64(*bits)), None),
            Key::Truth(truth) => (json!(u8::from(*truth)), Some(truth.to_string())),
            Key::Place(place) => (json!(place), None),
        };
        shown.insert("key".to_owned(), key);
        text.into_iter().for_each(|text| drop(shown.insert("key_as_string".to_owned(), json!(text))));
        buckets.push(Json::Object(body(shown, agg, bucket, left)?));
    }
    Ok(json!({ "doc_count_error_upper_bound": 0, "sum_other_doc_count": other, "buckets": buckets }))
}

fn metric_value(agg: &Agg, name: &str, bucket: &Bucket) -> f64 {
    let place = agg.children.0.iter().position(|(child, _)| child == name);
    let found = place.and_then(|place| Some((agg.children.0.get(place)?, bucket.children.get(place)?)));
    match found {
        Some(((_, Agg { kind: Kind::Metric(field, kind), .. }), node)) => {
            metric(field, kind, &node.numbers).get("value").and_then(Json::as_f64).unwrap_or(f64::NEG_INFINITY)
        }
        _ => f64::NEG_INFINITY,
    }
}

fn metric(field: &str, kind: &Metric, numbers: &Numbers) -> Json {
    let any = numbers.count > 0;
    #[allow(clippy::cast_precision_loss, reason = "an average")]
    let avg = any.then(|| numbers.sum.value() / numbers.count as f64);
    let (min, max) = (any.then_some(numbers.min), any.then_some(numbers.max));
    let value = |value: Option<f64>| {
        let mut object = Map::new();
        object.insert("value".to_owned(), json!(value));
        if let Some(millis) = value.filter(|_| Place::of(field) == Place::Time) {
            #[allow(clippy::cast_possible_truncation, reason = "a cast of f64 saturates")]
            let shown = jiff::Timestamp::from_millisecond(millis as i64);
            let shown = shown.map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
            shown.into_iter().for_each(|shown| drop(object.insert("value_as_string".to_owned(), json!(shown))));
        }
        Json::Object(object)
    };
    match kind {
        Metric::Count => json!({ "value": numbers.count }),
        Metric::Cardinality => json!({ "value": numbers.distinct.len() }),
        Metric::Min => value(min),
        Metric::Max => value(max),
        Metric::Avg => value(avg),
        Metric::Sum => json!({ "value": numbers.sum.value() }),
        Metric::Stats => {
            json!({ "count": numbers.count, "min": min, "max": max, "avg": avg, "sum": numbers.sum.value() })
        }
        Metric::Percentiles(percents, false) => {
            let values = percents.iter().map(|p| json!({ "key": p, "value": numbers.percentile(*p) }));
            json!({ "values": values.collect::<Vec<_>>() })
        }
        Metric::Percentiles(percents, true) => {
            let values = percents.iter().map(|p| (format!("{p:?}"), json!(numbers.percentile(*p))));
            json!({ "values": values.collect::<Map<_, _>>() })
        }
    }
}
