//! Memory of a node while many streams are written, and while as many cold segments are searched: under one bound both times.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::region::Region;
use serde_json::{Value, json};

use crate::measure::{MEMORY_MIB, WITHIN, blocks, bounded_peak_mib, memory_mib, send, until_found};
use crate::{BINARY, generate, setting};

/// Streams that one question names.
const TOGETHER: usize = 250;

pub(crate) fn measure() -> Result<()> {
    let streams = usize::try_from(setting("DOMICILE_BENCH_STREAMS", 1_000))?;
    let mut cluster = Cluster::start(BINARY, &[])?;
    cluster.split()?;
    let names: Vec<String> = (0..streams).map(|number| format!("bench-{number}")).collect();
    for name in &names {
        cluster.command(&["stream", "create", name, "--no-personal-data", "--region", "tokyo"])?;
    }
    let tokyo = cluster.region("tokyo");
    let empty = memory_mib(cluster.pid("tokyo")?, "VmRSS:")?;
    let megabytes = setting("DOMICILE_BENCH_MB", 200);
    let lines = generate::lines(megabytes << 20, 42);
    let mut events = vec![0_u64; streams];
    // Every stream is written again and again, so that all of them grow at once.
    let piece = (lines.len() / streams / 4).max(4 << 10);
    for (number, block) in blocks(&lines, piece).enumerate() {
        events[number % streams] += send(&tokyo, &names[number % streams], block)?;
    }
    let peak = memory_mib(cluster.pid("tokyo")?, "VmHWM:")?;
    for (name, events) in names.iter().zip(&events) {
        tokyo.refresh(name);
        until_found(&tokyo, name, *events)?;
    }
    println!(
        "{}",
        json!({
            "figure": "many streams written", "streams": streams, "megabytes": megabytes, "rss_mib_before": empty, "peak_rss_mib": peak,
            "peak_rss_mib_all_found": bounded_peak_mib(cluster.pid("tokyo")?)?, "bound_mib": MEMORY_MIB,
        })
    );
    cluster.end("tokyo")?;
    cluster.set("tokyo", "lifecycle", "disk_mark_bytes = 1\nmove_bytes_per_second = 1000000000")?;
    cluster.restart("tokyo")?;
    let cold = until_cold(&cluster, streams)?;
    ensure!(cold >= streams, "{cold} segments are cold of {streams} streams");
    // Begun anew, so that the peak is that of searching alone.
    cluster.end("tokyo")?;
    cluster.restart("tokyo")?;
    let opened = memory_mib(cluster.pid("tokyo")?, "VmRSS:")?;
    let mut found = 0;
    for some in names.chunks(TOGETHER) {
        for word in ["error", "order", "connection"] {
            found += search(&tokyo, &some.join(","), word)?;
        }
    }
    println!(
        "{}",
        json!({
            "figure": "many cold segments searched", "segments": cold, "found": found, "rss_mib_opened": opened,
            "peak_rss_mib": bounded_peak_mib(cluster.pid("tokyo")?)?, "bound_mib": MEMORY_MIB,
        })
    );
    Ok(())
}

/// How many segments lie in the bucket alone, once they are so many: what was still in the log when the node ended becomes a segment in
/// the first minutes after it began again.
fn until_cold(cluster: &Cluster, wanted: usize) -> Result<usize> {
    let begun = Instant::now();
    loop {
        cluster.command(&["lifecycle", "run", "--region", "tokyo"])?;
        let listed: Value = serde_json::from_str(&cluster.command(&["storage", "ls", "--region", "tokyo", "--json"])?)?;
        let rows = listed["segments"].as_array().context("no list of segments")?;
        let cold = rows.iter().filter(|row| row["tier"] == "cold").count();
        if cold >= wanted || begun.elapsed() > WITHIN {
            return Ok(cold);
        }
        std::thread::sleep(Duration::from_secs(5));
    }
}

fn search(tokyo: &Region, streams: &str, word: &str) -> Result<u64> {
    let question = json!({
        "size": 100, "sort": [{"timestamp": {"order": "desc"}}], "query": {"match": {"message": {"query": word}}},
        "aggs": {"h": {"date_histogram": {"field": "timestamp", "fixed_interval": "10m"}}}, "track_total_hits": true,
    });
    let answer = tokyo.es("search", "POST", &format!("/{streams}/_search"), &question)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    answer.json()["hits"]["total"]["value"].as_u64().context("no total")
}
