//! The nine questions, and the federated one.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::process::{Dev, REGIONS};

fn bodies() -> Vec<(&'static str, Value)> {
    let newest = |query: Value, size: u32, total: bool| json!({"size": size, "sort": [{"timestamp": {"order": "desc"}}], "query": query, "track_total_hits": total});
    let folded = |query: Value, aggs: Value| json!({"size": 0, "query": query, "aggs": aggs, "track_total_hits": true});
    let (all, error) = (json!({"match_all": {}}), json!({"term": {"level": {"value": "ERROR"}}}));
    let histogram = |interval: &str| json!({"field": "timestamp", "fixed_interval": interval});
    let trace = json!({"term": {"trace_id": {"value": "0123456789abcdef0123456789abcdef"}}});
    vec![
        ("Q1 trace id", newest(trace, 20, true)),
        ("Q2 word, newest 20, total", newest(json!({"match": {"message": {"query": "error"}}}), 20, true)),
        ("Q2b word, newest 20", newest(json!({"match": {"message": {"query": "error"}}}), 20, false)),
        ("Q3 phrase, newest 20", newest(json!({"match_phrase": {"message": {"query": "for block"}}}), 20, true)),
        ("Q4 count of a level", json!({"size": 0, "query": error, "track_total_hits": true})),
        ("Q5 histogram 1 min", folded(all.clone(), json!({"h": {"date_histogram": histogram("1m")}}))),
        ("Q6 services of a level", folded(error, json!({"t": {"terms": {"field": "service", "size": 10}}}))),
        (
            "Q7 histogram 10 min by level",
            folded(
                all.clone(),
                json!({"h": {"date_histogram": histogram("10m"), "aggs": {"l": {"terms": {"field": "level", "size": 10}}}}}),
            ),
        ),
        ("Q8 prefix, newest 20", newest(json!({"prefix": {"message": {"value": "conn"}}}), 20, true)),
        ("Q9 newest 100, total", newest(all.clone(), 100, true)),
        ("Q9b newest 100", newest(all, 100, false)),
    ]
}

/// Asks every question once cold and `runs` times warm, one after another, and prints the percentiles.
pub(crate) async fn ask_all(dev: &Dev, client: &reqwest::Client, stream: &str, runs: u64) -> Result<()> {
    let (url, key) = (format!("{}/{stream}/_search", dev.es("tokyo")?), dev.key("tokyo", "search")?);
    for (name, body) in bodies() {
        let mut times = Vec::new();
        let mut total = Value::Null;
        for _ in 0..=runs {
            let begun = Instant::now();
            let response = client.post(&url).bearer_auth(&key).json(&body).send().await?;
            let status = response.status();
            let answer: Value = response.json().await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(status.is_success(), "{name}: {status}: {answer}");
            total = answer["hits"]["total"]["value"].clone();
        }
        print(name, times, total);
    }
    Ok(())
}

/// Asks the whole world for a histogram over the emulated distances, and each region's own time beside it.
pub(crate) async fn ask_federated(dev: &Dev, client: &reqwest::Client, stream: &str, runs: u64) -> Result<()> {
    for region in REGIONS {
        ask_native(dev, client, stream, runs, region, &format!("own histogram of {region}"), json!([region])).await?;
    }
    ask_native(dev, client, stream, runs, "tokyo", "federated histogram", json!(["*"])).await
}

/// Asks one region's native door for a histogram of some regions. Its own part goes through its gate like those of others.
async fn ask_native(
    dev: &Dev,
    client: &reqwest::Client,
    stream: &str,
    runs: u64,
    at: &str,
    name: &str,
    regions: Value,
) -> Result<()> {
    let (url, key) = (format!("{}/api/v1/search", dev.api(at)?), dev.key(at, "search")?);
    let body = json!({
        "stream": stream, "from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z", "regions": regions,
        "on_missing": "fail", "aggregations": {"histogram": {"interval": "10m"}}, "size": 0,
    });
    let mut times = Vec::new();
    let mut coverage = Value::Null;
    for _ in 0..=runs {
        let begun = Instant::now();
        let response = client.post(&url).bearer_auth(&key).json(&body).send().await?;
        let status = response.status();
        let answer: Value = response.json().await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(status.is_success(), "federated: {status}: {answer}");
        coverage = answer["coverage"].clone();
    }
    print(name, times, coverage);
    Ok(())
}

fn print(name: &str, mut times: Vec<f64>, result: Value) {
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or(first);
    println!(
        "{}",
        json!({"figure": name, "first_ms": first, "p50_ms": at(50), "p99_ms": at(99), "runs": times.len(), "result": result})
    );
}
