//! The federated answer is the sum of the regions' own answers minus the cells it withholds, and says so.

use std::time::Duration;

use domicile_tests::cluster::fixture::{DAY_MS, bulk, events, merge, released};
use domicile_tests::cluster::region::{Counts, counting, read_counts};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::Value;

use crate::BINARY;

/// Smallest number of records a cell of a stream without declared subjects must have to leave its region.
const K_ROWS: u64 = 50;

#[test]
fn the_world_is_the_sum_of_its_regions_minus_what_is_withheld() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let mut own = Vec::new();
    for (seed, region) in (1..).zip(cluster.regions()) {
        // 4,000 events over five minutes: every minute is above k, the rarest level (1 %) is below it.
        let (events, counts) = events(seed, 4_000, 5);
        for part in events.chunks(1_000) {
            let answer = region.bulk("orders", &bulk(part, None), &[]).unwrap();
            assert!(
                answer.status == 200 && answer.text().contains("\"errors\":false,\"items\":["),
                "{}",
                answer.text()
            );
        }
        region.refresh("orders");
        assert_eq!(region.counts("orders"), counts, "{} at its own door", region.name);
        own.push(gate(&events));
        assert_ne!(own.last().map(|told| &told.levels), Some(&counts.levels), "nothing is rare enough");
        assert_eq!(own.last().map(|told| (told.total, &told.minutes)), Some((counts.total, &counts.minutes)));
    }
    // Every region answers through its own gate, the asker's as well.
    let expected = merge(&own);
    for asker in cluster.regions() {
        let answer = asker.federated(&REGIONS, "orders", &counting());
        assert_eq!(read_counts(&answer), expected, "asked in {}", asker.name);
        names_every_region(&answer);
        hands_out_no_foreign_row(&asker.name, &answer);
    }
}

/// What a region lets out of these events.
fn gate(events: &[Value]) -> Counts {
    let cell = |event: &Value| {
        let at = event["timestamp"].as_str().unwrap();
        let minute = (DAY_MS / 60_000 + at[14..16].parse::<i64>().unwrap()) * 60_000;
        (minute, event["level"].as_str().unwrap().to_owned())
    };
    released(events.iter().map(cell), K_ROWS)
}

fn names_every_region(answer: &Value) {
    let details = answer["_clusters"]["details"].as_object().unwrap_or_else(|| panic!("no details in {answer}"));
    let unnamed: Vec<_> = REGIONS.iter().filter(|region| !details.contains_key(**region)).collect();
    // The asker itself may go by the name that clients know for "here".
    let here = usize::from(details.contains_key("(local)"));
    assert!(unnamed.len() <= here, "{unnamed:?} are not named: {answer}");
}

fn hands_out_no_foreign_row(asker: &str, answer: &Value) {
    for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
        let index = hit["_index"].as_str().unwrap_or_default();
        assert!(!index.contains(':') || index.starts_with(asker), "a row of another region: `{index}`");
    }
}

#[test]
fn a_level_too_rare_to_leave_is_withheld_and_the_answer_says_so() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let (mut many, _) = events(9, 400, 1);
    many.iter_mut().for_each(|event| event["level"] = "INFO".into());
    many.iter_mut().take(3).for_each(|event| event["level"] = "FATAL".into());
    let frankfurt = cluster.region("frankfurt");
    frankfurt.bulk("rare", &bulk(&many, None), &[]).unwrap();
    frankfurt.refresh("rare");
    let tokyo = cluster.region("tokyo");
    let answer = wait_until(Duration::from_secs(10), || {
        let answer = tokyo.federated(&["frankfurt"], "rare", &counting());
        (answer["hits"]["total"]["value"] == 400).then_some(answer)
    });
    let answer = answer.expect("Frankfurt's total arrives in Tokyo");
    let levels = read_counts(&answer).levels;
    assert_eq!(levels.get("FATAL"), None, "three records are fewer than k: {answer}");
    // With the total known, the common level would tell of the rare one: it is withheld with it.
    assert_eq!(levels.get("INFO"), None, "400 less 397 are the three: {answer}");
    let status = answer["_clusters"]["details"]["frankfurt"].to_string();
    assert!(status.contains("withheld") || status.contains("suppressed"), "withheld without a word: {status}");
}
