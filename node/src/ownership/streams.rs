//! A stream by name, ready to be written by this node.
//!
//! A name goes into the metadata of every region, whatever door it came through: here, and nowhere before, it is looked at for
//! personal data (RES-2), and a tenant makes so many in a while.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{Epoch, Name, NodeId, StreamId, TenantId};
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::metadata::{Applied, Command, CommandRefusal};
use domicile_proto::region_key::RegionKey;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::errors::OwnershipError;
use super::handover::Giving;
use super::load::Loads;
use super::propose::Propose;
use crate::limits::{HANDOVER_WAIT, NEW_STREAMS_AT_ONCE, NEW_STREAMS_PER_MINUTE, TENANT_RATES};
use crate::policy::{PolicyWatch, StreamView};

type Turn = tokio::sync::Mutex<()>;

/// Which streams this node writes, and how it gets a new one.
pub(crate) struct Ownership {
    node: NodeId,
    region_key: Option<RegionKey>,
    policy: PolicyWatch,
    propose: Propose,
    detector: Arc<dyn LiteralDetector + Send + Sync>,
    deadline: Duration,
    new_streams: DefaultKeyedRateLimiter<TenantId>,
    turns: Mutex<HashMap<(TenantId, Name), Weak<Turn>>>,
    loads: Loads,
    giving: Giving,
}

impl Ownership {
    /// For a node, which speaks for its region with `region_key`; `detector` knows personal data, `deadline` bounds the wait
    /// for the metadata group.
    pub(crate) fn new(
        node: NodeId,
        region_key: Option<RegionKey>,
        policy: PolicyWatch,
        propose: Propose,
        detector: Arc<dyn LiteralDetector + Send + Sync>,
        deadline: Duration,
    ) -> Self {
        let quota = Quota::per_minute(NEW_STREAMS_PER_MINUTE).allow_burst(NEW_STREAMS_AT_ONCE);
        let (new_streams, turns) = (RateLimiter::keyed(quota), Mutex::new(HashMap::new()));
        let loads = Loads::new(HALF_LIFE);
        let giving = Giving::default();
        Self { node, region_key, policy, propose, detector, deadline, new_streams, turns, loads, giving }
    }

    /// Has what shards ask of this node fade with another half-life.
    pub(crate) fn fading(self, half_life: Duration) -> Self {
        Self { loads: Loads::new(half_life), ..self }
    }

    /// What the shards of this node ask of it.
    pub(crate) const fn loads(&self) -> &Loads {
        &self.loads
    }

    /// The shards that this node gives away at this moment.
    pub(crate) const fn giving(&self) -> &Giving {
        &self.giving
    }

    /// What is known of streams.
    pub(crate) const fn policy(&self) -> &PolicyWatch {
        &self.policy
    }

    /// The stream, written by this node: at once where it is known, after a proposal where it is new.
    ///
    /// # Errors
    /// [`OwnershipError`]: not allowed, not here, or not now.
    pub(crate) async fn stream(
        &self,
        tenant: TenantId,
        name: &Name,
        may_create: bool,
    ) -> Result<Arc<StreamView>, OwnershipError> {
        if let Some(known) = self.known(tenant, name) {
            return known;
        }
        if !may_create && self.policy.now().stream(tenant, name).is_none() {
            return Err(OwnershipError::MayNotCreate { stream: name.clone() });
        }
        let found = tokio::time::timeout(self.deadline, async {
            let turn = self.turn(tenant, name);
            let _turn = turn.lock().await;
            match self.known(tenant, name) {
                Some(known) => known,
                None => self.begin(tenant, name).await,
            }
        });
        found.await.unwrap_or_else(|_| Err(OwnershipError::OutOfReach { stream: name.clone() }))
    }

    /// What the snapshot says, if it says who writes the stream here.
    fn known(&self, tenant: TenantId, name: &Name) -> Option<Result<Arc<StreamView>, OwnershipError>> {
        let policy = self.policy.now();
        let view = policy.stream(tenant, name)?;
        let (_, owner) = view.shard?;
        if owner == self.node {
            return Some(Ok(Arc::clone(view)));
        }
        Some(Err(OwnershipError::OwnedElsewhere { stream: name.clone(), owner }))
    }

    /// A stream that another node of the region writes, and which.
    pub(crate) fn elsewhere(&self, tenant: TenantId, name: &Name) -> Option<(Arc<StreamView>, NodeId)> {
        let policy = self.policy.now();
        let view = policy.stream(tenant, name)?;
        let (_, owner) = view.shard?;
        (owner != self.node).then(|| (Arc::clone(view), owner))
    }

    /// A stream of a tenant, where this node writes it.
    pub(crate) fn mine(&self, tenant: TenantId, stream: StreamId) -> Option<Arc<StreamView>> {
        let policy = self.policy.now();
        let view = policy.stream_by_id(tenant, stream)?;
        let (_, owner) = view.shard?;
        (owner == self.node).then(|| Arc::clone(view))
    }

    /// Where another node of the region is found.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<PeerAddr> {
        let policy = self.policy.now();
        policy.nodes_of(&policy.region).find(|to| to.id.node == node && node != self.node)
    }

    /// Has it decided that this node writes a stream's shard after an epoch; the new one, or nothing where another node was faster
    /// or the group is out of reach.
    pub(crate) async fn take(&self, stream: StreamId, seen: Epoch) -> Option<Epoch> {
        self.give(stream, self.node, seen).await
    }

    /// The same for another node of the region, which then takes up what this one leaves. From before it is decided until this node
    /// knows what was, it says nothing of what it gives.
    pub(crate) async fn give(&self, stream: StreamId, to: NodeId, seen: Epoch) -> Option<Epoch> {
        let key = self.region_key.as_ref()?;
        let policy = self.policy.now();
        let command = key.assign(stream, policy.region.clone(), to, seen);
        let ours = policy.streams.values().find(|view| view.id == stream).and_then(|view| view.shard);
        let given = ours.filter(|(_, owner)| *owner == self.node && to != self.node).map(|(shard, _)| shard);
        if let Some(shard) = given {
            self.giving.begin(shard, seen);
        }
        let begun = Instant::now();
        let mut decided = self.propose.decide(command.clone()).await;
        if given.is_some() && decided.is_err() {
            // Nobody knows what came of it, and the stream is silent. The same once more is decided once at most: the group does it now,
            // or says that it did.
            given.into_iter().for_each(|shard| self.giving.begin(shard, seen));
            let again = self.propose.decide(command);
            decided = tokio::time::timeout_at(begun + HANDOVER_WAIT, again).await.unwrap_or(decided);
        }
        match decided {
            Ok(Applied::Shard(_, epoch)) => return Some(epoch),
            // Another node has it, and the policy will say so; or nobody knows.
            Ok(Applied::Refused(CommandRefusal::StaleEpoch)) | Err(_) => {}
            Ok(_) => given.into_iter().for_each(|shard| self.giving.refused(shard)),
        }
        None
    }

    async fn begin(&self, tenant: TenantId, name: &Name) -> Result<Arc<StreamView>, OwnershipError> {
        let known = self.policy.now().stream(tenant, name).map(|view| view.id);
        let stream = match known {
            Some(stream) => stream,
            None => self.create(tenant, name).await?,
        };
        let region = self.policy.now().region.clone();
        let (owner, seen) = (self.node, Epoch(0));
        let command = match &self.region_key {
            Some(key) => key.assign(stream, region, owner, seen),
            None => Command::AssignShard { stream, region, owner, seen, word: None },
        };
        match self.decide(name, command).await? {
            // Another node of the region was faster: the snapshot will say which.
            Applied::Refused(CommandRefusal::StaleEpoch) => {}
            Applied::Refused(refusal) => return Err(OwnershipError::Refused { stream: name.clone(), refusal }),
            _ => {}
        }
        let shown = self.policy.shows(|policy| policy.stream(tenant, name).and_then(|view| view.shard).map(drop));
        shown.await;
        self.known(tenant, name).unwrap_or_else(|| Err(OwnershipError::OutOfReach { stream: name.clone() }))
    }

    async fn create(&self, tenant: TenantId, name: &Name) -> Result<StreamId, OwnershipError> {
        if self.detector.finds_personal_data(name.as_str()) {
            return Err(OwnershipError::Personal);
        }
        self.charge(tenant)?;
        match self.decide(name, Command::CreateStream { tenant, stream: name.clone() }).await? {
            Applied::Stream(stream) => Ok(stream),
            Applied::Refused(refusal) => Err(OwnershipError::Refused { stream: name.clone(), refusal }),
            _ => Err(OwnershipError::OutOfReach { stream: name.clone() }),
        }
    }

    /// One more new stream of the tenant.
    fn charge(&self, tenant: TenantId) -> Result<(), OwnershipError> {
        if self.new_streams.len() > TENANT_RATES {
            self.new_streams.retain_recent();
        }
        self.new_streams.check_key(&tenant).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs();
            OwnershipError::TooFast { retry_after: u32::try_from(wait).unwrap_or(u32::MAX).max(1) }
        })
    }

    async fn decide(&self, name: &Name, command: Command) -> Result<Applied, OwnershipError> {
        self.propose.decide(command).await.map_err(|_| OwnershipError::OutOfReach { stream: name.clone() })
    }

    /// The queue of those who want the same new stream. Queues nobody stands in are swept when another one is made.
    fn turn(&self, tenant: TenantId, name: &Name) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        let place = (tenant, name.clone());
        if let Some(turn) = turns.get(&place).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(place, Arc::downgrade(&turn));
        turn
    }
}

/// Half-life of measured loads where none is configured.
const HALF_LIFE: Duration = Duration::from_secs(300);

#[cfg(test)]
#[path = "streams_test.rs"]
mod tests;
