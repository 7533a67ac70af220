//! Bodies that are destroyed: gone from every file, explained in the ledger, and the tree as it was; whatever crashes in between.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domicile_proto::codec;
use domicile_proto::ids::{ByteCount, NodeId, StreamId, TenantId, TimeRange, Timestamp};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::officer::OfficerKey;

use super::super::copy::Copy;
use super::super::entry::Peer;
use super::super::finding::{About, Finding};
use super::super::merkle::sha256;
use super::super::verify::{Checked, verify};
use super::super::{Ledger, LedgerError};
use super::*;
use crate::clock::Clock;
use crate::tasks::Tasks;

const ORIGIN: &str = "ledger.domicile/tokyo/1";
/// Stands in every question.
const WORD: &str = "hrqwzkvbnplm";

fn draw() -> OfficerKey {
    OfficerKey::from_pkcs8(&OfficerKey::generate().expect("random")).expect("just made")
}

fn question(number: u128) -> Event {
    let literal = Literal::try_from(format!("{WORD}{number}")).expect("short");
    let question = Question {
        id: QuestionId(number),
        tenant: TenantId(1),
        stream: StreamId(1),
        range: TimeRange { from: Timestamp(0), to: Timestamp(60_000_000) },
        filters: vec![Filter::Text { how: TextMatch::Words, literal, negated: false }],
        ask: Ask::Count,
        deadline_ms: 1_000,
    };
    let body = codec::encode(&question).expect("a question");
    let peer = Peer { region: "frankfurt".parse().expect("a name"), node: NodeId(3) };
    let (bytes, sha256) = (ByteCount(body.len() as u64), sha256(&[&body]));
    Event::Egress(Passage { peer, class: EgressClass::Question, bytes, sha256, body, drawn: None })
}

fn open(files: &Files, dir: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open_with(files, dir, ORIGIN, Clock::standing_at(Timestamp(1)), |writer| writer)
}

/// What a node writes at each start.
async fn honour(ledger: &Ledger, key: &OfficerKey) {
    ledger.record(Event::OfficerHonoured { officer: key.public() }).await.expect("recorded");
}

async fn fill(ledger: &Ledger, numbers: std::ops::Range<u128>) {
    let all = futures::future::join_all(numbers.map(|number| ledger.record(question(number)))).await;
    assert!(all.into_iter().all(|number| number.is_ok()));
}

/// The number of the question in an entry.
fn question_of(ledger: &Ledger, entry: u64) -> u128 {
    let found = ledger.entries_after(entry - 1).expect("there").next().expect("one").expect("whole");
    let Event::Egress(passage) = found.1.event else { panic!("a question") };
    passage.question().expect("a question").id.0
}

/// An order of this officer, of what the ledger says that the entry is.
async fn order(ledger: &Arc<Ledger>, key: &OfficerKey, entry: u64) -> Result<Order, LedgerError> {
    let body = ledger.to_destroy(entry, &Tasks::default()).await?;
    let (region, node) = ("tokyo".parse().expect("a name"), NodeId(1));
    let order = BodyOrder { region, node, entry, body, ground: OrderGround::PersonalData };
    Ok(Order { officer: key.public(), signature: key.order(&order).into(), order })
}

async fn destroy(ledger: &Arc<Ledger>, key: &OfficerKey, entry: u64) -> Result<u64, LedgerError> {
    ledger.destroy(order(ledger, key, entry).await?, &Tasks::default()).await
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = open.pop() {
        for path in fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there").path()) {
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Whether any file holds the frame of a question, as entries have it: in base64.
fn is_anywhere(dir: &Path, number: u128) -> bool {
    let Event::Egress(passage) = question(number) else { panic!("a question") };
    let frame = serde_json::to_vec(&passage).expect("plain");
    let start = memchr::memmem::find(&frame, b"\"body\":\"").expect("a body") + 8;
    let body = frame[start..].split(|byte| *byte == b'"').next().expect("ended").to_vec();
    let there = |bytes: &[u8]| memchr::memmem::find(bytes, &body).is_some();
    files_of(dir).iter().any(|path| there(&fs::read(path).expect("read")))
}

fn checked(dir: &Path) -> Checked {
    verify(dir, None, &[], &mut |_, _| {}).expect("sound")
}

#[tokio::test]
async fn a_destroyed_body_is_in_no_file_and_the_ledger_says_why_before_and_after_a_restart() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    fill(&ledger, 0..300).await;
    honour(&ledger, &key).await;
    assert!(is_anywhere(dir.path(), 4), "the test is not blind");
    let told = destroy(&ledger, &key, 5).await.expect("destroyed");
    assert_eq!(told, 302);
    ledger.publish();
    assert!(!is_anywhere(dir.path(), 4) && is_anywhere(dir.path(), 5));
    let sound = checked(dir.path());
    assert_eq!((sound.destroyed, sound.findings.as_slice(), sound.head.map(|head| head.size)), (1, &[][..], Some(302)));
    let again = destroy(&ledger, &key, 5).await;
    assert!(matches!(again, Err(LedgerError::Gone { entry: 5 })), "{again:?}");
    drop(ledger);
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("sound"));
    fill(&ledger, 300..600).await;
    // Many writers at once do not come in their order.
    let other = question_of(&ledger, 258);
    assert!(is_anywhere(dir.path(), other));
    destroy(&ledger, &key, 258).await.expect("another bundle");
    ledger.publish();
    assert!(!is_anywhere(dir.path(), 4) && !is_anywhere(dir.path(), other));
    let sound = checked(dir.path());
    assert_eq!((sound.destroyed, sound.findings.len()), (2, 0));
    let read: Vec<u64> = ledger.entries_after(0).expect("there").map(|entry| entry.expect("whole").0).collect();
    assert!(!read.contains(&5) && read.contains(&6) && read.len() == 601, "{}", read.len());
}

#[tokio::test]
async fn only_messages_of_whole_bundles_are_destroyed() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    ledger.record(Event::HoldSet { hold: "a".into() }).await.expect("recorded");
    fill(&ledger, 0..299).await;
    for (entry, wanted) in [(1, "DMC-AUDIT-09"), (0, "DMC-AUDIT-09"), (301, "DMC-AUDIT-09"), (257, "DMC-AUDIT-10")] {
        let refused = destroy(&ledger, &key, entry).await.expect_err("refused");
        assert_eq!(crate::errors::Coded::code(&refused), wanted, "{entry}: {refused}");
    }
    assert_eq!((missing(257, 300), missing(256, 300), missing(512, 512)), (212, 0, 0));
    assert_eq!(ledger.head().size, 300, "nothing was written about what was refused");
}

#[tokio::test]
async fn a_body_that_nobody_ordered_destroyed_is_a_finding() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    fill(&ledger, 0..300).await;
    honour(&ledger, &key).await;
    // The bundle is written behind the tail.
    ledger.publish();
    take_out(&Files::default(), dir.path(), 9).expect("taken out by hand");
    ledger.publish();
    let found = checked(dir.path()).findings;
    assert!(found.len() == 1 && found[0].words.contains("the first is entry 9"), "{found:?}");
    // An entry that is about another body, or one that is there, explains nothing; nor does an order that was signed over another.
    let put = async |signed: OrderedBody, entry: u64, commitment| {
        let order = BodyOrder {
            region: "tokyo".parse().expect("a name"),
            node: NodeId(1),
            entry,
            body: signed,
            ground: OrderGround::PersonalData,
        };
        let signature = key.order(&order).into();
        let OrderedBody { left, peer: (region, node), class, question, .. } = order.body;
        let (peer, officer, ground) = (Peer { region, node }, key.public(), order.ground);
        let gone = Destroyed { entry, commitment, left, peer, class, question, ground, officer, signature };
        ledger.record(Event::BodyDestroyed(gone)).await.expect("recorded");
    };
    let (ninth, twelfth) = (ledger.commitment(9).expect("there"), ledger.commitment(12).expect("there"));
    let there = ledger.to_destroy(12, &Tasks::default()).await.expect("a message");
    let of = |commitment| OrderedBody { commitment, question: QuestionId(8), ..there.clone() };
    put(there.clone(), 9, ninth).await;
    put(of([7; 32]), 9, [7; 32]).await;
    put(there.clone(), 12, twelfth).await;
    ledger.publish();
    let found = checked(dir.path()).findings;
    for part in ["did not order", "another body", "that is there", "no entry says why"] {
        assert!(found.iter().any(|found| found.words.contains(part)), "{part}: {found:?}");
    }
    put(of(ninth), 9, ninth).await;
    ledger.publish();
    let found = checked(dir.path()).findings;
    assert!(!found.iter().any(|found| found.words.contains("no entry says why")), "{found:?}");
    // The same once more says nothing new; another question under the same place does.
    put(of(ninth), 9, ninth).await;
    ledger.publish();
    assert_eq!(checked(dir.path()).findings, found);
    put(OrderedBody { question: QuestionId(1_000), ..of(ninth) }, 9, ninth).await;
    ledger.publish();
    let found = checked(dir.path()).findings;
    assert!(found.iter().any(|found| found.words.contains("says otherwise")), "{found:?}");
}

#[tokio::test]
async fn an_order_of_whom_the_node_did_not_honour_by_then_explains_nothing() {
    let (dir, officer, stranger) = (tempfile::tempdir().expect("a directory"), draw(), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    fill(&ledger, 0..256).await;
    let finding = |entry| format!("not the one whom the node honoured by then, for the body of entry {entry}");
    // Nobody was honoured; then somebody else; then the one who ordered it, too late.
    destroy(&ledger, &stranger, 5).await.expect("destroyed");
    honour(&ledger, &officer).await;
    destroy(&ledger, &stranger, 6).await.expect("destroyed");
    destroy(&ledger, &officer, 7).await.expect("destroyed");
    honour(&ledger, &stranger).await;
    destroy(&ledger, &stranger, 8).await.expect("destroyed");
    destroy(&ledger, &officer, 9).await.expect("destroyed");
    ledger.publish();
    let checked = checked(dir.path());
    for entry in [5, 6, 9] {
        assert!(
            checked.findings.iter().any(|found| found.words.ends_with(&finding(entry))),
            "{entry}: {:?}",
            checked.findings
        );
    }
    let unexplained = checked.findings.last().expect("three");
    assert!(
        unexplained.words.contains("the bodies of 3 entries") && unexplained.words.contains("entry 5"),
        "{unexplained}"
    );
    assert_eq!((checked.findings.len(), checked.destroyed), (4, 5));
}

#[tokio::test]
async fn who_goes_away_while_a_body_is_destroyed_leaves_nothing_half_done() {
    let (dir, key, tasks) = (tempfile::tempdir().expect("a directory"), draw(), Tasks::default());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    fill(&ledger, 0..260).await;
    let ordered = order(&ledger, &key, 5).await.expect("a message");
    {
        let waiting = std::pin::pin!(ledger.destroy(ordered, &tasks));
        assert!(futures::poll!(waiting).is_pending(), "it takes longer than nothing");
    }
    assert!(tasks.stop(std::time::Duration::from_secs(60)).await, "it ends");
    ledger.publish();
    assert!(!is_anywhere(dir.path(), 3));
    let sound = checked(dir.path());
    assert_eq!((sound.destroyed, sound.findings.as_slice()), (1, &[][..]));
}

#[tokio::test]
async fn two_orders_for_one_body_destroy_it_once() {
    let (dir, key, tasks) = (tempfile::tempdir().expect("a directory"), draw(), Tasks::default());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    fill(&ledger, 0..260).await;
    let (first, second) = (order(&ledger, &key, 5).await.expect("one"), order(&ledger, &key, 5).await.expect("one"));
    let both = futures::future::join(ledger.destroy(first, &tasks), ledger.destroy(second, &tasks)).await;
    let (Ok(told), Err(LedgerError::Gone { entry: 5 })) = both else { panic!("{both:?}") };
    assert_eq!((told, ledger.head().size), (262, 262), "one entry says it");
}

#[tokio::test]
async fn wherever_a_crash_comes_the_body_is_there_with_no_word_or_gone_with_one() {
    let key = draw();
    let (mut steps, mut seen, mut readable) = (0_i64, [false; 2], 0);
    loop {
        let dir = tempfile::tempdir().expect("a directory");
        {
            let ledger = open(&Files::default(), dir.path()).expect("new");
            honour(&ledger, &key).await;
            fill(&ledger, 0..260).await;
        }
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let files = Files { left: Some(Arc::clone(&left)), ..Files::default() };
        let ledger = Arc::new(open(&files, dir.path()).expect("sound"));
        left.store(steps, Ordering::SeqCst);
        let outcome = destroy(&ledger, &key, 4).await;
        let is_through = outcome.is_ok() && left.load(Ordering::SeqCst) > 0;
        drop(ledger);
        // Whoever reads what the crash left sees no gap that nothing explains: what says why is signed for before the body goes.
        if let Ok(left) = verify(dir.path(), None, &[], &mut |_, _| {}) {
            // The other way round it may be: the next start carries out what was ordered.
            let is_hole = |found: &&Finding| found.about == About::Gap && !found.words.contains("that is there");
            let gaps: Vec<_> = left.findings.iter().filter(is_hole).collect();
            assert!(gaps.is_empty(), "after {steps} steps: {gaps:?}");
            readable += 1;
        }
        let ledger = open(&Files::default(), dir.path()).expect("a start mends it");
        ledger.publish();
        let entries = ledger.entries_after(0).expect("there").map(|entry| entry.expect("whole").1.event);
        let is_told = entries.filter(|event| matches!(event, Event::BodyDestroyed(_))).count() == 1;
        let is_there = is_anywhere(dir.path(), 2);
        assert_eq!(is_told, !is_there, "after {steps} steps");
        let sound = checked(dir.path());
        assert_eq!((sound.destroyed, sound.findings.as_slice()), (u64::from(is_told), &[][..]), "after {steps} steps");
        seen[usize::from(is_told)] = true;
        if is_through {
            break;
        }
        steps += 1;
        assert!(steps < 200, "it ends");
    }
    assert_eq!(seen, [true; 2], "crashes before and after the word");
    assert!(readable > 3, "the test is not blind: {readable} of {steps}");
}

#[tokio::test]
async fn what_says_why_is_signed_for_before_anybody_sees_the_gap() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    fill(&ledger, 0..260).await;
    // The tail is begun anew for the first of them, and has nothing to begin anew for the others.
    for entry in 5..9 {
        destroy(&ledger, &key, entry).await.expect("destroyed");
        let sound = checked(dir.path());
        assert_eq!((sound.destroyed, sound.findings.as_slice()), (entry - 4, &[][..]));
    }
}

/// Takes the next bundle of a copy for somebody who may read all of it.
fn take_next(copy: &mut Copy, ledger: &Ledger) {
    let bundle = copy.wants().expect("more");
    copy.add(bundle, &ledger.copied(bundle, copy.size(), &|_| true).expect("there")).expect("entries");
}

/// A copy for the auditor of a tenant: what is about another one is not in it.
fn copy_for(ledger: &Ledger, tenant: TenantId) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let mut copy = Copy::begin(dir.path(), ledger.shown().expect("published")).expect("signed");
    while let Some(bundle) = copy.wants() {
        let shows = |entry: &Entry| entry.tenant.is_none_or(|chain| chain == tenant);
        copy.add(bundle, &ledger.copied(bundle, copy.size(), &shows).expect("there")).expect("entries");
        if copy.wants_head() {
            copy.go_on(ledger.shown().expect("published")).expect("it goes on");
        }
    }
    copy.finish().expect("whole");
    dir
}

#[tokio::test]
async fn that_a_body_is_gone_is_told_to_its_tenant_and_to_no_other() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    for number in 0..300 {
        ledger.record(question(number)).await.expect("recorded");
        let exported = Event::SubjectExported { tenant: TenantId(2), records: 1, originals: 0 };
        ledger.record(exported).await.expect("recorded");
    }
    // The questions are of the first tenant, and have even numbers.
    for entry in [4, 8] {
        destroy(&ledger, &key, entry).await.expect("destroyed");
    }
    fill(&ledger, 300..301).await;
    ledger.publish();
    let seen = |tenant| {
        let (copied, mut told) = (copy_for(&ledger, tenant), 0);
        let is_order = |event: &Event| matches!(event, Event::BodyDestroyed(_));
        let each = &mut |_, entry: &Entry| told += u64::from(is_order(&entry.event));
        let sound = verify(copied.path(), None, &[], each).expect("no chain is broken");
        (told, sound.destroyed, sound.findings)
    };
    assert_eq!(seen(TenantId(1)), (2, 2, Vec::new()));
    assert_eq!(seen(TenantId(2)), (0, 0, Vec::new()));
    assert_eq!(checked(dir.path()).destroyed, 2, "whoever has the ledger itself sees all of it");
    // An earlier build told everybody; and what nobody explains is told to everybody still.
    let body = ledger.to_destroy(12, &Tasks::default()).await.expect("a message");
    let (region, node) = ("tokyo".parse().expect("a name"), NodeId(1));
    let order = BodyOrder { region, node, entry: 12, body, ground: OrderGround::CourtOrder };
    let signature = key.order(&order).into();
    let OrderedBody { commitment, left, peer: (region, node), class, question } = order.body;
    let (peer, officer, ground) = (Peer { region, node }, key.public(), order.ground);
    let gone = Destroyed { entry: 12, commitment, left, peer, class, question, ground, officer, signature };
    ledger.record(Event::BodyDestroyed(gone)).await.expect("recorded");
    ledger.publish();
    take_out(&Files::default(), dir.path(), 12).expect("taken out");
    assert_eq!((seen(TenantId(1)), seen(TenantId(2))), ((3, 3, Vec::new()), (1, 1, Vec::new())));
    take_out(&Files::default(), dir.path(), 16).expect("taken out by hand");
    for tenant in [TenantId(1), TenantId(2)] {
        let (_, _, findings) = seen(tenant);
        assert!(findings.iter().any(|found| found.words.contains("no entry says why")), "{findings:?}");
    }
}

#[tokio::test]
async fn a_body_that_goes_while_a_copy_is_made_is_explained_in_it() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    fill(&ledger, 0..600).await;
    ledger.publish();
    let copied = tempfile::tempdir().expect("a directory");
    let mut copy = Copy::begin(copied.path(), ledger.shown().expect("published")).expect("signed");
    take_next(&mut copy, &ledger);
    destroy(&ledger, &key, 300).await.expect("of a bundle that is not copied yet");
    destroy(&ledger, &key, 30).await.expect("of one that is");
    take_next(&mut copy, &ledger);
    assert!(copy.wants_head() && copy.wants() == Some(2));
    copy.go_on(ledger.shown().expect("published")).expect("it goes on");
    // And one of the bundle that was not whole when the copy was begun.
    fill(&ledger, 600..800).await;
    destroy(&ledger, &key, 540).await.expect("whole by now");
    assert!(!copy.wants_head());
    take_next(&mut copy, &ledger);
    assert!(copy.wants_head() && copy.size() > 600, "it is not taken with a gap that its head says nothing of");
    assert_eq!(copy.wants(), Some(0), "it says that a body is gone which was there");
    copy.go_on(ledger.shown().expect("published")).expect("it goes on");
    let mut asked = Vec::new();
    while let Some(bundle) = copy.wants() {
        asked.push(bundle);
        take_next(&mut copy, &ledger);
        if copy.wants_head() {
            copy.go_on(ledger.shown().expect("published")).expect("it goes on");
        }
    }
    assert!(asked.contains(&0), "the first bundle is asked for again: {asked:?}");
    copy.finish().expect("whole");
    let sound = checked(copied.path());
    assert_eq!((sound.destroyed, sound.findings.as_slice()), (3, &[][..]));
    assert!(sound.checkpoints >= 3, "both heads from before are kept: {}", sound.checkpoints);

    // Another log's head, or an older one, is no way to go on.
    let early = ledger.shown().expect("published");
    fill(&ledger, 800..810).await;
    ledger.publish();
    let mut copy = Copy::begin(copied.path(), ledger.shown().expect("published")).expect("signed");
    assert!(copy.go_on(early).is_err());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = open(&Files::default(), elsewhere.path()).expect("new");
    fill(&other, 0..900).await;
    other.publish();
    assert!(copy.go_on(other.shown().expect("published")).is_err());
}

#[tokio::test]
async fn a_body_that_goes_after_its_bundle_was_asked_for_again_has_it_asked_for_once_more() {
    let (dir, key) = (tempfile::tempdir().expect("a directory"), draw());
    let ledger = Arc::new(open(&Files::default(), dir.path()).expect("new"));
    honour(&ledger, &key).await;
    fill(&ledger, 0..600).await;
    ledger.publish();
    let copied = tempfile::tempdir().expect("a directory");
    let mut copy = Copy::begin(copied.path(), ledger.shown().expect("published")).expect("signed");
    take_next(&mut copy, &ledger);
    destroy(&ledger, &key, 300).await.expect("of a bundle that is not copied yet");
    destroy(&ledger, &key, 30).await.expect("of one that is");
    take_next(&mut copy, &ledger);
    assert!(copy.wants_head());
    copy.go_on(ledger.shown().expect("published")).expect("it goes on");
    take_next(&mut copy, &ledger);
    assert_eq!(copy.wants(), Some(0), "the last bundle says that a body is gone which was there");
    take_next(&mut copy, &ledger);
    destroy(&ledger, &key, 31).await.expect("of the bundle that was asked for again");
    let mut asked = Vec::new();
    loop {
        if copy.wants_head() {
            copy.go_on(ledger.shown().expect("published")).expect("it goes on");
        }
        let Some(bundle) = copy.wants() else { break };
        asked.push(bundle);
        take_next(&mut copy, &ledger);
    }
    assert_eq!(asked, [2, 0, 2], "the first bundle is asked for once more");
    copy.finish().expect("whole");
    let sound = checked(copied.path());
    assert_eq!((sound.destroyed, sound.findings.as_slice()), (3, &[][..]));
}
