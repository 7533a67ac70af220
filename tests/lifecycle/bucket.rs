//! Segments go to the bucket because the disk is above its mark: a directory, and an S3 server.

use std::path::{Path, PathBuf};

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::s3::S3;
use serde_json::Value;

use crate::BINARY;
use crate::questions::{STREAM, asked, one_more, told_abroad};

const RECORDS: u64 = 3_000;

fn begun() -> Cluster {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--no-personal-data", "--text-questions"];
    cluster.command(&[&made[..], &["--region", "tokyo", "--region", "frankfurt"]].concat()).unwrap();
    cluster
}

fn fill(cluster: &Cluster) {
    let tokyo = cluster.region("tokyo");
    let body = bulk(&events(5, RECORDS, 40).0, None);
    assert_eq!(tokyo.bulk(STREAM, &body, &[]).unwrap().json()["errors"], Value::Bool(false));
    tokyo.refresh(STREAM);
    assert_eq!(tokyo.count(STREAM).unwrap(), RECORDS);
}

const FULL: &str = "disk_mark_bytes = 1\nmove_bytes_per_second = 1000000000";

/// Files of segments below a directory.
fn files_of_segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let below = paths.iter().filter(|path| path.is_dir()).flat_map(|path| files_of_segments(path));
    let own = paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "store")).cloned();
    below.chain(own).collect()
}

fn json_of(cluster: &Cluster, arguments: &[&str]) -> Value {
    let said = cluster.command(&[arguments, &["--region", "tokyo", "--json"]].concat()).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn tiers(cluster: &Cluster) -> Vec<String> {
    let listed = json_of(cluster, &["storage", "ls"]);
    let rows = listed["segments"].as_array().unwrap().iter();
    let own = rows.filter(|row| row["stream"] == STREAM);
    own.map(|row| row["tier"].as_str().unwrap().to_owned()).collect()
}

/// From hot to cold with every command on the way.
fn moved(cluster: &Cluster) {
    let plan = json_of(cluster, &["lifecycle", "plan"]);
    let first = &plan["moves"][0];
    assert!(first["to"] == "cold" && first["is_due"] == true, "{plan}");
    assert!(first["why"].as_str().unwrap().contains("1 are its mark"), "{plan}");
    let table = cluster.command(&["lifecycle", "plan", "--region", "tokyo"]).unwrap();
    assert!(table.starts_with("STREAM") && table.contains("the disk holds"), "{table}");
    assert!(tiers(cluster).iter().all(|tier| tier != "cold"), "a plan moves nothing");
    cluster.command(&["lifecycle", "run", "--region", "tokyo"]).unwrap();
    let all = tiers(cluster);
    assert!(!all.is_empty() && all.iter().all(|tier| tier == "cold"), "{all:?}");
    let data = cluster.data().join("nodes").join("tokyo").join("data").join("segments");
    assert_eq!(files_of_segments(&data), Vec::<PathBuf>::new(), "nothing of it is left on the disk");
    let verified = json_of(cluster, &["storage", "verify"]);
    assert!(verified["damaged"] == 0 && verified["segments"].as_u64() >= Some(1), "{verified}");
    let listed = json_of(cluster, &["storage", "ls"]);
    let segment = listed["segments"].as_array().unwrap().iter().find(|row| row["stream"] == STREAM).unwrap();
    let id = segment["segment"].as_str().unwrap();
    let read = json_of(cluster, &["storage", "explain", id, "--word", "order"]);
    assert!(read["opening"]["requests"].as_u64() <= Some(2), "{read}");
    let (requests, bytes) =
        (read["question"]["requests"].as_u64().unwrap(), read["question"]["bytes"].as_u64().unwrap());
    assert!((1..=10).contains(&requests) && bytes <= 2 << 20, "{read}");
}

#[test]
fn what_lies_in_a_directory_answers_as_before_and_a_bucket_that_is_away_is_told() {
    let mut cluster = begun();
    fill(&cluster);
    let before = asked(&cluster);
    cluster.split_with(|cluster| cluster.set("tokyo", "lifecycle", FULL)).unwrap();
    assert_eq!(asked(&cluster), before, "hot, after a restart");
    moved(&cluster);
    assert_eq!(asked(&cluster), before, "cold");
    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    assert_eq!(asked(&cluster), before, "cold, after kill -9");

    // Nothing of what is asked next was read before.
    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    let tokyo = cluster.region("tokyo");
    let objects = cluster.data().join("nodes").join("tokyo").join("data").join("objects");
    std::fs::rename(objects.join("segments"), objects.join("aside")).unwrap();
    let (status, text) = one_more(&tokyo, "took");
    assert!(status == 503 && text.contains("DMC-QUERY-18"), "{status} {text}");
    // Another region is told, and gets no smaller number.
    told_abroad(&cluster, "took", "Unavailable");
    let refused = cluster.command(&["storage", "verify", "--region", "tokyo", "--json"]).err().unwrap().to_string();
    assert!(refused.contains("damaged"), "{refused}");
    std::fs::rename(objects.join("aside"), objects.join("segments")).unwrap();
    assert_eq!(one_more(&tokyo, "took").0, 200, "and is back without a restart");
    told_abroad(&cluster, "took", "complete");
    assert_eq!(asked(&cluster), before);
}

#[test]
fn what_lies_in_an_s3_bucket_answers_as_before() {
    let Some(server) = S3::start().unwrap() else { return };
    let mut cluster = begun();
    cluster
        .split_with(|cluster| {
            cluster.set("tokyo", "store", &server.settings(cluster.data())?)?;
            cluster.set("tokyo", "lifecycle", FULL)
        })
        .unwrap();
    fill(&cluster);
    let before = asked(&cluster);
    cluster.end("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    assert_eq!(asked(&cluster), before, "hot, after a restart");
    moved(&cluster);
    assert_eq!(asked(&cluster), before, "cold");
    cluster.kill("tokyo").unwrap();
    cluster.restart("tokyo").unwrap();
    assert_eq!(asked(&cluster), before, "cold, after kill -9");
}
