//! The traffic between regions, captured by a relay and decrypted with the nodes' key log by an independent program, holds no
//! planted value in any disguise; a planted control is seen, so the capture is not blind.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use domicile_tests::cluster::canary::Canary;
use domicile_tests::cluster::decrypt::decrypt;
use domicile_tests::cluster::region::counting;
use domicile_tests::cluster::relay::{Capture, Relay};
use domicile_tests::cluster::require::require;
use domicile_tests::cluster::{Cluster, REGIONS, wait_until};
use serde_json::json;

use super::requests;
use crate::BINARY;

const WORD: &str = "kq7XvZ2mPw9LtR4sBnC8";
/// A name crosses on purpose: streams are agreed on by the metadata group.
const CONTROL: &str = "control-pelican-harbour";

#[test]
fn the_decrypted_link_holds_the_control_and_no_canary() {
    let Some(tshark) = require("tshark") else { return };
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("link.pcap");
    let keys = directory.path().join("keys.log");
    let capture = Capture::create(&pcap).unwrap();
    let mut relays = Vec::new();
    cluster
        .split_with(|cluster| {
            for region in cluster.regions() {
                let target: SocketAddrV4 = region.doors.link.parse()?;
                relays.push((target, Relay::start(target, Some(capture.clone()))?));
            }
            for region in REGIONS {
                tap(&cluster.configuration(region), region, cluster, &relays, &keys)?;
            }
            Ok(())
        })
        .unwrap();

    for region in cluster.regions() {
        let mut body = Vec::new();
        for index in 0..200 {
            let event = json!({
                "timestamp": format!("2026-11-20T09:{:02}:00Z", index % 3),
                "level": "ERROR",
                "service": WORD,
                "host": WORD,
                "trace_id": WORD,
                "message": format!("{WORD} seen by {WORD}@example.org, order {index}"),
                "attributes": {"note": WORD},
            });
            body.extend_from_slice(format!("{{\"create\":{{\"_id\":\"{WORD}-{index}\"}}}}\n{event}\n").as_bytes());
        }
        let taken = wait_until(Duration::from_secs(30), || {
            region.bulk(CONTROL, &body, &[("X-Domicile-Batch", WORD)]).ok().filter(|answer| answer.status == 200)
        });
        taken.expect("the region takes lines");
        region.refresh(CONTROL);
    }
    for region in cluster.regions() {
        let own =
            region.es("search", "POST", &format!("/{CONTROL}/_count"), &json!({"query": {"match": {"message": WORD}}}));
        assert_eq!(own.unwrap().json()["count"], 200, "home finds its own");
        region.federated(&REGIONS, CONTROL, &counting());
        let by_service = json!({"size": 10, "aggs": {"services": {"terms": {"field": "service"}}}});
        let path = format!("/tokyo:{CONTROL},singapore:{CONTROL},frankfurt:{CONTROL}/_search");
        // Refused or folded, as the policy says: what matters here is what crosses meanwhile.
        region.es("search", "POST", &path, &by_service).unwrap();
    }
    requests::send(&cluster.regions(), CONTROL, WORD);
    assert!(cluster.stop(domicile_tests::cluster::STOP_WITHIN));
    drop(relays);
    capture.flush().unwrap();

    let logs: Vec<PathBuf> = REGIONS.iter().map(|region| keys.with_extension(region)).collect();
    let plain = decrypt(&tshark, &pcap, &logs).unwrap();
    assert!(plain.len() > 10_000, "only {} bytes were decrypted", plain.len());
    assert!(Canary::new(CONTROL).find_in(&plain).is_some(), "the control was not seen: the capture is blind");
    assert_eq!(Canary::of_short_pieces(WORD).find_in(&plain), None, "a planted value crossed");
}

/// Makes a node reach its peers through the relays and write its session secrets.
fn tap(
    configuration: &Path,
    region: &str,
    cluster: &Cluster,
    relays: &[(SocketAddrV4, Relay)],
    keys: &Path,
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(configuration)?;
    let (before, via) = text.split_once("[link.via]").context("`dev` writes the addresses to dial")?;
    let (via, after) = via.split_once("\n[").map_or((via, String::new()), |(via, rest)| (via, format!("\n[{rest}")));
    let mut via = via.to_owned();
    let own = cluster.region(region).doors.link;
    for (target, relay) in relays.iter().filter(|(target, _)| target.to_string() != own) {
        anyhow::ensure!(via.contains(&target.to_string()), "{} does not dial {target}", configuration.display());
        via = via.replace(&target.to_string(), &relay.address.to_string());
    }
    let mut text = format!("{before}[link.via]{via}{after}");
    let line = format!("tls_keylog = {:?}\n", keys.with_extension(region));
    text = match text.find("[audit]\n") {
        Some(at) => format!("{}{line}{}", &text[..at + 8], &text[at + 8..]),
        None => format!("{text}\n[audit]\n{line}"),
    };
    Ok(std::fs::write(configuration, text)?)
}
