//! The metadata group loses its leader: another serves within the bound, and nothing local ever waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{Cluster, wait_until};
use serde_json::Value;

use crate::BINARY;

/// Twice the longest election on loopback is 2.4 s; a machine that does other things meanwhile gets four times that.
const NEW_LEADER_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_dead_leader_is_replaced_and_local_work_never_stops() {
    let mut cluster = Cluster::start(BINARY, &[]).unwrap();
    let (some, _) = events(30, 10, 1);
    for region in cluster.regions() {
        assert_eq!(region.bulk("orders", &bulk(&some, None), &[]).unwrap().status, 200);
    }
    cluster.split().unwrap();
    let leader = wait_until(Duration::from_secs(30), || leader(&cluster)).expect("a leader to begin with");
    let others: Vec<_> = cluster.regions().into_iter().filter(|region| region.name != leader).collect();

    cluster.kill(&leader).unwrap();
    let killed = Instant::now();
    let electing = AtomicBool::new(true);
    let took = std::thread::scope(|scope| {
        let local = scope.spawn(|| work_locally(&others, &some, &electing));
        let attempt = |round: u32| {
            let name = format!("after-{round}");
            cluster.command(&["tenant", "create", &name, "--at", &others[0].name]).map(|_| killed.elapsed())
        };
        let took = (0..30).find_map(|round| attempt(round).ok());
        electing.store(false, Ordering::SeqCst);
        let rounds = local.join().expect("local work went on");
        assert!(rounds > 1, "nothing local was tried meanwhile");
        took.expect("the group decides again")
    });
    eprintln!("a new leader served {took:?} after the old one was killed");
    assert!(took < NEW_LEADER_WITHIN, "it took {took:?}");

    cluster.restart(&leader).unwrap();
    let back = cluster.region(&leader);
    wait_until(Duration::from_secs(30), || back.count("orders").ok().filter(|count| *count >= 10))
        .expect("back with its lines");
}

/// Takes lines and answers for itself in every region that is left, round after round; none of it waits.
fn work_locally(others: &[Region], some: &[Value], electing: &AtomicBool) -> u64 {
    let mut rounds = 0;
    while electing.load(Ordering::SeqCst) {
        rounds += 1;
        for region in others {
            let begun = Instant::now();
            let taken = region.bulk("orders", &bulk(some, Some(&format!("r{rounds}"))), &[]).unwrap();
            assert_eq!(taken.status, 200, "`{}` refuses lines during an election: {}", region.name, taken.text());
            assert!(region.count("orders").unwrap() >= 10, "`{}` finds nothing during an election", region.name);
            assert!(begun.elapsed() < Duration::from_secs(5), "local work waited {:?}", begun.elapsed());
        }
    }
    rounds
}

/// The region whose node leads the group, as `status` says it.
fn leader(cluster: &Cluster) -> Option<String> {
    let status = cluster.region("tokyo").api("admin", "GET", "/api/v1/status", &Value::Null).ok()?;
    status.json().pointer("/leader/region")?.as_str().map(str::to_owned)
}
