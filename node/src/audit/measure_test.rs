//! What the ledger costs: entries a second, time for one, bytes for a crossing, time to check. Run by hand; judges nothing.

#![allow(clippy::print_stderr, reason = "a measurement is read by people")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::codec;
use domicile_proto::ids::{NodeId, QuestionId, TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};

use super::entry::Passage;
use super::merkle::sha256;
use super::verify::verify;
use super::{Event, Ledger, Peer};
use crate::clock::Clock;

/// The smallest answer there is, as it crosses.
fn crossing(number: u128) -> Event {
    let header = AnswerHeader::new(QuestionId(number), TimeRange::ALL);
    let answer = Answer { header, outcome: Outcome::Refused(RefusalCode::UnknownStream) };
    let body = codec::encode(&answer).expect("small");
    Event::Egress(Passage {
        drawn: None,
        peer: Peer { region: "frankfurt".parse().expect("a name"), node: NodeId(3) },
        class: domicile_proto::border::EgressClass::Refusal,
        bytes: domicile_proto::ids::ByteCount(body.len() as u64),
        sha256: sha256(&[&body]),
        body,
    })
}

fn bytes_under(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { bytes_under(&path) } else { path.metadata().map_or(0, |m| m.len()) }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which wants a quiet machine"]
async fn what_an_entry_costs() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::standing_at(Timestamp(1_700_000_000_000_000));
    let ledger = Arc::new(Ledger::open(dir.path(), &"tokyo".parse().expect("a name"), clock.clone()).expect("new"));
    let (writers, each) = (512_u128, 100_u128);
    let began = Instant::now();
    let all = (0..writers).map(|writer| {
        let ledger = Arc::clone(&ledger);
        async move {
            let mut slowest = std::time::Duration::ZERO;
            for number in 0..each {
                let event = crossing(writer * each + number);
                let asked = Instant::now();
                ledger.record(event).await.expect("recorded");
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        }
    });
    let slowest = futures::future::join_all(all).await.into_iter().max().expect("writers");
    let took = began.elapsed();
    let count = (writers * each) as f64;
    eprintln!("{:.0} durable entries/s from {writers} writers; slowest {slowest:?}", count / took.as_secs_f64());
    let mut alone = Vec::new();
    for number in 0..500 {
        let asked = Instant::now();
        ledger.record(crossing(number)).await.expect("recorded");
        alone.push(asked.elapsed());
    }
    alone.sort_unstable();
    eprintln!("one writer: p50 {:?}, p99 {:?}", alone[250], alone[495]);
    ledger.close();
    let frame = codec::encode(&Answer {
        header: AnswerHeader::new(QuestionId(1), TimeRange::ALL),
        outcome: Outcome::Refused(RefusalCode::UnknownStream),
    });
    let (log, bodies) = (dir.path().join("log"), bytes_under(&dir.path().join("log/bodies")));
    let (whole, count) = (bytes_under(&log), count + 500.0);
    eprintln!(
        "{:.0} bytes for a crossing of {} bytes: {:.0} of body, {:.0} of tree",
        whole as f64 / count,
        frame.expect("small").len(),
        bodies as f64 / count,
        (whole - bodies) as f64 / count
    );
    let began = Instant::now();
    verify(&log, None, &[], &mut |_, _| {}).expect("sound");
    eprintln!("{:.0} entries/s checked by one thread", count / began.elapsed().as_secs_f64());
    let began = Instant::now();
    let again = Ledger::open(dir.path(), &"tokyo".parse().expect("a name"), clock).expect("sound");
    eprintln!("{:?} to open a ledger of {} entries", began.elapsed(), again.head().size);
}

/// The most memory this process had since the last call, in MiB; `None` where the system does not say.
pub(crate) fn peak_since() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    // Begins to count anew.
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib >> 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which wants a quiet machine"]
async fn what_checking_a_million_entries_costs() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::standing_at(Timestamp(1_700_000_000_000_000));
    let ledger = Arc::new(Ledger::open(dir.path(), &"tokyo".parse().expect("a name"), clock.clone()).expect("new"));
    let (writers, each) = (1_000_u128, 1_000_u128);
    let began = Instant::now();
    let all = (0..writers).map(|writer| {
        let ledger = Arc::clone(&ledger);
        async move {
            for number in 0..each {
                ledger.record(crossing(writer * each + number)).await.expect("recorded");
            }
        }
    });
    futures::future::join_all(all).await;
    eprintln!("{:.1} s to record {} entries", began.elapsed().as_secs_f64(), writers * each);
    ledger.close();
    let log = dir.path().join("log");
    eprintln!("{} MiB of log, peak while writing {:?} MiB", bytes_under(&log) >> 20, peak_since());
    let began = Instant::now();
    let checked = verify(&log, None, &[], &mut |_, _| {}).expect("sound");
    let took = began.elapsed().as_secs_f64();
    assert_eq!(checked.head.expect("signed").size, 1_000_000);
    eprintln!("{took:.1} s to check 1,000,000 entries by one thread, peak {:?} MiB", peak_since());
    let began = Instant::now();
    let again = Ledger::open(dir.path(), &"tokyo".parse().expect("a name"), clock).expect("sound");
    eprintln!("{:?} to open a ledger of {} entries", began.elapsed(), again.head().size);
}
