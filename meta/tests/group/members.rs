//! Coming, going, handing over.

use domicile_meta::error::MetaError;
use domicile_proto::ids::NodeId;
use domicile_proto::metadata::{Applied, Change, Command, CommandRefusal};

use crate::cluster::{Cluster, LONG, SHORT, addr, knows_tenant, region};

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_the_rows_and_follows_without_a_vote() {
    let mut cluster = Cluster::of_three(10).await;
    cluster.fill(0, "early", 40).await;
    cluster.groups[0].until(LONG, |group| group.purged > Some(20)).await.unwrap();
    let sent_before = cluster.network.snapshots();
    let learner = cluster.start("tokyo").await;
    cluster.approve(4, "tokyo").await;
    let seeds = [(NodeId(3), addr(3)), (NodeId(2), addr(2)), (NodeId(1), addr(1))];
    cluster.groups[learner].join(&seeds, false, LONG).await.unwrap();
    knows_tenant(&cluster.groups[learner], "early-39").await;
    assert!(cluster.network.snapshots() > sent_before);
    cluster.fill(learner, "late", 1).await;
    let members = cluster.groups[learner].metrics();
    assert_eq!((members.voters.len(), members.learners), (3, vec![NodeId(4)]));
    // Again: it is a member, nothing happens.
    cluster.groups[learner].join(&seeds, false, LONG).await.unwrap();
    cluster.groups[learner].leave(LONG).await.unwrap();
    cluster.groups[0].until(LONG, |group| group.learners.is_empty()).await.unwrap();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_approved_nodes_join_and_a_region_has_one_voter() {
    let mut cluster = Cluster::of_three(5_000).await;
    let stranger = cluster.start("tokyo").await;
    let seeds = [(NodeId(1), addr(1)), (NodeId(2), addr(2)), (NodeId(3), addr(3))];
    let refused = cluster.groups[stranger].join(&seeds, false, LONG).await;
    assert!(matches!(refused, Err(MetaError::Refused { node: NodeId(4) })), "{refused:?}");
    cluster.approve(4, "singapore").await;
    let refused = cluster.groups[stranger].join(&seeds, false, LONG).await;
    assert!(matches!(refused, Err(MetaError::Refused { .. })), "approved for another region: {refused:?}");

    let second = cluster.start("tokyo").await;
    cluster.approve(5, "tokyo").await;
    let refused = cluster.groups[second].join(&seeds, true, LONG).await;
    assert!(matches!(refused, Err(MetaError::Refused { .. })), "{refused:?}");
    cluster.groups[second].join(&seeds, false, LONG).await.unwrap();
    assert_eq!(cluster.groups[0].until(LONG, |group| group.learners.len() == 1).await.unwrap().voters.len(), 3);
    cluster.stop_all().await;
}

/// The first node's own officer approves it a moment after the group was made; others ask all the time.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_a_group_that_was_just_made_before_an_officer_approved_it() {
    let mut cluster = Cluster::empty(5_000);
    cluster.start("tokyo").await;
    let early = cluster.start("singapore").await;
    cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await.unwrap();
    cluster.leader_among(&[0]).await;
    let refused = cluster.groups[early].join(&[(NodeId(1), addr(1))], true, LONG).await;
    assert!(matches!(refused, Err(MetaError::Refused { node: NodeId(2) })), "{refused:?}");
    assert_eq!(cluster.groups[0].metrics().voters, [NodeId(1)]);

    for (node, region_name) in [(1, "tokyo"), (2, "singapore")] {
        cluster.decide(0, Command::AddRegion { region: region(region_name) }).await;
        cluster.approve(node, region_name).await;
    }
    cluster.groups[early].join(&[(NodeId(1), addr(1))], true, LONG).await.unwrap();
    assert_eq!(cluster.groups[0].until(LONG, |group| group.voters.len() == 2).await.unwrap().learners, []);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_and_the_group_goes_on() {
    let cluster = Cluster::of_three(5_000).await;
    let first = cluster.leader_among(&[0, 1, 2]).await;
    cluster.groups[first].step_down(LONG).await.unwrap();
    let others: Vec<usize> = (0..3).filter(|place| *place != first).collect();
    cluster.leader_among(&others).await;
    assert!(!cluster.groups[first].leads());
    cluster.fill(first, "after", 2).await;
    cluster.groups[first].step_down(LONG).await.unwrap();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_hands_over_first_and_another_takes_its_place() {
    let mut cluster = Cluster::of_three(5_000).await;
    let first = cluster.leader_among(&[0, 1, 2]).await;
    cluster.groups[first].leave(LONG).await.unwrap();
    let left: Vec<usize> = (0..3).filter(|place| *place != first).collect();
    let gone = NodeId(first as u64 + 1);
    cluster.groups[left[0]].until(LONG, |group| !group.voters.contains(&gone)).await.unwrap();
    cluster.fill(left[1], "after", 2).await;
    cluster.stop(first).await;

    let home = cluster.groups[first].region().clone();
    let replacement = cluster.start(home.as_str()).await;
    let change = Change::AddNode { node: NodeId(4), addr: addr(4) };
    cluster.decide(left[0], cluster.signed(home.as_str(), change)).await;
    let seeds = [(NodeId(1), addr(1)), (NodeId(2), addr(2)), (NodeId(3), addr(3))];
    cluster.groups[replacement].join(&seeds, true, LONG).await.unwrap();
    let voters = cluster.groups[replacement].until(LONG, |group| group.voters.len() == 3).await.unwrap().voters;
    assert!(voters.contains(&NodeId(4)) && !voters.contains(&gone));
    knows_tenant(&cluster.groups[replacement], "after-1").await;
    cluster.stop_all().await;
}

/// A leader that goes between the two steps of a change leaves a majority of the old voters and of the new ones to be asked, and of
/// two old ones none may be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_a_leader_left_half_done_is_done_to_its_end() {
    let mut cluster = Cluster::of_one_and_two(5_000).await;
    let seeds = [(NodeId(1), addr(1))];
    cluster.groups[1].join(&seeds, true, LONG).await.unwrap();
    cluster.groups[2].join(&seeds, false, LONG).await.unwrap();
    // The first node can write the beginning of the change and not have it agreed on.
    cluster.network.isolate(2);
    let undone = cluster.groups[2].join(&seeds, true, SHORT).await;
    assert!(matches!(undone, Err(MetaError::NoQuorum { .. })), "{undone:?}");
    cluster.groups[0].until(LONG, |group| group.voters.len() == 3).await.unwrap();
    cluster.stop(0).await;
    cluster.network.heal();
    cluster.restart(0).await;
    cluster.leader_among(&[0, 1, 2]).await;
    let seeds = [(NodeId(1), addr(1)), (NodeId(2), addr(2))];
    cluster.groups[2].join(&seeds, true, LONG).await.unwrap();

    cluster.stop(1).await;
    cluster.leader_among(&[0, 2]).await;
    cluster.fill(2, "without", 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_voter_neither_hands_over_nor_leaves() {
    let mut cluster = Cluster::empty(5_000);
    cluster.start("tokyo").await;
    cluster.groups[0].initialize(&[(NodeId(1), addr(1))]).await.unwrap();
    cluster.leader_among(&[0]).await;
    assert!(matches!(cluster.groups[0].step_down(LONG).await, Err(MetaError::Refused { .. })));
    assert!(matches!(cluster.groups[0].leave(LONG).await, Err(MetaError::Refused { .. })));
    cluster.fill(0, "still", 1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_is_taken_out_by_removing_its_node() {
    let cluster = Cluster::of_three(5_000).await;
    let lost = cluster.leader_among(&[0, 1, 2]).await;
    let gone = NodeId(lost as u64 + 1);
    let left: Vec<usize> = (0..3).filter(|place| *place != lost).collect();
    cluster.stop(lost).await;
    cluster.leader_among(&left).await;
    let home = cluster.groups[lost].region().clone();
    let refused = cluster.decide(left[0], Command::RemoveNode { node: gone }).await;
    assert_eq!(refused, Applied::Refused(CommandRefusal::OtherRegion), "said by another region");
    cluster.decide(left[0], cluster.signed(home.as_str(), Change::RemoveNode { node: gone })).await;
    for place in &left {
        let members = cluster.groups[*place].until(LONG, |group| group.voters.len() == 2).await.unwrap();
        assert!(!members.voters.contains(&gone));
    }
    cluster.fill(left[1], "after", 2).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_own_node_is_removed_hands_over_and_is_taken_out() {
    let cluster = Cluster::of_three(5_000).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let gone = NodeId(leader as u64 + 1);
    cluster.decide(leader, Command::RemoveNode { node: gone }).await;
    let left = (leader + 1) % 3;
    cluster.groups[left].until(LONG, |group| !group.voters.contains(&gone)).await.unwrap();
    cluster.fill(left, "after", 1).await;
    cluster.stop_all().await;
}
