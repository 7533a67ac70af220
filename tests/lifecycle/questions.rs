//! The questions that are asked before and after: rows, counts, aggregations, and from another region.

use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, utc};
use domicile_tests::cluster::region::{Region, counting};
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::{Value, json};

pub(super) const STREAM: &str = "orders";

/// Every answer as text, without the time it took.
pub(super) fn asked(cluster: &Cluster) -> Vec<String> {
    let tokyo = cluster.region("tokyo");
    let mut answers: Vec<String> = bodies()
        .iter()
        .map(|body| {
            let answer = tokyo.es("search", "POST", &format!("/{STREAM}/_search"), body).unwrap();
            assert_eq!(answer.status, 200, "{body}: {}", answer.text());
            timeless(answer.json())
        })
        .collect();
    let count =
        tokyo.es("search", "POST", &format!("/{STREAM}/_count"), &json!({"query": {"match": {"message": "took"}}}));
    answers.push(timeless(count.unwrap().json()));
    answers.push(abroad(&cluster.region("frankfurt")));
    answers
}

/// What another region is told, once it knows the stream and reaches this one.
fn abroad(frankfurt: &Region) -> String {
    let mut body = counting();
    body["query"] = json!({"range": {"timestamp": {"gte": utc(DAY_MS), "lt": utc(DAY_MS + 3_600_000)}}});
    let mut last = Value::Null;
    let told = wait_until(Duration::from_secs(30), || {
        let answer = frankfurt.federated(&["tokyo"], STREAM, &body);
        last.clone_from(&answer["_clusters"]);
        let is_told = answer["_clusters"]["details"]["tokyo"]["residency"]["coverage"] == "complete";
        is_told.then(|| timeless(json!({"hits": answer["hits"], "aggregations": answer["aggregations"]})))
    });
    told.unwrap_or_else(|| panic!("tokyo answers abroad: {last}"))
}

/// Waits until another region is told what is said of this one, asked for a text: that is counted in the segments and in no
/// released table. `complete`, or the code of a refusal.
pub(super) fn told_abroad(cluster: &Cluster, word: &str, wanted: &str) {
    let body = json!({"stream": STREAM, "regions": ["tokyo"], "filter": {"match": {"message": word}}});
    let mut last = String::new();
    let told = wait_until(Duration::from_secs(30), || {
        let answer = cluster.region("frankfurt").api("search", "POST", "/api/v1/search", &body).unwrap();
        last = answer.text();
        let tokyo = &answer.json()["coverage"]["tokyo"];
        (tokyo["code"] == wanted || tokyo["status"] == wanted).then_some(())
    });
    assert!(told.is_some(), "{last}");
}

/// Status and text of a search that reads what nothing read before.
pub(super) fn one_more(tokyo: &Region, word: &str) -> (u16, String) {
    let body = json!({"size": 100, "query": {"match": {"message": word}}, "sort": [{"timestamp": "asc"}]});
    let answer = tokyo.es("search", "POST", &format!("/{STREAM}/_search"), &body).unwrap();
    (answer.status, answer.text())
}

fn bodies() -> Vec<Value> {
    vec![
        counting(),
        json!({"size": 50, "track_total_hits": true, "query": {"match_all": {}}, "sort": [{"timestamp": "desc"}]}),
        json!({"size": 20, "query": {"term": {"service": "cart"}}, "sort": [{"timestamp": "asc"}]}),
        json!({"size": 10, "query": {"match_phrase": {"message": "order 17 took"}}}),
        json!({"size": 5, "track_total_hits": true, "query": {"bool": {"must_not": [{"term": {"level": "INFO"}}]}}}),
        json!({"size": 0, "query": {"term": {"attributes.attempt": 2}}, "aggs": {
            "hosts": {"terms": {"field": "host", "size": 30}, "aggs": {"tries": {"stats": {"field": "attributes.attempt"}}}},
            "hosts_in_all": {"cardinality": {"field": "host"}},
        }}),
    ]
}

fn timeless(mut answer: Value) -> String {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("took");
    }
    answer.to_string()
}
