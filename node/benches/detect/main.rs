//! How fast the detectors are, all of them on, on one core: over the labelled corpus, and over real lines where there are any.
//!
//! `cargo bench -p domicile --bench detect`; `DOMICILE_LOGHUB` names a directory of log files. `-- lines SEED` prints the corpus
//! as JSON lines with its spans and `-- found` what is found in such lines, for others to be measured beside
//! (tests/clients/presidio_beside.py). `DOMICILE_BENCH_ROUNDS` is the number of rounds, 20 without it. What is told is CPU time of
//! the best round, with the allocator of the binary. Defends: at least 100 MB/s, and 50 ms for the worst line.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench prints, and stops at a mistake"
)]

mod corpus;
#[allow(dead_code, unused_imports, reason = "the same sources as in the node, which uses all of them")]
#[path = "../../src/classify/detect/mod.rs"]
mod detect;

use std::path::Path;
use std::time::Duration;

use detect::{Finder, Home, Keys, Span, What};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "lines" && argument != "found");
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("lines"), seed) => return lines(seed.and_then(|seed| seed.parse().ok()).unwrap_or(SEED)),
        (Some("found"), _) => return found(),
        _ => {}
    }
    let made: Vec<String> = corpus::lines(SEED, LINES).into_iter().map(|line| line.text).collect();
    measure("corpus, half of its lines personal", &made);
    let harmless: Vec<String> =
        corpus::lines(SEED, LINES).into_iter().filter(|line| line.spans.is_empty()).map(|line| line.text).collect();
    measure("corpus, harmless lines", &harmless);
    if let Some(dir) = std::env::var_os("DOMICILE_LOGHUB") {
        let mut all = Vec::new();
        collect(Path::new(&dir), &mut all);
        measure("loghub", &all);
    }
    for (name, unit) in WORST {
        let line = unit.repeat((1 << 20) / unit.len() + 1);
        let (best, median, spans) = best(|| Finder::new(Home::Japan).spans(&line, Keys::default()).len());
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("worst line, {name}: {:.1} ms for 1 MiB (median {:.1}), {spans} spans", ms(best), ms(median));
    }
}

fn lines(seed: u64) {
    for line in corpus::lines(seed, LINES) {
        println!("{}", serde_json::json!({"text": line.text, "spans": line.spans}));
    }
}

/// Reads lines as `lines` prints them; a packed value is told as what is first in it.
fn found() {
    fn class(span: &Span) -> &str {
        match &span.what {
            What::Personal { class, .. } => class.as_str(),
            What::Packed(packed) => packed.spans.first().map_or("", class),
        }
    }
    let finder = Finder::new(Home::Japan);
    for line in std::io::stdin().lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let spans = finder.spans(line["text"].as_str().unwrap(), Keys::default());
        let told: Vec<_> = spans.iter().map(|span| (class(span), span.from, span.to)).collect();
        println!("{}", serde_json::json!(told));
    }
}

/// Measures lines that lie one behind another, as they do in a file and in the body of a request.
fn measure(name: &str, lines: &[String]) {
    let bytes: usize = lines.iter().map(String::len).sum();
    let text = lines.concat();
    let mut rest = text.as_str();
    let split = |line: &String| {
        let (line, behind) = rest.split_at(line.len());
        rest = behind;
        line
    };
    let lines: Vec<&str> = lines.iter().map(split).collect();
    let finder = Finder::new(Home::Japan);
    let (best, median, spans) = best(|| lines.iter().map(|line| finder.spans(line, Keys::default()).len()).sum());
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{name}: {:.0} MB/s on one core (median {:.0}; {} lines, {bytes} bytes, {spans} spans)",
        rate(best),
        rate(median),
        lines.len()
    );
}

/// CPU time of the best round and of the one in the middle, and what came out of it.
fn best(work: impl Fn() -> usize) -> (Duration, Duration, usize) {
    let rounds = std::env::var("DOMICILE_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut found = 0;
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let before = cpu_time();
            found = work();
            cpu_time() - before
        })
        .collect();
    times.sort_unstable();
    (times[0], times[times.len() / 2], found)
}

/// CPU time of this thread: wall time tells what else the machine does. Source: Documentation/scheduler/sched-stats.rst.
/// The kernel counts up to the last time it scheduled, so it is made to do that first.
fn cpu_time() -> Duration {
    std::thread::yield_now();
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
}

fn collect(dir: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, lines);
        } else if path.extension().is_some_and(|ending| ending == "log") {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            lines.extend(text.lines().map(str::to_owned));
        }
    }
}

const SEED: u64 = 42;
const LINES: usize = 10_000;
const ROUNDS: usize = 20;
const WORST: [(&str, &str); 20] = [
    ("digits", "4"),
    ("digits apart", "1 "),
    ("fours", "4111 "),
    ("at signs", "a@a."),
    ("quoted at signs", "\"@"),
    ("colons", "a:"),
    ("double colons", "::1"),
    ("web tokens", "eyJ."),
    ("accounts", "DE12 "),
    ("percent", "%25"),
    ("backslashes", "\\\\"),
    ("base64", "YWJjZGVmZ2hpamtsbW5vcA "),
    ("zip", "H4sIAAAAAAAA/0tMTEpOSU1LBwBRe0TPCAAAAA== "),
    ("keys", "-----BEGIN PRIVATE KEY-----"),
    ("telephones", "tel 0312345678 "),
    ("full-width", "４１ーＡ"),
    ("announced groups", "call 12 345 678 "),
    ("announced cards", "card 411111111111 "),
    ("extensions", "call 12 3456x7 "),
    ("labels behind", "12 345 678 office,"),
];
