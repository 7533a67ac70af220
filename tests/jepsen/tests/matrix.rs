//! The short matrix of every check: each workload under the faults that could hurt it most, and damage to files.
//!
//! What the machine cannot do is skipped by name, unless `DOMICILE_REQUIRE=all` says that nothing may be.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a skipped cell must say so"
)]

use std::path::{Path, PathBuf};

use domicile_jepsen::disk::damage;
use domicile_jepsen::matrix;
use domicile_jepsen::run::{Plan, replay};
use domicile_jepsen::workload::Workload;
use domicile_tests::cluster::require::everything_is_required;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-shaken");

fn plan(seconds: u64) -> Plan {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    Plan {
        binary: PathBuf::from(BINARY),
        out: Path::new(env!("CARGO_TARGET_TMPDIR")).join("jepsen"),
        seed: number("DOMICILE_SEED", 1),
        seconds: number("DOMICILE_JEPSEN_SECONDS", seconds),
        enough_for: number("DOMICILE_JEPSEN_SECONDS", seconds),
        workload: Workload::Ingest,
        nemesis: Vec::new(),
        disk: None,
        environment: Vec::new(),
        round_trip: None,
        net: String::new(),
    }
}

#[test]
fn no_cell_of_the_short_matrix_breaks_a_promise() {
    let mut broken = Vec::new();
    let skipped = matrix::every_cell(&plan(20), |cell, outcome| match outcome {
        Ok((report, evidence)) => {
            let violations = report.violations();
            report.skipped.iter().for_each(|what| eprintln!("SKIPPED: {cell}: {what}"));
            assert!(!everything_is_required() || report.skipped.is_empty(), "skipped, and DOMICILE_REQUIRE=all");
            eprintln!("{cell}: seed {}, {} violations", report.seed, violations.len());
            assert_eq!(replay(evidence).unwrap().verdicts, report.verdicts, "the evidence tells the same");
            if violations.is_empty() {
                std::fs::remove_dir_all(evidence).unwrap();
            } else {
                broken.push(format!("{cell}, evidence in {}:\n  {}", evidence.display(), violations.join("\n  ")));
            }
        }
        Err(error) => broken.push(format!("{cell}: {error:#}")),
    });
    skipped.iter().for_each(|what| eprintln!("SKIPPED: {what}"));
    eprintln!("{} of {} cells skipped", skipped.len(), matrix::CELLS.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(!everything_is_required() || skipped.is_empty(), "skipped, and DOMICILE_REQUIRE=all");
}

#[test]
fn damage_to_a_file_is_noticed_or_does_no_harm() {
    let found = damage::rounds(&plan(20), 24, None).unwrap();
    eprintln!("{:?}", found.outcomes);
    assert!(found.violations.is_empty(), "{:?}", found.violations);
}

#[test]
fn the_ordinary_product_has_no_seeded_bug() {
    let bytes = std::fs::read(BINARY).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"DMC-WAL-"), "the search would find what is there");
    assert!(!holds(b"JEPSEN_BUG"), "built with `--features domicile/jepsen-bugs`");
}
