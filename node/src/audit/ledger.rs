//! The ledger as the node holds it: one thread makes entries durable, another writes the files of the log from them.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use domicile_proto::ids::{Name, PolicyVersion, QuestionId, Region, TenantId};
use domicile_proto::link::identity::PeerId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::destroyed::{self, Orders};
use super::entry::{Drawn, Entry, Event, Passage, Peer};
use super::errors::LedgerError;
use super::files::Files;
use super::merkle::{Hash, Head, WIDTH};
use super::note::{Cosigner, Signer, Verifier};
use super::passing::{Passing, jump};
use super::publish::{Job, Publisher, Signed, Stamp};
use super::read::Entries;
use super::recover::{self, Found};
use super::tail::{State, Tail};
use super::tiles::{self, CHECKPOINT, LOG, WITNESSES};
use super::writer::{Wanted, Wish, Writer};
use crate::clock::Clock;
use crate::limits::{
    LEDGER_BODY_BYTES, LEDGER_GROUPS_AHEAD, LEDGER_QUESTIONS_REMEMBERED, LEDGER_QUEUE, METADATA_INTERVAL,
};
use crate::tasks::Tasks;

/// Metadata to and from a peer since the last entry about it: bytes, and frames each way.
#[derive(Clone, Copy, Default)]
struct Exchanged {
    sent: u64,
    received: u64,
    frames: [u64; 2],
}

impl Exchanged {
    const fn add(&mut self, other: &Self) {
        let ([sent, received], [more_sent, more_received]) = (self.frames, other.frames);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.frames = [sent.saturating_add(more_sent), received.saturating_add(more_received)];
    }
}

/// The ledger of this node. Shared; written by one thread.
pub(crate) struct Ledger {
    pub(super) dir: PathBuf,
    clock: Clock,
    queue: Mutex<Option<mpsc::Sender<Wish>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    head: Arc<Mutex<Head>>,
    metadata: Mutex<BTreeMap<Peer, Exchanged>>,
    asked: Mutex<VecDeque<(QuestionId, TenantId)>>,
    drawn: Mutex<VecDeque<(QuestionId, Drawn)>>,
    turned_away: Mutex<BTreeMap<Peer, u64>>,
    /// Entries but those about heads of ledgers: while there are no new ones, a new head has nothing to say.
    news: AtomicU64,
    verifier: Verifier,
    stamp: Stamp,
    is_poisoned: Arc<AtomicBool>,
    jobs: Mutex<Option<SyncSender<Job>>>,
    passing: Mutex<Passing>,
    /// Bodies are destroyed one behind the other.
    pub(super) destroying: tokio::sync::Mutex<()>,
    /// What the entries say of those that are.
    pub(super) orders: Mutex<Orders>,
}

impl Ledger {
    /// Opens or creates the ledger of a node in a directory; blocks while what came since the last whole bundles is checked.
    ///
    /// # Errors
    /// [`LedgerError`] where it cannot be opened, was altered, is an old copy, or belongs to another node.
    pub(crate) fn of_node(dir: &Path, deployment: &Name, us: &PeerId, clock: Clock) -> Result<Self, LedgerError> {
        // Every node writes a log of its own, so that no two machines ever sign under one name.
        let origin = format!("ledger.{deployment}/{}/{}", us.region, us.node);
        Self::open_with(&Files::default(), dir, &origin, clock, |writer| writer)
    }

    /// Opens or creates a ledger for a test.
    ///
    /// # Errors
    /// As [`Ledger::of_node`].
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, region: &Region, clock: Clock) -> Result<Self, LedgerError> {
        Self::open_with(&Files::default(), dir, &format!("ledger.domicile/{region}/1"), clock, |writer| writer)
    }

    pub(super) fn open_with(
        files: &Files,
        dir: &Path,
        origin: &str,
        clock: Clock,
        adjust: impl FnOnce(Writer) -> Writer,
    ) -> Result<Self, LedgerError> {
        let opened = |source| LedgerError::Open { path: dir.to_path_buf(), source };
        std::fs::create_dir_all(dir.join(LOG)).map_err(opened)?;
        let is_new = !dir.join(LOG).join(CHECKPOINT).try_exists().map_err(opened)?;
        let signer = Signer::open(&dir.join("key"), origin, is_new)?;
        let found = recover::find(files, dir, signer.verifier())?;
        let (state, records, last, old, torn) = match found {
            None => (State::default(), Vec::new(), None, Vec::new(), None),
            Some(Found { state, records, last, old, torn }) => (state, records, Some(last), old, torn),
        };
        let tail = match last {
            None => Tail::begin(files, dir, &state, &[]),
            Some((start, bytes)) => Tail::go_on(files, dir, start, bytes),
        };
        let mut publisher = Publisher::new(files, dir, signer, state.tree.clone());
        let mut writer = adjust(Writer::new(files, dir, state, tail.map_err(opened)?));
        publisher.add(&records).map_err(opened)?;
        let ordered = destroyed::ordered(&records);
        let last_at = records.last().and_then(|record| Entry::read(&record.body)).map(|entry| entry.at);
        writer.again(records)?;
        if let Some(torn) = torn {
            tracing::warn!(bytes = torn.bytes, "the ledger ended in part of an entry, which was put aside");
            let event = Event::TornTail { bytes: torn.bytes, sha256: torn.sha256 };
            writer.add(clock.now(), None, event).map_err(opened)?;
            publisher.add(&writer.commit().map_err(opened)?).map_err(opened)?;
        }
        // Of a clock that is later than it could be nobody knows better: the node was away.
        if let Some(by) = last_at.and_then(|last| jump(last.0, clock.now().0)).filter(|by| *by < 0) {
            writer.add(clock.now(), None, Event::ClockJumped { by, ordered: true, at_start: true }).map_err(opened)?;
            publisher.add(&writer.commit().map_err(opened)?).map_err(opened)?;
        }
        publisher.add(&writer.adopt(clock.now()).map_err(opened)?).map_err(opened)?;
        // A start writes bodies again from the tail: those that an entry in it says are destroyed, whether a crash came in between or
        // not, go again, and the tail with them.
        let whole = writer.head().size / WIDTH * WIDTH;
        for entry in ordered.iter().filter(|entry| **entry <= whole) {
            publisher.take_out(*entry).map_err(opened)?;
        }
        if !ordered.is_empty()
            && let Some(old) = writer.turn_at_start().map_err(opened)?
        {
            publisher.settle(Some(&old)).map_err(opened)?;
        }
        let settled = publisher.show_verifier().and_then(|()| publisher.settle(None));
        settled.and_then(|()| publisher.tidy()).map_err(opened)?;
        old.iter().try_for_each(|tail| files.remove(tail)).map_err(opened)?;
        Self::over(writer, publisher, dir, clock)
    }

    fn over(writer: Writer, publisher: Publisher, dir: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let head = Arc::new(Mutex::new(writer.head()));
        let (queue, wanted) = mpsc::channel(LEDGER_QUEUE);
        let (jobs, told) = std::sync::mpsc::sync_channel(LEDGER_GROUPS_AHEAD);
        let kept = Mutex::new(Some(jobs.clone()));
        let (verifier, stamp) = (publisher.signer().verifier().clone(), publisher.stamp());
        let (shown, passing) = (Arc::clone(&head), Mutex::new(Passing::from(&clock)));
        let is_poisoned = Arc::new(AtomicBool::new(false));
        let poisoned = Arc::clone(&is_poisoned);
        let writing = spawn("ledger", move || writer.run(wanted, jobs, (&shown, &poisoned)))?;
        let publishing = spawn("ledger-log", move || {
            if let Err(error) = publisher.run(&told) {
                tracing::error!(error = &error as &dyn std::error::Error, "the files of the log cannot be written");
            }
        })?;
        Ok(Self {
            dir: dir.to_path_buf(),
            clock,
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(vec![writing, publishing]),
            head,
            metadata: Mutex::new(BTreeMap::new()),
            asked: Mutex::new(VecDeque::new()),
            drawn: Mutex::new(VecDeque::new()),
            turned_away: Mutex::new(BTreeMap::new()),
            news: AtomicU64::new(1),
            verifier,
            stamp,
            is_poisoned,
            jobs: kept,
            passing,
            destroying: tokio::sync::Mutex::default(),
            orders: Mutex::default(),
        })
    }

    /// Records what happened; its number once it is durable.
    ///
    /// # Errors
    /// [`LedgerError::Poisoned`] after a failed flush, [`LedgerError::Closed`] while stopping, [`LedgerError::TooLarge`];
    /// [`LedgerError::Shut`] for what is released and would leave on a route that an entry before has closed, [`LedgerError::Outdated`] for
    /// what was released under a policy that is over.
    pub(crate) async fn record(&self, event: Event) -> Result<u64, LedgerError> {
        let tenant = self.tenant_of(&event);
        self.record_in(tenant, event).await
    }

    /// Records what happened in the chain of a tenant that the event itself does not name.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub(crate) async fn record_of(&self, tenant: TenantId, event: Event) -> Result<u64, LedgerError> {
        self.record_in(Some(tenant), event).await
    }

    pub(super) async fn record_in(&self, tenant: Option<TenantId>, event: Event) -> Result<u64, LedgerError> {
        let bytes = event.most_bytes();
        if bytes > LEDGER_BODY_BYTES {
            return Err(LedgerError::TooLarge { bytes });
        }
        let (is_news, under) = (!event.is_about_heads(), event.released_under());
        let order = if let Event::BodyDestroyed(gone) = &event { Some(gone.clone()) } else { None };
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.lock().clone().ok_or(LedgerError::Closed)?;
        // When it happened, however long the queue is.
        let began = self.clock.reading();
        let place = queue.reserve().await.map_err(|_| LedgerError::Poisoned)?;
        let at = {
            // Entries stand in the order in which this is passed: none of what needs a route stands behind one that closes it, and none
            // whose time is by a clock that was set stands before the one that says so.
            let mut passing = self.passing.lock();
            if let Some(to) = passing.refuses(&event) {
                return Err(LedgerError::Shut { to: to.clone() });
            }
            if let Some(version) = under.filter(|version| passing.is_over(*version, began)) {
                return Err(LedgerError::Outdated { version });
            }
            let (at, was_set) = passing.take(&event, began, self.clock.reading());
            place.send(Wish::Entry(Box::new(Wanted { at, was_set, tenant, event, done })));
            at
        };
        let outcome = outcome.await.unwrap_or(Err(LedgerError::Poisoned));
        if is_news && outcome.is_ok() {
            self.news.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(gone) = order.filter(|_| outcome.is_ok()) {
            self.orders.lock().add(at, tenant, gone);
        }
        outcome
    }

    /// Whether the last entry about the route to a region, durable or about to be, does not close it.
    pub(crate) fn lets_out_to(&self, to: &Region) -> bool {
        self.passing.lock().lets_out_to(to)
    }

    /// Whether what was released under a version of the policy may still leave: it is not long after this ledger told of a newer one.
    pub(crate) fn lets_out_under(&self, version: PolicyVersion) -> bool {
        !self.passing.lock().is_over(version, self.clock.reading())
    }

    /// In whose chain an event belongs. An answer belongs in that of its question, while that is remembered.
    fn tenant_of(&self, event: &Event) -> Option<TenantId> {
        let (Event::Egress(passage) | Event::Ingress(passage)) = event else { return event.tenant() };
        let mut asked = self.asked.lock();
        if let Some(question) = passage.question() {
            if asked.len() == LEDGER_QUESTIONS_REMEMBERED {
                asked.pop_front();
            }
            asked.push_back((question.id, question.tenant));
            return Some(question.tenant);
        }
        let answered = passage.answered()?;
        asked.iter().rev().find(|(id, _)| *id == answered).map(|(_, tenant)| *tenant)
    }

    /// What stands in the tree for an entry of a whole bundle.
    pub(super) fn commitment(&self, entry: u64) -> Result<Hash, LedgerError> {
        let path = self.dir.join(LOG).join(tiles::bundle_path((entry - 1) / WIDTH, WIDTH));
        let bytes = std::fs::read(&path).map_err(|source| LedgerError::Open { path: path.clone(), source })?;
        let place = usize::try_from((entry - 1) % WIDTH).unwrap_or(usize::MAX);
        let found = tiles::commitments(&bytes).and_then(|all| all.get(place).copied());
        found.ok_or(LedgerError::Damaged { path, offset: 0 })
    }

    /// Takes a body out of the files of the log, and then out of the tail. Waits for room where much is to be written: the order is on
    /// record already.
    pub(super) async fn take_out(&self, entry: u64, tasks: &Tasks) -> Result<(), LedgerError> {
        let (to, outcome) = oneshot::channel();
        let jobs = self.jobs.lock().clone().ok_or(LedgerError::Closed)?;
        let told = tasks.blocking(move || jobs.send(Job::TakeOut(entry, to)).is_ok()).await;
        if !told.unwrap_or(false) {
            return Err(LedgerError::Closed);
        }
        let opened = |source| LedgerError::Open { path: self.dir.clone(), source };
        outcome.await.map_err(|_| LedgerError::Poisoned)?.map_err(opened)?;
        let (to, turned) = oneshot::channel();
        let queue = self.queue.lock().clone().ok_or(LedgerError::Closed)?;
        queue.send(Wish::Turn(to)).await.map_err(|_| LedgerError::Poisoned)?;
        turned.await.map_err(|_| LedgerError::Poisoned)
    }

    /// Says what the answer to a question was drawn from, before it leaves: it stands in the entry of that answer.
    pub(crate) fn draws(&self, question: QuestionId, from: Drawn) {
        let mut drawn = self.drawn.lock();
        if drawn.len() == LEDGER_QUESTIONS_REMEMBERED {
            drawn.pop_front();
        }
        drawn.push_back((question, from));
    }

    /// What leaves, with what it was drawn from where that was said.
    pub(super) fn with_inputs(&self, passage: Passage) -> Passage {
        let Some(question) = passage.answered() else { return passage };
        let mut drawn = self.drawn.lock();
        let place = drawn.iter().rposition(|(id, _)| *id == question);
        let from = place.and_then(|place| drawn.remove(place)).map(|(_, from)| from);
        Passage { drawn: from, ..passage }
    }

    /// Signs a checkpoint now, for a test that looks at it.
    #[cfg(test)]
    pub(super) fn publish(&self) {
        let (done, outcome) = std::sync::mpsc::channel();
        let jobs = self.jobs.lock().clone();
        jobs.expect("open").send(Job::Now(done)).expect("it runs");
        outcome.recv().expect("published");
    }

    /// Whether it takes nothing more before a restart.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Relaxed)
    }

    /// How many entries are durable, and the root of the tree over all of them.
    pub(crate) fn head(&self) -> Head {
        *self.head.lock()
    }

    /// Reads the entries behind the first `after`, beside the threads that write; blocks. What it reads before them is bounded,
    /// however long the ledger is.
    ///
    /// # Errors
    /// [`LedgerError::Open`]; what is damaged, when it is met.
    pub(crate) fn entries_after(
        &self,
        after: u64,
    ) -> Result<impl Iterator<Item = Result<(u64, Entry), LedgerError>> + use<>, LedgerError> {
        Entries::behind(&self.dir, after)
    }

    /// The newest checkpoint in one line: origin, size, root and signature, parted by spaces.
    pub(crate) fn stamp(&self) -> Arc<str> {
        Arc::clone(&self.stamp.lock())
    }

    /// A number that grows with every entry but those about heads of ledgers.
    pub(super) fn news(&self) -> u64 {
        self.news.load(Ordering::Relaxed)
    }

    /// Who signs the checkpoints.
    pub(super) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Publishes a checkpoint now, over everything that is durable.
    ///
    /// # Errors
    /// [`LedgerError::Poisoned`], [`LedgerError::Closed`].
    pub(crate) async fn checkpoint(&self) -> Result<(), LedgerError> {
        self.offer().await.map(drop)
    }

    /// Publishes a checkpoint now, for witnesses to cosign.
    pub(super) async fn offer(&self) -> Result<Signed, LedgerError> {
        let (to, outcome) = oneshot::channel();
        self.tell(Job::Offer(to))?;
        outcome.await.map_err(|_| LedgerError::Poisoned)
    }

    /// What proves that a published head goes on from the one over the first `old` entries.
    pub(super) async fn proof(&self, old: u64, new: Head) -> Result<Vec<Hash>, LedgerError> {
        let (to, outcome) = oneshot::channel();
        self.tell(Job::Prove(old, new, to))?;
        let opened = |source| LedgerError::Open { path: self.dir.clone(), source };
        outcome.await.map_err(|_| LedgerError::Poisoned)?.map_err(opened)
    }

    /// Publishes the checkpoint of a head with the lines of witnesses.
    pub(super) fn cosigned(&self, head: Head, lines: String, witnesses: String) -> Result<(), LedgerError> {
        self.tell(Job::Cosigned(head, lines, witnesses))
    }

    /// Those who cosigned before, as they are remembered.
    pub(super) fn witnesses(&self) -> Result<Vec<Cosigner>, LedgerError> {
        let path = self.dir.join(LOG).join(WITNESSES);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let keys: Option<Vec<Cosigner>> = text.lines().map(Cosigner::read).collect();
                keys.ok_or(LedgerError::Damaged { path, offset: 0 })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(LedgerError::Open { path, source }),
        }
    }

    fn tell(&self, job: Job) -> Result<(), LedgerError> {
        let jobs = self.jobs.lock().clone().ok_or(LedgerError::Closed)?;
        // Where it is behind with the disk, or gone, witnesses are asked another time.
        jobs.try_send(job).map_err(|_| LedgerError::Closed)
    }

    /// Counts an exchange that a peer began and that was turned away unread; recorded by [`Ledger::record_metadata`].
    pub(crate) fn count_turned_away(&self, peer: Peer) {
        let mut turned_away = self.turned_away.lock();
        let counted = turned_away.entry(peer).or_default();
        *counted = counted.saturating_add(1);
    }

    /// Counts the bytes of a frame of metadata to or from a peer; recorded by [`Ledger::record_metadata`].
    pub(crate) fn count_metadata(&self, peer: Peer, sent: u64, received: u64) {
        let frames = [u64::from(sent > 0), u64::from(received > 0)];
        self.metadata.lock().entry(peer).or_default().add(&Exchanged { sent, received, frames });
    }

    /// Records what was counted since the last call, one entry for each peer.
    ///
    /// # Errors
    /// As [`Ledger::record`]; what could not be recorded is counted again.
    pub(crate) async fn record_metadata(&self) -> Result<(), LedgerError> {
        let counted = std::mem::take(&mut *self.metadata.lock());
        let mut outcome = Ok(());
        for (peer, exchanged) in counted {
            let Exchanged { sent, received, frames } = exchanged;
            let event = Event::Metadata { peer: peer.clone(), sent, received, frames: Some(frames) };
            if let Err(error) = self.record(event).await {
                self.metadata.lock().entry(peer).or_default().add(&exchanged);
                outcome = Err(error);
            }
        }
        let turned_away = std::mem::take(&mut *self.turned_away.lock());
        for (peer, exchanges) in turned_away {
            if let Err(error) = self.record(Event::TurnedAway { peer: peer.clone(), exchanges }).await {
                *self.turned_away.lock().entry(peer).or_default() += exchanges;
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Records that the clock was set, where no entry did yet.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub(crate) async fn record_clock(&self) -> Result<(), LedgerError> {
        let queue = self.queue.lock().clone().ok_or(LedgerError::Closed)?;
        let place = queue.reserve().await.map_err(|_| LedgerError::Poisoned)?;
        let (done, outcome) = oneshot::channel();
        {
            let mut passing = self.passing.lock();
            let now = self.clock.reading();
            let Some(by) = passing.was_set(now) else { return Ok(()) };
            let event = Event::ClockJumped { by, ordered: true, at_start: false };
            place.send(Wish::Entry(Box::new(Wanted { at: now.wall, was_set: None, tenant: None, event, done })));
        }
        outcome.await.unwrap_or(Err(LedgerError::Poisoned)).map(drop)
    }

    /// Records metadata and the clock every minute until the token is cancelled, and once more then.
    pub(crate) async fn keep_counting(self: Arc<Self>, token: CancellationToken) {
        loop {
            let is_last = token.run_until_cancelled(tokio::time::sleep(METADATA_INTERVAL)).await.is_none();
            if let Err(error) = self.record_metadata().await {
                tracing::error!(error = &error as &dyn std::error::Error, "metadata traffic is not recorded");
            }
            if let Err(error) = self.record_clock().await {
                tracing::error!(error = &error as &dyn std::error::Error, "that the clock was set is not recorded");
            }
            if is_last {
                return;
            }
        }
    }

    /// Takes nothing more, writes what waits, signs a checkpoint over it, and ends the threads. Blocks for a few flushes.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().take());
        drop(self.jobs.lock().take());
        for thread in std::mem::take(&mut *self.threads.lock()) {
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

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LedgerError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| LedgerError::Open { path: name.into(), source })
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
