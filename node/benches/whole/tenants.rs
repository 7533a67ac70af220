//! A node at rest with many tenants: each has a key, a stream and a few records; how long the node takes to start on them, and
//! what it holds in memory when nothing happens.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::process::{Dev, cpu_seconds, peak_rss_mib, rss_mib};

/// Records of each tenant.
const RECORDS: u64 = 10;
/// How long a node is left alone before it is looked at.
const REST: Duration = Duration::from_secs(20);

/// Fills `tenants` tenants of Tokyo, stops everything and starts Tokyo's node alone.
pub(crate) async fn measure(mut dev: Dev, client: &reqwest::Client, tenants: u64) -> Result<()> {
    let begun = Instant::now();
    for number in 0..tenants {
        let tenant = format!("tenant-{number}");
        dev.command(&["tenant", "create", &tenant])?;
        let key = ["key", "create", &tenant, "--tenant", &tenant, "--role", "ingest", "--role", "create"];
        let key = dev.command(&[&key[..], &["--region", "tokyo"]].concat())?;
        let url = format!("{}/api/v1/ingest/app", dev.api("tokyo")?);
        let lines: String =
            (0..RECORDS).map(|line| format!("2026-11-21 10:00:{line:02} INFO order {number}-{line} taken\n")).collect();
        let request = client.post(url).bearer_auth(key).header("content-type", "text/plain").body(lines);
        let response = request.send().await?;
        ensure!(response.status().is_success(), "{tenant}: {}", response.text().await?);
    }
    let filled = begun.elapsed();
    tokio::time::sleep(REST).await;
    let pid = dev.pid("tokyo")?;
    println!(
        "{}",
        json!({
            "figure": "tenants, right after filling", "tenants": tenants, "records_each": RECORDS,
            "filled_s": filled.as_secs_f64(), "rss_mib": rss_mib(pid)?, "peak_rss_mib": peak_rss_mib(pid)?,
        })
    );
    dev.stop()?;
    alone(&dev, client, tenants).await
}

async fn alone(dev: &Dev, client: &reqwest::Client, tenants: u64) -> Result<()> {
    let config = dev.data().join("nodes/tokyo/node.toml");
    let log = std::fs::File::create(dev.data().join("bench.log"))?;
    let begun = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_domicile"))
        .args(["node", "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    let node = Ended(child);
    let ready = format!("{}/readyz", dev.api("tokyo")?);
    while !client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "the node was not ready within 60 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = begun.elapsed();
    let pid = node.0.id();
    tokio::time::sleep(REST).await;
    let before = cpu_seconds(pid)?;
    tokio::time::sleep(REST).await;
    println!(
        "{}",
        json!({
            "figure": "tenants, at rest", "tenants": tenants, "start_s": started.as_secs_f64(),
            "rss_mib": rss_mib(pid)?, "peak_rss_mib": peak_rss_mib(pid)?,
            "idle_cpu_percent": (cpu_seconds(pid)? - before) / REST.as_secs_f64() * 100.0,
        })
    );
    Ok(())
}

/// A node that is ended with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().context("no `kill`");
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
