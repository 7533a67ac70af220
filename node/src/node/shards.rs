//! Shards of durability `bucket` come to this node and leave it: what the metadata group decided is carried out, and what an owner
//! left behind that fell silent is taken over.
//!
//! Taking up, writing and leaving are the stages' own; who may take over is decided in `ownership`. This walks around.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{Epoch, NodeId, ShardId};
use domicile_proto::link::identity::{PeerAddr, PeerId};
use domicile_proto::message::region::RegionAsk;
use domicile_proto::metadata::Durability;
use futures::StreamExt;
use futures::future::{join, join_all};

use crate::erase::Neighbours;
use crate::errors::Coded;
use crate::limits::{LOGS_LOOK, OWNER_HEARD, OWNER_LEASE, OWNER_ROUND, SHARDS_TAKEN_UP_AT_ONCE};
use crate::ownership::{Heard, Owned, Ownership, Sight, plan};
use crate::policy::{Policy, PolicyWatch, StreamView};
use crate::segment::{Catalog, SegmentError, Shards};
use crate::wal::Bucket;

/// Walks around.
pub(super) struct Keeper {
    pub(super) us: PeerId,
    pub(super) policy: PolicyWatch,
    pub(super) shards: Shards,
    pub(super) ownership: Arc<Ownership>,
    pub(super) neighbours: Neighbours,
    /// Shards that wait to be taken up since the start: nothing of them can be searched.
    pub(super) waiting: BTreeSet<ShardId>,
    /// Who had the shards of other nodes since this one looks. Whoever had one that comes here is shut out of it, also when the
    /// region does not have that node any more.
    pub(super) before: BTreeMap<ShardId, BTreeSet<NodeId>>,
}

impl Keeper {
    /// Until the node stops.
    pub(super) async fn keep(mut self, token: tokio_util::sync::CancellationToken) {
        let (mut heard, mut told, mut looked) = (Heard::default(), BTreeSet::new(), Instant::now());
        let mut changes = self.policy.changes();
        let watched = watched(self.shards.bucket(), self.shards.catalog().clone());
        let work = async {
            loop {
                changes.mark_unchanged();
                self.carry_out(&mut told).await;
                self.take_over(&mut heard).await;
                self.shards.settle_taken().await;
                self.shards.forget_what_others_have().await;
                if looked.elapsed() >= LOGS_LOOK {
                    looked = Instant::now();
                    self.clear_logs().await;
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(OWNER_ROUND) => {}
                }
            }
        };
        token.run_until_cancelled(join(work, watched)).await;
    }

    /// What the group decided: shards that are ours are taken up, others are left. One that came from another node lies in the bucket
    /// from then on, whatever its policy says.
    async fn carry_out(&mut self, told: &mut BTreeSet<ShardId>) {
        let Some(bucket) = self.shards.bucket() else { return };
        let policy = self.policy.now();
        let mut wanted = BTreeMap::new();
        for stream in policy.streams.values() {
            let Some((shard, owner)) = stream.shard else { continue };
            let epoch = policy.epochs.get(&shard).copied().unwrap_or(Epoch(1));
            let held = bucket.epoch_of(shard);
            if owner != self.us.node {
                self.before.entry(shard).or_default().insert(owner);
                // A seal has ended it in the log before this node heard why; its segments are still shown.
                if self.waiting.remove(&shard) || self.shards.is_in_bucket(shard) {
                    tracing::info!(%shard, %owner, epoch = epoch.0, "another node of the region writes the shard");
                    self.shards.leave(shard, epoch).await;
                }
            } else if bucket.deposed_by(shard).is_some_and(|by| by > epoch) {
                // Another node writes it, and the group will say so: what is here is not all.
                self.shards.catalog().set_whole(shard, false);
            } else if held.is_none_or(|held| held < epoch)
                && (self.is_in_bucket(stream, shard) || self.came_from_another(shard, epoch).await)
            {
                let was_ended = bucket.deposed_by(shard).is_some() && self.shards.is_in_bucket(shard);
                if held.is_some() || was_ended {
                    // It went and came back before this node heard of it.
                    self.shards.leave(shard, epoch).await;
                }
                wanted.insert(shard, epoch);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let mut others = self.others(&policy);
        others.extend(wanted.keys().filter_map(|shard| self.before.get(shard)).flatten());
        // Nor may one go on that had it before this node began to look, and left a log.
        let failed = match bucket.logs().await {
            Ok(logs) => {
                others.extend(logs);
                self.shards.adopt(&others, &wanted).await
            }
            Err(error) => wanted.keys().map(|shard| (*shard, SegmentError::Log(error.clone()))).collect(),
        };
        for shard in wanted.keys().filter(|shard| !failed.contains_key(shard)) {
            self.waiting.remove(shard);
            told.remove(shard);
        }
        for (shard, error) in failed {
            self.shards.catalog().set_whole(shard, false);
            // How far it came is not known: it goes on, whatever its policy says by then.
            self.waiting.insert(shard);
            if told.insert(shard) {
                let (code, error) = (error.code(), &error as &dyn std::error::Error);
                tracing::error!(%shard, code, error, "the shard could not be taken up; this is tried again");
            }
        }
    }

    /// Nodes that were taken out of the region look after their logs no more.
    async fn clear_logs(&self) {
        let policy = self.policy.now();
        let nodes = policy.nodes_of(&self.us.region).map(|to| to.id.node);
        let known: BTreeSet<NodeId> = nodes.chain(owners(&policy)).collect();
        // A node that has heard nothing yet of its region knows nobody.
        if !known.contains(&self.us.node) || self.policy.lease().is_over(Instant::now()) {
            return;
        }
        if let Err(error) = self.shards.clear_logs_of_others_than(&known, &policy.epochs).await {
            let (code, error) = (error.code(), &error as &dyn std::error::Error);
            tracing::warn!(code, error, "the log of a node that is gone stays for now; this is tried again");
        }
    }

    /// Whether another node wrote the shard before, which left all of it in the store first. A shard of the disk that was assigned anew
    /// without that holds what it held.
    async fn came_from_another(&self, shard: ShardId, epoch: Epoch) -> bool {
        let catalog = self.shards.catalog();
        if epoch.0 <= 1 || catalog.taken_up(shard).is_some_and(|taken| taken >= epoch) {
            return false;
        }
        let is_kept = self.shards.is_kept_in_store(shard).await;
        if matches!(is_kept, Ok(false)) {
            catalog.set_taken_up(shard, epoch);
        }
        // Where the store does not say, nothing of it is answered for, and this is asked again.
        is_kept.unwrap_or_default()
    }

    fn is_in_bucket(&self, stream: &StreamView, shard: ShardId) -> bool {
        stream.policy.durability == Durability::Bucket || self.waiting.contains(&shard)
    }

    fn others(&self, policy: &Policy) -> BTreeSet<NodeId> {
        self.addresses(policy)
            .into_iter()
            .map(|to| to.id.node)
            .chain(owners(policy))
            .filter(|n| *n != self.us.node)
            .collect()
    }

    fn addresses(&self, policy: &Policy) -> Vec<PeerAddr> {
        policy.nodes_of(&self.us.region).filter(|to| to.id.node != self.us.node).collect()
    }

    /// Shards of owners that were silent too long.
    async fn take_over(&self, heard: &mut Heard) {
        let (policy, addresses) = (self.policy.now(), self.addresses(&self.policy.now()));
        if addresses.is_empty() {
            return;
        }
        heard.look(&self.others(&policy), Instant::now());
        let asked = addresses.iter().map(|to| async move {
            let asking = self.neighbours.ask(to.clone(), RegionAsk::How(Vec::new()));
            let said = tokio::time::timeout(OWNER_HEARD, asking).await;
            matches!(said, Ok(Ok(_))).then_some(to.id.node)
        });
        for node in join_all(asked).await.into_iter().flatten() {
            heard.heard(node, Instant::now());
        }
        let now = Instant::now();
        let nodes = addresses.iter().map(|to| to.id.node).chain([self.us.node]).collect();
        let has_group = !self.policy.lease().is_over(now);
        let shards = owned(&policy);
        let sight = Sight { us: self.us.node, has_group, silent: heard.silent(now), nodes, shards };
        let taking: Vec<_> = plan(&sight).into_iter().map(|silent| self.take(silent)).collect();
        futures::stream::iter(taking).buffer_unordered(SHARDS_TAKEN_UP_AT_ONCE).collect::<()>().await;
    }

    /// One of them.
    async fn take(&self, Owned { shard, stream, owner, epoch, .. }: Owned) {
        if !self.shards.lies_in_store(shard).await {
            return;
        }
        // One that was taken out of the region may be paused and not gone. Its log is closed before its shard is another's: later nobody
        // may know any more whose it was. It cannot come back as the owner.
        let is_out = !self.policy.now().nodes_of(&self.us.region).any(|to| to.id.node == owner);
        if is_out && let Err(error) = self.shards.give_up(shard, owner, Epoch(epoch.0.saturating_add(1))).await {
            let (code, error) = (error.code(), &error as &dyn std::error::Error);
            tracing::warn!(%shard, %owner, code, error, "the log of a node that is gone could not be closed; this is tried again");
            return;
        }
        // What is accepted of it is not here yet: no question is answered until it is.
        self.shards.catalog().set_whole(shard, false);
        match self.ownership.take(stream, epoch).await {
            Some(epoch) => {
                let silence = OWNER_LEASE.as_secs();
                tracing::warn!(%shard, %owner, epoch = epoch.0, silence, "its owner is silent: this node takes the shard over");
            }
            None => self.shards.catalog().set_whole(shard, true),
        }
    }
}

/// Keeps the catalog told of the seals in this node's log. One that was away looks for them before it answers again for what it took
/// up: it may have been taken for gone, and what another one wrote meanwhile is not here.
async fn watched(bucket: Option<Bucket>, catalog: Catalog) {
    let Some(bucket) = bucket else { return };
    loop {
        let since = Instant::now();
        let known = if catalog.is_awake() { Some(since) } else { met(bucket.meet()).await };
        if let Some(known) = known {
            catalog.set_met(known, bucket.deposed());
        }
        tokio::time::sleep(OWNER_ROUND).await;
    }
}

/// Until when every seal is known once this node has looked for them; `None` where it could not. A store may take longer than a node that
/// is paused has until it is taken for gone: as long as this goes on running meanwhile, nobody takes it for that.
async fn met(looking: impl Future<Output = bool>) -> Option<Instant> {
    let mut looking = std::pin::pin!(looking);
    let mut known = tokio::time::Instant::now();
    loop {
        let looked = tokio::time::timeout(OWNER_ROUND, &mut looking).await;
        // Where it was paused it stays at what it knew before, and looks again.
        if known.elapsed() < OWNER_LEASE / 2 {
            known = tokio::time::Instant::now();
        }
        if let Ok(has_looked) = looked {
            return has_looked.then_some(known.into_std());
        }
    }
}

fn owners(policy: &Policy) -> impl Iterator<Item = NodeId> {
    policy.streams.values().filter_map(|stream| stream.shard.map(|(_, owner)| owner))
}

fn owned(policy: &Policy) -> Vec<Owned> {
    let shards = policy.streams.values().filter_map(|stream| {
        let (shard, owner) = stream.shard?;
        let epoch = policy.epochs.get(&shard).copied()?;
        let in_bucket = stream.policy.durability == Durability::Bucket;
        Some(Owned { shard, stream: stream.id, owner, epoch, in_bucket })
    });
    shards.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_slow_keeps_no_node_silent_that_runs_and_one_that_is_paused_looks_again() {
        let begun = tokio::time::Instant::now();
        let slow = async {
            sleep(OWNER_LEASE * 2).await;
            true
        };
        let known = met(slow).await.expect("it has looked");
        assert_eq!(begun.elapsed(), OWNER_LEASE * 2);
        assert!(known + Duration::from_millis(10) >= begun.into_std() + OWNER_LEASE * 2, "it ran all the while");

        let begun = tokio::time::Instant::now();
        let paused = async {
            sleep(OWNER_ROUND / 2).await;
            advance(OWNER_LEASE / 2).await;
            true
        };
        let known = met(paused).await.expect("it has looked");
        assert_eq!(known, begun.into_std(), "what came while it was paused is not known");
        assert_eq!(met(async { false }).await, None);
    }
}
