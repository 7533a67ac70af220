//! Three nodes of one region are restarted one after the other under load, each after it was drained: its streams go to the others
//! while it runs, without a lease that has to end, and every batch that was acknowledged is there, once, whichever node it came in at.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second, addresses};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::json;

use crate::BINARY;

const STREAM: &str = "orders";
/// How the third node is called among the nodes that a test starts.
pub(crate) const THIRD: &str = "tokyo-5";
/// Events in one batch.
const EACH: u64 = 20;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

/// Sends one batch after the other, each to the next node, until one has acknowledged it.
fn write(nodes: &[Region], is_over: &AtomicBool, acknowledged: &AtomicU64) {
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        let number = acknowledged.load(Ordering::Relaxed);
        let id = format!("batch-{number}");
        let (drawn, _) = events(900 + number, EACH, 2);
        let body = bulk(&drawn, Some(&id));
        let sent = wait_until(LONG, || {
            let answer = nodes[turn % nodes.len()].bulk(STREAM, &body, &[("X-Domicile-Batch", id.as_str())]);
            let is_taken = answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false));
            turn += 1;
            is_taken.then_some(())
        });
        sent.expect("a node takes the batch");
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

fn takes(region: &Region) -> bool {
    let (drawn, _) = events(1, 1, 1);
    let answer = region.bulk(STREAM, &bulk(&drawn, Some("probe")), &[("X-Domicile-Batch", "probe")]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

/// A third node, number 5, made after the second one.
pub(crate) fn third(cluster: &Cluster, second: &Region) -> Result<Region> {
    let (es, api, link) = addresses()?;
    let pki = cluster.data().join("pki").display().to_string();
    cluster.command(&["pki", "issue", "--region", "tokyo", "--node", "5", "--dir", &pki])?;
    let at = |url: &str| url.trim_start_matches("http://").to_owned();
    let config = std::fs::read_to_string(cluster.configuration(SECOND))?
        .replace("node-4.", "node-5.")
        .replace(&at(&second.doors.es), &es.to_string())
        .replace(&at(&second.doors.api), &api.to_string())
        .replace(&second.doors.link, &link.to_string());
    let path = cluster.configuration(THIRD);
    let dir = path.parent().unwrap().join("data").join("keys");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(&path, config)?;
    for entry in std::fs::read_dir(cluster.configuration(SECOND).with_file_name("data").join("keys"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), dir.join(entry.file_name()))?;
    }
    let mut region = cluster.region("tokyo");
    region.doors.es = format!("http://{es}");
    region.doors.api = format!("http://{api}");
    region.doors.link = link.to_string();
    Ok(region)
}

/// Their numbers, in the order of the nodes.
const NUMBERS: [u64; 3] = [1, 4, 5];

#[test]
fn a_node_that_is_drained_gives_its_streams_away_before_it_is_restarted() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut third_node = None;
    let second = Second::beside(&mut cluster, |second, cluster| {
        second.share_bucket(cluster)?;
        third_node = Some(third(cluster, &second.region(cluster))?);
        Ok(())
    });
    let (second, third) = (second.unwrap(), third_node.unwrap());
    second.approve(&cluster).unwrap();
    let approve = ["node", "join", "--region", "tokyo", "--node", "5", "--addr", &third.doors.link];
    cluster.command(&approve).unwrap();
    let nodes = [cluster.region("tokyo"), second.region(&cluster), third];
    for (node, name) in nodes.iter().zip(["tokyo", SECOND, THIRD]).skip(1) {
        cluster.launch(name).unwrap();
        wait_until(LONG, || node.is_ready().then_some(())).expect("the node is ready");
    }
    let create = ["stream", "create", STREAM, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    let disk = ["stream", "create", "scraps", "--no-personal-data", "--region", "tokyo"];
    cluster.command(&disk).unwrap();
    for stream in [STREAM, "scraps"] {
        let (drawn, _) = events(1, 1, 1);
        let body = bulk(&drawn, Some("probe"));
        let sent = wait_until(READY_WITHIN, || {
            let answer = nodes[0].bulk(stream, &body, &[("X-Domicile-Batch", "probe")]).ok()?;
            (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
        });
        sent.expect("the first node writes it");
    }
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&nodes, &is_over, &acknowledged));
        for (at, name) in ["tokyo", SECOND, THIRD].into_iter().enumerate() {
            let from = &nodes[at];
            let writes = |node: &Region| node.writer(STREAM) == Some(NUMBERS[at]);
            let wrote = writes(from);
            let drained = wait_until(LONG, || {
                let answer = from.api("admin", "POST", "/api/v1/admin/node/drain", &json!({})).unwrap();
                let is_done = answer.status == 200 && answer.json()["handed_over"] == json!(u64::from(wrote));
                is_done.then(|| answer.json())
            });
            let drained = drained.expect("its stream goes to another node");
            let stay: BTreeSet<&str> =
                drained["stay"].as_array().unwrap().iter().filter_map(|one| one.as_str()).collect();
            assert_eq!(stay.contains("scraps"), at == 0, "what lies on a disk stays: {stay:?}");
            let is_given = || !nodes.iter().any(writes);
            wait_until(LONG, || is_given().then_some(())).expect("another node writes it, and each knows that");
            wait_until(LONG, || nodes.iter().all(takes).then_some(())).expect("it is taken at each of them");
            assert!(
                from.api("admin", "GET", "/api/v1/status", &json!(null)).unwrap().status == 200,
                "it ran all the while"
            );
            let so_far = acknowledged.load(Ordering::Relaxed);
            cluster.end(name).unwrap();
            let more = wait_until(LONG, || (acknowledged.load(Ordering::Relaxed) > so_far + 3).then_some(()));
            more.expect("batches are acknowledged while it is away");
            cluster.launch(name).unwrap();
            wait_until(LONG, || from.is_ready().then_some(())).expect("it is back");
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    let wanted = acknowledged.load(Ordering::Relaxed) * EACH + 1;
    let counted = || nodes.iter().find_map(|node| node.count(STREAM).ok());
    let found = wait_until(LONG, || {
        let _ =
            nodes.iter().map(|node| node.es("ingest", "POST", "/orders/_refresh", &json!(null))).collect::<Vec<_>>();
        counted().filter(|count| *count == wanted)
    });
    assert_eq!(found, Some(wanted), "every acknowledged batch, once: {:?}", counted());
}
