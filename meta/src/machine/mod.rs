//! The state in memory: applies what the group has committed, hands out copies, makes and takes snapshots.
//!
//! It is volatile, so every snapshot is durable (`file`) before it is reported: the consensus library purges the log behind
//! a reported snapshot, and a node that lost it could not start again.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use domicile_proto::metadata::Applied;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::apply::apply;
use crate::convert;
use crate::error::MetaError;
use crate::raft::{Batch, Entry, LogId, Member, Snapshot, SnapshotMeta, StorageError, StoredMembership, Types};
use crate::state::State;
use crate::underway::Underway;

/// Writes the snapshot that a node begins with.
pub(crate) fn write_first(path: &std::path::Path, meta: &SnapshotMeta, state: &State) -> std::io::Result<()> {
    file::write(path, meta, state)
}

/// The state machine of one node. Clones are the same machine.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Inner>);

struct Inner {
    path: PathBuf,
    published: watch::Sender<Arc<State>>,
    current: Mutex<Current>,
    /// The last snapshot that is durable; held while another one is written.
    snapshot: Mutex<Kept>,
    underway: Underway,
}

#[derive(Default)]
struct Kept {
    last: Option<(SnapshotMeta, State)>,
    is_closed: bool,
}

#[derive(Default)]
struct Current {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// Starts from the snapshot file at `path`, or from nothing where there is none.
    pub(crate) fn open(path: PathBuf) -> Result<Self, MetaError> {
        let snapshot = file::read(&path)?;
        let current = snapshot.as_ref().map_or_else(Current::default, |(meta, state)| Current {
            state: state.clone(),
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        });
        let published = watch::Sender::new(Arc::new(current.state.clone()));
        let snapshot = Mutex::new(Kept { last: snapshot, is_closed: false });
        let current = Mutex::new(current);
        Ok(Self(Arc::new(Inner { path, published, current, snapshot, underway: Underway::default() })))
    }

    /// How to learn of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.0.published.subscribe()
    }

    /// The last entry that was applied, and the state that it made.
    pub(crate) fn now(&self) -> (Option<LogId>, State) {
        let current = self.0.current.lock();
        (current.last, current.state.clone())
    }

    /// The entry of the log up to which the state was made.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.0.current.lock().last.map(|last| last.index)
    }

    /// Ends the writing of snapshots, so that the directory may be opened again: one that is being written is waited for, and
    /// a builder that comes later writes nothing over what the next owner wrote. Blocks.
    pub(crate) fn close(&self) {
        self.0.snapshot.lock().is_closed = true;
    }

    /// Whether a snapshot is being written.
    pub(crate) fn is_flushing(&self) -> bool {
        self.0.underway.is_any()
    }

    /// What a builder does at its end.
    #[cfg(test)]
    pub(crate) fn keep_for_test(&self, meta: &SnapshotMeta, state: &State) -> Result<(), StorageError> {
        self.0.keep(meta, state)
    }
}

impl Inner {
    fn publish(&self, current: &Current) {
        self.published.send_if_modified(|published| {
            let is_new = !published.is_same(&current.state);
            if is_new {
                *published = Arc::new(current.state.clone());
            }
            is_new
        });
    }

    /// Makes a snapshot durable, unless a later one is already. Blocks.
    fn keep(&self, meta: &SnapshotMeta, state: &State) -> Result<(), StorageError> {
        let mut kept = self.snapshot.lock();
        if kept.last.as_ref().is_some_and(|(known, _)| known.last_log_id > meta.last_log_id) {
            return Ok(());
        }
        let closed = || std::io::Error::other("the metadata group has stopped");
        let written = if kept.is_closed { Err(closed()) } else { file::write(&self.path, meta, state) };
        written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        kept.last = Some((meta.clone(), state.clone()));
        Ok(())
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (meta, state) = {
            let current = self.0.current.lock();
            (convert::meta_of(current.last, current.membership.clone()), current.state.clone())
        };
        keep_elsewhere(&self.0, &meta, &state).await?;
        Ok(Snapshot { meta, snapshot: Box::new(state) })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let current = self.0.current.lock();
        Ok((current.last, current.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut current = self.0.current.lock();
        let current = &mut *current;
        let mut outcomes = Vec::new();
        for entry in entries {
            current.last = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(Batch(commands)) => {
                    commands.iter().map(|command| apply(&mut current.state, command)).collect()
                }
                EntryPayload::Membership(change) => {
                    current.membership = StoredMembership::new(Some(entry.log_id), change);
                    Vec::new()
                }
            });
        }
        self.0.publish(current);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<State>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &openraft::SnapshotMeta<u64, Member>,
        snapshot: Box<State>,
    ) -> Result<(), StorageError> {
        keep_elsewhere(&self.0, meta, &snapshot).await?;
        let mut current = self.0.current.lock();
        *current = Current { state: *snapshot, last: meta.last_log_id, membership: meta.last_membership.clone() };
        self.0.publish(&current);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let kept = self.0.snapshot.lock();
        Ok(kept.last.as_ref().map(|(meta, state)| Snapshot { meta: meta.clone(), snapshot: Box::new(state.clone()) }))
    }
}

async fn keep_elsewhere(inner: &Arc<Inner>, meta: &SnapshotMeta, state: &State) -> Result<(), StorageError> {
    let _one = inner.underway.begin();
    let (inner, meta, state) = (Arc::clone(inner), meta.clone(), state.clone());
    let kept = tokio::task::spawn_blocking(move || inner.keep(&meta, &state)).await;
    kept.map_err(|error| StorageIOError::write_snapshot(None, &error))?
}
