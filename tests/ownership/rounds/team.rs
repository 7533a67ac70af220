//! The three nodes, what may become of them, and how they come back, as the operator's guide says it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::second::{SECOND, Second, configuration};
use domicile_tests::cluster::{Cluster, READY_WITHIN, ports, wait_until};
use serde_json::{Value, json};

use super::load::Load;
use crate::BINARY;
use crate::handed::{THIRD, third};
use crate::rebuild::{copy_all, without_tokyo};

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    Pause,
    /// All of the data directory but the keys, of which there is a backup, and what no bucket gives back: its parts of the metadata
    /// group and its ledger. It comes back under its number.
    LoseDisk,
    /// All of it but the backup of the keys. A newcomer under another number takes its place.
    Replace,
}

pub(super) const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Pause, Fault::LoseDisk, Fault::Replace];
/// The place of the node that votes in the metadata group.
pub(super) const VOTER: usize = 0;
/// What a node needs to come back under its number.
const KEPT: [&str; 3] = ["keys", "meta", "ledger"];

struct Node {
    name: String,
    number: u64,
    link: String,
}

pub(super) struct Team {
    cluster: Cluster,
    nodes: [Node; 3],
    /// The number of the next newcomer.
    next: u64,
    /// The lines of their section `[store]`.
    store: String,
    /// Knows the other regions alone: a key is valid in its own region, and nobody may be there who could check it.
    abroad: String,
    /// Their doors, which stay.
    doors: [Region; 3],
}

impl Team {
    /// Three nodes of Tokyo with one bucket, and their doors.
    pub(super) fn begun(server: &S3) -> (Self, [Region; 3]) {
        let mut cluster = Cluster::start(BINARY, &[]).unwrap();
        let (mut last, mut store) = (None, String::new());
        let second = Second::beside(&mut cluster, |second, cluster| {
            store = server.settings(cluster.data())?;
            cluster.set("tokyo", "store", &store)?;
            cluster.set(SECOND, "store", &store)?;
            last = Some(third(cluster, &second.region(cluster))?);
            Ok(())
        });
        let (second, last) = (second.unwrap(), last.unwrap());
        second.approve(&cluster).unwrap();
        cluster.command(&["node", "join", "--region", "tokyo", "--node", "5", "--addr", &last.doors.link]).unwrap();
        let doors = [cluster.region("tokyo"), second.region(&cluster), last];
        let node = |(name, number): (&str, u64), doors: &Region| Node {
            name: name.to_owned(),
            number,
            link: doors.doors.link.clone(),
        };
        let nodes = [node(("tokyo", 1), &doors[0]), node((SECOND, 4), &doors[1]), node((THIRD, 5), &doors[2])];
        for (node, door) in nodes.iter().zip(&doors).skip(1) {
            cluster.launch(&node.name).unwrap();
            cluster.wait_for(&node.name, READY_WITHIN, || door.is_ready()).unwrap();
        }
        let abroad = without_tokyo(&cluster.data().join("profile.toml")).display().to_string();
        (Self { cluster, nodes, next: 6, store, abroad, doors: doors.clone() }, doors)
    }

    /// Makes a stream whose records lie in the bucket.
    pub(super) fn create(&self, stream: &str) {
        let create = ["stream", "create", stream, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
        self.cluster.command(&create).unwrap();
    }

    /// The place of a node; of one that is gone, the place where it was is told by nobody any more.
    pub(super) fn place_of(&self, number: u64) -> usize {
        self.nodes.iter().position(|node| node.number == number).unwrap_or(VOTER)
    }

    fn home(&self, at: usize) -> PathBuf {
        self.cluster.data().join("nodes").join(&self.nodes[at].name)
    }

    /// Does it to a node. What was done: a voter that loses its disk has lost its part of the metadata group and what it has seen as
    /// a witness, and does not come back under its number.
    pub(super) fn strike(&mut self, load: &Load, at: usize, fault: Fault) -> Fault {
        let name = self.nodes[at].name.clone();
        let fault = if fault == Fault::LoseDisk && at == VOTER { Fault::Replace } else { fault };
        eprintln!("  {fault:?} of {name}");
        if fault == Fault::Pause {
            self.cluster.signal(&name, "STOP").unwrap();
            return fault;
        }
        self.cluster.kill(&name).unwrap();
        load.another_life(at);
        if fault == Fault::LoseDisk {
            for entry in std::fs::read_dir(self.home(at).join("data")).unwrap() {
                let entry = entry.unwrap();
                if KEPT.iter().any(|kept| entry.file_name() == *kept) {
                    continue;
                }
                let (path, is_dir) = (entry.path(), entry.file_type().unwrap().is_dir());
                if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
            }
        } else if fault == Fault::Replace {
            let backup = self.backup(at);
            if backup.is_dir() {
                std::fs::remove_dir_all(&backup).unwrap();
            }
            copy_all(&self.home(at).join("data/keys"), &backup);
            std::fs::remove_dir_all(self.home(at)).unwrap();
        }
        fault
    }

    fn backup(&self, at: usize) -> PathBuf {
        self.cluster.data().join(format!("backup-{at}"))
    }

    /// Has it back.
    pub(super) fn heal(&mut self, load: &Load, (at, fault): (usize, Fault)) {
        match fault {
            Fault::Pause => self.cluster.signal(&self.nodes[at].name, "CONT").unwrap(),
            Fault::Kill | Fault::LoseDisk => self.cluster.launch(&self.nodes[at].name).unwrap(),
            Fault::Replace => self.bring_newcomer(at),
        }
        let (name, door) = (&self.nodes[at].name, &load.doors[at]);
        self.cluster.wait_for(name, READY_WITHIN, || door.is_ready()).unwrap();
        if fault == Fault::Replace && at == VOTER {
            // Before the next one is lost: a majority of the voters has to be there.
            let number = self.nodes[at].number;
            let settled = wait_until(READY_WITHIN, || {
                let voters = status(door)?.pointer("/meta/voters")?.as_array()?.clone();
                (voters.len() == 3 && voters.contains(&json!(number))).then_some(())
            });
            assert!(settled.is_some(), "the newcomer votes: {:?}", status(door));
        }
    }

    /// The lost node is taken out, and a newcomer approved, made and started in its place, behind its doors.
    fn bring_newcomer(&mut self, at: usize) {
        let (lost, number) = (self.nodes[at].number, self.next);
        self.next += 1;
        let link = format!("127.0.0.1:{}", ports::one().unwrap());
        let (gone, new) = (lost.to_string(), number.to_string());
        self.decided(|members| !members.contains(&lost), &["node", "remove", "--region", "tokyo", "--node", &gone]);
        let join = ["node", "join", "--region", "tokyo", "--node", &new, "--addr", &link];
        self.decided(|members| members.contains(&number), &join);
        let name = format!("tokyo-{number}");
        self.nodes[at] = Node { name: name.clone(), number, link };
        self.make(at).unwrap();
        self.cluster.launch(&name).unwrap();
    }

    /// Certificate, configuration and keys of a newcomer.
    fn make(&self, at: usize) -> Result<()> {
        let Node { name, number, link } = &self.nodes[at];
        let pki = self.cluster.data().join("pki");
        let issue = ["pki", "issue", "--region", "tokyo", "--node", &number.to_string(), "--dir"];
        self.cluster.command(&[&issue[..], &[&pki.display().to_string()]].concat())?;
        let home = self.home(at);
        copy_all(&self.backup(at), &home.join("data/keys"));
        let doors = &self.doors[at].doors;
        let addr = |url: &str| url.trim_start_matches("http://").parse();
        let text = configuration(&pki, "tokyo", *number, (addr(&doors.es)?, addr(&doors.api)?), link.parse()?, link)?;
        let (before, _) = text.split_once("[[meta.seeds]]").unwrap();
        // Whoever leads has to be among them.
        let mut text = if at == VOTER { before.replace("voter = false", "voter = true") } else { before.to_owned() };
        let seed = |node: u64, region: &str, addr: &str| {
            format!("[[meta.seeds]]\nnode = {node}\nregion = \"{region}\"\naddr = \"{addr}\"\n")
        };
        for (node, region) in [(2, "singapore"), (3, "frankfurt")] {
            text += &seed(node, region, &self.cluster.region(region).doors.link);
        }
        if at != VOTER {
            text += &seed(self.nodes[VOTER].number, "tokyo", &self.nodes[VOTER].link);
        }
        std::fs::write(self.cluster.configuration(name), text)?;
        self.cluster.set(name, "store", &self.store)
    }

    /// Has something decided through another region: asks until it is so, for the group may be without a leader.
    fn decided(&self, is_so: impl Fn(&BTreeSet<u64>) -> bool, command: &[&str]) {
        let other = self.cluster.region("singapore");
        let mut last = String::new();
        let decided = wait_until(READY_WITHIN, || {
            let arguments = [&["--profile", self.abroad.as_str()][..], command].concat();
            if let Err(error) = self.cluster.command(&arguments) {
                last = format!("{error:#}");
            }
            let rows = status(&other)?["nodes"].as_array()?.clone();
            is_so(&rows.iter().filter_map(|row| row["node"].as_u64()).collect()).then_some(())
        });
        assert!(decided.is_some(), "{command:?} is not decided: {last}");
    }
}

fn status(node: &Region) -> Option<Value> {
    let answer = node.api("admin", "GET", "/api/v1/status", &Value::Null).ok()?;
    (answer.status == 200).then(|| answer.json())
}
