//! What the ledger costs a question to another region: two nodes over the real link, with their ledgers asked in turn and not; and
//! how many bytes of ledger a crossing is, by kind. Run by hand; judges nothing.
//!
//! `cargo test --release -p domicile --lib audit::crossing_cost -- --ignored --nocapture`; `DOMICILE_LEDGER_DIR` names a directory
//! on the disk to be measured, `DOMICILE_QUESTIONS` how many questions of each kind: together fewer than a region may begin at once.

#![allow(clippy::print_stderr, reason = "a measurement is read by people")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::border::{
    Cells, EgressClass, LiteralDetector, Measured, QuestionRules, ReleasePolicy, VettedQuestion, release,
};
use domicile_proto::codec;
use domicile_proto::ids::{
    ByteCount, KThreshold, NodeId, PolicyVersion, QuestionId, RecordCount, Region, ShardId, StreamId, SubjectCount,
    TenantId, TimeRange, Timestamp,
};
use domicile_proto::link::connection::Inbound;
use domicile_proto::link::crossing::{BoxFuture, Crossing, CrossingLedger, LedgerRefused};
use domicile_proto::link::crypto;
use domicile_proto::link::endpoint::{Link, LinkConfig};
use domicile_proto::link::identity::{PeerAddr, PeerId};
use domicile_proto::link::limits::LinkLimits;
use domicile_proto::link::pki::RegionCa;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::question::{Ask, Question};
use domicile_proto::noise::{Mechanism, Noise};

use super::entry::{Drawn, Passage};
use super::merkle::sha256;
use super::{Event, Ledger, Peer};
use crate::clock::Clock;
use crate::tasks::{Kind, Tasks};

const REGIONS: [&str; 2] = ["tokyo", "frankfurt"];
const LONG: Duration = Duration::from_secs(30);

/// A ledger that can be left out, for a measurement alone: the product has no such thing.
struct Optional {
    ledger: Ledger,
    is_on: AtomicBool,
}

impl CrossingLedger for Optional {
    fn departing(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        if self.is_on.load(Ordering::SeqCst) { self.ledger.departing(crossing) } else { Box::pin(async { Ok(()) }) }
    }

    fn arrived(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        if self.is_on.load(Ordering::SeqCst) { self.ledger.arrived(crossing) } else { Box::pin(async { Ok(()) }) }
    }

    fn metadata_bytes(&self, _: &PeerId, _: u64, _: u64) {}

    fn turned_away(&self, _: &PeerId) {}
}

struct Nothing;

impl LiteralDetector for Nothing {
    fn finds_personal_data(&self, _: &str) -> bool {
        false
    }
}

fn region(name: &str) -> Region {
    name.parse().expect("a name")
}

fn question(id: u128) -> Question {
    let range = TimeRange { from: Timestamp(0), to: Timestamp(86_400 * Timestamp::MICROS) };
    let (tenant, stream) = (TenantId(1), StreamId(1));
    Question { id: QuestionId(id), tenant, stream, range, filters: Vec::new(), ask: Ask::Count, deadline_ms: 10_000 }
}

/// Where the ledgers of a measurement lie.
fn directory() -> tempfile::TempDir {
    let place = std::env::var_os("DOMICILE_LEDGER_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(place).expect("a directory")
}

/// The nodes of two regions with a ledger each.
fn nodes(dir: &Path) -> Vec<(Link, Arc<Optional>)> {
    let (deployment, clock) = ("acme".parse().expect("a name"), Clock::system());
    let made = (1..).zip(REGIONS).map(|(number, name)| {
        let ca = RegionCa::init(&dir.join(name), &region(name), &deployment, clock.now()).expect("a CA");
        ca.issue_node(NodeId(number), clock.now(), Duration::from_secs(3_600)).expect("a certificate");
        ca
    });
    let authorities: Vec<RegionCa> = made.collect();
    let bundles: Vec<(Region, PathBuf)> =
        REGIONS.iter().zip(&authorities).map(|(name, ca)| (region(name), ca.bundle())).collect();
    let bound = (1..).zip(&authorities).zip(REGIONS).map(|((number, ca), name)| {
        let config = LinkConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            deployment: deployment.clone(),
            identity: ca.node_files(NodeId(number)),
            bundles: bundles.clone(),
            tls_keylog: None,
            via: BTreeMap::new(),
            limits: LinkLimits::default(),
        };
        let us = PeerId { region: region(name), node: NodeId(number) };
        let ledger = Ledger::of_node(&dir.join(format!("ledger-{name}")), &deployment, &us, clock.clone());
        let ledger = Arc::new(Optional { ledger: ledger.expect("new"), is_on: AtomicBool::new(true) });
        (Link::bind(config, Arc::clone(&ledger) as _).expect("bound"), ledger)
    });
    bound.collect()
}

/// Answers every question with one count.
async fn answers(link: Link) {
    while let Some(accepted) = link.accept().await {
        while let Ok(Inbound::Question(question, reply)) = accepted.peer.next().await {
            let header = AnswerHeader::new(question.question().id, question.question().range);
            let measured = vec![Measured { records: RecordCount(7), subjects: SubjectCount(7) }];
            let cells = Cells::<Count>::new((), measured).expect("one cell");
            let policy = ReleasePolicy { k: KThreshold::SUBJECTS, version: PolicyVersion(1) };
            // The asker notices where it does not arrive.
            let _ = accepted.peer.answer(reply, &release(cells, &policy, header)).await;
        }
    }
}

fn at(times: &mut [f64], per_mille: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * per_mille / 1_000).min(times.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which wants a quiet machine"]
async fn what_the_ledger_adds_to_a_question_to_another_region() {
    crypto::install_default_provider();
    let (dir, tasks) = (directory(), Tasks::default());
    let nodes = nodes(dir.path());
    let (asking, answering) = (&nodes[0].0, &nodes[1].0);
    tasks.spawn(Kind::Peer, answers(answering.clone()));
    let to = PeerAddr { id: answering.identity().clone(), addr: answering.local_addr() };
    let peer = asking.peer(&to, Protocol::Query).await.expect("there");
    let wanted = std::env::var("DOMICILE_QUESTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(900_u128);
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for number in 0..wanted * 2 {
        let is_on = number % 2 == 0;
        nodes.iter().for_each(|(_, ledger)| ledger.is_on.store(is_on, Ordering::SeqCst));
        let rules = QuestionRules { fields: 0, text_questions: false };
        let vetted = VettedQuestion::vet(question(number), &rules, &Nothing).expect("in bounds");
        let asked = Instant::now();
        peer.ask(&vetted, LONG).await.expect("an answer");
        if is_on { &mut on } else { &mut off }.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let entries: u64 = nodes.iter().map(|(_, ledger)| ledger.ledger.head().size).sum();
    assert_eq!(u128::from(entries), wanted * 4, "each crossing is one entry at either end");
    for (what, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990)] {
        let (with, without) = (at(&mut on, per_mille), at(&mut off, per_mille));
        eprintln!("{what}: {with:.2} ms with the ledgers, {without:.2} ms without, {:.2} ms more", with - without);
    }
    nodes[0].0.close("measured").await;
    nodes[1].0.close("measured").await;
}

fn answer(outcome: Outcome, noise: Option<Noise>) -> Answer {
    let header = AnswerHeader { noise, ledger_size: 1_000, ..AnswerHeader::new(QuestionId(u128::MAX), TimeRange::ALL) };
    Answer { header, outcome }
}

/// A crossing with the frame of a message in it.
fn crossing<M: codec::Message>(class: EgressClass, message: &M, drawn: Option<Drawn>) -> Passage {
    let body = codec::encode(message).expect("small");
    let (bytes, sha256) = (ByteCount(body.len() as u64), sha256(&[&body]));
    Passage { drawn, peer: Peer { region: region("frankfurt"), node: NodeId(3) }, class, bytes, sha256, body }
}

fn bytes_under(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { bytes_under(&path) } else { path.metadata().map_or(0, |m| m.len()) }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_crossing_takes_of_the_ledger_by_kind() {
    const EACH: u64 = 2_560;
    let drawn =
        Some(Drawn { shard: ShardId(1), upto: 1_000_000, journal: 100, rules: [7; 32], k: Some(KThreshold::SUBJECTS) });
    let noise = Some(Noise { mechanism: Mechanism::Gaussian, epsilon: 1_000, records: 1 });
    let cell = Cell::published(RecordCount(12_345));
    let count = Outcome::Aggregate(Aggregate::Count(Count { cell }));
    let grid = Grid { first: 2_900_000, step: 600, len: 144 };
    let day = Outcome::Aggregate(Aggregate::DateGrid(DateGrid { grid, cells: vec![cell; 144] }));
    let told = |outcome: &Outcome, noise, drawn| {
        let class = if *outcome == count { EgressClass::Count } else { EgressClass::DateGrid };
        crossing(class, &answer(outcome.clone(), noise), drawn)
    };
    let mut plain = 0;
    for (what, event) in [
        ("a question", Event::Ingress(crossing(EgressClass::Question, &question(u128::MAX), None))),
        ("a count", Event::Egress(told(&count, None, None))),
        ("a count with what it was drawn from", Event::Egress(told(&count, None, drawn))),
        ("the same with noise", Event::Egress(told(&count, noise, drawn))),
        ("a day by ten minutes with what it was drawn from", Event::Egress(told(&day, None, drawn))),
    ] {
        let dir = directory();
        let ledger = Ledger::open(dir.path(), &region("tokyo"), Clock::system()).expect("new");
        for _ in 0..EACH {
            ledger.record(event.clone()).await.expect("recorded");
        }
        ledger.close();
        let (Event::Ingress(passage) | Event::Egress(passage)) = &event else { panic!("a crossing") };
        let bytes = bytes_under(&dir.path().join("log")) / EACH;
        eprintln!("{bytes:>5} bytes of ledger for {what}, {} on the wire", passage.bytes.0);
        if what == "a count" {
            plain = bytes;
        } else if what.starts_with("a count with") {
            eprintln!("      of which {} say what it was drawn from", bytes - plain);
        }
    }
}
