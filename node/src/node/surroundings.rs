//! What the doors may know of the node around them, and the few things they may ask of it.

use std::net::SocketAddr;
use std::sync::Arc;

use domicile_meta::error::MetaError;
use domicile_meta::group::Group;
use domicile_proto::ids::{Name, ShardId};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::identity::PeerId;
use domicile_proto::metadata::{Applied, Change, Command};
use domicile_proto::officer::OfficerPublic;

use crate::audit::Ledger;
use crate::config::Regions;
use crate::errors::{Coded, Verdict};
use crate::keys::Vault;
use crate::limits::PROPOSE_DEADLINE;
use crate::policy::PolicyWatch;
use crate::present::{Facts, Refresh, Surroundings};
use crate::receive::Failure;
use crate::segment::Shards;
use crate::telemetry::{Metric, Metrics};

/// The tenant that every deployment begins with.
const FIRST_TENANT: &str = "default";

/// What the surroundings are made of.
#[derive(Clone)]
pub(super) struct Sight {
    pub(super) link: Link,
    pub(super) group: Group,
    pub(super) policy: PolicyWatch,
    pub(super) shards: Shards,
    pub(super) ledger: Arc<Ledger>,
    pub(super) vault: Arc<Vault>,
    pub(super) metrics: Metrics,
    pub(super) refresh: Refresh,
    pub(super) regions: Regions,
    pub(super) advertise: SocketAddr,
    pub(super) officer: OfficerPublic,
    pub(super) us: PeerId,
}

/// Why the node around the doors did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
enum AroundError {
    /// The first command carries no consent.
    #[error(
        "a deployment begins with this node's `AddNode`, signed by the officer of its own region; use `domicile cluster init`"
    )]
    NoConsent,
    /// The group does not do it.
    #[error("the metadata group did not do it: {0}")]
    Group(#[from] MetaError),
    /// A command of the beginning was refused.
    #[error("the deployment began, but a command was refused: {0}; give it again with the first admin key")]
    Refused(domicile_proto::metadata::CommandRefusal),
}

impl Coded for AroundError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoConsent => "DMC-NODE-06",
            Self::Group(error) => error.code(),
            Self::Refused(_) => "DMC-NODE-07",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Group(MetaError::NoQuorum { .. } | MetaError::Busy) => Verdict::NotNow(2),
            _ => Verdict::Refused,
        }
    }
}

impl AroundError {
    fn failure(&self) -> Failure {
        let status = match self {
            Self::NoConsent => 403,
            Self::Group(MetaError::Initialised) => 409,
            Self::Group(_) => 503,
            Self::Refused(_) => 422,
        };
        Failure::new(self, status, "cluster_exception")
    }
}

/// Makes what was accepted for some shards searchable.
pub(super) fn refresh(shards: &Shards) -> Refresh {
    let shards = shards.clone();
    Arc::new(move |wanted: Vec<ShardId>| {
        let shards = shards.clone();
        Box::pin(async move {
            for shard in wanted {
                shards.refresh(Some(shard)).await;
            }
        })
    })
}

/// The surroundings of the doors.
pub(super) fn of(sight: Sight) -> Surroundings {
    let (facts, begin, drain, leave, metrics) =
        (sight.clone(), sight.clone(), sight.clone(), sight.clone(), sight.clone());
    Surroundings {
        facts: Arc::new(move || facts.facts()),
        refresh: sight.refresh,
        begin: Arc::new(move |commands| {
            let sight = begin.clone();
            Box::pin(async move { sight.begin(commands).await.map_err(|error| error.failure()) })
        }),
        drain: Arc::new(move || {
            let group = drain.group.clone();
            Box::pin(async move { done(group.step_down(PROPOSE_DEADLINE).await) })
        }),
        leave: Arc::new(move || {
            let group = leave.group.clone();
            Box::pin(async move { done(group.leave(PROPOSE_DEADLINE).await) })
        }),
        metrics: Arc::new(move || metrics.scrape()),
    }
}

fn done(outcome: Result<(), MetaError>) -> Result<(), Failure> {
    outcome.map_err(|error| AroundError::Group(error).failure())
}

impl Sight {
    fn facts(&self) -> Facts {
        let metrics = self.group.metrics();
        let policy = self.policy.now();
        let others = policy.nodes.keys().filter(|node| **node != self.us.node);
        let round_trips =
            others.filter_map(|node| Some((*node, self.link.round_trip(*node)?.as_secs_f64() * 1_000.0))).collect();
        Facts {
            leader: metrics.leader,
            term: metrics.term,
            voters: metrics.voters,
            round_trips,
            has_tls_keylog: self.link.has_tls_keylog(),
        }
    }

    /// Begins a deployment: this node is its first voter. Whoever asks shows the consent of this node's own officer; there
    /// is no key yet that anybody could show.
    async fn begin(&self, commands: Vec<Command>) -> Result<(), AroundError> {
        let is_ours = |command: &Command| match command {
            Command::Regional(change) => {
                let names_us = matches!(&change.change, Change::AddNode { node, .. } if *node == self.us.node);
                names_us && change.region == self.us.region && self.officer.consents(change)
            }
            _ => false,
        };
        if !commands.first().is_some_and(is_ours) {
            return Err(AroundError::NoConsent);
        }
        self.group.initialize(&[(self.us.node, self.advertise)]).await?;
        tracing::info!("a deployment begins on this node");
        let regions = self.regions.iter().map(|facts| Command::AddRegion { region: facts.name.clone() });
        let tenant = FIRST_TENANT.parse::<Name>().ok().map(|tenant| Command::CreateTenant { tenant });
        for command in regions.chain(tenant).chain(commands) {
            if let Applied::Refused(refusal) = self.group.propose(command, PROPOSE_DEADLINE).await? {
                return Err(AroundError::Refused(refusal));
            }
        }
        Ok(())
    }

    fn scrape(&self) -> String {
        let group = self.group.metrics();
        let catalog = self.shards.catalog();
        let shards = catalog.shards();
        let views: Vec<_> = shards.iter().map(|shard| catalog.view(*shard)).collect();
        let segments: usize = views.iter().map(|view| view.iter().count()).sum();
        let records: u64 = shards.iter().map(|shard| catalog.totals(*shard).docs).sum();
        let keys = self.vault.facts();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (metric, value) in [
            (Metric::PolicyVersion, self.policy.now().version.0),
            (Metric::IsLeader, u64::from(group.leader == Some(self.us.node))),
            (Metric::MetaApplied, group.applied.unwrap_or(0)),
            (Metric::LedgerEntries, self.ledger.head().size),
            (Metric::Shards, count(shards.len())),
            (Metric::Segments, count(segments)),
            (Metric::Records, records),
            (Metric::IsFailed, u64::from(self.shards.is_failed())),
            (Metric::KeyStoreSilence, keys.silent_seconds),
            (Metric::AreKeysExpired, u64::from(keys.is_expired)),
            (Metric::SealedOriginals, keys.originals),
            (Metric::SubjectKeys, keys.subjects),
        ] {
            self.metrics.set(metric, value);
        }
        self.metrics.text()
    }
}
