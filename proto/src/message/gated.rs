//! A question behind the disclosure gate, on its way from the node of a region that was asked to the one that owns the stream there.
//!
//! It never crosses a border: only [`crate::link::neighbour::Neighbour`] sends it. The answer that comes back is an
//! [`Answer`](crate::message::answer::Answer) as it would cross, and what it was drawn from; what the node that was asked makes of it
//! is [`Relayed`](crate::border::relayed::Relayed), which it can pass on and not change.

use serde::{Deserialize, Serialize};

use crate::ids::{KThreshold, PolicyVersion, Region, ShardId};
use crate::message::question::Question;
use crate::message::region::Asker;

/// On whose behalf a question is carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskedBy {
    /// A node of this other region.
    Region(Region),
    /// The holder of a key of this region; and whether other regions are asked the same.
    Key(Asker, bool),
}

/// A question, carried to the node that owns its stream. That one judges it, and passes it on to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatedQuestion {
    /// On whose behalf.
    pub by: AskedBy,
    /// What is asked, as it came in.
    pub question: Question,
    /// The policy of the node that was asked: an owner that holds an older one judges nothing for it.
    pub policy: PolicyVersion,
    /// How long the owner may take, in milliseconds.
    pub wait_ms: u32,
}

/// What an answer was drawn from, as it stands in the entry of the ledger where the answer leaves. Numbers and a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnFrom {
    /// The shard.
    pub shard: ShardId,
    /// Last place in it that was counted.
    pub upto: u64,
    /// Number of the newest entry of the release journal that it was composed from.
    pub journal: u64,
    /// SHA-256 of the rules.
    pub rules: [u8; 32],
    /// The smallest group that might be told of by the policy the owner judged under.
    pub k: Option<KThreshold>,
}
