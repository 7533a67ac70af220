//! A region that is gone is named by every answer, soon without waiting for it; when it is back, answers are whole again.

use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::{counting, read_counts};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::Value;

use crate::BINARY;

/// How long other regions are waited for, with room for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Questions to a region that is known to be gone. If each of them waited for it, they would take over three minutes.
const KNOWN_TO_BE_GONE: usize = 20;
/// What they may take all together, on a machine busy with anything else.
const ALL_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_region_that_is_gone_is_named_until_it_is_back() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut total = 0;
    let mut by_region = Vec::new();
    for (seed, region) in (20..).zip(cluster.regions()) {
        let (events, counts) = events(seed, 600, 3);
        assert_eq!(region.bulk("orders", &bulk(&events, None), &[]).unwrap().status, 200);
        region.refresh("orders");
        total += counts.total;
        by_region.push((region.name.clone(), counts.total));
    }
    cluster.split().unwrap();
    let tokyo = cluster.region("tokyo");
    let whole = || wait_until(Duration::from_secs(60), || (ask(&tokyo).1 == total).then_some(()));
    whole().expect("whole before anything is killed");

    let asking = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let questions = scope.spawn(|| {
            let mut answers = Vec::new();
            while asking.load(std::sync::atomic::Ordering::SeqCst) {
                let begun = Instant::now();
                let (answer, found) = ask(&tokyo);
                answers.push((answer, found, begun.elapsed()));
            }
            answers
        });
        cluster.kill("singapore").unwrap();
        let is_named = || (ask(&tokyo).1 < total).then_some(());
        wait_until(Duration::from_secs(60), is_named).expect("named");
        let begun = Instant::now();
        for _ in 0..KNOWN_TO_BE_GONE {
            assert_eq!(ask(&tokyo).1, total - by_region[1].1);
        }
        assert!(begun.elapsed() < ALL_WITHIN, "questions wait for a region that is known to be gone");
        cluster.restart("singapore").unwrap();
        asking.store(false, std::sync::atomic::Ordering::SeqCst);
        let answers = questions.join().unwrap();
        assert!(answers.iter().any(|(_, found, _)| *found < total), "no question met the absence");
        for (answer, found, took) in answers {
            assert!(took < ANSWER_WITHIN, "an answer took {took:?}");
            if found < total {
                let status = answer["_clusters"]["details"]["singapore"]["status"].as_str().unwrap_or_default();
                assert!(["skipped", "failed", "partial"].contains(&status), "silently smaller: {answer}");
                assert_eq!(found, total - by_region[1].1, "the others are whole: {answer}");
            }
        }
    });
    whole().expect("whole again after the restart");
}

fn ask(region: &domicile_tests::cluster::region::Region) -> (Value, u64) {
    let answer = region.federated(&REGIONS, "orders", &counting());
    let total = read_counts(&answer).total;
    (answer, total)
}
