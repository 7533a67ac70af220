//! A node with a stream of durability `disk` is gone for good: the stream is adopted, and only with the loss accepted. Its node
//! comes back all the same, and neither answers nor writes.

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

/// Events in one batch.
const EACH: u64 = 25;

/// Sends a batch under its id; whether it was acknowledged whole.
pub(crate) fn send(to: &Region, stream: &str, number: u64) -> bool {
    let (drawn, _) = events(500 + number, EACH, 2);
    let id = format!("{stream}-{number}");
    let answer = to.bulk(stream, &bulk(&drawn, Some(&id)), &[("X-Domicile-Batch", id.as_str())]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

/// The entries of a kind in the ledger of a region's node.
pub(crate) fn recorded(region: &Region, kind: &str) -> Vec<Value> {
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page =
            region.api("audit", "GET", &format!("/api/v1/ledger?after={after}&limit=1000"), &Value::Null).unwrap();
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let entries = page["entries"].as_array().unwrap();
        found.extend(entries.iter().map(|one| one["entry"].clone()).filter(|one| one["kind"] == kind));
        match page["next"].as_u64() {
            Some(next) if next > after && !entries.is_empty() => after = next,
            _ => return found,
        }
    }
}

/// What a command that fails says.
pub(crate) fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.command(arguments).expect_err("the command fails").to_string()
}

#[test]
fn a_stream_of_a_node_that_is_gone_is_adopted_with_its_loss_stated_and_its_node_stays_shut_out() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let node = Second::beside(&mut cluster, Second::share_bucket).unwrap();
    node.join(&mut cluster).unwrap();
    let (tokyo, second) = (cluster.region("tokyo"), node.region(&cluster));
    cluster.command(&["stream", "create", "scraps", "--no-personal-data", "--region", "tokyo"]).unwrap();
    wait_until(READY_WITHIN, || send(&second, "scraps", 0).then_some(())).expect("the second node writes the stream");
    for number in 1..4 {
        assert!(wait_until(READY_WITHIN, || send(&second, "scraps", number).then_some(())).is_some(), "{number}");
    }
    second.refresh("scraps");
    assert_eq!(second.count("scraps").unwrap(), 4 * EACH);

    // Who asks another node is answered all the same, and what is sent there is taken; a wish about the archive is told which one
    // is right, and when to try again.
    assert_eq!(tokyo.count("scraps").unwrap(), 4 * EACH);
    let (drawn, _) = events(1, 1, 1);
    let key = tokyo.authorization("ingest");
    let native = format!("{}/api/v1/ingest/scraps", tokyo.doors.api);
    let line = json!({"message": "elsewhere"}).to_string();
    let restore = json!({"stream": "scraps", "from": "2026-01-01", "to": "2026-12-31"});
    let brought = [
        tokyo.bulk("scraps", &bulk(&drawn, None), &[]).unwrap(),
        http::request("POST", &native, &[("Authorization", &key)], line.as_bytes()).unwrap(),
    ];
    for said in brought {
        assert!(said.status == 200 && !said.text().contains("error\":{"), "{} {}", said.status, said.text());
    }
    second.refresh("scraps");
    assert_eq!(second.count("scraps").unwrap(), 4 * EACH + 2);
    let said = tokyo.api("admin", "POST", "/api/v1/lifecycle/restore", &restore).unwrap();
    let (status, text) = (said.status, said.text());
    assert!(status == 503 && text.contains("DMC-OWNERSHIP-04") && text.contains("node 4"), "{status} {text}");
    assert_eq!(said.header("retry-after"), Some("1"), "{text}");

    let adopt = ["shard", "adopt", "scraps", "--region", "tokyo"];
    let accepted = [&adopt[..], &["--accept-loss"]].concat();
    let said = refused(&cluster, &accepted);
    assert!(said.contains("DMC-OWNERSHIP-07"), "its owner is a node of the region: {said}");
    cluster.kill(SECOND).unwrap();
    cluster.command(&["node", "remove", "--region", "tokyo", "--node", "4"]).unwrap();
    let said = wait_until(READY_WITHIN, || {
        let said = refused(&cluster, &adopt);
        (!said.contains("DMC-OWNERSHIP-07")).then_some(said)
    });
    let said = said.expect("the policy says that the node is none of the region's");
    assert!(said.contains("everything is lost") && said.contains("--accept-loss"), "{said}");
    assert!(!send(&tokyo, "scraps", 4), "nothing was changed");
    assert!(recorded(&tokyo, "shard_adopted").is_empty());

    let told = cluster.command(&accepted).unwrap();
    // On a machine that is busy it is taken up after the command.
    assert!(told.contains("adopted") || told.contains("pending"), "{told}");
    let entries = recorded(&tokyo, "shard_adopted");
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = &entries[0];
    assert_eq!((&entry["from"], &entry["why"], &entry["whole"]), (&json!(4), &json!("owner_gone"), &json!(false)));
    assert_eq!(entry["epoch"], json!(2));
    for number in 10..13 {
        assert!(wait_until(READY_WITHIN, || send(&tokyo, "scraps", number).then_some(())).is_some(), "{number}");
    }
    tokyo.refresh("scraps");
    let kept = entry["kept"].as_u64().unwrap();
    assert_eq!(tokyo.count("scraps").unwrap(), kept + 3 * EACH);
    let again = refused(&cluster, &accepted);
    assert!(again.contains("nothing was done"), "{again}");

    // Its machine was not lost.
    cluster.launch(SECOND).unwrap();
    // Not whoever has its port meanwhile: it knows the key and refuses.
    let everything = json!({"query": {"match_all": {}}});
    let refuses =
        || second.es("search", "POST", "/scraps/_count", &everything).is_ok_and(|answer| answer.status == 503);
    cluster.wait_for(SECOND, READY_WITHIN, refuses).expect("the node that was given up starts");
    for number in 20..25 {
        assert!(!send(&second, "scraps", number), "it takes nothing");
        let counted = second.count("scraps");
        assert!(counted.is_err(), "and answers nothing, not even that there is nothing: {counted:?}");
    }
    let aside = cluster.data().join("nodes").join(SECOND).join("data/segments/given-up");
    let shards: Vec<_> = std::fs::read_dir(aside).unwrap().map(|shard| shard.unwrap().path()).collect();
    assert_eq!(shards.len(), 1, "what it had accepted is named and kept: {shards:?}");
    let kept_aside = std::fs::read_dir(&shards[0]).unwrap().count();
    assert!(kept_aside > 0, "files of its log, or segments");
    tokyo.refresh("scraps");
    assert_eq!(tokyo.count("scraps").unwrap(), kept + 3 * EACH);
}
