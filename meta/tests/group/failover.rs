//! How soon the group decides again when its leader is gone, in a network as slow as the one it was told of, on a clock that is turned
//! by hand: whatever is asked of whom, twice the longest election at most from the end of the leader to the answer.

use std::time::Duration;

use domicile_meta::group::Group;
use domicile_meta::raft::Timing;
use domicile_proto::metadata::Applied;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{LONG, tenant};
use crate::never::Decided;
use crate::over_air::{Flock, LIVED_WITHIN, ROUND_TRIP};
use crate::turned::{on_a_turned_clock, on_every_processor, seeds};

/// Leaders that one life loses.
const LOST_IN_A_LIFE: usize = 4;
/// Between two questions of a client.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// How long clients ask before the leader is lost, so that something is on its way then which one voter has and the other has not.
/// It is also longer than a dial lasts that was begun while the one before was away: one loss at a time is what the bound is for.
const BUSY_FOR: Duration = Duration::from_secs(8);

#[test]
fn the_group_decides_again_within_two_elections_of_the_end_of_its_leader() {
    let took = Mutex::new(Vec::new());
    on_every_processor(seeds(6), |seed| {
        let lived = on_a_turned_clock(async { timeout(LIVED_WITHIN, lose_leaders(seed)).await });
        let lived =
            lived.unwrap_or_else(|_| panic!("seed {seed}: not over after {LIVED_WITHIN:?} of the turned clock"));
        eprintln!("seed {seed} (DOMICILE_SEED): {lived:?}");
        took.lock().extend(lived);
    });
    let mut took = took.into_inner();
    took.sort_unstable();
    let bound = Timing::for_round_trip(ROUND_TRIP).election_max.saturating_mul(2);
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    let (half, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("{} leaders: half within {half:?}, 99 of 100 within {p99:?}, all within {longest:?}", took.len());
    assert!(p99 <= bound, "99 of 100 leaders were followed within {p99:?}, and not within {bound:?}: {took:?}");
}

/// How long it took after each of them until every survivor had an answer.
async fn lose_leaders(seed: u64) -> Vec<Duration> {
    let mut flock = Flock::of_three(seed).await;
    let mut took = Vec::new();
    for number in 0..LOST_IN_A_LIFE {
        let mut clients = JoinSet::new();
        for (place, group) in flock.running() {
            clients.spawn(ask_on(group.clone(), format!("s{seed}-{number}-{place}")));
        }
        sleep(BUSY_FOR).await;
        let leader = leader(&flock).await;
        let lost = Instant::now();
        flock.stop(leader, false).await;
        let mut asked = JoinSet::new();
        for (place, group) in flock.running() {
            asked.spawn(ask(group.clone(), format!("s{seed}-{number}-{place}-lost")));
        }
        let decided = asked.join_all().await;
        assert!(decided.iter().all(|is_decided| *is_decided), "seed {seed}: not decided within {LONG:?}");
        took.push(lost.elapsed());
        drop(clients);
        flock.restart(leader).await;
        flock.converge(&Decided::default()).await;
    }
    flock.stop_all().await;
    took
}

/// The place of who leads, in the opinion of all.
async fn leader(flock: &Flock) -> usize {
    loop {
        let known: Vec<_> = flock.running().map(|(_, group)| group.leader()).collect();
        match known[0] {
            Some(leader) if known.iter().all(|other| *other == known[0]) => return leader.0 as usize - 1,
            _ => sleep(ASKED_EVERY).await,
        }
    }
}

async fn ask(group: Group, text: String) -> bool {
    matches!(group.propose(tenant(&text), LONG).await, Ok(Applied::Tenant(_)))
}

/// Asks again and again, without waiting for an answer.
async fn ask_on(group: Group, run: String) {
    let mut under_way = JoinSet::new();
    for number in 0_u64.. {
        under_way.spawn(ask(group.clone(), format!("{run}-{number}")));
        while under_way.try_join_next().is_some() {}
        sleep(ASKED_EVERY).await;
    }
}
