//! What `audit verify` costs for a pack whose ledgers are held against each other: two regions that asked each other questions, each answer judged
//! by the rules that its entry names. The measurement is run by hand and judges nothing but that the pack holds.
//!
//! `cargo test --release --locked --workspace --lib what_a_pack_of_a_million_entries_costs -- --ignored --nocapture`; `DOMICILE_ENTRIES` says how
//! many entries, `DOMICILE_LEDGER_DIR` where, and `DOMICILE_KEEP=1` leaves the pack there for `domicile audit verify`.

#![allow(clippy::print_stderr, reason = "a measurement is read by people")]

use std::path::Path;
use std::time::Instant;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{
    ByteCount, DictionaryId, FieldId, NodeId, PolicyVersion, QuestionId, RecordCount, ShardId, StreamId, TenantId,
    TimeRange, Timestamp,
};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::question::{Ask, Question};
use ring::digest::{SHA256, digest};

use super::super::rehearsal::{SEED, rehearse};
use super::answers::tests::{MINUTE, changed};
use super::check::{check, regions};
use super::compose::{FORMAT, Request, attacked, compose};
use super::files::{ATTACKS, MANIFEST, REGIONS, REQUEST, derived, manifest, seal_of};
use super::open::{self, Trust};
use super::rules::tests::wide;
use super::specimen::home;
use super::{rules, tool};
use crate::audit::{Drawn, Event, Ledger, Passage, Peer, peak_since};
use crate::clock::Clock;
use crate::present::auditor::{PACK_TITLE, STATEMENT_TITLE};

const REGIONS_ASKING: [&str; 2] = ["tokyo", "frankfurt"];
/// Questions that are under way together.
const TOGETHER: u64 = 64;
/// When everything happened, and when the pack was begun and made.
const THEN: Timestamp = Timestamp(1_700_000_000_000_000);
const BEGUN: Timestamp = Timestamp(THEN.0 + 60 * MINUTE);
const MADE: Timestamp = Timestamp(BEGUN.0 + MINUTE);

fn peer(at: usize) -> Peer {
    Peer { region: REGIONS_ASKING[at].parse().expect("a name"), node: NodeId(1) }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// A frame that crosses between this end and the other.
fn passage(other: usize, class: EgressClass, body: &[u8], drawn: Option<Drawn>) -> Passage {
    let (bytes, sha256) = (ByteCount(body.len() as u64), sha256(body));
    Passage { peer: peer(other), class, bytes, sha256, body: body.to_vec(), drawn }
}

fn question(number: u64) -> Vec<u8> {
    let question = Question {
        id: QuestionId(number.into()),
        tenant: TenantId(1),
        stream: StreamId(1),
        range: TimeRange { from: Timestamp(0), to: Timestamp(10 * MINUTE) },
        filters: Vec::new(),
        ask: Ask::Terms(FieldId(1)),
        deadline_ms: 10_000,
    };
    codec::encode(&question).expect("small")
}

/// What a region answers under the head of its ledger.
fn answer(number: u64, ledger: &Ledger) -> Vec<u8> {
    let (head, range) = (ledger.head(), TimeRange { from: Timestamp(0), to: Timestamp(10 * MINUTE) });
    let header = AnswerHeader {
        policy: PolicyVersion(2),
        ledger_size: head.size,
        ledger_root: head.root,
        ..AnswerHeader::new(QuestionId(number.into()), range)
    };
    let cell = |records| Cell::published(RecordCount(records));
    let cells = vec![(DictionaryId(64), cell(9 + number % 1_000)), (DictionaryId(65), cell(40))];
    let outcome = Outcome::Aggregate(Aggregate::Terms(Terms { field: FieldId(1), cells, other: Cell::EMPTY }));
    codec::encode(&Answer { header, outcome }).expect("small")
}

async fn record(ledger: &Ledger, events: Vec<Event>) {
    let recorded = futures::future::join_all(events.into_iter().map(|event| ledger.record(event))).await;
    assert!(recorded.iter().all(Result::is_ok), "{:?}", recorded.iter().find(|one| one.is_err()));
}

/// The ledgers of two regions that asked each other so many questions. The first keeps silent about one that it put.
async fn ledgers(dir: &Path, questions: u64, silent: Option<u64>) -> [Ledger; 2] {
    let ledgers = [0, 1].map(|at| {
        let (place, clock) = (dir.join(REGIONS_ASKING[at]), Clock::standing_at(THEN));
        Ledger::open(&place, &peer(at).region, clock).expect("new")
    });
    let k = Some(wide().numbers_of().0);
    let drawn = Drawn { shard: ShardId(1), upto: 1_000_000, journal: 100, rules: wide().digest(), k };
    for ledger in &ledgers {
        let started = Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None };
        record(ledger, vec![started]).await;
        record(ledger, vec![changed(2)]).await;
    }
    let mut first = 0;
    while first < questions {
        let numbers = first..(first + TOGETHER).min(questions);
        let asking = usize::from(first / TOGETHER % 2 == 1);
        let answering = 1 - asking;
        let put: Vec<(u64, Vec<u8>)> = numbers.map(|number| (number, question(number))).collect();
        let left = put.iter().filter(|(number, _)| Some(*number) != silent);
        let left = left.map(|(_, put)| Event::Egress(passage(answering, EgressClass::Question, put, None)));
        record(&ledgers[asking], left.collect()).await;
        let came = put.iter().map(|(_, put)| Event::Ingress(passage(asking, EgressClass::Question, put, None)));
        record(&ledgers[answering], came.collect()).await;
        let given: Vec<Vec<u8>> = put.iter().map(|(number, _)| answer(*number, &ledgers[answering])).collect();
        let left = given.iter().map(|given| Event::Egress(passage(asking, EgressClass::Terms, given, Some(drawn))));
        record(&ledgers[answering], left.collect()).await;
        let came = given.iter().map(|given| Event::Ingress(passage(answering, EgressClass::Terms, given, None)));
        record(&ledgers[asking], came.collect()).await;
        first += TOGETHER;
    }
    ledgers.iter().for_each(Ledger::close);
    ledgers
}

fn write(pack: &Path, name: &str, bytes: &[u8]) {
    let path = pack.join(name);
    std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Puts the ledgers into a pack, as whoever makes one does with what the regions give.
async fn packed(dir: &Path, pack: &Path, ledgers: &[Ledger; 2]) {
    let request = Request {
        format: FORMAT,
        tool: tool(),
        tenant: "default".to_owned(),
        from: Timestamp(THEN.0 - 60 * MINUTE),
        to: MADE,
        begun_at: BEGUN,
        made_at: MADE,
    };
    write(pack, REQUEST, format!("{}\n", serde_json::to_string_pretty(&request).expect("plain")).as_bytes());
    for (at, ledger) in ledgers.iter().enumerate() {
        let (region, place) = (REGIONS_ASKING[at], format!("{REGIONS}/{}", REGIONS_ASKING[at]));
        let mut statement = home(region, "APPI").statement;
        (statement.tenant, statement.tenant_id) = ("default".to_owned(), 1);
        (statement.taken_at, statement.policy_version) = (BEGUN, 3);
        statement.streams.clear();
        let statement = serde_json::to_string_pretty(&statement).expect("plain");
        let note = ledger.says(STATEMENT_TITLE, &[hex::encode(sha256(statement.as_bytes()))]).expect("signed");
        write(pack, &format!("{place}/statement.json"), statement.as_bytes());
        write(pack, &format!("{place}/statement.note"), note.as_bytes());
        let page = serde_json::to_vec(&wide()).expect("plain");
        write(pack, &rules::place_of(region, &wide().digest()), &page);
        // What the ledger signs further on is under the key of this log.
        let (log, there) = (dir.join(region).join("log"), pack.join(&place).join("log"));
        std::fs::rename(&log, &there).expect("moved");
        std::os::unix::fs::symlink(&there, &log).expect("linked");
    }
    // In the order in which whoever checks the pack reads them.
    let homes = regions(pack).into_iter().map(|place| open::home(pack, &place, &request, &Trust::default()));
    let homes: Vec<_> = homes.map(|home| home.expect("it holds")).collect();
    let evidence = rehearse(SEED, attacked(&homes)).await.expect("attacked");
    write(pack, ATTACKS, format!("{}\n", serde_json::to_string_pretty(&evidence).expect("plain")).as_bytes());
    for (name, bytes) in derived(&compose(&request, &homes, Some(&evidence))).expect("written") {
        write(pack, &name, &bytes);
    }
    let manifest = manifest(pack).expect("listed");
    write(pack, MANIFEST, manifest.as_bytes());
    for (at, ledger) in ledgers.iter().enumerate() {
        let lines = [hex::encode(sha256(manifest.as_bytes())), "then".to_owned(), "auditor".to_owned()];
        let seal = ledger.says(PACK_TITLE, &lines).expect("signed");
        write(pack, &seal_of(REGIONS_ASKING[at]), seal.as_bytes());
    }
}

#[tokio::test]
async fn ledgers_that_fit_each_other_make_a_pack_that_holds_and_one_that_is_silent_does_not() {
    for (silent, wanted) in [(None, vec![]), (Some(130), vec![7])] {
        let dir = tempfile::tempdir().expect("a directory");
        let pack = dir.path().join("pack");
        let ledgers = ledgers(dir.path(), 300, silent).await;
        packed(dir.path(), &pack, &ledgers).await;
        let found = check(&pack, &Trust::default(), None);
        let points: Vec<u8> = found.problems.iter().map(|problem| problem.point).collect();
        assert_eq!(points, wanted, "{:?}", found.problems);
        let arrivals = &found.points[7].why;
        assert!(!wanted.is_empty() || arrivals.starts_with("600 arrivals;"), "{arrivals}");
        assert!(found.answers.iter().all(|line| line.contains("under 2")) && found.answers.len() == 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which wants a quiet machine"]
async fn what_a_pack_of_a_million_entries_costs() {
    let named = std::env::var("DOMICILE_ENTRIES").ok().and_then(|text| text.parse().ok());
    let questions = named.unwrap_or(1_000_000_u64) / 4;
    let place = std::env::var_os("DOMICILE_LEDGER_DIR").map_or_else(std::env::temp_dir, Into::into);
    let mut dir = tempfile::tempdir_in(place).expect("a directory");
    let pack = dir.path().join("pack");
    let began = Instant::now();
    let ledgers = ledgers(dir.path(), questions, None).await;
    eprintln!("{:.1} s to record {} entries in two ledgers", began.elapsed().as_secs_f64(), 4 * questions + 4);
    packed(dir.path(), &pack, &ledgers).await;
    drop(ledgers);
    eprintln!("peak while the pack was made {:?} MiB", peak_since());
    let began = Instant::now();
    let found = check(&pack, &Trust::default(), None);
    let took = began.elapsed().as_secs_f64();
    assert!(found.is_sound(), "{:?}", found.problems);
    eprintln!("{took:.1} s to verify the pack by one thread, peak {:?} MiB; {}", peak_since(), found.points[7].why);
    if std::env::var_os("DOMICILE_KEEP").is_some() {
        dir.disable_cleanup(true);
        eprintln!("kept: {}", pack.display());
    }
}
