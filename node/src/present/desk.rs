//! What every door stands on: who asks, what there is here, and the way to the other regions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{Name, NodeId, Region, ShardId, TenantId};
use domicile_proto::metadata::{Command, Roles};
use domicile_proto::officer::OfficerPublic;
use futures::future::BoxFuture;

use super::errors::PresentError;
use super::owners::Owners;
use super::searching::Unfound;
use crate::admit::{Admitter, Place, Places, Principal};
use crate::audit::{Ledger, Standing, WitnessFacts};
use crate::classify::{Classifier, Statements};
use crate::clock::Clock;
use crate::federate::Federation;
use crate::keys::Vault;
use crate::limits::{HOLDINGS_AT_ONCE, HOLDINGS_OF_TENANT_AT_ONCE, SEARCHES_AT_ONCE, SEARCHES_OF_TENANT_AT_ONCE};
use crate::ownership::{Ownership, OwnershipError, Propose};
use crate::policy::{Awareness, Policy, PolicyWatch, StreamView};
use crate::query::dates::DateContext;
use crate::query::{Budget, Engine};
use crate::receive::Failure;
use crate::segment::Catalog;
use crate::tasks::Tasks;

/// What the node knows of its surroundings at this moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Who leads the metadata group.
    pub(crate) leader: Option<NodeId>,
    /// The group's term.
    pub(crate) term: u64,
    /// Who votes.
    pub(crate) voters: Vec<NodeId>,
    /// Round-trip times of the link, in milliseconds.
    pub(crate) round_trips: BTreeMap<NodeId, f64>,
    /// Whether TLS keys are written for an auditor.
    pub(crate) has_tls_keylog: bool,
    /// Whether the node is about to stop: it serves on, and nobody should come anew.
    pub(crate) is_leaving: bool,
    /// Whether the write-ahead log takes nothing more before a restart.
    pub(crate) is_log_poisoned: bool,
    /// Whether it found no room of late.
    pub(crate) is_log_full: bool,
    /// Whether the log of the metadata group takes nothing more before a restart.
    pub(crate) is_group_broken: bool,
    /// Whether the ledger takes nothing more before a restart.
    pub(crate) is_ledger_poisoned: bool,
    /// How the witnesses of this node's ledger are, by their names.
    pub(crate) witnesses: BTreeMap<String, Standing>,
    /// What this node's own witness has seen, and its key.
    pub(crate) witness: (WitnessFacts, String),
}

/// Makes what was accepted for these shards searchable now.
pub(crate) type Refresh = Arc<dyn Fn(Vec<ShardId>) -> BoxFuture<'static, ()> + Send + Sync>;

type Done = BoxFuture<'static, Result<(), Failure>>;

/// What the doors need of the node around them and cannot hold themselves.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// What is known at this moment.
    pub(crate) facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    /// Makes accepted records searchable.
    pub(crate) refresh: Refresh,
    /// Begins a deployment on a node that knows no group.
    pub(crate) begin: Arc<dyn Fn(Vec<Command>) -> Done + Send + Sync>,
    /// Gives up leading the metadata group.
    pub(crate) drain: Arc<dyn Fn() -> Done + Send + Sync>,
    /// Leaves the metadata group.
    pub(crate) leave: Arc<dyn Fn() -> Done + Send + Sync>,
    /// The metadata group's state as this node has it, in the form of a backup.
    pub(crate) backup: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Own metrics in the Prometheus text format.
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// What a desk is made of.
pub(crate) struct Parts {
    pub(crate) region: Region,
    pub(crate) node: NodeId,
    pub(crate) officer: OfficerPublic,
    pub(crate) policy: PolicyWatch,
    pub(crate) admitter: Arc<Admitter>,
    pub(crate) engine: Engine,
    pub(crate) catalog: Catalog,
    pub(crate) federation: Arc<Federation>,
    /// The way to the other nodes of the region.
    pub(crate) owners: Owners,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) propose: Propose,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) detector: Arc<dyn LiteralDetector + Send + Sync>,
    /// Makes tokens of the values that a search looks for.
    pub(crate) classifier: Classifier,
    /// What officers state of streams, held against what is found in them.
    pub(crate) statements: Statements,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) around: Surroundings,
    /// Whether this node knows every erasure of its region.
    pub(crate) awareness: Awareness,
}

/// The desk.
pub(crate) struct Desk {
    pub(crate) parts: Parts,
    searches: Places,
    /// For neighbours that ask how much streams hold.
    pub(super) lists: Places,
}

/// The place of one search among those of its tenant and of the node.
pub(super) type Permit = Place;

impl Desk {
    /// From its parts.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let searches = Places::new(SEARCHES_AT_ONCE, SEARCHES_OF_TENANT_AT_ONCE);
        let lists = Places::new(HOLDINGS_AT_ONCE, HOLDINGS_OF_TENANT_AT_ONCE);
        Arc::new(Self { parts, searches, lists })
    }

    /// A place for one more search of the tenant.
    ///
    /// # Errors
    /// [`PresentError::Busy`] where the tenant or the node runs as many as it may.
    pub(super) fn permit(&self, tenant: TenantId) -> Result<Permit, PresentError> {
        self.searches.take(tenant).ok_or(PresentError::Busy)
    }

    /// Who asks, if the key may search.
    pub(super) fn searcher(&self, headers: &HeaderMap) -> Result<Principal, Failure> {
        Ok(self.parts.admitter.authorise(headers, "search", |roles| roles.search || roles.admin)?)
    }

    /// Who asks, if the key may do anything at all here.
    pub(super) fn anybody(&self, headers: &HeaderMap) -> Result<Principal, Failure> {
        Ok(self.parts.admitter.authenticate(headers)?)
    }

    /// Who asks, if the key has this role.
    pub(super) fn holder(
        &self,
        headers: &HeaderMap,
        role: &'static str,
        has: impl FnOnce(Roles) -> bool,
    ) -> Result<Principal, Failure> {
        Ok(self.parts.admitter.authorise(headers, role, has)?)
    }

    /// The streams of a tenant, by name.
    pub(super) fn streams(&self, tenant: TenantId) -> BTreeMap<Name, Arc<StreamView>> {
        Self::streams_under(&self.parts.policy.now(), tenant)
    }

    /// The streams of a tenant by one state of the policy, for whoever says more of that state.
    pub(super) fn streams_under(policy: &Policy, tenant: TenantId) -> BTreeMap<Name, Arc<StreamView>> {
        let own = policy.streams.iter().filter(|((owner, _), _)| *owner == tenant);
        own.map(|((_, name), view)| (name.clone(), Arc::clone(view))).collect()
    }

    /// What dates of a search are read against.
    pub(super) fn dates(&self) -> DateContext {
        DateContext::utc(self.parts.clock.now())
    }

    /// Time for a search: the caller's, at most the node's.
    pub(super) fn budget(wanted: Option<std::time::Duration>) -> Budget {
        let limit = crate::limits::SEARCH_DEADLINE;
        Budget::until(Instant::now() + wanted.unwrap_or(limit).min(limit))
    }

    /// Whether anything of a tenant may be shown: not where somebody was erased of whom this node does not know.
    pub(super) fn is_aware(&self, tenant: TenantId) -> Result<(), Failure> {
        self.knows(tenant).map_err(Failure::from)
    }

    pub(super) fn knows(&self, tenant: TenantId) -> Result<(), Unfound> {
        self.parts.awareness.unknown_of(tenant).map_or(Ok(()), |unknown| Err(Unfound::Unaware(unknown)))
    }

    /// Whether everything that was accepted into some streams can be searched here, but for what is younger than a refresh,
    /// and shown.
    pub(super) fn is_whole(&self, streams: &[Arc<StreamView>]) -> Result<(), Failure> {
        self.has_all(streams).map_err(Failure::from)
    }

    pub(super) fn has_all(&self, streams: &[Arc<StreamView>]) -> Result<(), Unfound> {
        streams.iter().try_for_each(|stream| self.knows(stream.tenant))?;
        let (policy, us) = (self.parts.policy.now(), self.parts.node);
        let mut shards = streams.iter().filter_map(|stream| stream.shard);
        let is_short = |shard: ShardId, owner: NodeId| {
            let is_going = || self.parts.ownership.giving().is_under_way(shard, &policy);
            !self.parts.catalog.is_whole(shard)
                || (owner == us && (is_going() || !self.parts.catalog.is_taken_up(shard, &policy)))
        };
        if let Some((shard, _)) = shards.find(|(shard, owner)| is_short(*shard, *owner)) {
            return Err(Unfound::NotWhole(shard));
        }
        // Nothing is an answer only where nothing lies that might be it.
        if streams.iter().any(|stream| stream.shard.is_none())
            && let Some(shard) = self.parts.catalog.unclaimed(&policy)
        {
            return Err(Unfound::Unclaimed(shard));
        }
        Ok(())
    }

    /// Whether this node writes all of these streams; what another one writes is not here.
    pub(super) fn is_here(&self, streams: &[Arc<StreamView>]) -> Result<(), Failure> {
        let elsewhere = streams.iter().find_map(|stream| {
            let (_, owner) = stream.shard.filter(|(_, owner)| *owner != self.parts.node)?;
            Some(OwnershipError::OwnedElsewhere { stream: stream.name.clone(), owner })
        });
        elsewhere.map_or(Ok(()), |elsewhere| Err(elsewhere.into()))
    }
}
