//! One flipped bit, or a cut, anywhere in the files of the log: it is refused with a code, or everything is there.

use std::path::Path;

use domicile_proto::ids::NodeId;
use domicile_proto::metadata::Command;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{EntryPayload, LogState, RaftLogReader};
use tempfile::TempDir;

use super::LogStore;
use crate::error::MetaError;
use crate::raft::{Batch, Entry, LogId, Types, Vote};

const NODE: NodeId = NodeId(1);
const FILES: [&str; 2] = ["log.redb", "log.mark"];

fn id(index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(1, 1), index)
}

fn entry(index: u64) -> Entry {
    let command = Command::CreateTenant { tenant: format!("tenant-{index}").parse().unwrap() };
    Entry { log_id: id(index), payload: EntryPayload::Normal(Batch(vec![command])) }
}

/// All that the consensus goes by.
type Seen = (Option<Vote>, LogState<Types>, Vec<Entry>);

async fn seen(log: &mut LogStore) -> Seen {
    let entries = log.try_get_log_entries(0..1_000).await.unwrap();
    (log.read_vote().await.unwrap(), log.get_log_state().await.unwrap(), entries)
}

/// The files of a log that was written for a while: as they lie there while the node runs, so that the copy is what kill -9
/// leaves, or after it was closed.
async fn written(closed: bool, last_is_vote: bool) -> (TempDir, Seen) {
    let (live, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut log = LogStore::open(&live.path().join("log.redb"), NODE).unwrap();
    for term in 1..4 {
        log.save_vote(&Vote::new_committed(term, 1)).await.unwrap();
        log.blocking_append((term * 10 - 10..term * 10).map(entry)).await.unwrap();
        log.save_committed(Some(id(term * 10 - 1))).await.unwrap();
    }
    log.truncate(id(28)).await.unwrap();
    log.purge(id(4)).await.unwrap();
    for index in 28..33 {
        log.blocking_append([entry(index)]).await.unwrap();
    }
    if last_is_vote {
        log.save_vote(&Vote::new(9, 2)).await.unwrap();
    }
    let seen = seen(&mut log).await;
    if closed {
        log.close();
    }
    for file in FILES {
        std::fs::copy(live.path().join(file), copy.path().join(file)).unwrap();
    }
    log.close();
    (copy, seen)
}

/// Opens a log of which one file was changed.
async fn open_spoilt(whole: &Path, file: &str, bytes: Option<&[u8]>) -> Result<Seen, MetaError> {
    let spoilt = TempDir::new().unwrap();
    for file in FILES {
        std::fs::copy(whole.join(file), spoilt.path().join(file)).unwrap();
    }
    match bytes {
        Some(bytes) => std::fs::write(spoilt.path().join(file), bytes).unwrap(),
        None => std::fs::remove_file(spoilt.path().join(file)).unwrap(),
    }
    let mut log = LogStore::open(&spoilt.path().join("log.redb"), NODE)?;
    let found = seen(&mut log).await;
    log.close();
    Ok(found)
}

/// Flips one bit after the other, and cuts. How many were noticed, and how many of these as going back.
async fn spoil_everywhere(closed: bool, last_is_vote: bool, stride: usize) -> (u64, u64) {
    let (whole, expected) = written(closed, last_is_vote).await;
    assert_eq!(
        open_spoilt(whole.path(), FILES[1], Some(&std::fs::read(whole.path().join(FILES[1])).unwrap())).await.unwrap(),
        expected
    );
    let (mut noticed, mut back) = (0, 0);
    for file in FILES {
        let bytes = std::fs::read(whole.path().join(file)).unwrap();
        // Every byte of the head; of the pages only those that hold something.
        let is_told = |at: &usize| *at < 400 || bytes[*at] != 0;
        let places: Vec<usize> = (0..bytes.len()).filter(is_told).collect();
        let head = places.iter().copied().take_while(|at| *at < 400).step_by(stride.div_ceil(8));
        let pages = places.iter().copied().skip_while(|at| *at < 400).step_by(stride);
        for at in head.chain(pages) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match open_spoilt(whole.path(), file, Some(&flipped)).await {
                Ok(found) => assert!(found == expected, "{file}: bit {} of byte {at} went unnoticed", at % 8),
                Err(error) => {
                    noticed += 1;
                    back += u64::from(matches!(error, MetaError::WentBack { .. }));
                }
            }
        }
        for cut in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
            if let Ok(found) = open_spoilt(whole.path(), file, bytes.get(..cut)).await {
                assert!(found == expected, "{file}, cut at {cut}, went unnoticed");
            }
        }
        assert!(open_spoilt(whole.path(), file, None).await.is_err(), "{file} is gone, and nobody says so");
    }
    (noticed, back)
}

#[tokio::test]
async fn a_bit_that_flipped_under_a_node_that_was_killed_is_noticed_or_harmless() {
    let (noticed, back) = spoil_everywhere(false, false, 61).await;
    assert!(noticed > 20 && back > 0, "{noticed} noticed, {back} of them because the log went back");
}

#[tokio::test]
async fn a_vote_never_goes_back_in_silence() {
    let (noticed, back) = spoil_everywhere(false, true, 61).await;
    assert!(noticed > 20 && back > 0, "{noticed} noticed, {back} of them because the log went back");
}

#[tokio::test]
async fn a_bit_that_flipped_in_a_closed_log_is_noticed_or_harmless() {
    let (noticed, _) = spoil_everywhere(true, false, 61).await;
    assert!(noticed > 20, "{noticed}");
}

#[tokio::test]
async fn an_older_copy_of_the_log_is_refused_and_stays_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    let mut log = LogStore::open(&path, NODE).unwrap();
    log.blocking_append([entry(0)]).await.unwrap();
    log.close();
    let older = std::fs::read(&path).unwrap();
    let mut log = LogStore::open(&path, NODE).unwrap();
    log.blocking_append([entry(1)]).await.unwrap();
    log.close();
    let newer = std::fs::read(&path).unwrap();
    std::fs::write(&path, older).unwrap();
    for _ in 0..2 {
        let refused = LogStore::open(&path, NODE).err().expect("it went back");
        assert!(matches!(refused, MetaError::WentBack { written: 2, found: 1, .. }), "{refused}");
        assert_eq!(refused.code(), "DMC-META-13");
    }
    std::fs::write(&path, newer).unwrap();
    LogStore::open(&path, NODE).unwrap().close();
}

#[tokio::test]
async fn a_log_from_before_there_was_a_mark_gets_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    LogStore::open(&path, NODE).unwrap().close();
    std::fs::remove_file(directory.path().join("log.mark")).unwrap();
    let mut log = LogStore::open(&path, NODE).unwrap();
    log.blocking_append([entry(0)]).await.unwrap();
    log.close();
    std::fs::remove_file(directory.path().join("log.mark")).unwrap();
    assert!(matches!(LogStore::open(&path, NODE), Err(MetaError::Damaged { .. })));
}
