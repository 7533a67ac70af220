//! A node that was said to be gone and was only paused: it goes on with what it had in its hands, and nothing of that counts. Nor does it
//! answer less than what others wrote meanwhile.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::json;

use crate::anywhere::started;
use crate::handed::THIRD;

const STREAM: &str = "orders";
/// Events in one batch.
const EACH: u64 = 20;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

fn sent(node: &Region, number: u64) -> bool {
    let (drawn, _) = events(number, EACH, 2);
    let id = format!("batch-{number}");
    let answer = node.bulk(STREAM, &bulk(&drawn, None), &[("X-Domicile-Batch", id.as_str())]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

#[test]
fn a_node_that_was_taken_out_while_it_was_paused_acknowledges_nothing_that_is_lost() {
    let (cluster, nodes) = started();
    let create = ["stream", "create", STREAM, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    wait_until(LONG, || sent(&nodes[2], 0).then_some(())).expect("the third node writes the stream");
    wait_until(LONG, || (nodes[0].writer(STREAM) == Some(5)).then_some(())).expect("and the first one knows it");

    cluster.signal(THIRD, "STOP").unwrap();
    cluster.command(&["node", "remove", "--region", "tokyo", "--node", "5"]).unwrap();
    std::thread::scope(|scope| {
        // It waits at the door of the paused node, which takes itself for the owner when it goes on.
        let late = scope.spawn(|| sent(&nodes[2], 1));
        wait_until(LONG, || sent(&nodes[0], 2).then_some(())).expect("another node takes the stream over");
        cluster.signal(THIRD, "CONT").unwrap();
        let acknowledged = 2 + u64::from(late.join().unwrap());
        for node in &nodes[..2] {
            node.refresh(STREAM);
            assert_eq!(node.count(STREAM).unwrap(), acknowledged * EACH, "every acknowledged batch, once");
        }
    });
}

#[test]
fn a_node_that_was_paused_for_longer_than_its_lease_answers_nothing_that_is_short() {
    let (cluster, nodes) = started();
    let create = ["stream", "create", STREAM, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    wait_until(LONG, || sent(&nodes[2], 0).then_some(())).expect("the third node writes the stream");
    wait_until(LONG, || (nodes[0].writer(STREAM) == Some(5)).then_some(())).expect("and the first one knows it");
    nodes[2].refresh(STREAM);
    assert_eq!(nodes[2].count(STREAM).unwrap(), EACH);

    cluster.signal(THIRD, "STOP").unwrap();
    std::thread::scope(|scope| {
        // They wait at the door of the paused node, which takes itself for the owner when it goes on.
        let late: Vec<_> = (0..8).map(|_| scope.spawn(|| nodes[2].count(STREAM).ok())).collect();
        wait_until(LONG, || sent(&nodes[0], 1).then_some(())).expect("another node takes the stream over");
        nodes[0].refresh(STREAM);
        assert_eq!(nodes[0].count(STREAM).unwrap(), 2 * EACH);
        cluster.signal(THIRD, "CONT").unwrap();
        for answer in late {
            let told = answer.join().unwrap();
            assert!(told.is_none_or(|count| count == 2 * EACH), "an answer is whole or none: {told:?} of {}", 2 * EACH);
        }
    });
    let first = wait_until(LONG, || nodes[2].count(STREAM).ok());
    assert_eq!(first, Some(2 * EACH), "and so is the first one that it gives");
}
