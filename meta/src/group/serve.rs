//! Answering other nodes.
//!
//! Every frame is judged by the node id of the connection's certificate, never by a field alone: who leads or stands for
//! election must say so under its own id and be known here, who joins or leaves does so for itself. Frames that no honest
//! member sends are refused before the consensus library sees them.

use std::sync::Arc;

use domicile_proto::ids::NodeId;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::metadata::{
    AppendOutcome, Entry, LogPlace, MetadataFrame, Payload, SnapshotHead, Unavailable, Vote,
};
use domicile_proto::metadata::{Command, MAX_BATCH, Row};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use tokio::time::{Instant, timeout};

use super::{Group, Inner, propose};
use crate::convert;
use crate::limits::MAX_SNAPSHOT_ROWS;
use crate::raft::Snapshot;
use crate::state::State;

const REFUSED: MetadataFrame = MetadataFrame::Unavailable(Unavailable::Refused);
const STOPPED: MetadataFrame = MetadataFrame::Unavailable(Unavailable::Stopped);

impl Group {
    /// Answers a frame of `from`, the node and region in the certificate of the connection.
    pub async fn serve(&self, frame: MetadataFrame, from: &PeerId) -> MetadataFrame {
        let inner = &self.0;
        let answer = match frame {
            MetadataFrame::Append { vote, previous, entries, committed } => {
                inner.take_entries(from, vote, previous, entries, committed).await
            }
            MetadataFrame::RequestVote { vote, last } => inner.take_vote_request(from, vote, last).await,
            MetadataFrame::Propose(commands) => inner.take_proposal(from, commands).await,
            MetadataFrame::ReadIndex => inner.take_read(from).await,
            MetadataFrame::Join { node, addr, voter } if node == from.node => inner.take_join(from, addr, voter).await,
            MetadataFrame::Leave { node } if node == from.node && inner.knows(from) => inner.take_leave(node).await,
            _ => REFUSED,
        };
        if answer == REFUSED {
            tracing::warn!(from = %from, "refused a frame of the metadata group");
        }
        answer
    }

    /// Answers a whole snapshot: `head` is the [`MetadataFrame::Snapshot`] the stream began with, `rows` all rows after it.
    pub async fn serve_snapshot(&self, head: MetadataFrame, rows: Vec<Row>, from: &PeerId) -> MetadataFrame {
        let answer = match head {
            MetadataFrame::Snapshot { vote, head } => self.0.take_snapshot(from, vote, head, rows).await,
            _ => REFUSED,
        };
        if answer == REFUSED {
            tracing::warn!(from = %from, "refused a snapshot of the metadata group");
        }
        answer
    }
}

impl Inner {
    async fn take_entries(
        &self,
        from: &PeerId,
        vote: Vote,
        previous: Option<LogPlace>,
        entries: Vec<Entry>,
        committed: Option<LogPlace>,
    ) -> MetadataFrame {
        if !self.may_lead(from, &vote) || !follow_each_other(previous, &entries) {
            return REFUSED;
        }
        let request = AppendEntriesRequest {
            vote: convert::vote(&vote),
            prev_log_id: previous.as_ref().map(convert::log_id),
            entries: entries.into_iter().map(convert::entry).collect(),
            leader_commit: committed.as_ref().map(convert::log_id),
        };
        let outcome = match self.raft.append_entries(request).await {
            Ok(AppendEntriesResponse::Success) => AppendOutcome::Success,
            Ok(AppendEntriesResponse::PartialSuccess(place)) => {
                AppendOutcome::Partial(place.as_ref().map(convert::place))
            }
            Ok(AppendEntriesResponse::Conflict) => AppendOutcome::Conflict,
            Ok(AppendEntriesResponse::HigherVote(vote)) => AppendOutcome::HigherVote(convert::wire_vote(&vote)),
            Err(_) => return STOPPED,
        };
        if !matches!(outcome, AppendOutcome::HigherVote(_)) {
            *self.contact.lock() = Some(Instant::now());
        }
        MetadataFrame::Appended(outcome)
    }

    async fn take_vote_request(self: &Arc<Self>, from: &PeerId, vote: Vote, last: Option<LogPlace>) -> MetadataFrame {
        if vote.node != from.node || !self.knows(from) {
            return REFUSED;
        }
        let request = VoteRequest::new(convert::vote(&vote), last.as_ref().map(convert::log_id));
        match self.raft.vote(request).await {
            Ok(answer) => {
                self.stand_instead_of(&vote, last.as_ref(), &answer);
                MetadataFrame::Voted {
                    vote: convert::wire_vote(&answer.vote),
                    granted: answer.vote_granted,
                    last: answer.last_log_id.as_ref().map(convert::place),
                }
            }
            Err(_) => STOPPED,
        }
    }

    async fn take_snapshot(&self, from: &PeerId, vote: Vote, head: SnapshotHead, rows: Vec<Row>) -> MetadataFrame {
        let is_whole = head.rows == rows.len() as u64 && head.rows <= MAX_SNAPSHOT_ROWS;
        if !self.may_lead(from, &vote) || !is_whole || !is_membership(&head.membership.1.voters) {
            return REFUSED;
        }
        let Ok(state) = State::from_rows(rows) else { return REFUSED };
        let snapshot = Snapshot { meta: convert::snapshot_meta(head), snapshot: Box::new(state) };
        match self.raft.install_full_snapshot(convert::vote(&vote), snapshot).await {
            Ok(answer) => {
                *self.contact.lock() = Some(Instant::now());
                MetadataFrame::Installed(convert::wire_vote(&answer.vote))
            }
            Err(_) => STOPPED,
        }
    }

    async fn take_proposal(&self, from: &PeerId, commands: Vec<Command>) -> MetadataFrame {
        if !self.knows(from) || commands.len() > MAX_BATCH || commands.iter().any(propose::brings_unsigned_text) {
            return REFUSED;
        }
        let state = Arc::clone(&self.machine.watch().borrow());
        if commands.iter().any(|command| propose::takes_from_another(command, &from.region, &state)) {
            return REFUSED;
        }
        // An entry that does not fit its frame could not be written, and would stop the node.
        let Some((commands, _)) = propose::measured(commands) else { return REFUSED };
        match timeout(self.timing.election_max, self.write(commands)).await {
            Ok(Ok((index, applied))) => MetadataFrame::Proposed { index, applied },
            Ok(Err(unavailable)) => MetadataFrame::Unavailable(unavailable),
            Err(_) => MetadataFrame::Unavailable(Unavailable::NoQuorum),
        }
    }

    async fn take_read(&self, from: &PeerId) -> MetadataFrame {
        if !self.knows(from) {
            return REFUSED;
        }
        if !self.leads() {
            return MetadataFrame::Unavailable(Unavailable::NotLeader(self.leader()));
        }
        match timeout(self.timing.election_max, self.confirmed_index()).await {
            Ok(Some(index)) => MetadataFrame::ReadAt(index),
            _ => MetadataFrame::Unavailable(Unavailable::NoQuorum),
        }
    }

    /// Whether `from` may speak as a leader under this vote.
    fn may_lead(&self, from: &PeerId, vote: &Vote) -> bool {
        vote.node == from.node && vote.committed && self.knows(from)
    }

    /// Whether a node is approved for the region of its certificate; or, without a row, a member; or this node has not yet
    /// heard of any member. A region may issue certificates for any node id, but only under its own name.
    fn knows(&self, from: &PeerId) -> bool {
        if let Some(row) = self.machine.watch().borrow().node(from.node) {
            return row.region == from.region;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        members.get_node(&from.node.0).is_some() || members.nodes().next().is_none()
    }
}

/// Whether the entries stand one behind the other after `previous`, and none changes the membership to an empty one.
fn follow_each_other(previous: Option<LogPlace>, entries: &[Entry]) -> bool {
    let first = previous.map_or(0, |place| place.index.saturating_add(1));
    let mut expected = first..;
    entries.iter().all(|entry| {
        let is_sound = match &entry.payload {
            Payload::Membership(membership) => is_membership(&membership.voters),
            Payload::Commands(commands) => commands.len() <= MAX_BATCH,
            Payload::Blank => true,
        };
        is_sound && expected.next() == Some(entry.place.index)
    })
}

fn is_membership(voters: &[Vec<NodeId>]) -> bool {
    (1..=2).contains(&voters.len()) && voters.iter().all(|set| !set.is_empty())
}
