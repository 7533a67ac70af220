//! The same question at home and abroad: it counts the same, or it is refused with a reason.

use serde_json::{Value, json};

use crate::present::world::{Answer, SEARCH, World, ask};

async fn count(world: &World, index: &str, query: &Value) -> Answer {
    let body = json!({"query": query}).to_string();
    ask(world.elastic(), SEARCH, "POST", &format!("/{index}/_count"), body).await
}

fn world() -> World {
    World::with_people(vec![
        json!({"message": "the disk failed", "level": "ERROR", "service": "cart"}),
        json!({"message": "broken", "exception": "at Disk.java: read failed", "level": "WARN", "service": "cart"}),
        json!({"message": "long", "note": format!("{} disk is slow", "x".repeat(300)), "service": "cart-batch"}),
        json!({"message": "fine", "service": "disk"}),
        json!({"message": "card-7 failed where no card was", "exception": "card", "service": "checkout"}),
        json!({"message": "card 8", "exception": "the disk failed", "host": "cart"}),
    ])
}

fn typed(query: &str) -> Value {
    json!({"query_string": {"query": query, "default_operator": "and"}})
}

/// How many records match at home, and whether other regions may be asked the same.
fn questions() -> Vec<(Value, u64, bool)> {
    let travels = |query, here| (query, here, true);
    let stays = |query, here| (query, here, false);
    vec![
        travels(typed("disk"), 4),
        travels(typed("disk failed"), 3),
        travels(typed("read"), 1),
        travels(typed("dis*"), 4),
        travels(typed("slow OR slow"), 1),
        travels(typed("-disk"), 2),
        travels(typed("message:disk"), 1),
        travels(typed("msg:disk"), 1),
        travels(typed("log:disk"), 1),
        travels(typed("exception:disk"), 3),
        travels(typed("stack_trace:disk"), 3),
        travels(typed("-message:disk"), 5),
        travels(typed("message:dis*"), 1),
        travels(typed("exception:\"disk failed\""), 1),
        travels(typed("message:failed AND exception:card"), 1),
        travels(typed("message:disk OR exception:disk"), 4),
        travels(typed("message:disk OR disk"), 4),
        stays(typed("message:disk OR exception:read"), 2),
        travels(typed("message:card-7"), 1),
        travels(json!({"term": {"message": "card 7"}}), 1),
        travels(json!({"term": {"message": "failed card"}}), 0),
        travels(json!({"match": {"message": {"query": "failed card", "operator": "and"}}}), 1),
        travels(json!({"match": {"message": "broken"}}), 1),
        stays(json!({"match": {"message": "broken fine"}}), 2),
        stays(json!({"match": {"message": "card-7"}}), 2),
        travels(json!({"match_phrase": {"message": "disk failed"}}), 1),
        travels(json!({"prefix": {"message": "car"}}), 2),
        travels(json!({"bool": {"must_not": [{"match": {"exception": "card"}}]}}), 5),
        travels(json!({"multi_match": {"query": "card", "fields": ["message", "exception"]}}), 2),
        travels(typed("service:cart"), 2),
        travels(typed("service:\"cart\""), 2),
        travels(typed("service.keyword:\"cart\""), 2),
        travels(json!({"match": {"service": "cart"}}), 2),
        travels(json!({"match_phrase": {"service": "cart"}}), 2),
        travels(json!({"match": {"level": "error"}}), 1),
        stays(typed("service:car*"), 3),
        stays(typed("service:cart-batch"), 1),
        stays(typed("host:cart"), 1),
    ]
}

#[tokio::test]
async fn what_is_asked_abroad_counts_what_it_counts_at_home_or_is_refused() {
    let world = world();
    for (query, here, travels) in questions() {
        let local = count(&world, "people", &query).await;
        assert_eq!(local.json()["count"], here, "{query}: {}", local.text);
        let abroad = count(&world, "frankfurt:people", &query).await;
        if travels {
            assert_eq!(abroad.json()["count"], here, "{query} abroad: {}", abroad.text);
        } else {
            assert_eq!(abroad.status, 400, "{query} abroad: {}", abroad.text);
            let reason = abroad.json()["error"]["reason"].to_string();
            assert!(reason.contains("DMC-PRESENT-07") || reason.contains("that region itself"), "{query}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_search_abroad_has_as_many_aggregations_as_one_at_home_and_no_more() {
    let world = world();
    for (number, status, code) in [(64, 200, Value::Null), (65, 400, json!("DMC-QUERY-13"))] {
        let aggs: Value = (0..number).map(|at| (at.to_string(), json!({"terms": {"field": "level"}}))).collect();
        let body = json!({"size": 0, "aggs": aggs}).to_string();
        for index in ["people", "frankfurt:people"] {
            let answer = ask(world.elastic(), SEARCH, "POST", &format!("/{index}/_search"), body.clone()).await;
            let said = answer.json();
            assert_eq!((answer.status.as_u16(), &said["error"]["code"]), (status, &code), "{index}: {said}");
        }
    }
}
