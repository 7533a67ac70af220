//! What the line stands on: who this node is, the region's objects and keys, the ledger, the link that asks the ledger first,
//! and this node's part in the metadata group with what the region honours of it.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::{Group, GroupConfig};
use domicile_meta::link_transport::LinkTransport;
use domicile_proto::link::endpoint::{Link, LinkConfig};
use domicile_proto::link::identity::PeerId;
use domicile_proto::link::limits::LinkLimits;
use domicile_proto::link::rotation::IdentityFiles;
use ring::digest::{Context, SHA256};
use tokio_util::sync::CancellationToken;

use super::NodeError;
use super::measure::Counted;
use super::{errors, group, keeper, witnesses};
use crate::audit::{Cosigning, Event, Ledger, Outside, Witness, sbom_digest};
use crate::classify::{Classifier, Defaults, RuleFiles};
use crate::clock::Clock;
use crate::config::{NodeConfig, Regions};
use crate::erase::Records;
use crate::keys::{self, Vault};
use crate::limits::PROPOSE_DEADLINE;
use crate::ownership::{Ownership, Propose};
use crate::parse::Zone;
use crate::policy::{self, Awareness, Consents, Honoured, Policy, PolicyWatch, Suppression};
use crate::store::Store;
use crate::tasks::{Kind, Tasks};
use crate::telemetry::Metrics;

/// What the line stands on.
pub(super) struct Base {
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) regions: Regions,
    pub(super) us: PeerId,
    /// The region's zone, for time stamps that name none.
    pub(super) zone: Zone,
    pub(super) store: Store,
    pub(super) classifier: Classifier,
    pub(super) vault: Arc<Vault>,
    /// Whose records were erased; whole before anything can be searched.
    pub(super) suppression: Suppression,
    /// Whether every erasure of the region is known here.
    pub(super) awareness: Awareness,
    /// Erasures and holds on record.
    pub(super) records: Records,
    pub(super) ledger: Arc<Ledger>,
    pub(super) metrics: Metrics,
    /// Cosigns the ledgers of other regions.
    pub(super) witness: Arc<Witness>,
    /// Has this node's ledger cosigned.
    pub(super) cosigning: Arc<Cosigning>,
    pub(super) link: Link,
    pub(super) group: Group,
    pub(super) policy: PolicyWatch,
    pub(super) propose: Propose,
    pub(super) ownership: Arc<Ownership>,
    /// Cancelled when the node says that it is not ready any more, for it is about to stop.
    pub(super) leaving: CancellationToken,
    /// Held as long as the node runs, so that there is no second one on the same directory.
    pub(super) directory: File,
}

impl Base {
    /// Opens everything in the order in which one thing needs the other.
    pub(super) async fn open(config: &NodeConfig) -> Result<Self, NodeError> {
        let (clock, tasks) = (Clock::system(), Tasks::default());
        let regions = config.regions()?;
        let us = errors::identity_of(config)?;
        let zone = Zone::Fixed(i32::from(regions.facts(&us.region)?.time_zone.utc_offset_minutes) * 60);
        let data = config.data_dir.clone();
        let directory = errors::take_dir(&data)?;
        for part in ["keys", "ledger", "meta", "policy", "segments", "wal"] {
            errors::make_dir(&data.join(part))?;
        }
        let clouds = regions.facts(&us.region)?.clouds();
        let store = Store::connect(&config.store, &data.join("objects"), &us.region, clouds).await?;
        let suppression = Suppression::default();
        let records = Records::read(&store, us.node, &clock).await?;
        records.orders.iter().for_each(|(id, tracked)| suppression.add(&tracked.suppressed(id)));
        let vault = Arc::new(open_vault(&tasks, config, &us, clock.clone()).await?);
        let (dir, deployment, peer, now) = (data.join("ledger"), config.deployment.clone(), us.clone(), clock.clone());
        let opening = tasks.blocking(move || Ledger::of_node(&dir, &deployment, &peer, now));
        let ledger = Arc::new(opening.await.map_err(|_| NodeError::Interrupted)??);
        let (binary, said) = (tasks.blocking(program).await, toml::to_string(config).unwrap_or_default());
        let (binary, config_hash) = (binary.map_err(|_| NodeError::Interrupted)?, digest(&mut said.as_bytes()));
        ledger
            .record(Event::NodeStarted { node: us.node, binary, config: config_hash, sbom: Some(sbom_digest()) })
            .await?;
        ledger.record(Event::OfficerHonoured { officer: config.officer.public_key }).await?;
        let round_trip = config.round_trip(&regions);
        let metrics = Metrics::new(&regions);
        let counted = Counted { ledger: Arc::clone(&ledger), metrics: metrics.clone() };
        let link = Link::bind(link_config(config, round_trip), Arc::new(counted))?;

        let seeds: Vec<PeerId> = config.meta.seeds.iter().map(group::seed).collect();
        let transport = LinkTransport::new(link.clone(), seeds);
        let settings =
            GroupConfig::new(us.node, us.region.clone(), config.link.advertise, data.join("meta"), round_trip);
        let group = Group::start(settings, Arc::new(transport.clone())).await?;
        transport.follow(group.watch());
        let policy = PolicyWatch::new(Policy::empty(us.region.clone()));
        let named = policy.clone();
        store.placed_by(Box::new(move |shard| named.now().place_of(shard)));
        let rules = match &config.rules_dir {
            Some(dir) => RuleFiles::read(dir, policy.clone())?,
            None => RuleFiles::default(),
        };
        let facts = regions.facts(&us.region)?;
        let classifier =
            Classifier::new(vault.pseudonyms(), Defaults::new(&facts.jurisdiction, facts.detectors()), rules);
        let honoured = Honoured::open(&data.join("policy"), config.officer.public_key)?;
        let consents = Consents::new(us.region.clone(), config.officer.public_key, honoured);
        let consents = consents.with_routes(facts.routes());
        let token = tasks.token().clone();
        let follower = policy::follow(group.clone(), policy.clone(), consents, Arc::clone(&ledger), token);
        tasks.spawn(Kind::Follower, follower);
        tasks.spawn(Kind::Timer, keeper::keep(Arc::clone(&vault), Arc::clone(&ledger), tasks.clone()));
        let propose = Propose::to(group.clone(), policy.clone(), PROPOSE_DEADLINE);
        let region_key = config.region_key()?;
        if region_key.is_none() {
            tracing::warn!(
                "there is no `link.region_key`: this node begins no stream, for it cannot speak for its region"
            );
        }
        let witness = open_witness(&tasks, config, &us, clock.clone()).await?;
        let ask = witnesses::over(link.clone(), policy.clone());
        let (around, named) = (Arc::clone(&ledger), outside(config)?);
        let cosigning = Arc::new(Cosigning::new(around, config.deployment.clone(), clock.clone(), ask, named)?);
        let detector = Arc::new(classifier.clone());
        let ownership =
            Ownership::new(us.node, region_key, policy.clone(), propose.clone(), detector, PROPOSE_DEADLINE);
        let ownership = Arc::new(ownership.fading(config.placement.half_life()));
        Ok(Self {
            clock,
            tasks,
            regions,
            us,
            zone,
            store,
            classifier,
            vault,
            suppression,
            awareness: Awareness::default(),
            records,
            ledger,
            metrics,
            witness,
            cosigning,
            link,
            group,
            policy,
            propose,
            ownership,
            leaving: CancellationToken::new(),
            directory,
        })
    }
}

/// The keyring under its root; blocks on the disk and the key store.
async fn open_vault(tasks: &Tasks, config: &NodeConfig, us: &PeerId, clock: Clock) -> Result<Vault, NodeError> {
    let (dir, region, keys) = (config.data_dir.join("keys"), us.region.clone(), config.keys.clone());
    let runtime = tokio::runtime::Handle::current();
    let opening = tasks.blocking(move || Vault::open(&dir, region, keys::open_store(&keys, &dir, runtime)?, clock));
    Ok(opening.await.map_err(|_| NodeError::Interrupted)??)
}

/// SHA-256 of the program that runs; nothing but zeros where the system does not show it.
fn program() -> [u8; 32] {
    let opened = std::env::current_exe().and_then(File::open);
    opened.map_or([0; 32], |mut file| digest(&mut file))
}

fn digest(from: &mut dyn std::io::Read) -> [u8; 32] {
    let (mut context, mut piece, mut digest) = (Context::new(&SHA256), vec![0; 1 << 20], [0; 32]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => context.update(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return digest,
        }
    }
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The witness, with files of its own.
async fn open_witness(
    tasks: &Tasks,
    config: &NodeConfig,
    us: &PeerId,
    clock: Clock,
) -> Result<Arc<Witness>, NodeError> {
    let (dir, deployment, us) = (config.data_dir.join("witness"), config.deployment.clone(), us.clone());
    let opening = tasks.blocking(move || Witness::of_node(&dir, &deployment, &us, clock));
    Ok(Arc::new(opening.await.map_err(|_| NodeError::Interrupted)??))
}

/// The witnesses that the operator named; the configuration was checked.
fn outside(config: &NodeConfig) -> Result<Vec<Outside>, NodeError> {
    let named = config.audit.witnesses.iter().map(|one| Outside::new(&one.url, &one.key).ok_or(NodeError::Interrupted));
    named.collect()
}

fn link_config(config: &NodeConfig, round_trip: Duration) -> LinkConfig {
    LinkConfig {
        listen: config.link.listen,
        deployment: config.deployment.clone(),
        identity: IdentityFiles { cert: config.link.cert.clone(), key: config.link.key.clone() },
        bundles: config.link.bundles.iter().map(|(region, path)| (region.clone(), path.clone())).collect(),
        tls_keylog: config.audit.tls_keylog.clone(),
        via: config.link.detours(),
        limits: LinkLimits::for_round_trip(round_trip),
    }
}
