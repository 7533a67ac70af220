//! Deciding and reading: through any node, without a leader, without a majority.

use domicile_meta::error::MetaError;
use domicile_proto::metadata::Applied;

use crate::cluster::{Cluster, LONG, SHORT, addr, knows_tenant, name, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_decides_and_then_reads_what_it_decided() {
    let cluster = Cluster::of_three(5_000).await;
    for (place, group) in cluster.groups.iter().enumerate() {
        let text = format!("by-{place}");
        assert!(matches!(cluster.decide(place, tenant(&text)).await, Applied::Tenant(_)));
        let (state, staleness) = group.local();
        assert!(state.tenant(&name(&text)).is_some(), "node {place} does not see its own decision");
        assert!(staleness.is_within(LONG));
    }
    for group in &cluster.groups {
        let state = group.linearizable(LONG).await.unwrap();
        for place in 0..3 {
            assert!(state.tenant(&name(&format!("by-{place}"))).is_some());
        }
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_batches_and_each_gets_its_own_answer() {
    let cluster = Cluster::of_three(5_000).await;
    let before = cluster.groups[0].metrics().last_log.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..300_usize {
        let group = cluster.groups[n % 3].clone();
        asked.spawn(async move { (n, group.propose(tenant(&format!("t-{n}")), LONG).await.unwrap()) });
    }
    let mut ids = std::collections::BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        let (n, applied) = answer.unwrap();
        let Applied::Tenant(id) = applied else { panic!("{applied:?}") };
        assert_eq!(ids.insert(id, n), None, "an id was given twice");
    }
    let state = cluster.groups[0].linearizable(LONG).await.unwrap();
    for (id, n) in ids {
        assert_eq!(state.tenant(&name(&format!("t-{n}"))), Some(id));
    }
    let entries = cluster.groups[0].metrics().last_log.unwrap() - before;
    assert!(entries < 200, "300 commands took {entries} entries");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_goes_on_when_the_leader_stops() {
    let mut cluster = Cluster::of_three(5_000).await;
    let first = cluster.leader_among(&[0, 1, 2]).await;
    cluster.fill(first, "before", 3).await;
    cluster.stop(first).await;
    let left: Vec<usize> = (0..3).filter(|place| *place != first).collect();
    let second = cluster.leader_among(&left).await;
    assert_ne!(first, second);
    for place in &left {
        cluster.fill(*place, &format!("after-{place}"), 2).await;
    }
    cluster.restart(first).await;
    knows_tenant(&cluster.groups[first], &format!("after-{}-1", left[1])).await;
    assert!(cluster.groups[first].local().0.tenant(&name("before-2")).is_some());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_cut_off_reads_on_but_decides_nothing() {
    let cluster = Cluster::of_three(5_000).await;
    let lonely = cluster.leader_among(&[0, 1, 2]).await;
    cluster.fill(lonely, "known", 1).await;
    for group in &cluster.groups {
        knows_tenant(group, "known-0").await;
    }
    cluster.network.isolate(lonely as u64 + 1);
    let majority: Vec<usize> = (0..3).filter(|place| *place != lonely).collect();

    let alone = &cluster.groups[lonely];
    let error = alone.propose(tenant("lost"), SHORT).await.unwrap_err();
    assert!(error.is_not_now(), "{error}");
    let error = alone.linearizable(SHORT).await.unwrap_err();
    assert!(matches!(error, MetaError::NoQuorum { .. }), "{error}");
    let (state, staleness) = alone.local();
    assert!(state.tenant(&name("known-0")).is_some());
    assert!(!staleness.is_within(SHORT), "{staleness:?} although nobody answered for twice that long");

    cluster.leader_among(&majority).await;
    cluster.fill(majority[0], "meanwhile", 2).await;
    assert!(alone.local().0.tenant(&name("meanwhile-1")).is_none());

    cluster.network.heal();
    knows_tenant(alone, "meanwhile-1").await;
    let here = alone.linearizable(LONG).await.unwrap();
    let there = cluster.groups[majority[0]].linearizable(LONG).await.unwrap();
    assert_eq!(here, there);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_hears_nobody_surely_proposes_nothing() {
    let cluster = Cluster::of_three(5_000).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let lonely = (leader + 1) % 3;
    let alone = &cluster.groups[lonely];
    cluster.network.isolate(lonely as u64 + 1);
    // It must have noticed first: before that it asks the leader it knew, and cannot tell whether that heard it.
    alone.until(LONG, |group| group.leader.is_none()).await.unwrap();
    let error = alone.propose(tenant("never"), SHORT).await.unwrap_err();
    assert!(matches!(error, MetaError::NoQuorum { .. }), "{error}");
    cluster.network.heal();
    cluster.fill(leader, "later", 1).await;
    knows_tenant(alone, "later-0").await;
    let state = alone.linearizable(LONG).await.unwrap();
    assert!(state.tenant(&name("never")).is_none());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_told_as_such_unless_asking_again_is_harmless() {
    use domicile_proto::ids::NodeId;
    use domicile_proto::metadata::Command;

    let mut cluster = Cluster::of_three(5_000).await;
    let asker = cluster.start("tokyo").await;
    cluster.approve(4, "tokyo").await;
    cluster.groups[asker].join(&[(NodeId(1), addr(1))], false, LONG).await.unwrap();
    cluster.groups[asker].until(LONG, |group| group.learners.len() == 1).await.unwrap();
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    // Whatever the leader says to this node is lost; it does not vote, so the leader stays.
    let group = cluster.groups[asker].clone();
    cluster.network.cut(leader as u64 + 1, asker as u64 + 1);
    let removal = group.propose(Command::RemoveNode { node: NodeId(9) }, LONG).await;
    assert!(matches!(removal, Err(MetaError::OutcomeUnknown { .. })), "{removal:?}");
    let repeated = group.clone();
    let creation = tokio::task::JoinSet::from_iter([async move { repeated.propose(tenant("again"), LONG).await }]);
    knows_tenant(&cluster.groups[leader], "again").await;
    cluster.network.heal();
    let answers = creation.join_all().await;
    assert!(matches!(answers[0], Ok(Applied::Tenant(_))), "{answers:?}");
    let state = group.linearizable(LONG).await.unwrap();
    assert_eq!(state.tenants().count(), 1, "created once, asked for several times");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_changes_with_the_state_and_only_then() {
    let cluster = Cluster::of_three(5_000).await;
    let mut watch = cluster.groups[2].watch();
    cluster.fill(0, "known", 1).await;
    knows_tenant(&cluster.groups[2], "known-0").await;
    watch.mark_unchanged();
    let log_before = cluster.groups[2].metrics().applied;
    cluster.fill(0, "known", 1).await;
    cluster.groups[2].until(LONG, |group| group.applied > log_before).await.unwrap();
    assert!(!watch.has_changed().unwrap(), "nothing new, and yet a change");
    cluster.fill(0, "new", 1).await;
    tokio::time::timeout(LONG, watch.changed()).await.unwrap().unwrap();
    assert!(watch.borrow().tenant(&name("new-0")).is_some());
    cluster.stop_all().await;
}
