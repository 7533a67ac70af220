//! Whichever node of a region is asked, it answers for all of them, and names the one that says nothing.

use std::sync::Arc;

use domicile_proto::ids::StreamId;
use domicile_proto::message::region::{KeysMark, NotGiven, PersonRows, RegionAsk, RegionReply, RowBytes};
use domicile_proto::metadata::NodeRow;

use super::told_test::{A, B, Between, homes, whom};
use super::workflow_test::{Node, Sight, TENANT, begin};
use super::*;
use crate::errors::Coded;
use crate::limits::{ERASE_TOLD_WAIT, EXPORT_BYTES, EXPORT_TELL_DEADLINE};
use crate::policy::Policy;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_summed_over_the_nodes_whichever_is_asked() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    b.fill().await;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    b.erasure.tell_round().await;
    a.erasure.purge().await.unwrap();
    for (node, own) in [(&a, Progress::Gone), (&b, Progress::Shredded)] {
        let stands = node.erasure.stands_in_region(TENANT, &id).await.unwrap();
        assert_eq!((stands.progress, stands.everywhere), (own, Progress::Shredded));
        assert_eq!((stands.hidden, stands.originals), (Some(4), Some(2)), "two records and one original at each");
        assert!((50..100).contains(&stands.percent), "of the node that is least far: {}", stands.percent);
        assert!(stands.gone_in_seconds.is_some());
        let listed = node.erasure.all_in_region(TENANT).await;
        assert_eq!((listed.len(), listed[0].percent, listed[0].hidden), (1, stands.percent, Some(4)));
    }
    b.erasure.purge().await.unwrap();
    for node in [&a, &b] {
        node.erasure.tell_round().await;
        let stands = node.erasure.stands_in_region(TENANT, &id).await.unwrap();
        assert_eq!((stands.everywhere, stands.percent, stands.gone_in_seconds), (Progress::Gone, 100, None));
    }
    let other = domicile_proto::ids::TenantId(9);
    assert_eq!(a.erasure.stands_in_region(other, &id).await.err().unwrap().code(), "DMC-ERASE-03");
    assert!(a.erasure.all_in_region(other).await.is_empty(), "another tenant's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_only_another_node_has_is_shown_with_the_reason() {
    let (between, first, second) = (Between::default(), begin(), begin());
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    // Its keys are others, so it does not have the order, and is asked all the same.
    assert_eq!(b.erasure.stands(TENANT, &id).err().unwrap().code(), "DMC-ERASE-03");
    let stands = b.erasure.stands_in_region(TENANT, &id).await.unwrap();
    assert!(!stands.is_here && stands.ordered_at == a.erasure.stands(TENANT, &id).unwrap().ordered_at);
    assert_eq!((stands.everywhere, stands.percent), (Progress::Ordered, 0));
    assert_eq!(
        (stands.nodes[0].node, stands.nodes[0].progress, stands.nodes[0].problem),
        (B, None, Some("DMC-ERASE-12"))
    );
    assert_eq!((stands.nodes[1].node, stands.nodes[1].progress), (A, Some(Progress::Shredded)));
    assert_eq!(b.erasure.all_in_region(TENANT).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_nothing_is_named_with_what_waits_for_it_and_counts_as_it_is_on_record() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    a.fill().await;
    b.fill().await;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    a.erasure.purge().await.unwrap();
    assert!(a.erasure.silent().is_empty());
    between.cut(B);
    let stands = a.erasure.stands_in_region(TENANT, &id).await.unwrap();
    assert_eq!((stands.everywhere, stands.percent, stands.hidden), (Progress::Shredded, 50, Some(2)));
    assert_eq!(stands.gone_in_seconds, None, "nobody knows when");
    assert!(stands.nodes[1].silent_for.is_some() && stands.nodes[1].says.is_none());
    let silent = a.erasure.silent();
    let expected =
        SilentNode { node: B, seconds: silent[0].seconds, keeps_answers: false, keeps_orders: false, unfinished: 1 };
    assert_eq!(silent, [expected]);

    // After a restart no order is taken before it has said its holds, and the refusal says since when it is silent.
    between.cut(A);
    a.kill().await;
    let a = between.start(first.path(), A).await;
    a.erasure.begin([A, B]);
    let refused = a.erasure.order(TENANT, whom(), None).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-ERASE-15");
    let text = refused.to_string();
    assert!(
        text.contains("node 2") && text.contains("silent for 0 s") && text.contains("node remove --node 2"),
        "{text}"
    );
    a.erasure.tell_round().await;
    let silent = a.erasure.silent();
    assert!(silent[0].keeps_answers && silent[0].keeps_orders && silent[0].unfinished == 1);
    between.join(B, &b);
    a.erasure.tell_round().await;
    assert!(a.erasure.silent().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_at_one_node_is_begun_at_the_others_before_their_window_is_over() {
    let (between, (first, second)) = (Between::default(), homes().await);
    let (a, b) = (between.start(first.path(), A).await, between.start(second.path(), B).await);
    b.fill().await;
    let id = a.erasure.order(TENANT, whom(), None).await.unwrap().id;
    a.erasure.tell_round().await;
    b.erasure.tend().await.unwrap();
    assert_eq!(b.erasure.stands(TENANT, &id).unwrap().progress, Progress::Shredded, "its window is not over");
    assert_eq!(a.erasure.have_purged().await.into_iter().collect::<Vec<_>>(), [(B, true)]);
    b.erasure.tend().await.unwrap();
    assert_eq!(b.erasure.stands(TENANT, &id).unwrap().progress, Progress::Gone);
    between.cut(B);
    assert_eq!(a.erasure.have_purged().await.into_iter().collect::<Vec<_>>(), [(B, false)]);
}

fn person(streams: Vec<StreamId>) -> PersonRows {
    PersonRows { tenant: TENANT, subjects: vec![7], tokens: vec![], streams }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_person_come_from_the_node_that_holds_them_and_else_the_export_says_why_not() {
    let (mut between, (first, second)) = (Between::default(), homes().await);
    let a = between.start(first.path(), A).await;
    between.read = Arc::new(|person| {
        Box::pin(async move {
            assert_eq!(
                (person.tenant, &person.subjects[..], &person.streams[..]),
                (TENANT, &[7][..], &[StreamId(3)][..])
            );
            Ok((vec![RowBytes(vec![1]), RowBytes(vec![2])], 2))
        })
    });
    let b = between.start(second.path(), B).await;
    let at = async |node| a.erasure.rows_at(node, (TENANT, &whom()), vec![StreamId(3)]).await;
    let (pieces, records) = at(B).await.unwrap();
    assert_eq!((pieces.len(), records), (2, 2));
    // What it does not know it does not give.
    let away = crate::policy::Unaware { was_away: true, ..Default::default() };
    b.awareness.set(away);
    let refused = at(B).await.err().unwrap();
    assert!(refused.code() == "DMC-ERASE-20" && refused.to_string().contains("every erasure"), "{refused}");
    b.awareness.set(Default::default());
    assert!(at(B).await.is_ok());
    between.cut(B);
    assert!(at(B).await.err().unwrap().to_string().contains("says nothing"));
    assert_eq!(
        at(domicile_proto::ids::NodeId(77)).await.err().unwrap().code(),
        "DMC-ERASE-20",
        "no node of the region"
    );

    let (_, end) = b.erasure.asked_rows(KeysMark([0; 8]), person(vec![])).await;
    assert_eq!(end, RegionReply::NotGiven(NotGiven::OtherKeys));
    let wide = PersonRows { subjects: vec![1; 2_000], ..person(vec![]) };
    assert_eq!(b.erasure.asked_rows(b.erasure.mark(), wide).await.1, RegionReply::NotGiven(NotGiven::Failed));
    let unpieced = b.erasure.asked(RegionAsk::Rows(b.erasure.mark(), person(vec![]))).await;
    assert_eq!(unpieced, RegionReply::NotGiven(NotGiven::Failed), "never in one message");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_bytes_are_given_as_may_be_and_one_more_is_refused_whole() {
    let (mut between, (first, _second)) = (Between::default(), homes().await);
    between.read = Arc::new(|person| {
        // Pages of zeros, which the machine does not have to hold.
        let more = usize::try_from(person.subjects[0]).unwrap();
        Box::pin(async move { Ok((vec![RowBytes(vec![0; EXPORT_BYTES]), RowBytes(vec![0; more])], 1)) })
    });
    let a = between.start(first.path(), A).await;
    let of = |more| PersonRows { subjects: vec![more], ..person(vec![]) };
    assert_eq!(a.erasure.asked_rows(a.erasure.mark(), of(0)).await.1, RegionReply::RowsEnd(1));
    let (pieces, end) = a.erasure.asked_rows(a.erasure.mark(), of(1)).await;
    assert_eq!((pieces.len(), end), (0, RegionReply::NotGiven(NotGiven::TooMany)));
}

#[tokio::test]
async fn a_node_that_never_answers_holds_up_no_status_and_no_export_longer_than_it_may() {
    let dir = begin();
    let never = Neighbours::over(|_, _| Box::pin(std::future::pending()));
    let never = never.gathering(|_, _| Box::pin(std::future::pending()));
    let node = Node::start_with(dir.path(), Sight { neighbours: never, ..Sight::default() }).await;
    let id = node.erasure.order(TENANT, whom(), None).await.unwrap().id;
    let mut policy = Policy::clone(&node.policy.now());
    let (addr, region) = ("127.0.0.1:7443".parse().unwrap(), policy.region.clone());
    policy.nodes.insert(B, NodeRow { node: B, region, addr, signature: None });
    node.policy.replace(policy);

    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let stands = node.erasure.stands_in_region(TENANT, &id).await.unwrap();
    assert!(began.elapsed() >= ERASE_TOLD_WAIT && began.elapsed() < 2 * ERASE_TOLD_WAIT);
    assert_eq!((stands.everywhere, stands.nodes[1].silent_for), (Progress::Ordered, Some(0)));
    let began = tokio::time::Instant::now();
    let refused = node.erasure.rows_at(B, (TENANT, &whom()), vec![StreamId(3)]).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-ERASE-20");
    assert!(began.elapsed() >= EXPORT_TELL_DEADLINE && began.elapsed() < 2 * EXPORT_TELL_DEADLINE);
    let silent = node.erasure.silent();
    assert!(silent[0].node == B && silent[0].seconds >= EXPORT_TELL_DEADLINE.as_secs(), "{silent:?}");
}
