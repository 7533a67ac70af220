//! Real lines of sixteen systems and generated ones, through every door that people use: `ingest` of text (plain, gzip, zstd)
//! and of NDJSON, `_bulk` by the Python clients 8 and 9, and curl. Each region counts as the authors of the lines do, and the
//! world is the sum of its regions minus the cells it names as withheld.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use domicile_tests::cluster::fixture::{events, merge, released};
use domicile_tests::cluster::loghub::{self, Event, SYSTEMS, System};
use domicile_tests::cluster::region::{Counts, Region, counting, read_counts};
use domicile_tests::cluster::require::{require, require_python_client};
use domicile_tests::cluster::{Cluster, REGIONS};
use serde_json::{Value, json};

use crate::BINARY;

/// Smallest number of records a cell of a stream without declared subjects must have to leave its region.
const K_ROWS: u64 = 50;
/// Minutes that clocks of a region are ahead of UTC, as its facts say; in the order of [`REGIONS`].
const AHEAD: [i64; 3] = [540, 480, 60];
/// Longest question by minutes: five days are 7,200 of the 10,000 cells of an answer.
const WINDOW_MS: i64 = 5 * 86_400_000;

#[test]
fn real_text_lines_are_counted_as_their_authors_count_them() {
    let Some(place) = loghub::find() else { return };
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for system in SYSTEMS {
        let (stream, read) = (system.stream(), system.events(&place, now_ms()));
        let plain = std::fs::read(system.lines(&place)).unwrap();
        let files = [
            written(directory.path(), "plain.log", &plain),
            written(directory.path(), "gzip.log", &gzip(&plain)),
            written(directory.path(), "zstd.log", &zstd::encode_all(plain.as_slice(), 3).unwrap()),
        ];
        let mut own = Vec::new();
        for ((region, ahead), file) in cluster.regions().iter().zip(AHEAD).zip(files) {
            ingest(&cluster, &file, &stream, &region.name);
            region.refresh(&stream);
            let expected = loghub::counts(&read, ahead);
            assert_same(
                &region.counts(&stream),
                &expected,
                system.says_levels(),
                &format!("{} in {}", system.name, region.name),
            );
            own.push(expected);
        }
        the_world_is_the_sum(&cluster, &system, &own, &read);
    }
}

#[test]
fn documents_are_counted_the_same_by_every_client() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (drawn, counts) = events(43, 3_000, 7);
    through_every_client(&cluster, directory.path(), "drawn", &drawn, &counts, true);

    let Some(place) = loghub::find() else { return };
    for system in SYSTEMS {
        let read = system.events(&place, now_ms());
        let documents: Vec<Value> = read.iter().map(|event| event.document(&system.stream())).collect();
        let counts = loghub::counts(&read, 0);
        let name = system.stream();
        through_every_client(&cluster, directory.path(), &name, &documents, &counts, system.says_levels());
    }
}

/// Sends the same documents by each client into a stream of its own, each client into another region.
fn through_every_client(
    cluster: &Cluster,
    directory: &Path,
    name: &str,
    documents: &[Value],
    expected: &Counts,
    with_levels: bool,
) {
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    let ndjson = written(directory, "documents.ndjson", lines.as_bytes());
    for (name, bytes) in [("gzip", gzip(lines.as_bytes())), ("zstd", zstd::encode_all(lines.as_bytes(), 3).unwrap())] {
        written(directory, name, &bytes);
    }
    let bulk: String = documents.iter().map(|document| format!("{{\"create\":{{}}}}\n{document}\n")).collect();
    let bulk = written(directory, "documents.bulk", bulk.as_bytes());
    let [tokyo, singapore, frankfurt] = REGIONS.map(|region| cluster.region(region));
    let verify = |region: &Region, way: &str| {
        let stream = format!("{name}-{way}");
        region.refresh(&stream);
        assert_same(&region.counts(&stream), expected, with_levels, &format!("{stream} in {}", region.name));
    };
    for (region, way, file) in [
        (&tokyo, "ndjson", ndjson.clone()),
        (&singapore, "gzip", directory.join("gzip")),
        (&frankfurt, "zstd", directory.join("zstd")),
    ] {
        ingest(cluster, &file, &format!("{name}-{way}"), &region.name);
        verify(region, way);
    }
    for (region, version) in [(&tokyo, 8), (&singapore, 9)] {
        let Some(python) = require_python_client(version) else { continue };
        let way = format!("python{version}");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/elasticsearch_load.py");
        let stream = format!("{name}-{way}");
        run(Command::new(python).args([script, &region.doors.es, &region.keys["ingest"], &stream]).arg(&ndjson));
        verify(region, &way);
    }
    if let Some(curl) = require("curl") {
        let stream = format!("{name}-curl");
        let answer = run(Command::new(curl)
            .args(["-sS", "--fail-with-body", "-H", "Content-Type: application/x-ndjson", "-H"])
            .arg(format!("Authorization: ApiKey {}", frankfurt.keys["ingest"]))
            .args(["--data-binary", &format!("@{}", bulk.display())])
            .arg(format!("{}/{stream}/_bulk", frankfurt.doors.es)));
        assert!(answer.contains("\"errors\":false"), "{answer:.500}");
        verify(&frankfurt, "curl");
    }
}

/// The federated answer over the busiest days, beside what the regions let out each by itself.
fn the_world_is_the_sum(cluster: &Cluster, system: &System, own: &[Counts], read: &[Event]) {
    let stream = system.stream();
    let stream = stream.as_str();
    let busiest = own[0].minutes.iter().max_by_key(|(_, count)| **count).map(|(minute, _)| *minute).unwrap();
    let from = busiest - WINDOW_MS / 2;
    let range = from..from + WINDOW_MS;
    let mut question = counting();
    question["query"] =
        json!({"range": {"timestamp": {"gte": range.start, "lt": range.end, "format": "epoch_millis"}}});
    let inside = |event: &&Event, ahead: i64| range.contains(&event.at(ahead));
    let within = AHEAD.map(|ahead| loghub::counts(read.iter().filter(|event| inside(event, ahead)), ahead));
    let told = AHEAD.map(|ahead| {
        let inside = read.iter().filter(|event| inside(event, ahead));
        released(inside.map(|event| (event.minute(ahead), event.level.to_owned())), K_ROWS)
    });
    let answer = cluster.region("tokyo").federated(&REGIONS, stream, &question);
    let mut found = read_counts(&answer);
    found.minutes.retain(|_, count| *count > 0);
    let expected = merge(&told);
    assert_same(&found, &expected, system.says_levels(), &format!("{stream} in the world"));
    for (name, counts) in REGIONS.iter().zip(&within) {
        let said = &answer["_clusters"]["details"][name]["residency"];
        let withheld = counts.minutes.values().filter(|count| **count < K_ROWS).count();
        assert!(said["withheld_cells"].as_u64() >= Some(withheld as u64), "{stream}: {name} names {said}");
        assert_eq!(said["covered"], json!({"from": range.start, "to": range.end}), "{stream}: {name}");
    }
}

#[track_caller]
fn assert_same(found: &Counts, expected: &Counts, with_levels: bool, what: &str) {
    assert_eq!(found.total, expected.total, "{what}: total");
    if with_levels {
        assert_eq!(found.levels, expected.levels, "{what}: levels");
    }
    let differing: BTreeMap<_, _> = found
        .minutes
        .iter()
        .map(|(minute, count)| (minute, (*count, expected.minutes.get(minute).copied().unwrap_or(0))))
        .chain(
            expected
                .minutes
                .iter()
                .map(|(minute, count)| (minute, (found.minutes.get(minute).copied().unwrap_or(0), *count))),
        )
        .filter(|(_, (found, expected))| found != expected)
        .take(5)
        .collect();
    assert!(differing.is_empty(), "{what}: minutes (found, expected): {differing:?}");
}

fn ingest(cluster: &Cluster, file: &Path, stream: &str, region: &str) {
    cluster.command(&["ingest", &file.display().to_string(), "--stream", stream, "--region", region]).unwrap();
}

fn written(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}\n{err}", output.status);
    out.into_owned()
}

/// Milliseconds since 1970; lines without a year are of the one nearest to it.
fn now_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_millis()).unwrap()
}
