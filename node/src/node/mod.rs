//! The node: all stages in a line, from left to right, and how they start and stop. The only file that names them all.
//!
//! Start: what others stand on comes first, listeners come last, so that a door that opens leads somewhere. Stop: in the
//! order of the flow, so that nothing is acknowledged that is not kept. No election is waited for: a node takes and searches
//! its own region's records before the metadata group has a leader.

mod errors;
mod gate;
mod group;
pub(crate) mod ingest;
mod signals;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use domicile_meta::group::{Group, GroupConfig};
use domicile_meta::link_transport::LinkTransport;
use domicile_proto::ids::Region;
use domicile_proto::link::endpoint::{Link, LinkConfig};
use domicile_proto::link::identity::PeerId;
use domicile_proto::link::limits::LinkLimits;
use domicile_proto::link::rotation::IdentityFiles;
use domicile_proto::link::tls::ClientTls;
use tokio_util::sync::CancellationToken;

use crate::admit::{Admitter, Rates};
use crate::audit::{Event, Ledger};
use crate::classify::Classifier;
use crate::clock::Clock;
use crate::config::{NodeConfig, Regions};
use crate::federate::{Answerer, Federation, Gate, Reach};
use crate::keys::PseudonymKeys;
use crate::limits::{ARRIVAL_QUEUE, MAX_BYTES_IN_FLIGHT, PROPOSE_DEADLINE, REPLY_DEADLINE, STOP_DEADLINE};
use crate::ownership::{Ownership, Propose};
use crate::parse::Zone;
use crate::policy::{self, Consents, Policy, PolicyWatch};
use crate::present::{self, Desk, Parts};
use crate::query::Engine;
use crate::receive::listen::{Listener, Protection};
use crate::receive::{self, Inlet};
use crate::segment::{Opened, Shards};
use crate::store::{Store, StoreConfig};
use crate::tasks::{Kind, Tasks};
use crate::telemetry::{self, Metrics};
use crate::wal::{Wal, WalConfig};

pub(crate) use errors::NodeError;
use ingest::Line;

/// Runs a node until it is told to stop, or until its parent is gone where it was started as a child.
///
/// # Errors
/// [`NodeError`] says what kept it from running or from stopping in time.
pub(crate) async fn run(config: NodeConfig, has_parent: bool) -> Result<(), NodeError> {
    telemetry::begin(&config.telemetry);
    let told = signals::told_to_stop(has_parent)?;
    let node = tokio::select! {
        node = Node::start(config) => node?,
        () = signals::told_to_stop(has_parent)? => return Ok(()),
    };
    told.await;
    node.stop().await
}

/// A running node.
struct Node {
    tasks: Tasks,
    doors: CancellationToken,
    line: tokio::sync::oneshot::Receiver<()>,
    shards: Shards,
    ledger: Arc<Ledger>,
    group: Group,
    link: Link,
}

impl Node {
    #[allow(clippy::too_many_lines, reason = "the line from left to right, in one piece, is what a newcomer reads")]
    async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let clock = Clock::system();
        let tasks = Tasks::default();
        let metrics = Metrics::new();
        let regions = config.regions()?;
        let us = errors::identity_of(&config)?;
        let region = us.region.clone();
        let zone = zone_of(&regions, &region)?;
        let data = config.data_dir.clone();
        for part in ["objects", "keys", "ledger", "meta", "segments", "wal"] {
            errors::make_dir(&data.join(part))?;
        }

        // What everything stands on: the region's objects, its keys, its ledger, and the link that asks the ledger first.
        let store = Store::open(&StoreConfig { dir: data.join("objects") }, &region).await?;
        let keys = Arc::new(PseudonymKeys::open(&data.join("keys"), region.clone())?);
        let (dir, ledger_region, ledger_clock) = (data.join("ledger"), region.clone(), clock.clone());
        let opened = tasks.blocking(move || Ledger::open(&dir, &ledger_region, ledger_clock)).await;
        let ledger = Arc::new(opened.map_err(|_| NodeError::Interrupted)??);
        ledger.record(Event::NodeStarted { node: us.node }).await?;
        let link = Link::bind(link_config(&config), Arc::clone(&ledger) as _)?;

        // The metadata group, and what this region honours of it.
        let round_trip = config.round_trip(&regions);
        let seeds: Vec<PeerId> = config.meta.seeds.iter().map(group::seed).collect();
        let transport = LinkTransport::new(link.clone(), seeds);
        let settings =
            GroupConfig::new(us.node, region.clone(), config.link.advertise, data.join("meta"), round_trip);
        let group = Group::start(settings, Arc::new(transport.clone())).await?;
        transport.follow(group.watch());
        let policy = PolicyWatch::new(Policy::empty(region.clone()));
        let consents = Consents::new(region.clone(), config.officer.public_key);
        let follower = policy::follow(group.clone(), policy.clone(), consents, tasks.token().clone());
        tasks.spawn(Kind::Follower, follower);
        let propose = Propose::to(group.clone(), PROPOSE_DEADLINE);
        let ownership = Arc::new(Ownership::new(us.node, policy.clone(), propose.clone(), PROPOSE_DEADLINE));

        // From right to left: what is durable in segments says what the log must give again.
        let opened = Opened::open(&data.join("segments"), store, &tasks, clock.clone()).await?;
        let (indexed, wal_dir, wal_clock) = (opened.indexed(), data.join("wal"), clock.clone());
        let replay = tasks.blocking(move || Wal::open(&WalConfig::new(wal_dir), &indexed, wal_clock)).await;
        let (wal, durable) = replay.map_err(|_| NodeError::Interrupted)??;
        let shards = opened.start(wal.clone(), durable);

        // From left to right: receive, admit, parse, classify, wal.
        let admitter = Arc::new(Admitter::new(policy.clone(), Rates::default()));
        let classifier = Classifier::new(keys);
        let refresh = surroundings::refresh(&shards);
        let line = Arc::new(Line {
            admitter: Arc::clone(&admitter),
            classifier: classifier.clone(),
            ownership: Arc::clone(&ownership),
            wal: Arc::new(wal),
            zone,
            tasks: tasks.clone(),
            refresh: Some(Arc::clone(&refresh)),
            work: Line::room_for_work(),
        });
        let (inlet, inbox) = Inlet::new(
            ARRIVAL_QUEUE,
            MAX_BYTES_IN_FLIGHT,
            REPLY_DEADLINE,
            admitter.knock(),
            clock.clone(),
            tasks.clone(),
        );
        let (line_ends, line_ended) = tokio::sync::oneshot::channel();
        tasks.spawn(Kind::Connection, async move {
            line.run(inbox).await;
            // Nobody waits any more where the node has given up.
            let _ = line_ends.send(());
        });

        // query, aggregate, federate: questions of this region and of others go through the same gate.
        let engine = Engine::new()?;
        let detector = Arc::new(classifier);
        let gate = gate::over(engine.clone(), shards.catalog().clone(), detector.clone(), tasks.clone());
        let reach = Reach::by(link.clone());
        let federation =
            Arc::new(Federation::new(policy.clone(), gate.clone(), reach, Arc::clone(&ledger), detector.clone()));
        let answerer = Arc::new(Answerer::new(policy.clone(), gate, Arc::clone(&ledger), detector.clone()));
        tasks.spawn(Kind::Listener, group::welcome(link.clone(), group.clone(), answerer, tasks.clone()));
        tasks.spawn(Kind::Timer, Arc::clone(&ledger).keep_counting(tasks.token().clone()));
        tasks.spawn(Kind::Timer, group::join(group.clone(), config.meta.clone(), tasks.token().clone()));

        // present: the doors, last of all.
        let around = surroundings::of(surroundings::Sight {
            link: link.clone(),
            group: group.clone(),
            policy: policy.clone(),
            shards: shards.clone(),
            ledger: Arc::clone(&ledger),
            metrics,
            refresh,
            regions,
            advertise: config.link.advertise,
            officer: config.officer.public_key,
            us: us.clone(),
        });
        let desk = Desk::new(Parts {
            region: region.clone(),
            node: us.node,
            officer: config.officer.public_key,
            policy,
            admitter,
            engine,
            catalog: shards.catalog().clone(),
            federation,
            ownership,
            propose,
            ledger: Arc::clone(&ledger),
            detector,
            clock,
            tasks: tasks.clone(),
            around,
        });
        let doors = CancellationToken::new();
        let protection = protection(&config)?;
        let es = Listener::bind(config.listeners.es, protection.clone()).await?;
        let api = Listener::bind(config.listeners.api, protection).await?;
        tracing::info!(%region, node = us.node.0, es = %es.addr(), api = %api.addr(), link = %link.local_addr(), "ready");
        if link.has_tls_keylog() {
            tracing::warn!("the session secrets of the link are being written to a file, as `audit.tls_keylog` says");
        }
        let elastic = receive::elastic::router(inlet.clone()).merge(present::elastic::router(Arc::clone(&desk)));
        let native = receive::native::router(inlet)
            .merge(present::native::router(Arc::clone(&desk)))
            .merge(present::admin::router(desk));
        let elastic = elastic.layer(axum::middleware::from_fn(receive::elastic::product));
        es.serve(elastic, &tasks, doors.clone());
        api.serve(native, &tasks, doors.clone());
        Ok(Self { tasks, doors, line: line_ended, shards, ledger, group, link })
    }

    /// Stops in the order of the flow: doors, line, log and segments, group, link, ledger.
    async fn stop(self) -> Result<(), NodeError> {
        let Self { tasks, doors, line, shards, ledger, group, link } = self;
        tracing::info!("stopping");
        let orderly = async {
            doors.cancel();
            step("the line is drained", Duration::from_secs(2), line).await;
            step("records are in segments", Duration::from_secs(3), shards.stop()).await;
            step("the group is left", Duration::from_secs(2), group.shutdown()).await;
            link.close("the node stops").await;
            tasks.stop(Duration::from_secs(2)).await
        };
        let ended = tokio::time::timeout(STOP_DEADLINE, orderly).await.unwrap_or(false);
        let closing = Arc::clone(&ledger);
        // The ledger's own thread ends by itself; whoever waits for it must not block the runtime.
        drop(tokio::task::spawn_blocking(move || closing.close()).await);
        if ended { Ok(()) } else { Err(NodeError::StopDeadline { limit: STOP_DEADLINE }) }
    }
}

/// One step of stopping; a step that takes too long is left behind, for what was acknowledged is in the log.
async fn step<T>(what: &'static str, limit: Duration, work: impl Future<Output = T>) {
    if tokio::time::timeout(limit, work).await.is_err() {
        tracing::warn!(what, ?limit, "a step of stopping took too long and was left behind");
    }
}

fn zone_of(regions: &Regions, region: &Region) -> Result<Zone, NodeError> {
    let offset = regions.facts(region)?.time_zone.utc_offset_minutes;
    Ok(Zone::Fixed(i32::from(offset) * 60))
}

fn link_config(config: &NodeConfig) -> LinkConfig {
    LinkConfig {
        listen: config.link.listen,
        deployment: config.deployment.clone(),
        identity: IdentityFiles { cert: config.link.cert.clone(), key: config.link.key.clone() },
        bundles: config.link.bundles.iter().map(|(region, path)| (region.clone(), path.clone())).collect(),
        tls_keylog: config.audit.tls_keylog.clone(),
        via: config.link.detours(),
        limits: LinkLimits::default(),
    }
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

