//! Groups of three to six nodes on a clock that is turned by hand and a network whose weather is drawn from a seed: what must
//! never be is looked for at every step, and in the end, with everything healed, all nodes must come to the same.
//!
//! The log is the real one on a real file, written by a thread; so the clock goes on a few milliseconds at a time, each after
//! a moment of real time, and a seed fixes what is done and when, not every interleaving.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_proto::ids::{NodeId, TenantId};
use domicile_proto::metadata::Applied;
use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use crate::cluster::{Cluster, LONG, REGIONS, addr, knows_tenant, name, tenant};
use crate::network::{Dice, Weather};

/// Steps with faults.
const STEPS: u64 = 40;
/// Between two looks, in milliseconds of the turned clock.
const STEP_MS: u64 = 200;
/// How far the clock is turned at once, in milliseconds: a tenth of a heartbeat.
const TURN_MS: u64 = 10;
/// Patience of a proposal.
const PATIENCE: Duration = Duration::from_secs(4);

/// Seeds of one run, from `DOMICILE_SIMULATION_SEEDS`; as many as a check runs unless somebody asks for others.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let first = number("DOMICILE_SEED", 1);
    first..first + number("DOMICILE_SIMULATION_SEEDS", 200)
}

#[test]
fn no_weather_breaks_the_group_and_it_heals() {
    let (left, places) = (Mutex::new(seeds()), sched_getaffinity(None).unwrap());
    std::thread::scope(|scope| {
        for place in (0..CpuSet::MAX_CPU).filter(|place| places.is_set(*place)) {
            let left = &left;
            scope.spawn(move || {
                // The clock and all who write live on one processor: where the machine takes it away from them, it stands for all.
                // Turned on another one, it would go on for hours while nobody can answer.
                let mut here = CpuSet::new();
                here.set(place);
                sched_setaffinity(None, &here).unwrap();
                while let Some(seed) = { left.lock().next() } {
                    let decided = one_life(seed);
                    eprintln!("seed {seed} (DOMICILE_SEED): {decided} decisions");
                    assert!(decided >= 5, "seed {seed}: only {decided} decisions: no traffic");
                }
            });
        }
    });
}

fn one_life(seed: u64) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            decided = live(seed) => decided,
            () = turn() => unreachable!("the clock is turned for ever"),
        }
    })
}

/// Turns the clock, and leaves the threads that write real files the time they need. While the sleep runs the clock does not
/// turn by itself.
async fn turn() {
    loop {
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(500))).await.unwrap();
        advance(Duration::from_millis(TURN_MS)).await;
    }
}

/// What was seen so far and must hold for ever.
#[derive(Default)]
struct Seen {
    /// Who led in a term.
    leaders: BTreeMap<u64, NodeId>,
    /// The highest term and the last applied index of each running node.
    progress: BTreeMap<usize, (u64, Option<u64>)>,
}

type Decided = Arc<Mutex<BTreeMap<String, TenantId>>>;

async fn live(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::of_three(20).await;
    for learner in 0..dice.below(4) {
        let region = REGIONS[usize::try_from(learner % 3).unwrap()];
        let place = cluster.start(region).await;
        cluster.approve(place as u64 + 1, region).await;
        cluster.groups[place].join(&[(NodeId(1), addr(1))], false, LONG).await.unwrap();
    }
    cluster.network.set_weather(Some(Weather {
        dice: Dice(seed ^ 0x57),
        late_ms: 5 + dice.below(30),
        lost: dice.below(60),
    }));
    let (decided, mut seen, mut stopped) = (Decided::default(), Seen::default(), None);
    let mut clients = JoinSet::new();
    for step in 0..STEPS {
        disturb(&mut cluster, &mut dice, &mut seen, &mut stopped).await;
        for _ in 0..dice.below(3) {
            let place = usize::try_from(dice.below(cluster.groups.len() as u64)).unwrap();
            // Few names, so that several nodes ask for the same one.
            let text = format!("s{seed}-{}", step / 2);
            clients.spawn(ask(cluster.groups[place].clone(), text, Arc::clone(&decided), seed));
        }
        sleep(Duration::from_millis(STEP_MS)).await;
        look(&cluster, &mut seen, stopped, seed);
    }
    cluster.network.heal();
    cluster.network.set_weather(None);
    if let Some(place) = stopped {
        cluster.restart(place).await;
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    converge(&cluster, &decided, seed).await
}

/// Cuts a way, heals all, or stops and starts a node; most of the time nothing.
async fn disturb(cluster: &mut Cluster, dice: &mut Dice, seen: &mut Seen, stopped: &mut Option<usize>) {
    let nodes = cluster.groups.len() as u64;
    match dice.below(12) {
        0 => cluster.network.isolate(1 + dice.below(nodes)),
        1 => cluster.network.cut(1 + dice.below(nodes), 1 + dice.below(nodes)),
        2 | 3 => cluster.network.heal(),
        4 if stopped.is_none() => {
            let place = usize::try_from(dice.below(nodes)).unwrap();
            cluster.stop(place).await;
            seen.progress.remove(&place);
            *stopped = Some(place);
        }
        5 | 6 => {
            if let Some(place) = stopped.take() {
                cluster.restart(place).await;
            }
        }
        _ => {}
    }
}

/// Asks a node for a tenant: whoever is answered hears the same id, for ever.
async fn ask(group: Group, text: String, decided: Decided, seed: u64) {
    if let Ok(Applied::Tenant(id)) = group.propose(tenant(&text), PATIENCE).await {
        let known = *decided.lock().entry(text.clone()).or_insert(id);
        assert_eq!(known, id, "seed {seed}: `{text}` got two ids");
        // What this node has answered, a reading that begins now must see.
        if let Ok(state) = group.linearizable(PATIENCE).await {
            assert_eq!(state.tenant(&name(&text)), Some(id), "seed {seed}: a stale reading of `{text}`");
        }
    }
}

/// One leader in a term; terms and applied entries never go back while a node runs.
fn look(cluster: &Cluster, seen: &mut Seen, stopped: Option<usize>, seed: u64) {
    for (place, group) in cluster.groups.iter().enumerate().filter(|(place, _)| Some(*place) != stopped) {
        // Of one moment: who leads a moment later may do so in another term.
        let now = group.metrics();
        if now.leader == Some(group.node()) {
            let first = *seen.leaders.entry(now.term).or_insert_with(|| group.node());
            assert_eq!(first, group.node(), "seed {seed}: two leaders in term {}", now.term);
        }
        let before = seen.progress.insert(place, (now.term, now.applied)).unwrap_or_default();
        assert!(before.0 <= now.term, "seed {seed}: the term of {place} went back");
        assert!(before.1 <= now.applied, "seed {seed}: {place} applied less than before");
        assert!(now.applied <= now.last_log, "seed {seed}: {place} applied what is not in its log");
    }
}

/// Healed, the group decides, and every node comes to hold everything that was decided and the same as all others.
async fn converge(cluster: &Cluster, decided: &Decided, seed: u64) -> usize {
    let last = format!("s{seed}-last");
    loop {
        // Whoever leads now, an answer comes; a single proposal may meet the election.
        if let Ok(Applied::Tenant(id)) = cluster.groups[0].propose(tenant(&last), LONG).await {
            decided.lock().insert(last.clone(), id);
            break;
        }
    }
    for group in &cluster.groups {
        knows_tenant(group, &last).await;
    }
    let there = cluster.groups[0].linearizable(LONG).await.unwrap();
    for group in &cluster.groups {
        let state = group.linearizable(LONG).await.unwrap();
        assert_eq!(*state, *there, "seed {seed}: {:?} came to something else", group.node());
    }
    let decided = decided.lock().clone();
    for (text, id) in &decided {
        assert_eq!(there.tenant(&name(text)), Some(*id), "seed {seed}: `{text}` was decided and is gone");
    }
    cluster.stop_all().await;
    decided.len()
}
