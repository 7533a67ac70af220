//! What a node uses of the metadata group: start, propose, read, watch, answer other nodes, come and go.
//!
//! Reads of the local copy never wait and never fail, however long the group is out of reach. Proposals and linearizable
//! reads need a majority; each has the caller's deadline and says clearly when it could not be had.

mod evict;
mod membership;
mod propose;
mod read;
mod serve;
mod stand;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domicile_proto::ids::{NodeId, Region};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::read::{GroupMetrics, Staleness};

use self::propose::Proposal;
use crate::backup::{Backup, Making};
use crate::error::MetaError;
use crate::limits::PROPOSALS_WAITING;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::network::Network;
use crate::raft::{self, Raft, Timing};
use crate::state::State;
use crate::transport::Transport;

/// What a node must know to take part.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The node, as in its certificate.
    pub node: NodeId,
    /// Its region, as in its certificate.
    pub region: Region,
    /// Where other nodes reach its link.
    pub addr: SocketAddr,
    /// Where log and snapshot lie; made if it is not there. One node, one directory.
    pub directory: PathBuf,
    /// Largest round trip between two regions; all members must be given the same.
    pub round_trip: Duration,
    /// Entries between two snapshots. Default 5,000; fewer mean a shorter log and more writing.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, so that a member that was away briefly needs none. Default 1,000.
    pub keep_entries: u64,
}

impl GroupConfig {
    /// The configuration of a node with all defaults.
    pub fn new(node: NodeId, region: Region, addr: SocketAddr, directory: PathBuf, round_trip: Duration) -> Self {
        Self { node, region, addr, directory, round_trip, snapshot_every: 5_000, keep_entries: 1_000 }
    }
}

/// A node's part in the metadata group. Clones are the same part; [`Group::shutdown`] ends it.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    config: GroupConfig,
    timing: Timing,
    raft: Raft,
    machine: Machine,
    log: LogStore,
    transport: Arc<dyn Transport>,
    proposals: mpsc::Sender<Proposal>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// When a leader was last heard.
    contact: Mutex<Option<Instant>>,
    /// Held by the leader while it changes the membership: one change after the other.
    changing: tokio::sync::Mutex<()>,
    /// Set while a leader hands over: it takes no proposals.
    is_handing_over: AtomicBool,
}

impl Group {
    /// Opens what lies in the directory and takes part again where it left off. A fresh node waits: call
    /// [`Group::initialize`] on the very first one and [`Group::join`] on all others.
    ///
    /// # Errors
    /// [`MetaError`] where the directory is not usable.
    pub async fn start(config: GroupConfig, transport: Arc<dyn Transport>) -> Result<Self, MetaError> {
        let directory = config.directory.clone();
        std::fs::create_dir_all(&directory).map_err(|source| MetaError::Io { path: directory.clone(), source })?;
        let timing = Timing::for_round_trip(config.round_trip);
        let log = LogStore::open(&directory.join("log.redb"), config.node)?;
        let machine = standing_on(&log, directory.join("snapshot")).inspect_err(|_| log.close())?;
        let network = Network { transport: Arc::clone(&transport), pause: timing.heartbeat.saturating_mul(2) };
        let settings = raft::config(timing, config.snapshot_every, config.keep_entries)?;
        let started = Raft::new(config.node.0, settings, network, log.clone(), machine.clone()).await;
        let raft = started.map_err(|error| {
            log.close();
            MetaError::Consensus { found: error.to_string() }
        })?;
        let (proposals, waiting) = mpsc::channel(PROPOSALS_WAITING);
        let inner = Arc::new(Inner {
            config,
            timing,
            raft,
            machine,
            log,
            transport,
            proposals,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            contact: Mutex::new(None),
            changing: tokio::sync::Mutex::new(()),
            is_handing_over: AtomicBool::new(false),
        });
        inner.tasks.spawn(propose::run(Arc::clone(&inner), waiting));
        inner.tasks.spawn(stopping(Arc::clone(&inner), evict::run(Self(Arc::clone(&inner)))));
        Ok(Self(inner))
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.0.config.node
    }

    /// Its region.
    pub fn region(&self) -> &Region {
        &self.0.config.region
    }

    /// How long members wait for each other.
    pub fn timing(&self) -> Timing {
        self.0.timing
    }

    /// The state, replaced whole with every change. The value in it is the newest local copy.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.0.machine.watch()
    }

    /// A copy of the state as this node has it, with what is said of its making; where it was made and how many rows it has is put
    /// in here. Never waits, and is a copy of something older where the node is cut off.
    pub fn backup(&self, making: Making) -> Backup {
        let (last, state) = self.0.machine.now();
        let (index, term) = last.map_or((0, 0), |last| (last.index, last.leader_id.term));
        Backup { making: Making { index, term, rows: state.row_count(), ..making }, state }
    }

    /// Whether the group's part here waits for its disk: for a flush of the log, or for a snapshot. A clock that is turned by hand stands
    /// meanwhile, or a disk that is slow for a moment would be silence of minutes.
    pub fn is_flushing(&self) -> bool {
        self.0.log.is_flushing() || self.0.machine.is_flushing()
    }

    /// Stops taking part and closes the directory. Waiting proposals are answered with an error.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::error!(%error, "the metadata group did not stop cleanly");
        }
        let (log, machine) = (self.0.log.clone(), self.0.machine.clone());
        let closing = tokio::task::spawn_blocking(move || {
            machine.close();
            log.close();
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "the metadata log did not close cleanly");
        }
    }
}

/// The state as the snapshot has it, which must reach as far as the log relies on it.
fn standing_on(log: &LogStore, snapshot: PathBuf) -> Result<Machine, MetaError> {
    let machine = Machine::open(snapshot.clone())?;
    let purged = log.purged().map_err(|error| MetaError::Consensus { found: error.to_string() })?;
    match purged {
        Some(purged) if machine.applied().is_none_or(|applied| applied < purged) => {
            let found = format!("it does not reach to entry {purged}, up to which the log was cut off because of it");
            Err(MetaError::Damaged { path: snapshot, found })
        }
        _ => Ok(machine),
    }
}

/// The task, ended where it stands when the group stops.
async fn stopping(inner: Arc<Inner>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = inner.stop.cancelled() => {}
        () = task => {}
    }
}
