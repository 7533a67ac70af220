//! What an attacker abroad can ask and reads out of the answers: as much as there is, marks of withholding not heeded.

use std::collections::BTreeMap;

use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::world::at;

/// A range of minutes as a filter.
pub(crate) fn within(from: i64, to: i64) -> Value {
    json!({"range": {"timestamp": {"gte": at(from), "lt": at(to), "format": "epoch_millis"}}})
}

/// Asks other regions in Elasticsearch's form; an answer that is a refusal is empty.
pub(crate) fn search(asker: &Region, index: &str, body: &Value) -> Value {
    let answer = asker.es("search", "POST", &format!("/{index}/_search"), body).unwrap();
    if answer.status == 200 { answer.json() } else { Value::Null }
}

/// The total an attacker reads, whatever its relation.
pub(crate) fn count(asker: &Region, index: &str, filter: &[Value], must_not: &[Value]) -> u64 {
    let body =
        json!({"size": 0, "track_total_hits": true, "query": {"bool": {"filter": filter, "must_not": must_not}}});
    search(asker, index, &body)["hits"]["total"]["value"].as_u64().unwrap_or_default()
}

/// Counts by beginning of the cell, in minutes of the day; what is not told is not there.
pub(crate) fn histogram(
    asker: &Region,
    index: &str,
    step: i64,
    range: (i64, i64),
    more: &[Value],
) -> BTreeMap<i64, u64> {
    let filter = [&[within(range.0, range.1)], more].concat();
    let body = json!({
        "size": 0,
        "query": {"bool": {"filter": filter}},
        "aggs": {"t": {"date_histogram": {
            "field": "timestamp", "fixed_interval": format!("{step}m"), "min_doc_count": 0,
            "extended_bounds": {"min": at(range.0), "max": at(range.1) - 1},
        }}},
    });
    let answer = search(asker, index, &body);
    let buckets = answer["aggregations"]["t"]["buckets"].as_array().cloned().unwrap_or_default();
    let minute = |bucket: &Value| bucket["key"].as_i64().map(|key| (key - at(0)).div_euclid(60_000));
    buckets.iter().filter_map(|bucket| Some((minute(bucket)?, bucket["doc_count"].as_u64()?))).collect()
}

/// Counts by value of a field, `__other__` among them.
pub(crate) fn terms(asker: &Region, index: &str, field: &str, range: (i64, i64)) -> BTreeMap<String, u64> {
    let body = json!({
        "size": 0,
        "query": {"bool": {"filter": [within(range.0, range.1)]}},
        "aggs": {"s": {"terms": {"field": field, "size": 100}}},
    });
    let answer = search(asker, index, &body);
    let buckets = answer["aggregations"]["s"]["buckets"].as_array().cloned().unwrap_or_default();
    let named =
        buckets.iter().filter_map(|bucket| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?)));
    let other = answer["aggregations"]["s"]["sum_other_doc_count"].as_u64().unwrap_or_default();
    named.chain([("__other__".to_owned(), other)]).collect()
}

/// Counts by value and minute, as the native door gives them.
pub(crate) fn term_grid(asker: &Region, stream: &str, range: (i64, i64)) -> BTreeMap<(String, i64), u64> {
    let body = json!({
        "stream": stream, "regions": ["frankfurt"], "filter": within(range.0, range.1),
        "ask": {"terms": "service", "histogram": 60},
    });
    let answer = asker.api("search", "POST", "/api/v1/search", &body).unwrap();
    let result = if answer.status == 200 { answer.json()["result"].clone() } else { Value::Null };
    let first = (result["from"].as_i64().unwrap_or(at(0)) - at(0)).div_euclid(60_000);
    let mut cells = BTreeMap::new();
    let mut row = |name: &str, row: &Value| {
        for (place, cell) in (first..).zip(row.as_array().into_iter().flatten()) {
            cells.insert((name.to_owned(), place), cell["count"].as_u64().unwrap_or_default());
        }
    };
    for named in result["terms"].as_array().into_iter().flatten() {
        row(named["value"].as_str().unwrap_or_default(), &named["cells"]);
    }
    row("__other__", &result["__other__"]);
    cells
}

/// An answer without what differs from one asking to the next by itself: times, ids, ledger heads.
pub(crate) fn bare(answer: &Value) -> Value {
    match answer {
        Value::Object(object) => {
            let differs = ["took", "took_ms", "questions", "ledger", "ledger_root", "ledger_size"];
            let kept = object.iter().filter(|(key, _)| !differs.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        other => other.clone(),
    }
}
