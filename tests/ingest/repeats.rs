//! The same batch or the same id again: the first answer, a conflict, or nothing to do, but never a second record.

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::fixture::{bulk, events};

use crate::BINARY;

#[test]
fn nothing_is_taken_twice() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    let (drawn, _) = events(50, 20, 1);
    let batch = [("X-Domicile-Batch", "batch-1")];

    let first = tokyo.bulk("orders", &bulk(&drawn, None), &batch).unwrap();
    assert_eq!(first.status, 200, "{}", first.text());
    let again = tokyo.bulk("orders", &bulk(&drawn, None), &batch).unwrap();
    assert_eq!(again.status, 200, "the same batch and bytes: {}", again.text());
    assert_eq!(again.json()["items"], first.json()["items"], "the first answer again");
    let other = tokyo.bulk("orders", &bulk(&drawn[..10], None), &batch).unwrap();
    assert_eq!(other.status, 409, "other bytes under a known batch: {}", other.text());
    tokyo.refresh("orders");
    assert_eq!(tokyo.count("orders").unwrap(), 20);

    let item = |action: &str, message: &str| {
        let body = format!(
            "{{\"{action}\":{{\"_id\":\"a\"}}}}\n{{\"timestamp\":\"2026-11-20T00:00:00Z\",\"level\":\"INFO\",\"message\":\"{message}\"}}\n"
        );
        let answer = tokyo.bulk("ids", body.as_bytes(), &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let item = answer.json()["items"][0][action].clone();
        (item["status"].as_u64().unwrap(), item["result"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(item("create", "one").0, 201);
    assert_eq!(item("create", "one").0, 409, "`create` of a known id");
    assert_eq!(item("index", "one"), (200, "noop".to_owned()), "`index` of the same bytes");
    assert_eq!(item("index", "two").0, 409, "`index` of other bytes");
    assert_eq!(item("update", "one").0, 400, "`update` is not taken");
    let delete = tokyo.bulk("ids", b"{\"delete\":{\"_id\":\"a\"}}\n", &[]).unwrap();
    assert_eq!(delete.json()["items"][0]["delete"]["status"], 400, "`delete` is not taken: {}", delete.text());
    tokyo.refresh("ids");
    assert_eq!(tokyo.count("ids").unwrap(), 1);
}

#[test]
fn a_refused_item_is_named_and_the_others_are_taken() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    let body = b"{\"create\":{}}\n{\"message\":\"good\"}\n{\"create\":{}}\n{\"message\":\n{\"create\":{}}\n{\"message\":\"good\"}\n";
    let answer = tokyo.bulk("mixed", body, &[]).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"errors\":true"), "{}", answer.text());
    let status: Vec<u64> = answer.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["create"]["status"].as_u64().unwrap())
        .collect();
    assert_eq!(status, [201, 400, 201]);
    tokyo.refresh("mixed");
    assert_eq!(tokyo.count("mixed").unwrap(), 2);
}
