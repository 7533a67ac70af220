//! Streams go to another node of the region for their load: what the nodes say of theirs is gathered, and of what
//! follows from it this node carries out its own part, one stream at a time.
//!
//! Every node plans the same from the same numbers, and gives away only what is its own. What should move is decided in
//! `ownership`; how a stream is given and taken up is as for a node that is drained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{Epoch, NodeId, ShardId};
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::region::{RegionAsk, RegionReply, ShardLoad};
use domicile_proto::metadata::Durability;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::PlacementConfig;
use crate::erase::Neighbours;
use crate::limits::{ADOPTION_WAIT, LOADS_HEARD, PLACED_AHEAD};
use crate::ownership::{Load, Ownership, Placed, Sights, Standing, Step, spread};
use crate::policy::{Policy, PolicyWatch};
use crate::present::admin::placement::Placing;
use crate::segment::Shards;

/// Gathers, plans, and gives away.
#[derive(Clone)]
pub(super) struct Placement {
    us: PeerId,
    config: PlacementConfig,
    policy: PolicyWatch,
    shards: Shards,
    ownership: Arc<Ownership>,
    neighbours: Neighbours,
    /// Nodes that write into the bucket of this one, as was seen there.
    beside: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Placement {
    pub(super) fn new(
        us: PeerId,
        config: PlacementConfig,
        policy: PolicyWatch,
        (shards, ownership, neighbours): (Shards, Arc<Ownership>, Neighbours),
    ) -> Self {
        Self { us, config, policy, shards, ownership, neighbours, beside: Arc::default() }
    }

    /// Until the node stops, in the interval that is configured; nothing where it is switched off.
    pub(super) async fn keep(self, token: CancellationToken) {
        if !self.config.enabled {
            return;
        }
        let work = async {
            let mut late = None;
            loop {
                tokio::time::sleep(self.config.interval()).await;
                late = self.round(late).await;
            }
        };
        token.run_until_cancelled(work).await;
    }

    /// One look, and at most one move; a stream that was given and is not taken up yet, so that nothing moves before it
    /// is. Rests while an operator has this node drained: that gives the same streams.
    async fn round(&self, late: Option<(ShardId, Epoch)>) -> Option<(ShardId, Epoch)> {
        if self.ownership.loads().is_draining() {
            return late;
        }
        if let Some((shard, epoch)) = late
            && !self.shards.epoch_in_store(shard).await.is_ok_and(|found| found >= epoch)
        {
            return late;
        }
        // Without the group nothing can be decided.
        if self.policy.lease().is_over(Instant::now()) {
            return None;
        }
        let sights = self.look().await;
        let steps = spread(&sights, PLACED_AHEAD, self.config.least());
        for step in steps.into_iter().filter(|step| step.from == self.us.node) {
            // A stream that was just changed to the bucket may not be there whole.
            if self.shards.lies_in_store(step.shard).await {
                if self.ownership.loads().is_draining() {
                    return None;
                }
                return self.give(step).await;
            }
        }
        None
    }

    async fn give(&self, step: Step) -> Option<(ShardId, Epoch)> {
        let Step { shard, stream, from, to, weight, reason } = step;
        // The plan is older than this: what another node got meanwhile is not taken from it.
        let seen = may_give(&self.policy.now(), shard, from)?;
        let Some(epoch) = self.ownership.give(stream, to, seen).await else {
            tracing::warn!(%shard, %to, "the metadata group did not give the shard to another node; this is tried again");
            return None;
        };
        self.ownership.loads().gave();
        let (why, millicores) = (reason.word(), weight / 1_000);
        tracing::info!(%shard, %from, %to, epoch = epoch.0, millicores, why, ?reason, "the shard goes to another node");
        if self.shards.is_taken_up(shard, epoch, ADOPTION_WAIT).await {
            return None;
        }
        tracing::warn!(%shard, %to, epoch = epoch.0, "the shard is not taken up yet; nothing more moves before it is");
        Some((shard, epoch))
    }

    /// What the nodes of the region say now. One that says nothing takes no part.
    async fn look(&self) -> Sights {
        let policy = self.policy.now();
        let others = policy.nodes_of(&self.us.region).filter(|to| to.id.node != self.us.node);
        let asked = others.map(|to| async move {
            let asking = self.neighbours.ask(to.clone(), RegionAsk::Loads);
            match tokio::time::timeout(LOADS_HEARD, asking).await {
                Ok(Ok(RegionReply::Loads(is_drained, loads))) => Some((to.id.node, (is_drained, loads))),
                _ => None,
            }
        });
        let loads = self.ownership.loads();
        let mut told: BTreeMap<NodeId, (bool, Vec<ShardLoad>)> = join_all(asked).await.into_iter().flatten().collect();
        told.insert(self.us.node, (loads.is_drained(), loads.told()));
        let mut nodes = BTreeMap::new();
        for (node, (is_drained, _)) in &told {
            nodes.insert(*node, self.standing(*node, *is_drained).await);
        }
        Sights { nodes, shards: self.placed(&policy, &told) }
    }

    async fn standing(&self, node: NodeId, is_drained: bool) -> Standing {
        if is_drained {
            return Standing::Drained;
        }
        if node == self.us.node || self.beside.lock().contains(&node) {
            return Standing::Takes;
        }
        if self.shards.shares_bucket_with(node).await.unwrap_or_default() {
            self.beside.lock().insert(node);
            return Standing::Takes;
        }
        Standing::Keeps
    }

    /// Every shard of the region, with what its owner says of it, or the node that had it until a moment ago.
    fn placed(&self, policy: &Policy, told: &BTreeMap<NodeId, (bool, Vec<ShardLoad>)>) -> Vec<Placed> {
        let enough = self.config.half_life().as_secs();
        let mut known: BTreeMap<ShardId, Vec<(NodeId, ShardLoad)>> = BTreeMap::new();
        for (node, (_, loads)) in told {
            loads.iter().for_each(|load| known.entry(load.shard).or_default().push((*node, *load)));
        }
        let placed = policy.streams.values().filter_map(|stream| {
            let (shard, owner) = stream.shard?;
            let said = known.get(&shard).map(Vec::as_slice).unwrap_or_default();
            let (load, is_settled) = measured(said, owner, enough);
            let is_ours = owner == self.us.node;
            let in_bucket = stream.policy.durability == Durability::Bucket;
            // Of its own a node knows whether they are there yet.
            let is_movable = in_bucket && (!is_ours || self.shards.is_in_bucket(shard));
            Some(Placed { shard, stream: stream.id, owner, load, is_movable, is_settled })
        });
        placed.collect()
    }

    /// What is seen now and what would move, also where it is switched off.
    pub(super) async fn shown(&self) -> Placing {
        let sights = self.look().await;
        let steps = spread(&sights, PLACED_AHEAD, self.config.least());
        Placing { is_on: self.config.enabled, given: self.ownership.loads().given(), sights, steps }
    }
}

/// The epoch after which a node may give a shard away: nothing where another node has it by now, or its stream is to
/// lie on the disk.
fn may_give(policy: &Policy, shard: ShardId, from: NodeId) -> Option<Epoch> {
    let stream = policy.streams.values().find(|stream| stream.shard == Some((shard, from)))?;
    let is_movable = stream.policy.durability == Durability::Bucket;
    policy.epochs.get(&shard).copied().filter(|_| is_movable)
}

/// What a shard asks: as its owner says once it has measured it for long enough, until then as whoever measured it
/// longest. And whether the owner has.
fn measured(said: &[(NodeId, ShardLoad)], owner: NodeId, enough: u64) -> (Load, bool) {
    let load = |told: &ShardLoad| Load { bytes: told.bytes_per_second, cpu: told.cpu_micros_per_second };
    let of_owner = said.iter().find(|(node, told)| *node == owner && told.measured_seconds >= enough);
    if let Some((_, told)) = of_owner {
        return (load(told), true);
    }
    let longest = said.iter().max_by_key(|(_, told)| told.measured_seconds);
    (longest.map(|(_, told)| load(told)).unwrap_or_default(), false)
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{StreamId, TenantId};
    use domicile_proto::metadata::StreamPolicy;

    use super::*;
    use crate::policy::StreamView;

    /// A region whose one shard, the first, has an owner in its third epoch.
    fn region(owner: NodeId, durability: Durability) -> Policy {
        let mut policy = Policy::empty("tokyo".parse().unwrap());
        let view = StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { durability, ..StreamPolicy::default() },
            shard: Some((ShardId(1), owner)),
        };
        policy.streams.insert((view.tenant, view.name.clone()), Arc::new(view));
        policy.epochs.insert(ShardId(1), Epoch(3));
        policy
    }

    #[test]
    fn a_node_gives_only_what_is_its_own_now_and_may_move() {
        let (us, them) = (NodeId(1), NodeId(2));
        let ours = region(us, Durability::Bucket);
        assert_eq!(may_give(&ours, ShardId(1), us), Some(Epoch(3)));
        assert_eq!(may_give(&ours, ShardId(2), us), None, "nobody knows the shard");
        assert_eq!(may_give(&region(them, Durability::Bucket), ShardId(1), us), None, "another node got it meanwhile");
        assert_eq!(may_give(&region(us, Durability::Disk), ShardId(1), us), None, "it is to lie on the disk");
    }

    fn told(cpu_micros_per_second: u64, measured_seconds: u64) -> ShardLoad {
        ShardLoad { shard: ShardId(1), bytes_per_second: 0, cpu_micros_per_second, measured_seconds }
    }

    #[test]
    fn a_shard_asks_what_its_owner_says_or_until_then_what_the_node_before_it_said() {
        let (us, them) = (NodeId(1), NodeId(2));
        let cpu = |cpu| Load { bytes: 0, cpu };
        for (case, said, expected) in [
            ("nobody knows", vec![], (cpu(0), false)),
            ("its owner", vec![(us, told(5, 60))], (cpu(5), true)),
            ("not for long", vec![(us, told(5, 59))], (cpu(5), false)),
            ("just given", vec![(us, told(5, 2)), (them, told(9, 300))], (cpu(9), false)),
            ("given a while ago", vec![(us, told(5, 60)), (them, told(9, 300))], (cpu(5), true)),
            ("the one before alone", vec![(them, told(9, 300))], (cpu(9), false)),
        ] {
            assert_eq!(measured(&said, us, 60), expected, "{case}");
        }
    }
}
