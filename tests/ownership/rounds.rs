//! Two nodes of one region over one S3 bucket, under load, round after round: killed, paused for longer than the lease, and
//! killed with the loss of the disk. Every batch that was acknowledged is there, once.
//!
//! `DOMICILE_ROUNDS` says how many rounds, `DOMICILE_SEED` in which order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domicile_tests::cluster::fixture::{Dice, bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::json;

use crate::BINARY;

const STREAM: &str = "orders";
/// Events in one batch.
const EACH: u64 = 20;
/// Who writes at once.
const WRITERS: u64 = 3;
/// A lease, some rounds, and what a slow machine needs.
const TAKEN_WITHIN: Duration = Duration::from_secs(180);
/// Batches that are acknowledged before and after each fault.
const BETWEEN: u64 = 12;

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    LoseDisk,
}

/// The writers, and what was acknowledged.
struct Load {
    nodes: Vec<(&'static str, Region)>,
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    ids: Mutex<BTreeSet<String>>,
    /// At which node the last batch was acknowledged.
    last: AtomicU64,
}

impl Load {
    /// Sends one batch after the other, each under its id until a node acknowledges it, to the one node as to the other.
    fn write(&self, writer: u64) {
        let mut number = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let id = format!("w{writer}-{number}");
            let (drawn, _) = events(writer * 1_000_000 + number, EACH, 2);
            let body = bulk(&drawn, Some(&id));
            let mut turn = usize::try_from(self.last.load(Ordering::Relaxed) + number).unwrap();
            let taken = wait_until(TAKEN_WITHIN, || {
                turn += 1;
                sent(&self.nodes[turn % 2].1, &id, &body).then_some(turn % 2)
            });
            let node = taken.expect("a node takes the batch");
            self.last.store(node as u64, Ordering::Relaxed);
            self.ids.lock().unwrap().insert(id);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            number += 1;
        }
    }

    /// The node that acknowledged the last batch; it answers for the region.
    fn last(&self) -> &Region {
        &self.nodes[usize::try_from(self.last.load(Ordering::Relaxed)).unwrap()].1
    }

    /// Which of the nodes writes the stream.
    fn owner(&self) -> usize {
        usize::from(self.last().writer(STREAM).expect("somebody writes it") != 1)
    }

    /// Waits until so many more are acknowledged.
    fn go_on(&self, more: u64) {
        let until = self.acknowledged.load(Ordering::Relaxed) + more;
        let reached = || (self.acknowledged.load(Ordering::Relaxed) >= until).then_some(());
        wait_until(TAKEN_WITHIN, reached).expect("batches are acknowledged again");
    }
}

/// Whether a batch was acknowledged whole.
fn sent(to: &Region, id: &str, body: &[u8]) -> bool {
    let answer = to.bulk(STREAM, body, &[("X-Domicile-Batch", id)]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Does it to a node, and has it back.
fn shake(cluster: &mut Cluster, load: &Load, (node, name): (usize, &str), fault: Fault) {
    if fault == Fault::Pause {
        cluster.signal(name, "STOP").unwrap();
        // The other one goes on, whichever of them wrote.
        let other = &load.nodes[1 - node].1;
        let (drawn, _) = events(7, 1, 1);
        let body = bulk(&drawn, Some("probe"));
        wait_until(TAKEN_WITHIN, || sent(other, "probe", &body).then_some(())).expect("the other node writes");
        cluster.signal(name, "CONT").unwrap();
    } else {
        cluster.kill(name).unwrap();
        if fault == Fault::LoseDisk {
            lose_disk(cluster, name);
        }
        cluster.launch(name).unwrap();
    }
    let region = &load.nodes[node].1;
    wait_until(READY_WITHIN, || region.is_ready().then_some(())).expect("it is back");
}

/// Deletes a node's data, all but the keys that an operator has in a backup, and its part of the metadata group.
fn lose_disk(cluster: &Cluster, name: &str) {
    let data = cluster.data().join("nodes").join(name).join("data");
    for entry in std::fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "keys" || entry.file_name() == "meta" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn begun(server: &S3) -> (Cluster, Vec<(&'static str, Region)>) {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let with_server = |_: &Second, cluster: &Cluster| {
        let lines = server.settings(cluster.data())?;
        cluster.set("tokyo", "store", &lines)?;
        cluster.set(SECOND, "store", &lines)
    };
    let node = Second::beside(&mut cluster, with_server).unwrap();
    node.join(&mut cluster).unwrap();
    let nodes = vec![("tokyo", cluster.region("tokyo")), (SECOND, node.region(&cluster))];
    let create = ["stream", "create", STREAM, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
    cluster.command(&create).unwrap();
    (cluster, nodes)
}

#[test]
fn no_acknowledged_batch_is_lost_or_doubled_whatever_becomes_of_the_nodes() {
    let Some(server) = S3::start().unwrap() else { return };
    let (mut cluster, nodes) = begun(&server);
    let load = Arc::new(Load {
        nodes,
        is_over: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        ids: Mutex::default(),
        last: AtomicU64::new(0),
    });
    // So that the first round moves the stream to the node that may lose its disk.
    let (drawn, _) = events(8, 1, 1);
    let body = bulk(&drawn, Some("first"));
    wait_until(READY_WITHIN, || sent(&load.nodes[0].1, "first", &body).then_some(())).expect("the stream is written");
    // The second node joins through the first: before that is paused, it knows who writes the stream.
    let knows = || (load.nodes[1].1.writer(STREAM) == Some(1)).then_some(());
    wait_until(READY_WITHIN, knows).expect("the second node knows the stream");
    let mut dice = Dice::new(number_of("DOMICILE_SEED", 1));
    let (mut probes, mut was_paused) = (1, false);
    for round in 0..number_of("DOMICILE_ROUNDS", 3) {
        load.is_over.store(false, Ordering::Relaxed);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let load = Arc::clone(&load);
                std::thread::spawn(move || load.write(round * WRITERS + writer))
            })
            .collect();
        load.go_on(BETWEEN);
        // The first rounds show each fault once, to the node that writes; then the dice say what and to whom.
        let owner = load.owner();
        let all = [Fault::Pause, Fault::LoseDisk, Fault::Kill];
        let fault = all[usize::try_from(if round < 3 { round } else { dice.below(3) }).unwrap()];
        let node = if round >= 3 && dice.below(4) == 0 { 1 - owner } else { owner };
        // The first node votes in the metadata group and is a witness of other ledgers: its disk is no part of this.
        let node = if fault == Fault::LoseDisk { 1 } else { node };
        let name = load.nodes[node].0;
        eprintln!("round {round}: {fault:?} of {name}, {} batches so far", load.acknowledged.load(Ordering::Relaxed));
        shake(&mut cluster, &load, (node, name), fault);
        probes += u64::from(fault == Fault::Pause && !was_paused);
        was_paused |= fault == Fault::Pause;
        load.go_on(BETWEEN);
        load.is_over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());

        let expected = load.acknowledged.load(Ordering::Relaxed) * EACH + probes;
        load.last().refresh(STREAM);
        assert_eq!(load.last().count(STREAM).unwrap(), expected, "round {round}: {fault:?} of {name}");
    }
    // Each id is known: what is sent again adds nothing.
    let ids = load.ids.lock().unwrap().clone();
    assert_eq!(ids.len() as u64, load.acknowledged.load(Ordering::Relaxed));
    for (turn, id) in ids.into_iter().enumerate() {
        let node = &load.nodes[turn % 2].1;
        let (writer, number) = id[1..].split_once('-').unwrap();
        let (writer, number): (u64, u64) = (writer.parse().unwrap(), number.parse().unwrap());
        let (drawn, _) = events(writer * 1_000_000 + number, EACH, 2);
        let body = bulk(&drawn, Some(&id));
        assert!(wait_until(READY_WITHIN, || sent(node, &id, &body).then_some(())).is_some(), "{id}");
    }
    load.last().refresh(STREAM);
    let expected = load.acknowledged.load(Ordering::Relaxed) * EACH + probes;
    assert_eq!(load.last().count(STREAM).unwrap(), expected, "what was sent again is known");
}
