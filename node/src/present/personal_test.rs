//! Personal values at the doors: who may look for them, and that nobody else learns whether they are there.

use serde_json::{Value, json};

use super::world::{BLIND, FULL, SEARCH, World, ask};

const ALICE: &str = "alice@example.com";
const STRANGER: &str = "nobody@example.org";

fn world() -> World {
    World::with_people(vec![
        json!({"message": format!("login of {ALICE} failed"), "level": "ERROR", "user": ALICE}),
        json!({"message": "login of bob@example.com done", "level": "INFO", "user": "bob@example.com"}),
        json!({"message": "from 10.1.2.3", "exception": format!("no mail to {ALICE}")}),
    ])
}

/// Every way of asking for an address at a door, with where the number of its records stands in the answer.
fn ways(address: &str) -> Vec<(String, Value, &'static str)> {
    let path = |what: &str| format!("/people/{what}");
    let query = json!({"match": {"message": address}});
    let line = |body: &Value| format!("{{\"index\":\"people\"}}\n{body}\n");
    vec![
        (path("_search"), json!({"query": query}), "/hits/total/value"),
        (path("_search"), json!({"query": {"term": {"user": address}}}), "/hits/total/value"),
        (path("_search"), json!({"query": {"query_string": {"query": address}}}), "/hits/total/value"),
        (path("_search"), json!({"post_filter": query}), "/hits/total/value"),
        (path("_search"), json!({"query": {"ids": {"values": [address]}}}), "/hits/total/value"),
        (path(&format!("_search?q={}", address.replace('@', "%40"))), json!({}), "/hits/total/value"),
        (path("_count"), json!({"query": {"match_phrase": {"message": format!("of {address}")}}}), "/count"),
        (
            path("_count"),
            json!({"query": {"prefix": {"user": address.split_once(".").map(|(begin, _)| begin)}}}),
            "/count",
        ),
        (path("_count"), json!({"query": {"range": {"user": {"gte": address, "lte": address}}}}), "/count"),
        (path("_count"), json!({"query": {"exists": {"field": address}}}), "/count"),
        (path("_search"), json!({"size": 0, "aggs": {"a": {"filter": query}}}), "/aggregations/a/doc_count"),
        (
            path("_search"),
            json!({"size": 0, "aggs": {"l": {"terms": {"field": "level"}, "aggs": {"f": {"filters": {"filters": {"x": query}}}}}}}),
            "/aggregations/l/buckets/0/f/buckets/x/doc_count",
        ),
        (path("_search"), json!({"size": 0, "aggs": {"t": {"terms": {"field": address}}}}), ""),
        (path("_search"), json!({"size": 0, "aggs": {"t": {"value_count": {"field": address}}}}), ""),
        ("/_msearch".to_owned(), Value::String(line(&json!({"query": query}))), "/responses/0/hits/total/value"),
    ]
}

async fn put(world: &World, key: u8, path: &str, body: &Value) -> (u16, Value) {
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let answer = ask(world.elastic(), key, "POST", path, body).await;
    let mut json = answer.json();
    if let Some(first) = json.pointer("/responses/0").filter(|first| first["status"] != 200).cloned() {
        json = first;
    }
    let status = json["status"].as_u64().map_or(answer.status.as_u16(), |status| u16::try_from(status).expect("small"));
    (status, json)
}

#[tokio::test]
async fn a_key_without_clearance_gets_the_same_refusal_for_every_address_at_every_door() {
    let world = world();
    for key in [SEARCH, BLIND] {
        for ((path, body, _), (_, other, _)) in ways(ALICE).into_iter().zip(ways(STRANGER)) {
            let (status, error) = put(&world, key, &path, &body).await;
            assert_eq!((status, &error["error"]["code"]), (403, &json!("DMC-QUERY-12")), "{path} {body}: {error}");
            if !path.contains("?q=") {
                assert_eq!(error, put(&world, key, &path, &other).await.1, "{path} {other}");
            }
            assert!(!error.to_string().contains("alice"), "the refusal repeats no value");
        }
        for query in [ALICE, STRANGER, "alice@*", "user:alice@ex*", "login -bob@example.com"] {
            let body = json!({"stream": "people", "query": query}).to_string();
            let answer = ask(world.native(), key, "POST", "/api/v1/search", body).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["error"]["code"]),
                (403, &json!("DMC-QUERY-12")),
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_with_clearance_finds_by_the_value_and_by_the_token() {
    let world = world();
    for (path, body, place) in ways(ALICE) {
        let (status, answer) = put(&world, FULL, &path, &body).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        let expected = match &body {
            body if place.is_empty() || body.to_string().contains("\"ids\"") => continue,
            body if ["prefix", "range", "exists"].iter().any(|kind| body["query"].get(kind).is_some()) => 0,
            _ if path.contains("?q=") => 2,
            body if body.to_string().contains("query_string") => 2,
            _ => 1,
        };
        assert_eq!(answer.pointer(place), Some(&json!(expected)), "{path} {body}: {answer}");
    }
    let found =
        ask(world.native(), FULL, "POST", "/api/v1/search", json!({"stream": "people", "query": ALICE}).to_string());
    let found = found.await.json();
    assert_eq!(found["total"]["value"], 2);
    let token = found["hits"].as_array().expect("hits").iter().find_map(|hit| hit["source"]["user"].as_str());
    let token = token.expect("a token").to_owned();
    assert!(token.starts_with("‹email:"), "{token}");
    for key in [SEARCH, FULL] {
        let body = json!({"stream": "people", "query": token}).to_string();
        assert_eq!(ask(world.native(), key, "POST", "/api/v1/search", body).await.json()["total"]["value"], 2);
    }
}
