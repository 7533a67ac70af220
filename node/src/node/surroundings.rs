//! What the doors may know of the node around them, and the few things they may ask of it.

use std::net::SocketAddr;
use std::sync::Arc;

use domicile_meta::backup::Making;
use domicile_meta::error::MetaError;
use domicile_meta::group::Group;
use domicile_meta::state::State;
use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{Name, Region, ShardId};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::identity::PeerId;
use domicile_proto::metadata::{AccessKey, Applied, Change, Command, RegionalChange, Row};
use domicile_proto::officer::OfficerPublic;
use tokio_util::sync::CancellationToken;

use super::ingest::Knows;
use crate::audit::{Cosigning, Ledger, Trouble, Witness};
use crate::classify::{Classifier, Statements};
use crate::clock::Clock;
use crate::config::Regions;
use crate::errors::{Coded, Verdict};
use crate::keys::Vault;
use crate::limits::PROPOSE_DEADLINE;
use crate::ownership::Ownership;
use crate::policy::{PolicyWatch, seconds_until};
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
    pub(super) classifier: Classifier,
    pub(super) statements: Statements,
    pub(super) ledger: Arc<Ledger>,
    pub(super) witness: Arc<Witness>,
    pub(super) cosigning: Arc<Cosigning>,
    pub(super) vault: Arc<Vault>,
    pub(super) metrics: Metrics,
    pub(super) refresh: Refresh,
    pub(super) ownership: Arc<Ownership>,
    pub(super) regions: Regions,
    pub(super) advertise: SocketAddr,
    pub(super) officer: OfficerPublic,
    pub(super) detector: Arc<dyn LiteralDetector + Send + Sync>,
    pub(super) us: PeerId,
    pub(super) deployment: Name,
    pub(super) clock: Clock,
    /// Cancelled when the node is about to stop.
    pub(super) leaving: CancellationToken,
}

/// Why the node around the doors did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
enum AroundError {
    /// A command carries no consent, or does not belong to a beginning.
    #[error(
        "a deployment begins with this node's `AddNode`, and then nodes and keys alone, each signed by the officer of its own region; use `domicile cluster init`"
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

/// Whether it is known here where the log of a shard is.
pub(super) fn knows(shards: &Shards, policy: PolicyWatch) -> Knows {
    let shards = shards.clone();
    Arc::new(move |shard| {
        let is_awaited = shards.bucket().is_none_or(|bucket| bucket.is_awaited(shard));
        is_awaited || shards.catalog().is_taken_up(shard, &policy.now())
    })
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
    let (facts, begin, drain, leave) = (sight.clone(), sight.clone(), sight.clone(), sight.clone());
    let (backup, metrics) = (sight.clone(), sight.clone());
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
        backup: Arc::new(move || backup.backup()),
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
            is_leaving: self.leaving.is_cancelled(),
            is_log_poisoned: self.shards.is_log_poisoned(),
            is_log_full: self.shards.is_log_full(),
            is_group_broken: metrics.is_broken,
            is_ledger_poisoned: self.ledger.is_poisoned(),
            witnesses: self.cosigning.standings(),
            witness: (self.witness.facts(), self.witness.verifier()),
        }
    }

    /// A copy of the group's state.
    fn backup(&self) -> Vec<u8> {
        let PeerId { region, node } = self.us.clone();
        let (deployment, at) = (self.deployment.clone(), self.clock.now());
        let made = self.group.backup(Making { deployment, region, node, at, index: 0, term: 0, rows: 0 });
        // Every row came out of a frame.
        made.encode().unwrap_or_default()
    }

    /// Begins a deployment: this node is its first voter. Whoever asks shows the consent of this node's own officer; there
    /// is no key yet that anybody could show. What was interrupted before the region had a key, or its answer lost with the
    /// same key, is taken up again.
    async fn begin(&self, commands: Vec<Command>) -> Result<(), AroundError> {
        if !is_beginning(&commands, &self.us, &self.officer, &self.regions, self.detector.as_ref()) {
            return Err(AroundError::NoConsent);
        }
        match self.group.initialize(&[(self.us.node, self.advertise)]).await {
            Ok(()) => tracing::info!("a deployment begins on this node"),
            Err(MetaError::Initialised) if self.is_half_begun(&commands) => {
                tracing::info!("a deployment that was interrupted goes on");
            }
            Err(error) => return Err(error.into()),
        }
        let regions = self.regions.iter().map(|facts| Command::AddRegion { region: facts.name.clone() });
        let tenant = FIRST_TENANT.parse::<Name>().ok().map(|tenant| Command::CreateTenant { tenant });
        for command in regions.chain(tenant).chain(commands) {
            if let Applied::Refused(refusal) = self.group.propose(command, PROPOSE_DEADLINE).await? {
                return Err(AroundError::Refused(refusal));
            }
        }
        Ok(())
    }

    fn is_half_begun(&self, commands: &[Command]) -> bool {
        let (state, _) = self.group.local();
        self.group.metrics().voters == [self.us.node] && has_no_key_but(&state, &self.us.region, commands)
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
        let witnesses = self.cosigning.standings();
        let cosigned = witnesses.values().map(|standing| standing.cosigned).max().unwrap_or(0);
        let loads = self.ownership.loads();
        let (taken, cpu) = loads.totals();
        let accused = witnesses.values().filter(|standing| standing.trouble.is_some_and(Trouble::is_grave)).count();
        for (metric, value) in [
            (Metric::PolicyVersion, self.policy.now().version.0),
            (Metric::IsLeader, u64::from(group.leader == Some(self.us.node))),
            (Metric::MetaApplied, group.applied.unwrap_or(0)),
            (Metric::LedgerEntries, self.ledger.head().size),
            (Metric::LedgerCosigned, cosigned),
            (Metric::LedgerAccused, count(accused)),
            (Metric::LedgerForks, count(self.witness.facts().forks.len())),
            (Metric::Dropped, self.classifier.dropped()),
            (Metric::Contradicted, self.statements.fallen(self.us.node)),
            (Metric::Shards, count(shards.len())),
            (Metric::Segments, count(segments)),
            (Metric::Records, records),
            (Metric::IsFailed, u64::from(self.shards.is_failed())),
            (Metric::KeyStoreSilence, keys.silent_seconds),
            (Metric::AreKeysExpired, u64::from(keys.is_expired)),
            (Metric::KeyringBytes, keys.file_bytes),
            (Metric::Retries, self.shards.retries()),
            (Metric::IsLogPoisoned, u64::from(self.shards.is_log_poisoned())),
            (Metric::ShardBytes, taken),
            (Metric::ShardCpu, cpu / 1_000),
            (Metric::ShardsGiven, loads.given()),
            (Metric::IsDrained, u64::from(loads.is_drained())),
        ] {
            self.metrics.set(metric, value);
        }
        let now = self.clock.now();
        for (to, route) in &self.policy.now().routes.out {
            let seconds = seconds_until(route.review_by, now);
            self.metrics.flows().route(to, route.shut.is_none(), seconds);
        }
        self.metrics.text()
    }
}

/// Whether the region has no administrator's key, or none but those that `commands` bring: nobody but the officer could do
/// anything in it, or it is the same officer who did not hear the answer.
fn has_no_key_but(state: &State, region: &Region, commands: &[Command]) -> bool {
    let brings = |key: &AccessKey| {
        commands.iter().any(|command| {
            matches!(command, Command::Regional(RegionalChange { change: Change::AddKey(brought), .. }) if brought == key)
        })
    };
    let keys = state.rows().filter_map(|row| match row {
        Row::Key(row) if row.region == *region && row.key.roles.admin => Some(row.key),
        _ => None,
    });
    keys.into_iter().all(|key| brings(&key))
}

/// Whether a deployment may begin so: with this node's own entry, then nodes and keys, each with the consent of an officer: of
/// ours for this region, and of another for each other region.
fn is_beginning(
    commands: &[Command],
    us: &PeerId,
    officer: &OfficerPublic,
    regions: &Regions,
    detector: &dyn LiteralDetector,
) -> bool {
    let names_us = |change: &RegionalChange| {
        change.region == us.region && matches!(&change.change, Change::AddNode { node, .. } if *node == us.node)
    };
    let is_first = matches!(commands.first(), Some(Command::Regional(change)) if names_us(change));
    let is_fit = |command: &Command| {
        let Command::Regional(change) = command else { return false };
        let begins = match &change.change {
            Change::AddNode { .. } | Change::SetRegionKey { .. } => true,
            Change::AddKey(key) => !detector.finds_personal_data(key.id.as_str()),
            Change::SetPolicy { .. }
            | Change::ApproveValues { .. }
            | Change::RemoveNode { .. }
            | Change::ApproveTransfer { .. } => false,
        };
        let theirs = change.signature.map(|consent| consent.officer()).filter(|_| change.region != us.region);
        let is_known = regions.iter().any(|facts| facts.name == change.region);
        begins && is_known && theirs.as_ref().unwrap_or(officer).consents(change)
    };
    is_first && commands.iter().all(is_fit)
}

#[cfg(test)]
mod tests {
    use domicile_meta::apply::apply;
    use domicile_proto::ids::{ConsentSerial, NodeId, TenantId};
    use domicile_proto::metadata::{Roles, Rows};
    use domicile_proto::officer::OfficerKey;

    use super::*;

    struct Detector;

    impl LiteralDetector for Detector {
        fn finds_personal_data(&self, literal: &str) -> bool {
            literal.contains("4111")
        }
    }

    /// Where the answer was lost, the officer asks again with the key that the group may know already.
    #[test]
    fn a_deployment_goes_on_until_somebody_has_a_key_of_its_region() {
        let officer = OfficerKey::from_pkcs8(&OfficerKey::generate().unwrap()).unwrap();
        let tokyo: Region = "tokyo".parse().unwrap();
        let key = |hash| {
            let roles = Roles { admin: true, ..Roles::default() };
            AccessKey { id: "first".parse().unwrap(), tenant: TenantId(1), hash: [hash; 32], roles, rows: Rows::None }
        };
        let begins = |serial, hash| {
            let change = Change::AddKey(key(hash));
            vec![Command::Regional(officer.sign(tokyo.clone(), ConsentSerial(serial), change))]
        };
        let mut state = State::default();
        assert!(has_no_key_but(&state, &tokyo, &begins(1, 1)));
        apply(&mut state, &Command::AddRegion { region: tokyo.clone() });
        apply(&mut state, &Command::CreateTenant { tenant: "default".parse().unwrap() });
        let node = Change::AddNode { node: NodeId(1), addr: "127.0.0.1:1".parse().unwrap() };
        for command in
            [Command::Regional(officer.sign(tokyo.clone(), ConsentSerial(1), node))].iter().chain(&begins(2, 1))
        {
            assert_eq!(apply(&mut state, command), Applied::Done);
        }
        assert!(has_no_key_but(&state, &tokyo, &begins(3, 1)), "the same key again");
        assert_eq!(apply(&mut state, &begins(3, 1)[0]), Applied::Done);
        assert!(!has_no_key_but(&state, &tokyo, &begins(4, 2)), "another key");
        assert!(!has_no_key_but(&state, &tokyo, &[]), "no key");
    }

    #[test]
    fn a_deployment_begins_with_this_node_and_every_command_has_its_officer() {
        let new = || OfficerKey::from_pkcs8(&OfficerKey::generate().unwrap()).unwrap();
        let (ours, theirs) = (new(), new());
        let us = PeerId { region: "tokyo".parse().unwrap(), node: NodeId(1) };
        let sign = |officer: &OfficerKey, region: &str, change| {
            Command::Regional(officer.sign(region.parse().unwrap(), ConsentSerial(1), change))
        };
        let node = |node| Change::AddNode { node: NodeId(node), addr: "127.0.0.1:1".parse().unwrap() };
        let key = |id: &str| {
            let (id, roles) = (id.parse().unwrap(), Roles { admin: true, ..Roles::default() });
            Change::AddKey(AccessKey { id, tenant: TenantId(1), hash: [1; 32], roles, rows: Rows::None })
        };
        let unsigned = |region: &str, change| {
            let region = region.parse().unwrap();
            Command::Regional(RegionalChange { region, change, signature: None })
        };
        let first = sign(&ours, "tokyo", node(1));
        let values = Change::ApproveValues { tenant: TenantId(1), field: "f".parse().unwrap(), values: Vec::new() };
        for (case, second, is_fit) in [
            ("a key of ours", sign(&ours, "tokyo", key("first")), true),
            ("a node of another region", sign(&theirs, "frankfurt", node(2)), true),
            ("a key of ours by another officer", sign(&theirs, "tokyo", key("first")), false),
            ("a key without consent", unsigned("tokyo", key("first")), false),
            ("a node abroad without consent", unsigned("frankfurt", node(2)), false),
            ("a region nobody knows", sign(&theirs, "atlantis", node(2)), false),
            ("a personal name", sign(&ours, "tokyo", key("4111111111111111")), false),
            ("text", sign(&ours, "tokyo", values), false),
            ("a tenant", Command::CreateTenant { tenant: "t".parse().unwrap() }, false),
        ] {
            let regions = Regions::built_in().unwrap();
            let found = |commands: &[Command]| is_beginning(commands, &us, &ours.public(), &regions, &Detector);
            assert_eq!(found(&[first.clone(), second.clone()]), is_fit, "{case}");
            assert!(!found(&[second, first.clone()]) && !found(&[]), "{case}");
        }
    }
}
