//! Lives of a log drawn from seeds: at any call the power goes or the disk fails, and after each restart everything that was
//! acknowledged is there, once, at its place, and a batch in doubt is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use domicile_proto::ids::ShardId;

use super::batch::{Accepted, Batch, Op, Outcome};
use super::disk_sim::{Dice, Sim, Trouble};
use super::errors::WalError;
use super::log::Log;
use super::wal_test::{NOW, batch, record, replayed};

/// Size at which a file of these logs ends: small, so that most lives see several.
const FILE_BYTES: u64 = 3_000;
/// Lives that begin from one seed.
const LIVES: u64 = 3;
/// Groups in one life.
const GROUPS: u64 = 14;

/// What was told to the producers, and what must therefore hold.
#[derive(Default)]
struct Told {
    /// Texts by shard and place.
    acked: BTreeMap<(u64, u64), String>,
    /// Texts of the groups of which nobody knows; those of one group are there together or not at all.
    doubtful: Vec<Vec<String>>,
    /// The last place of each shard that lies in a durable segment.
    indexed: BTreeMap<ShardId, u64>,
    number: u64,
}

/// One batch as it was sent, to be sent again.
#[derive(Clone)]
struct Sent {
    shard: u64,
    id: String,
    texts: Vec<String>,
}

impl Sent {
    fn batch(&self) -> Batch {
        let records = self.texts.iter().map(|text| (Op::Index, record(None, text))).collect();
        batch(self.shard, Some((&self.id, 7)), records)
    }
}

/// Lives from a seed, with trouble at the given call of the first ones. How many calls the first life took.
fn live(seed: u64, troubles: &[(u64, Trouble)]) -> u64 {
    live_on(Sim::new(seed, troubles.first().copied()), seed, troubles)
}

fn live_on(mut disk: Sim, seed: u64, troubles: &[(u64, Trouble)]) -> u64 {
    let mut dice = Dice(seed);
    let mut told = Told::default();
    let mut calls = 0;
    for life in 0..LIVES {
        let whole = format!("seed {seed}, troubles {troubles:?}, life {life}");
        match Log::open(Box::new(disk.clone()), &told.indexed, FILE_BYTES, NOW.into()) {
            Ok(mut log) => {
                check(&log, &mut told, &whole);
                work(&mut log, &mut told, &mut dice, &whole);
            }
            Err(error) => assert!(disk.is_down() || is_planned(troubles, life), "{whole}: does not open: {error}"),
        }
        if life == 0 {
            calls = disk.calls();
        }
        disk = disk.after_power_loss(troubles.get(usize::try_from(life).unwrap() + 1).copied());
    }
    let log = Log::open(Box::new(disk), &told.indexed, FILE_BYTES, NOW.into())
        .unwrap_or_else(|error| panic!("seed {seed}, {troubles:?}: does not open in the end: {error}"));
    check(&log, &mut told, &format!("seed {seed}, troubles {troubles:?}, in the end"));
    calls
}

fn is_planned(troubles: &[(u64, Trouble)], life: u64) -> bool {
    troubles.get(usize::try_from(life).unwrap()).is_some_and(|(_, trouble)| *trouble != Trouble::Power)
}

/// Everything told is there; nothing else is, but whole groups in doubt.
fn check(log: &Log, told: &mut Told, whole: &str) {
    let mut found: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for (shard, seq, json) in replayed(log, &told.indexed) {
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let text = json["message"].as_str().unwrap().to_owned();
        assert!(texts.insert(text.clone()), "{whole}: `{text}` is there twice");
        assert!(found.insert((shard, seq), text).is_none(), "{whole}: two records at {seq} of {shard}");
    }
    let is_open = |(shard, seq): &(u64, u64)| told.indexed.get(&ShardId(*shard)).is_none_or(|last| last < seq);
    for (place, text) in told.acked.iter().filter(|(place, _)| is_open(place)) {
        assert_eq!(found.get(place), Some(text), "{whole}: lost, or changed, at {place:?}");
    }
    let known: BTreeSet<&String> = told.acked.values().collect();
    let extra: BTreeSet<&String> = texts.iter().filter(|text| !known.contains(text)).collect();
    let mut explained = BTreeSet::new();
    for group in &told.doubtful {
        let there = group.iter().filter(|text| extra.contains(text)).count();
        assert!(there == 0 || there == group.len(), "{whole}: {there} of a group of {} are there", group.len());
        explained.extend(group.iter().filter(|text| extra.contains(text)));
    }
    assert_eq!(explained, extra, "{whole}: records that nobody sent, or that were refused");
    // What survived its doubt is from now on as good as acknowledged.
    for (place, text) in &found {
        told.acked.entry(*place).or_insert_with(|| text.clone());
    }
    told.doubtful.clear();
}

fn work(log: &mut Log, told: &mut Told, dice: &mut Dice, whole: &str) {
    let mut again: Vec<Sent> = Vec::new();
    for _ in 0..GROUPS {
        match dice.below(8) {
            0 => {
                log.roll();
            }
            1 => {
                for (shard, seq) in told.acked.keys() {
                    if dice.below(3) == 0 {
                        let last = told.indexed.entry(ShardId(*shard)).or_default();
                        *last = (*last).max(*seq);
                    }
                }
                // A file that cannot be removed stays; that is told, and nothing else.
                drop(log.release(&told.indexed, NOW.into()));
            }
            _ => {}
        }
        let mut group: Vec<Sent> = (0..1 + dice.below(3)).map(|_| draw(told, dice)).collect();
        if dice.below(3) == 0
            && let Some(sent) = again.pop()
        {
            group.insert(0, sent);
        }
        let answers = log.commit(group.iter().map(Sent::batch).collect(), NOW.into()).0;
        note(&group, answers, told, whole);
        again.extend(group);
    }
}

fn draw(told: &mut Told, dice: &mut Dice) -> Sent {
    told.number += 1;
    let number = told.number;
    let long = "x".repeat(usize::try_from(dice.below(500)).unwrap());
    let texts = (0..1 + dice.below(4)).map(|n| format!("{number}-{n}-{long}")).collect();
    Sent { shard: 1 + dice.below(2), id: format!("batch-{number}"), texts }
}

fn note(group: &[Sent], answers: Vec<Result<Accepted, WalError>>, told: &mut Told, whole: &str) {
    let mut in_doubt = Vec::new();
    for (sent, answer) in group.iter().zip(answers) {
        match answer {
            Ok(accepted) => {
                assert_eq!(accepted.outcomes.len(), sent.texts.len(), "{whole}: an outcome for each record");
                for (outcome, text) in accepted.outcomes.iter().zip(&sent.texts) {
                    let Outcome::Created { seq } = outcome else { panic!("{whole}: {outcome:?} without an id") };
                    let before = told.acked.insert((sent.shard, *seq), text.clone());
                    assert!(before.is_none_or(|before| before == *text), "{whole}: {seq} was given twice");
                }
            }
            Err(WalError::Poisoned { .. }) => in_doubt.extend(sent.texts.iter().cloned()),
            // Surely not taken.
            Err(_) => {}
        }
    }
    // A batch that was sent again is in doubt, or out of it, with the group it was sent in first.
    let acked: BTreeSet<&String> = told.acked.values().collect();
    let is_known = |text: &String| acked.contains(text) || told.doubtful.iter().flatten().any(|known| known == text);
    in_doubt.retain(|text| !is_known(text));
    if !in_doubt.is_empty() {
        told.doubtful.push(in_doubt);
    }
}

#[test]
fn thousands_of_lives_lose_nothing_whenever_the_power_goes() {
    for seed in 0..2_000 {
        let calls = live(seed, &[]);
        let mut dice = Dice(seed ^ 0xd15c);
        let first = (1 + dice.below(calls), Trouble::Power);
        let second = (1 + dice.below(calls), Trouble::Power);
        live(seed, &[first, second]);
    }
}

#[test]
fn a_life_survives_the_loss_of_power_at_every_call() {
    for seed in 0..12 {
        let calls = live(seed, &[]);
        assert!(calls > 20, "only {calls} calls: no life");
        for at in 1..=calls {
            live(seed, &[(at, Trouble::Power)]);
        }
    }
}

#[test]
fn a_life_survives_a_failure_of_every_call() {
    for seed in 100..106 {
        let calls = live(seed, &[]);
        for at in 1..=calls {
            for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
                live(seed, &[(at, Trouble::Error(kind))]);
            }
        }
    }
}

/// Seeds within which a forgotten flush of the directory must be noticed.
const SHORT_RUNS: u64 = 5;

#[test]
fn a_log_that_never_flushed_its_directory_is_caught_within_five_seeds() {
    // What a forgetful disk leaves undone is what the log would have left undone that does not ask for it.
    let is_caught = |seed| {
        let forgetful = move || live_on(Sim::forgetful(seed, None), seed, &[]);
        std::panic::catch_unwind(forgetful).is_err()
    };
    let caught: Vec<u64> = (0..SHORT_RUNS).filter(|seed| is_caught(*seed)).collect();
    assert!(!caught.is_empty(), "new files vanish with their names, and nobody noticed");
}
