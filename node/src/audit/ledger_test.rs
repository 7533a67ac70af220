//! Crashes at every byte, flips of every bit, a disk that refuses.

use std::fs::{self, OpenOptions};

use domicile_proto::border::EgressClass;
use domicile_proto::ids::{ByteCount, NodeId, Timestamp};

use super::super::Entries;
use super::super::chain;
use super::super::entry::Passage;
use super::*;

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
        peer: peer(),
        class: EgressClass::Count,
        bytes: ByteCount(text.len() as u64),
        sha256: chain::sha256(&[text.as_bytes()]),
        body: text.as_bytes().to_vec(),
    })
}

fn open(dir: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(dir, &tokyo(), clock())
}

fn events(dir: &Path) -> Vec<Event> {
    let entries = Entries::open(dir, &tokyo()).expect("there");
    entries.map(|entry| entry.expect("whole").1.event).collect()
}

async fn three_entries(dir: &Path) -> Head {
    let ledger = open(dir).expect("a new ledger");
    ledger.record(Event::NodeStarted { node: NodeId(1) }).await.expect("recorded");
    ledger.record(egress("one")).await.expect("recorded");
    assert_eq!(ledger.record(egress("two")).await.expect("recorded"), 3);
    ledger.head()
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let head = three_entries(dir.path()).await;
    let again = open(dir.path()).expect("sound");
    assert_eq!(again.head(), head);
    assert_eq!(events(dir.path()), [Event::NodeStarted { node: NodeId(1) }, egress("one"), egress("two")]);
}

#[tokio::test]
async fn many_writers_share_flushes_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let all = (0..200).map(|number| ledger.record(egress(&number.to_string())));
    let mut numbers: Vec<u64> =
        futures::future::join_all(all).await.into_iter().map(|number| number.expect("recorded")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert_eq!(events(dir.path()).len(), 200);
    assert_eq!(ledger.head().size, 200);
}

#[tokio::test]
async fn an_end_torn_at_any_byte_is_put_aside_and_said_so() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let whole = fs::read(dir.path().join("ledger")).expect("there");
    let third = memchr::memmem::rfind(&whole, b"DMLG").expect("three entries");
    for cut in third + 1..whole.len() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ledger"), &whole[..cut]).expect("written");
        let ledger = open(dir.path()).expect("a torn end is no damage");
        assert_eq!(ledger.head().size, 3, "cut at {cut}");
        ledger.record(egress("after")).await.expect("recorded");
        let found = events(dir.path());
        assert_eq!(found[1], egress("one"));
        assert!(matches!(found[2], Event::TornTail { bytes, .. } if bytes == (cut - third) as u64));
        assert_eq!(found[3], egress("after"));
        assert_eq!(fs::read(dir.path().join(format!("torn-{third}"))).expect("kept"), &whole[third..cut]);
    }
}

#[tokio::test]
async fn any_flip_before_the_last_entry_stops_the_node() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let path = dir.path().join("ledger");
    let whole = fs::read(&path).expect("there");
    let third = memchr::memmem::rfind(&whole, b"DMLG").expect("three entries");
    for place in 0..third {
        for bit in [0_u8, 7] {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            fs::write(&path, &flipped).expect("written");
            let error = open(dir.path()).err();
            let is_seen = matches!(error, Some(LedgerError::Damaged { .. } | LedgerError::Foreign { .. }));
            assert!(is_seen, "byte {place}, bit {bit}: {error:?}");
            assert_eq!(fs::read(&path).expect("there"), flipped, "damage is evidence and stays as it is");
        }
    }
}

#[tokio::test]
async fn a_flip_in_the_last_entry_is_never_silent() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let whole = fs::read(dir.path().join("ledger")).expect("there");
    let third = memchr::memmem::rfind(&whole, b"DMLG").expect("three entries");
    for place in third..whole.len() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        fs::write(dir.path().join("ledger"), &flipped).expect("written");
        if open(dir.path()).is_ok() {
            assert!(matches!(events(dir.path())[2], Event::TornTail { .. }), "byte {place}");
        }
    }
}

#[tokio::test]
async fn an_entry_rewritten_with_a_right_checksum_breaks_the_chain() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let path = dir.path().join("ledger");
    let whole = fs::read(&path).expect("there");
    let second = memchr::memmem::find_iter(&whole, b"DMLG").nth(1).expect("three entries");
    let third = memchr::memmem::rfind(&whole, b"DMLG").expect("three entries");
    let mut root = [0; 32];
    root.copy_from_slice(&whole[second + 13..second + 45]);
    let mut forged = whole[..second].to_vec();
    let mut group = Vec::new();
    chain::put(&mut group, &body_of(&Entry { at: Timestamp(0), event: egress("another") }).expect("small"));
    forged.extend(chain::write(Head { size: 1, root }, &group));
    forged.extend_from_slice(&whole[third..]);
    fs::write(&path, forged).expect("written");
    assert!(matches!(open(dir.path()), Err(LedgerError::Damaged { entry: 3, .. })));
}

#[tokio::test]
async fn another_regions_ledger_is_not_written_on() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let other = Ledger::open(dir.path(), &"frankfurt".parse().expect("a name"), clock());
    assert!(matches!(other, Err(LedgerError::Foreign { .. })));
}

#[tokio::test]
async fn refuses_for_ever_after_a_failed_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ledger");
    fs::write(&path, b"").expect("written");
    let unwritable = OpenOptions::new().read(true).open(&path).expect("there");
    let ledger = Ledger::over(
        LedgerFile::at(unwritable, Head::empty(&tokyo()), 0, Marks::default()),
        dir.path(),
        &tokyo(),
        clock(),
    )
    .expect("a thread");
    for _ in 0..3 {
        assert!(matches!(ledger.record(egress("one")).await, Err(LedgerError::Poisoned)));
    }
    assert_eq!(ledger.head(), Head::empty(&tokyo()));
}

#[tokio::test]
async fn metadata_is_one_entry_for_each_peer() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    ledger.count_metadata(peer(), 10, 0);
    ledger.count_metadata(peer(), 5, 7);
    ledger.record_metadata().await.expect("recorded");
    ledger.record_metadata().await.expect("nothing to record");
    assert_eq!(events(dir.path()), [Event::Metadata { peer: peer(), sent: 15, received: 7 }]);
}

#[tokio::test]
async fn takes_nothing_after_closing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    ledger.close();
    assert!(matches!(ledger.record(egress("late")).await, Err(LedgerError::Closed)));
}

#[tokio::test]
async fn of_a_group_any_page_may_be_lost_and_the_rest_be_there() {
    let dir = tempfile::tempdir().expect("a directory");
    three_entries(dir.path()).await;
    let before = fs::read(dir.path().join("ledger")).expect("there").len();
    let (mut file, _) = LedgerFile::open(dir.path(), &tokyo()).expect("sound");
    for number in 0..20 {
        let event = egress(&format!("{number} {}", "wide ".repeat(50)));
        file.add(&body_of(&Entry { at: Timestamp(0), event }).expect("small"));
    }
    file.commit().expect("written");
    assert_eq!(file.head().size, 23);
    let whole = fs::read(dir.path().join("ledger")).expect("there");
    assert!(whole.len() > before + 4_096);
    for page in (before..whole.len()).step_by(512) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut lost = whole.clone();
        let end = (page + 512).min(lost.len());
        lost[page..end].fill(0);
        fs::write(dir.path().join("ledger"), &lost).expect("written");
        let ledger = open(dir.path()).unwrap_or_else(|error| panic!("page at {page}: {error}"));
        assert_eq!(ledger.head().size, 4, "three entries and the torn end");
        assert!(
            matches!(events(dir.path())[3], Event::TornTail { bytes, .. } if bytes == (lost.len() - before) as u64)
        );
        ledger.record(egress("after")).await.expect("recorded");
    }
}

#[tokio::test]
async fn a_ledger_of_earlier_builds_is_read_and_written_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut head = Head::empty(&tokyo());
    let mut old = Vec::new();
    for text in ["one", "two"] {
        let body = body_of(&Entry { at: Timestamp(0), event: egress(text) }).expect("small");
        old.extend(chain::write_single(head, &body));
        head = head.after(&body);
    }
    fs::write(dir.path().join("ledger"), &old).expect("written");
    let ledger = open(dir.path()).expect("sound");
    assert_eq!(ledger.head(), head);
    ledger.record(egress("three")).await.expect("recorded");
    ledger.close();
    assert_eq!(events(dir.path()), [egress("one"), egress("two"), egress("three")]);
    assert_eq!(open(dir.path()).expect("sound").head().size, 3);
}

#[tokio::test]
async fn more_than_a_group_holds_is_several_groups() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let wide = "wide ".repeat(10_000);
    let all = (0..60).map(|number| ledger.record(egress(&format!("{number} {wide}"))));
    assert!(futures::future::join_all(all).await.into_iter().all(|number| number.is_ok()));
    ledger.close();
    assert!(fs::metadata(dir.path().join("ledger")).expect("there").len() > 2 * chain::MAX_GROUP_BYTES as u64);
    assert_eq!(open(dir.path()).expect("sound").head().size, 60);
}

#[tokio::test]
async fn a_page_is_read_from_the_mark_before_it_and_what_lies_before_is_not_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = open(dir.path()).expect("a new ledger");
    let all = (0..3_000).map(|number| ledger.record(egress(&number.to_string())));
    futures::future::join_all(all).await;
    let numbers = |ledger: &Ledger, after: u64| -> Vec<u64> {
        let entries = ledger.entries_after(after).expect("there").take(2);
        entries.map(|entry| entry.expect("whole").0).collect()
    };
    for after in [0, 1, 1_023, 1_024, 1_025, 2_047, 2_048, 2_999, 3_000, 9_000] {
        let wanted: Vec<u64> = (after + 1..=3_000).take(2).collect();
        assert_eq!(numbers(&ledger, after), wanted, "after {after}");
    }
    ledger.close();
    let again = open(dir.path()).expect("sound");
    assert_eq!(numbers(&again, 2_100), [2_101, 2_102], "the marks are found again");
    // The first entry is damaged behind the ledger's back: a page far behind it is read all the same.
    let path = dir.path().join("ledger");
    let mut bytes = fs::read(&path).expect("there");
    bytes[20] ^= 1;
    fs::write(&path, bytes).expect("written");
    assert_eq!(numbers(&again, 2_100), [2_101, 2_102]);
    assert!(again.entries_after(0).expect("there").next().is_some_and(|first| first.is_err()));
}
