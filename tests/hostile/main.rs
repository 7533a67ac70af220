//! Hostile input on every port: a clear error, and nothing else disturbed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod bodies;
mod keys;
mod readers;
mod replay;
mod sockets;
mod speaking;

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::{Cluster, REGIONS};
use serde_json::json;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");

/// Three regions with a few records each, in a stream called `calm`.
fn calm_cluster() -> Cluster {
    let cluster = Cluster::start(BINARY, &[]).unwrap();
    let (some, _) = events(70, 60, 1);
    for region in cluster.regions() {
        assert_eq!(region.bulk("calm", &bulk(&some, None), &[]).unwrap().status, 200);
        region.refresh("calm");
    }
    undisturbed(&cluster);
    cluster
}

/// The same processes still run, and all of them answer their own and each other's questions.
#[track_caller]
fn undisturbed(cluster: &Cluster) {
    for region in cluster.regions() {
        assert!(domicile_tests::cluster::guard::is_alive(region.doors.pid), "`{}` has died", region.name);
        assert_eq!(region.count("calm").unwrap(), 60, "`{}` lost or gained records", region.name);
        let answer = region.federated(&REGIONS, "calm", &json!({"size": 0, "track_total_hits": true}));
        assert_eq!(answer["hits"]["total"]["value"], 180, "asked in `{}`: {answer}", region.name);
    }
}
