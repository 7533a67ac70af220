//! The one writer of the log: everything that waits goes into one transaction and one flush.
//!
//! Order is kept: votes and entries are written as they were asked for. A transaction that holds nothing but the hint of
//! how far the group has committed is not flushed at once. The first failure is the last write: what the disk holds after a
//! failed flush is not known, so all later writes are refused until the node restarts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

use domicile_proto::message::metadata::LogPlace;
use redb::{Database, Durability, ReadableTable};
use tokio::sync::oneshot;

use super::mark::Mark;
use super::{COMMITTED, ENTRIES, FACTS, PLACES, PURGED, VOTE, VOTES, WRITES};
use crate::limits::{COMMITTED_FLUSH, LOG_JOBS_WAITING, MARK_FLUSH};

/// Something to be written durably.
pub(super) enum Write {
    /// Entries by index, as frames.
    Append(Vec<(u64, Vec<u8>)>),
    /// The vote, as a frame.
    Vote(Vec<u8>),
    /// Takes out the entries from an index on.
    Truncate(u64),
    /// Takes out the entries up to a place, and remembers the place in the same transaction.
    Purge(LogPlace),
}

enum Job {
    Durable(Write, oneshot::Sender<io::Result<()>>),
    Hint(LogPlace),
}

/// The way to the writer; it ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Jobs(SyncSender<Job>);

impl Jobs {
    /// Writes and waits for the flush.
    pub(super) async fn write(&self, write: Write) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.0.send(Job::Durable(write, done)).map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }

    /// Leaves the hint how far the group has committed; where the writer is busy, the next one will do.
    pub(super) fn hint(&self, committed: LogPlace) {
        if self.0.try_send(Job::Hint(committed)).is_err() {
            tracing::debug!("the writer of the metadata log is busy; a commit hint is left out");
        }
    }
}

pub(super) fn closed() -> io::Error {
    io::Error::other("the metadata log is closed")
}

pub(super) fn start(database: Arc<Database>, mark: Mark) -> io::Result<(Jobs, JoinHandle<()>)> {
    let (jobs, waiting) = sync_channel(LOG_JOBS_WAITING);
    let thread =
        std::thread::Builder::new().name("metadata-log".to_owned()).spawn(move || run(&database, mark, &waiting))?;
    Ok((Jobs(jobs), thread))
}

fn run(database: &Database, mut mark: Mark, waiting: &Receiver<Job>) {
    let mut failed: Option<String> = None;
    let mut is_unflushed = false;
    loop {
        let first = if is_unflushed {
            waiting.recv_timeout(COMMITTED_FLUSH)
        } else if mark.is_unflushed() && failed.is_none() {
            waiting.recv_timeout(MARK_FLUSH)
        } else {
            waiting.recv().map_err(From::from)
        };
        let mut jobs = match first {
            Ok(job) => vec![job],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) if is_unflushed => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => {
                // The log holds what the mark would say; one that says less does no harm.
                drop(mark.flush());
                return;
            }
        };
        jobs.extend(waiting.try_iter().take(LOG_JOBS_WAITING));
        let is_lazy = !jobs.is_empty() && jobs.iter().all(|job| matches!(job, Job::Hint(_)));
        if failed.is_none() {
            let written = if jobs.is_empty() && !is_unflushed {
                mark.flush()
            } else {
                commit(database, &mut mark, &jobs, is_lazy).map_err(io::Error::other)
            };
            failed = written.err().map(|error| error.to_string());
            if let Some(error) = &failed {
                tracing::error!(error, "a write of the metadata log failed; restart the node to recover");
            }
        }
        is_unflushed = is_lazy && failed.is_none();
        for job in jobs {
            if let Job::Durable(_, done) = job {
                let outcome = failed.as_ref().map_or(Ok(()), |error| Err(io::Error::other(error.clone())));
                // Whoever asked may have been stopped meanwhile.
                drop(done.send(outcome));
            }
        }
    }
}

fn commit(database: &Database, mark: &mut Mark, jobs: &[Job], is_lazy: bool) -> Result<(), redb::Error> {
    let number = mark.written().saturating_add(1);
    let mut transaction = database.begin_write()?;
    transaction.set_durability(if is_lazy { Durability::None } else { Durability::Immediate })?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut votes = transaction.open_table(VOTES)?;
        let mut places = transaction.open_table(PLACES)?;
        for job in jobs {
            match job {
                Job::Durable(Write::Append(frames), _) => {
                    for (index, frame) in frames {
                        entries.insert(*index, frame.as_slice())?;
                    }
                }
                Job::Durable(Write::Vote(frame), _) => drop(votes.insert(VOTE, frame.as_slice())?),
                Job::Durable(Write::Truncate(from), _) => entries.retain_in(*from.., |_, _| false)?,
                Job::Durable(Write::Purge(to), _) => {
                    places.insert(PURGED, (to.term, to.node.0, to.index))?;
                    entries.retain_in(..=to.index, |_, _| false)?;
                }
                Job::Hint(to) => {
                    // Never backwards: a hint may come from before a restart of the same term.
                    let known = places.get(COMMITTED)?.map(|place| place.value().2);
                    if known.is_none_or(|index| index < to.index) {
                        places.insert(COMMITTED, (to.term, to.node.0, to.index))?;
                    }
                }
            }
        }
        if !is_lazy {
            transaction.open_table(FACTS)?.insert(WRITES, number)?;
        }
    }
    transaction.commit()?;
    if !is_lazy {
        let has_vote = jobs.iter().any(|job| matches!(job, Job::Durable(Write::Vote(_), _)));
        mark.put(number, has_vote).map_err(redb::Error::Io)?;
    }
    Ok(())
}
