//! A second node of a region, brought in by hand as the operator's guide says: it holds nothing of a stream that the first one
//! writes, asks that one, and is never the reason for an answer that is smaller than it should be.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::{Region, counting, read_counts};
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

#[test]
fn a_second_node_of_a_region_never_makes_an_answer_smaller() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    let (drawn, counts) = events(70, 600, 3);
    let planted = [("X-Domicile-Batch", "planted")];
    assert_eq!(tokyo.bulk("orders", &bulk(&drawn, None), &planted).unwrap().status, 200);
    tokyo.refresh("orders");

    let node = Second::prepare(&cluster).unwrap();
    node.approve(&cluster).unwrap();
    cluster.launch(SECOND).unwrap();
    let second = node.region(&cluster);
    let counted = wait_until(READY_WITHIN, || second.count("orders").ok());
    assert_eq!(counted, Some(counts.total), "it asks the node that has the stream, under keys of its own");
    let sent = second.bulk("orders", &bulk(&drawn, None), &planted).unwrap();
    assert!(sent.status == 200 && sent.json()["errors"] == json!(false), "{}", sent.text());
    assert_eq!(tokyo.count("orders").unwrap(), counts.total, "what it brings is known there, under the keys of there");
    let question = json!({"stream": "orders", "regions": ["*"], "on_missing": "partial", "ask": "count", "size": 0});
    let numbers = |node: &Region| node.api("search", "POST", "/api/v1/search", &question).unwrap().json();
    let (own, owners) = (numbers(&second), numbers(&tokyo));
    assert_eq!(own["total"], owners["total"], "behind the gate the owner is asked as well: {own}");
    assert_eq!(own["coverage"]["tokyo"]["status"], owners["coverage"]["tokyo"]["status"], "{own}");

    // Whichever of the two nodes a question reaches first.
    let frankfurt = cluster.region("frankfurt");
    wait_until(READY_WITHIN, || knows(&frankfurt, 4).then_some(())).expect("Frankfurt knows the second node");
    for _ in 0..24 {
        let answer = frankfurt.federated(&["tokyo"], "orders", &counting());
        assert_eq!(read_counts(&answer).total, counts.total, "{answer}");
    }

    let profile = cluster.data().join("second.toml");
    let text = format!(
        "[regions.tokyo]\napi = \"{}\"\nes = \"{}\"\nkey = \"{}\"\n",
        second.doors.api, second.doors.es, second.keys["admin"]
    );
    std::fs::write(&profile, text).unwrap();
    std::fs::set_permissions(&profile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let profile = profile.display().to_string();
    cluster.command(&["--profile", &profile, "node", "leave", "--region", "tokyo"]).unwrap();
    wait_until(Duration::from_secs(20), || (!knows(&frankfurt, 4)).then_some(())).expect("the second node has left");
    assert_eq!(read_counts(&frankfurt.federated(&["tokyo"], "orders", &counting())).total, counts.total);
}

/// Whether a region's node knows a node of the group.
fn knows(region: &Region, node: u64) -> bool {
    let status = region.api("admin", "GET", "/api/v1/status", &Value::Null).unwrap().json();
    let nodes = status["nodes"].as_array().unwrap_or_else(|| panic!("no nodes in {status}"));
    nodes.iter().any(|row| row["node"] == node)
}
