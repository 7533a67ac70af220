//! Reading: the local copy with its known staleness, or linearizably through the leader; and what is known of the group.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata::MetadataFrame;
use openraft::{RaftMetrics, ServerState};
use tokio::time::{Instant, timeout};

use super::{Group, Inner};
use crate::error::MetaError;
use crate::raft::Member;
use crate::state::State;

/// How old the local copy may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Time since the leader was heard, or since a majority answered this leader; `None` if that was not since the start.
    pub since_contact: Option<Duration>,
}

impl Staleness {
    /// Whether the last contact is no longer ago than `lease`.
    pub fn is_within(&self, lease: Duration) -> bool {
        self.since_contact.is_some_and(|since| since <= lease)
    }
}

/// What a node knows of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetrics {
    /// The term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log: Option<u64>,
    /// Index of the last entry applied here.
    pub applied: Option<u64>,
    /// Index of the last entry in the snapshot here.
    pub snapshot: Option<u64>,
    /// Index up to which the log here was purged.
    pub purged: Option<u64>,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who only follows.
    pub learners: Vec<NodeId>,
    /// Whether this node takes no part any more before a restart: its log could not be written.
    pub is_broken: bool,
}

impl Group {
    /// The local copy, at once and always, and how old it may be.
    pub fn local(&self) -> (Arc<State>, Staleness) {
        let state = Arc::clone(&self.0.machine.watch().borrow());
        (state, Staleness { since_contact: self.0.since_contact() })
    }

    /// The state with everything that was decided before this call.
    ///
    /// # Errors
    /// [`MetaError::NoQuorum`] where no majority confirmed it in time.
    pub async fn linearizable(&self, within: Duration) -> Result<Arc<State>, MetaError> {
        let deadline = Instant::now() + within;
        let inner = &self.0;
        let mut changes = inner.raft.metrics();
        loop {
            changes.mark_unchanged();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(MetaError::NoQuorum { waited: within });
            }
            if let Ok(Some(index)) = timeout(left, inner.read_index(left)).await {
                let left = deadline.saturating_duration_since(Instant::now());
                let waited = inner.raft.wait(Some(left)).applied_index_at_least(Some(index), "a read").await;
                return match waited {
                    Ok(_) => Ok(Arc::clone(&inner.machine.watch().borrow())),
                    Err(_) => Err(MetaError::NoQuorum { waited: within }),
                };
            }
            if inner.stop.is_cancelled() {
                return Err(MetaError::Stopped);
            }
            drop(timeout(inner.timing.heartbeat.min(left), changes.changed()).await);
        }
    }

    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.leader()
    }

    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.0.leads()
    }

    /// What is known of the group here.
    pub fn metrics(&self) -> GroupMetrics {
        GroupMetrics::of(&self.0.raft.metrics().borrow())
    }

    /// Waits until what is known of the group here is as wanted.
    ///
    /// # Errors
    /// [`MetaError::NoQuorum`] where it was not in time.
    pub async fn until(
        &self,
        within: Duration,
        is_wanted: impl Fn(&GroupMetrics) -> bool + Send,
    ) -> Result<GroupMetrics, MetaError> {
        let wait = self.0.raft.wait(Some(within));
        let found = wait.metrics(move |metrics| is_wanted(&GroupMetrics::of(metrics)), "the group").await;
        found.map(|metrics| GroupMetrics::of(&metrics)).map_err(|_| MetaError::NoQuorum { waited: within })
    }
}

impl GroupMetrics {
    fn of(metrics: &RaftMetrics<u64, Member>) -> Self {
        let members = metrics.membership_config.membership();
        Self {
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|place| place.index),
            snapshot: metrics.snapshot.map(|place| place.index),
            purged: metrics.purged.map(|place| place.index),
            voters: members.voter_ids().map(NodeId).collect(),
            learners: members.learner_ids().map(NodeId).collect(),
            is_broken: metrics.running_state.is_err(),
        }
    }
}

impl Inner {
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow().current_leader.map(NodeId)
    }

    pub(super) fn leads(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.state == ServerState::Leader && metrics.current_leader == Some(self.config.node.0)
    }

    /// The leader and where it is reached.
    pub(super) fn leader_addr(&self) -> Option<(NodeId, SocketAddr)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader?;
        let member = *metrics.membership_config.membership().get_node(&leader)?;
        Some((NodeId(leader), member.addr))
    }

    /// Up to which index a read must have applied; `None` where nobody could say.
    async fn read_index(&self, left: Duration) -> Option<u64> {
        let (leader, addr) = self.leader_addr()?;
        if leader == self.config.node {
            return self.confirmed_index().await;
        }
        let patience = left.min(self.timing.election_max);
        match self.transport.call(leader, addr, MetadataFrame::ReadIndex, patience).await {
            Ok(MetadataFrame::ReadAt(index)) => Some(index),
            _ => None,
        }
    }

    /// The same as the leader, confirmed by a majority.
    pub(super) async fn confirmed_index(&self) -> Option<u64> {
        let (read, _) = self.raft.get_read_log_id().await.ok()?;
        Some(read.map_or(0, |place| place.index))
    }

    pub(super) fn since_contact(&self) -> Option<Duration> {
        if self.leads() {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let members = metrics.membership_config.membership();
            if members.voter_ids().all(|voter| voter == self.config.node.0) {
                return Some(Duration::ZERO);
            }
            return metrics.millis_since_quorum_ack.map(Duration::from_millis);
        }
        self.contact.lock().map(|at| at.elapsed())
    }
}
