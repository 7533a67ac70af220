//! What a region of object storage and replaceable nodes costs and how fast it is back, with real processes and a real S3 server.
//!
//! `DOMICILE_MOTO=/path/to/moto_server cargo bench -p domicile-tests --bench scale -- PART` prints one JSON object per figure. It measures and asserts
//! that answers are right and memory is bounded; it asserts nothing about time. The parts, each with its settings from the environment:
//!
//! | part | setting | default | meaning |
//! |---|---|---|---|
//! | `cold` | `DOMICILE_BENCH_FILE` or `DOMICILE_BENCH_MB`, `DOMICILE_BENCH_RUNS`, `DOMICILE_BENCH_GET_MS`, `DOMICILE_BENCH_STARTS` | 50, 15, 30, 3 | the same questions hot and cold, over 50 MB of lines, with 30 ms added to each read of the bucket; each of them after so many starts with nothing cached |
//! | `levels` | `DOMICILE_BENCH_FILE` or `DOMICILE_BENCH_MB` | 50 | stored lines at each level of zstd |
//! | `streams` | `DOMICILE_BENCH_STREAMS`, `DOMICILE_BENCH_MB` | 1000, 200 | memory while so many streams are written, and while as many cold segments are searched |
//! | `takeover` | `DOMICILE_BENCH_SHARDS` | 100 | shards of a killed node, searchable at its neighbour |
//! | `replay` | `DOMICILE_BENCH_MB` | 1200 | a killed node starts on what only its write-ahead logs hold |

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::or_fun_call,
    reason = "a bench prints and may panic"
)]

mod cold;
#[path = "../../node/benches/whole/generate.rs"]
mod generate;
mod levels;
mod measure;
mod replay;
mod slow;
mod streams;
mod takeover;

use anyhow::{Result, bail};

/// The product, built with this bench.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");

fn main() -> Result<()> {
    // `cargo test --benches` passes `--test`; there is nothing to test here.
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--bench")).collect();
    match parts.first().map(String::as_str) {
        Some("--test") => Ok(()),
        Some("levels") => levels::measure(),
        Some("cold") => cold::measure(),
        Some("streams") => streams::measure(),
        Some("takeover") => takeover::measure(),
        Some("replay") => replay::measure(),
        _ => bail!(
            "which part? `-- cold`, `-- levels`, `-- streams`, `-- takeover` or `-- replay`; tests/scale/main.rs says what they take"
        ),
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
