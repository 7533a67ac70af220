//! The thread that makes entries durable: takes what waits, flushes once, tells everybody. After a failed flush it refuses for
//! ever.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use domicile_proto::ids::{TenantId, Timestamp};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};

use super::chains::Link;
use super::entry::{Entry, Event};
use super::errors::LedgerError;
use super::files::Files;
use super::merkle::{Head, WIDTH, leaf};
use super::publish::Job;
use super::tail::{Group, State, Tail};
use super::tiles::Record;
use crate::limits::{LEDGER_QUEUE, LEDGER_TAIL_BYTES};

/// What the file of a ledger of earlier builds is called, and what it is called once it was put aside.
const EARLIER: (&str, &str) = ("ledger", "ledger-of-earlier-builds");

/// An entry that somebody waits for.
pub(super) struct Wanted {
    pub(super) at: Timestamp,
    /// How far the clock was set since the entry before, where it was: an entry says so before this one.
    pub(super) was_set: Option<i64>,
    pub(super) tenant: Option<TenantId>,
    pub(super) event: Event,
    pub(super) done: oneshot::Sender<Result<u64, LedgerError>>,
}

/// What the thread is asked.
pub(super) enum Wish {
    /// One more entry.
    Entry(Box<Wanted>),
    /// Begin another tail, so that what lies in whole bundles lies in no tail; told once the old one is gone.
    Turn(oneshot::Sender<()>),
}

/// The tail, and all that follows from what is in it.
pub(super) struct Writer {
    files: Files,
    dir: PathBuf,
    random: SystemRandom,
    tail: Tail,
    /// After everything that was added.
    state: State,
    /// At the border of the bundle that is not whole, and what came since.
    border: State,
    since: Vec<Record>,
    group: Group,
    /// What the group holds.
    added: Vec<Record>,
    tail_bytes: u64,
}

impl Writer {
    /// Behind a state, where a bundle ends.
    pub(super) fn new(files: &Files, dir: &Path, state: State, tail: Tail) -> Self {
        let group = Group::at(state.tree.root());
        let (border, since, added) = (state.clone(), Vec::new(), Vec::new());
        let (files, dir, random) = (files.clone(), dir.to_path_buf(), SystemRandom::new());
        Self { files, dir, random, tail, state, border, since, group, added, tail_bytes: LEDGER_TAIL_BYTES }
    }

    #[cfg(test)]
    pub(super) const fn with_tails_of(mut self, bytes: u64) -> Self {
        self.tail_bytes = bytes;
        self
    }

    /// Takes in what is durable already.
    pub(super) fn again(&mut self, records: Vec<Record>) -> Result<(), LedgerError> {
        for record in records {
            let foreign = || LedgerError::Foreign { path: self.dir.clone() };
            let entry = Entry::read(&record.body).ok_or_else(foreign)?;
            self.take(record, entry.tenant, entry.seq);
        }
        self.group = Group::at(self.state.tree.root());
        Ok(())
    }

    /// Adds an entry to the group that the next [`Writer::commit`] makes durable; gives its number.
    pub(super) fn add(&mut self, at: Timestamp, tenant: Option<TenantId>, event: Event) -> io::Result<u64> {
        let entry = Entry::new(at, tenant, &self.state.chains.end(tenant), event);
        let mut nonce = [0; 32];
        self.random.fill(&mut nonce).map_err(|_| io::Error::other("no random bytes"))?;
        let record = Record { nonce, body: entry.body() };
        self.group.add(&record);
        self.added.push(record.clone());
        self.take(record, tenant, entry.seq);
        Ok(self.state.tree.size())
    }

    fn add_jump(&mut self, at: Timestamp, by: i64) -> io::Result<()> {
        tracing::warn!(by, "the clock was set");
        self.add(at, None, Event::ClockJumped { by, ordered: true, at_start: false }).map(drop)
    }

    fn take(&mut self, record: Record, tenant: Option<TenantId>, seq: u64) {
        let commitment = record.commitment();
        self.state.tree.push(leaf(&commitment));
        self.state.chains.grow(tenant, Link { seq, commitment });
        self.since.push(record);
        if self.state.tree.size().is_multiple_of(WIDTH) {
            self.border = self.state.clone();
            self.since.clear();
        }
    }

    /// Whether the group should be committed before it takes more.
    pub(super) const fn is_full(&self) -> bool {
        self.group.is_full()
    }

    /// Makes the group durable; gives what was in it. After an error nothing must be added any more.
    pub(super) fn commit(&mut self) -> io::Result<Vec<Record>> {
        let next = Group::at(self.state.tree.root());
        self.tail.commit(std::mem::replace(&mut self.group, next))?;
        Ok(std::mem::take(&mut self.added))
    }

    /// After everything that is durable, once [`Writer::commit`] has returned.
    pub(super) fn head(&self) -> Head {
        self.state.tree.head()
    }

    /// Begins another tail where this one has grown long, or where there is anything to gain and `is_last`; gives the old one.
    fn turn(&mut self, is_last: bool) -> io::Result<Option<PathBuf>> {
        let start = self.border.tree.size();
        if start == self.tail.start || !(is_last || self.tail.bytes >= self.tail_bytes) {
            return Ok(None);
        }
        let old = self.dir.join(super::tail::name(self.tail.start));
        self.tail = Tail::begin(&self.files, &self.dir, &self.border, &self.since)?;
        Ok(Some(old))
    }

    /// Puts a ledger of earlier builds aside, and says so in this one.
    pub(super) fn adopt(&mut self, at: Timestamp) -> io::Result<Vec<Record>> {
        let path = self.dir.join(EARLIER.0);
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let (mut file, mut context) = (std::fs::File::open(&path)?, ring::digest::Context::new(&ring::digest::SHA256));
        let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            context.update(buffer.get(..read).unwrap_or_default());
            bytes += read as u64;
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(context.finish().as_ref());
        self.add(at, None, Event::EarlierLedger { bytes, sha256 })?;
        let told = self.commit()?;
        self.files.rename(&path, &self.dir.join(EARLIER.1))?;
        tracing::warn!(bytes, "a ledger of an earlier build was put aside; the new one begins with its hash");
        Ok(told)
    }

    /// The thread.
    pub(super) fn run(
        mut self,
        mut wanted: mpsc::Receiver<Wish>,
        jobs: SyncSender<Job>,
        (head, is_poisoned): (&Arc<Mutex<Head>>, &AtomicBool),
    ) {
        let (mut group, mut is_well) = (Vec::new(), true);
        while wanted.blocking_recv_many(&mut group, LEDGER_QUEUE) > 0 {
            let (mut entries, mut turns) = (Vec::new(), Vec::new());
            for wish in std::mem::take(&mut group) {
                match wish {
                    Wish::Entry(one) => entries.push(*one),
                    Wish::Turn(done) => turns.push(done),
                }
            }
            let mut rest = entries.into_iter();
            while rest.len() > 0 && is_well {
                if let Err(error) = self.flush(&mut rest, &jobs, head) {
                    is_well = false;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the ledger cannot be written; nothing leaves this region until the node is restarted"
                    );
                }
            }
            rest.for_each(|one| refuse(one.done));
            if is_well && !turns.is_empty() {
                is_well = self.turn_now(&jobs, turns);
            }
            is_poisoned.store(!is_well, Ordering::Relaxed);
        }
        if is_well {
            match self.turn(true) {
                // Whether the publisher still lives is its own affair; its files are written again at the next start.
                Ok(Some(old)) => drop(jobs.send(Job::Replaced(old))),
                Ok(None) => {}
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the tail was not turned"),
            }
        }
    }

    /// Begins another tail for those who wait for it; whether it could. Where it could not, nobody is told.
    fn turn_now(&mut self, jobs: &SyncSender<Job>, turns: Vec<oneshot::Sender<()>>) -> bool {
        let replaced = match self.turn(true) {
            Ok(old) => old,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the tail was not turned");
                return false;
            }
        };
        if let Some(old) = replaced
            && jobs.send(Job::Replaced(old)).is_err()
        {
            return false;
        }
        // In the same order as the files are written: the old tail is gone when this is read.
        jobs.send(Job::Tell(turns)).is_ok()
    }

    /// The tail that lies before, once what must not be in it was taken out of the files of the log.
    pub(super) fn turn_at_start(&mut self) -> io::Result<Option<PathBuf>> {
        self.turn(true)
    }

    /// One group: added, durable, handed on, told.
    fn flush(
        &mut self,
        rest: &mut std::vec::IntoIter<Wanted>,
        jobs: &SyncSender<Job>,
        head: &Arc<Mutex<Head>>,
    ) -> io::Result<()> {
        let mut waiting = Vec::new();
        let mut outcome = Ok(());
        for one in rest.by_ref() {
            let told = one.was_set.map_or(Ok(()), |by| self.add_jump(one.at, by));
            match told.and_then(|()| self.add(one.at, one.tenant, one.event)) {
                Ok(number) => waiting.push((number, one.done)),
                Err(error) => {
                    refuse(one.done);
                    outcome = Err(error);
                }
            }
            if self.is_full() || outcome.is_err() {
                break;
            }
        }
        let committed = outcome.and_then(|()| self.commit());
        let records = match committed {
            Ok(records) => records,
            Err(error) => {
                waiting.into_iter().for_each(|(_, done)| refuse(done));
                return Err(error);
            }
        };
        let gone = |_| io::Error::other("the files of the log cannot be written");
        // Handed on before anybody is told, so that the next checkpoint is over what its asker knows to be durable.
        let handed = jobs.send(Job::Entries(records)).map_err(gone);
        *head.lock() = self.head();
        for (number, done) in waiting {
            // Whoever stopped waiting has it recorded all the same.
            let _ = done.send(Ok(number));
        }
        handed?;
        if let Some(old) = self.turn(false)? {
            jobs.send(Job::Replaced(old)).map_err(gone)?;
        }
        Ok(())
    }
}

fn refuse(done: oneshot::Sender<Result<u64, LedgerError>>) {
    // Nobody waits any more: nothing to tell.
    let _ = done.send(Err(LedgerError::Poisoned));
}
