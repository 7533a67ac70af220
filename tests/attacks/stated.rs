//! A stream of which an officer states that nobody is in it, and in which the detectors find somebody: from then on its cells are told as
//! those of a stream of which nothing is stated, whatever happens to the node that saw it.

use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, http, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::small::MAIL;

/// Records that may be told of a stream of which nothing is stated: k is 50 records.
const MANY: u64 = 60;
/// Records that may not.
const FEW: u64 = 3;
/// The minute of the day in which the many lie.
const MANY_AT: i64 = 60;
/// And the few.
const FEW_AT: i64 = 90;
/// A lease, some rounds, and what a slow machine needs.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);

/// Into which somebody's address comes.
const TAINTED: &str = "tainted";
/// Into which none does.
const CLEAN: &str = "spotless";

fn event(minute: i64, number: u64, message: &str) -> Value {
    let at = utc(DAY_MS + minute * 60_000 + i64::try_from(number).unwrap() * 100);
    json!({"timestamp": at, "level": "INFO", "service": "checkout", "message": message})
}

fn send(to: &Region, stream: &str, events: &[Value]) -> bool {
    let answer = to.bulk(stream, &bulk(events, None), &[]);
    answer.is_ok_and(|answer| answer.status == 200 && answer.json()["errors"] == json!(false))
}

/// Sends what nobody is in.
fn fill(to: &Region) {
    let many = (0..MANY).map(|number| event(MANY_AT, number, "order placed"));
    let few = (0..FEW).map(|number| event(FEW_AT, number, "order placed"));
    let events: Vec<Value> = many.chain(few).collect();
    for stream in [TAINTED, CLEAN] {
        wait_until(READY_WITHIN, || send(to, stream, &events).then_some(())).expect("the stream is taken");
        to.refresh(stream);
    }
}

/// One more record in the large cell, with an address in it.
fn taint(to: &Region) {
    assert!(send(to, TAINTED, &[event(MANY_AT, MANY, &format!("order placed by {MAIL}"))]));
}

/// What a region is told abroad of a minute.
fn told(asker: &Region, of: &str, stream: &str, minute: i64) -> Option<u64> {
    let (from, to) = (DAY_MS + minute * 60_000, DAY_MS + (minute + 1) * 60_000);
    let range = json!({"query": {"range": {"timestamp": {"gte": utc(from), "lt": utc(to)}}}});
    let answer = asker.es("search", "POST", &format!("/{of}:{stream}/_count"), &range).ok()?;
    (answer.status == 200).then(|| answer.json()["count"].as_u64())?
}

fn is_told(asker: &Region, of: &str, stream: &str, [many, few]: [u64; 2]) -> bool {
    told(asker, of, stream, MANY_AT) == Some(many) && told(asker, of, stream, FEW_AT) == Some(few)
}

/// Nothing of the small cell of one stream is told, and everything of the other.
fn only_the_clean_one_is_told(asker: &Region, of: &Region, why: &str) {
    let tainted = wait_until(READY_WITHIN, || (told(asker, &of.name, TAINTED, MANY_AT)? >= MANY).then_some(()));
    tainted.unwrap_or_else(|| panic!("{why}: the large cell is told: {:?}", told(asker, &of.name, TAINTED, MANY_AT)));
    assert_eq!(told(asker, &of.name, TAINTED, FEW_AT), Some(0), "{why}: three records are told");
    let clean = wait_until(READY_WITHIN, || is_told(asker, &of.name, CLEAN, [MANY, FEW]).then_some(()));
    clean.unwrap_or_else(|| panic!("{why}: the clean stream lost its statement"));
    assert_eq!(statements(of), [json!("contradicted"), json!("stands")], "{why}");
    let metrics = http::request("GET", &of.doors.metrics, &[], &[]).unwrap().text();
    assert!(metrics.contains("\ndomicile_classify_contradicted_streams 1"), "{why}: {metrics}");
}

/// What a node says of both streams.
fn statements(of: &Region) -> [Value; 2] {
    let said = of.api("search", "GET", "/api/v1/streams", &Value::Null).unwrap().json();
    let streams = said["streams"].as_array().unwrap();
    [TAINTED, CLEAN].map(|name| streams.iter().find(|view| view["name"] == name).unwrap()["statement"].clone())
}

fn declare(cluster: &Cluster, more: &[&str]) {
    for stream in [TAINTED, CLEAN] {
        cluster.command(&[&["stream", "create", stream, "--no-personal-data"][..], more].concat()).unwrap();
    }
}

#[test]
fn an_address_in_a_stream_without_persons_ends_what_was_stated_of_it_and_a_restart_does_not_bring_it_back() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    cluster.split().unwrap();
    declare(&cluster, &["--region", "tokyo", "--region", "frankfurt"]);
    let (tokyo, frankfurt) = (cluster.region("tokyo"), cluster.region("frankfurt"));
    for region in [&tokyo, &frankfurt] {
        let known = wait_until(READY_WITHIN, || {
            let said = region.api("search", "GET", "/api/v1/streams", &Value::Null).ok()?.json();
            let stated =
                |view: &&Value| [TAINTED, CLEAN].iter().any(|name| view["name"] == *name) && view["personal"] == "no";
            (said["streams"].as_array()?.iter().filter(stated).count() == 2).then_some(())
        });
        known.expect("both statements are known");
        fill(region);
    }
    for stream in [TAINTED, CLEAN] {
        let all = wait_until(READY_WITHIN, || is_told(&tokyo, "frankfurt", stream, [MANY, FEW]).then_some(()));
        all.unwrap_or_else(|| panic!("of `{stream}` everything is told, as it is stated"));
    }
    assert_eq!(statements(&frankfurt), [json!("stands"), json!("stands")]);

    taint(&frankfurt);
    // What is stated falls with the word that it was taken, not with the refresh.
    assert_eq!(told(&tokyo, "frankfurt", TAINTED, FEW_AT), Some(0));
    frankfurt.refresh(TAINTED);
    only_the_clean_one_is_told(&tokyo, &frankfurt, "before a restart");
    // A statement is a region's own, and so is what is found.
    assert!(is_told(&frankfurt, "tokyo", TAINTED, [MANY, FEW]));
    assert_eq!(statements(&tokyo), [json!("stands"), json!("stands")]);

    cluster.kill("frankfurt").unwrap();
    cluster.restart("frankfurt").unwrap();
    let frankfurt = cluster.region("frankfurt");
    only_the_clean_one_is_told(&tokyo, &frankfurt, "after a crash");
    let log = std::fs::read_to_string(cluster.log("frankfurt")).unwrap();
    assert!(
        log.contains("is stated to hold no personal data") && !log.contains(MAIL),
        "told in the log, without a value"
    );
}

#[test]
fn the_node_that_takes_a_stream_over_knows_what_was_found_in_it() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let node = Second::beside(&mut cluster, Second::share_bucket).unwrap();
    node.join(&mut cluster).unwrap();
    let (tokyo, frankfurt, second) = (cluster.region("tokyo"), cluster.region("frankfurt"), node.region(&cluster));
    declare(&cluster, &["--durability", "bucket", "--region", "tokyo"]);
    fill(&second);
    taint(&second);
    second.refresh(TAINTED);
    assert!(
        statements(&second).iter().any(|standing| standing == "contradicted"),
        "the second node writes the streams"
    );
    cluster.kill(SECOND).unwrap();
    for stream in [TAINTED, CLEAN] {
        let more = [event(MANY_AT + 60, 0, "order placed")];
        let taken = wait_until(TAKEN_WITHIN, || send(&tokyo, stream, &more).then_some(()));
        taken.unwrap_or_else(|| panic!("the first node takes `{stream}` over"));
    }
    only_the_clean_one_is_told(&frankfurt, &tokyo, "at the next owner");
}
