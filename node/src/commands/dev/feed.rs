//! The sample lines, through the same door as any others: `_bulk` of each region, with batch ids, once.

use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::Timestamp;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::super::door::Door;
use super::super::profile::write_secret;
use super::super::samples;
use super::first;
use super::is_there;
use super::layout::{Layout, Place};
use crate::clock::Clock;

/// Lines in a batch.
const BATCH: usize = 2_500;
/// Attempts for a batch, and the pause between them.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Sends the samples that this directory has not yet got.
pub(super) async fn samples(layout: &Layout) -> anyhow::Result<()> {
    if layout.has_done("samples") {
        return Ok(());
    }
    let now = begun(layout)?;
    let count = layout.regions.len().max(1);
    let keys = first::keys(layout)?;
    let sent = layout.regions.iter().enumerate().map(|(place, region)| {
        let share = samples::COUNT / count + usize::from(place < samples::COUNT % count);
        let key = keys.of(&region.region, "ingest").to_owned();
        async move { region_samples(region, &key, now, share).await }
    });
    try_join_all(sent).await.context("the samples were not taken")?;
    layout.note_done("samples")
}

/// When the samples were begun: the same lines again, should this be the second attempt.
fn begun(layout: &Layout) -> anyhow::Result<Timestamp> {
    let path = layout.data.join("samples.begun");
    if is_there(&path) {
        let text = std::fs::read_to_string(&path)?;
        return Ok(Timestamp(text.trim().parse().context("`samples.begun` is damaged")?));
    }
    let now = Clock::system().now();
    write_secret(&path, format!("{}\n", now.0).as_bytes())?;
    Ok(now)
}

async fn region_samples(place: &Place, key: &str, now: Timestamp, share: usize) -> anyhow::Result<()> {
    let door = Door::new(Some(place.region.clone()), &place.es(), key, None)?;
    let all: Vec<samples::Sample> = samples::of_region(place.region.as_str(), now, share).collect();
    for stream in [samples::SHOP_STREAM, samples::INFRA_STREAM] {
        let of_stream: Vec<&samples::Sample> = all.iter().filter(|sample| sample.stream == stream).collect();
        for (number, batch) in of_stream.chunks(BATCH).enumerate() {
            let mut body = String::new();
            for sample in batch {
                body.push_str("{\"create\":{}}\n");
                body.push_str(&sample.record.to_string());
                body.push('\n');
            }
            send(&door, stream, &format!("sample-{stream}-{number}"), body).await?;
        }
    }
    Ok(())
}

async fn send(door: &Door, stream: &str, id: &str, body: String) -> anyhow::Result<()> {
    let path = format!("/{stream}/_bulk");
    for _ in 0..ATTEMPTS {
        let request = door
            .request(Method::POST, &path)
            .header("content-type", "application/x-ndjson")
            .header("x-domicile-batch", id)
            .body(body.clone());
        let response = request.send().await.with_context(|| door.unreachable())?;
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            sleep(PAUSE).await;
            continue;
        }
        let answer: Value = door.checked(response, &path).await?.json().await?;
        if answer.get("errors").and_then(Value::as_bool) == Some(true) {
            let first = answer.get("items").and_then(Value::as_array).into_iter().flatten();
            let mut errors = first.filter_map(|item| item.pointer("/create/error/reason")?.as_str());
            bail!("a sample was refused: {}", errors.next().unwrap_or("no reason given"));
        }
        return Ok(());
    }
    bail!("the region has too much to do")
}
