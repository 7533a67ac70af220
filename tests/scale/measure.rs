//! What the parts have in common: lines into a stream, what the kernel says of a process, percentiles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::Value;

use crate::{generate, setting};

/// How long a bench waits for what should come.
pub(crate) const WITHIN: Duration = Duration::from_secs(600);
const BATCH_BYTES: usize = 4 << 20;
/// Most resident memory of a node, in MiB, however many streams are written or cold segments searched. The large limits of
/// `node/src/limits.rs` together are 992: bodies in the line 192, what is gathered 96, young segments 64, searches 384, cold blocks and
/// footers 256; the rest is for what the engine and the allocator take. Memory is no matter of time, so a bench fails above it.
pub(crate) const MEMORY_MIB: u64 = 1_536;

/// The lines of `DOMICILE_BENCH_FILE`, or as many megabytes of made ones as `DOMICILE_BENCH_MB` says.
pub(crate) fn lines(megabytes: u64) -> Result<Vec<u8>> {
    match std::env::var("DOMICILE_BENCH_FILE") {
        Ok(file) => std::fs::read(&file).with_context(|| format!("`DOMICILE_BENCH_FILE`: {file}")),
        Err(_) => Ok(generate::lines(setting("DOMICILE_BENCH_MB", megabytes) << 20, 42)),
    }
}

/// Lines in pieces that end where a line ends.
pub(crate) fn blocks(lines: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.len().min(size);
        let cut = rest[..end].iter().rposition(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (block, left) = rest.split_at(cut);
        rest = left;
        Some(block)
    })
}

/// Sends lines of JSON until they are acknowledged; how many they are.
pub(crate) fn send(region: &Region, stream: &str, lines: &[u8]) -> Result<u64> {
    let mut events = 0;
    for block in blocks(lines, BATCH_BYTES) {
        let mut body = Vec::with_capacity(block.len() * 21 / 20);
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            events += 1;
            body.extend_from_slice(b"{\"create\":{}}\n");
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        let begun = Instant::now();
        loop {
            let answer = region.bulk(stream, &body, &[])?;
            if answer.status == 200 {
                ensure!(answer.text().contains("\"errors\":false"), "{}", answer.text().get(..500).unwrap_or_default());
                break;
            }
            let is_busy = answer.status == 429 || answer.status == 503;
            ensure!(is_busy && begun.elapsed() < WITHIN, "{}: {}", answer.status, answer.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(events)
}

/// Waits until so many records of a stream are found.
pub(crate) fn until_found(region: &Region, stream: &str, events: u64) -> Result<Duration> {
    let begun = Instant::now();
    let all = || (region.count(stream).ok()? == events).then_some(());
    wait_until(WITHIN, all).with_context(|| format!("{stream}: {events} records are not found"))?;
    Ok(begun.elapsed())
}

/// A line of `/proc/PID/status`, in MiB. Source: proc(5).
pub(crate) fn memory_mib(pid: u32, which: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).context("no such line")?;
    Ok(line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024)
}

/// The most memory that a process ever had, in MiB, which is within the bound.
pub(crate) fn bounded_peak_mib(pid: u32) -> Result<u64> {
    let peak = memory_mib(pid, "VmHWM:")?;
    ensure!(peak <= MEMORY_MIB, "{peak} MiB of memory, where {MEMORY_MIB} are the bound");
    Ok(peak)
}

/// Bytes of the files below a directory.
pub(crate) fn bytes_below(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        Ok(kind) => kind.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// The middle one of some times.
pub(crate) fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// An answer without the time it took.
pub(crate) fn timeless(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("took");
    }
    answer
}
