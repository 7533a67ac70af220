//! The body of a question is destroyed by an officer's order, at both ends of the border: gone from the disks of running nodes,
//! named in the pack, excused in the double entry. A body that somebody took out by hand is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::pack::said;
use crate::wire::ledger;

const STREAM: &str = "people";
/// Asked for once, in Frankfurt; stands in no record.
const WORD: &str = "kellerassel";
/// What stands in a file of bodies for one that is gone.
const DESTROYED: u8 = 0xd6;

/// Asks Tokyo from Frankfurt: once for the word, and then until the bundle of that question is whole at both ends.
fn ask(cluster: &Cluster) {
    let frankfurt = cluster.region("frankfurt");
    let with_word = json!({"size": 0, "query": {"match": {"message": WORD}}});
    wait_until(Duration::from_secs(60), || {
        frankfurt.federated(&["tokyo"], STREAM, &with_word);
        crossings(&ledger(cluster, "tokyo")).contains(WORD).then_some(())
    })
    .expect("the question arrives");
    for _ in 0..150 {
        frankfurt.federated(&["tokyo"], STREAM, &json!({"size": 0, "query": {"match_all": {}}}));
    }
}

/// What crossed, by a ledger that is written on meanwhile: read between two checkpoints.
fn crossings(ledger: &Path) -> String {
    let listed = wait_until(Duration::from_secs(30), || {
        let output = Command::new(BINARY).args(["audit", "crossings"]).arg(ledger).output().unwrap();
        output.status.success().then(|| said(&output))
    });
    listed.unwrap_or_else(|| panic!("the ledger in {} is not sound", ledger.display()))
}

/// Entries with the word in them, that went this way: all of them, for others that were asked for later are listed too. A checkpoint
/// may lie between two of them.
fn numbers(ledger: &Path, way: &str) -> Vec<u64> {
    let listed = wait_until(Duration::from_secs(30), || {
        let listed = crossings(ledger);
        let last = listed.lines().rfind(|line| line.contains(way))?;
        (!last.contains(WORD)).then_some(listed)
    });
    let listed = listed.unwrap_or_else(|| panic!("{}: no checkpoint over what came later", ledger.display()));
    let lines = listed.lines().filter(|line| line.contains(WORD) && line.contains(way));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// A file under a directory that holds the word in a frame, as entries have it: in base64.
fn holds_word(dir: &Path) -> Option<PathBuf> {
    let in_frame = |chunk: &[u8]| {
        let text = chunk.split(|byte| *byte == b'"').next().unwrap_or_default();
        STANDARD.decode(text).is_ok_and(|frame| frame.windows(WORD.len()).any(|window| window == WORD.as_bytes()))
    };
    let mark = b"\"body\":\"";
    // Files come and go while nodes run.
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            let mut starts = (0..bytes.len().saturating_sub(mark.len())).filter(|at| bytes[*at..].starts_with(mark));
            if starts.any(|at| in_frame(&bytes[at + mark.len()..])) {
                return Some(path);
            }
        }
    }
    None
}

fn destroy(cluster: &Cluster, region: &str, entry: u64) -> String {
    let entry = entry.to_string();
    let order = ["ledger", "destroy-body", "--region", region, "--entry", &entry, "--ground", "personal-data"];
    // Others must come before its bundle is whole.
    let told = wait_until(Duration::from_secs(60), || cluster.command(&order).ok());
    told.unwrap_or_else(|| panic!("{:?}", cluster.command(&order)))
}

/// A new pack in which so many bodies of the two ledgers are destroyed.
fn pack_with(cluster: &Cluster, destroyed: usize) -> PathBuf {
    let pack = cluster.data().parent().unwrap().join("pack");
    let whole = wait_until(Duration::from_secs(60), || {
        std::fs::remove_dir_all(&pack).ok();
        cluster.command(&["audit", "report", "--tenant", "default", "--out", "pack"]).ok()?;
        let rows = std::fs::read_to_string(pack.join("csv/destroyed.csv")).ok()?.lines().count() - 1;
        (rows == destroyed).then_some(())
    });
    whole.unwrap_or_else(|| panic!("a sound pack with {destroyed} destroyed bodies"));
    pack
}

fn verify(dir: &Path) -> Output {
    Command::new(BINARY).args(["audit", "verify"]).arg(dir).output().unwrap()
}

/// Takes the body of an entry out of its file, as somebody with the disk could.
fn take_out_by_hand(ledger: &Path, entry: u64) {
    assert!(entry <= 256, "it lies in the first bundle");
    let path = ledger.join("log/bodies/000");
    let bytes = std::fs::read(&path).unwrap();
    let (mut rest, mut kept) = (&bytes[..], Vec::new());
    for number in 1.. {
        let Some(kind) = rest.first() else { break };
        let length = if *kind == 1 { 37 + u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize } else { 1 };
        let (body, behind) = rest.split_at(length);
        if number == entry {
            kept.push(DESTROYED);
        } else {
            kept.extend_from_slice(body);
        }
        rest = behind;
    }
    assert!(kept.len() < bytes.len());
    std::fs::write(path, kept).unwrap();
}

#[test]
fn a_body_goes_by_the_officers_order_and_one_that_went_without_is_found() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    for region in REGIONS {
        let create = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", region];
        cluster.command(&[&create[..], &["--text-questions"]].concat()).unwrap();
    }
    let tokyo = cluster.region("tokyo");
    let events = (0..200).map(|n| {
        json!({"timestamp": utc(DAY_MS + n * 100), "level": "INFO", "uid": format!("u-{}", n % 20), "message": "paid"})
    });
    assert_eq!(tokyo.bulk(STREAM, &bulk(&events.collect::<Vec<_>>(), None), &[]).unwrap().status, 200);
    tokyo.refresh(STREAM);
    ask(&cluster);
    let [sender, receiver] = ["frankfurt", "tokyo"].map(|region| ledger(&cluster, region));
    let (left, arrived) = (numbers(&sender, "left for"), numbers(&receiver, "arrived from"));
    assert!(!left.is_empty() && left.len() == arrived.len(), "{left:?} {arrived:?}");
    assert!(holds_word(&sender).is_some() && holds_word(&receiver).is_some(), "the test is not blind");

    // No key of a node is enough, and no signature but the officer's.
    let forged = json!({"entry": arrived[0], "ground": "personal_data", "signature": "00".repeat(64)});
    let refused = tokyo.api("admin", "POST", "/api/v1/ledger/destroy", &forged).unwrap();
    assert!(refused.status >= 400 && holds_word(&receiver).is_some(), "{}", refused.text());
    let described = format!("/api/v1/ledger/message?entry={}", arrived[0]);
    for role in ["search", "audit", "ingest"] {
        assert_eq!(tokyo.api(role, "GET", &described, &Value::Null).unwrap().status, 403, "{role}");
    }

    // At the sender first: what arrived has no counterpart any more, and the order explains it.
    for entry in &left {
        let told = destroy(&cluster, "frankfurt", *entry);
        assert!(told.starts_with(&format!("The body of entry {entry} is destroyed; entry ")), "{told}");
    }
    assert_eq!(holds_word(&sender), None, "the sender's ledger has it still");
    assert!(holds_word(&receiver).is_some(), "the receiver's went as well");
    let pack = pack_with(&cluster, left.len());
    assert!(verify(&pack).status.success(), "{}", said(&verify(&pack)));
    for entry in &arrived {
        destroy(&cluster, "tokyo", *entry);
    }
    assert_eq!(holds_word(&cluster.data().join("nodes")), None, "no file of any node has it");
    let first = arrived[0].to_string();
    let again = ["ledger", "destroy-body", "--region", "tokyo", "--entry", &first, "--ground", "court-order"];
    let refused = cluster.command(&again).unwrap_err().to_string();
    assert!(refused.contains("DMC-AUDIT-11"), "{refused}");

    let pack = pack_with(&cluster, left.len() + arrived.len());
    let output = verify(&pack);
    assert!(output.status.success() && said(&output).starts_with("SOUND:"), "{}", said(&output));
    assert_eq!(holds_word(&pack), None);
    let destroyed = std::fs::read_to_string(pack.join("csv/destroyed.csv")).unwrap();
    for wanted in [
        format!("frankfurt,{},Question that left,\"tokyo, node 1\",it held something about a person", left[0]),
        format!("tokyo,{},Question that arrived,\"frankfurt, node 3\",it held something about a person", arrived[0]),
    ] {
        assert!(destroyed.contains(&wanted), "{wanted}: {destroyed}");
    }
    let wanted = format!("the body of entry {}, which arrived, was destroyed by an officer's order", arrived[0]);
    let told = wait_until(Duration::from_secs(30), || {
        let told = crossings(&receiver);
        told.contains(&wanted).then_some(told)
    });
    let told = told.expect("the ledger is sound, and says what is gone");
    assert!(!told.contains(WORD) && told.lines().count() > 300, "the rest is there: {}", told.lines().count());

    // Somebody takes out another question by hand, and starts the node again.
    let other = (2..256).find(|number| told.lines().any(|line| line.starts_with(&format!("{number}  "))));
    let other = other.expect("a message of the first bundle");
    cluster
        .split_with(|cluster| {
            assert!(verify(&receiver).status.success(), "{}", said(&verify(&receiver)));
            take_out_by_hand(&ledger(cluster, "tokyo"), other);
            Ok(())
        })
        .unwrap();
    let finding = format!("no entry says why (the first is entry {other})");
    // The node writes on: while it puts a new tile in the place of one, a look finds neither.
    let told = || said(&verify(&receiver));
    let found = wait_until(Duration::from_secs(30), || told().contains(&finding).then_some(()));
    assert!(found.is_some(), "{finding}: {}", told());
    std::fs::remove_dir_all(&pack).unwrap();
    let refused = cluster.command(&["audit", "report", "--tenant", "default", "--out", "pack"]);
    assert!(refused.is_err(), "the region's own report says so");
    let output = verify(&pack);
    assert!(!output.status.success() && said(&output).contains(&finding), "{finding}: {}", said(&output));
}
