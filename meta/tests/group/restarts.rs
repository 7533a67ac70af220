//! What a node knows when it comes back: from its disk alone, or from the others.

use std::future::Future;
use std::time::Duration;

use domicile_meta::error::MetaError;
use domicile_meta::group::Group;
use domicile_proto::ids::NodeId;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::metadata::{MetadataFrame, Unavailable};
use domicile_proto::metadata::Applied;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, LONG, REGIONS, SHORT, addr, knows_tenant, name, region, tenant};

/// How long a change of the members may take where nothing is known of it: as long as a snapshot.
const SNAPSHOT_MAY_TAKE: Duration = Duration::from_secs(30);

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

/// Cuts the leader off, and has it asked for something that it writes into its own log; the next leader's snapshot takes the place of
/// that log. What was answered, and after how long.
async fn asked_before_the_rows_of_the_next_one<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    cluster: &Cluster,
    ask: impl FnOnce(Group) -> F,
) -> (T, Duration) {
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
    let begun = Instant::now();
    asked.spawn(ask(cluster.groups[former].clone()));
    let written = cluster.groups[former].until(LONG, |group| group.last_log > before).await.unwrap().last_log;

    let leader = cluster.leader_among(&others).await;
    let sent_before = cluster.network.snapshots();
    cluster.fill_until(leader, "meanwhile", |group| group.purged > written).await;
    cluster.network.heal();
    let answered = timeout(LONG, asked.join_next()).await.expect("long before the asker's patience ends");
    assert!(cluster.network.snapshots() > sent_before, "no rows were sent");
    (answered.unwrap().unwrap(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_was_asked_before_it_got_the_rows_of_the_next_one_is_asked_again() {
    let cluster = Cluster::of_three(10).await;
    let propose = |group: Group| async move { group.propose(tenant("asked-in-vain"), 10 * LONG).await };
    let (answered, _) = asked_before_the_rows_of_the_next_one(&cluster, propose).await;
    assert!(matches!(answered, Ok(Applied::Tenant(_))), "{answered:?}");
    cluster.stop_all().await;
}

/// Nobody can say what became of it: it is asked for again, elsewhere, and nobody waits for as long as a snapshot may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_members_before_a_leader_got_the_rows_of_the_next_one_is_in_doubt() {
    let cluster = Cluster::of_three(10).await;
    cluster.approve(4, "tokyo").await;
    let newcomer = PeerId { region: region("tokyo"), node: NodeId(4) };
    let join = move |group: Group| async move {
        let join = MetadataFrame::Join { node: NodeId(4), addr: addr(4), voter: false };
        group.serve(join, &newcomer).await
    };
    let leave = |group: Group| async move {
        let place = usize::from(group.node() == NodeId(1));
        let node = NodeId(place as u64 + 1);
        group.serve(MetadataFrame::Leave { node }, &PeerId { region: region(REGIONS[place]), node }).await
    };
    let joined = asked_before_the_rows_of_the_next_one(&cluster, join).await;
    let left = asked_before_the_rows_of_the_next_one(&cluster, leave).await;
    for (answered, after) in [joined, left] {
        assert_eq!(answered, MetadataFrame::Unavailable(Unavailable::NoQuorum));
        assert!(after < SNAPSHOT_MAY_TAKE, "{after:?}");
    }
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let members = cluster.groups[leader].metrics();
    assert_eq!((members.voters.len(), members.learners), (3, vec![]), "neither was decided");
    cluster.stop_all().await;
}
