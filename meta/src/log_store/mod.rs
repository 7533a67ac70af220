//! The durable log of the consensus: entries, the vote, what was purged, and a hint how far the group has committed.
//!
//! One writer thread owns all writes (`writer`); reads go straight to the database. Entries and votes are durable before
//! the call returns. After a failed write nothing is written any more until the node restarts. A log that is damaged, or holds
//! less than was written, is refused when it is opened (`check`, `mark`). What entries mean is none of its business; the state
//! made of them lies in `machine`.

mod check;
mod mark;
mod writer;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use domicile_proto::codec::{self, Message};
use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata as wire;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use self::writer::{Jobs, Write};
use crate::convert;
use crate::error::MetaError;
use crate::raft::{Entry, LogId, StorageError, Types, Vote};
use crate::underway::Underway;

/// Entries by index, each a frame.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// The vote, as a frame.
const VOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("votes");
/// Places in the log: term, node, index.
const PLACES: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("places");
/// Facts about the file itself.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";
const FORMAT: &str = "format";
const NODE: &str = "node";
/// How many durable writes there were; [`mark::Mark`] has the same number.
const WRITES: &str = "writes";
/// The layout this build reads and writes.
const FORMAT_VERSION: u64 = 1;

/// The log of one node. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    database: RwLock<Option<Arc<Database>>>,
    jobs: Mutex<Option<Jobs>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The last hint that was left, for the writer may still hold it.
    committed: Mutex<Option<LogId>>,
    underway: Underway,
}

impl LogStore {
    /// Opens the log of `node`, or creates it.
    pub(crate) fn open(path: &Path, node: NodeId) -> Result<Self, MetaError> {
        let (database, mark) = check::open(path, node)?;
        let database = Arc::new(database);
        let (jobs, thread) = writer::start(Arc::clone(&database), mark)
            .map_err(|source| MetaError::Io { path: path.to_owned(), source })?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            committed: Mutex::new(None),
            underway: Underway::default(),
        })))
    }

    /// Up to which index entries were taken out, because a snapshot stands for them.
    pub(crate) fn purged(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.place(PURGED)?.map(|place| place.index))
    }

    /// Ends the writer and closes the file, so that it may be opened again. Blocks until what was asked is written.
    pub(crate) fn close(&self) {
        drop(self.0.jobs.lock().take());
        let ended = self.0.thread.lock().take().is_none_or(|thread| thread.join().is_ok());
        if !ended {
            tracing::error!(path = %self.0.path.display(), "the writer of the metadata log panicked");
        }
        drop(self.0.database.write().take());
    }

    /// Whether somebody waits for a flush.
    pub(crate) fn is_flushing(&self) -> bool {
        self.0.underway.is_any()
    }

    async fn write(&self, write: Write) -> std::io::Result<()> {
        let _one = self.0.underway.begin();
        let jobs = self.0.jobs.lock().clone();
        jobs.ok_or_else(writer::closed)?.write(write).await
    }

    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let database = self.0.database.read();
        read(database.as_ref().ok_or_else(|| StorageIOError::read(&writer::closed()))?)
    }

    fn place(&self, key: &str) -> Result<Option<LogId>, StorageError> {
        self.read(|database| {
            let table = database.begin_read().map_err(reading)?.open_table(PLACES).map_err(reading)?;
            let found = table.get(key).map_err(reading)?.map(|place| place.value());
            Ok(found.map(|(term, node, index)| convert::log_id(&wire::LogPlace { term, node: NodeId(node), index })))
        })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, StorageError>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|database| {
            let table = database.begin_read().map_err(reading)?.open_table(ENTRIES).map_err(reading)?;
            let rows = table.range(from..to).map_err(reading)?;
            rows.map(|row| decoded(row.map_err(reading)?.1.value()).map(convert::entry)).collect()
        })
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let last_purged_log_id = self.place(PURGED)?;
        let last = self.read(|database| {
            let table = database.begin_read().map_err(reading)?.open_table(ENTRIES).map_err(reading)?;
            let row = table.last().map_err(reading)?;
            row.map(|(_, frame)| decoded::<wire::Entry>(frame.value())).transpose()
        })?;
        let last = last.map(|entry| convert::log_id(&entry.place));
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let frame = codec::encode(&convert::wire_vote(vote)).map_err(|error| StorageIOError::write_vote(&error))?;
        self.write(Write::Vote(frame)).await.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.read(|database| {
            let table = database.begin_read().map_err(reading)?.open_table(VOTES).map_err(reading)?;
            let frame = table.get(VOTE).map_err(reading)?;
            frame.map(|frame| decoded(frame.value()).map(|vote| convert::vote(&vote))).transpose()
        })
    }

    /// A hint, flushed with the next write or shortly after: it lets a restarted node that is cut off from the group show
    /// the state it had shown before.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let jobs = self.0.jobs.lock().clone();
        if let (Some(committed), Some(jobs)) = (committed, jobs) {
            jobs.hint(convert::place(&committed));
            *self.0.committed.lock() = Some(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let hinted = *self.0.committed.lock();
        if hinted.is_some() { Ok(hinted) } else { self.place(COMMITTED) }
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let frames = entries.into_iter().map(|entry| {
            let index = entry.log_id.index;
            codec::encode(&convert::wire_entry(entry)).map(|frame| (index, frame))
        });
        let frames = frames.collect::<Result<Vec<_>, _>>().map_err(|error| StorageIOError::write_logs(&error))?;
        // The reader must see the entries when this returns, so it waits for the flush; the leader would in any case.
        let result = self.write(Write::Append(frames)).await;
        let outcome = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(StorageIOError::write_logs(error).into()),
        };
        callback.log_io_completed(result);
        outcome
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let truncated = self.write(Write::Truncate(from.index)).await;
        truncated.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, to: LogId) -> Result<(), StorageError> {
        let purged = self.write(Write::Purge(convert::place(&to))).await;
        purged.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}

fn decoded<M: Message>(frame: &[u8]) -> Result<M, StorageError> {
    codec::decode(frame).map_err(|error| StorageIOError::read_logs(&error).into())
}

fn reading<E: std::error::Error + 'static>(error: E) -> StorageError {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

#[cfg(test)]
mod damage_test;
#[cfg(test)]
mod suite_test;
