//! The whole product through its public doors: ingest by `_bulk` until merges settle, then the questions Q1 to Q9.
//!
//! `cargo bench -p domicile --bench whole` starts three regions with the release binary, loads a file into one of them and
//! prints one JSON object per figure. It measures; it asserts nothing about time. Settings come from the environment:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `DOMICILE_BENCH_FILE` | none | NDJSON file to load; without it, lines are generated (seed 42) |
//! | `DOMICILE_BENCH_MB` | 50 | megabytes to generate |
//! | `DOMICILE_BENCH_REFRESH_MS` | 10000 | refresh of the stream |
//! | `DOMICILE_BENCH_RUNS` | 31 | warm runs per question |
//! | `DOMICILE_BENCH_REDACT_IP` | off | `1`: IP addresses are replaced by tokens as well |
//! | `DOMICILE_BENCH_WAN` | off | `1`: emulated round trips of 70, 160 and 230 ms, and the federated question |
//! | `DOMICILE_BENCH_REGIONS` | tokyo | `all`: the file goes into every region |
//! | `DOMICILE_BENCH_GATE` | off | `1`: what the disclosure gate costs over three regions, and nothing else |
//! | `DOMICILE_BENCH_PRIVACY` | off | number of rounds: loads with all detectors and with none of them, and compares; nothing else |
//! | `DOMICILE_BENCH_TENANTS` | off | number of tenants: measures a node at rest with them, and nothing else |

#![allow(clippy::print_stdout, clippy::indexing_slicing, clippy::or_fun_call, reason = "a bench prints and may panic")]

mod gate;
mod generate;
mod privacy;
mod process;
mod questions;
mod tenants;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use process::{Dev, cpu_seconds, peak_rss_mib};

const STREAM: &str = "bench";
const BATCH_BYTES: usize = 4 << 20;
const LOADERS: usize = 2;

fn main() -> Result<()> {
    // `cargo test --benches` and `--no-run` style invocations pass `--test`; there is nothing to test here.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn run() -> Result<()> {
    let wan = setting("DOMICILE_BENCH_WAN", 0) == 1;
    let tenants = setting("DOMICILE_BENCH_TENANTS", 0);
    if tenants > 0 {
        return tenants::measure(Dev::start(false)?, &process::client()?, tenants).await;
    }
    let lines = match std::env::var("DOMICILE_BENCH_FILE") {
        Ok(file) => std::fs::read(&file).with_context(|| format!("cannot read `{file}`"))?,
        Err(_) => generate::lines(setting("DOMICILE_BENCH_MB", 50) << 20, 42),
    };
    let rounds = setting("DOMICILE_BENCH_PRIVACY", 0);
    if rounds > 0 {
        return privacy::compare(&lines, rounds, setting("DOMICILE_BENCH_REFRESH_MS", 10_000)).await;
    }
    let dev = Dev::start(wan)?;
    if setting("DOMICILE_BENCH_GATE", 0) == 1 {
        return gate::measure(&dev, &process::client()?, &lines, setting("DOMICILE_BENCH_RUNS", 201)).await;
    }
    let started = Instant::now();
    let client = process::client()?;
    let refresh = setting("DOMICILE_BENCH_REFRESH_MS", 10_000);
    let keeps_ip = setting("DOMICILE_BENCH_REDACT_IP", 0) == 0;
    dev.create_stream(STREAM, refresh, if keeps_ip { &["ip"] } else { &[] })?;
    println!("{}", json!({"figure": "start", "ready_s": dev.ready_s, "stream_s": started.elapsed().as_secs_f64()}));
    let is_everywhere = std::env::var("DOMICILE_BENCH_REGIONS").is_ok_and(|regions| regions == "all");
    for region in if is_everywhere { &process::REGIONS[..] } else { &process::REGIONS[..1] } {
        ingest(&dev, &client, region, &lines, refresh).await?;
    }
    let runs = setting("DOMICILE_BENCH_RUNS", 31);
    questions::ask_all(&dev, &client, STREAM, runs).await?;
    if wan {
        questions::ask_federated(&dev, &client, STREAM, runs).await?;
    }
    Ok(())
}

/// What a load took.
struct Cost {
    searchable_s: f64,
    cpu_searchable_s: f64,
    cpu_settled_s: f64,
}

/// Loads the lines, waits until all of them are found and the server has been idle, and prints what it cost.
async fn ingest(dev: &Dev, client: &reqwest::Client, region: &str, lines: &[u8], refresh_ms: u64) -> Result<Cost> {
    let pid = dev.pid(region)?;
    let cpu_before = cpu_seconds(pid)?;
    let ledger_before = dev.ledger_bytes(region)?;
    let begun = Instant::now();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(LOADERS);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let mut loaders = tokio::task::JoinSet::new();
    for _ in 0..LOADERS {
        let (receiver, client) = (std::sync::Arc::clone(&receiver), client.clone());
        let (url, key) = (format!("{}/{STREAM}/_bulk", dev.es(region)?), dev.key(region, "ingest")?);
        loaders.spawn(async move {
            loop {
                let Some(body) = receiver.lock().await.recv().await else { return anyhow::Ok(()) };
                send(&client, &url, &key, body).await?;
            }
        });
    }
    let mut events = 0_u64;
    for block in blocks(lines) {
        events += block.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count() as u64;
        sender.send(bulk(block)).await?;
    }
    drop(sender);
    while let Some(done) = loaders.join_next().await {
        done??;
    }
    let acked = begun.elapsed();
    let found = wait_until_found(dev, client, region, events).await?;
    let searchable = begun.elapsed();
    let cpu_searchable = cpu_seconds(pid)? - cpu_before;
    let (cpu, settled) = wait_until_settled(pid, begun).await?;
    let megabytes = lines.len() as f64 / 1e6;
    let files = dev.segment_bytes(region)?;
    let sealed: u64 = files.values().sum();
    let ledger = dev.ledger_bytes(region)?.saturating_sub(ledger_before);
    println!(
        "{}",
        json!({
            "figure": "ingest", "region": region, "events": events, "found": found, "megabytes": megabytes, "refresh_ms": refresh_ms,
            "acked_mb_s": megabytes / acked.as_secs_f64(), "searchable_mb_s": megabytes / searchable.as_secs_f64(),
            "server_cpu_s_searchable": cpu_searchable, "server_cpu_s_settled": cpu - cpu_before, "settled_s": settled.as_secs_f64(),
            "mb_per_cpu_s": megabytes / (cpu - cpu_before), "peak_rss_mib": peak_rss_mib(pid)?,
            "segment_bytes": sealed, "segment_bytes_per_raw_byte": sealed as f64 / lines.len() as f64,
            "segment_bytes_by_file": files,
            "ledger_bytes": ledger, "ledger_bytes_per_million_events": ledger as f64 * 1e6 / events as f64,
        })
    );
    ensure!(found == events, "{found} of {events} records were found");
    Ok(Cost {
        searchable_s: searchable.as_secs_f64(),
        cpu_searchable_s: cpu_searchable,
        cpu_settled_s: cpu - cpu_before,
    })
}

fn blocks(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.len().min(BATCH_BYTES);
        let cut = rest[..end].iter().rposition(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        let (block, left) = rest.split_at(cut);
        rest = left;
        Some(block)
    })
}

fn bulk(block: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(block.len() * 21 / 20);
    for line in block.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        body.extend_from_slice(b"{\"create\":{}}\n");
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    body
}

async fn send(client: &reqwest::Client, url: &str, key: &str, body: Vec<u8>) -> Result<()> {
    let body = bytes::Bytes::from(body);
    loop {
        let request = client.post(url).bearer_auth(key).header("content-type", "application/x-ndjson");
        let response = request.body(body.clone()).send().await?;
        let status = response.status();
        if status == 429 || status == 503 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let text = response.text().await?;
        ensure!(status.is_success() && text.contains("\"errors\":false"), "{status}: {}", &text[..text.len().min(500)]);
        return Ok(());
    }
}

async fn wait_until_found(dev: &Dev, client: &reqwest::Client, region: &str, events: u64) -> Result<u64> {
    let (es, key) = (dev.es(region)?, dev.key(region, "search")?);
    let refresh = client.post(format!("{es}/{STREAM}/_refresh")).bearer_auth(&key).send().await?;
    ensure!(refresh.status().is_success(), "refresh: {}", refresh.status());
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer: Value = client.get(format!("{es}/{STREAM}/_count")).bearer_auth(&key).send().await?.json().await?;
        let found = answer["count"].as_u64().unwrap_or(0);
        if found >= events || Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Merges have settled when the server spends less than 50 ms of CPU in three seconds.
async fn wait_until_settled(pid: u32, begun: Instant) -> Result<(f64, Duration)> {
    loop {
        let before = cpu_seconds(pid)?;
        let at = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = cpu_seconds(pid)?;
        if after - before < 0.05 || begun.elapsed() > Duration::from_secs(600) {
            return Ok((after, at));
        }
    }
}
