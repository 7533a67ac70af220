//! A schedule of faults from a seed: the same seed, the same faults at the same moments at the same places.

use anyhow::{Result, bail};
use domicile_tests::cluster::fixture::Dice;
use serde::{Deserialize, Serialize};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// kill -9 of one node.
    KillOne,
    /// kill -9 of all nodes at once.
    KillAll,
    /// kill -9 of the leader of the metadata group.
    KillLeader,
    /// SIGSTOP of one node.
    Pause,
    /// One region cut off from all others.
    Cut,
    /// Two regions cut off from each other, the third sees both.
    Half,
    /// One direction between one region and all others.
    OneWay,
    /// A region cut off and back, again and again.
    Flap,
    /// Delay, jitter, loss and doubling everywhere.
    Wan,
    /// Power loss of one node: what was not flushed is gone.
    PowerOne,
    /// Power loss of all nodes at once.
    PowerAll,
    /// A full disk.
    DiskFull,
    /// SIGSTOP of the node that writes, until another one of its region writes in its place, and on for a moment.
    Depose,
    /// kill -9 of a node, and its disk is gone.
    LoseDisk,
    /// The wall clock of one node is two minutes ahead or behind, and then right again.
    Clock,
    /// The wall clock of one node runs twice as fast, and is then right again.
    Drift,
    /// Every flush that a node asks of its disk fails.
    SyncError,
    /// Every flush that a node asks of its disk takes its time.
    SyncSlow,
    /// The bucket that nodes share refuses requests, cuts them off, or does them and never answers.
    StoreError,
    /// The bucket that nodes share answers late.
    StoreSlow,
    /// The machine of a voter is lost for good, and a newcomer with another number comes in its place.
    Replace,
}

/// What a kind needs to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Disks of the cluster's own.
    Disks,
    /// Nodes that share a store.
    Neighbours,
    /// Clocks of the nodes' own.
    Clocks,
    /// Somebody who stands between a node and its kernel.
    Tracer,
    /// Nodes that share the bucket of a server.
    Bucket,
    /// Newcomers, and work of which nothing lies on one machine alone.
    Newcomers,
}

/// All of them, by name, and what they need.
pub const ALL: [(&str, Kind, Needs); 21] = [
    ("kill-one", Kind::KillOne, Needs::Nothing),
    ("kill-all", Kind::KillAll, Needs::Nothing),
    ("kill-leader", Kind::KillLeader, Needs::Nothing),
    ("pause", Kind::Pause, Needs::Nothing),
    ("cut", Kind::Cut, Needs::Nothing),
    ("half", Kind::Half, Needs::Nothing),
    ("one-way", Kind::OneWay, Needs::Nothing),
    ("flap", Kind::Flap, Needs::Nothing),
    ("wan", Kind::Wan, Needs::Nothing),
    ("power-one", Kind::PowerOne, Needs::Disks),
    ("power-all", Kind::PowerAll, Needs::Disks),
    ("disk-full", Kind::DiskFull, Needs::Disks),
    ("depose", Kind::Depose, Needs::Neighbours),
    ("lose-disk", Kind::LoseDisk, Needs::Neighbours),
    ("clock", Kind::Clock, Needs::Clocks),
    ("drift", Kind::Drift, Needs::Clocks),
    ("sync-error", Kind::SyncError, Needs::Tracer),
    ("sync-slow", Kind::SyncSlow, Needs::Tracer),
    ("store-error", Kind::StoreError, Needs::Bucket),
    ("store-slow", Kind::StoreSlow, Needs::Bucket),
    ("replace", Kind::Replace, Needs::Newcomers),
];

impl Kind {
    /// Kinds by name, separated by commas; `none` is no kind, `mix` all that need nothing.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn named(names: &str) -> Result<Vec<Self>> {
        let mut kinds = Vec::new();
        for name in names.split(',').filter(|name| *name != "none") {
            if name == "mix" {
                kinds.extend(ALL.iter().filter(|(.., needs)| *needs == Needs::Nothing).map(|(_, kind, _)| *kind));
                continue;
            }
            let Some((_, kind, _)) = ALL.iter().find(|(known, ..)| *known == name) else {
                let known: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
                bail!("no nemesis `{name}`; there are none, mix, {}", known.join(", "));
            };
            kinds.push(*kind);
        }
        Ok(kinds)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }

    /// Whether it needs disks of the cluster's own.
    pub fn needs_disk(self) -> bool {
        self.needs() == Needs::Disks
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        ALL.iter().find(|(_, kind, _)| *kind == self).map_or(Needs::Nothing, |(.., needs)| *needs)
    }

    /// How long it holds, in milliseconds: at least and at most.
    fn holds(self) -> (u64, u64) {
        match self {
            Self::KillOne | Self::KillAll | Self::KillLeader | Self::PowerOne | Self::PowerAll => (300, 1_500),
            Self::Pause => (1_000, 4_000),
            Self::Cut | Self::Half | Self::OneWay | Self::Flap => (2_000, 5_000),
            Self::Wan => (4_000, 8_000),
            Self::DiskFull | Self::LoseDisk | Self::SyncError => (1_000, 3_000),
            Self::Clock | Self::Drift | Self::SyncSlow => (2_000, 4_000),
            // Some objects of each node's log, and some that are begun again.
            Self::StoreError | Self::StoreSlow => (4_000, 6_000),
            // Until somebody takes note of it.
            Self::Replace => (8_000, 12_000),
            // A lease, and a little.
            Self::Depose => (16_000, 18_000),
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// What.
    pub kind: Kind,
    /// Where, by number of the region.
    pub region: usize,
    /// Which way round, where there are two.
    pub is_outward: bool,
}

impl Deed {
    /// The region whose voter is replaced: the one whose nodes share a store, or, where none do, another one than the first, to whose
    /// node shards are given.
    pub fn loses(self, is_trio: bool) -> usize {
        if is_trio { 0 } else { 1 + self.region % 2 }
    }
}

/// One step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds after the beginning; later if the one before takes longer.
    pub at_ms: u64,
    /// For how long.
    pub for_ms: u64,
    /// What.
    pub deed: Deed,
}

/// When the last fifth of a run begins, which stays quiet.
const fn end_of_faults(time_ms: u64) -> u64 {
    time_ms * 4 / 5
}

/// Which steps of a schedule are done. A fault may take longer than it holds, for a node has to come back before the next one: the
/// steps that are left when the time for faults is over are left out, but for the first of each kind.
pub struct Turns {
    end_ms: u64,
    had: Vec<Kind>,
}

impl Turns {
    /// Of a run that lasts so long.
    pub const fn new(time_ms: u64) -> Self {
        Self { end_ms: end_of_faults(time_ms), had: Vec::new() }
    }

    /// Whether a step is done, so many milliseconds after the beginning of the run.
    pub fn takes(&mut self, step: &Step, passed_ms: u64) -> bool {
        let is_in_time = step.at_ms.max(passed_ms) + step.for_ms <= self.end_ms;
        let is_first = !self.had.contains(&step.deed.kind);
        if is_first {
            self.had.push(step.deed.kind);
        }
        is_in_time || is_first
    }
}

/// Faults of these kinds in turn, over the middle of a run: the first fifth and the last fifth stay quiet.
pub fn schedule(seed: u64, kinds: &[Kind], time_ms: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut steps = Vec::new();
    let (mut at_ms, end) = (time_ms / 5, end_of_faults(time_ms));
    let begin = usize::try_from(dice.below(kinds.len().max(1) as u64)).unwrap_or(0);
    for kind in kinds.iter().cycle().skip(begin) {
        let (least, most) = kind.holds();
        let for_ms = least + dice.below(most - least);
        if at_ms + for_ms > end && !steps.is_empty() {
            break;
        }
        let region = usize::try_from(dice.below(3)).unwrap_or(0);
        let deed = Deed { kind: *kind, region, is_outward: dice.below(2) == 0 };
        steps.push(Step { at_ms, for_ms, deed });
        at_ms += for_ms + 500 + dice.below(1_000);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule_and_every_kind_has_its_turn() {
        let kinds = Kind::named("mix").unwrap();
        let one = schedule(7, &kinds, 120_000);
        assert_eq!(one, schedule(7, &kinds, 120_000));
        assert_ne!(one, schedule(8, &kinds, 120_000));
        assert!(kinds.iter().all(|kind| one.iter().any(|step| step.deed.kind == *kind)));
        let quiet = |step: &Step| step.at_ms >= 24_000 && step.at_ms + step.for_ms <= 96_000;
        assert!(one.iter().all(quiet), "before and after there is quiet");
        assert!(one.windows(2).all(|pair| pair[0].at_ms + pair[0].for_ms < pair[1].at_ms), "one after the other");
        assert!(schedule(7, &[], 120_000).is_empty());
        assert_eq!(schedule(7, &[Kind::Wan], 5_000).len(), 1, "a short run has at least one");
    }

    /// When each step that is done begins and ends where each takes so much longer than it holds.
    fn done(steps: &[Step], time_ms: u64, longer_ms: u64) -> Vec<(Kind, u64, u64)> {
        let (mut turns, mut passed, mut done) = (Turns::new(time_ms), 0, Vec::new());
        for step in steps {
            if turns.takes(step, passed) {
                let begins = step.at_ms.max(passed);
                passed = begins + step.for_ms + longer_ms;
                done.push((step.deed.kind, begins, passed));
            }
        }
        done
    }

    #[test]
    fn faults_that_take_longer_than_they_hold_end_with_the_time_that_was_asked_for() {
        let kinds = Kind::named("sync-error,kill-one").unwrap();
        let steps = schedule(116, &kinds, 300_000);
        assert_eq!(done(&steps, 300_000, 400).len(), steps.len(), "in time, nothing is left out");
        let late = done(&steps, 300_000, 13_000);
        assert!((10..steps.len()).contains(&late.len()), "{} of {}", late.len(), steps.len());
        assert!(late.iter().all(|(_, begins, ends)| *begins < 240_000 && *ends < 240_000 + 13_000), "{late:?}");
    }

    #[test]
    fn every_kind_that_was_drawn_has_a_turn_however_late_it_is() {
        let kinds = Kind::named("sync-error,kill-one").unwrap();
        let steps = schedule(17, &kinds, 20_000);
        let late = done(&steps, 20_000, 20_000);
        let had: Vec<Kind> = late.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(had.len(), 2, "{had:?}");
        assert!(kinds.iter().all(|kind| had.contains(kind)));
    }

    #[test]
    fn kinds_are_known_by_name() {
        assert_eq!(Kind::named("none").unwrap(), []);
        assert_eq!(Kind::named("cut,kill-all").unwrap(), [Kind::Cut, Kind::KillAll]);
        assert!(Kind::named("sunshine").is_err());
        assert!(ALL.iter().all(|(name, kind, needs)| kind.name() == *name && kind.needs() == *needs));
    }
}
