//! `jepsen run`, `jepsen matrix`, `jepsen replay`: faults by hand, longer than the check runs them.

#![allow(clippy::print_stdout, reason = "this is what the command is for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use domicile_jepsen::bugs;
use domicile_jepsen::disk::{Format, damage};
use domicile_jepsen::matrix;
use domicile_jepsen::nemesis::Kind;
use domicile_jepsen::report::Report;
use domicile_jepsen::run::{Plan, replay, run};
use domicile_jepsen::workload::Workload;

/// Breaks a cluster in every way it knows and judges what its clients saw.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// One workload under some faults.
    Run {
        #[command(flatten)]
        common: Common,
        /// ingest, ask, meta, mixed, shared or erase.
        #[arg(long, default_value = "ingest")]
        workload: String,
        /// Kinds of faults, separated by commas; `none`, or `mix` for all that need nothing of their own.
        #[arg(long, default_value = "kill-one")]
        nemesis: String,
        /// ext4 or xfs, in a file, mounted for each node; needs root.
        #[arg(long)]
        disk: Option<String>,
        /// How often, each time with the next seed.
        #[arg(long, default_value_t = 1)]
        rounds: u64,
        /// How far the regions are apart and back, in milliseconds, which the nodes are told; then it is judged how soon another leader
        /// decides.
        #[arg(long)]
        round_trip: Option<u64>,
        /// A seeded bug, for a product that was built with them.
        #[arg(long)]
        bug: Option<String>,
    },
    /// Every cell, two at a time where the machine can keep them apart.
    Matrix {
        #[command(flatten)]
        common: Common,
    },
    /// Flips bits in files of a stopped node and cuts them short, one at a time; starts it and looks at what it says.
    Damage {
        #[command(flatten)]
        common: Common,
        /// How many files, one after the other.
        #[arg(long, default_value_t = 40)]
        rounds: u64,
        /// One part of a node's data directory alone, such as `meta`.
        #[arg(long)]
        only: Option<String>,
    },
    /// Runs a product that was built with seeded bugs: each must be caught within five runs.
    Bugs {
        #[command(flatten)]
        common: Common,
        /// The test program of the node, built with the same bugs: one of them only a simulated disk can see.
        #[arg(long)]
        simulation: Option<PathBuf>,
        /// One of them alone.
        #[arg(long)]
        only: Option<String>,
    },
    /// Judges the evidence of a run again.
    Replay {
        /// The run's directory.
        directory: PathBuf,
    },
}

#[derive(Args, Clone)]
struct Common {
    /// Where the schedule begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long clients work, in seconds.
    #[arg(long, default_value_t = 30)]
    time: u64,
    /// The product; the one built beside this program unless said otherwise.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the evidence goes.
    #[arg(long, default_value = "target/jepsen")]
    out: PathBuf,
    /// netns or loopback; the better of those that work here unless said otherwise.
    #[arg(long, default_value = "")]
    net: String,
}

impl Common {
    fn plan(&self) -> Result<Plan> {
        let beside = std::env::current_exe()?.with_file_name("domicile-shaken");
        Ok(Plan {
            binary: self.binary.clone().unwrap_or(beside),
            out: self.out.clone(),
            seed: self.seed,
            seconds: self.time,
            enough_for: self.time,
            workload: Workload::Ingest,
            nemesis: Vec::new(),
            disk: None,
            environment: Vec::new(),
            round_trip: None,
            net: self.net.clone(),
        })
    }
}

fn main() -> ExitCode {
    match work(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(command: What) -> Result<bool> {
    match command {
        What::Run { common, workload, nemesis, disk, rounds, round_trip, bug } => {
            let mut plan = common.plan()?;
            plan.workload = Workload::named(&workload)?;
            plan.nemesis = Kind::named(&nemesis)?;
            plan.disk = match disk.as_deref() {
                None => plan.nemesis.iter().any(|kind| kind.needs_disk()).then_some(Format::Ext4),
                Some("ext4") => Some(Format::Ext4),
                Some("xfs") => Some(Format::Xfs),
                Some(other) => anyhow::bail!("no file system `{other}`; there are ext4, xfs"),
            };
            plan.round_trip = round_trip.map(Duration::from_millis);
            plan.environment.extend(bug.map(|bug| ("JEPSEN_BUG".to_owned(), bug)));
            let mut is_right = true;
            for _ in 0..rounds {
                let (report, evidence) = run(&plan)?;
                is_right &= tell(&report);
                println!("  evidence: {}", evidence.display());
                plan.seed += 1;
            }
            Ok(is_right)
        }
        What::Matrix { common } => {
            let mut is_right = true;
            let told = matrix::every_cell(&common.plan()?, |cell, outcome| match outcome {
                Ok((report, _)) => is_right &= tell(report),
                Err(error) => {
                    is_right = false;
                    println!("{cell}: FAILED: {error:#}");
                }
            });
            told.iter().for_each(|skipped| println!("skipped: {skipped}"));
            Ok(is_right)
        }
        What::Damage { common, rounds, only } => {
            let found = damage::rounds(&common.plan()?, rounds, only.as_deref())?;
            for (what, number) in &found.outcomes {
                println!("  {what}: {number}");
            }
            found.violations.iter().for_each(|what| println!("  {what}"));
            Ok(found.violations.is_empty())
        }
        What::Bugs { common, simulation, only } => {
            let mut is_right = true;
            for (bug, runs) in bugs::hunt(&common.plan()?, only.as_deref())? {
                is_right &= runs.is_some();
                let said = runs.map_or_else(|| "NOT CAUGHT".to_owned(), |runs| format!("caught in run {runs}"));
                println!("{bug}: {said}");
            }
            let (bug, _) = bugs::SIMULATED;
            if only.is_none_or(|only| only == bug) {
                let caught = simulation.as_deref().map(bugs::hunt_simulated).transpose()?;
                is_right &= caught == Some(true);
                let said = match caught {
                    Some(true) => "caught in the simulation",
                    Some(false) => "NOT CAUGHT",
                    None => "NOT HUNTED: name the test program of the node with `--simulation`",
                };
                println!("{bug}: {said}");
            }
            Ok(is_right)
        }
        What::Replay { directory } => Ok(tell(&replay(&directory)?)),
    }
}

/// Says what came of a run; whether all was well.
fn tell(report: &Report) -> bool {
    let violations = report.violations();
    let verdict = if violations.is_empty() { "ok" } else { "VIOLATED" };
    let nemesis = if report.nemesis.is_empty() { "none".to_owned() } else { report.nemesis.join(",") };
    println!("{} x {nemesis}, seed {}, {}: {verdict}", report.workload, report.seed, report.net);
    for judged in &report.verdicts {
        let counts: Vec<String> = judged.counts.iter().map(|(what, number)| format!("{what} {number}")).collect();
        println!("  {}: {}", judged.checker, counts.join(", "));
    }
    report.skipped.iter().for_each(|what| println!("  skipped: {what}"));
    violations.iter().for_each(|what| println!("  {what}"));
    violations.is_empty()
}
