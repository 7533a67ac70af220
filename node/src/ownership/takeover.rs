//! Which shards this node may take over: a pure decision over who was heard when.
//!
//! A lease gates taking over, not writing: an owner writes until the store refuses it. It ends when the owner was silent for
//! [`OWNER_LEASE`]. Only shards whose records lie in the store move so, and only within the region. Two nodes that decide the
//! same at once do no harm: the metadata group takes one of them. Does not ask, and does not wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domicile_proto::ids::{Epoch, NodeId, ShardId, StreamId};

use crate::limits::{OWNER_LEASE, OWNER_ROUND, TAKEN_AT_ONCE};

/// When the other nodes of the region were last heard, by this machine's steady clock.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    since: BTreeMap<NodeId, Instant>,
    looked: Option<Instant>,
}

impl Heard {
    /// Begins a round: `nodes` are the others, and the owners of shards that are none of the region's nodes any more. One that is
    /// new here counts as heard now. So do all after this node itself was away: it cannot say who was silent meanwhile.
    pub(crate) fn look(&mut self, nodes: &BTreeSet<NodeId>, now: Instant) {
        let was_away = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) > OWNER_LEASE / 3);
        if was_away {
            self.since.clear();
        }
        self.looked = Some(now);
        self.since.retain(|node, _| nodes.contains(node));
        for node in nodes {
            self.since.entry(*node).or_insert(now);
        }
    }

    /// A node was heard.
    pub(crate) fn heard(&mut self, node: NodeId, now: Instant) {
        self.since.insert(node, now);
    }

    /// How long each node was silent.
    pub(crate) fn silent(&self, now: Instant) -> BTreeMap<NodeId, Duration> {
        self.since.iter().map(|(node, since)| (*node, now.saturating_duration_since(*since))).collect()
    }
}

/// A shard of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) shard: ShardId,
    pub(crate) stream: StreamId,
    pub(crate) owner: NodeId,
    pub(crate) epoch: Epoch,
    /// Whether all of it lies in the store.
    pub(crate) in_bucket: bool,
}

/// What this node sees.
pub(crate) struct Sight {
    pub(crate) us: NodeId,
    /// Whether the metadata group is heard: without it nothing can be decided.
    pub(crate) has_group: bool,
    /// How long each other node of the region, and each owner, was silent.
    pub(crate) silent: BTreeMap<NodeId, Duration>,
    /// Nodes that the region still has.
    pub(crate) nodes: BTreeSet<NodeId>,
    pub(crate) shards: Vec<Owned>,
}

/// The shards this node takes over now. Of several nodes that see the same, each shard has one.
pub(crate) fn plan(sight: &Sight) -> Vec<Owned> {
    if !sight.has_group {
        return Vec::new();
    }
    let is_silent = |node: NodeId| sight.silent.get(&node).is_some_and(|silence| *silence >= OWNER_LEASE);
    let is_near = |node: NodeId| sight.silent.get(&node).is_some_and(|silence| *silence <= NEAR);
    let candidates: Vec<NodeId> =
        sight.nodes.iter().copied().filter(|node| *node == sight.us || is_near(*node)).collect();
    let is_ours = |shard: ShardId| heir(shard, &candidates) == Some(sight.us);
    let due = sight.shards.iter().filter(|owned| owned.in_bucket && owned.owner != sight.us && is_silent(owned.owner));
    due.filter(|owned| is_ours(owned.shard)).take(TAKEN_AT_ONCE).copied().collect()
}

/// Which of some nodes is to have a shard.
pub(crate) fn heir(shard: ShardId, of: &[NodeId]) -> Option<NodeId> {
    of.iter().copied().max_by_key(|node| (weight(shard, *node), node.0))
}

/// How much a node is to have a shard: the highest has it, and when a node goes only its shards move.
fn weight(shard: ShardId, node: NodeId) -> u64 {
    let mut mixed = shard.0 ^ node.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Silence up to which a node may be chosen to take over: a few rounds.
const NEAR: Duration = OWNER_ROUND.saturating_mul(5);

const _: () = assert!(NEAR.as_millis() < OWNER_LEASE.as_millis());
