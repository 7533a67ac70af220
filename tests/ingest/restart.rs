//! `dev` stops when it is told to, and finds everything again when it is started on the same data.

use std::time::{Duration, Instant};

use domicile_tests::cluster::Cluster;
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::guard::is_alive;

use crate::BINARY;

#[test]
fn what_was_taken_is_there_after_a_stop_and_a_start() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let (drawn, counts) = events(80, 300, 3);
    for region in cluster.regions() {
        let taken = region.bulk("orders", &bulk(&drawn, Some("once")), &[("X-Domicile-Batch", "b1")]).unwrap();
        assert_eq!(taken.status, 200, "{}", taken.text());
    }
    let nodes: Vec<u32> = cluster.regions().iter().map(|region| region.doors.pid).collect();
    let begun = Instant::now();
    assert!(
        cluster.stop(Duration::from_secs(15)),
        "everything stops within 10 s of SIGINT, and some for a busy machine"
    );
    eprintln!("stopped within {:?}", begun.elapsed());
    assert!(nodes.iter().all(|pid| !is_alive(*pid)), "a node outlived `dev`");

    let (cluster, took) = cluster.start_again(&[]).unwrap();
    eprintln!("ready again within {took:?}");
    for region in cluster.regions() {
        region.refresh("orders");
        assert_eq!(region.counts("orders"), counts, "{} after the start", region.name);
        let again = region.bulk("orders", &bulk(&drawn, Some("once")), &[("X-Domicile-Batch", "b1")]).unwrap();
        assert_eq!(again.status, 200, "the same batch after the start: {}", again.text());
        region.refresh("orders");
        assert_eq!(region.count("orders").unwrap(), 300, "{} took a known batch twice", region.name);
    }
}
