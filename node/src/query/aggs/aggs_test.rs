//! Aggregations against plain counting.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::Level;
use domicile_proto::metadata::Rows;
use serde_json::{Value as Json, json};

use super::Aggs;
use crate::limits::{GATHERED_BYTES, MAX_AGGREGATIONS};
use crate::query::dates::DateContext;
use crate::query::specimen::{Event, START, now, request, sample};
use crate::query::{Budget, Engine, Filter, QueryError, SearchRequest};

fn aggregated(count: u64, filter: Filter, aggs: &Json) -> (Vec<Event>, Json) {
    let (events, segments) = sample(count);
    let aggs = Aggs::read(aggs, &DateContext::utc(now())).unwrap_or_else(|error| panic!("{error}"));
    let request = SearchRequest { size: 0, ..request(filter) };
    let hits = Engine::new().unwrap().search(&request, segments, Rows::None).unwrap();
    let (object, matched) = hits.aggregate(&aggs).unwrap();
    assert_eq!(hits.total().map(|total| total.value), Some(matched));
    (events, Json::Object(object))
}

fn level(event: &Event) -> &'static str {
    Level::recognise(event.source["level"].as_str().unwrap()).unwrap().as_str()
}

fn buckets(json: &Json) -> Vec<(Json, u64)> {
    let buckets = json["buckets"].as_array().unwrap().iter();
    buckets.map(|bucket| (bucket["key"].clone(), bucket["doc_count"].as_u64().unwrap())).collect()
}

#[test]
fn a_histogram_by_level_counts_every_event_once() {
    let aggs = json!({"per_minute": {
        "date_histogram": {"field": "@timestamp", "interval": "minute"},
        "aggs": {"levels": {"terms": {"field": "level.keyword"}}}
    }});
    let (events, found) = aggregated(800, Filter::All, &aggs);
    let mut wanted: BTreeMap<i64, BTreeMap<&str, u64>> = BTreeMap::new();
    for event in &events {
        *wanted.entry(event.at.div_euclid(60_000_000) * 60_000).or_default().entry(level(event)).or_default() += 1;
    }
    let found = found["per_minute"]["buckets"].as_array().unwrap();
    assert!(found.len() > 15 && found.len() == wanted.len());
    for (bucket, (start, levels)) in found.iter().zip(wanted) {
        assert_eq!(bucket["key"], start);
        assert_eq!(bucket["doc_count"].as_u64(), Some(levels.values().sum()));
        let found: BTreeMap<String, u64> = buckets(&bucket["levels"])
            .into_iter()
            .map(|(key, count)| (key.as_str().unwrap().to_owned(), count))
            .collect();
        assert_eq!(found, levels.into_iter().map(|(level, count)| (level.to_owned(), count)).collect());
        assert_eq!(bucket["levels"]["sum_other_doc_count"], 0);
    }
    assert_eq!(found[0]["key_as_string"], "2026-01-01T00:00:00.000Z");
}

#[test]
fn histograms_fill_gaps_and_bounds_in_the_zone() {
    let aggs = json!({"days": {"date_histogram": {
        "field": "@timestamp", "calendar_interval": "day", "time_zone": "+09:00", "min_doc_count": 0,
        "extended_bounds": {"min": "2025-12-30", "max": START / 1_000}}}});
    let (events, found) = aggregated(100, Filter::All, &aggs);
    let days = buckets(&found["days"]);
    assert_eq!(days.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0, 0, events.len() as u64]);
    assert_eq!(found["days"]["buckets"][2]["key_as_string"], "2026-01-01T00:00:00.000+09:00");
    let millis = json!({"a": {"date_histogram": {
        "field": "@timestamp", "fixed_interval": "30s", "offset": "10s", "format": "epoch_millis", "min_doc_count": 1}}});
    let (_, found) = aggregated(100, Filter::All, &millis);
    let first = &found["a"]["buckets"][0];
    assert_eq!(first["key_as_string"], first["key"].to_string());
    assert_eq!(first["key"].as_i64().unwrap().rem_euclid(30_000), 10_000);
}

#[test]
fn terms_are_ordered_cut_and_summed() {
    let aggs = json!({
        "paths": {"terms": {"field": "request.path", "size": 2}},
        "by_key": {"terms": {"field": "status", "order": {"_key": "desc"}}},
        "tags": {"terms": {"field": "tags", "missing": "none"}},
        "slowest": {"terms": {"field": "service", "order": {"worst": "desc"}}, "aggs": {"worst": {"max": {"field": "ms"}}}}
    });
    let (events, found) = aggregated(500, Filter::All, &aggs);
    let count = |matches: &dyn Fn(&Event) -> bool| events.iter().filter(|event| matches(event)).count() as u64;
    let mut paths: Vec<(Json, u64)> = ["/a/1", "/a/2", "/b"]
        .into_iter()
        .map(|path| (json!(path), count(&|e| e.source["request"]["path"] == path)))
        .collect();
    paths.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    assert_eq!(buckets(&found["paths"]), paths[..2]);
    assert_eq!(found["paths"]["sum_other_doc_count"], paths[2].1);
    assert_eq!(found["paths"]["doc_count_error_upper_bound"], 0);
    let keys: Vec<Json> = buckets(&found["by_key"]).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["500", "404", "200"]);
    let has = |event: &Event, tag: &str| event.source["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag)));
    for (tag, found) in buckets(&found["tags"]) {
        let wanted = match tag.as_str().unwrap() {
            "none" => count(&|e| e.source.get("tags").is_none()),
            tag => count(&|e| has(e, tag)),
        };
        assert_eq!(found, wanted, "{tag}");
    }
    let worst: Vec<f64> =
        found["slowest"]["buckets"].as_array().unwrap().iter().map(|b| b["worst"]["value"].as_f64().unwrap()).collect();
    assert!(worst.len() == 3 && worst.is_sorted_by(|a, b| a >= b));
}

#[test]
fn filters_ranges_and_metrics_reckon_right() {
    let aggs = json!({
        "kinds": {"filters": {"other_bucket": true, "filters": {
            "errors": {"term": {"level": "error"}}, "slow": {"range": {"ms": {"gte": 400}}}}}},
        "one": {"filter": {"term": {"service": "cart"}}, "aggs": {"n": {"value_count": {"field": "ratio"}}}},
        "ms": {"range": {"field": "ms", "ranges": [{"to": 100}, {"from": 100, "key": "rest"}]}},
        "stats": {"stats": {"field": "ms"}}, "paths": {"cardinality": {"field": "request.path"}},
        "percentiles": {"percentiles": {"field": "ms", "percents": [50, 99]}},
        "newest": {"max": {"field": "@timestamp"}}, "none": {"avg": {"field": "nowhere"}}
    });
    let (events, found) = aggregated(500, Filter::All, &aggs);
    let ms = |event: &Event| event.source["ms"].as_f64().unwrap();
    let count = |matches: &dyn Fn(&Event) -> bool| events.iter().filter(|event| matches(event)).count() as u64;
    let kinds = &found["kinds"]["buckets"];
    assert_eq!(kinds["errors"]["doc_count"], count(&|e| level(e) == "ERROR"));
    assert_eq!(kinds["slow"]["doc_count"], count(&|e| ms(e) >= 400.0));
    assert_eq!(kinds["_other_"]["doc_count"], count(&|e| level(e) != "ERROR" && ms(e) < 400.0));
    let is_cart = |e: &Event| e.source.get("service").or_else(|| e.source.get("app")).unwrap() == "cart";
    assert_eq!(found["one"]["n"]["value"], count(&|e| is_cart(e) && e.source.get("ratio").is_some()));
    assert_eq!(
        buckets(&found["ms"]),
        [(json!("*-100.0"), count(&|e| ms(e) < 100.0)), (json!("rest"), count(&|e| ms(e) >= 100.0)),]
    );
    let sum: f64 = events.iter().map(ms).sum();
    assert_eq!(found["stats"]["sum"], sum);
    assert_eq!(found["stats"]["count"], events.len());
    assert_eq!(found["stats"]["max"], events.iter().map(ms).fold(0.0, f64::max));
    let paths: BTreeSet<&str> = events.iter().map(|e| e.source["request"]["path"].as_str().unwrap()).collect();
    assert_eq!(found["paths"]["value"], paths.len());
    let mut sorted: Vec<f64> = events.iter().map(ms).collect();
    sorted.sort_by(f64::total_cmp);
    for (name, rank) in [("50.0", 249), ("99.0", 494)] {
        let value = found["percentiles"]["values"][name].as_f64().unwrap();
        assert!((value - sorted[rank]).abs() <= sorted[rank] * 0.011 + 2.0, "{name}: {value} {}", sorted[rank]);
    }
    let newest = events.iter().map(|event| event.at).max().unwrap();
    assert_eq!(found["newest"]["value"].as_f64().map(|v| v as i64), Some(newest.div_euclid(1_000)));
    assert!(found["none"]["value"].is_null());
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    for (aggs, named) in [
        (json!({"a": {"top_hits": {}}}), "top_hits"),
        (json!({"a": {"terms": {"field": "x", "include": "y"}}}), "include"),
        (json!({"a": {"date_histogram": {"field": "@timestamp", "interval": "often"}}}), "interval"),
        (json!({"a": {"terms": {}}}), "terms.field"),
        (json!({"a": {"date_histogram": {"field": "@timestamp", "interval": "1m", "hard_bounds": {}}}}), "hard_bounds"),
        (json!({"a": {"date_histogram": {"field": "@timestamp", "interval": "1m", "missing": 0}}}), "missing"),
        (json!({"a": {"terms": {"field": "x", "shard_min_doc_count": 2}}}), "shard_min_doc_count"),
        (json!({"a": {"range": {"field": "ms", "ranges": [{"to": "10"}]}}}), "ranges"),
        (json!({"a": {}}), "a"),
        (json!({"a": {"min": {"field": "x"}, "aggs": {"b": {"min": {"field": "x"}}}}}), "a"),
    ] {
        let Err(error) = Aggs::read(&aggs, &DateContext::utc(now())) else { panic!("{aggs} should be refused") };
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn an_answer_never_grows_beyond_the_limit_of_buckets() {
    let aggs = json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1s",
        "extended_bounds": {"min": "2020", "max": "2027"}}}});
    let (_, segments) = sample(50);
    let aggs = Aggs::read(&aggs, &DateContext::utc(now())).unwrap();
    let hits = Engine::new().unwrap().search(&request(Filter::All), segments, Rows::None).unwrap();
    assert!(matches!(hits.aggregate(&aggs), Err(QueryError::TooManyBuckets)));
}

#[test]
fn aggregations_and_the_filters_in_them_are_counted() {
    let many = |count: usize| -> Json {
        (0..count).map(|n| (format!("a{n}"), json!({"min": {"field": "ms"}}))).collect::<serde_json::Map<_, _>>().into()
    };
    let filters = |count: usize| {
        let named: serde_json::Map<_, _> = (0..count).map(|n| (format!("f{n}"), json!({"match_all": {}}))).collect();
        json!({"a": {"filters": {"filters": named}}})
    };
    let nested = json!({"a": {"terms": {"field": "x"}, "aggs": many(MAX_AGGREGATIONS)}});
    let read = |aggs: &Json| Aggs::read(aggs, &DateContext::utc(now()));
    assert!(read(&many(MAX_AGGREGATIONS)).is_ok() && read(&filters(MAX_AGGREGATIONS)).is_ok());
    for aggs in [many(MAX_AGGREGATIONS + 1), filters(MAX_AGGREGATIONS + 1), nested] {
        assert!(matches!(read(&aggs), Err(QueryError::TooManyAggregations)));
    }
}

#[test]
fn buckets_of_all_levels_count_together() {
    // Three levels with 100,000 buckets below each: no single aggregation is beyond the limit by itself.
    let step = json!({"date_histogram": {"field": "@timestamp", "fixed_interval": "1m",
        "extended_bounds": {"min": "2025-12-10", "max": "2026-01-20"}}});
    let aggs = json!({"levels": {"terms": {"field": "level"}, "aggs": {"times": step}}});
    let (_, segments) = sample(200);
    let read = |aggs: &Json| Aggs::read(aggs, &DateContext::utc(now())).unwrap();
    let hits = Engine::new().unwrap().search(&request(Filter::All), segments, Rows::None).unwrap();
    assert!(hits.aggregate(&read(&json!({"times": step}))).is_ok());
    assert!(matches!(hits.aggregate(&read(&aggs)), Err(QueryError::TooManyBuckets)));
}

#[test]
fn what_a_search_gathers_is_bounded_over_all_its_stretches_and_given_back() {
    let budget = Budget::until(std::time::Instant::now() + std::time::Duration::from_secs(60));
    budget.gather(GATHERED_BYTES - 400).unwrap();
    let (_, segments) = sample(200);
    let aggs = Aggs::read(&json!({"ms": {"terms": {"field": "ms"}}}), &DateContext::utc(now())).unwrap();
    let engine = Engine::new().unwrap();
    let search = |budget: &Budget| {
        let request = SearchRequest { budget: budget.clone(), size: 0, ..request(Filter::All) };
        engine.search(&request, segments.clone(), Rows::None).unwrap().aggregate(&aggs).map(drop)
    };
    assert!(matches!(search(&budget), Err(QueryError::TooCostly)));
    drop(budget);
    let fresh = Budget::until(std::time::Instant::now() + std::time::Duration::from_secs(60));
    assert!(search(&fresh).is_ok());
}

#[test]
fn ranges_and_percentiles_come_by_name_or_in_a_row_as_asked() {
    let aggs = json!({
        "ms": {"range": {"field": "ms", "keyed": true, "ranges": [{"to": 100, "key": "fast"}]}},
        "p": {"percentiles": {"field": "ms", "percents": [50], "keyed": false}}
    });
    let (_, found) = aggregated(100, Filter::All, &aggs);
    assert!(found["ms"]["buckets"]["fast"]["doc_count"].as_u64().is_some_and(|count| count > 0));
    assert_eq!(found["p"]["values"][0]["key"], 50.0);
}
