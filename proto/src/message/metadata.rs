//! Frames of the metadata group's protocol: Raft over typed commands and rows, never over bytes (RES-2).
//!
//! These mirror what the consensus library says, in types of our own, so that an auditor reads what crosses here and a new
//! version of the library cannot change it. Source of the fields: Ongaro and Ousterhout, "In Search of an Understandable
//! Consensus Algorithm" (2014), figures 2 and 13.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::metadata::{Applied, Command, Row};

/// A term and the node that leads, or wants to lead, in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The node.
    pub node: NodeId,
    /// Whether a quorum has granted it.
    pub committed: bool,
}

/// The place of an entry in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPlace {
    /// The term it was proposed in.
    pub term: u64,
    /// The leader that proposed it.
    pub node: NodeId,
    /// Its index.
    pub index: u64,
}

/// Who belongs to the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Sets of voters: one, or two while the group changes.
    pub voters: Vec<Vec<NodeId>>,
    /// All members and where their links listen.
    pub nodes: Vec<(NodeId, SocketAddr)>,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: the first entry of a leader.
    Blank,
    /// Commands, applied in this order; at most [`crate::metadata::MAX_BATCH`].
    Commands(Vec<Command>),
    /// A change of the membership.
    Membership(Membership),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub place: LogPlace,
    /// What it holds.
    pub payload: Payload,
}

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The last entry it covers.
    pub last: Option<LogPlace>,
    /// The membership then, and where it was written.
    pub membership: (Option<LogPlace>, Membership),
    /// Number of rows that follow.
    pub rows: u64,
}

/// How an appended batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// All of it is durable.
    Success,
    /// All up to here is durable, the rest was not looked at.
    Partial(Option<LogPlace>),
    /// The entry before the batch is not the follower's.
    Conflict,
    /// The follower has seen a later vote.
    HigherVote(Vote),
}

/// Why the group did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unavailable {
    /// Another node leads.
    NotLeader(Option<NodeId>),
    /// No majority answered in time.
    NoQuorum,
    /// The node is stopping, or its storage failed.
    Stopped,
    /// The sender may not say this; asking again does not help.
    Refused,
}

/// A frame of the metadata group's protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataFrame {
    /// Leader to follower: entries, or none as a heartbeat.
    Append {
        /// The leader's vote.
        vote: Vote,
        /// The entry before the first one.
        previous: Option<LogPlace>,
        /// The entries.
        entries: Vec<Entry>,
        /// How far the group has committed.
        committed: Option<LogPlace>,
    },
    /// The answer to `Append`.
    Appended(AppendOutcome),
    /// Candidate to all: elect me.
    RequestVote {
        /// The candidate's vote.
        vote: Vote,
        /// The last entry of its log.
        last: Option<LogPlace>,
    },
    /// The answer to `RequestVote`.
    Voted {
        /// The vote the node stands by.
        vote: Vote,
        /// Whether it was granted.
        granted: bool,
        /// The last entry of the node's log.
        last: Option<LogPlace>,
    },
    /// Leader to follower, on a stream of its own: a snapshot begins; `rows` rows follow.
    Snapshot {
        /// The leader's vote.
        vote: Vote,
        /// What it covers.
        head: SnapshotHead,
    },
    /// Rows of a snapshot, at most [`MAX_ROWS_PER_FRAME`].
    Rows(Vec<Row>),
    /// The answer to a whole snapshot.
    Installed(Vote),
    /// Any node to the leader: decide this.
    Propose(Vec<Command>),
    /// The answer to `Propose`: where it was written and what became of each command.
    Proposed {
        /// Index of the entry in the log.
        index: u64,
        /// One for each command.
        applied: Vec<Applied>,
    },
    /// Any node to the leader: up to which index must I have applied to read linearizably?
    ReadIndex,
    /// The answer to `ReadIndex`.
    ReadAt(u64),
    /// An officer-approved node to the leader: make me a member.
    Join {
        /// The node; must be the one in the certificate of the connection.
        node: NodeId,
        /// Where its link listens.
        addr: SocketAddr,
        /// Whether it is to vote.
        voter: bool,
    },
    /// A member to the leader: take me out.
    Leave {
        /// The node; must be the one in the certificate of the connection.
        node: NodeId,
    },
    /// Done.
    Done,
    /// Not done.
    Unavailable(Unavailable),
}

/// Most rows in one [`MetadataFrame::Rows`].
pub const MAX_ROWS_PER_FRAME: usize = 512;
