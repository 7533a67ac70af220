//! Two nodes of one region with one bucket: one is killed and loses its disk, then it is paused for longer than its lease.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::json;

use crate::BINARY;

/// Events in one batch.
const EACH: u64 = 25;
/// A lease, some rounds, and what a slow machine needs.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);

/// Sends a batch under its id; whether it was acknowledged whole.
fn send(to: &Region, number: u64) -> bool {
    let (drawn, _) = events(100 + number, EACH, 2);
    let id = format!("batch-{number}");
    let answer = to.bulk("orders", &bulk(&drawn, Some(&id)), &[("X-Domicile-Batch", id.as_str())]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

#[test]
fn a_node_that_lost_its_disk_and_one_that_was_paused_cost_no_batch() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let node = Second::beside(&mut cluster, Second::share_bucket).unwrap();
    node.join(&mut cluster).unwrap();
    let (tokyo, second) = (cluster.region("tokyo"), node.region(&cluster));
    let create = ["stream", "create", "orders", "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    wait_until(READY_WITHIN, || send(&second, 0).then_some(())).expect("the second node writes the stream");
    let mut acknowledged = 1;
    for number in 1..12 {
        acknowledged += u64::from(send(&second, number));
    }
    assert_eq!(acknowledged, 12);
    second.refresh("orders");
    assert_eq!(second.count("orders").unwrap(), 12 * EACH);

    // Gone with its disk, and back.
    cluster.kill(SECOND).unwrap();
    node.lose_disk(&cluster).unwrap();
    cluster.launch(SECOND).unwrap();
    let back = wait_until(TAKEN_WITHIN, || second.count("orders").ok().filter(|count| *count > 0));
    assert_eq!(back, Some(12 * EACH), "every acknowledged batch, once");
    for number in 0..12 {
        assert!(wait_until(READY_WITHIN, || send(&second, number).then_some(())).is_some(), "{number} is sent again");
    }
    assert!(wait_until(READY_WITHIN, || send(&second, 12).then_some(())).is_some(), "and goes on");
    second.refresh("orders");
    assert_eq!(second.count("orders").unwrap(), 13 * EACH, "what was sent again is known");

    // Paused for longer than its lease: another node of the region goes on, and what was acknowledged is there.
    cluster.signal(SECOND, "STOP").unwrap();
    let taken = wait_until(TAKEN_WITHIN, || send(&tokyo, 13).then_some(()));
    assert!(taken.is_some(), "the first node takes the stream over");
    tokyo.refresh("orders");
    assert_eq!(tokyo.count("orders").unwrap(), 14 * EACH);
    cluster.signal(SECOND, "CONT").unwrap();
    let mut late = 0;
    for number in 14..24 {
        // Whether it refuses or passes it on: what it acknowledges is with the owner.
        late += u64::from(send(&second, number));
    }
    for number in 0..14 {
        assert!(wait_until(READY_WITHIN, || send(&tokyo, number).then_some(())).is_some(), "{number} is known there");
    }
    tokyo.refresh("orders");
    assert_eq!(
        tokyo.count("orders").unwrap(),
        (14 + late) * EACH,
        "{late} batches of the deposed one were acknowledged"
    );
}
