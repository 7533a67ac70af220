//! The log and the state machine against the consensus library's own storage suite, and against restarts.

use domicile_proto::ids::NodeId;
use domicile_proto::metadata::Command;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader, RaftSnapshotBuilder};
use tempfile::TempDir;

use super::LogStore;
use crate::error::MetaError;
use crate::machine::Machine;
use crate::raft::{Batch, Entry, LogId, StorageError, Types, Vote};

struct Fresh;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let directory = TempDir::new().unwrap();
        let (log, machine) = open(&directory).unwrap();
        Ok((directory, log, machine))
    }
}

fn open(directory: &TempDir) -> Result<(LogStore, Machine), MetaError> {
    let log = LogStore::open(&directory.path().join("log.redb"), NodeId(1))?;
    Ok((log, Machine::open(directory.path().join("snapshot"))?))
}

fn open_machine(directory: &TempDir) -> Machine {
    Machine::open(directory.path().join("snapshot")).unwrap()
}

fn id(index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(1, 1), index)
}

fn tenant(index: u64) -> Entry {
    let command = Command::CreateTenant { tenant: format!("tenant-{index}").parse().unwrap() };
    Entry { log_id: id(index), payload: EntryPayload::Normal(Batch(vec![command])) }
}

#[test]
fn the_librarys_storage_suite_passes() {
    Suite::<Types, LogStore, Machine, Fresh, TempDir>::test_all(Fresh).unwrap();
}

#[tokio::test]
async fn what_was_reported_written_is_there_after_reopening() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(&directory).unwrap();
    log.save_vote(&Vote::new_committed(7, 1)).await.unwrap();
    log.blocking_append((0..10).map(tenant)).await.unwrap();
    log.truncate(id(8)).await.unwrap();
    log.purge(id(4)).await.unwrap();
    log.save_committed(Some(id(6))).await.unwrap();
    log.close();

    let (mut log, _) = open(&directory).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(7, 1)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(4)), Some(id(7))));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(6)));
    let left = log.try_get_log_entries(0..100).await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), [5, 6, 7]);
    log.close();
}

#[tokio::test]
async fn a_snapshot_survives_a_restart_and_stands_for_the_purged_log() {
    let directory = TempDir::new().unwrap();
    let (mut log, mut machine) = open(&directory).unwrap();
    log.blocking_append((0..10).map(tenant)).await.unwrap();
    machine.apply((0..10).map(tenant)).await.unwrap();
    let built = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(id(9)));
    log.purge(id(9)).await.unwrap();
    let before = machine.watch().borrow().clone();
    log.close();

    let (mut log, mut machine) = open(&directory).unwrap();
    assert_eq!(machine.applied_state().await.unwrap().0, Some(id(9)));
    assert_eq!(*machine.watch().borrow(), before);
    assert!(log.try_get_log_entries(0..100).await.unwrap().is_empty());
    let kept = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((kept.meta, *kept.snapshot), (built.meta, *built.snapshot));
    log.close();
}

#[tokio::test]
async fn a_torn_or_changed_snapshot_is_refused_at_every_byte() {
    let directory = TempDir::new().unwrap();
    let (log, mut machine) = open(&directory).unwrap();
    machine.apply((0..3).map(tenant)).await.unwrap();
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    log.close();
    let path = directory.path().join("snapshot");
    let whole = std::fs::read(&path).unwrap();
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(matches!(Machine::open(path.clone()), Err(MetaError::Damaged { .. })), "cut at {end}");
        let mut changed = whole.clone();
        changed[end] ^= 0x20;
        std::fs::write(&path, &changed).unwrap();
        assert!(matches!(Machine::open(path.clone()), Err(MetaError::Damaged { .. })), "changed at {end}");
    }
}

#[tokio::test]
async fn a_later_snapshot_is_not_replaced_by_an_earlier_one() {
    let directory = TempDir::new().unwrap();
    let (log, mut ahead) = open(&directory).unwrap();
    ahead.apply((0..5).map(tenant)).await.unwrap();
    let mut builder = ahead.get_snapshot_builder().await;
    let early = builder.build_snapshot().await.unwrap();
    ahead.apply((5..9).map(tenant)).await.unwrap();
    let late = builder.build_snapshot().await.unwrap();
    // A builder that was slow reports its older snapshot last.
    ahead.keep_for_test(&early.meta, &early.snapshot).unwrap();
    let kept = Machine::open(directory.path().join("snapshot")).unwrap().get_current_snapshot().await.unwrap();
    assert_eq!(kept.unwrap().meta, late.meta);
    log.close();
}

#[tokio::test]
async fn a_builder_that_is_slower_than_the_stop_writes_over_nothing() {
    let directory = TempDir::new().unwrap();
    let (log, mut slow) = open(&directory).unwrap();
    slow.apply((0..5).map(tenant)).await.unwrap();
    let late = slow.get_snapshot_builder().await.build_snapshot().await.unwrap();
    slow.close();
    let (path, mut next) = (directory.path().join("snapshot"), open_machine(&directory));
    next.apply((5..9).map(tenant)).await.unwrap();
    let newer = next.get_snapshot_builder().await.build_snapshot().await.unwrap();
    // Of the same place as the last one that the slow machine kept, so that it alone would take it.
    assert!(slow.keep_for_test(&late.meta, &late.snapshot).is_err());
    let kept = Machine::open(path).unwrap().get_current_snapshot().await.unwrap();
    assert_eq!(kept.unwrap().meta, newer.meta);
    log.close();
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    LogStore::open(&path, NodeId(1)).unwrap().close();
    assert!(matches!(LogStore::open(&path, NodeId(2)), Err(MetaError::OtherNode { owner: NodeId(1), .. })));
    let again = LogStore::open(&path, NodeId(1)).unwrap();
    assert!(matches!(LogStore::open(&path, NodeId(1)), Err(MetaError::Open { .. })));
    again.close();
}

#[tokio::test]
async fn a_closed_log_refuses_instead_of_losing() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(&directory).unwrap();
    log.close();
    assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
    assert!(log.blocking_append([tenant(0)]).await.is_err());
    assert!(log.get_log_state().await.is_err());
}
