//! Numbers behind the gate of a region of three nodes: whichever is asked, by a client or by another region, the owner of the stream
//! judges, once and out of one budget. While it is away the region is named, and no number is smaller than it was told.

use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, cell_counts, tables, visits};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::SECOND;
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::anywhere::started;
use crate::handed::THIRD;

const STREAM: &str = "visits";
const NODES: [&str; 3] = ["tokyo", SECOND, THIRD];
const HOURS: i64 = 24;
const PERSONS: i64 = 100;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

fn body(ask: &Value, on_missing: &str) -> Value {
    let range = json!({"gte": DAY_MS, "lt": DAY_MS + HOURS * 3_600_000, "format": "epoch_millis"});
    json!({"stream": STREAM, "regions": ["tokyo"], "on_missing": on_missing, "ask": ask,
        "filter": {"range": {"timestamp": range}}})
}

/// Tokyo's numbers of the day, asked at some node: what Tokyo says, without what differs by itself.
fn asked(asker: &Region, ask: &Value) -> Value {
    let answer = asker.api("search", "POST", "/api/v1/search", &body(ask, "partial")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let said = &answer["coverage"]["tokyo"];
    json!({"result": answer["result"], "total": answer["total"], "missing": answer["missing"],
        "noise": said["noise"], "status": said["status"], "code": said["code"]})
}

/// Whether nothing was said, for the owner is away.
fn is_away(said: &Value) -> bool {
    said["status"] == "unreachable" || said["code"] == "Unavailable" || said["code"] == "Deadline"
}

/// Waits until Tokyo answers, and tells what.
fn answered(asker: &Region, ask: &Value) -> Value {
    let found = wait_until(LONG, || Some(asked(asker, ask)).filter(|said| !is_away(said)));
    found.unwrap_or_else(|| panic!("no answer: {}", asked(asker, ask)))
}

/// Entries about questions that were refused for the day is spent, in the ledgers of these nodes together.
fn refusals(cluster: &Cluster, nodes: &[&str]) -> usize {
    let of = |node: &str| {
        let ledger = cluster.data().join("nodes").join(node).join("data/ledger").display().to_string();
        // The ledger grows while it is read.
        let told = wait_until(LONG, || cluster.command(&["audit", "crossings", &ledger]).ok()).expect("a sound ledger");
        told.lines().filter(|line| line.contains("was refused") && line.contains("privacy budget")).count()
    };
    nodes.iter().map(|node| of(node)).sum()
}

fn fill(cluster: &Cluster, nodes: &[Region; 3]) {
    let made = ["stream", "create", STREAM, "--tenant", "default", "--subject", "user", "--grid", "3600"];
    let more = ["--durability", "bucket", "--group-field", "service", "--group-field", "zone", "--group-field", "rack"];
    let regions = ["--region", "tokyo", "--region", "frankfurt"];
    cluster.command(&[&made[..], &more, &regions].concat()).unwrap();
    cluster.command(&["stream", "noise", STREAM, "--region", "tokyo", "--law", "gaussian"]).unwrap();
    for (number, part) in visits(0..HOURS, PERSONS).chunks(1_200).enumerate() {
        let id = format!("part-{number}");
        let body = bulk(part, Some(&id));
        let sent = wait_until(LONG, || {
            let answer = nodes[2].bulk(STREAM, &body, &[("X-Domicile-Batch", id.as_str())]).ok()?;
            (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
        });
        sent.expect("the node takes the batch");
    }
    let all = u64::try_from(HOURS * PERSONS).unwrap();
    for node in nodes {
        let is_there = || {
            let answer = node.es("ingest", "POST", &format!("/{STREAM}/_refresh"), &Value::Null).ok()?;
            (answer.status == 200 && node.count(STREAM).ok()? == all).then_some(())
        };
        wait_until(READY_WITHIN, is_there).expect("a refresh and a count by any node");
    }
}

/// What a node lists of the stream: status and text.
fn listed(node: &Region) -> (u16, String) {
    let answer = node.es("search", "GET", &format!("/_cat/indices/{STREAM}?format=json"), &Value::Null).unwrap();
    (answer.status, answer.text())
}

#[test]
fn numbers_behind_the_gate_are_the_owners_whichever_node_is_asked_and_none_is_told_where_it_is_away() {
    let (mut cluster, nodes) = started();
    fill(&cluster, &nodes);
    let frankfurt = cluster.region("frankfurt");
    let [first, second, third] = &nodes;
    let (tables, one_more) = tables();

    // Each table is asked for first at another door, and is the same at all of them.
    let first_told =
        wait_until(READY_WITHIN, || Some(asked(first, &tables[0])).filter(|said| !said["noise"].is_null()));
    let first_told = first_told.unwrap_or_else(|| panic!("no noise: {}", asked(first, &tables[0])));
    let told =
        [first_told, answered(second, &tables[1]), answered(third, &tables[2]), answered(&frankfurt, &tables[3])];
    for (table, told) in tables.iter().zip(&told) {
        assert!(!told["noise"].is_null() && told["missing"] == json!([]), "{told}");
        let exact = cell_counts(&told["result"]).iter().filter(|count| i64::try_from(**count) == Ok(PERSONS)).count();
        assert!(exact < 12, "most of 24 hours are told otherwise than they are: {told}");
        // Frankfurt begins with another node of the three at each question.
        for asker in nodes.iter().chain([&frankfurt; 4]) {
            let again = answered(asker, table);
            assert_eq!(again.to_string(), told.to_string(), "{}: {table}", asker.name);
        }
    }

    // The day is spent at all doors; a refusal lies in one ledger of the region, once.
    for asker in nodes.iter().chain([&frankfurt]) {
        let spent = answered(asker, &one_more);
        assert_eq!((&spent["status"], &spent["code"]), (&json!("refused"), &json!("NoiseSpent")), "{spent}");
        assert!(cell_counts(&spent["result"]).iter().all(|count| *count == 0), "{spent}");
    }
    // What a client of the region alone is told is no matter of the border. A ledger is read as far as its newest checkpoint.
    let is_recorded = || (refusals(&cluster, &NODES) > 0).then_some(());
    wait_until(LONG, is_recorded).expect("Frankfurt's refusal is recorded");

    // The list of streams is the same everywhere, and a key that may not search is told nothing.
    let all = format!(r#""docs.count":"{}""#, HOURS * PERSONS);
    for node in &nodes {
        let (status, text) = listed(node);
        assert!(status == 200 && text.contains(&all), "{status} {text}");
        let answer = node.api("ingest", "POST", "/api/v1/search", &body(&tables[0], "partial")).unwrap();
        assert_eq!(answer.status, 403, "{}", answer.text());
        let answer = node.es("ingest", "GET", "/_cat/indices", &Value::Null).unwrap();
        assert_eq!(answer.status, 403, "{}", answer.text());
    }

    assert_eq!(refusals(&cluster, &NODES), 1, "what Frankfurt was refused is recorded once");
    let of_others = refusals(&cluster, &NODES[..2]);

    // The owner is killed: it is missed by name until another node has the stream, and no number is smaller meanwhile.
    let owner = first.writer(STREAM).expect("somebody writes it");
    assert_eq!(owner, 5, "the node that took it first");
    cluster.kill(THIRD).unwrap();
    let mut gaps = 0;
    let back = wait_until(LONG, || {
        let mut is_whole = true;
        for asker in [first, second, &frankfurt] {
            let said = asked(asker, &tables[0]);
            if !is_away(&said) {
                assert_eq!(said.to_string(), told[0].to_string(), "{}", asker.name);
                continue;
            }
            assert_eq!(said["missing"], json!(["tokyo"]), "{said}");
            assert!(cell_counts(&said["result"]).iter().all(|count| *count == 0), "{said}");
            (gaps, is_whole) = (gaps + 1, false);
        }
        let wanted = first.api("search", "POST", "/api/v1/search", &body(&tables[0], "fail")).unwrap();
        let is_missed = wanted.status == 502 && wanted.json()["error"]["code"] == "DMC-FEDERATE-03";
        assert!(wanted.status == 200 || is_missed, "{} {}", wanted.status, wanted.text());
        let (status, text) = listed(first);
        assert!((status == 200 && text.contains(&all)) || status == 503, "{status} {text}");
        (is_whole && status == 200 && wanted.status == 200).then_some(())
    });
    assert!(back.is_some(), "another node takes the stream over");
    assert!(gaps > 0, "its owner was missed by name");
    // An entry that came late would lie there by now. The ledger of a killed node may end in part of an entry, and below Frankfurt is
    // refused once more.
    assert_eq!(refusals(&cluster, &NODES[..2]), of_others, "no ledger has it a second time");
    for asker in [first, second, &frankfurt] {
        for (table, told) in tables.iter().zip(&told) {
            assert_eq!(answered(asker, table).to_string(), told.to_string(), "{}: {table}", asker.name);
        }
        let spent = answered(asker, &one_more);
        assert_eq!(spent["code"], "NoiseSpent", "whoever owns it, the day is spent: {spent}");
    }
}
