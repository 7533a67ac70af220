//! Retention, legal hold, archive, restore with its end, and the mark of the disk, each with a moved clock: real nodes, asked at their doors.

use std::path::Path;
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, events, utc};
use domicile_tests::cluster::moved::{DAY, machine_now};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

pub(super) const STREAM: &str = "ages";
pub(super) const WITHIN: Duration = Duration::from_secs(60);

/// A command of Tokyo's, read as JSON.
pub(super) fn json_of(cluster: &Cluster, arguments: &[&str]) -> Value {
    let said = cluster.command(&[arguments, &["--region", "tokyo", "--json"]].concat()).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Rows of `storage ls`.
pub(super) fn rows_of(listed: &Value) -> Vec<Value> {
    listed["segments"].as_array().unwrap().clone()
}

/// Three nodes with a stream of this policy, and the first midnight of the days that are counted.
fn begun(policy: &[&str]) -> (Cluster, u64) {
    begun_with(policy, |_| Ok(()))
}

/// The same, with something done to the configurations before the nodes start.
pub(super) fn begun_with(policy: &[&str], change: impl FnOnce(&Cluster) -> anyhow::Result<()>) -> (Cluster, u64) {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--no-personal-data", "--region", "tokyo"];
    cluster.command(&[&made[..], policy].concat()).unwrap();
    cluster.split_with(change).unwrap();
    let midnight = (machine_now(cluster.data()).unwrap() / DAY + 2) * DAY;
    (cluster, midnight)
}

/// So many records arrive on a day, and lie on the disk before it ends.
pub(super) fn fill(cluster: &Cluster, noon: u64, seed: u64, records: u64) {
    cluster.set_clock(noon).unwrap();
    let (tokyo, before) = (cluster.region("tokyo"), tiers(cluster).len());
    let body = bulk(&events(seed, records, 40).0, None);
    assert_eq!(tokyo.bulk(STREAM, &body, &[]).unwrap().json()["errors"], Value::Bool(false));
    tokyo.refresh(STREAM);
    cluster.set_clock(noon + 3_600).unwrap();
    let durable = wait_until(WITHIN, || {
        let all = tiers(cluster);
        (all.len() > before && all.iter().all(|(tier, _)| tier != "memory")).then_some(())
    });
    assert!(durable.is_some(), "{:?}", tiers(cluster));
}

/// Tier and records of each segment of the stream, oldest first.
fn tiers(cluster: &Cluster) -> Vec<(String, u64)> {
    let mut rows = rows_of(&json_of(cluster, &["storage", "ls"]));
    rows.retain(|row| row["stream"] == STREAM);
    rows.sort_by_key(|row| row["received_until"].as_i64());
    let of = |row: &Value| (row["tier"].as_str().unwrap().to_owned(), row["records"].as_u64().unwrap());
    rows.iter().map(of).collect()
}

pub(super) fn tier(name: &str, records: u64) -> (String, u64) {
    (name.to_owned(), records)
}

fn retention(cluster: &Cluster, verb: &str) -> Value {
    let said = cluster.command(&["retention", verb, "--region", "tokyo"]).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What the plan says of the stream.
fn planned(cluster: &Cluster) -> Value {
    let plan = retention(cluster, "plan");
    plan.as_array().unwrap().iter().find(|row| row["stream"] == STREAM).unwrap_or(&plan).clone()
}

fn hold(tokyo: &Region) -> Value {
    let held = tokyo.api("admin", "POST", "/api/v1/subjects/hold", &json!({"streams": [STREAM]})).unwrap();
    assert_eq!(held.status, 200, "{}", held.text());
    held.json()
}

fn release(tokyo: &Region, hold: &Value) {
    let released = tokyo.api("admin", "POST", "/api/v1/subjects/release", hold).unwrap();
    assert_eq!(released.status, 200, "{}", released.text());
}

/// Runs the lifecycle until the segments lie so.
pub(super) fn moved(cluster: &Cluster, wanted: &[(String, u64)]) {
    let mut last = Vec::new();
    let lies = wait_until(WITHIN, || {
        cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
        last = tiers(cluster);
        (last == wanted).then_some(())
    });
    assert!(lies.is_some(), "{last:?}, and not {wanted:?}: {}", json_of(cluster, &["lifecycle", "plan"]));
}

/// Objects below a name in Tokyo's store.
fn objects(cluster: &Cluster, below: &str) -> usize {
    fn files(dir: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    files(&cluster.data().join("nodes").join("tokyo").join("data").join("objects").join(below))
}

/// Hits and total of a question for rows, without the time it took, and what it says that it did not search.
pub(super) fn rows(tokyo: &Region) -> (String, u64, Value) {
    let body = json!({"size": 50, "track_total_hits": true, "query": {"match_phrase": {"message": "took"}},
        "sort": [{"timestamp": "asc"}], "aggs": {"levels": {"terms": {"field": "level"}}}});
    let answer = tokyo.es("search", "POST", &format!("/{STREAM}/_search"), &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    let shown = json!({"hits": told["hits"], "aggregations": told["aggregations"]}).to_string();
    (shown, told["hits"]["total"]["value"].as_u64().unwrap(), told["_shards"]["failures"].clone())
}

#[test]
fn what_was_received_on_a_day_goes_at_its_midnight_unless_it_is_held() {
    let (cluster, first) = begun(&["--retention-days", "2"]);
    let tokyo = cluster.region("tokyo");
    fill(&cluster, first + DAY / 2, 1, 300);
    fill(&cluster, first + DAY + DAY / 2, 2, 200);
    assert_eq!(tokyo.count(STREAM).unwrap(), 500);

    // Two days after the noon of the first day its period is over, and the midnight behind is still to come.
    cluster.set_clock(first + 3 * DAY - 120).unwrap();
    assert_eq!(planned(&cluster)["due"]["records"], 0, "a moment before");
    let next = planned(&cluster)["next_due_at"].as_u64();
    assert_eq!(next, Some((first + 3 * DAY) * 1_000_000), "and nothing of the next day with it");
    let held = hold(&tokyo);
    cluster.set_clock(first + 3 * DAY + 1).unwrap();
    let plan = planned(&cluster);
    assert_eq!((&plan["due"]["records"], &plan["held"]["records"]), (&json!(0), &json!(300)), "{plan}");
    assert_eq!(retention(&cluster, "run")["deletions"], json!([]), "held");
    assert_eq!(tokyo.count(STREAM).unwrap(), 500);

    release(&tokyo, &held);
    let plan = planned(&cluster);
    assert_eq!((&plan["due"]["records"], &plan["kept"]["records"]), (&json!(300), &json!(200)), "{plan}");
    let deletions = retention(&cluster, "run")["deletions"].clone();
    assert_eq!(deletions.as_array().map(Vec::len), Some(1), "{deletions}");
    assert_eq!(tokyo.count(STREAM).unwrap(), 200, "the second day is there, whole");
    assert_eq!(tiers(&cluster).iter().map(|(_, records)| records).sum::<u64>(), 200);
    assert!(retention(&cluster, "status").to_string().contains("evidence"), "{}", retention(&cluster, "status"));
    cluster.set_clock(first + 4 * DAY + 1).unwrap();
    assert_eq!(retention(&cluster, "run")["deletions"].as_array().map(Vec::len), Some(1));
    assert_eq!(tokyo.count(STREAM).unwrap(), 0);
}

#[test]
fn what_is_archived_comes_back_for_as_long_as_it_is_wanted_and_ends_when_its_time_is_over() {
    let tiers_of =
        ["--warm-after-days", "1", "--cold-after-days", "2", "--archive-after-days", "4", "--archive-days", "10"];
    let (mut cluster, first) = begun(&[&tiers_of[..], &["--retention-days", "90"]].concat());
    let at = |days: u64| first + days * DAY + DAY / 2 + 7_200;
    fill(&cluster, first + DAY / 2, 3, 1_000);
    let (before, total, missing) = rows(&cluster.region("tokyo"));
    assert_eq!((total, &missing), (1_000, &Value::Null));
    cluster.set_clock(at(2)).unwrap();
    moved(&cluster, &[tier("cold", 1_000)]);
    assert_eq!(rows(&cluster.region("tokyo")).0, before, "cold");

    // A day early, and on its day; a hold keeps out of the archive what is not there yet.
    let held = hold(&cluster.region("tokyo"));
    cluster.set_clock(at(4)).unwrap();
    moved(&cluster, &[tier("cold", 1_000)]);
    let plan = json_of(&cluster, &["lifecycle", "plan"])["moves"][0].clone();
    assert!(plan["is_due"] == false && plan["why"].as_str().unwrap().contains("legal hold"), "{plan}");
    release(&cluster.region("tokyo"), &held);
    moved(&cluster, &[tier("archived", 1_000)]);
    let tokyo = cluster.region("tokyo");
    let (_, total, missing) = rows(&tokyo);
    assert_eq!(total, 0);
    assert!(missing.to_string().contains("1000 records in 1 segments"), "what is not searched is named: {missing}");
    let path = format!("/{STREAM}/_search?allow_partial_search_results=false");
    let whole = tokyo.es("search", "POST", &path, &json!({"query": {"match_all": {}}})).unwrap();
    assert!(whole.status != 200 && whole.text().contains("DMC-QUERY-19"), "{} {}", whole.status, whole.text());
    assert!(objects(&cluster, "archive") > 0 && objects(&cluster, "restored") == 0);

    // Asked back for three days, also over a kill -9.
    let day = &utc(DAY_MS)[..10];
    let range = ["--stream", STREAM, "--from", day, "--to", day, "--days", "3", "--region", "tokyo"];
    let asked = cluster.command(&[&["lifecycle", "restore"][..], &range].concat()).unwrap();
    let told: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(told["records"], 1_000, "{asked}");
    let mut status = Value::Null;
    let restored = |cluster: &Cluster, status: &mut Value| {
        *status = json_of(cluster, &["lifecycle", "status"])["restores"][0].clone();
        (status["state"] == "restored" && status["fetched"] == status["bytes"]).then_some(())
    };
    assert!(wait_until(WITHIN, || restored(&cluster, &mut status)).is_some(), "{status}");
    let (again, total, missing) = rows(&tokyo);
    assert_eq!((again, total, missing), (before.clone(), 1_000, Value::Null), "restored: as before, byte for byte");
    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    let back = wait_until(WITHIN, || (rows(&tokyo).0 == before).then_some(()));
    assert!(back.is_some(), "restored, after kill -9: {:?}", rows(&tokyo));
    assert!(objects(&cluster, "restored") > 0);

    // A moment before its end it is there; behind it the copy goes, and the archive stays.
    cluster.set_clock(at(7) - 60).unwrap();
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
    assert_eq!(rows(&tokyo).0, before, "still wanted");
    cluster.set_clock(at(7) + 3_600).unwrap();
    let gone = wait_until(WITHIN, || {
        cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
        (objects(&cluster, "restored") == 0).then_some(())
    });
    assert!(gone.is_some() && rows(&tokyo).1 == 0, "nobody wants it any more: {:?}", tiers(&cluster));
    assert!(objects(&cluster, "archive") > 0);

    // In the archive since day 4, for ten days: it ends at the first midnight behind, though 90 days are not over.
    cluster.set_clock(first + 15 * DAY - 120).unwrap();
    assert_eq!(retention(&cluster, "run")["deletions"], json!([]), "a moment before");
    cluster.set_clock(first + 15 * DAY + 1).unwrap();
    assert_eq!(retention(&cluster, "run")["deletions"].as_array().map(Vec::len), Some(1));
    assert_eq!((objects(&cluster, "archive"), tiers(&cluster)), (0, Vec::new()));
    let (_, total, missing) = rows(&tokyo);
    assert_eq!((total, missing), (0, Value::Null), "nothing is missing of what is not kept");
}

#[test]
fn above_the_mark_of_the_disk_the_oldest_days_go_to_the_bucket_and_no_more() {
    let (mut cluster, first) = begun(&[]);
    for (day, records) in [(0, 1_500), (1, 1_000), (2, 1_000)] {
        fill(&cluster, first + day * DAY + DAY / 2, day + 7, records);
    }
    let on_disk = vec![tier("hot", 1_500), tier("hot", 1_000), tier("hot", 1_000)];
    let now = || tiers(&cluster).into_iter().map(|(_, records)| tier("hot", records)).collect::<Vec<_>>();
    assert_eq!(now(), on_disk, "a segment for each day");
    let before = rows(&cluster.region("tokyo")).0;
    let listed = rows_of(&json_of(&cluster, &["storage", "ls"]));
    let mine = listed.iter().filter(|row| row["stream"] == STREAM);
    let used: u64 = mine.map(|row| row["bytes"].as_u64().unwrap()).sum();
    // Down to half: the first day is not enough, the second is.
    cluster.end("tokyo").unwrap();
    let lines = format!("disk_mark_bytes = {}\ndisk_down_to_bytes = {}", used - 1, used / 2);
    cluster.set("tokyo", "lifecycle", &lines).unwrap();
    cluster.restart("tokyo").unwrap();
    let first_due = json_of(&cluster, &["lifecycle", "plan"])["moves"][0].clone();
    assert_eq!((&first_due["records"], &first_due["is_due"]), (&json!(1_500), &json!(true)), "the oldest: {first_due}");
    assert!(first_due["why"].as_str().unwrap().contains("are its mark"), "{first_due}");
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
    let lie = tiers(&cluster);
    assert_eq!(lie[..2], [tier("cold", 1_500), tier("cold", 1_000)], "{lie:?}");
    assert!(lie.len() == 3 && lie[2].0 != "cold", "the newest day stays: {lie:?}");
    assert_eq!(rows(&cluster.region("tokyo")).0, before, "and all of it answers");

    // Nothing more goes until a later day brings the disk above its mark again.
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
    assert_eq!(tiers(&cluster), lie);
    fill(&cluster, first + 3 * DAY + DAY / 2, 11, 3_000);
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
    let lie = tiers(&cluster);
    assert_eq!(lie[..3], [tier("cold", 1_500), tier("cold", 1_000), tier("cold", 1_000)], "{lie:?}");
    assert_eq!(cluster.region("tokyo").count(STREAM).unwrap(), 6_500);
}
