//! The questions that are asked before and after: rows, counts, aggregations, and from another region.

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::region::{Region, counting};
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
    let abroad = cluster.region("frankfurt").federated(&["tokyo"], STREAM, &counting());
    answers.push(timeless(json!({"hits": abroad["hits"], "aggregations": abroad["aggregations"]})));
    answers
}

/// What another region says of this one, asked something it was not asked before.
pub(super) fn missing_abroad(cluster: &Cluster, service: &str) -> Value {
    let body = json!({"stream": STREAM, "regions": ["tokyo"], "filter": {"term": {"service": service}}});
    let answer = cluster.region("frankfurt").api("search", "POST", "/api/v1/search", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["missing"].clone()
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
