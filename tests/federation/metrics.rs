//! What nodes say of crossings at `/metrics`: both ends say the same, withheld cells are counted, and no label names anything but
//! regions and words.

use std::collections::BTreeMap;
use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::http::request;
use domicile_tests::cluster::region::{Region, counting};
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};

use crate::BINARY;

/// Lines of a scrape: name and labels, and the value.
fn scrape(region: &Region) -> BTreeMap<String, f64> {
    let text = request("GET", &region.doors.metrics, &[], b"").unwrap().text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Of a crossing metric: what a node counts by kind with one peer in one direction.
fn by_kind(scraped: &BTreeMap<String, f64>, name: &str, peer: &str, direction: &str) -> BTreeMap<String, f64> {
    let ending = format!(r#",direction="{direction}"}}"#);
    let beginning = format!(r#"domicile_link_crossing_{name}_total{{peer="{peer}",kind=""#);
    let kind =
        |line: &str| Some(line.strip_prefix(&beginning)?.strip_suffix(&ending)?.trim_end_matches('"').to_owned());
    scraped.iter().filter_map(|(line, value)| Some((kind(line)?, *value))).collect()
}

#[test]
fn both_ends_count_the_same_crossings_and_withheld_cells_are_told() {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let (mut many, _) = events(9, 400, 1);
    many.iter_mut().for_each(|event| event["level"] = "INFO".into());
    many[0]["level"] = "FATAL".into();
    for region in cluster.regions() {
        let answer = region.bulk("orders", &bulk(&many, None), &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        region.refresh("orders");
    }
    let tokyo = cluster.region("tokyo");
    let answer = wait_until(Duration::from_secs(20), || {
        let answer = tokyo.federated(&REGIONS, "orders", &counting());
        (answer["hits"]["total"]["value"] == 1_200).then_some(answer)
    });
    answer.expect("the totals of all regions arrive in Tokyo");

    let asker = scrape(&tokyo);
    for peer in ["frankfurt", "singapore"] {
        let answerer = scrape(&cluster.region(peer));
        for name in ["frames", "bytes"] {
            let sent = by_kind(&asker, name, peer, "out");
            assert!(sent["question"] > 0.0, "{peer}: {sent:?}");
            assert_eq!(sent, by_kind(&answerer, name, "tokyo", "in"), "{peer}: {name} from Tokyo");
            let received = by_kind(&asker, name, peer, "in");
            assert!(received.values().sum::<f64>() > 0.0, "{peer}: {received:?}");
            assert_eq!(received, by_kind(&answerer, name, "tokyo", "out"), "{peer}: {name} to Tokyo");
        }
        let cells = |standing: &str| {
            answerer[&format!(r#"domicile_federate_answered_cells_total{{peer="tokyo",standing="{standing}"}}"#)]
        };
        assert!(cells("whole") > 0.0 && cells("withheld") > 0.0, "{peer}: {} {}", cells("whole"), cells("withheld"));
        assert_eq!(answerer["domicile_receive_accepted_records_total"], 400.0);
        assert_eq!(answerer["domicile_receive_refused_records_total"], 0.0);
        assert!(
            answerer["domicile_process_memory_bytes"] > 1e6 && answerer["domicile_process_cpu_seconds_total"] > 0.0
        );
    }
    for region in cluster.regions() {
        let far = wait_until(Duration::from_secs(60), || {
            let scraped = scrape(&region);
            let count = |peer: &&str| {
                scraped.get(&format!(r#"domicile_link_round_trip_seconds_count{{peer="{peer}"}}"#)).copied()
            };
            REGIONS.iter().filter(|peer| **peer != region.name).all(|peer| count(peer) > Some(0.0)).then_some(())
        });
        assert!(far.is_some(), "{} does not say how far the others are", region.name);
        for line in scrape(&region).keys() {
            for peer in line.split("peer=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(REGIONS.contains(&peer), "{line}");
            }
        }
    }
}
