//! A killed node starts again on what only its write-ahead logs hold.
//!
//! While the lines come no manifest of a segment can be created in the bucket, as when it is out of reach, so that the log keeps all of
//! them: a node gathers less than 200 MB in memory and would have made the rest durable in segments long before.

use std::time::Instant;

use anyhow::{Result, ensure};
use domicile_tests::cluster::Cluster;
use serde_json::json;

use crate::measure::{MEMORY_MIB, blocks, bounded_peak_mib, bytes_below, send, until_found};
use crate::{BINARY, generate, setting};

/// Streams that are written in turn.
const STREAMS: usize = 16;
/// What the logs hold at least where so much is sent.
const LOG_BYTES: u64 = 1 << 30;

pub(crate) fn measure() -> Result<()> {
    let mut cluster = Cluster::start(BINARY, &[])?;
    cluster.split()?;
    let stream = |number: usize| format!("bench-{number}");
    for number in 0..STREAMS {
        let name = stream(number);
        let create = ["stream", "create", &name, "--no-personal-data", "--keep", "ip", "--because", "not_personal"];
        cluster.command(&[&create[..], &["--refresh-ms", "30000", "--region", "tokyo"]].concat())?;
    }
    let tokyo = cluster.region("tokyo");
    let lines = generate::lines(setting("DOMICILE_BENCH_MB", 1_200) << 20, 42);
    let data = cluster.data().join("nodes/tokyo/data");
    let (logs, manifests) = (data.join("wal"), data.join("objects/shards"));
    let aside = manifests.with_extension("aside");
    let is_there = manifests.try_exists()?;
    if is_there {
        std::fs::rename(&manifests, &aside)?;
    }
    // Nothing can be created below a file.
    std::fs::write(&manifests, "out of reach")?;
    let mut events = [0_u64; STREAMS];
    for (number, block) in blocks(&lines, 4 << 20).enumerate() {
        events[number % STREAMS] += send(&tokyo, &stream(number % STREAMS), block)?;
    }
    let sending = bounded_peak_mib(cluster.pid("tokyo")?)?;
    cluster.kill("tokyo")?;
    ensure!(std::fs::read(&manifests)? == b"out of reach", "a manifest was created");
    std::fs::remove_file(&manifests)?;
    if is_there {
        std::fs::rename(&aside, &manifests)?;
    }
    let held = bytes_below(&logs);
    ensure!(held >= LOG_BYTES.min(lines.len() as u64 / 2), "{held} bytes are in the logs of {} sent", lines.len());
    let begun = Instant::now();
    cluster.restart("tokyo")?;
    let ready = begun.elapsed().as_secs_f64();
    for (number, events) in events.iter().enumerate() {
        until_found(&tokyo, &stream(number), *events)?;
    }
    let found = begun.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({
            "figure": "replay", "sent_megabytes": lines.len() as f64 / 1e6, "log_bytes_at_the_kill": held, "ready_s": ready,
            "all_found_s": found, "log_mb_s": held as f64 / 1e6 / found, "peak_rss_mib_sending": sending,
            "peak_rss_mib": bounded_peak_mib(cluster.pid("tokyo")?)?, "bound_mib": MEMORY_MIB,
        })
    );
    Ok(())
}
