//! The ledger as the node holds it: one thread writes, and many wait for one flush.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use domicile_proto::ids::Region;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::chain::{Head, MAX_BODY_BYTES};
use super::entry::{Entry, Event, Peer};
use super::errors::LedgerError;
use super::file::{LedgerFile, Marks};
use super::read::Entries;
use crate::clock::Clock;

/// Entries that wait for the next flush; those who bring more wait before the queue.
const QUEUE: usize = 1_024;
/// Metadata is counted per peer and this long.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);

/// The ledger of this node's region. Shared; written by one thread.
pub(crate) struct Ledger {
    dir: PathBuf,
    region: Region,
    clock: Clock,
    queue: Mutex<Option<mpsc::Sender<Wanted>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    head: Arc<Mutex<Head>>,
    marks: Marks,
    metadata: Mutex<BTreeMap<Peer, (u64, u64)>>,
}

/// An entry that somebody waits for.
struct Wanted {
    body: Vec<u8>,
    done: oneshot::Sender<Result<u64, LedgerError>>,
}

impl Ledger {
    /// Opens or creates the ledger of a region in a directory; blocks while every entry is checked.
    ///
    /// # Errors
    /// [`LedgerError`] where it cannot be opened, was altered, or belongs to another region.
    pub(crate) fn open(dir: &Path, region: &Region, clock: Clock) -> Result<Self, LedgerError> {
        let (mut file, torn) = LedgerFile::open(dir, region)?;
        if let Some(torn) = torn {
            tracing::warn!(bytes = torn.bytes, "the ledger ended in part of an entry, which was put aside");
            let event = Event::TornTail { bytes: torn.bytes, sha256: torn.sha256 };
            file.add(&body_of(&Entry { at: clock.now(), event })?);
            file.commit().map_err(|source| LedgerError::Open { path: dir.to_path_buf(), source })?;
        }
        Self::over(file, dir, region, clock)
    }

    fn over(file: LedgerFile, dir: &Path, region: &Region, clock: Clock) -> Result<Self, LedgerError> {
        let (head, marks) = (Arc::new(Mutex::new(file.head())), file.marks());
        let (queue, wanted) = mpsc::channel(QUEUE);
        let shown = Arc::clone(&head);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || write(file, wanted, &shown));
        let thread = thread.map_err(|source| LedgerError::Open { path: "ledger".into(), source })?;
        Ok(Self {
            dir: dir.to_path_buf(),
            region: region.clone(),
            clock,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            head,
            marks,
            metadata: Mutex::new(BTreeMap::new()),
        })
    }

    /// Records what happened; its number once it is durable.
    ///
    /// # Errors
    /// [`LedgerError::Poisoned`] after a failed flush, [`LedgerError::Closed`] while stopping, [`LedgerError::TooLarge`].
    pub(crate) async fn record(&self, event: Event) -> Result<u64, LedgerError> {
        let body = body_of(&Entry { at: self.clock.now(), event })?;
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.lock().clone().ok_or(LedgerError::Closed)?;
        queue.send(Wanted { body, done }).await.map_err(|_| LedgerError::Poisoned)?;
        outcome.await.unwrap_or(Err(LedgerError::Poisoned))
    }

    /// How many entries are durable, and the hash of all of them.
    pub(crate) fn head(&self) -> Head {
        *self.head.lock()
    }

    /// Reads the entries behind the first `after`, beside the thread that writes; blocks. What it reads before them is
    /// bounded, however long the ledger is.
    ///
    /// # Errors
    /// [`LedgerError::Open`]; what is damaged, when it is met.
    pub(crate) fn entries_after(
        &self,
        after: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, Entry), LedgerError>> + use<>, LedgerError> {
        let entries = Entries::from(&self.dir, &self.region, self.marks.before(after))?;
        Ok(entries.skip_while(move |entry| entry.as_ref().is_ok_and(|(number, _)| *number <= after)))
    }

    /// Counts bytes of metadata with a peer; recorded by [`Ledger::record_metadata`].
    pub(crate) fn count_metadata(&self, peer: Peer, sent: u64, received: u64) {
        let mut metadata = self.metadata.lock();
        let counted = metadata.entry(peer).or_default();
        *counted = (counted.0.saturating_add(sent), counted.1.saturating_add(received));
    }

    /// Records what was counted since the last call, one entry for each peer.
    ///
    /// # Errors
    /// As [`Ledger::record`]; what could not be recorded is counted again.
    pub(crate) async fn record_metadata(&self) -> Result<(), LedgerError> {
        let counted = std::mem::take(&mut *self.metadata.lock());
        let mut outcome = Ok(());
        for (peer, (sent, received)) in counted {
            if let Err(error) = self.record(Event::Metadata { peer: peer.clone(), sent, received }).await {
                self.count_metadata(peer, sent, received);
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Records metadata every minute until the token is cancelled, and once more then.
    pub(crate) async fn keep_counting(self: Arc<Self>, token: CancellationToken) {
        loop {
            let is_last = token.run_until_cancelled(tokio::time::sleep(METADATA_INTERVAL)).await.is_none();
            if let Err(error) = self.record_metadata().await {
                tracing::error!(error = &error as &dyn std::error::Error, "metadata traffic is not recorded");
            }
            if is_last {
                return;
            }
        }
    }

    /// Takes nothing more, writes what waits, and ends the thread. Blocks for one flush.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // The thread has nothing to say; if it panicked, those who waited were told.
            let _ = thread.join();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

fn body_of(entry: &Entry) -> Result<Vec<u8>, LedgerError> {
    // Plain data always serialises.
    let body = serde_json::to_vec(entry).unwrap_or_default();
    if body.is_empty() || body.len() > MAX_BODY_BYTES {
        return Err(LedgerError::TooLarge { bytes: body.len() });
    }
    Ok(body)
}

/// The thread: takes what waits, flushes once, tells everybody. After a failed flush it refuses for ever.
fn write(mut file: LedgerFile, mut wanted: mpsc::Receiver<Wanted>, head: &Mutex<Head>) {
    let mut is_poisoned = false;
    let mut group = Vec::new();
    while wanted.blocking_recv_many(&mut group, QUEUE) > 0 {
        let mut rest = std::mem::take(&mut group).into_iter();
        while rest.len() > 0 && !is_poisoned {
            let mut added = Vec::new();
            for one in rest.by_ref() {
                added.push((file.add(&one.body), one.done));
                if file.is_full() {
                    break;
                }
            }
            match file.commit() {
                Ok(()) => {
                    *head.lock() = file.head();
                    for (number, done) in added {
                        // Whoever stopped waiting has it recorded all the same.
                        let _ = done.send(Ok(number));
                    }
                }
                Err(error) => {
                    is_poisoned = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the ledger cannot be written; nothing leaves this region until the node is restarted"
                    );
                    added.into_iter().for_each(|(_, done)| refuse(done));
                }
            }
        }
        rest.for_each(|one| refuse(one.done));
    }
}

fn refuse(done: oneshot::Sender<Result<u64, LedgerError>>) {
    // Nobody waits any more: nothing to tell.
    let _ = done.send(Err(LedgerError::Poisoned));
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
