//! Groups of three to six nodes on a clock that is turned by hand and a network whose weather is drawn from a seed: what must
//! never be is looked for at every step, and in the end, with everything healed, all nodes must come to the same.

use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::NodeId;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::{Cluster, LONG, REGIONS, addr};
use crate::network::{Dice, Weather};
use crate::never::{Decided, Seen, ask, converge, look};
use crate::turned::{on_a_turned_clock, on_every_processor, seeds};

/// Steps with faults.
const STEPS: u64 = 40;
/// Between two looks, in milliseconds of the turned clock.
const STEP_MS: u64 = 200;

#[test]
fn no_weather_breaks_the_group_and_it_heals() {
    on_every_processor(seeds(200), |seed| {
        let decided = on_a_turned_clock(live(seed));
        eprintln!("seed {seed} (DOMICILE_SEED): {decided} decisions");
        assert!(decided >= 5, "seed {seed}: only {decided} decisions: no traffic");
    });
}

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
        let running = cluster.groups.iter().enumerate().filter(|(place, _)| Some(*place) != stopped);
        look(running, &mut seen, seed);
    }
    cluster.network.heal();
    cluster.network.set_weather(None);
    if let Some(place) = stopped {
        cluster.restart(place).await;
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let decided = converge(&cluster.groups, &decided, seed).await;
    cluster.stop_all().await;
    decided
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
