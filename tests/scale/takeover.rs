//! Many shards of a killed node, searchable at its neighbour.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::second::{SECOND, Second};
use domicile_tests::cluster::{Cluster, READY_WITHIN, wait_until};
use serde_json::json;

use crate::measure::WITHIN;
use crate::{BINARY, setting};

const EACH: u64 = 200;

pub(crate) fn measure() -> Result<()> {
    let shards = setting("DOMICILE_BENCH_SHARDS", 100);
    let server = S3::start()?.context("no S3 server: `DOMICILE_MOTO` names one")?;
    let mut cluster = Cluster::start(BINARY, &[])?;
    let node = Second::beside(&mut cluster, |_, cluster| {
        let lines = server.settings(cluster.data())?;
        cluster.set("tokyo", "store", &lines)?;
        cluster.set(SECOND, "store", &lines)
    })?;
    node.join(&mut cluster)?;
    let (first, second) = (cluster.region("tokyo"), node.region(&cluster));
    wait_until(READY_WITHIN, || second.is_ready().then_some(())).context("the second node is not ready")?;
    let stream = |number: u64| format!("bench-{number}");
    for number in 0..shards {
        let name = stream(number);
        cluster.command(&[
            "stream",
            "create",
            &name,
            "--no-personal-data",
            "--durability",
            "bucket",
            "--region",
            "tokyo",
        ])?;
        let body = bulk(&events(number, EACH, 2).0, Some("first"));
        let sent = || first.bulk(&name, &body, &[]).is_ok_and(|answer| answer.status == 200).then_some(());
        wait_until(READY_WITHIN, sent).with_context(|| format!("{name} is not written"))?;
    }
    // What it says of each stream after the kill is what it found in the bucket.
    cluster.kill("tokyo")?;
    let begun = Instant::now();
    let mut found: Vec<Option<f64>> = (0..shards).map(|_| None).collect();
    while found.iter().any(Option::is_none) {
        ensure!(begun.elapsed() < WITHIN, "{} shards are not found", found.iter().filter(|at| at.is_none()).count());
        for (number, at) in (0..).zip(&mut found) {
            if at.is_none() && holds(&second, &stream(number)) {
                *at = Some(begun.elapsed().as_secs_f64());
            }
        }
    }
    let mut times: Vec<f64> = found.into_iter().flatten().collect();
    times.sort_by(f64::total_cmp);
    let (first, last) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    println!(
        "{}",
        json!({
            "figure": "take-over", "shards": shards, "records_each": EACH, "first_s_after_the_kill": first,
            "last_s_after_the_kill": last, "last_s_after_the_first": last - first,
        })
    );
    Ok(())
}

/// Whether all records of a stream are found there.
fn holds(region: &Region, stream: &str) -> bool {
    let asked = region.es("search", "POST", &format!("/{stream}/_count"), &json!({"query": {"match_all": {}}}));
    asked.is_ok_and(|answer| answer.status == 200 && answer.json()["count"] == EACH)
}
