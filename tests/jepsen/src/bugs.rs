//! Bugs that are in the product on purpose, when it was built with `--features domicile/jepsen-bugs`: if they are not caught, the
//! suite is not good enough.

use anyhow::Result;

use crate::disk::{Disks, Format};
use crate::nemesis::Kind;
use crate::run::{Plan, run};
use crate::workload::Workload;

/// Runs in which a bug must be caught.
const RUNS: u64 = 5;

/// A bug's name, and the cell that should catch it.
pub const BUGS: [(&str, Workload, &str, Option<Format>); 5] = [
    ("ack-before-fsync", Workload::Ingest, "power-all", Some(Format::Ext4)),
    ("dup-on-retry", Workload::Ingest, "kill-one", None),
    ("silent-partial", Workload::Ask, "cut", None),
    ("stale-read", Workload::Meta, "none", None),
    ("leak-record", Workload::Mixed, "none", None),
];

/// Runs each bug until it is caught: in which run, or none.
///
/// # Errors
/// When the machine cannot do what a bug needs.
pub fn hunt(plan: &Plan) -> Result<Vec<(&'static str, Option<u64>)>> {
    let mut caught = Vec::new();
    for (bug, workload, nemesis, disk) in BUGS {
        if let Some(lack) = disk.and_then(Disks::missing) {
            anyhow::bail!("`{bug}` cannot be hunted here: {lack}");
        }
        let mut found = None;
        for number in 1..=RUNS {
            let environment = vec![("JEPSEN_BUG".to_owned(), bug.to_owned())];
            let nemesis = Kind::named(nemesis)?;
            let seed = plan.seed + number;
            let (report, _) = run(&Plan { workload, nemesis, disk, seed, environment, ..plan.clone() })?;
            // A void run has caught nothing.
            if report.violations().iter().any(|what| !what.contains("void:")) {
                found = Some(number);
                break;
            }
        }
        caught.push((bug, found));
    }
    Ok(caught)
}
