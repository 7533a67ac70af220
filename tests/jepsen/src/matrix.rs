//! The cells that every check runs: each workload under the faults that could hurt it most.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::bucket::Bucket;
use crate::clocks::Clocks;
use crate::disk::flushes::Between;
use crate::disk::{Disks, Format};
use crate::env::netns::{NETWORKS, NetnsNet};
use crate::nemesis::{Kind, Needs};
use crate::report::Report;
use crate::run::{Plan, run};
use crate::workload::Workload;

/// Workload, faults, and the file system where they need one.
pub const CELLS: [(Workload, &str, Option<Format>); 24] = [
    (Workload::Ingest, "none", None),
    (Workload::Ingest, "kill-one", None),
    (Workload::Ingest, "kill-all", None),
    (Workload::Ingest, "cut,one-way", None),
    (Workload::Ingest, "power-all", Some(Format::Ext4)),
    (Workload::Ingest, "disk-full", Some(Format::Ext4)),
    (Workload::Meta, "kill-leader,kill-one", None),
    (Workload::Meta, "pause,half,one-way", None),
    (Workload::Meta, "power-all", Some(Format::Xfs)),
    (Workload::Ask, "cut,kill-one", None),
    (Workload::Ask, "wan,flap", None),
    (Workload::Mixed, "mix", None),
    (Workload::Shared, "depose", None),
    (Workload::Shared, "lose-disk,kill-one", None),
    (Workload::Erase, "kill-one,cut,pause", None),
    (Workload::Ingest, "sync-error,sync-slow", None),
    (Workload::Meta, "sync-error,kill-one", None),
    (Workload::Mixed, "clock,drift", None),
    (Workload::Shared, "clock,kill-one", None),
    (Workload::Erase, "clock,drift", None),
    (Workload::Shared, "store-error", None),
    (Workload::Shared, "store-slow,kill-one", None),
    (Workload::Shared, "replace", None),
    (Workload::Meta, "replace", None),
];

/// What a run of these faults lasts at least: a lease is longer than a short run, and an operator takes a while.
pub fn enough(kinds: &[Kind], seconds: u64) -> u64 {
    let lasts = |kind: &Kind| matches!(kind, Kind::Depose | Kind::Replace);
    if kinds.iter().any(lasts) { seconds.max(LONG) } else { seconds }
}

/// Seconds in which an owner is silent for its lease, or somebody takes the place of a machine that is lost, and everybody works on for
/// a while after.
const LONG: u64 = 30;

/// Runs them all with the given plan's seed and time, two at a time where each has a network of its own; what this machine could
/// not do.
pub fn every_cell(plan: &Plan, told: impl FnMut(&str, &Result<(Report, PathBuf)>) + Send) -> Vec<String> {
    let mut skipped = Vec::new();
    let missing: Vec<(Format, Option<String>)> =
        [Format::Ext4, Format::Xfs].map(|format| (format, Disks::missing(format))).into();
    let tools =
        [(Needs::Clocks, Clocks::missing()), (Needs::Tracer, Between::missing()), (Needs::Bucket, Bucket::missing())];
    let mut cells = Vec::new();
    for (number, (workload, nemesis, disk)) in (0..).zip(CELLS) {
        let name = format!("{} x {nemesis}", workload.name());
        let lack = missing.iter().find(|(format, lack)| disk == Some(*format) && lack.is_some());
        if let Some((_, Some(lack))) = lack {
            skipped.push(format!("{name}: {lack}"));
            continue;
        }
        let kinds = Kind::named(nemesis).expect("the cells name kinds that are there");
        let lacks = |(needs, lack): &&(Needs, Option<String>)| {
            lack.is_some() && kinds.iter().any(|kind| kind.needs() == *needs)
        };
        if let Some((_, Some(lack))) = tools.iter().find(lacks) {
            skipped.push(format!("{name}: {lack}"));
            continue;
        }
        let seconds = enough(&kinds, plan.seconds);
        let (seed, enough_for) = (plan.seed + number, seconds);
        let cell = Plan { workload, nemesis: kinds, disk, seconds, enough_for, seed, ..plan.clone() };
        cells.push((name, cell));
    }
    // On loopback two clusters would be given each other's ports.
    let at_a_time = if plan.net != "loopback" && NetnsNet::new(plan.seed).is_ok() { NETWORKS } else { 1 };
    let (waiting, told) = (Mutex::new(cells.into_iter()), Mutex::new(told));
    let again = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let tell = |name: &str, outcome: &Result<(Report, PathBuf)>| {
        (told.lock().unwrap_or_else(PoisonError::into_inner))(name, outcome)
    };
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some((name, cell)) = next() {
                    let outcome = run(&cell);
                    if outcome.as_ref().is_ok_and(|(report, _)| is_void(report)) {
                        again.lock().unwrap_or_else(PoisonError::into_inner).push((name, cell));
                    } else {
                        tell(&name, &outcome);
                    }
                }
            });
        }
    });
    // A slow machine: what says nothing is asked again, alone, and has longer to say as much. If it says nothing then, that is told.
    for (name, cell) in again.into_inner().unwrap_or_else(PoisonError::into_inner) {
        tell(&name, &run(&Plan { seconds: 2 * cell.seconds, ..cell }));
    }
    skipped
}

/// Whether a run broke nothing and says nothing, for too little came through.
fn is_void(report: &Report) -> bool {
    let violations = report.violations();
    !violations.is_empty() && violations.iter().all(|what| what.contains(": void: "))
}
