//! Which shards of a region should lie with another node: a pure decision over measured loads.
//!
//! A node that is drained loses what can move; then the node with the most gives to the one with the least, as long as
//! the difference is worth it. Only shards of durability `bucket` move, and for their load only ones that were measured
//! for long enough. Every step lessens the sum of the squares of what nodes carry, so that with steady loads it ends,
//! and no shard goes back. Does not ask, does not wait and knows no clock.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domicile_proto::ids::{NodeId, ShardId, StreamId};

/// What something asks of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Bytes of records that come in, a second.
    pub(crate) bytes: u64,
    /// Time of processors for building, merging and searching, in microseconds a second.
    pub(crate) cpu: u64,
}

impl Load {
    /// Both in one number, in millionths of a processor: what is measured, and what bytes cost before they are counted
    /// by shard.
    pub(crate) const fn weight(self) -> u64 {
        self.cpu.saturating_add(self.bytes / BYTES_PER_MICROSECOND)
    }
}

/// A node that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may be given shards.
    Takes,
    /// It keeps what it has, and is given none: it writes into another bucket.
    Keeps,
    /// It is drained: what can move goes.
    Drained,
}

/// A shard of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) shard: ShardId,
    pub(crate) stream: StreamId,
    pub(crate) owner: NodeId,
    pub(crate) load: Load,
    /// Whether all of it lies in the store. What lies on a disk stays there.
    pub(crate) is_movable: bool,
    /// Whether its owner has measured it for a half-life. Until then its load may be told as less than it is.
    pub(crate) is_settled: bool,
}

/// What one node sees of its region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sights {
    /// Nodes that were heard; a shard of any other one is passed over.
    pub(crate) nodes: BTreeMap<NodeId, Standing>,
    pub(crate) shards: Vec<Placed>,
}

/// Why a shard moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its node is drained.
    Drained,
    /// Its node carries so much, and the other one so much; in millionths of a processor.
    Uneven {
        /// Where it is.
        here: u64,
        /// Where it goes.
        there: u64,
    },
}

impl Reason {
    /// As it is told and logged.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Drained => "its node is drained",
            Self::Uneven { there: 0, .. } => "the other node has nothing to do",
            Self::Uneven { .. } => "its node carries more than the other",
        }
    }
}

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) shard: ShardId,
    pub(crate) stream: StreamId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// In millionths of a processor.
    pub(crate) weight: u64,
    pub(crate) reason: Reason,
}

/// The next moves, at most so many, each as if those before it had been made. Nodes that differ by `least` millionths
/// of a processor, or by [`TOLERANCE_PERCENT`] of what a node has on average, count as even.
pub(crate) fn spread(sights: &Sights, most: usize, least: u64) -> Vec<Step> {
    let mut shards: Vec<Placed> =
        sights.shards.iter().filter(|placed| sights.nodes.contains_key(&placed.owner)).copied().collect();
    let mut steps = Vec::new();
    while steps.len() < most {
        let carried = carried(&sights.nodes, &shards);
        let Some((at, step)) = empty(sights, &shards, &carried).or_else(|| even(sights, &shards, &carried, least))
        else {
            break;
        };
        if let Some(moved) = shards.get_mut(at) {
            // It is not measured where it goes: no plan moves it twice.
            (moved.owner, moved.is_settled) = (step.to, false);
        }
        steps.push(step);
    }
    steps
}

/// What a node carries: the weight of its shards, and how many.
pub(crate) fn carried(nodes: &BTreeMap<NodeId, Standing>, shards: &[Placed]) -> BTreeMap<NodeId, (u64, usize)> {
    let mut carried: BTreeMap<NodeId, (u64, usize)> = nodes.keys().map(|node| (*node, (0, 0))).collect();
    for placed in shards {
        if let Some((weight, count)) = carried.get_mut(&placed.owner) {
            (*weight, *count) = (weight.saturating_add(placed.load.weight()), *count + 1);
        }
    }
    carried
}

type Carried = BTreeMap<NodeId, (u64, usize)>;

/// The heaviest shard of a drained node, to the node that carries the least.
fn empty(sights: &Sights, shards: &[Placed], carried: &Carried) -> Option<(usize, Step)> {
    let is_drained = |node: NodeId| sights.nodes.get(&node) == Some(&Standing::Drained);
    let due = shards.iter().enumerate().filter(|(_, placed)| placed.is_movable && is_drained(placed.owner));
    let (at, placed) = due.max_by_key(|(_, placed)| (placed.load.weight(), Reverse(placed.shard)))?;
    let to = takers(sights).min_by_key(|node| (carried.get(node).copied().unwrap_or_default(), *node))?;
    Some((at, step(placed, to, Reason::Drained)))
}

/// From the node with the most that can give, to the one with the least: the shard that leaves the two most alike.
fn even(sights: &Sights, shards: &[Placed], carried: &Carried, least: u64) -> Option<(usize, Step)> {
    let weight = |node: NodeId| carried.get(&node).map_or(0, |(weight, _)| *weight);
    let mut nodes: Vec<NodeId> = takers(sights).collect();
    let total: u64 = nodes.iter().map(|node| weight(*node)).fold(0, u64::saturating_add);
    let mean = total / (nodes.len() as u64).max(1);
    let band = least.max(mean / 100 * TOLERANCE_PERCENT).max(1);
    nodes.sort_by_key(|node| (weight(*node), *node));
    nodes.iter().rev().find_map(|from| {
        let (here, count) = carried.get(from).copied().unwrap_or_default();
        let worth = here / (count as u64).max(1) / WORTH;
        nodes.iter().find_map(|to| {
            let gap = here.checked_sub(weight(*to)).filter(|gap| *gap > band)?;
            let fits = |placed: &Placed| {
                let moved = placed.load.weight();
                moved > worth && moved <= gap - band.div_ceil(2)
            };
            let may = shards
                .iter()
                .enumerate()
                .filter(|(_, placed)| placed.owner == *from && placed.is_movable && placed.is_settled && fits(placed));
            let (at, placed) =
                may.min_by_key(|(_, placed)| (gap.abs_diff(placed.load.weight().saturating_mul(2)), placed.shard))?;
            Some((at, step(placed, *to, Reason::Uneven { here, there: weight(*to) })))
        })
    })
}

/// Nodes that may be given shards.
pub(crate) fn takers(sights: &Sights) -> impl Iterator<Item = NodeId> {
    sights.nodes.iter().filter(|(_, standing)| **standing == Standing::Takes).map(|(node, _)| *node)
}

const fn step(placed: &Placed, to: NodeId, reason: Reason) -> Step {
    let Placed { shard, stream, owner, load, .. } = *placed;
    Step { shard, stream, from: owner, to, weight: load.weight(), reason }
}

/// Bytes of records whose way to the log costs a microsecond of a processor: parsing, finding personal data, sealing
/// and writing, at 20 MB a second and processor. Measured nowhere by shard, and of the same order on every machine.
const BYTES_PER_MICROSECOND: u64 = 20;
/// Nodes that differ by less than this part of what a node carries on average are even.
const TOLERANCE_PERCENT: u64 = 20;
/// A shard that weighs less than this part of its node's mean shard is not worth a move.
const WORTH: u64 = 4;

#[cfg(test)]
#[path = "place_test.rs"]
mod tests;
