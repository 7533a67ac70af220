//! Metrics over other regions as Elasticsearch's clients ask for them: against the same numbers, added up by hand.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::present::world::{IN_APP, SEARCH, World, ask};

async fn answer(world: &World, aggs: Value) -> Value {
    let body = json!({"size": 0, "aggs": aggs, "query": {"range": {"@timestamp": {
        "gte": "2026-01-01T00:00:00Z", "lt": "2026-01-02T00:00:00Z",
    }}}});
    let answer = ask(world.elastic(), SEARCH, "POST", "/frankfurt:app/_search", body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["aggregations"].clone()
}

/// Records and their sum by level; a number is at most the last bound.
fn by_level(world: &World) -> BTreeMap<String, (u64, u64)> {
    let mut sums = BTreeMap::<String, (u64, u64)>::new();
    for event in world.events.iter().take(IN_APP as usize) {
        let level = event.source["level"].as_str().expect("a level").to_uppercase();
        let (count, sum) = sums.entry(level).or_default();
        *count += 1;
        *sum += event.source["ms"].as_u64().expect("a number").min(399);
    }
    sums
}

#[tokio::test]
async fn sums_and_means_are_those_of_the_records_alone_and_in_buckets() {
    let world = World::new();
    let (count, sum) = by_level(&world).values().fold((0, 0), |(n, s), (count, sum)| (n + count, s + sum));
    let (sum_of, mean_of) = (json!({"sum": {"field": "ms"}}), json!({"avg": {"field": "ms"}}));
    let time = json!({"field": "@timestamp", "fixed_interval": "1h"});
    let found = answer(
        &world,
        json!({
            "sum": sum_of, "mean": mean_of,
            "levels": {"terms": {"field": "level"}, "aggs": {"m": mean_of}},
            "times": {"date_histogram": time, "aggs": {"s": sum_of}},
        }),
    )
    .await;
    assert_eq!(found["sum"], json!({"value": sum}));
    let is_mean = |shown: &Value, sum: u64, count: u64| {
        shown["value"].as_f64().is_some_and(|mean| (mean - sum as f64 / count as f64).abs() < 1e-9)
    };
    assert!(is_mean(&found["mean"], sum, count), "{found}");
    let levels = found["levels"]["buckets"].as_array().expect("buckets");
    assert_eq!(levels.len(), by_level(&world).len());
    for bucket in levels {
        let (count, sum) = by_level(&world)[bucket["key"].as_str().expect("a level")];
        assert!(bucket["doc_count"] == count && is_mean(&bucket["m"], sum, count), "{bucket}");
    }
    let times = found["times"]["buckets"].as_array().expect("buckets");
    let of_times: u64 = times.iter().filter_map(|bucket| bucket["s"]["value"].as_u64()).sum();
    assert!(!times.is_empty() && of_times == sum, "{times:?}");
}

#[tokio::test]
async fn percentiles_and_distinct_values_are_read_off_what_is_published() {
    let world = World::new();
    let found = answer(
        &world,
        json!({
            "p": {"percentiles": {"field": "ms", "percents": [50, 99.5]}},
            "c": {"cardinality": {"field": "level"}},
        }),
    )
    .await;
    let values = found["p"]["values"].as_object().expect("values");
    assert_eq!(values.keys().collect::<Vec<_>>(), ["50.0", "99.5"]);
    assert!(values["50.0"].as_f64() < values["99.5"].as_f64() && values["99.5"].as_f64() <= Some(399.0), "{values:?}");
    let levels = by_level(&world).len();
    assert_eq!(found["c"], json!({"value": levels, "at_least": levels, "at_most": levels}));
}

#[tokio::test]
async fn extremes_are_refused_with_what_to_ask_instead() {
    let world = World::new();
    for what in ["min", "max", "stats", "extended_stats"] {
        for aggs in [
            json!({"a": {what: {"field": "ms"}}}),
            json!({"t": {"terms": {"field": "level"}, "aggs": {"a": {what: {"field": "ms"}}}}}),
        ] {
            let body = json!({"size": 0, "aggs": aggs}).to_string();
            let answer = ask(world.elastic(), SEARCH, "POST", "/frankfurt:app/_search", body).await;
            assert_eq!(answer.status, 400, "{what}: {}", answer.text);
            assert!(answer.text.contains(what) && answer.text.contains("percentiles"), "{}", answer.text);
        }
    }
    let hidden = json!({"size": 0, "aggs": {"a": {"sum": {"field": "status"}}}}).to_string();
    let answer = ask(world.elastic(), SEARCH, "POST", "/frankfurt:app/_search", hidden).await;
    assert_eq!(answer.status, 400, "a number that nobody declared: {}", answer.text);
}

#[tokio::test]
async fn the_native_door_asks_the_same() {
    let world = World::new();
    let native = |wanted: Value| {
        let body = json!({"stream": "app", "regions": ["*"], "ask": wanted, "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"});
        let (world, body) = (&world, body.to_string());
        async move { ask(world.native(), SEARCH, "POST", "/api/v1/search", body).await.json()["result"].clone() }
    };
    let sum: u64 = by_level(&world).values().map(|(_, sum)| sum).sum();
    let all = native(json!({"sum": "ms"})).await;
    // Frankfurt holds what Tokyo holds.
    assert_eq!((&all["sum"]["sum"], &all["sum"]["count"]), (&json!(2 * sum), &json!(2 * IN_APP)));
    let rows = native(json!({"sum": "ms", "terms": "level", "histogram": "1h"})).await;
    let cells =
        rows["terms"].as_array().expect("rows").iter().flat_map(|row| row["cells"].as_array().expect("cells").clone());
    assert_eq!(cells.filter_map(|cell| cell["sum"].as_u64()).sum::<u64>(), 2 * sum);
    let quantile = native(json!({"quantile": "ms", "percent": 50})).await;
    assert_eq!(quantile["quantile"]["upto"]["frankfurt"], quantile["quantile"]["upto"]["tokyo"]);
    assert!(quantile["quantile"]["upto"]["tokyo"].is_u64(), "{quantile}");
    let distinct = native(json!({"distinct": "level"})).await;
    let levels = by_level(&world).len();
    assert_eq!(
        (&distinct["distinct"]["at_least"], &distinct["distinct"]["at_most"]),
        (&json!(levels), &json!(2 * levels))
    );
}
