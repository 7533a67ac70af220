//! The node: all stages in a line, from left to right, and how they start and stop. The only file that names them all.
//!
//! Start: what others stand on comes first (`base`), then what is durable, then the line, listeners last, so that a door that
//! opens leads somewhere. Stop: in the order of the flow, so that nothing is acknowledged that is not kept. No election is
//! waited for: a node takes and searches its own region's records before the metadata group has a leader.

mod appending;
mod base;
mod carried;
mod carry;
mod errors;
mod gate;
mod group;
mod hold;
pub(crate) mod ingest;
mod keeper;
mod lifecycle;
mod measure;
mod outcomes;
mod placement;
mod sealing;
mod shards;
mod signals;
mod supervisor;
mod surroundings;
mod unaccepted;
mod witnesses;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::rotation::IdentityFiles;
use domicile_proto::link::tls::ClientTls;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::admit::{Admitter, Rates};
use crate::aggregate::Releases;
use crate::audit::Ledger;
use crate::classify::Statements;
use crate::config::NodeConfig;
use crate::erase::{self, Erasure};
use crate::federate::{Answerer, Carrier, Federation, Gate, Guard, Owner, Reach};
use crate::limits::{
    ARRIVAL_QUEUE, COLD_DISK_BYTES, HANDOVER_WAIT, MAX_BYTES_IN_FLIGHT, REPLY_DEADLINE, STOP_DEADLINE,
};
use crate::policy::PolicyWatch;
use crate::present::auditor::Office;
use crate::present::{self, Desk, Owners, Parts};
use crate::query::Engine;
use crate::receive::listen::{Listener, Protection};
use crate::receive::{self, Inlet};
use crate::segment::{Opened, RollOver, Shards};
use crate::tasks::{Kind, Tasks};
use crate::telemetry;
use crate::tier::{Blocks, Tier};
use crate::wal::{Bucket, EVERYTHING, Wal, WalConfig};

use base::Base;
use carry::Way;
pub(crate) use errors::{NodeError, identity_of, take_dir};
use ingest::Line;
use sealing::Days;
use signals::{Signals, Stop};

/// Runs a node until it is told to stop, or until its parent is gone where it was started as a child.
///
/// # Errors
/// [`NodeError`] says what kept it from running or from stopping in time.
pub(crate) async fn run(config: NodeConfig, has_parent: bool) -> Result<(), NodeError> {
    telemetry::begin(&config.telemetry);
    let mut signals = Signals::listen(has_parent)?;
    let farewell = Duration::from_secs(config.listeners.farewell_seconds.into());
    let node = tokio::select! {
        node = Node::start(config) => node?,
        _ = signals.told_to_stop() => return Ok(()),
    };
    supervisor::tell(supervisor::State::Ready);
    let stop = signals.told_to_stop().await;
    supervisor::tell(supervisor::State::Stopping);
    if stop == Stop::WithFarewell && !farewell.is_zero() {
        node.leaving.cancel();
        tracing::info!(?farewell, "about to stop: not ready any more, and serving on; a second signal ends this");
        // Told once more, it goes at once.
        drop(tokio::time::timeout(farewell, signals.told_to_stop()).await);
    }
    node.stop().await
}

/// A running node.
struct Node {
    tasks: Tasks,
    doors: CancellationToken,
    /// Cancelled when it says that it is not ready any more, for it is about to stop.
    leaving: CancellationToken,
    line: oneshot::Receiver<()>,
    policy: PolicyWatch,
    shards: Shards,
    ledger: Arc<Ledger>,
    group: Group,
    link: Link,
    /// Given free last of all.
    directory: File,
}

impl Node {
    async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let base = Base::open(&config).await?;
        let tier = tier(&base, &config);
        let (wal, shards) = open_shards(&base, &config, &tier).await?;
        let admitter = Arc::new(Admitter::new(base.policy.clone(), Rates::default()));
        let statements = open_statements(&base, &config, &shards).await?;
        let line = left_half(&base, &admitter, (wal, statements.clone()), &shards);
        let (inlet, ended) = start_line(&base, &admitter, Arc::clone(&line));
        let engine = Engine::new()?.measuring(base.ownership.loads().clone());
        let releases = Releases::new(engine.clone(), base.store.clone(), base.clock.clone(), base.tasks.clone());
        let (catalog, detector) = (shards.catalog().clone(), Arc::new(base.classifier.clone()));
        let (policy, giving) = (base.policy.clone(), base.ownership.giving().clone());
        let sees = gate::Sees { us: base.us.node, catalog, policy, giving };
        let gate = gate::over((releases.clone(), statements.clone()), detector, sees, base.awareness.clone());
        let way = Carrier::by(base.us.node, base.link.clone()).under(base.policy.clone());
        let gate = gate.guarded(open_guard(&base, &config).await?).beside(way);
        let erasure = start_erasure(&base, &config, (&shards, &engine))?;
        let mover = lifecycle::start(&base, &config, (tier, &shards), &erasure)?;
        let (federation, answerer) = start_federation(&base, &config, gate);
        let owner = Arc::new(Owner::new(base.us.node, Arc::clone(&answerer), Arc::clone(&admitter)));
        let desk = desk(&base, &config, &shards, (admitter, engine, federation, statements));
        let hosts = group::Hosts {
            group: base.group.clone(),
            answerer,
            owner,
            erasure: Arc::clone(&erasure),
            desk: Arc::clone(&desk),
            line,
            witness: Arc::clone(&base.witness),
        };
        base.tasks.spawn(Kind::Listener, group::welcome(base.link.clone(), hosts, base.tasks.clone()));
        let subjects = present::admin::subjects::router(Arc::clone(&desk), Arc::clone(&erasure));
        let places = present::admin::lifecycle::router(Arc::clone(&desk), mover, config.store.clone());
        let subjects = subjects.merge(places);
        let look = start_placement(&base, &config, &shards);
        let adopting = present::admin::adoption::router(Arc::clone(&desk), shards.clone(), Arc::clone(&look));
        let subjects = subjects.merge(adopting);
        let placing = present::admin::placement::router(Arc::clone(&desk), look);
        let subjects = subjects.merge(placing);
        let office = auditors(&base, &config, &desk, (erasure, releases)).await?;
        let subjects = subjects.merge(present::auditor::router(&office));
        let doors = open_doors(&base, &config, inlet, (desk, subjects)).await?;
        let Base { tasks, policy, ledger, group, link, directory, leaving, .. } = base;
        Ok(Self { tasks, doors, leaving, line: ended, policy, shards, ledger, group, link, directory })
    }

    /// Stops in the order of the flow: doors, line, log and segments, group, link, ledger.
    async fn stop(self) -> Result<(), NodeError> {
        let Self { tasks, doors, line, policy, shards, ledger, group, link, directory, .. } = self;
        tracing::info!("stopping");
        let orderly = async {
            doors.cancel();
            policy.stop();
            step("the line is drained", Duration::from_secs(2), line).await;
            step("records are in segments", Duration::from_secs(3), shards.stop()).await;
            step("the group is left", Duration::from_secs(2), group.shutdown()).await;
            link.close("the node stops").await;
            tasks.stop(Duration::from_secs(2)).await
        };
        let ended = tokio::time::timeout(STOP_DEADLINE, orderly).await.unwrap_or(false);
        // The ledger's own thread ends by itself; whoever waits for it must not block the runtime.
        drop(tokio::task::spawn_blocking(move || ledger.close()).await);
        drop(directory);
        if ended { Ok(()) } else { Err(NodeError::StopDeadline { limit: STOP_DEADLINE }) }
    }
}

/// tier: what was read of cold segments is kept in memory, and more of it on the disk.
fn tier(base: &Base, config: &NodeConfig) -> Tier {
    let cache = config.data_dir.join("cache");
    // A crash leaves segments in it that were being read or made anew: they may hold whom nobody may find.
    drop(std::fs::remove_dir_all(&cache));
    let blocks = Blocks::default().with_disk(cache.join("blocks"), COLD_DISK_BYTES);
    Tier::new(base.store.clone(), cache, base.tasks.clone()).with_blocks(blocks)
}

/// wal, index, segment: from right to left, for what is durable in segments says what the log must give again.
async fn open_shards(base: &Base, config: &NodeConfig, tier: &Tier) -> Result<(Wal, Shards), NodeError> {
    let dir = config.data_dir.join("segments");
    let owners = group::owners(&base.group, &base.us.region);
    let is_ours = |shard| owners.get(&shard).map(|owner| *owner == base.us.node);
    let time = (base.clock.clone(), base.suppression.clone());
    let opened = Opened::open_of(&dir, base.store.clone(), &base.tasks, time, &tier.opener(), is_ours).await?;
    let opened = opened.telling(Arc::clone(&base.ledger)).copying(tier.copier());
    let opened = opened.measuring(base.ownership.loads().clone());
    let rolling = RollOver::new(config.segments.roll_bytes, config.segments.roll_days);
    let opened = opened.archiving(tier.archive_purger()).rolling(rolling).sparing(base.records.doomed_by(base.us.node));
    let bucket = Bucket::open(base.store.clone(), base.us.node, base.clock.clone(), base.tasks.clone()).await?;
    // Nothing of them can be searched before this node knows whose they are, and has read what was accepted.
    let mut waiting = opened.in_bucket();
    waiting.extend(bucket.mentioned());
    // Of what was given up while this node was away the log gives nothing, for another node writes those shards; it lets go of nothing
    // either before it is put aside.
    let given_up = opened.given_up_by(base.us.node);
    let mut indexed = opened.indexed();
    indexed.extend(given_up.keys().map(|shard| (*shard, EVERYTHING)));
    let (log, now) = (config.data_dir.join("wal"), base.clock.clone());
    let replay = base.tasks.blocking(move || Wal::open_beside(&WalConfig::new(log), &indexed, now, Some(bucket)));
    let (wal, durable) = replay.await.map_err(|_| NodeError::Interrupted)??;
    opened.put_aside(&given_up, &wal)?;
    let shards = opened.start(wal.clone(), durable).await?;
    waiting.retain(|shard| is_ours(*shard) != Some(false));
    waiting.iter().for_each(|shard| shards.catalog().set_whole(*shard, false));
    let keeper = shards::Keeper {
        us: base.us.clone(),
        policy: base.policy.clone(),
        shards: shards.clone(),
        ownership: Arc::clone(&base.ownership),
        neighbours: erase::Neighbours::by(base.link.clone()),
        waiting,
        before: std::collections::BTreeMap::new(),
    };
    base.tasks.spawn(Kind::Timer, keeper.keep(base.tasks.token().clone()));
    Ok((wal, shards))
}

/// admit, parse, classify, wal: the left half, for what comes in at the doors and what neighbours bring.
fn left_half(
    base: &Base,
    admitter: &Arc<Admitter>,
    (wal, statements): (Wal, Statements),
    shards: &Shards,
) -> Arc<Line> {
    Arc::new(Line {
        admitter: Arc::clone(admitter),
        classifier: base.classifier.clone(),
        statements,
        vault: Arc::clone(&base.vault),
        suppression: base.suppression.clone(),
        ownership: Arc::clone(&base.ownership),
        days: Days::behind(base.clock.clone(), wal.latest()),
        wal: Arc::new(wal),
        zone: base.zone.clone(),
        tasks: base.tasks.clone(),
        metrics: base.metrics.clone(),
        refresh: Some(surroundings::refresh(shards)),
        knows: surroundings::knows(shards, base.policy.clone()),
        work: Line::room_for_work(),
        way: Way::by(base.link.clone()),
        patience: HANDOVER_WAIT,
    })
}

/// receive: the inlet of the doors, and the line that takes what comes through it until they are closed.
fn start_line(base: &Base, admitter: &Arc<Admitter>, line: Arc<Line>) -> (Inlet, oneshot::Receiver<()>) {
    let (knock, clock, tasks) = (admitter.knock(), base.clock.clone(), base.tasks.clone());
    let (inlet, inbox) = Inlet::new(ARRIVAL_QUEUE, MAX_BYTES_IN_FLIGHT, REPLY_DEADLINE, knock, clock, tasks);
    let (ends, ended) = oneshot::channel();
    base.tasks.spawn(Kind::Line, async move {
        line.run(inbox).await;
        // Nobody waits any more where the node has given up.
        let _ = ends.send(());
    });
    (inlet, ended)
}

/// What was asked today, so that a restart forgets none of it.
async fn open_guard(base: &Base, config: &NodeConfig) -> Result<Arc<Guard>, NodeError> {
    let (dir, clock, tasks) = (config.data_dir.join("guard"), base.clock.clone(), base.tasks.clone());
    let path = dir.clone();
    let opening = base.tasks.blocking(move || Guard::open(&dir, clock, tasks));
    opening.await.map_err(|_| NodeError::Interrupted)?.map_err(|source| NodeError::DataDir { path, source })
}

/// What officers state of streams, with what this node could not tell the bucket of before.
async fn open_statements(base: &Base, config: &NodeConfig, shards: &Shards) -> Result<Statements, NodeError> {
    let (store, policy, clock) = (base.store.clone(), base.policy.clone(), base.clock.clone());
    let statements = Statements::new(store, policy, clock, base.tasks.clone())?;
    let dir = config.data_dir.join("stated");
    let path = dir.clone();
    let catalog = shards.catalog().clone();
    let takes = Arc::new(move |shard, policy: &crate::policy::Policy| catalog.is_taken_up(shard, policy));
    let opening = base.tasks.blocking(move || statements.noting_in(dir, takes));
    opening.await.map_err(|_| NodeError::Interrupted)?.map_err(|source| NodeError::DataDir { path, source })
}

/// aggregate, federate: questions of this region and of others go through the same gate; and this node joins the others.
fn start_federation(base: &Base, config: &NodeConfig, gate: Gate) -> (Arc<Federation>, Arc<Answerer>) {
    let Base { policy, ledger, metrics, tasks, .. } = base;
    let detector = Arc::new(base.classifier.clone());
    let answerer = Answerer::new(policy.clone(), gate.clone(), Arc::clone(ledger), metrics.clone(), detector.clone());
    tasks.spawn(Kind::Timer, Arc::clone(ledger).keep_counting(tasks.token().clone()));
    let (us, link, token) = (base.us.clone(), base.link.clone(), tasks.token().clone());
    tasks.spawn(Kind::Timer, measure::round_trips(us, link, policy.clone(), metrics.clone(), token));
    let going_around = witnesses::go_around(Arc::clone(&base.cosigning), policy.clone(), tasks.token().clone());
    tasks.spawn(Kind::Timer, going_around);
    tasks.spawn(Kind::Timer, group::join(base.group.clone(), config.meta.clone(), tasks.token().clone()));
    let reach = Reach::by(base.link.clone());
    let federation = Federation::new(policy.clone(), gate, reach, Arc::clone(ledger), detector);
    (Arc::new(federation), Arc::new(answerer))
}

/// erase: goes on with what was interrupted. What is on record was hidden before a segment was opened.
fn start_erasure(
    base: &Base,
    config: &NodeConfig,
    (shards, engine): (&Shards, &Engine),
) -> Result<Arc<Erasure>, NodeError> {
    let reading = present::admin::export::Reading {
        us: base.us.node,
        engine: engine.clone(),
        catalog: shards.catalog().clone(),
        policy: base.policy.clone(),
        tasks: base.tasks.clone(),
    };
    let parts = erase::Parts {
        region: base.us.region.clone(),
        us: base.us.node,
        neighbours: erase::Neighbours::by(base.link.clone()),
        rows: present::admin::export::rows_here(reading),
        group: group::erasures(base.group.clone(), base.us.region.clone()),
        propose: base.propose.clone(),
        awareness: base.awareness.clone(),
        loads: base.ownership.loads().clone(),
        store: base.store.clone(),
        shards: shards.clone(),
        suppression: base.suppression.clone(),
        vault: Arc::clone(&base.vault),
        ledger: Arc::clone(&base.ledger),
        clock: base.clock.clone(),
        tasks: base.tasks.clone(),
        cache: config.data_dir.join("cache"),
        policy: base.policy.clone(),
        retention_days: base.regions.facts(&base.us.region)?.retention_days(),
        archive_days: base.regions.facts(&base.us.region)?.archive_days().1,
    };
    let erasure = Arc::new(Erasure::new(parts, base.records.clone(), &config.link.key)?);
    // Before a door opens: a node that was away shows nothing until it has heard what was erased meanwhile.
    erasure.begin(group::nodes_of(&base.group, &base.us.region));
    base.tasks.spawn(Kind::Timer, Arc::clone(&erasure).keep_going(base.tasks.token().clone()));
    base.tasks.spawn(Kind::Timer, Arc::clone(&erasure).keep_telling(base.tasks.token().clone()));
    base.tasks.spawn(Kind::Timer, Arc::clone(&erasure).keep_recording(base.tasks.token().clone()));
    Ok(erasure)
}

/// ownership: streams go to another node for their load; and how that is shown.
fn start_placement(base: &Base, config: &NodeConfig, shards: &Shards) -> present::admin::placement::Look {
    let neighbours = erase::Neighbours::by(base.link.clone());
    let beside = (shards.clone(), Arc::clone(&base.ownership), neighbours);
    let placement = placement::Placement::new(base.us.clone(), config.placement, base.policy.clone(), beside);
    base.tasks.spawn(Kind::Timer, placement.clone().keep(base.tasks.token().clone()));
    Arc::new(move || {
        let placement = placement.clone();
        Box::pin(async move { placement.shown().await })
    })
}

/// query, present: what every door stands on.
fn desk(
    base: &Base,
    config: &NodeConfig,
    shards: &Shards,
    (admitter, engine, federation, statements): (Arc<Admitter>, Engine, Arc<Federation>, Statements),
) -> Arc<Desk> {
    let around = surroundings::of(surroundings::Sight {
        link: base.link.clone(),
        group: base.group.clone(),
        policy: base.policy.clone(),
        shards: shards.clone(),
        classifier: base.classifier.clone(),
        statements: statements.clone(),
        ledger: Arc::clone(&base.ledger),
        witness: Arc::clone(&base.witness),
        cosigning: Arc::clone(&base.cosigning),
        vault: Arc::clone(&base.vault),
        metrics: base.metrics.clone(),
        refresh: surroundings::refresh(shards),
        ownership: Arc::clone(&base.ownership),
        regions: base.regions.clone(),
        advertise: config.link.advertise,
        officer: config.officer.public_key,
        detector: Arc::new(base.classifier.clone()),
        us: base.us.clone(),
        deployment: config.deployment.clone(),
        clock: base.clock.clone(),
        leaving: base.leaving.clone(),
    });
    Desk::new(Parts {
        region: base.us.region.clone(),
        node: base.us.node,
        officer: config.officer.public_key,
        policy: base.policy.clone(),
        admitter,
        engine,
        catalog: shards.catalog().clone(),
        federation,
        owners: Owners::by(base.link.clone()),
        ownership: Arc::clone(&base.ownership),
        propose: base.propose.clone(),
        ledger: Arc::clone(&base.ledger),
        vault: Arc::clone(&base.vault),
        detector: Arc::new(base.classifier.clone()),
        classifier: base.classifier.clone(),
        statements,
        clock: base.clock.clone(),
        tasks: base.tasks.clone(),
        around,
        awareness: base.awareness.clone(),
    })
}

/// What auditors may be told. The program that runs is read once, whole.
async fn auditors(
    base: &Base,
    config: &NodeConfig,
    desk: &Arc<Desk>,
    (erasure, releases): (Arc<Erasure>, Releases),
) -> Result<Arc<Office>, NodeError> {
    let facts = base.regions.facts(&base.us.region)?.clone();
    let program = base.tasks.blocking(program_digest).await.map_err(|_| NodeError::Interrupted)?;
    let store = base.store.clone();
    Ok(Office::new(Arc::clone(desk), erasure, releases, (config.deployment.clone(), facts), program, store))
}

/// SHA-256 of the program's file; nothing where it cannot be read.
pub(crate) fn program_digest() -> String {
    let read = std::env::current_exe().and_then(std::fs::read);
    read.map_or_else(|_| String::new(), |bytes| hex::encode(ring::digest::digest(&ring::digest::SHA256, &bytes)))
}

/// The doors, last of all.
async fn open_doors(
    base: &Base,
    config: &NodeConfig,
    inlet: Inlet,
    (desk, subjects): (Arc<Desk>, axum::Router),
) -> Result<CancellationToken, NodeError> {
    let doors = CancellationToken::new();
    let protection = protection(config)?;
    let es = Listener::bind(config.listeners.es, protection.clone()).await?;
    let api = Listener::bind(config.listeners.api, protection).await?;
    let (region, node, link) = (&base.us.region, base.us.node.0, base.link.local_addr());
    tracing::info!(%region, node, es = %es.addr(), api = %api.addr(), %link, "ready");
    if base.link.has_tls_keylog() {
        tracing::warn!("the session secrets of the link are being written to a file, as `audit.tls_keylog` says");
    }
    let elastic = receive::elastic::router(inlet.clone()).merge(present::elastic::router(Arc::clone(&desk)));
    let elastic = elastic.layer(axum::middleware::from_fn(receive::elastic::product));
    let native = receive::native::router(inlet).merge(present::native::router(Arc::clone(&desk)));
    let stamp = || axum::middleware::from_fn_with_state(Arc::clone(&base.ledger), present::stamp);
    let native = native.merge(subjects).merge(present::admin::router(desk));
    es.serve(elastic.layer(stamp()), &base.tasks, doors.clone());
    api.serve(native.layer(stamp()), &base.tasks, doors.clone());
    Ok(doors)
}

fn protection(config: &NodeConfig) -> Result<Protection, NodeError> {
    let Some(files) = &config.listeners.tls else {
        let anywhere = config.listeners.allow_plaintext;
        return Ok(if anywhere { Protection::PlainAnywhere } else { Protection::PlainOnLoopback });
    };
    let tls = ClientTls::open(IdentityFiles { cert: files.cert.clone(), key: files.key.clone() })?;
    Ok(Protection::Tls(Arc::new(move |stream| {
        let acceptor = tls.acceptor();
        Box::pin(async move {
            let stream = acceptor.accept(stream).await?;
            Ok(Box::new(stream) as Box<dyn receive::listen::Wire>)
        })
    })))
}

/// One step of stopping; a step that takes too long is left behind, for what was acknowledged is in the log.
async fn step<T>(what: &'static str, limit: Duration, work: impl Future<Output = T>) {
    if tokio::time::timeout(limit, work).await.is_err() {
        tracing::warn!(what, ?limit, "a step of stopping took too long and was left behind");
    }
}
