//! From one command to a decision: commands are gathered into batches, batches go to the leader, wherever it is.
//!
//! A lost answer leaves a doubt. Commands that may be repeated without harm (regions, tenants and streams by name, shards
//! and heads by comparison) are sent again until the caller's deadline; for all others the caller is told that the outcome
//! is unknown, because between two attempts somebody may have decided the opposite. Refusals are answers, not errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use domicile_proto::codec;
use domicile_proto::ids::{NodeId, Region};
use domicile_proto::message::metadata::{Entry, LogPlace, MetadataFrame, Payload, Unavailable};
use domicile_proto::metadata::{Applied, Change, Command, CommandRefusal, MAX_BATCH};
use openraft::RaftMetrics;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Group, Inner};
use crate::error::MetaError;
use crate::limits::{BATCH_BYTES, BATCHES_UNDER_WAY};
use crate::raft::{Batch, Member};
use crate::state::State;
use crate::transport::TransportError;

/// Not handed to any leader yet.
const WAITING: u8 = 0;
/// Handed to a leader, or about to be.
const SENT: u8 = 1;
/// The caller has given up before it was sent; it must not be sent any more.
const ABANDONED: u8 = 2;

/// A command that waits for its decision.
pub(super) struct Proposal {
    command: Command,
    bytes: usize,
    began: Instant,
    deadline: Instant,
    progress: Arc<AtomicU8>,
    is_doubtful: bool,
    answer: oneshot::Sender<Result<Applied, MetaError>>,
}

enum Attempt {
    Decided { index: u64, applied: Vec<Applied> },
    NotTried,
    Unknown,
}

impl Group {
    /// Has a command decided, from any node: returns when it is applied here as well, so that the next local read sees it.
    ///
    /// # Errors
    /// [`MetaError::NoQuorum`]: surely not applied. [`MetaError::OutcomeUnknown`]: perhaps applied, now or later.
    /// [`MetaError::Busy`], [`MetaError::TooLarge`], [`MetaError::Stopped`]: not applied.
    pub async fn propose(&self, command: Command, within: Duration) -> Result<Applied, MetaError> {
        if brings_unsigned_text(&command) {
            return Ok(Applied::Refused(CommandRefusal::Unsigned));
        }
        if takes_from_another(&command, self.region(), &self.local().0) {
            return Ok(Applied::Refused(CommandRefusal::OtherRegion));
        }
        let (commands, bytes) = measured(vec![command]).ok_or(MetaError::TooLarge)?;
        let command = commands.into_iter().next().filter(|_| bytes <= BATCH_BYTES).ok_or(MetaError::TooLarge)?;
        let began = Instant::now();
        let deadline = began + within;
        let progress = Arc::new(AtomicU8::new(WAITING));
        let (answer, decided) = oneshot::channel();
        let is_doubtful = false;
        let proposal =
            Proposal { command, bytes, began, deadline, progress: Arc::clone(&progress), is_doubtful, answer };
        self.0.proposals.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => MetaError::Busy,
            mpsc::error::TrySendError::Closed(_) => MetaError::Stopped,
        })?;
        let is_stopped = match timeout_at(deadline, decided).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(_)) => true,
            Err(_) => false,
        };
        let given_up = progress.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        match (given_up, is_stopped) {
            (Err(_), _) => Err(MetaError::OutcomeUnknown { waited: within }),
            (Ok(_), true) => Err(MetaError::Stopped),
            (Ok(_), false) => Err(MetaError::NoQuorum { waited: within }),
        }
    }
}

/// Takes what waits, a batch at a time, until the group stops.
pub(super) async fn run(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Proposal>) {
    let under_way = Arc::new(Semaphore::new(BATCHES_UNDER_WAY));
    let mut left_over: Option<Proposal> = None;
    loop {
        let next = async {
            let permit = Arc::clone(&under_way).acquire_owned().await.ok()?;
            let first = match left_over.take() {
                Some(proposal) => proposal,
                None => waiting.recv().await?,
            };
            Some((permit, first))
        };
        let taken = tokio::select! {
            () = inner.stop.cancelled() => None,
            taken = next => taken,
        };
        let Some((permit, first)) = taken else { return };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            let Ok(proposal) = waiting.try_recv() else { break };
            bytes += proposal.bytes;
            if bytes > BATCH_BYTES {
                left_over = Some(proposal);
                break;
            }
            batch.push(proposal);
        }
        let task = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            tokio::select! {
                () = task.stop.cancelled() => {}
                () = task.decide(batch) => {}
            }
            drop(permit);
        });
    }
}

impl Inner {
    /// Brings a batch to a leader until it is decided or nobody waits for it any more.
    async fn decide(&self, mut batch: Vec<Proposal>) {
        let mut changes = self.raft.metrics();
        loop {
            changes.mark_unchanged();
            batch.retain(Proposal::is_wanted);
            let Some(deadline) = batch.iter().map(|proposal| proposal.deadline).max() else { return };
            let commands = batch.iter().map(|proposal| proposal.command.clone()).collect();
            match self.attempt(commands, deadline).await {
                Attempt::Decided { index, applied } => {
                    self.applied_here(index, deadline).await;
                    batch.into_iter().zip(applied).for_each(|(proposal, applied)| proposal.conclude(applied));
                    return;
                }
                Attempt::NotTried => batch.iter().for_each(Proposal::wait_again),
                Attempt::Unknown => batch = batch.into_iter().filter_map(Proposal::doubt).collect(),
            }
            // A new leader shows in the metrics; where it does not, the next attempt is a heartbeat away.
            drop(timeout(self.timing.heartbeat, changes.changed()).await);
        }
    }

    async fn attempt(&self, commands: Vec<Command>, deadline: Instant) -> Attempt {
        let Some((leader, addr)) = self.leader_addr() else { return Attempt::NotTried };
        if leader == self.config.node {
            return match timeout_at(deadline, self.write(commands)).await {
                Ok(Ok((index, applied))) => Attempt::Decided { index, applied },
                Ok(Err(Unavailable::NotLeader(_))) => Attempt::NotTried,
                Ok(Err(_)) | Err(_) => Attempt::Unknown,
            };
        }
        let asked = commands.len();
        let patience = self.timing.election_max.min(deadline.saturating_duration_since(Instant::now()));
        let call = self.transport.call(leader, addr, MetadataFrame::Propose(commands), patience);
        let answered = tokio::select! {
            biased;
            answered = call => answered,
            () = self.is_followed(leader) => Err(TransportError::Lost),
        };
        match answered {
            Ok(MetadataFrame::Proposed { index, applied }) if applied.len() == asked => {
                Attempt::Decided { index, applied }
            }
            Ok(MetadataFrame::Unavailable(Unavailable::NotLeader(_) | Unavailable::Refused))
            | Err(TransportError::Unreachable) => Attempt::NotTried,
            Ok(_) | Err(TransportError::Lost | TransportError::Unexpected) => Attempt::Unknown,
        }
    }

    /// Writes commands as the leader. `NotLeader`: surely not written. Everything else leaves a doubt.
    pub(super) async fn write(&self, commands: Vec<Command>) -> Result<(u64, Vec<Applied>), Unavailable> {
        if self.is_handing_over.load(Ordering::Acquire) || !self.leads() {
            return Err(Unavailable::NotLeader(self.leader().filter(|leader| *leader != self.config.node)));
        }
        let mut changes = self.raft.metrics();
        let term = changes.borrow_and_update().current_term;
        let written = tokio::select! {
            biased;
            written = self.raft.client_write(Batch(commands)) => written,
            () = self.is_overtaken(changes, term) => return Err(Unavailable::NoQuorum),
        };
        match written {
            Ok(written) => Ok((written.log_id.index, written.data)),
            Err(error) if error.fatal().is_some() => Err(Unavailable::Stopped),
            Err(_) => Err(Unavailable::NoQuorum),
        }
    }

    /// Ends when another one leads than whom we asked, and an answer that was on its way had its time to come. Whoever was lost
    /// answers nothing, and what was asked later waits for what was asked of it.
    async fn is_followed(&self, leader: NodeId) {
        let is_another = |now: &RaftMetrics<u64, Member>| now.current_leader.is_some_and(|now| now != leader.0);
        drop(self.raft.metrics().wait_for(is_another).await);
        sleep(self.timing.heartbeat).await;
    }

    /// Ends when what was written in `term` had the time of an election to be answered in a later one. A leader that was cut off and
    /// gets a snapshot of the next one in place of its own log never hears what became of the entries in it (openraft 0.9).
    pub(super) async fn is_overtaken(&self, mut changes: watch::Receiver<RaftMetrics<u64, Member>>, term: u64) {
        drop(changes.wait_for(|now| now.current_term > term).await);
        sleep(self.timing.election_max).await;
    }

    /// Waits until the local copy holds what was decided; where it takes too long, the decision stands all the same.
    async fn applied_here(&self, index: u64, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.raft.wait(Some(left)).applied_index_at_least(Some(index), "a decision").await;
        if waited.is_err() {
            tracing::debug!(index, "the local copy of the metadata lags behind a decision");
        }
    }
}

impl Proposal {
    /// Whether it is to be sent; from here on its outcome may be unknown.
    fn is_wanted(&self) -> bool {
        let marked = self
            .progress
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |progress| (progress != ABANDONED).then_some(SENT));
        marked.is_ok() && !self.answer.is_closed()
    }

    fn wait_again(&self) {
        if !self.is_doubtful {
            self.progress.store(WAITING, Ordering::Release);
        }
    }

    /// The proposal if it may be sent again although it may have been applied.
    fn doubt(mut self) -> Option<Self> {
        if is_repeatable(&self.command) {
            self.is_doubtful = true;
            return Some(self);
        }
        drop(self.answer.send(Err(MetaError::OutcomeUnknown { waited: self.began.elapsed() })));
        None
    }

    fn conclude(self, applied: Applied) {
        // The first attempt may have won the comparison that the second one lost.
        let is_unclear = self.is_doubtful && applied == Applied::Refused(CommandRefusal::StaleEpoch);
        let waited = self.began.elapsed();
        let outcome = if is_unclear { Err(MetaError::OutcomeUnknown { waited }) } else { Ok(applied) };
        drop(self.answer.send(outcome));
    }
}

/// Whether applying the command a second time changes nothing, whatever was decided in between.
fn is_repeatable(command: &Command) -> bool {
    match command {
        Command::AddRegion { .. }
        | Command::CreateTenant { .. }
        | Command::CreateStream { .. }
        | Command::AssignShard { .. }
        | Command::RecordHead(_)
        | Command::RecordErasure(_) => true,
        Command::Regional(_)
        | Command::RemoveNode { .. }
        | Command::RevokeKey { .. }
        | Command::RevokeValue { .. }
        | Command::RevokeTransfer { .. } => false,
    }
}

/// Whether the command would put text into the log that no officer stands for (RES-2).
pub(super) fn brings_unsigned_text(command: &Command) -> bool {
    let Command::Regional(change) = command else { return false };
    change.signature.is_none() && matches!(change.change, Change::ApproveValues { .. })
}

/// Whether the command takes something from a region other than `from`, without that region's signature: its keys, its
/// approvals, its policies, its nodes, its routes. What is signed may come from anywhere.
pub(super) fn takes_from_another(command: &Command, from: &Region, state: &State) -> bool {
    match command {
        Command::Regional(change) => change.signature.is_none() && change.region != *from,
        Command::RevokeKey { region, .. } | Command::RevokeValue { region, .. } => region != from,
        Command::RemoveNode { node } => state.node(*node).is_some_and(|row| row.region != *from),
        Command::RevokeTransfer { from: of, .. } => of != from,
        // An order nobody gave would keep that region's nodes waiting for it.
        Command::RecordErasure(row) => row.region != *from,
        Command::AddRegion { .. }
        | Command::CreateTenant { .. }
        | Command::CreateStream { .. }
        | Command::AssignShard { .. }
        | Command::RecordHead(_) => false,
    }
}

/// The commands again, and the bytes of an entry that holds them; `None` where no entry does.
pub(super) fn measured(commands: Vec<Command>) -> Option<(Vec<Command>, usize)> {
    let place = LogPlace { term: u64::MAX, node: NodeId(u64::MAX), index: u64::MAX };
    let entry = Entry { place, payload: Payload::Commands(commands) };
    let bytes = codec::encode(&entry).ok()?.len();
    let Payload::Commands(commands) = entry.payload else { return None };
    Some((commands, bytes))
}
