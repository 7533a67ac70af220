//! kill -9 at moments drawn from a seed while batches come in: what was acknowledged is there, and nothing is there twice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domicile_tests::cluster::fixture::{Dice, bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

/// Events in one batch.
const BATCH: u64 = 20;
/// Clients that send at once to each region.
const CLIENTS: u64 = 2;

/// Rounds, from `DOMICILE_CRASH_ROUNDS`; five unless somebody asks for more.
fn rounds() -> u64 {
    std::env::var("DOMICILE_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

#[test]
fn no_acknowledged_batch_is_lost_and_none_is_there_twice() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let regions = cluster.regions();
    let (first, _) = events(60, 1, 1);
    for region in &regions {
        assert_eq!(region.bulk("crash", &bulk(&first, Some("first")), &[]).unwrap().status, 200);
    }
    cluster.split().unwrap();

    let seed = std::env::var("DOMICILE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("seed {seed} (DOMICILE_SEED)");
    let mut dice = Dice::new(seed);
    let (going, number) = (AtomicBool::new(true), AtomicU64::new(0));
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for region in &regions {
            for _ in 0..CLIENTS {
                scope.spawn(|| send(region, &going, &number, &acknowledged));
            }
        }
        // The clients end also when a round fails, so that the failure is seen and not waited for.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds() {
                std::thread::sleep(Duration::from_millis(200 + dice.below(1_500))); // the moment is the point, not a wait
                let victim = REGIONS[usize::try_from(dice.below(3)).unwrap()];
                let before = number.load(Ordering::SeqCst);
                cluster.kill(victim).unwrap();
                cluster.restart(victim).unwrap();
                eprintln!("round {round}: `{victim}` killed after {before} batches, and back");
            }
        }));
        going.store(false, Ordering::SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });

    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() as u64 > rounds(), "only {} batches were acknowledged: no load", acknowledged.len());
    for region in &regions {
        region.refresh("crash");
        let of_region: Vec<&(String, String)> = acknowledged.iter().filter(|(name, _)| *name == region.name).collect();
        let found = wait_until(Duration::from_secs(20), || {
            let found = batches(region);
            of_region.iter().all(|(_, batch)| found.get(batch) == Some(&BATCH)).then_some(found)
        });
        let found = found.unwrap_or_else(|| batches(region));
        let lost: Vec<_> = of_region.iter().filter(|(_, batch)| !found.contains_key(batch)).collect();
        assert!(lost.is_empty(), "`{}` lost {} of {} batches: {lost:?}", region.name, lost.len(), of_region.len());
        let wrong: Vec<_> = found.iter().filter(|(_, count)| **count != BATCH).collect();
        assert!(wrong.is_empty(), "`{}` holds batches in part or twice: {wrong:?}", region.name);
    }
    eprintln!("{} batches of {BATCH} acknowledged over {} rounds, all there once", acknowledged.len(), rounds());
}

/// Sends batches; each is repeated under the same id and bytes until the region gives a definite answer.
fn send(region: &Region, going: &AtomicBool, number: &AtomicU64, acknowledged: &Mutex<Vec<(String, String)>>) {
    while going.load(Ordering::SeqCst) {
        let batch = format!("b{:06}", number.fetch_add(1, Ordering::SeqCst));
        let (mut drawn, _) = events(61, BATCH, 1);
        drawn.iter_mut().for_each(|event| event["service"] = Value::from(batch.as_str()));
        let body = bulk(&drawn, None);
        loop {
            match region.bulk("crash", &body, &[("X-Domicile-Batch", batch.as_str())]) {
                Ok(answer) if answer.status == 200 && answer.text().contains("\"errors\":false") => {
                    acknowledged.lock().unwrap().push((region.name.clone(), batch));
                    break;
                }
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    panic!("{}: {}", answer.status, answer.text());
                }
                // Not now, or nobody there: the same again, until told to end.
                _ if !going.load(Ordering::SeqCst) => return,
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// Records of each batch that the region finds.
fn batches(region: &Region) -> BTreeMap<String, u64> {
    let body = json!({"size": 0, "aggs": {"batches": {"terms": {"field": "service", "size": 60_000}}}});
    let answer = region.es("search", "POST", "/crash/_search", &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let buckets = answer.json()["aggregations"]["batches"]["buckets"].as_array().cloned().unwrap();
    buckets
        .iter()
        .map(|bucket| (bucket["key"].as_str().unwrap().to_owned(), bucket["doc_count"].as_u64().unwrap()))
        .filter(|(batch, _)| batch.starts_with('b'))
        .collect()
}
