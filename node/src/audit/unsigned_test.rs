//! What somebody put behind the last signed entry is counted, and what no node would have written there is named.

use std::fs;
use std::path::{Path, PathBuf};

use domicile_proto::ids::{Region, Timestamp};

use super::super::entry::{Entry, Event};
use super::super::ledger::Ledger;
use super::super::tiles::Record;
use super::super::verify::{Checked, verify};
use super::*;
use crate::clock::Clock;

fn check(dir: &Path) -> Result<Checked, Broken> {
    verify(dir, None, &[], &mut |_, _| {})
}

fn hold(number: usize) -> Event {
    Event::HoldSet { hold: number.to_string().into() }
}

/// A ledger of so many entries, closed: a checkpoint is over all of them. With the end of the one chain in it.
async fn ledger(count: usize) -> (tempfile::TempDir, Link) {
    let dir = tempfile::tempdir().expect("a directory");
    let tokyo: Region = "tokyo".parse().expect("a name");
    let ledger = Ledger::open(dir.path(), &tokyo, Clock::standing_at(Timestamp(1))).expect("new");
    for number in 0..count {
        ledger.record(hold(number)).await.expect("recorded");
    }
    ledger.close();
    let mut last = Link::NONE;
    let mut rest = &fs::read(bodies(dir.path(), (count as u64 - 1) / WIDTH)).expect("there")[..];
    while let Some(Kept::Whole(record)) = tiles::take(&mut rest) {
        let seq = Entry::read(&record.body).expect("an entry").seq;
        last = Link { seq, commitment: record.commitment() };
    }
    (dir, last)
}

fn bodies(dir: &Path, index: u64) -> PathBuf {
    dir.join("log").join(tiles::bodies_path(index))
}

/// The body that would come next in the chain.
fn next(end: &mut Link) -> Vec<u8> {
    let entry = Entry::specimen_behind(Timestamp(2), end, hold(99));
    let record = Record { nonce: [7; 32], body: entry.body() };
    *end = Link { seq: end.seq + 1, commitment: record.commitment() };
    let mut bytes = Vec::new();
    record.put(&mut bytes);
    bytes
}

fn append(path: &Path, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap_or_default();
    all.extend_from_slice(bytes);
    fs::write(path, all).expect("written");
}

#[tokio::test]
async fn a_body_behind_the_last_signed_entry_is_counted_in_a_bare_log_and_told_to_nobody() {
    for (count, file) in [(30, 0), (256, 1), (300, 1)] {
        let (dir, mut end) = ledger(count).await;
        let log = dir.path().join("log");
        assert_eq!(check(&log).expect("sound").unsigned, Unsigned::default());
        let (first, second) = (next(&mut end), next(&mut end));
        append(&bodies(dir.path(), file), &[first.clone(), second.clone()].concat());
        let mut told = 0;
        let checked = verify(&log, None, &[], &mut |_, _| told += 1).expect("what is signed is whole");
        let bytes = (first.len() + second.len()) as u64;
        assert_eq!(checked.unsigned, Unsigned { entries: 2, bytes });
        assert_eq!((checked.head.expect("signed").size, told), (count as u64, count));
        // As in a copy that was made while the node wrote.
        append(&bodies(dir.path(), file), &first[..9]);
        let torn = check(&log).expect("what is signed is whole").unsigned;
        assert_eq!(torn, Unsigned { entries: 2, bytes: bytes + 9 });
    }
}

#[tokio::test]
async fn a_body_that_the_node_would_not_have_written_there_is_named() {
    let (dir, end) = ledger(30).await;
    let (path, log) = (bodies(dir.path(), 0), dir.path().join("log"));
    let whole = fs::read(&path).expect("there");
    let first = {
        let mut rest = &whole[..];
        tiles::take(&mut rest).expect("whole");
        whole[..whole.len() - rest.len()].to_vec()
    };
    let skipping = next(&mut Link { seq: end.seq + 1, ..end });
    let mut foreign = Vec::new();
    Record { nonce: [7; 32], body: b"{}".to_vec() }.put(&mut foreign);
    for (bytes, why) in [
        (first, "does not go on"),
        (skipping, "does not go on"),
        (foreign, "no entry that this build knows"),
        (vec![0xd6], "no body"),
        (vec![0xd7], "no body"),
        (b"junk".to_vec(), "no body"),
    ] {
        append(&path, &bytes);
        let broken = check(&log).expect_err("seen");
        assert!(broken.place.starts_with("bodies/000, behind the last signed entry, number 31"), "{broken}");
        assert!(broken.why.contains(why), "{broken}");
        fs::write(&path, &whole).expect("as it was");
    }
    assert!(check(&log).is_ok());
}

#[tokio::test]
async fn files_of_bodies_behind_the_log_must_follow_each_other() {
    let (dir, mut end) = ledger(30).await;
    let log = dir.path().join("log");
    fs::write(bodies(dir.path(), 1), next(&mut end.clone())).expect("written");
    assert_eq!(check(&log).expect_err("there is a gap").place, "bodies/001");
    fs::remove_file(bodies(dir.path(), 1)).expect("removed");
    for stray in ["bodies/999", "bodies/notes"] {
        fs::write(log.join(stray), next(&mut end.clone())).expect("written");
        assert_eq!(check(&log).expect_err("it follows nothing").place, stray);
        fs::remove_file(log.join(stray)).expect("removed");
    }
    for _ in 31..=WIDTH {
        append(&bodies(dir.path(), 0), &next(&mut end));
    }
    fs::write(bodies(dir.path(), 1), next(&mut end)).expect("written");
    assert_eq!(check(&log).expect("they follow").unsigned.entries, WIDTH - 30 + 1);
}

/// The node that writes has no checkpoint over what it has just written; its tail says what that is.
#[tokio::test]
async fn a_body_behind_the_checkpoint_is_the_one_that_became_durable() {
    let (dir, _) = ledger(30).await;
    let tokyo: Region = "tokyo".parse().expect("a name");
    let kept: Vec<(PathBuf, Vec<u8>)> = ["log/checkpoint", "log/tile/0/000.p/30", "log/tile/entries/000.p/30"]
        .map(|name| dir.path().join(name))
        .map(|path| (path.clone(), fs::read(path).expect("there")))
        .into();
    let again = Ledger::open(dir.path(), &tokyo, Clock::standing_at(Timestamp(1))).expect("sound");
    again.record(hold(31)).await.expect("recorded");
    again.close();
    for (path, bytes) in &kept {
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(path, bytes).expect("as before the entry");
    }
    fs::remove_dir_all(dir.path().join("log/checkpoints")).expect("one of them is over the new entry");
    let checked = check(dir.path()).expect("as after a crash");
    assert_eq!((checked.beyond, checked.unsigned), (1, Unsigned::default()));
    assert_eq!(check(&dir.path().join("log")).expect("without the tail").unsigned.entries, 1);
    let path = bodies(dir.path(), 0);
    let mut changed = fs::read(&path).expect("there");
    let last = changed.len() - 1;
    let (mut rest, mut end) = (&changed[..], Link::NONE);
    for seq in 1..=30 {
        let Some(Kept::Whole(record)) = tiles::take(&mut rest) else { panic!("30 are there") };
        end = Link { seq, commitment: record.commitment() };
    }
    let signed = changed.len() - rest.len();
    changed[last] ^= 1;
    fs::write(&path, &changed).expect("written");
    assert!(check(dir.path()).expect_err("no such body became durable").why.contains("became durable"));
    // One that is well made, in the place of the one that became durable.
    changed.truncate(signed);
    changed.extend(next(&mut end));
    fs::write(&path, &changed).expect("written");
    assert!(check(dir.path()).expect_err("another one").why.contains("became durable"));
    assert_eq!(check(&dir.path().join("log")).expect("without the tail").unsigned.entries, 1);
}
