//! The group over the real link: certificates of three regions, QUIC on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use domicile_proto::ids::NodeId;
use domicile_proto::metadata::{Applied, Command};

use crate::cluster::{LONG, SHORT, knows_tenant, name, tenant};
use crate::linked::{World, home};

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
