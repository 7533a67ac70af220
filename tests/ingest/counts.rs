//! Counts by level and by minute equal a count of the input made without the product.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events, text};
use domicile_tests::cluster::{Cluster, wait_until};

use crate::BINARY;

/// Minutes that Tokyo's clocks are ahead of UTC: lines without a zone are in the region's own.
const TOKYO_MINUTES: i64 = 9 * 60;

#[test]
fn every_way_in_gives_the_counts_of_its_input() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    let directory = tempfile::tempdir().unwrap();

    let (drawn, counts) = events(41, 2_000, 7);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &bulk(&drawn, None)).unwrap();
    let answer = tokyo.bulk("packed", &gz.finish().unwrap(), &[("Content-Encoding", "gzip")]).unwrap();
    assert!(answer.status == 200 && answer.text().contains("\"errors\":false"), "{}", answer.text());
    tokyo.refresh("packed");
    assert_eq!(tokyo.counts("packed"), counts, "through gzip and `_bulk`");

    let file = directory.path().join("events.ndjson");
    let lines: Vec<String> = drawn.iter().map(ToString::to_string).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    ingest(&cluster, &file, "lines");
    assert_eq!(tokyo.counts("lines"), counts, "through `ingest` of NDJSON");

    let (lines, counts) = text(1_000, TOKYO_MINUTES);
    let file = directory.path().join("service.log");
    std::fs::write(&file, lines).unwrap();
    ingest(&cluster, &file, "text");
    assert_eq!(tokyo.counts("text"), counts, "through `ingest` of text in four formats");
}

fn ingest(cluster: &Cluster, file: &std::path::Path, stream: &str) {
    let tokyo = cluster.region("tokyo");
    cluster.command(&["ingest", &file.display().to_string(), "--stream", stream, "--region", "tokyo"]).unwrap();
    tokyo.refresh(stream);
    wait_until(Duration::from_secs(10), || tokyo.count(stream).ok().filter(|count| *count > 0))
        .expect("something came in");
}
