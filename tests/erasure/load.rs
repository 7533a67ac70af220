//! Orders while records come in: what ingest loses by them, that each segment is made anew once for all of them, and that nobody
//! else is touched.
//!
//! A measurement where `DOMICILE_LOAD_SECONDS` says for how long each half runs, else a few moments of it:
//! `DOMICILE_LOAD_SECONDS=60 cargo test -p domicile-tests --test erasure load -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{DAY_MS, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

const STREAM: &str = "busy";
const BATCH: i64 = 500;
const PERSONS: i64 = 1_000;
/// Between two orders: 86 times the pace of a thousand a day.
const PAUSE: Duration = Duration::from_secs(1);

/// The batch of a number: persons take turns.
fn batch(number: i64) -> Vec<u8> {
    let event = |n: i64| {
        json!({"timestamp": utc(DAY_MS + n), "level": "INFO", "uid": format!("u-{}", n % PERSONS),
            "message": format!("request {n} took {} ms", n * 7_919 % 1_000)})
    };
    bulk(&(number * BATCH..(number + 1) * BATCH).map(event).collect::<Vec<_>>(), None)
}

/// Sends batches until told to stop; how many.
fn feed(region: &Region, first: i64, is_over: &AtomicBool) -> i64 {
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        let answer = region.bulk(STREAM, &batch(first + sent), &[]).unwrap();
        // What is refused for now is sent again.
        sent += i64::from(answer.status == 200 && answer.json()["errors"] == json!(false));
    }
    sent
}

fn told(region: &Region, path: &str, body: &Value) -> Value {
    let method = if body.is_null() { "GET" } else { "POST" };
    let answer = region.api("admin", method, &format!("/api/v1/subjects/{path}"), body).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Batches that were taken in a while in which `meanwhile` is done again and again, and how often it was.
fn half(region: &Region, first: i64, lasts: Duration, mut meanwhile: impl FnMut(usize)) -> (i64, f64, usize) {
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(region, first, &is_over));
        let mut turns = 0;
        while begun.elapsed() < lasts {
            meanwhile(turns);
            turns += 1;
            wait_until(PAUSE, || (begun.elapsed() >= lasts).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        let sent = feeding.join().unwrap();
        (sent, (sent * BATCH) as f64 / begun.elapsed().as_secs_f64(), turns)
    })
}

#[test]
fn orders_come_while_records_do_and_each_segment_is_made_anew_once_for_all_of_them() {
    let seconds = std::env::var("DOMICILE_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let made = ["stream", "create", STREAM, "--tenant", "default", "--subject", "uid", "--region", "tokyo"];
    cluster.command(&made).unwrap();
    let (tokyo, lasts) = (cluster.region("tokyo"), Duration::from_secs(seconds));
    // Once through before anything is measured.
    assert_eq!(tokyo.bulk(STREAM, &batch(0), &[]).unwrap().status, 200);
    let (quiet, alone, _) = half(&tokyo, 1, lasts, |_| {});
    // A purge makes durable what there is, so that there is something to be made anew.
    told(&tokyo, "erase", &json!({"subject": "nobody"}));
    assert_eq!(told(&tokyo, "purge", &json!({}))["gone"], json!(1));
    let (mut ids, mut took) = (Vec::new(), Vec::new());
    let (busy, beside, orders) = half(&tokyo, 1 + quiet, lasts, |turn| {
        let begun = Instant::now();
        let order = told(&tokyo, "erase", &json!({"subject": format!("u-{turn}")}));
        assert_eq!(order["state"], json!("shredded"), "{order}");
        took.push(begun.elapsed());
        ids.push(order["id"].as_str().unwrap().to_owned());
    });
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    eprintln!(
        "{alone:.0} records a second alone, {beside:.0} beside {orders} orders ({:.1} % less); shredded p50 {:?}, p99 {:?}",
        100.0 * (1.0 - beside / alone),
        at(50),
        at(99)
    );

    tokyo.refresh(STREAM);
    let persons = i64::try_from(orders).unwrap();
    let records = (1 + quiet + busy) * BATCH;
    let erased: i64 = (0..persons).map(|person| (records - 1 - person).div_euclid(PERSONS) + 1).sum();
    assert_eq!(tokyo.count(STREAM).unwrap(), u64::try_from(records - erased).unwrap(), "everybody else is there");
    assert_eq!(told(&tokyo, "purge", &json!({}))["gone"], json!(orders));
    let mut made_anew: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in &ids {
        let gone = told(&tokyo, &format!("status?id={id}"), &Value::Null);
        assert_eq!(gone["state"], json!("gone"), "{gone}");
        let said: Value = serde_json::from_str(gone["receipt"]["receipt"].as_str().unwrap()).unwrap();
        for segment in said["segments"].as_array().unwrap() {
            let name = |side: &str| segment[side]["segment"].as_str().unwrap().to_owned();
            made_anew.entry(name("before")).or_default().insert(name("after"));
        }
    }
    assert!(!made_anew.is_empty() && made_anew.values().all(|after| after.len() == 1), "once each: {made_anew:?}");
    assert_eq!(tokyo.count(STREAM).unwrap(), u64::try_from(records - erased).unwrap(), "and is there afterwards");
}
