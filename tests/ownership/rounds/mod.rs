//! Three nodes of one region over one S3 bucket, under load, round after round: killed, paused for longer than the lease, killed with
//! the loss of the disk, and lost for good with a newcomer in their place; one node, or its successor as well while it is away. Every
//! batch that was acknowledged is there, once, and each epoch of a shard has one node that wrote it.
//!
//! `DOMICILE_ROUNDS` says how many rounds, `DOMICILE_SEED` in which order.

mod load;
mod team;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domicile_tests::cluster::fenced;
use domicile_tests::cluster::fixture::Dice;
use domicile_tests::cluster::logs::{Logs, Watcher};
use domicile_tests::cluster::s3::S3;
use domicile_tests::cluster::wait_until;

use load::{EACH, Load, STREAMS, TAKEN_WITHIN};
use team::{Fault, Team, VOTER};

/// Batches of each stream that are acknowledged before, during and after each fault.
const BETWEEN: u64 = 3;
/// The lease of an owner and a little more.
const LEASE: Duration = Duration::from_secs(17);
/// Rounds that show each fault once; they begin every run.
const SHOWN: u64 = 3;

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
struct Round {
    fault: Fault,
    /// By its place: who is hit; none where it is the owner of this stream.
    node: Option<usize>,
    stream: usize,
    /// Whether it comes back before anybody could take its place.
    is_short: bool,
    /// What happens to whoever took the stream over, while the first one is away.
    successor: Option<Fault>,
    /// Who comes back first of two.
    is_reversed: bool,
}

impl Round {
    fn drawn(round: u64, dice: &mut Dice) -> Self {
        let plain =
            Self { fault: Fault::Pause, node: None, stream: 0, is_short: false, successor: None, is_reversed: false };
        match round {
            // The voter writes the first stream when all begins.
            0 => return Self { fault: Fault::Replace, node: Some(VOTER), ..plain },
            1 => return Self { successor: Some(Fault::Kill), ..plain },
            2 => return Self { fault: Fault::LoseDisk, is_short: true, ..plain },
            _ => {}
        }
        let fault = team::FAULTS[index(dice.below(4))];
        let node = (dice.below(4) == 0).then(|| index(dice.below(3)));
        let stream = index(dice.below(STREAMS.len() as u64));
        let is_short = fault != Fault::Pause && dice.below(3) == 0;
        let second = team::FAULTS[index(dice.below(4))];
        let successor = (!is_short && dice.below(3) == 0).then_some(second);
        Self { fault, node, stream, is_short, successor, is_reversed: dice.below(2) == 0 }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How often each fault was done, and how often to a successor.
type Done = BTreeMap<String, u64>;

/// Does what is to be done in a round, and has everybody back.
fn shake(team: &mut Team, load: &Load, round: Round, done: &mut Done) {
    load.go_on(BETWEEN);
    // Usually the owner. A voter that loses its disk is replaced, so another one is looked for.
    let streams = (0..STREAMS.len()).map(|more| (round.stream + more) % STREAMS.len());
    let mut owners = streams.map(|stream| team.place_of(load.owner(stream)));
    let owner = owners.find(|at| round.fault != Fault::LoseDisk || *at != VOTER);
    let first = round.node.or(owner).unwrap_or(VOTER + 1);
    let mut away = vec![(first, team.strike(load, first, round.fault))];
    let begun = Instant::now();
    if round.is_short {
        let hit = away.remove(0);
        *done.entry(format!("{:?}, back at once", hit.1)).or_default() += 1;
        team.heal(load, hit);
    } else {
        // The others take all that it wrote.
        load.go_on(BETWEEN);
    }
    if let Some(fault) = round.successor {
        let successor =
            wait_until(TAKEN_WITHIN, || Some(team.place_of(load.owner(round.stream))).filter(|at| *at != first));
        let successor = successor.expect("another node writes the stream");
        away.push((successor, team.strike(load, successor, fault)));
        load.go_on(BETWEEN);
    }
    if away.iter().any(|(_, fault)| *fault == Fault::Pause) {
        wait_until(TAKEN_WITHIN, || (begun.elapsed() > LEASE).then_some(()));
    }
    if round.is_reversed {
        away.reverse();
    }
    let how = if round.successor.is_some() { "two at once" } else { "alone" };
    for (_, fault) in &away {
        *done.entry(format!("{fault:?}, {how}")).or_default() += 1;
    }
    away.into_iter().for_each(|hit| team.heal(load, hit));
    load.go_on(BETWEEN);
}

/// Every acknowledged batch is there, once, at every node.
fn counts(load: &Load, what: &str) {
    for (at, stream) in STREAMS.iter().enumerate() {
        let expected = load.acknowledged(at) * EACH;
        for (place, node) in load.doors.iter().enumerate() {
            let refreshed = || {
                let answer =
                    node.es("ingest", "POST", &format!("/{stream}/_refresh"), &serde_json::Value::Null).ok()?;
                (answer.status == 200).then_some(())
            };
            wait_until(TAKEN_WITHIN, refreshed).expect("a refresh");
            let counted = wait_until(TAKEN_WITHIN, || node.count(stream).ok());
            assert_eq!(counted, Some(expected), "`{stream}` at node {place} after {what}");
        }
    }
}

/// What the logs in the bucket say of owners and places, with what the nodes said.
fn judge(logs: &Logs, load: &Load) {
    let (found, told) = (fenced::check(logs), load.told());
    let places = fenced::places(logs);
    let epochs = told.epochs();
    eprintln!(
        "{} seals, {} batches in logs, {epochs} epochs told; places seen and not: {places:?}",
        found.seals, found.batches
    );
    let none = Vec::<String>::new();
    assert_eq!(found.violations, none, "the logs");
    assert_eq!(fenced::owners(logs, &told), none, "owners and epochs");
    assert_eq!(fenced::doubled(logs), none, "batches");
    // Of a log that nobody saw nothing was judged.
    let all = (0..STREAMS.len()).map(|at| load.acknowledged(at) * EACH).sum::<u64>();
    let seen = places.values().map(|(seen, _)| seen).sum::<u64>();
    assert!(seen * 10 >= all * 9, "void: {seen} of {all} places were seen in the logs");
}

#[test]
fn no_acknowledged_batch_is_lost_or_doubled_whatever_becomes_of_the_nodes() {
    let Some(server) = S3::start().unwrap() else { return };
    let watcher = Watcher::begin(server.reader());
    let (mut team, doors) = Team::begun(&server);
    let load = Load::new(doors);
    load.first(&team);
    let (seed, rounds) = (number_of("DOMICILE_SEED", 1), number_of("DOMICILE_ROUNDS", SHOWN));
    let (mut dice, mut done, begun) = (Dice::new(seed), Done::new(), Instant::now());
    for number in 0..rounds {
        let round = Round::drawn(number, &mut dice);
        let since = Instant::now();
        eprintln!("round {number}: {round:?}");
        load.while_written(|| shake(&mut team, &load, round, &mut done));
        counts(&load, &format!("round {number}, {round:?}"));
        eprintln!("round {number}: {:?}, {} batches so far", since.elapsed(), load.all());
    }
    // Each id is known: what is sent again adds nothing.
    load.again();
    counts(&load, "everything was sent again");
    let (batches, records) = (load.all(), load.all() * EACH);
    drop(team);
    judge(&watcher.end().unwrap(), &load);
    let took = begun.elapsed();
    eprintln!("seed {seed}, {rounds} rounds in {took:?}: {done:?}; {batches} batches, {records} records");
}
