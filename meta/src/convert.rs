//! Between the consensus library's types and the project's own frames.
//!
//! The only file that knows both; a new version of the library changes nothing on the wire or the disk.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata as wire;
use openraft::{CommittedLeaderId, EntryPayload};

use crate::raft::{Batch, Entry, LogId, Member, Membership, SnapshotMeta, StoredMembership, Vote};

pub(crate) fn place(id: &LogId) -> wire::LogPlace {
    wire::LogPlace { term: id.leader_id.term, node: NodeId(id.leader_id.node_id), index: id.index }
}

pub(crate) fn log_id(place: &wire::LogPlace) -> LogId {
    LogId::new(CommittedLeaderId::new(place.term, place.node.0), place.index)
}

pub(crate) fn wire_vote(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node: NodeId(vote.leader_id.node_id), committed: vote.committed }
}

pub(crate) fn vote(vote: &wire::Vote) -> Vote {
    if vote.committed { Vote::new_committed(vote.term, vote.node.0) } else { Vote::new(vote.term, vote.node.0) }
}

pub(crate) fn wire_membership(membership: &Membership) -> wire::Membership {
    let voters = membership.get_joint_config().iter();
    wire::Membership {
        voters: voters.map(|set| set.iter().copied().map(NodeId).collect()).collect(),
        nodes: membership.nodes().map(|(node, member)| (NodeId(*node), member.addr)).collect(),
    }
}

pub(crate) fn membership(membership: wire::Membership) -> Membership {
    let voters = membership.voters.into_iter().map(|set| set.into_iter().map(|node| node.0).collect());
    let nodes = membership.nodes.into_iter().map(|(node, addr)| (node.0, Member { addr }));
    Membership::new(voters.collect::<Vec<BTreeSet<u64>>>(), nodes.collect::<BTreeMap<u64, Member>>())
}

pub(crate) fn wire_entry(entry: Entry) -> wire::Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => wire::Payload::Blank,
        EntryPayload::Normal(Batch(commands)) => wire::Payload::Commands(commands),
        EntryPayload::Membership(membership) => wire::Payload::Membership(wire_membership(&membership)),
    };
    wire::Entry { place: place(&entry.log_id), payload }
}

pub(crate) fn entry(entry: wire::Entry) -> Entry {
    let payload = match entry.payload {
        wire::Payload::Blank => EntryPayload::Blank,
        wire::Payload::Commands(commands) => EntryPayload::Normal(Batch(commands)),
        wire::Payload::Membership(change) => EntryPayload::Membership(membership(change)),
    };
    Entry { log_id: log_id(&entry.place), payload }
}

pub(crate) fn wire_head(meta: &SnapshotMeta, rows: u64) -> wire::SnapshotHead {
    let stored = &meta.last_membership;
    wire::SnapshotHead {
        last: meta.last_log_id.as_ref().map(place),
        membership: (stored.log_id().as_ref().map(place), wire_membership(stored.membership())),
        rows,
    }
}

pub(crate) fn snapshot_meta(head: wire::SnapshotHead) -> SnapshotMeta {
    let (written, members) = head.membership;
    meta_of(head.last.as_ref().map(log_id), StoredMembership::new(written.as_ref().map(log_id), membership(members)))
}

/// The head of a snapshot of what was applied up to `last`. Snapshots of the same place are the same, hence the id.
pub(crate) fn meta_of(last: Option<LogId>, membership: StoredMembership) -> SnapshotMeta {
    let snapshot_id = last.as_ref().map_or_else(|| "empty".to_owned(), ToString::to_string);
    SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id }
}
