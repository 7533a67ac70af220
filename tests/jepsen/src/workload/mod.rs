//! What clients do while faults are done: through public doors only, every operation written down.

pub mod ask;
pub mod erase;
pub mod ingest;
pub mod meta;
pub mod shared;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use domicile_tests::cluster::fixture::Dice;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::speaker::Speaker;
use serde_json::Value;

use crate::checker::{Verdict, aggregates, erasure, metadata, set};
use crate::cluster::Shape;
use crate::history::{Operation, Recorder};
use crate::trio::Operator;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Batches under ids, repeated until there is a definite answer; in the end every record is read.
    Ingest,
    /// Questions to the world about records that are known.
    Ask,
    /// Tenants by name and epochs of shards, at every region's door.
    Meta,
    /// The three above at once.
    Mixed,
    /// Batches and questions through any of three nodes that share a store.
    Shared,
    /// People who are written, looked for and erased, hot and cold.
    Erase,
}

/// All of them, by name.
pub const ALL: [(&str, Workload); 6] = [
    ("ingest", Workload::Ingest),
    ("ask", Workload::Ask),
    ("meta", Workload::Meta),
    ("mixed", Workload::Mixed),
    ("shared", Workload::Shared),
    ("erase", Workload::Erase),
];

/// What every client needs.
pub struct Stage<'a> {
    /// The regions.
    pub regions: &'a [Region],
    /// The nodes that share a store, if any do.
    pub sharing: &'a [Region],
    /// Runs the operator's commands.
    pub operator: &'a Operator,
    /// Where everything is written down.
    pub recorder: &'a Recorder,
    /// False when it is time to end.
    pub going: &'a AtomicBool,
    /// What the names of this run begin with.
    pub run: &'a str,
    /// Where the dice of this run begin.
    pub seed: u64,
    /// Whether the first of the nodes that share a store will be lost: then it begins as well.
    pub loses_first: bool,
    /// Speaks for the region whose shards are assigned.
    pub tokyo: &'a Speaker,
}

/// What is in the names of every run.
pub const RUN_MARK: &str = "-control-pelican";

/// What the names of a run begin with: names cross between regions, so one that is seen there shows that the tap sees.
pub fn control(seed: u64) -> String {
    format!("r{seed}{RUN_MARK}")
}

/// The word that every record of a run holds and that must never leave its region. Letters alone, so that no detector takes it.
pub fn canary(seed: u64) -> String {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut dice = Dice::new(!seed);
    (0..24).map(|_| char::from(LETTERS[usize::try_from(dice.below(52)).unwrap_or(0)])).collect()
}

impl Stage<'_> {
    /// Whether to go on.
    pub fn is_going(&self) -> bool {
        self.going.load(Ordering::SeqCst)
    }

    /// Plants the canary wherever text of a record lies.
    pub fn plant(&self, event: &mut Value) {
        let word = canary(self.seed);
        event["message"] = format!("{word} {}", event["message"].as_str().unwrap_or_default()).into();
        event["host"] = word.as_str().into();
        event["trace_id"] = word.as_str().into();
        event["attributes"]["note"] = word.into();
    }

    /// A breath between two operations.
    pub fn breathe(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

impl Workload {
    /// By name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, workload)| *workload);
        let known: Vec<&str> = ALL.iter().map(|(known, _)| *known).collect();
        let Some(found) = found else { bail!("no workload `{name}`; there are {}", known.join(", ")) };
        Ok(found)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, workload)| *workload == self).map_or("", |(name, _)| name)
    }

    /// What it needs to work on.
    pub fn shape(self) -> Shape {
        let sections = if self == Self::Erase { erase::SECTIONS } else { &[] };
        Shape { is_trio: self == Self::Shared, sections, ..Shape::default() }
    }

    fn parts(self) -> &'static [Self] {
        match self {
            Self::Ingest => &[Self::Ingest],
            Self::Ask => &[Self::Ask],
            Self::Meta => &[Self::Meta],
            Self::Mixed => &[Self::Ingest, Self::Ask, Self::Meta],
            Self::Shared => &[Self::Shared],
            Self::Erase => &[Self::Erase],
        }
    }

    /// Whether it has a part.
    pub fn has(self, part: Self) -> bool {
        self.parts().contains(&part)
    }

    /// What must be there before it begins.
    ///
    /// # Errors
    /// When a region refuses.
    pub fn prepare(self, stage: &Stage<'_>) -> Result<()> {
        if self.has(Self::Ask) {
            ask::plant(stage)?;
        }
        if self.has(Self::Ingest) {
            ingest::prepare(stage)?;
        }
        if self.has(Self::Meta) {
            meta::prepare(stage)?;
        }
        if self.has(Self::Shared) {
            shared::prepare(stage)?;
        }
        if self.has(Self::Erase) {
            erase::prepare(stage)?;
        }
        Ok(())
    }

    /// Works until it is time to end.
    pub fn work(self, stage: &Stage<'_>) {
        std::thread::scope(|scope| {
            if self.has(Self::Shared) {
                (0..shared::WRITERS).for_each(|client| drop(scope.spawn(move || shared::write(stage, client))));
                (0..=stage.sharing.len()).for_each(|client| drop(scope.spawn(move || shared::ask(stage, client))));
            }
            for (place, region) in stage.regions.iter().enumerate() {
                if self.has(Self::Ingest) {
                    for client in 0..ingest::CLIENTS {
                        scope.spawn(move || ingest::work(stage, region, place, client));
                    }
                }
                if self.has(Self::Ask) {
                    scope.spawn(move || ask::work(stage, region));
                }
                if self.has(Self::Erase) {
                    scope.spawn(move || erase::work(stage, region, place));
                    scope.spawn(move || erase::look(stage, region, place));
                    scope.spawn(move || erase::cool(stage, region));
                }
                if self.has(Self::Meta) {
                    for client in 0..meta::CLIENTS {
                        scope.spawn(move || meta::work(stage, region, place, client));
                    }
                }
            }
        });
    }

    /// Reads, after everything is healed.
    ///
    /// # Errors
    /// When a region does not answer in time.
    pub fn read(self, stage: &Stage<'_>) -> Result<()> {
        if self.has(Self::Ingest) {
            ingest::read(stage)?;
        }
        if self.has(Self::Meta) {
            meta::read(stage)?;
        }
        if self.has(Self::Shared) {
            shared::read(stage)?;
        }
        if self.has(Self::Erase) {
            erase::read(stage)?;
        }
        Ok(())
    }

    /// Whether what is there in the end is read again after everything crashed once more.
    pub fn is_kept(self) -> bool {
        [Self::Ingest, Self::Shared, Self::Erase].iter().any(|part| self.has(*part))
    }

    /// What each operation must have succeeded, or the run says nothing. For 20 s of work; shorter runs need less.
    pub fn floors(self, seconds: u64) -> Vec<(&'static str, u64)> {
        let least = |of: u64| (of * seconds / 20).max(5);
        let mut floors = Vec::new();
        if self.has(Self::Ingest) {
            floors.push(("ingest", least(100)));
        }
        if self.has(Self::Ask) {
            floors.push(("ask", least(100)));
        }
        if self.has(Self::Meta) {
            floors.extend([("assign", least(100)), ("create", least(50))]);
        }
        if self.has(Self::Shared) {
            floors.extend([("ingest", least(60)), ("ask", least(40))]);
        }
        if self.has(Self::Erase) {
            floors.extend([("write", least(60)), ("erase", least(20)), ("look", least(60)), ("cool", least(5))]);
        }
        floors
    }

    /// What its checkers find.
    pub fn judge(self, operations: &[Operation]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        if self.has(Self::Ingest) {
            verdicts.push(set::check(operations));
        }
        if self.has(Self::Ask) {
            verdicts.push(aggregates::check(operations));
        }
        if self.has(Self::Meta) {
            verdicts.extend([metadata::check_epochs(operations), metadata::check_names(operations)]);
        }
        if self.has(Self::Shared) {
            verdicts.extend([set::check(operations), aggregates::check(operations)]);
        }
        if self.has(Self::Erase) {
            verdicts.push(erasure::check(operations));
        }
        verdicts
    }
}
