//! Every region's ledger is cosigned by the others, and every answer says how far it was.

use std::time::Duration;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::http::{Response, request};
use domicile_tests::cluster::region::counting;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::{Value, json};

use crate::BINARY;

/// Origin, size, root and signature, out of the header of an answer.
fn stamp(answer: &Response) -> (String, u64) {
    let header = answer.header("domicile-ledger-checkpoint").expect("the header is in every answer");
    let words: Vec<&str> = header.split(' ').collect();
    let [origin, size, root, signature] = words[..] else { panic!("four words: {header}") };
    assert_eq!((root.len(), signature.len()), (44, 92), "{header}");
    (origin.to_owned(), size.parse().unwrap())
}

#[test]
fn other_regions_cosign_the_ledger_and_every_answer_carries_its_checkpoint() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let tokyo = cluster.region("tokyo");
    let taken = tokyo.bulk("orders", &bulk(&events(70, 60, 3).0, None), &[]).unwrap();
    let (origin, first) = stamp(&taken);
    assert!(origin.starts_with("ledger.") && origin.ends_with("/tokyo/1"), "{origin}");
    let refused = request("GET", &format!("{}/orders/_count", tokyo.doors.es), &[], b"").unwrap();
    assert_eq!((refused.status, stamp(&refused).0), (401, origin.clone()));
    let unknown = request("GET", &format!("{}/nothing", tokyo.doors.api), &[], b"").unwrap();
    assert_eq!(stamp(&unknown).0, origin, "whoever asks, and for whatever");

    let status = |region: &str| -> Option<Value> {
        let answer = cluster.region(region).api("search", "GET", "/api/v1/status", &json!({})).ok()?;
        Some(answer.json())
    };
    for region in ["tokyo", "singapore", "frankfurt"] {
        let is_whole = |status: &Value| {
            let witnesses = status["witnesses"].as_array().map_or(0, |all| {
                all.iter().filter(|one| one["cosigned"].as_u64() > Some(0) && one["trouble"].is_null()).count()
            });
            // The others go around by their own clocks, so this region's witness may hear of them later.
            witnesses == 2 && status["witness"]["logs"].as_array().map(Vec::len) == Some(2)
        };
        let found = wait_until(Duration::from_secs(60), || status(region).filter(is_whole));
        let found = found.unwrap_or_else(|| panic!("{region}: {}", status(region).unwrap_or_default()));
        assert_eq!(found["witness"]["forks"], json!([]), "{region}");
    }
    // A question abroad becomes entries; the checkpoint over them comes within a second or so.
    tokyo.federated(&REGIONS, "orders", &counting());
    let newest = || stamp(&tokyo.api("search", "GET", "/api/v1/status", &json!({})).unwrap()).1;
    let grown = wait_until(Duration::from_secs(30), || (newest() > first).then_some(()));
    assert!(grown.is_some(), "the checkpoint moves on: {} after {first}", newest());
    let metrics = request("GET", &tokyo.doors.metrics, &[], b"").unwrap().text();
    assert!(metrics.contains("domicile_audit_forks_count 0") && metrics.contains("domicile_audit_accusations_count 0"));
    assert!(!metrics.contains("domicile_audit_cosigned_count 0"), "{metrics}");

    let ledger = cluster.data().join("nodes/tokyo/data/ledger").display().to_string();
    assert!(cluster.stop(Duration::from_secs(30)));
    let said = cluster.command(&["audit", "verify", &ledger]).unwrap();
    assert!(said.contains("/frankfurt/") && said.contains("/singapore/"), "{said}");
}
