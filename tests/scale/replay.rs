//! A killed node starts again on what only its write-ahead logs hold.

use std::time::Instant;

use anyhow::{Result, ensure};
use domicile_tests::cluster::Cluster;
use serde_json::json;

use crate::measure::{blocks, bytes_below, memory_mib, send, until_found};
use crate::{BINARY, generate, setting};

/// Streams that are written at once: each buffers what it may before it makes a segment.
const STREAMS: usize = 16;

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
    let lines = generate::lines(setting("DOMICILE_BENCH_MB", 1_100) << 20, 42);
    let logs = cluster.data().join("nodes/tokyo/data/wal");
    let mut events = [0_u64; STREAMS];
    for (number, block) in blocks(&lines, 4 << 20).enumerate() {
        events[number % STREAMS] += send(&tokyo, &stream(number % STREAMS), block)?;
    }
    cluster.kill("tokyo")?;
    let held = bytes_below(&logs);
    let begun = Instant::now();
    cluster.restart("tokyo")?;
    let ready = begun.elapsed().as_secs_f64();
    for (number, events) in events.iter().enumerate() {
        until_found(&tokyo, &stream(number), *events)?;
    }
    let found = begun.elapsed().as_secs_f64();
    ensure!(held > 0, "nothing was left in the logs");
    println!(
        "{}",
        json!({
            "figure": "replay", "sent_megabytes": lines.len() as f64 / 1e6, "log_bytes_at_the_kill": held, "ready_s": ready,
            "all_found_s": found, "log_mb_s": held as f64 / 1e6 / found, "peak_rss_mib": memory_mib(cluster.pid("tokyo")?, "VmHWM:")?,
        })
    );
    Ok(())
}
