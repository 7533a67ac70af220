//! Streams go to the nodes that have room for them: under load a second and then a third node of a region get work by
//! themselves, a drained one loses it and gets none, and every batch that was acknowledged is there, once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::handed::{THIRD, third};

/// Streams that all begin with the first node, each under the same load.
const STREAMS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];
/// Events in one batch.
const EACH: u64 = 40;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);
/// As short as it may be, and with a threshold that the load of a test reaches.
const PLACEMENT: &str = "enabled = true\ninterval_seconds = 1\nhalf_life_seconds = 3\nleast_millicores = 1\n";

/// Whether a node takes a batch.
fn takes(node: &Region, stream: &str, number: u64) -> bool {
    let id = format!("{stream}-{number}");
    let (drawn, _) = events(number, EACH, 2);
    let answer = node.bulk(stream, &bulk(&drawn, Some(&id)), &[("X-Domicile-Batch", id.as_str())]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

/// Sends one batch after the other to a stream, each until a node has acknowledged it.
fn write(nodes: &[Region], stream: &str, is_over: &AtomicBool, acknowledged: &AtomicU64) {
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        let number = acknowledged.load(Ordering::Relaxed);
        let sent = wait_until(LONG, || {
            let is_taken = takes(&nodes[turn % nodes.len()], stream, number);
            turn += usize::from(!is_taken);
            is_taken.then_some(())
        });
        sent.expect("no batch is refused for good");
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a node says of placement.
fn placement(node: &Region) -> Option<Value> {
    let answer = node.api("admin", "GET", "/api/v1/admin/placement", &json!(null)).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// How many of the streams each node has.
fn spread(said: &Value) -> BTreeMap<u64, usize> {
    let mut owned = BTreeMap::new();
    for row in said["streams"].as_array().unwrap() {
        if STREAMS.contains(&row["stream"].as_str().unwrap_or_default()) {
            *owned.entry(row["node"].as_u64().unwrap()).or_default() += 1;
        }
    }
    owned
}

/// Waits until the streams lie so.
#[track_caller]
fn lie(of: &Region, what: &str, holds: impl Fn(&BTreeMap<u64, usize>) -> bool) -> Value {
    let found = wait_until(LONG, || placement(of).filter(|said| holds(&spread(said))));
    found.unwrap_or_else(|| panic!("{what}: {:#}", placement(of).unwrap_or_default()))
}

#[test]
fn a_new_node_gets_work_under_load_and_a_drained_one_loses_it() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut third_node = None;
    let second = Second::beside(&mut cluster, |second, cluster| {
        second.share_bucket(cluster)?;
        for node in ["tokyo", SECOND] {
            cluster.set(node, "placement", PLACEMENT)?;
        }
        third_node = Some(third(cluster, &second.region(cluster))?);
        Ok(())
    });
    let (second, third) = (second.unwrap(), third_node.unwrap());
    let nodes = [cluster.region("tokyo"), second.region(&cluster), third];
    let mut totals = [0; STREAMS.len()];
    for (stream, total) in STREAMS.iter().zip(&mut totals) {
        let create = ["stream", "create", stream, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
        cluster.command(&create).unwrap();
        wait_until(LONG, || takes(&nodes[0], stream, 0).then_some(())).expect("the first node writes it");
        *total = 1;
    }
    let disk = ["stream", "create", "scraps", "--no-personal-data", "--region", "tokyo"];
    cluster.command(&disk).unwrap();
    wait_until(LONG, || takes(&nodes[0], "scraps", 0).then_some(())).expect("the first node writes it");
    let (is_over, acknowledged) = (AtomicBool::new(false), totals.map(AtomicU64::new));
    let batches = || acknowledged.iter().map(|one| one.load(Ordering::Relaxed)).sum::<u64>();
    std::thread::scope(|scope| {
        let writers: Vec<_> = STREAMS
            .iter()
            .zip(&acknowledged)
            .map(|(stream, acknowledged)| scope.spawn(|| write(&nodes, stream, &is_over, acknowledged)))
            .collect();

        second.join(&mut cluster).unwrap();
        cluster.wait_for(SECOND, LONG, || nodes[1].is_ready()).unwrap();
        lie(&nodes[0], "the second node gets work", |owned| owned.get(&4).is_some_and(|streams| *streams >= 2));

        let approve = ["node", "join", "--region", "tokyo", "--node", "5", "--addr", &nodes[2].doors.link];
        cluster.command(&approve).unwrap();
        cluster.launch(THIRD).unwrap();
        cluster.wait_for(THIRD, LONG, || nodes[2].is_ready()).unwrap();
        let said =
            lie(&nodes[0], "the third node gets work", |owned| owned.get(&5).is_some_and(|streams| *streams >= 1));
        assert!(said["given"].as_u64().unwrap() >= 2, "the first node gave them: {said:#}");
        let scraps = said["streams"].as_array().unwrap().iter().find(|row| row["stream"] == json!("scraps"));
        let scraps = scraps.unwrap_or_else(|| panic!("{said:#}"));
        assert_eq!((&scraps["node"], &scraps["movable"]), (&json!(1), &json!(false)), "what lies on a disk stays");

        let drained = wait_until(LONG, || {
            let answer = nodes[0].api("admin", "POST", "/api/v1/admin/node/drain", &json!({})).unwrap();
            (answer.status == 200).then_some(())
        });
        drained.expect("it is drained");
        lie(&nodes[1], "the drained node loses what it had", |owned| !owned.contains_key(&1));
        // Two others work meanwhile, and it is idle: still nothing comes back.
        let so_far = batches();
        wait_until(LONG, || (batches() > so_far + 120).then_some(())).expect("batches are acknowledged");
        let said = lie(&nodes[1], "nothing comes back", |owned| !owned.contains_key(&1));
        let standing = said["nodes"].as_array().unwrap().iter().find(|row| row["node"] == json!(1)).unwrap();
        assert_eq!(standing["standing"], json!("drained"), "{said:#}");
        assert!(said["moves"].as_array().unwrap().iter().all(|step| step["to"] != json!(1)), "{said:#}");

        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    for (stream, acknowledged) in STREAMS.iter().zip(&acknowledged) {
        let wanted = acknowledged.load(Ordering::Relaxed) * EACH;
        let counted = || {
            nodes.iter().for_each(|node| drop(node.es("ingest", "POST", &format!("/{stream}/_refresh"), &json!(null))));
            nodes.iter().find_map(|node| node.count(stream).ok())
        };
        let found = wait_until(LONG, || counted().filter(|count| *count == wanted));
        assert_eq!(found, Some(wanted), "{stream}: every acknowledged batch, once: {:?}", counted());
    }
    let table = cluster.command(&["storage", "plan", "--region", "tokyo"]).unwrap();
    assert!(table.contains("MILLICORES") && STREAMS.iter().all(|stream| table.contains(stream)), "{table}");
}
