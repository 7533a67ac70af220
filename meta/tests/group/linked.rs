//! Nodes of a group that talk over real links: certificates of three regions, a link and a group for each node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domicile_meta::error::MetaError;
use domicile_meta::group::{Group, GroupConfig};
use domicile_meta::link_transport::{self, LinkTransport};
use domicile_proto::ids::{ConsentSerial, NodeId, Region, Timestamp};
use domicile_proto::link::connection::Inbound;
use domicile_proto::link::crossing::{BoxFuture, Crossing, CrossingLedger, LedgerRefused};
use domicile_proto::link::endpoint::{Link, LinkConfig};
use domicile_proto::link::identity::PeerId;
use domicile_proto::link::limits::LinkLimits;
use domicile_proto::link::pki::RegionCa;
use domicile_proto::metadata::{Applied, Change, Command};
use rustix::fs::statvfs;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::cluster::{LONG, REGIONS, name, region};
use crate::turned::wait_for_disk_of;

/// Files in memory, where there are any.
const MEMORY: &str = "/dev/shm";
/// What must be free there, in bytes: a world has a few megabytes for each of its nodes, and each processor a world.
const ROOM: u64 = 1 << 30;

/// Metadata is counted, not recorded; these tests look at neither.
pub(crate) struct NoLedger;

impl CrossingLedger for NoLedger {
    fn departing(&self, _: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(async { Err(LedgerRefused) })
    }

    fn arrived(&self, _: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(async { Err(LedgerRefused) })
    }

    fn turned_away(&self, _: &PeerId) {}

    fn metadata_bytes(&self, _: &PeerId, _: u64, _: u64) {}
}

pub(crate) struct Node {
    pub(crate) link: Link,
    pub(crate) group: Group,
    tasks: TaskTracker,
}

pub(crate) struct World {
    directory: TempDir,
    authorities: Vec<RegionCa>,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let authorities = REGIONS
            .map(|name| RegionCa::init(&directory.path().join(name), &region(name), &deployment(), now()).unwrap());
        Self { directory, authorities: authorities.into() }
    }

    /// What the link of a node needs; issues its certificate where it has none.
    pub(crate) fn config(&self, place: usize, listen: SocketAddr) -> LinkConfig {
        let (node, authority) = (NodeId(place as u64 + 1), self.authority(place));
        if !authority.node_files(node).cert.try_exists().unwrap() {
            authority.issue_node(node, now(), Duration::from_secs(3_600)).unwrap();
        }
        let bundles = REGIONS.iter().zip(&self.authorities).map(|(name, ca)| (region(name), ca.bundle())).collect();
        LinkConfig {
            listen,
            deployment: deployment(),
            identity: authority.node_files(node),
            bundles,
            tls_keylog: None,
            via: Default::default(),
            limits: LinkLimits::default(),
        }
    }

    /// A node on loopback.
    pub(crate) async fn start(&self, place: usize, listen: SocketAddr) -> Node {
        let link = Link::bind(self.config(place, listen), Arc::new(NoLedger)).unwrap();
        self.start_over(place, link, Duration::ZERO).await
    }

    /// A node over a link that is there already.
    pub(crate) async fn start_over(&self, place: usize, link: Link, round_trip: Duration) -> Node {
        // Only the first is known from the configuration; whoever came later is known from the group.
        let transport = LinkTransport::new(link.clone(), [PeerId { region: home(0), node: NodeId(1) }]);
        let (node, data) = (NodeId(place as u64 + 1), self.data(place));
        let mut config = GroupConfig::new(node, home(place), link.local_addr(), data, round_trip);
        config.snapshot_every = 20;
        config.keep_entries = 0;
        let started = Group::start(config, Arc::new(transport.clone())).await;
        let group = started.unwrap_or_else(|error| panic!("node {node} does not start: {error}"));
        wait_for_disk_of(&group);
        transport.follow(group.watch());
        let tasks = TaskTracker::new();
        tasks.spawn(accept(link.clone(), group.clone(), tasks.clone()));
        Node { link, group, tasks }
    }

    pub(crate) fn data(&self, place: usize) -> PathBuf {
        self.directory.path().join(format!("data-{place}"))
    }

    /// A node and its address, with the consent of its region's officer.
    pub(crate) fn approval(&self, place: usize, addr: SocketAddr) -> Command {
        let officer = self.authority(place).read_officer().unwrap();
        let change = Change::AddNode { node: NodeId(place as u64 + 1), addr };
        let serial = ConsentSerial((place / REGIONS.len()) as u64 + 1);
        Command::Regional(officer.sign(home(place), serial, change))
    }

    fn authority(&self, place: usize) -> &RegionCa {
        &self.authorities[place % REGIONS.len()]
    }
}

impl Node {
    pub(crate) async fn stop(self) {
        self.group.shutdown().await;
        self.link.close("the test is over").await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) async fn decide(&self, command: Command) -> Applied {
        loop {
            match self.group.propose(command.clone(), LONG).await {
                Err(MetaError::OutcomeUnknown { .. }) => {}
                decided => return decided.unwrap(),
            }
        }
    }
}

async fn accept(link: Link, group: Group, tasks: TaskTracker) {
    while let Some(accepted) = link.accept().await {
        let (group, others) = (group.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok(inbound) = accepted.peer.next().await {
                let Inbound::Metadata(stream) = inbound else { continue };
                let group = group.clone();
                others.spawn(async move { drop(link_transport::serve(&group, stream).await) });
            }
        });
    }
}

/// For the files of a world: in memory, where there is room. A turned clock stands while a disk is busy, and lives would last long.
fn directory() -> TempDir {
    let memory = Path::new(MEMORY);
    let room = statvfs(memory).map_or(0, |system| system.f_bavail * system.f_frsize);
    let in_memory = (memory.is_dir() && room >= ROOM).then(|| TempDir::new_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| TempDir::new().unwrap())
}

fn deployment() -> domicile_proto::ids::Name {
    name("acme")
}

/// The region of a node.
pub(crate) fn home(place: usize) -> Region {
    region(REGIONS[place % REGIONS.len()])
}

#[allow(clippy::disallowed_methods, reason = "certificates are valid from the time of the test on")]
fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}
