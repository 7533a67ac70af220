//! The same questions of the same records, once on the disk and once in the bucket: answers, times, reads and bytes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::s3::S3;
use serde_json::{Value, json};

use crate::measure::{WITHIN, bytes_below, lines, memory_mib, middle, send, timeless, until_found};
use crate::slow::Slow;
use crate::{BINARY, setting};

const STREAM: &str = "bench";

fn questions() -> Vec<(&'static str, Value)> {
    let newest = |query: Value| json!({"size": 20, "sort": [{"timestamp": {"order": "desc"}}], "query": query, "track_total_hits": true});
    let folded = |query: Value, aggs: Value| json!({"size": 0, "query": query, "aggs": aggs, "track_total_hits": true});
    let (all, error) = (json!({"match_all": {}}), json!({"term": {"level": {"value": "ERROR"}}}));
    let histogram =
        |interval: &str| json!({"h": {"date_histogram": {"field": "timestamp", "fixed_interval": interval}}});
    vec![
        ("a term", newest(json!({"term": {"trace_id": {"value": "0123456789abcdef0123456789abcdef"}}}))),
        ("a word, newest 20", newest(json!({"match": {"message": {"query": "error"}}}))),
        ("a phrase, newest 20", newest(json!({"match_phrase": {"message": {"query": "for block"}}}))),
        ("count of a level", json!({"size": 0, "query": error.clone(), "track_total_hits": true})),
        ("ten services of a level", folded(error, json!({"t": {"terms": {"field": "service", "size": 10}}}))),
        ("histogram of 10 min", folded(all.clone(), histogram("10m"))),
        ("prefix, newest 20", newest(json!({"prefix": {"message": {"value": "conn"}}}))),
        ("newest 20", newest(all)),
    ]
}

/// One question: its answer without its time, and how long it took in milliseconds.
fn ask(tokyo: &Region, question: &Value) -> Result<(Value, f64)> {
    let begun = Instant::now();
    let answer = tokyo.es("search", "POST", &format!("/{STREAM}/_search"), question)?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok((timeless(answer.json()), took))
}

/// Each question once, then `runs` times: first answer and the middle of the times.
fn ask_all(tokyo: &Region, runs: u64) -> Result<Vec<(Value, f64)>> {
    let of = |(_, question): &(&str, Value)| {
        let (answer, _) = ask(tokyo, question)?;
        let times: Result<Vec<f64>> = (0..runs).map(|_| Ok(ask(tokyo, question)?.1)).collect();
        Ok((answer, middle(times?)))
    };
    questions().iter().map(of).collect()
}

pub(crate) fn measure() -> Result<()> {
    let (runs, delay) = (setting("DOMICILE_BENCH_RUNS", 15), setting("DOMICILE_BENCH_GET_MS", 30));
    let server = S3::start()?.context("no S3 server: `DOMICILE_MOTO` names one")?;
    let slow = Slow::before(server.endpoint())?;
    let mut cluster = Cluster::start(BINARY, &[])?;
    cluster.split_with(|cluster| {
        cluster.set("tokyo", "store", &server.settings_behind(slow.endpoint(), cluster.data())?)
    })?;
    cluster.command(&[
        "stream",
        "create",
        STREAM,
        "--no-personal-data",
        "--keep",
        "ip",
        "--because",
        "not_personal",
        "--region",
        "tokyo",
    ])?;
    let tokyo = cluster.region("tokyo");
    let lines = lines(50)?;
    let raw = lines.len();
    let events = send(&tokyo, STREAM, &lines)?;
    drop(lines);
    tokyo.refresh(STREAM);
    until_found(&tokyo, STREAM, events)?;
    until_settled(&cluster)?;
    let data = cluster.data().join("nodes/tokyo/data");
    let hot_bytes = bytes_below(&data.join("segments"));
    let hot = ask_all(&tokyo, runs)?;

    cluster.end("tokyo")?;
    cluster.set("tokyo", "lifecycle", "disk_mark_bytes = 1\nmove_bytes_per_second = 1000000000")?;
    cluster.restart("tokyo")?;
    let moved = Instant::now();
    cluster.command(&["lifecycle", "run", "--region", "tokyo"])?;
    let moved = moved.elapsed().as_secs_f64();
    let segments = all_cold(&cluster)?;
    println!(
        "{}",
        json!({
            "figure": "moved", "events": events, "megabytes": raw as f64 / 1e6, "segments": segments.len(), "seconds": moved,
            "hot_bytes_per_raw_byte": hot_bytes as f64 / raw as f64,
            "cold_bytes_per_raw_byte": segments.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64 / raw as f64,
        })
    );
    let asked = Asked { hot: &hot, segments: segments.len(), all: all_segments(&cluster)?, delay, runs };
    slow.delay(delay);
    for number in 0..hot.len() {
        asked.cold(&mut cluster, &slow, number)?;
    }
    Ok(())
}

/// What the questions gave hot, and how they are asked cold.
struct Asked<'a> {
    hot: &'a [(Value, f64)],
    /// Segments of the stream, and of all streams.
    segments: usize,
    all: usize,
    delay: u64,
    runs: u64,
}

/// What a question took whose segments were not in any cache.
struct First {
    ms: f64,
    /// Reads of the start, and those of them that were of segments: what opening them takes.
    start: u64,
    opening: u64,
    reads: u64,
    bytes: u64,
}

impl Asked<'_> {
    /// One question, several times with nothing in any cache, and then with all of it there.
    fn cold(&self, cluster: &mut Cluster, slow: &Slow, number: usize) -> Result<()> {
        let (name, question) = &questions()[number];
        let (wanted, hot_ms) = &self.hot[number];
        let mut firsts = Vec::new();
        for _ in 0..setting("DOMICILE_BENCH_STARTS", 3).max(1) {
            let (answer, first) = begun_anew(cluster, slow, question)?;
            ensure!(answer == *wanted, "{name}: the answer differs: {answer} instead of {wanted}");
            firsts.push(first);
        }
        let tokyo = cluster.region("tokyo");
        let times: Result<Vec<f64>> = (0..self.runs).map(|_| Ok(ask(&tokyo, question)?.1)).collect();
        let warm = middle(times?);
        let middle_of = |of: &dyn Fn(&First) -> f64| middle(firsts.iter().map(of).collect());
        let (segments, all) = (self.segments as f64, self.all as f64);
        let opens = middle_of(&|first| first.opening as f64 / all);
        ensure!(opens <= 2.0, "{opens} reads to open a segment");
        println!(
            "{}",
            json!({
                "figure": name, "hot_p50_ms": hot_ms, "cold_warm_cache_p50_ms": warm, "ratio": warm / hot_ms,
                "cold_cache_p50_ms": middle_of(&|first| first.ms), "cold_cache_ms": firsts.iter().map(|first| first.ms).collect::<Vec<_>>(),
                "added_ms_a_read": self.delay, "is_same_answer": true, "reads_of_the_start": middle_of(&|first| first.start as f64),
                "opens_a_segment": opens, "reads_a_segment": middle_of(&|first| first.reads as f64 / segments),
                "bytes_a_segment": middle_of(&|first| first.bytes as f64 / segments),
                "rss_mib": memory_mib(cluster.pid("tokyo")?, "VmRSS:")?,
            })
        );
        Ok(())
    }
}

/// A question to a node that was just started: memory is empty then, and so is what is kept on the disk.
fn begun_anew(cluster: &mut Cluster, slow: &Slow, question: &Value) -> Result<(Value, First)> {
    cluster.end("tokyo")?;
    let (before, of_segments) = (slow.read(), slow.read_of_segments());
    cluster.restart("tokyo")?;
    let (opened, opening) = (slow.read(), slow.read_of_segments() - of_segments);
    let (answer, ms) = ask(&cluster.region("tokyo"), question)?;
    let read = slow.read();
    let first = First { ms, start: opened.0 - before.0, opening, reads: read.0 - opened.0, bytes: read.1 - opened.1 };
    Ok((answer, first))
}

/// Merges have settled when the disk holds the same for a while.
fn until_settled(cluster: &Cluster) -> Result<()> {
    let segments = cluster.data().join("nodes/tokyo/data/segments");
    let begun = Instant::now();
    let (mut last, mut same) = (0, 0);
    while same < 5 && begun.elapsed() < WITHIN {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let now = bytes_below(&segments);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

fn listed(cluster: &Cluster) -> Result<Vec<Value>> {
    let listed: Value = serde_json::from_str(&cluster.command(&["storage", "ls", "--region", "tokyo", "--json"])?)?;
    listed["segments"].as_array().cloned().context("no list of segments")
}

/// How many segments of all streams lie in the bucket.
fn all_segments(cluster: &Cluster) -> Result<usize> {
    Ok(listed(cluster)?.iter().filter(|row| row["tier"] == "cold").count())
}

/// The stream's segments with their bytes, all of which lie in the bucket.
fn all_cold(cluster: &Cluster) -> Result<Vec<(String, u64)>> {
    let rows = listed(cluster)?;
    let own = rows.iter().filter(|row| row["stream"] == STREAM);
    own.map(|row| {
        ensure!(row["tier"] == "cold", "a segment that is not cold: {row}");
        Ok((row["segment"].to_string(), row["bytes"].as_u64().context("its bytes")?))
    })
    .collect()
}
