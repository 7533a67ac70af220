//! What the disclosure gate costs: the same lines in two streams of three regions, one with a subject, whose cells are
//! judged, and one declared free of personal data, which is measured as it is. The same histogram is asked of both in turn.
//!
//! `DOMICILE_BENCH_GATE=1 cargo bench -p domicile --bench whole`. *New* is a question over an hour that nobody asked about
//! before: its cells are judged and kept before the answer. *Repeated* is the whole day, again and again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::process::{Dev, REGIONS};
use crate::{blocks, bulk, send, wait_until_settled};

const GUARDED: &str = "guarded";
const OPEN: &str = "open";

/// Loads both streams everywhere and prints what questions to each take.
pub(crate) async fn measure(dev: &Dev, client: &reqwest::Client, lines: &[u8], runs: u64) -> Result<()> {
    let everywhere = REGIONS.iter().flat_map(|region| ["--region", region]);
    for (stream, personal) in [(GUARDED, &["--subject", "uid"][..]), (OPEN, &["--no-personal-data"][..])] {
        let create = ["stream", "create", stream, "--refresh-ms", "1000"].into_iter();
        dev.command(&create.chain(personal.iter().copied()).chain(everywhere.clone()).collect::<Vec<_>>())?;
        for region in REGIONS {
            load(dev, client, region, stream, lines).await?;
        }
    }
    for region in REGIONS {
        wait_until_settled(dev.pid(region)?, Instant::now()).await?;
    }
    let events = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() * REGIONS.len();
    let (mut new, mut repeated) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    // The first question of a stream opens its book and its columns: asked once before anything is measured.
    for stream in [OPEN, GUARDED] {
        ask(dev, client, stream, (0, 1)).await?;
    }
    for hour in 1..24 {
        new.0.push(ask(dev, client, OPEN, (hour, hour + 1)).await?.0);
        new.1.push(ask(dev, client, GUARDED, (hour, hour + 1)).await?.0);
    }
    let mut told = (0, 0);
    for _ in 0..runs {
        let open = ask(dev, client, OPEN, (0, 24)).await?;
        let guarded = ask(dev, client, GUARDED, (0, 24)).await?;
        told = (open.1, guarded.1);
        repeated.0.push(open.0);
        repeated.1.push(guarded.0);
    }
    for (what, (open, guarded)) in [("new", new), ("repeated", repeated)] {
        let at = |times: &[f64], percent: usize| {
            let mut sorted = times.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).copied().unwrap_or_default()
        };
        let overhead = |percent| at(&guarded, percent) / at(&open, percent) - 1.0;
        println!(
            "{}",
            json!({
                "figure": "gate", "question": what, "events": events, "runs": open.len(),
                "open_p50_ms": at(&open, 50), "open_p95_ms": at(&open, 95),
                "guarded_p50_ms": at(&guarded, 50), "guarded_p95_ms": at(&guarded, 95),
                "overhead_p50": overhead(50), "overhead_p95": overhead(95),
                "records_open": told.0, "records_guarded": told.1,
            })
        );
    }
    Ok(())
}

async fn load(dev: &Dev, client: &reqwest::Client, region: &str, stream: &str, lines: &[u8]) -> Result<()> {
    let (es, key) = (dev.es(region)?, dev.key(region, "ingest")?);
    for block in blocks(lines) {
        send(client, &format!("{es}/{stream}/_bulk"), &key, bulk(block)).await?;
    }
    let search = dev.key(region, "search")?;
    let refreshed = client.post(format!("{es}/{stream}/_refresh")).bearer_auth(search).send().await?;
    ensure!(refreshed.status().is_success(), "refresh: {}", refreshed.status());
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// A histogram of ten minutes over some hours of all regions: how long it took, and how many records it told.
async fn ask(dev: &Dev, client: &reqwest::Client, stream: &str, (from, to): (u32, u32)) -> Result<(f64, u64)> {
    let at =
        |hour: u32| if hour == 24 { "2026-11-21T00:00:00Z".to_owned() } else { format!("2026-11-20T{hour:02}:00:00Z") };
    let body = json!({
        "stream": stream, "from": at(from), "to": at(to), "regions": ["*"], "on_missing": "fail",
        "ask": {"histogram": "10m"},
    });
    let (url, key) = (format!("{}/api/v1/search", dev.api("tokyo")?), dev.key("tokyo", "search")?);
    let begun = Instant::now();
    let response = client.post(&url).bearer_auth(&key).json(&body).send().await?;
    let status = response.status();
    let answer: Value = response.json().await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(status.is_success(), "{stream}: {status}: {answer}");
    Ok((took, answer["total"]["value"].as_u64().unwrap_or(0)))
}
