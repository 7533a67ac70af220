//! A scan of every file of every region: a region's words lie in its own records alone, and what a detector caught lies nowhere.

use std::path::{Path, PathBuf};

use domicile_tests::cluster::canary::Canary;
use domicile_tests::cluster::{Cluster, REGIONS};
use serde_json::json;

use crate::BINARY;

const WORD: &str = "kq7XvZ2mPw9LtR4sBnC8";
const MAIL_USER: &str = "hrqwzkvbnplmxctyfd";
const CARD: &str = "4539578763621486";
/// Directories of a node in which records lie.
const RECORDS: [&str; 3] = ["wal", "segments", "objects"];

#[test]
fn planted_words_stay_in_their_region_and_caught_ones_touch_no_disk() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let frankfurt = cluster.region("frankfurt");
    let mut body = Vec::new();
    for index in 0..60 {
        let event = json!({
            "timestamp": "2026-11-20T09:00:00Z",
            "level": "ERROR",
            "service": "checkout",
            "message": format!("{WORD} paid by {MAIL_USER}@example.org with {CARD}, order {index}"),
            "attributes": {"note": WORD, "contact": format!("{MAIL_USER}@example.org")},
        });
        body.extend_from_slice(format!("{{\"create\":{{}}}}\n{event}\n").as_bytes());
    }
    // Broken on purpose, so that its text has every reason to end up in an error message.
    body.extend_from_slice(format!("{{\"create\":{{}}}}\n{{\"message\": {WORD} {MAIL_USER}@example.org\n").as_bytes());
    // Named by its producer after somebody.
    let batch = format!("upload-{MAIL_USER}@example.org-{CARD}");
    let answer = frankfurt.bulk("secrets", &body, &[("X-Domicile-Batch", &batch)]).unwrap();
    assert!(answer.status == 200 && answer.text().contains("\"errors\":true"), "{}", answer.text());
    frankfurt.refresh("secrets");
    for query in [json!({"match": {"message": WORD}}), json!({"match_phrase": {"message": format!("{WORD} paid")}})] {
        let body = json!({"size": 0, "query": query, "aggs": {"services": {"terms": {"field": "service"}}}});
        let local = frankfurt.es("search", "POST", "/secrets/_search", &body).unwrap();
        assert_eq!(local.json()["hits"]["total"]["value"], 60, "home finds its own: {}", local.text());
        frankfurt.federated(&REGIONS, "secrets", &json!({"size": 0, "query": {"match_all": {}}}));
    }
    let data = cluster.data().to_path_buf();
    assert!(cluster.stop(domicile_tests::cluster::STOP_WITHIN), "a graceful stop, so that everything is on disk");

    let (word, mail, card) = (Canary::new(WORD), Canary::new(MAIL_USER), Canary::new(CARD));
    let mut scanned = 0;
    let mut seen_at_home = false;
    for file in files(&data) {
        let bytes = std::fs::read(&file).unwrap();
        scanned += bytes.len();
        for caught in [&mail, &card] {
            assert_eq!(caught.find_in(&bytes), None, "{} holds what a detector caught", file.display());
        }
        let found = word.find_in(&bytes);
        if is_record_storage(&data, &file) {
            seen_at_home |= found.is_some();
        } else {
            assert_eq!(found, None, "{} holds a word of a record", file.display());
        }
    }
    assert!(scanned > 10_000, "only {scanned} bytes were there to scan");
    assert!(seen_at_home, "the planted word was found nowhere: the scan is blind");

    // The product's own scanner, which decodes, comes to the same end.
    let (silent, told) = audit_scan(&data, &format!("{MAIL_USER}@example.org\n{CARD}\n"));
    assert!(silent, "what a detector caught lies decoded on a disk: {told}");
    let (silent, told) = audit_scan(&data, WORD);
    let places = ["a term of", "a stored event", "the bytes"];
    assert!(!silent && places.iter().all(|place| told.contains(place)), "the scanner is blind: {told}");
    assert!(!told.to_lowercase().contains(&WORD.to_lowercase()), "the scanner repeats what it finds");
    assert!(told.lines().all(|line| line.contains("/nodes/frankfurt/data/")), "a word is abroad: {told}");
}

/// `domicile audit scan`: whether it found nothing, and what it said.
fn audit_scan(data: &Path, planted: &str) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), planted).unwrap();
    let mut command = std::process::Command::new(BINARY);
    let output = command.args(["audit", "scan"]).arg(data).arg("--canary").arg(file.path()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Whether records may lie here: Frankfurt's own log, segments and objects.
fn is_record_storage(data: &Path, file: &Path) -> bool {
    let inside = file.strip_prefix(data.join("nodes/frankfurt/data")).ok();
    inside.is_some_and(|path| RECORDS.iter().any(|directory| path.starts_with(directory)))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}
