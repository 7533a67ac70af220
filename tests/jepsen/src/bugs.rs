//! Bugs that are in the product on purpose, when it was built with `--features domicile/jepsen-bugs`: if they are not caught, the
//! suite is not good enough.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::disk::{Disks, Format};
use crate::matrix::enough;
use crate::nemesis::Kind;
use crate::run::{Plan, run};
use crate::workload::Workload;

/// Runs in which a bug must be caught.
const RUNS: u64 = 5;

/// A bug's name, and the cell that should catch it.
pub const BUGS: [(&str, Workload, &str, Option<Format>); 7] = [
    ("ack-before-fsync", Workload::Ingest, "power-all", Some(Format::Ext4)),
    ("dup-on-retry", Workload::Ingest, "kill-one", None),
    ("silent-partial", Workload::Ask, "cut", None),
    ("stale-read", Workload::Meta, "none", None),
    ("leak-record", Workload::Mixed, "none", None),
    ("no-fence", Workload::Shared, "depose", None),
    ("forget-erase-in-cold", Workload::Erase, "kill-one", None),
];

/// A bug that no real file system shows, for they put a name into their journal before they flush a file that was written later;
/// and the test of the node that runs on a simulated disk and must fail with it.
pub const SIMULATED: (&str, &str) =
    ("skip-dir-fsync", "wal::sim_test::thousands_of_lives_lose_nothing_whenever_the_power_goes");

/// Runs each bug, or the one that is named, until it is caught: in which run, or none.
///
/// # Errors
/// When the machine cannot do what a bug needs.
pub fn hunt(plan: &Plan, only: Option<&str>) -> Result<Vec<(&'static str, Option<u64>)>> {
    let mut caught = Vec::new();
    for (bug, workload, nemesis, disk) in BUGS.into_iter().filter(|(bug, ..)| only.is_none_or(|only| only == *bug)) {
        if let Some(lack) = disk.and_then(Disks::missing) {
            anyhow::bail!("`{bug}` cannot be hunted here: {lack}");
        }
        let mut found = None;
        for number in 1..=RUNS {
            let environment = vec![("JEPSEN_BUG".to_owned(), bug.to_owned())];
            let nemesis = Kind::named(nemesis)?;
            let seed = plan.seed + number;
            let seconds = enough(&nemesis, plan.seconds);
            let enough_for = seconds;
            let (report, _) =
                run(&Plan { workload, nemesis, disk, seed, seconds, enough_for, environment, ..plan.clone() })?;
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

/// Runs the simulation of a node that was built with the bugs: without any it must pass, and with its own it must fail. Whether it
/// does.
///
/// # Errors
/// When the program is none, or fails also without a bug.
pub fn hunt_simulated(simulation: &Path) -> Result<bool> {
    let (bug, test) = SIMULATED;
    let passes = |bug: Option<&str>| -> Result<bool> {
        let mut command = Command::new(simulation);
        command.args(["--exact", test]).env_remove("JEPSEN_BUG").envs(bug.map(|bug| ("JEPSEN_BUG", bug)));
        let output = command.output().with_context(|| simulation.display().to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(said.contains("running 1 test"), "{} has no test `{test}`", simulation.display());
        Ok(output.status.success())
    };
    ensure!(passes(None)?, "`{test}` fails without a bug");
    Ok(!passes(Some(bug))?)
}
