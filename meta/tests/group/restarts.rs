//! What a node knows when it comes back: from its disk alone, or from the others.

use domicile_meta::error::MetaError;
use domicile_proto::ids::NodeId;
use domicile_proto::metadata::Applied;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::{Cluster, LONG, SHORT, addr, knows_tenant, name, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_comes_back_after_its_log_was_purged() {
    let mut cluster = Cluster::empty(10);
    cluster.start("tokyo").await;
    cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await.unwrap();
    let again = cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await;
    assert!(matches!(again, Err(MetaError::Initialised)));
    cluster.fill_until(0, "t", |group| group.purged.is_some_and(|index| index > 20)).await;
    let before = cluster.groups[0].local().0;
    for _ in 0..3 {
        cluster.stop(0).await;
        cluster.restart(0).await;
        cluster.leader_among(&[0]).await;
        assert_eq!(cluster.groups[0].linearizable(LONG).await.unwrap(), before);
    }
    cluster.fill(0, "more", 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_cut_off_still_knows_what_it_knew() {
    let mut cluster = Cluster::of_three(5_000).await;
    cluster.fill(0, "known", 5).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let follower = (leader + 1) % 3;
    knows_tenant(&cluster.groups[follower], "known-4").await;
    cluster.stop(follower).await;
    cluster.network.isolate(follower as u64 + 1);
    cluster.restart(follower).await;
    knows_tenant(&cluster.groups[follower], "known-4").await;
    let (_, staleness) = cluster.groups[follower].local();
    assert_eq!(staleness.since_contact, None);
    assert!(cluster.groups[follower].propose(tenant("no"), SHORT).await.is_err());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_a_purge_gets_the_rows() {
    let mut cluster = Cluster::of_three(10).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let follower = (leader + 1) % 3;
    cluster.stop(follower).await;
    let sent_before = cluster.network.snapshots();
    let last = cluster.groups[follower].metrics().last_log.unwrap();
    cluster.fill(leader, "missed", 60).await;
    cluster.fill_until(leader, "further", |group| group.purged > Some(last)).await;
    cluster.restart(follower).await;
    knows_tenant(&cluster.groups[follower], "missed-59").await;
    assert!(cluster.network.snapshots() > sent_before, "no rows were sent");
    let there = cluster.groups[leader].linearizable(LONG).await.unwrap();
    assert_eq!(cluster.groups[follower].linearizable(LONG).await.unwrap(), there);
    // What was installed is durable: it comes back alone.
    cluster.stop(follower).await;
    cluster.network.isolate(follower as u64 + 1);
    cluster.restart(follower).await;
    assert!(cluster.groups[follower].local().0.tenant(&name("missed-30")).is_some());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_stop_and_come_back_with_everything() {
    let mut cluster = Cluster::of_three(15).await;
    cluster.fill(1, "kept", 40).await;
    let before = cluster.groups[1].linearizable(LONG).await.unwrap();
    cluster.stop_all().await;
    for place in 0..3 {
        cluster.restart(place).await;
    }
    for group in &cluster.groups {
        assert_eq!(group.linearizable(LONG).await.unwrap(), before);
    }
    cluster.stop_all().await;
}

/// A leader that is cut off writes what it is asked for into its own log; the next leader's snapshot takes the place of that log.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_was_asked_before_it_got_the_rows_of_the_next_one_is_asked_again() {
    let cluster = Cluster::of_three(10).await;
    let mut former = cluster.leader_among(&[0, 1, 2]).await;
    cluster.network.isolate(former as u64 + 1);
    // On a busy machine another one may have been chosen just then.
    while !cluster.groups[former].leads() {
        cluster.network.heal();
        former = cluster.leader_among(&[0, 1, 2]).await;
        cluster.network.isolate(former as u64 + 1);
    }
    let others: Vec<usize> = (0..3).filter(|place| *place != former).collect();
    let before = cluster.groups[former].metrics().last_log;
    let mut asked = JoinSet::new();
    let group = cluster.groups[former].clone();
    asked.spawn(async move { group.propose(tenant("asked-in-vain"), 10 * LONG).await });
    let written = cluster.groups[former].until(LONG, |group| group.last_log > before).await.unwrap().last_log;

    let leader = cluster.leader_among(&others).await;
    let sent_before = cluster.network.snapshots();
    cluster.fill_until(leader, "meanwhile", |group| group.purged > written).await;
    cluster.network.heal();
    let answered = timeout(LONG, asked.join_next()).await.expect("long before the asker's patience ends");
    assert!(matches!(answered, Some(Ok(Ok(Applied::Tenant(_))))), "{answered:?}");
    assert!(cluster.network.snapshots() > sent_before, "no rows were sent");
    cluster.stop_all().await;
}
