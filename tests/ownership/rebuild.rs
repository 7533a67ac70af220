//! A region loses all it has but its bucket and the backup of its keys. A new node takes it up again, is killed while it does, and
//! goes on: what was acknowledged into the bucket is there, once; what was lost is said; questions of others are whole again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::moved::machine_now;
use domicile_tests::cluster::region::{Region, counting};
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::{Value, json};

use crate::BINARY;
use crate::adopt::{recorded, refused, send};

/// Events in one batch.
const EACH: u64 = 25;
/// Streams beside the large one: more than one request takes up.
const SMALL: u64 = 40;
/// A machine that builds other things meanwhile.
const LONG: Duration = Duration::from_secs(180);

/// The person who is erased, and the other one.
const PERSONS: [&str; 2] = ["u-erased", "u-kept"];

pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Replaces a text in a file, where it stands; its mode stays.
pub(crate) fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{}: no `{from}`", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// A profile that knows the other regions alone: a key is valid in its own region, and that one has nobody who could check it.
pub(crate) fn without_tokyo(profile: &Path) -> PathBuf {
    let text = std::fs::read_to_string(profile).unwrap();
    let at = text.find("[regions.tokyo]").unwrap();
    let behind = text[at + 1..].find("[regions.").map_or(text.len(), |behind| at + 1 + behind);
    let abroad = profile.with_file_name("abroad.toml");
    std::fs::copy(profile, &abroad).unwrap();
    std::fs::write(&abroad, format!("{}{}", &text[..at], &text[behind..])).unwrap();
    abroad
}

fn create(cluster: &Cluster, stream: &str, more: &[&str]) {
    let create = ["stream", "create", stream, "--region", "tokyo"];
    cluster.command(&[&create[..], more].concat()).unwrap();
}

fn persons() -> Vec<u8> {
    let event = |n: usize| {
        json!({"timestamp": utc(DAY_MS + 100 * n as i64), "level": "INFO", "uid": PERSONS[n % 2],
            "message": format!("order {n} of {n}@example.com")})
    };
    bulk(&(0..20).map(event).collect::<Vec<_>>(), None)
}

/// Everything that the region has before it is lost.
fn fill(cluster: &Cluster, tokyo: &Region) {
    let plain = ["--no-personal-data", "--durability", "bucket"];
    create(cluster, "orders", &plain);
    create(cluster, "scraps", &["--no-personal-data"]);
    create(cluster, "people", &["--tenant", "default", "--subject", "uid", "--durability", "bucket"]);
    let write = |stream: &str, number: u64| {
        assert!(wait_until(READY_WITHIN, || send(tokyo, stream, number).then_some(())).is_some(), "{stream} {number}");
    };
    for number in 0..8 {
        write("orders", number);
    }
    for number in 0..3 {
        write("scraps", number);
    }
    for number in 0..SMALL {
        let stream = format!("small-{number}");
        create(cluster, &stream, &plain);
        write(&stream, number);
    }
    let sent = wait_until(READY_WITHIN, || {
        let answer = tokyo.bulk("people", &persons(), &[("X-Domicile-Batch", "people")]).ok()?;
        (answer.status == 200 && answer.json()["errors"] == json!(false)).then_some(())
    });
    sent.expect("records of persons are taken");
    tokyo.refresh("people");
    assert_eq!(tokyo.count("people").unwrap(), 20);
    let order = tokyo.api("admin", "POST", "/api/v1/subjects/erase", &json!({"subject": PERSONS[0]})).unwrap();
    assert_eq!(order.status, 200, "{}", order.text());
    let hidden = wait_until(LONG, || (tokyo.count("people").ok()? == 10).then_some(()));
    hidden.expect("a person is erased");
    tokyo.refresh("orders");
    assert_eq!(tokyo.count("orders").unwrap(), 8 * EACH);
}

/// What another region is told about the large stream.
fn told_abroad(asker: &Region) -> Option<Value> {
    let answer = asker.federated(&["tokyo"], "orders", &counting());
    let is_whole = answer["_clusters"]["details"]["tokyo"]["residency"]["coverage"] == "complete";
    let mut told = json!({"total": answer["hits"]["total"], "cells": answer["aggregations"]});
    without_range(&mut told);
    is_whole.then_some(told)
}

/// The question leaves its end open: where it was cut moves on with the minutes.
fn without_range(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("range");
            fields.values_mut().for_each(without_range);
        }
        Value::Array(values) => values.iter_mut().for_each(without_range),
        _ => {}
    }
}

fn answers_whole(node: &Region) {
    let all = wait_until(LONG, || {
        let small = (0..SMALL).all(|number| node.count(&format!("small-{number}")).is_ok_and(|count| count == EACH));
        (small && node.count("orders").ok()? == 8 * EACH).then_some(())
    });
    all.expect("every batch that was acknowledged into the bucket is there, once");
    assert_eq!(node.count("people").unwrap(), 10, "and nobody who was erased");
    assert_eq!(node.count("scraps").unwrap(), 0, "what lay on a disk alone is lost");
}

#[test]
fn a_region_is_rebuilt_from_its_bucket_and_the_backup_of_its_keys() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut node = None;
    let data = cluster.data().to_path_buf();
    let (home, bucket, backup) = (data.join("nodes/tokyo/data"), data.join("bucket"), data.join("backup"));
    // The large stream has a bucket of its own.
    let own = data.join("orders-bucket");
    let store = format!(
        "path = \"{}\"\nbuckets = [{{ tenant = \"default\", stream = \"orders\", path = \"{}\" }}]",
        bucket.display(),
        own.display()
    );
    cluster
        .split_with(|cluster| {
            std::fs::rename(home.join("objects"), &bucket)?;
            cluster.set("tokyo", "store", &store)?;
            node = Some(Second::prepare(cluster)?);
            cluster.set(SECOND, "store", &store)
        })
        .unwrap();
    let node = node.unwrap();
    let (tokyo, singapore, new) = (cluster.region("tokyo"), cluster.region("singapore"), node.region(&cluster));
    fill(&cluster, &tokyo);
    let copied = wait_until(LONG, || own.join("segments").try_exists().unwrap_or(false).then_some(()));
    copied.expect("copies of the large stream lie in its own bucket");
    let before = wait_until(LONG, || told_abroad(&singapore)).expect("an answer abroad");
    let pack = data.parent().unwrap().join("before");
    let name = pack.file_name().unwrap().to_string_lossy().into_owned();
    cluster.command(&["audit", "report", "--tenant", "default", "--out", &name]).unwrap();

    // Everything is gone but the bucket and what was backed up of the keys. It takes longer until somebody is there than an order of
    // erasure may wait.
    cluster.kill("tokyo").unwrap();
    cluster.set_clock(machine_now(&data).unwrap() + 120).unwrap();
    copy_all(&home.join("keys"), &backup);
    std::fs::remove_dir_all(&home).unwrap();
    let config = cluster.configuration(SECOND);
    replace(&config, "voter = false", "voter = true");
    let seed =
        |node: u64, of: &Region| format!("node = {node}\nregion = \"{}\"\naddr = \"{}\"", of.name, of.doors.link);
    // Whoever leads by now has to be among them.
    let seeds = format!("{}\n[[meta.seeds]]\n{}", seed(2, &singapore), seed(3, &cluster.region("frankfurt")));
    replace(&config, &seed(1, &tokyo), &seeds);
    let profile = data.join("profile.toml");
    let abroad = without_tokyo(&profile).display().to_string();
    for (command, more) in [("remove", &["--node", "1"][..]), ("join", &["--node", "4", "--addr", &new.doors.link][..])]
    {
        let arguments = [&["--profile", &abroad, "node", command, "--region", "tokyo"][..], more].concat();
        wait_until(LONG, || cluster.command(&arguments).ok()).expect("the officer's word is taken in another region");
    }
    copy_all(&backup, &data.join("nodes").join(SECOND).join("data/keys"));
    cluster.launch(SECOND).unwrap();
    wait_until(LONG, || new.is_ready().then_some(())).expect("the new node is ready");
    replace(&profile, &tokyo.doors.api, &new.doors.api);
    replace(&profile, &tokyo.doors.es, &new.doors.es);

    let rebuild = ["region", "rebuild", "--region", "tokyo"];
    let said = wait_until(LONG, || {
        let said = refused(&cluster, &rebuild);
        said.contains("--accept-loss").then_some(said)
    });
    let said = said.expect("what would be lost is said, and nothing is done");
    assert!(said.contains("disk"), "{said}");
    assert!(recorded(&new, "shard_adopted").is_empty());

    // Killed while it takes the streams up.
    let accepted = [&rebuild[..], &["--accept-loss"]].concat();
    let mut running = Command::new(BINARY).args(&accepted).current_dir(data.parent().unwrap()).spawn().unwrap();
    let begun = wait_until(LONG, || (!recorded(&new, "shard_adopted").is_empty()).then_some(()));
    begun.expect("it begins");
    cluster.kill(SECOND).unwrap();
    assert!(!running.wait().unwrap().success(), "the command says that it was cut off");
    cluster.launch(SECOND).unwrap();
    wait_until(LONG, || new.is_ready().then_some(())).expect("the new node is back");
    let told = wait_until(LONG, || cluster.command(&accepted).ok()).expect("it goes on where it was");
    assert!(told.contains("adopted"), "{told}");
    answers_whole(&new);

    let again = refused(&cluster, &accepted);
    assert!(again.contains("DMC-OWNERSHIP-09"), "a second rebuild does nothing: {again}");
    let mut shards: Vec<String> = recorded(&new, "shard_adopted").iter().map(|one| one["shard"].to_string()).collect();
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards.len() as u64, SMALL + 3, "each stream is in the ledger");
    assert!(recorded(&new, "shard_adopted").iter().all(|one| one["why"] == "region_rebuilt" && one["from"] == 1));

    let after = wait_until(LONG, || told_abroad(&singapore)).expect("questions of another region are whole again");
    assert_eq!(after, before, "and say what they said");
    assert!(send(&new, "orders", 3), "a batch that was acknowledged before is known");
    for number in 8..10 {
        assert!(send(&new, "orders", number));
    }
    new.refresh("orders");
    assert_eq!(new.count("orders").unwrap(), 10 * EACH, "and the stream goes on");

    let mut said = String::new();
    let is_sound = wait_until(LONG, || {
        std::fs::remove_dir_all(data.parent().unwrap().join("after")).ok();
        let report = cluster.command(&["audit", "report", "--tenant", "default", "--out", "after"]);
        let is_sound = report.as_ref().is_ok_and(|told| told.lines().any(|line| line.starts_with("SOUND: ")));
        said = report.unwrap_or_else(|error| format!("{error:#}"));
        is_sound.then_some(())
    });
    assert!(is_sound.is_some(), "the ledger of the rebuilt region is not sound: {said}");
    let missing = std::fs::read_to_string(data.parent().unwrap().join("after/csv/missing.csv")).unwrap();
    assert!(missing.contains("tokyo,1,no node of the deployment any more; "), "{missing}");
}
