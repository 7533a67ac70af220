//! The group over the real link: certificates of three regions, QUIC on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
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
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::cluster::{LONG, REGIONS, SHORT, knows_tenant, name, region, tenant};

/// Metadata is counted, not recorded; these tests look at neither.
struct NoLedger;

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

struct Node {
    link: Link,
    group: Group,
    tasks: TaskTracker,
}

struct World {
    directory: TempDir,
    authorities: Vec<RegionCa>,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authorities = REGIONS.iter().enumerate().map(|(place, name)| {
            let ca = RegionCa::init(&directory.path().join(name), &region(name), &deployment(), now()).unwrap();
            ca.issue_node(NodeId(place as u64 + 1), now(), Duration::from_secs(3_600)).unwrap();
            ca
        });
        let authorities = authorities.collect();
        Self { directory, authorities }
    }

    async fn start(&self, place: usize, listen: SocketAddr) -> Node {
        let node = NodeId(place as u64 + 1);
        let bundles = REGIONS.iter().zip(&self.authorities).map(|(name, ca)| (region(name), ca.bundle())).collect();
        let config = LinkConfig {
            listen,
            deployment: deployment(),
            identity: self.authorities[place].node_files(node),
            bundles,
            tls_keylog: None,
            via: Default::default(),
            limits: LinkLimits::default(),
        };
        let link = Link::bind(config, Arc::new(NoLedger)).unwrap();
        // Only the first is known from the configuration; whoever came later is known from the group.
        let transport = LinkTransport::new(link.clone(), [PeerId { region: home(0), node: NodeId(1) }]);
        let data = self.data(place);
        let mut config = GroupConfig::new(node, home(place), link.local_addr(), data, Duration::ZERO);
        config.snapshot_every = 20;
        config.keep_entries = 0;
        let group = Group::start(config, Arc::new(transport.clone())).await.unwrap();
        transport.follow(group.watch());
        let tasks = TaskTracker::new();
        tasks.spawn(accept(link.clone(), group.clone(), tasks.clone()));
        Node { link, group, tasks }
    }

    fn data(&self, place: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("data-{place}"))
    }

    /// A node and its address, with the consent of its region's officer.
    fn approval(&self, place: usize, addr: SocketAddr) -> Command {
        let officer = self.authorities[place].read_officer().unwrap();
        let change = Change::AddNode { node: NodeId(place as u64 + 1), addr };
        Command::Regional(officer.sign(home(place), ConsentSerial(1), change))
    }
}

impl Node {
    async fn stop(self) {
        self.group.shutdown().await;
        self.link.close("the test is over").await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn decide(&self, command: Command) -> Applied {
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

fn deployment() -> domicile_proto::ids::Name {
    name("acme")
}

fn home(place: usize) -> Region {
    region(REGIONS[place])
}

#[allow(clippy::disallowed_methods, reason = "certificates are valid from the time of the test on")]
fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn snapshot_bytes(data: &Path) -> Vec<u8> {
    std::fs::read(data.join("snapshot")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_but_one_leaves_while_it_leads() {
    let world = World::new();
    let nodes = [world.start(0, any_port()).await, world.start(1, any_port()).await];
    let addrs = [nodes[0].link.local_addr(), nodes[1].link.local_addr()];
    nodes[0].group.initialize(&[(NodeId(1), addrs[0])]).await.unwrap();
    for (place, addr) in addrs.iter().enumerate() {
        nodes[0].decide(Command::AddRegion { region: home(place) }).await;
        assert_eq!(nodes[0].decide(world.approval(place, *addr)).await, Applied::Done);
    }
    nodes[1].group.join(&[(NodeId(1), addrs[0])], true, LONG).await.unwrap();
    nodes[0].group.step_down(LONG).await.unwrap();
    nodes[1].group.until(LONG, |group| group.leader == Some(NodeId(2))).await.unwrap();

    nodes[1].group.leave(LONG).await.unwrap();
    let left = nodes[0].group.until(LONG, |group| group.voters.len() == 1).await.unwrap();
    assert!(left.voters.contains(&NodeId(1)));
    let state = nodes[0].group.linearizable(LONG).await.unwrap();
    assert!(state.node(NodeId(2)).is_none(), "the node that left is still dialled");
    assert!(matches!(nodes[0].decide(tenant("after")).await, Applied::Tenant(_)));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_regions_decide_over_quic_and_one_comes_back_by_rows() {
    let world = World::new();
    let mut nodes = Vec::new();
    for place in 0..3 {
        nodes.push(world.start(place, any_port()).await);
    }
    let addrs: Vec<SocketAddr> = nodes.iter().map(|node| node.link.local_addr()).collect();
    nodes[0].group.initialize(&[(NodeId(1), addrs[0])]).await.unwrap();
    for (place, addr) in addrs.iter().enumerate() {
        nodes[0].decide(Command::AddRegion { region: home(place) }).await;
        assert_eq!(nodes[0].decide(world.approval(place, *addr)).await, Applied::Done);
    }
    for node in &nodes[1..] {
        node.group.join(&[(NodeId(1), addrs[0])], true, LONG).await.unwrap();
    }
    for (place, node) in nodes.iter().enumerate() {
        assert!(matches!(node.decide(tenant(&format!("by-{place}"))).await, Applied::Tenant(_)));
        assert!(node.group.linearizable(LONG).await.unwrap().tenant(&name(&format!("by-{place}"))).is_some());
    }

    // A node is away while the log behind it is purged.
    let away = nodes.pop().unwrap();
    let last = away.group.metrics().last_log.unwrap();
    away.stop().await;
    for n in 0..50 {
        nodes[1].decide(tenant(&format!("meanwhile-{n}"))).await;
    }
    for node in &nodes {
        node.group.until(LONG, |group| group.purged > Some(last)).await.unwrap();
    }
    let before = snapshot_bytes(&world.data(2));
    nodes.push(world.start(2, addrs[2]).await);
    knows_tenant(&nodes[2].group, "meanwhile-49").await;
    assert_ne!(snapshot_bytes(&world.data(2)), before, "no snapshot was installed");
    assert_eq!(nodes[2].group.linearizable(LONG).await.unwrap(), nodes[0].group.linearizable(LONG).await.unwrap());

    // The last one alone decides nothing and still knows everything.
    nodes.remove(0).stop().await;
    nodes.remove(0).stop().await;
    let error = nodes[0].group.propose(tenant("alone"), SHORT).await.unwrap_err();
    assert!(error.is_not_now(), "{error}");
    assert!(nodes[0].group.local().0.tenant(&name("meanwhile-49")).is_some());
    nodes.remove(0).stop().await;
}
