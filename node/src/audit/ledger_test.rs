//! Crashes at every byte and between every two writes, a disk that refuses, old copies, many tails.

use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::count::Count;
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::ids::{ByteCount, NodeId, TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};

use super::super::entry::Passage;
use super::super::merkle::sha256;
use super::super::note::Verifier;
use super::super::verify::verify;
use super::super::{Entries, tail};
use super::*;
use crate::limits::OLDER_POLICY_LEAVES_FOR;

fn tokyo() -> Region {
    "tokyo".parse().expect("a name")
}

fn clock() -> Clock {
    Clock::standing_at(Timestamp(1_700_000_000_000_000))
}

fn peer() -> Peer {
    Peer { region: "frankfurt".parse().expect("a name"), node: NodeId(3) }
}

fn egress(text: &str) -> Event {
    Event::Egress(Passage {
        drawn: None,
        peer: peer(),
        class: EgressClass::Count,
        bytes: ByteCount(text.len() as u64),
        sha256: sha256(&[text.as_bytes()]),
        body: text.as_bytes().to_vec(),
    })
}

fn started() -> Event {
    Event::NodeStarted { node: NodeId(1), binary: [1; 32], config: [2; 32], sbom: None }
}

/// An event with a number in it.
fn hold(number: usize) -> Event {
    Event::HoldSet { hold: number.to_string().into() }
}

fn open(dir: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(dir, &tokyo(), clock())
}

fn with(files: &Files, dir: &Path, tail_bytes: u64) -> Result<Ledger, LedgerError> {
    Ledger::open_with(files, dir, "ledger.domicile/tokyo/1", clock(), |writer| writer.with_tails_of(tail_bytes))
}

fn events(dir: &Path) -> Vec<Event> {
    let entries = Entries::open(dir, &tokyo()).expect("there");
    entries.map(|entry| entry.expect("whole").1.event).collect()
}

fn tail_of(dir: &Path) -> PathBuf {
    tail::list(dir).expect("there").pop().expect("one").1
}

async fn three_entries(dir: &Path) -> Head {
    let ledger = open(dir).expect("a new ledger");
    ledger.record(started()).await.expect("recorded");
    ledger.record(egress("one")).await.expect("recorded");
    assert_eq!(ledger.record(egress("two")).await.expect("recorded"), 3);
    ledger.head()
}

async fn many(ledger: &Ledger, numbers: std::ops::Range<usize>) {
    let all = futures::future::join_all(numbers.map(|number| ledger.record(hold(number)))).await;
    assert!(all.into_iter().all(|number| number.is_ok()));
}

/// A copy of a ledger's directory as it lies on the disk at this moment.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    let mut open = vec![from.to_path_buf()];
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there").path()) {
            let target = to.path().join(path.strip_prefix(from).expect("inside"));
            if path.is_dir() {
                fs::create_dir_all(&target).expect("made");
                open.push(path);
            } else {
                fs::create_dir_all(target.parent().expect("inside")).expect("made");
                fs::copy(&path, &target).expect("copied");
            }
        }
    }
    to
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let head = three_entries(dir.path()).await;
    let again = open(dir.path()).expect("sound");
    assert_eq!(again.head(), head);
    assert_eq!(events(dir.path()), [started(), egress("one"), egress("two")]);
}

#[tokio::test]
async fn many_writers_share_flushes_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let all = (0..1_200).map(|number| ledger.record(hold(number)));
    let mut numbers: Vec<u64> =
        futures::future::join_all(all).await.into_iter().map(|number| number.expect("recorded")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=1_200).collect::<Vec<_>>());
    assert_eq!(events(dir.path()).len(), 1_200);
    assert_eq!(ledger.head().size, 1_200);
}

#[tokio::test]
async fn an_end_torn_at_any_byte_is_put_aside_and_said_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    ledger.record(egress("one")).await.expect("recorded");
    ledger.publish();
    ledger.record(egress("two")).await.expect("recorded");
    let crashed = copy(dir.path());
    let whole = fs::read(tail_of(crashed.path())).expect("there");
    let last = memchr::memmem::rfind(&whole, b"DMLT").expect("two groups");
    for cut in (last + 1..whole.len()).step_by(5) {
        let dir = copy(crashed.path());
        // The second entry may be under a checkpoint by now, which the clock of the machine decides: without it.
        fs::write(tail_of(dir.path()), &whole[..cut]).expect("written");
        match open(dir.path()) {
            Ok(ledger) => {
                assert_eq!(ledger.head().size, 2, "cut at {cut}");
                ledger.record(egress("after")).await.expect("recorded");
                let found = events(dir.path());
                assert_eq!(found[0], egress("one"));
                assert!(matches!(found[1], Event::TornTail { bytes, .. } if bytes == (cut - last) as u64));
                assert_eq!(found[2], egress("after"));
                let aside = fs::read(dir.path().join(format!("torn-0-{last}"))).expect("kept");
                assert_eq!(aside, &whole[last..cut]);
            }
            Err(error) => assert!(matches!(error, LedgerError::Rewound { .. }), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn any_flip_in_the_tail_before_its_last_group_stops_the_node() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let path = tail_of(dir.path());
    let whole = fs::read(&path).expect("there");
    let last = memchr::memmem::rfind(&whole, b"DMLT").expect("three groups");
    for place in (0..whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(&path, &flipped).expect("written");
        let error = open(dir.path()).err();
        let is_seen = match &error {
            Some(LedgerError::Damaged { .. } | LedgerError::Foreign { .. }) => true,
            // A group that became unreadable at the end is missing under the checkpoint.
            Some(LedgerError::Rewound { .. }) => place >= last,
            _ => false,
        };
        assert!(is_seen, "byte {place}: {error:?}");
        assert_eq!(fs::read(&path).expect("there"), flipped, "damage is evidence and stays as it is");
    }
}

#[tokio::test]
async fn an_old_copy_of_the_tail_is_not_written_on() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let old = copy(dir.path());
    let ledger = open(dir.path()).expect("sound");
    many(&ledger, 0..2).await;
    ledger.close();
    fs::copy(tail_of(old.path()), tail_of(dir.path())).expect("copied");
    assert!(matches!(open(dir.path()), Err(LedgerError::Rewound { .. })));
    fs::remove_file(tail_of(dir.path())).expect("removed");
    assert!(matches!(open(dir.path()), Err(LedgerError::Rewound { .. })));
}

#[tokio::test]
async fn a_tail_written_anew_with_right_checksums_is_not_the_one_that_was_signed() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let other = tempfile::tempdir().expect("a directory");
    fs::copy(dir.path().join("key"), other.path().join("key")).expect("copied");
    let ledger = open(other.path()).expect("new");
    many(&ledger, 0..3).await;
    ledger.close();
    fs::copy(tail_of(other.path()), tail_of(dir.path())).expect("copied");
    assert!(matches!(open(dir.path()), Err(LedgerError::Damaged { .. })));
}

#[tokio::test]
async fn another_regions_ledger_is_not_written_on_and_a_lost_key_is_not_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let other = Ledger::open(dir.path(), &"frankfurt".parse().expect("a name"), clock());
    assert!(matches!(other, Err(LedgerError::Foreign { .. })));
    fs::remove_file(dir.path().join("key")).expect("removed");
    assert!(matches!(open(dir.path()), Err(LedgerError::Key { .. })));
}

#[tokio::test]
async fn refuses_for_ever_after_a_failed_write() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("unwritable"), b"").expect("written");
    let file = fs::OpenOptions::new().read(true).open(dir.path().join("unwritable")).expect("there");
    let files = Files::default();
    let signer = Signer::open(&dir.path().join("key"), "ledger.domicile/tokyo/1", true).expect("made");
    let publisher = Publisher::new(&files, dir.path(), signer, Default::default());
    let writer = Writer::new(&files, dir.path(), State::default(), Tail::over(file));
    let ledger = Ledger::over(writer, publisher, dir.path(), clock()).expect("threads");
    for _ in 0..3 {
        assert!(matches!(ledger.record(egress("one")).await, Err(LedgerError::Poisoned)));
    }
    assert_eq!(ledger.head().size, 0);
}

#[tokio::test]
async fn metadata_is_one_entry_for_each_peer() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    ledger.count_metadata(peer(), 10, 0);
    ledger.count_metadata(peer(), 5, 7);
    ledger.record_metadata().await.expect("recorded");
    ledger.record_metadata().await.expect("nothing to record");
    let frames = Some([2, 1]);
    assert_eq!(events(dir.path()), [Event::Metadata { peer: peer(), sent: 15, received: 7, frames }]);
}

#[tokio::test]
async fn what_was_turned_away_is_one_entry_for_each_peer() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    (0..3).for_each(|_| ledger.count_turned_away(peer()));
    ledger.record_metadata().await.expect("recorded");
    ledger.record_metadata().await.expect("nothing to record");
    assert_eq!(events(dir.path()), [Event::TurnedAway { peer: peer(), exchanges: 3 }]);
}

fn told_of(version: u64) -> Event {
    Event::PolicyChanged { version: PolicyVersion(version), streams: 0, approved_values: 0, ordered: true }
}

#[tokio::test]
async fn before_the_first_entry_by_a_clock_that_was_set_stands_one_that_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let turned = clock();
    let note = |version: u64| told_of(version);
    let ledger = Ledger::open(dir.path(), &tokyo(), turned.clone()).expect("a new ledger");
    let set = |by: i64| Event::ClockJumped { by, ordered: true, at_start: false };
    let mut expected = Vec::new();
    // Time passes; the clock does what clocks do; it is set forward, and back further.
    for (version, passed, by) in [(1, 60_000_000, 0), (2, 0, 1_900_000), (3, 5, 3_600_000_000), (4, 5, -7_200_000_000)]
    {
        turned.pass(Duration::from_micros(passed));
        turned.turn_to(Timestamp(turned.now().0 + by));
        ledger.record(note(version)).await.expect("recorded");
        let by = if version == 3 { by + 1_900_000 } else { by };
        expected.extend((version > 2).then(|| set(by)));
        expected.push(note(version));
    }
    ledger.close();
    // While the node was away, the clock was set back: nothing that is later than what it wrote before.
    turned.turn_to(Timestamp(turned.now().0 - 60_000_000));
    let again = Ledger::open(dir.path(), &tokyo(), turned.clone()).expect("opened again");
    again.record(note(5)).await.expect("recorded");
    expected.extend([Event::ClockJumped { by: -60_000_000, ordered: true, at_start: true }, note(5)]);
    // Nobody makes an entry; the minute's look says so all the same, and once.
    turned.turn_to(Timestamp(turned.now().0 + 60_000_000));
    again.record_clock().await.expect("recorded");
    again.record_clock().await.expect("nothing to record");
    again.record(note(6)).await.expect("recorded");
    expected.extend([set(60_000_000), note(6)]);
    assert_eq!(events(dir.path()), expected);
}

#[tokio::test]
async fn takes_nothing_after_closing_and_nothing_too_large() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let wide = ledger.record(egress(&"x".repeat(LEDGER_BODY_BYTES))).await;
    assert!(matches!(wide, Err(LedgerError::TooLarge { .. })));
    ledger.close();
    assert!(matches!(ledger.record(egress("late")).await, Err(LedgerError::Closed)));
}

#[tokio::test]
async fn a_start_reads_the_tail_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    many(&ledger, 0..1_000).await;
    let head = ledger.head();
    ledger.close();
    // What lies before the tail is damaged behind the ledger's back: a start does not look at it, an audit does.
    let bodies = dir.path().join("log/bodies/000");
    let mut bytes = fs::read(&bodies).expect("there");
    bytes[50] ^= 1;
    fs::write(&bodies, bytes).expect("written");
    assert!(fs::metadata(tail_of(dir.path())).expect("there").len() < 120_000);
    let again = open(dir.path()).expect("sound, as far as it looks");
    assert_eq!(again.head(), head);
    again.close();
    let broken = verify(dir.path(), None, &[], &mut |_, _| {}).expect_err("an audit looks at everything");
    assert_eq!(broken.place, "bodies/000, entry 1");
}

/// However long the ledger is.
#[tokio::test]
async fn what_a_start_reads_is_bounded_by_the_tail() {
    let (dir, tail_bytes) = (tempfile::tempdir().expect("a directory"), 100_000);
    let mut read = Vec::new();
    for round in 0..9 {
        let files = Files::default();
        let ledger = with(&files, dir.path(), tail_bytes).expect("sound");
        assert_eq!(ledger.head().size, round * 1_100);
        read.push(files.read.load(Ordering::SeqCst));
        for from in (0..1_100).step_by(50) {
            many(&ledger, from..from + 50).await;
        }
        ledger.close();
    }
    let bodies = fs::read_dir(dir.path().join("log/bodies")).expect("there");
    let written: u64 = bodies.map(|entry| entry.expect("there").metadata().expect("there").len()).sum();
    let largest = read.iter().copied().max().expect("starts");
    assert!(read[0] == 0 && largest > 1_000 && largest < 2 * tail_bytes, "{read:?}");
    assert!(written > 10 * largest, "{written} bytes were written, {largest} were read at most");
}

#[tokio::test]
async fn a_page_begins_anywhere_and_goes_on_over_bundles_and_tails() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = with(&Files::default(), dir.path(), 20_000).expect("new");
    for from in (0..3_000).step_by(100) {
        many(&ledger, from..from + 100).await;
    }
    let numbers = |ledger: &Ledger, after: u64| -> Vec<u64> {
        ledger.entries_after(after).expect("there").take(3).map(|entry| entry.expect("whole").0).collect()
    };
    let look = |ledger: &Ledger| {
        for after in [0, 1, 255, 256, 257, 1_023, 2_047, 2_048, 2_559, 2_560, 2_998, 3_000, 9_000] {
            let wanted: Vec<u64> = (after + 1..=3_000).take(3).collect();
            assert_eq!(numbers(ledger, after), wanted, "after {after}");
        }
        ledger.close();
    };
    look(&ledger);
    look(&open(dir.path()).expect("sound"));
    assert_eq!(events(dir.path()).len(), 3_000);
    assert_eq!(tail::list(dir.path()).expect("there").len(), 1, "tails that are of no use any more are gone");
}

#[tokio::test]
async fn a_ledger_of_an_earlier_build_is_put_aside_and_the_new_one_begins_with_its_hash() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("ledger"), b"DMLG and so on").expect("written");
    let ledger = open(dir.path()).expect("new");
    ledger.close();
    let sha256 = sha256(&[b"DMLG and so on"]);
    assert_eq!(events(dir.path()), [Event::EarlierLedger { bytes: 14, sha256 }]);
    assert_eq!(fs::read(dir.path().join("ledger-of-earlier-builds")).expect("kept"), b"DMLG and so on");
    assert_eq!(open(dir.path()).expect("sound").head().size, 1);
}

#[tokio::test]
async fn a_tenants_entries_are_a_chain_of_their_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let export = |tenant| Event::SubjectExported { tenant: TenantId(tenant), records: 1, originals: 0 };
    for event in [export(2), hold(1), export(3), export(2), hold(2)] {
        ledger.record(event).await.expect("recorded");
    }
    let entries: Vec<Entry> = ledger.entries_after(0).expect("there").map(|entry| entry.expect("whole").1).collect();
    let chains: Vec<_> = entries.iter().map(|entry| (entry.tenant.map(|tenant| tenant.0), entry.seq)).collect();
    assert_eq!(chains, [(Some(2), 1), (None, 1), (Some(3), 1), (Some(2), 2), (None, 2)]);
    assert_eq!(entries[0].prev, [0; 32]);
    assert_ne!(entries[3].prev, [0; 32]);
    assert_ne!(entries[3].prev, entries[4].prev);
}

/// Ends the writing after every number of steps there is, and starts again from what lies on the disk.
#[test]
fn ended_between_any_two_writes_it_goes_on_without_a_fork_and_with_all_it_acknowledged() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut steps, mut is_cut_short) = (0, true);
    while is_cut_short {
        let dir = tempfile::tempdir().expect("a directory");
        let left = Arc::new(AtomicI64::new(steps));
        let files = Files { left: Some(Arc::clone(&left)), ..Files::default() };
        let mut acknowledged = 0;
        if let Ok(ledger) = with(&files, dir.path(), 10_000) {
            for from in (0..600).step_by(50) {
                let all = (from..from + 50).map(|number| ledger.record(hold(number)));
                let all = runtime().block_on(futures::future::join_all(all));
                acknowledged += all.iter().filter(|number| number.is_ok()).count();
            }
        }
        is_cut_short = left.load(Ordering::SeqCst) < 0;
        let said = || fs::read_to_string(dir.path().join("log/checkpoint")).ok();
        let key = fs::read_to_string(dir.path().join("log/log.vkey")).ok();
        let before = said().map(|note| ("before".to_owned(), note));
        let ledger = open(dir.path()).unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert!(ledger.head().size >= acknowledged as u64, "after {steps} steps");
        let found: Vec<Event> =
            events(dir.path()).into_iter().filter(|one| matches!(one, Event::HoldSet { .. })).collect();
        assert!(found.len() >= acknowledged, "after {steps} steps");
        assert_eq!(found, (0..found.len()).map(hold).collect::<Vec<_>>(), "after {steps} steps");
        runtime().block_on(ledger.record(hold(9_999))).expect("recorded");
        ledger.close();
        let key = key.and_then(|key| Verifier::read(key.trim()));
        let checked = verify(dir.path(), key.as_ref(), before.as_slice(), &mut |_, _| {});
        let checked = checked.unwrap_or_else(|broken| panic!("after {steps} steps: {broken}"));
        assert!(checked.findings.is_empty(), "after {steps} steps: {:?}", checked.findings);
        steps += if steps < 40 { 1 } else { 7 };
    }
    assert!(steps > 100, "there are more steps than {steps}");
}

/// From now on what is released here goes to Frankfurt, or does no more.
fn route(open: bool) -> Event {
    let policy = PolicyVersion(5);
    Event::RouteChanged { to: peer().region, open, basis: None, policy, ordered: true }
}

fn of_class(class: EgressClass) -> Event {
    let Event::Egress(passage) = egress("told") else { unreachable!("it leaves") };
    Event::Egress(Passage { class, ..passage })
}

#[tokio::test]
async fn behind_the_entry_that_closes_a_route_stands_nothing_that_needs_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("new");
    ledger.record(egress("before")).await.expect("it is open");
    ledger.record(route(false)).await.expect("closed");
    assert!(!ledger.lets_out_to(&peer().region) && ledger.lets_out_to(&tokyo()));
    for class in [EgressClass::Count, EgressClass::Question, EgressClass::Sum] {
        let refused = ledger.record(of_class(class)).await.expect_err("it is closed");
        assert_eq!(crate::errors::Coded::code(&refused), "DMC-AUDIT-12");
    }
    for class in [EgressClass::Refusal, EgressClass::LedgerHead, EgressClass::Metadata] {
        ledger.record(of_class(class)).await.expect("it needs no route");
    }
    ledger.record(route(true)).await.expect("opened");
    ledger.record(egress("behind")).await.expect("it is open again");
    ledger.close();
    let left = events(dir.path()).into_iter().filter(|event| event.needs_route().is_some()).count();
    assert_eq!(left, 2);
}

/// An answer that leaves, which says this and names this version of the policy.
fn answer(outcome: Outcome, version: u64) -> Event {
    let header = AnswerHeader { policy: PolicyVersion(version), ..AnswerHeader::new(QuestionId(1), TimeRange::ALL) };
    let body = codec::encode(&Answer { header, outcome }).expect("small");
    let Event::Egress(passage) = egress("") else { unreachable!("it leaves") };
    Event::Egress(Passage { bytes: ByteCount(body.len() as u64), sha256: sha256(&[&body]), body, ..passage })
}

#[tokio::test]
async fn nothing_leaves_under_a_policy_that_was_over_for_long() {
    let dir = tempfile::tempdir().expect("a directory");
    let turned = clock();
    let ledger = Ledger::open(dir.path(), &tokyo(), turned.clone()).expect("new");
    let count = |version| answer(Outcome::Aggregate(Aggregate::Count(Count::EMPTY)), version);
    ledger.record(told_of(4)).await.expect("recorded");
    turned.pass(Duration::from_secs(900));
    ledger.record(told_of(5)).await.expect("recorded");
    turned.pass(OLDER_POLICY_LEAVES_FOR);
    // Whatever the clock is set to: it is time that counts.
    turned.turn_to(Timestamp(turned.now().0 + 3_600_000_000));
    ledger.record(count(4)).await.expect("it was on its way");
    assert!(ledger.lets_out_under(PolicyVersion(4)));
    turned.pass(Duration::from_micros(1));
    let refused = ledger.record(count(4)).await.expect_err("it is over");
    assert_eq!(crate::errors::Coded::code(&refused), "DMC-AUDIT-13");
    assert!(!ledger.lets_out_under(PolicyVersion(4)) && ledger.lets_out_under(PolicyVersion(5)));
    ledger.record(answer(Outcome::Refused(RefusalCode::Busy), 4)).await.expect("it tells nothing");
    ledger.record(count(5)).await.expect("the newest");
    ledger.close();
    // After a start nothing is on its way.
    let again = Ledger::open(dir.path(), &tokyo(), turned).expect("sound");
    assert!(again.lets_out_under(PolicyVersion(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_races_with_the_closing_of_its_route_stands_before_it_or_nowhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Arc::new(open(dir.path()).expect("new"));
    let mut racing = Vec::new();
    for number in 0..300 {
        let one = Arc::clone(&ledger);
        let event = if number == 150 { route(false) } else { egress(&number.to_string()) };
        racing.push(async move {
            tokio::task::spawn_blocking(move || futures::executor::block_on(one.record(event))).await
        });
    }
    let outcomes = futures::future::join_all(racing).await;
    let taken = outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(Ok(_)))).count();
    ledger.close();
    let events = events(dir.path());
    assert_eq!(events.len(), taken);
    let closed = events.iter().position(|event| matches!(event, Event::RouteChanged { .. })).expect("closed");
    assert!(events.iter().skip(closed).all(|event| event.needs_route().is_none()), "closed by entry {closed}");
}
