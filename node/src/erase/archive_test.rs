//! Segments in the archive with a moved clock: when they go there, what a question is told, how copies come back and go, what ends
//! them; and who was erased before, meanwhile and after, killed at every step.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, StreamId, TimeRange, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::workflow_test::{Node, TENANT, TOKEN, begin, stream};
use super::{Progress, Whom};
use crate::audit::Event;
use crate::errors::Coded;
use crate::limits::RETENTION_LOOK;
use crate::policy::Policy;
use crate::segment::specimen::record;
use crate::segment::{Segment, Unsearched};
use crate::store::Faults;
use crate::tier::{Action, DAY, Mover, MoverParts, Place, Rule, Tier, Why};

const SHARD: ShardId = ShardId(1);

fn tier(node: &Node, dir: &Path) -> Tier {
    Tier::new(node.store.clone(), dir.join("cache"), node.tasks.clone())
}

/// A mover whose rule is that of a region: archived after a year, for 180 days.
fn mover(node: &Node, tier: Tier) -> Arc<Mover> {
    let rule = Rule {
        tenant: TENANT,
        stream: StreamId(1),
        name: "app".parse().unwrap(),
        shard: SHARD,
        warm_after: 7,
        cold_after: 30,
        archive_after: 365,
        archive_for: Some(180),
        delete_after: 900,
    };
    let erasure = Arc::clone(&node.erasure);
    Arc::new(Mover::new(MoverParts {
        tier,
        shards: node.shards.clone(),
        clock: node.clock.clone(),
        rules: Arc::new(move || vec![rule.clone()]),
        holds: Arc::new(move || erasure.stream_holds()),
        room: None,
        pace: u64::MAX,
    }))
}

fn whom() -> Whom {
    Whom { subjects: vec![7], tokens: vec![TOKEN.into()], only: None }
}

fn at(days: i64) -> Timestamp {
    Timestamp(2_000_000 + days * DAY)
}

fn turn(node: &Node, days: i64) {
    node.clock.turn_to(at(days));
    node.vault.tend().unwrap();
}

fn lying(node: &Node) -> Vec<Arc<Segment>> {
    node.shards.catalog().view(SHARD).to_vec()
}

fn unsearched(node: &Node) -> Option<Unsearched> {
    let catalog = node.shards.catalog();
    catalog.unsearched(SHARD, TimeRange::ALL, &catalog.view(SHARD))
}

async fn objects(node: &Node, prefix: &str) -> BTreeSet<String> {
    node.store.list(prefix).await.unwrap().into_iter().map(|(object, _)| object).collect()
}

/// Objects of what is searched where it lies in the bucket.
async fn cold(node: &Node) -> BTreeSet<String> {
    objects(node, "segments").await.into_iter().chain(objects(node, "restored").await).collect()
}

/// Twelve records in one durable segment of day 0.
async fn filled(dir: &Path) -> Node {
    let node = Node::start(dir).await;
    node.fill().await;
    node.shards.purge().await.unwrap();
    assert_eq!((node.seen(), lying(&node).len()), (12, 1));
    node
}

/// The same in the archive.
async fn archived(dir: &Path) -> (Node, Arc<Mover>) {
    let node = filled(dir).await;
    turn(&node, 365);
    let moving = mover(&node, tier(&node, dir));
    assert_eq!((moving.carry_out().await, moving.carry_out().await), (1, 1), "to the bucket, then to the archive");
    assert_eq!((node.seen(), unsearched(&node).map(|missing| missing.records)), (0, Some(12)));
    (node, moving)
}

async fn again(node: Node, dir: &Path, days: i64) -> (Node, Arc<Mover>) {
    node.kill().await;
    let node = Node::start(dir).await;
    node.shards.refresh(None).await;
    turn(&node, days);
    let moving = mover(&node, tier(&node, dir));
    (node, moving)
}

async fn ask_back(moving: &Mover, days: i64) -> u64 {
    moving.ask_back(&[SHARD], TimeRange::ALL, at(days)).await.unwrap().segments
}

fn is_gone(node: &Node) -> bool {
    node.erasure.all(TENANT).iter().all(|one| one.progress == Progress::Gone)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_segment_is_archived_on_its_day_and_a_question_is_told_what_it_lacks() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let moving = mover(&node, tier(&node, dir.path()));
    turn(&node, 364);
    assert_eq!((moving.carry_out().await, moving.carry_out().await, node.seen()), (1, 0, 12), "a day early");
    let [lay] = lying(&node).try_into().ok().unwrap();
    let (docs, bytes) = (u64::from(lay.docs), lay.copied.clone().unwrap().bytes);
    turn(&node, 365);
    assert_eq!(moving.planned()[0].why, Why::Age { days: 365, after: 365 });
    assert_eq!((moving.planned()[0].action, moving.carry_out().await), (Action::Archive, 1));
    let (oldest, newest) = (lay.oldest, lay.newest);
    let told = Unsearched { segments: 1, records: docs, bytes, oldest, newest };
    assert_eq!((node.seen(), unsearched(&node)), (0, Some(told)));
    assert!(cold(&node).await.is_empty() && !objects(&node, "archive").await.is_empty());
    // Another day needs nothing of it; the same day does, at any hour.
    let range = |from, to| TimeRange { from: Timestamp(from), to: Timestamp(to) };
    let catalog = node.shards.catalog();
    assert!(catalog.unsearched(SHARD, range(DAY, 2 * DAY), &[]).is_none());
    assert!(catalog.unsearched(SHARD, range(DAY - 1, DAY), &[]).is_some());
    assert!(node.entries().into_iter().any(|entry| matches!(entry.event,
        Event::SegmentMoved { segment, to, .. } if &*to == "archive" && *segment == *lay.id.to_string())));
    assert!(!node.entries().into_iter().any(|entry| matches!(entry.event, Event::SegmentDeleted { .. })));
    assert_eq!(moving.lying()[0].place, Place::Archived);
    drop((lay, moving));
    let (node, moving) = again(node, dir.path(), 365).await;
    assert_eq!((node.seen(), unsearched(&node), moving.carry_out().await), (0, Some(told), 0), "after a restart");
    // New records lie beside it and are searched.
    node.append(vec![record(99, Some(1), json!({"message": "young"}))]).await;
    node.shards.purge().await.unwrap();
    assert_eq!((node.seen(), unsearched(&node)), (1, Some(told)));
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ahead_for_less_than_an_hour_puts_nothing_away_and_one_that_stays_does() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 364);
    let (moving, begun) = (mover(&node, tier(&node, dir.path())), Instant::now());
    let look = async |minutes: u32| moving.carry_out_seen(Some(begun + minutes * RETENTION_LOOK / 60)).await;
    assert_eq!(look(0).await, 1, "to the bucket, where it is searched as before, it goes at once");
    turn(&node, 365);
    assert_eq!((look(1).await, look(59).await, node.seen()), (0, 0, 12));
    turn(&node, 364);
    assert_eq!(look(60).await, 0, "the clock is right again");
    turn(&node, 365);
    assert_eq!((look(61).await, look(120).await, node.seen()), (0, 0, 12), "it was not due in between");
    assert_eq!((look(121).await, node.seen()), (1, 0));
    // The same with a copy, but it comes back as soon as it is asked for.
    ask_back(&moving, 372).await;
    assert_eq!((look(122).await, node.seen()), (1, 12));
    turn(&node, 373);
    assert_eq!(look(123).await, 0);
    turn(&node, 371);
    assert_eq!(look(182).await, 0);
    turn(&node, 373);
    assert_eq!((look(184).await, look(243).await, node.seen()), (0, 0, 12));
    assert_eq!((look(244).await, node.seen()), (1, 0));
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_comes_back_is_searched_until_its_time_is_over_and_goes_while_the_archive_stays() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    let archive = objects(&node, "archive").await;
    let range = TimeRange { from: Timestamp(DAY), to: Timestamp(2 * DAY) };
    assert_eq!(moving.ask_back(&[SHARD], range, at(372)).await.unwrap().segments, 0, "nothing lies in that range");
    assert_eq!((ask_back(&moving, 372).await, moving.backs()[0].is_restored), (1, false));
    assert_eq!(moving.planned()[0].why, Why::Wanted { until: at(372) });
    // What was asked for is on record, and goes on after a crash.
    drop(moving);
    let (node, moving) = again(node, dir.path(), 366).await;
    assert_eq!(moving.carry_out().await, 1);
    assert_eq!((node.seen(), unsearched(&node)), (12, None));
    let back = &moving.backs()[0];
    assert_eq!((back.is_restored, back.fetched, back.until), (true, back.archived.bytes(), at(372)));
    assert_eq!(
        (moving.carry_out().await, ask_back(&moving, 370).await, moving.backs()[0].until),
        (0, 1, at(372)),
        "no less"
    );
    drop(moving);
    let (node, moving) = again(node, dir.path(), 371).await;
    assert_eq!((node.seen(), unsearched(&node), moving.carry_out().await), (12, None, 0), "after a restart");
    turn(&node, 372);
    assert_eq!((moving.planned()[0].action, moving.planned()[0].why.clone()), (Action::LetGo, Why::Expired));
    assert_eq!(moving.carry_out().await, 1);
    assert_eq!((node.seen(), unsearched(&node).map(|missing| missing.records)), (0, Some(12)));
    assert_eq!((cold(&node).await, objects(&node, "archive").await), (BTreeSet::new(), archive));
    assert!(moving.backs().is_empty() && moving.planned().is_empty());
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_that_a_copy_comes_back_before_the_manifest_says_so() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    node.shards.end_move_at(Some("archive shown"));
    assert!(moving.ask_back(&[SHARD], TimeRange::ALL, at(372)).await.is_err());
    node.shards.end_move_at(None);
    assert_eq!(ask_back(&moving, 370).await, 1);
    drop(moving);
    let (node, moving) = again(node, dir.path(), 366).await;
    assert_eq!(moving.backs().iter().map(|back| back.until).collect::<Vec<_>>(), [at(372)]);
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_where_a_segment_was_cold_is_not_made_anew_by_an_erasure() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 365);
    let moving = mover(&node, tier(&node, dir.path()));
    moving.carry_out().await;
    node.shards.end_move_at(Some("archive published"));
    assert_eq!((moving.carry_out().await, node.seen()), (0, 0));
    drop(moving);
    assert!(!cold(&node).await.is_empty(), "its files are left in between");
    // The start sweeps them away, before the order comes or after it.
    let (node, moving) = again(node, dir.path(), 366).await;
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    node.erasure.purge().await.unwrap();
    assert!(is_gone(&node));
    assert_eq!(cold(&node).await, BTreeSet::new(), "nor under another name");
    assert_eq!(unsearched(&node).map(|missing| missing.records), Some(10));
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_validity_what_is_archived_goes_with_evidence_and_a_hold_keeps_it() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.streams.insert((TENANT, "app".parse().unwrap()), Arc::new(stream(None)));
    node.policy.replace(policy);
    ask_back(&moving, 600).await;
    moving.carry_out().await;
    // Archived at day 365, for 180 days, until the midnight after.
    turn(&node, 365 + 180);
    node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!(node.seen(), 12, "not before that midnight");
    turn(&node, 365 + 181);
    let everything = Whom { only: Some(vec![(StreamId(1), Some(SHARD))]), ..Whom::default() };
    let hold = node.erasure.hold(TENANT, everything).await.unwrap();
    assert_eq!(moving.planned()[0].why, Why::Held(hold.id.clone()));
    node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!(node.seen(), 12, "held");
    node.erasure.release(TENANT, &hold.id).await.unwrap();
    // A person who may be in it holds it as well: nobody looks into the archive for it.
    let person = node.erasure.hold(TENANT, Whom { subjects: vec![7], ..Whom::default() }).await.unwrap();
    node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!(node.seen(), 12, "held for a person");
    node.erasure.release(TENANT, &person.id).await.unwrap();
    assert_eq!(moving.planned()[0].why, Why::Validity { days: 181, after: 180 });
    let [id] = node.erasure.drop_due(Some(TENANT)).await.unwrap().try_into().unwrap();
    assert_eq!((node.seen(), unsearched(&node)), (0, None), "the copy that was still wanted goes with it");
    assert!(objects(&node, "archive").await.is_empty() && cold(&node).await.is_empty());
    let deletion = node.erasure.deletions(TENANT).into_iter().find(|one| one["id"] == *id).unwrap();
    let said: Value = serde_json::from_str(deletion["evidence"]["receipt"].as_str().unwrap()).unwrap();
    assert_eq!((said["records"].clone(), said["segments"][0]["archive_days"].clone()), (json!(12), json!(180)));
    drop(moving);
    let (node, _) = again(node, dir.path(), 600).await;
    assert_eq!((node.seen(), unsearched(&node)), (0, None), "for good");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_keeps_a_segment_out_of_the_archive_where_it_can_be_searched() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let everything = Whom { only: Some(vec![(StreamId(1), Some(SHARD))]), ..Whom::default() };
    let hold = node.erasure.hold(TENANT, everything).await.unwrap();
    turn(&node, 400);
    let moving = mover(&node, tier(&node, dir.path()));
    assert_eq!((moving.carry_out().await, moving.carry_out().await, node.seen()), (1, 0, 12));
    assert_eq!((moving.planned()[0].action, moving.planned()[0].why.clone()), (Action::Archive, Why::Held(hold.id)));
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_erased_while_archived_is_gone_from_the_archive_and_never_comes_back_with_a_copy() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    let before = objects(&node, "archive").await;
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    assert!(!is_gone(&node), "not told gone while the archive holds it");
    // A copy from before the archive was made anew: nothing of them is shown.
    ask_back(&moving, 372).await;
    assert_eq!((moving.carry_out().await, node.seen(), lying(&node)[0].docs), (1, 10, 12), "hidden");
    node.erasure.purge().await.unwrap();
    assert!(is_gone(&node));
    let after = objects(&node, "archive").await;
    assert!(!after.is_empty() && after.is_disjoint(&before), "every old object is gone");
    assert_eq!(node.shards.catalog().archive(SHARD)[0].row.docs, 10);
    assert_eq!((node.seen(), cold(&node).await.len()), (0, 0), "and so is the copy of it");
    assert_eq!(unsearched(&node).map(|missing| missing.records), Some(10), "which is told until there is another one");
    assert_eq!((moving.carry_out().await, node.seen(), lying(&node)[0].docs), (1, 10, 10), "it is still wanted");
    let receipt = node.erasure.all(TENANT)[0].receipt.clone().unwrap();
    let said: Value = serde_json::from_str(receipt["receipt"].as_str().unwrap()).unwrap();
    assert!(said.to_string().contains(&node.shards.catalog().archive(SHARD)[0].id().unwrap().to_string()), "{said}");
    drop(moving);
    let (node, moving) = again(node, dir.path(), 366).await;
    assert_eq!((node.seen(), lying(&node)[0].docs), (10, 10));
    turn(&node, 373);
    moving.carry_out().await;
    ask_back(&moving, 380).await;
    assert_eq!((moving.carry_out().await, node.seen(), lying(&node)[0].docs), (1, 10, 10), "and once more");
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_of_an_erasure_in_the_archive_nobody_erased_is_shown_and_the_next_try_ends_it() {
    for step in ["archived anew", "archive shown", "archive published"] {
        let dir = begin();
        let (node, moving) = archived(dir.path()).await;
        let before = objects(&node, "archive").await;
        ask_back(&moving, 380).await;
        drop(moving);
        node.erasure.order(TENANT, whom(), None).await.unwrap();
        node.end_archiving_at(Some(step));
        node.shards.end_move_at(Some(step));
        assert!(node.erasure.purge().await.is_err(), "{step}");
        assert!(!is_gone(&node), "{step}: never told before its time");
        node.end_archiving_at(None);
        let (node, moving) = again(node, dir.path(), 366).await;
        moving.carry_out().await;
        assert_eq!(node.seen(), 10, "{step}: hidden, whichever copy came back");
        node.erasure.tend().await.unwrap();
        node.erasure.purge().await.unwrap();
        assert!(is_gone(&node), "{step}");
        moving.carry_out().await;
        assert_eq!((node.seen(), lying(&node)[0].docs), (10, 10), "{step}");
        let named = node.shards.catalog().archive(SHARD)[0].row.copied.clone().unwrap().object;
        let after = objects(&node, "archive").await;
        assert!(
            after.is_disjoint(&before) && after.iter().all(|object| object.starts_with(&named)),
            "{step}: {after:?}"
        );
        drop(moving);
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_of_archiving_or_restoring_nothing_is_lost_or_doubled_and_the_next_round_ends_it() {
    for step in ["archived", "archive listed", "archive shown", "archive published"] {
        let dir = begin();
        let node = filled(dir.path()).await;
        turn(&node, 365);
        let tier_of = tier(&node, dir.path());
        let moving = mover(&node, tier_of.clone());
        moving.carry_out().await;
        *tier_of.ends_at.lock() = Some(step);
        node.shards.end_move_at(Some(step));
        assert_eq!((moving.carry_out().await, moving.state().trouble.is_some()), (0, true), "{step}");
        let missing = unsearched(&node).map_or(0, |missing| missing.records);
        assert_eq!(node.seen() + missing, 12, "{step}: no silent gap while it lives on");
        drop(moving);
        let (node, moving) = again(node, dir.path(), 365).await;
        let missing = unsearched(&node).map_or(0, |missing| missing.records);
        assert_eq!(node.seen() + missing, 12, "{step}");
        moving.carry_out().await;
        assert_eq!((node.seen(), unsearched(&node).map(|one| one.records)), (0, Some(12)), "{step}");
        node.shards.purge().await.unwrap();
        assert_eq!(cold(&node).await, BTreeSet::new(), "{step}");
        drop(moving);
        node.kill().await;
    }
    for step in ["brought back", "archive shown", "archive published"] {
        let dir = begin();
        let (node, moving) = archived(dir.path()).await;
        ask_back(&moving, 372).await;
        drop(moving);
        let tier_of = tier(&node, dir.path());
        *tier_of.ends_at.lock() = Some(step);
        node.shards.end_move_at(Some(step));
        let moving = mover(&node, tier_of);
        assert_eq!(moving.carry_out().await, 0, "{step}");
        drop(moving);
        let (node, moving) = again(node, dir.path(), 366).await;
        moving.carry_out().await;
        assert_eq!((node.seen(), unsearched(&node)), (12, None), "{step}");
        turn(&node, 372);
        assert_eq!((moving.carry_out().await, node.seen()), (1, 0), "{step}");
        assert_eq!(cold(&node).await, BTreeSet::new(), "{step}");
        drop(moving);
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_to_the_bucket_fails_archive_and_restore_lose_nothing() {
    for is_done in [false, true] {
        for after in 0.. {
            let dir = begin();
            let node = filled(dir.path()).await;
            turn(&node, 365);
            let moving = mover(&node, tier(&node, dir.path()));
            moving.carry_out().await;
            node.store.fail(Faults { after, count: 1, is_done, ..Faults::default() });
            moving.carry_out().await;
            moving.ask_back(&[SHARD], TimeRange::ALL, at(372)).await.ok();
            moving.carry_out().await;
            let left = node.store.fail(Faults::default());
            let missing = unsearched(&node).map_or(0, |missing| missing.records);
            assert_eq!(node.seen() + missing, 12, "{after} {is_done}");
            moving.carry_out().await;
            ask_back(&moving, 372).await;
            moving.carry_out().await;
            assert_eq!((node.seen(), unsearched(&node)), (12, None), "{after} {is_done}");
            drop(moving);
            let (node, moving) = again(node, dir.path(), 366).await;
            assert_eq!((node.seen(), unsearched(&node)), (12, None), "{after} {is_done}");
            drop(moving);
            node.kill().await;
            if left == 1 {
                assert!(after > 6, "the fault was reached");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_that_somebody_puts_back_into_the_archive_is_never_shown_and_goes_with_the_next_purge() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    let mut old = Vec::new();
    for object in objects(&node, "archive").await {
        old.push((object.clone(), node.store.read(&object).await.unwrap()));
    }
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    node.erasure.purge().await.unwrap();
    let named = node.shards.catalog().archive(SHARD)[0].row.copied.clone().unwrap().object;
    for (object, content) in &old {
        node.store.create(object, content.clone()).await.unwrap();
    }
    ask_back(&moving, 372).await;
    assert_eq!(
        (moving.carry_out().await, node.seen(), lying(&node)[0].docs),
        (1, 10, 10),
        "the manifest names another"
    );
    turn(&node, 373);
    moving.carry_out().await;
    // In the place of what the manifest names, it is not what was archived.
    for (object, content) in &old {
        let name = format!("{named}/{}", object.rsplit_once('/').unwrap().1);
        node.store.delete(&name).await.unwrap();
        node.store.create(&name, content.clone()).await.unwrap();
    }
    ask_back(&moving, 380).await;
    assert_eq!((moving.carry_out().await, node.seen()), (0, 0));
    assert_eq!(moving.state().trouble.map(|(code, _)| code), Some("DMC-TIER-03"));
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_person_is_held_nobody_is_erased_whose_records_cannot_be_told_from_theirs_in_the_archive() {
    let dir = begin();
    let (node, moving) = archived(dir.path()).await;
    let hold = node.erasure.hold(TENANT, Whom { subjects: vec![100], ..Whom::default() }).await.unwrap().id;
    let refused = node.erasure.order(TENANT, whom(), None).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-ERASE-22");
    assert!(refused.to_string().contains(&*hold), "{refused}");
    assert_eq!(node.kinds().last(), Some(&"refused"));
    // Once copies are back they are looked through.
    ask_back(&moving, 372).await;
    assert_eq!((moving.carry_out().await, node.seen()), (1, 12));
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    assert_eq!(node.seen(), 10);
    drop(moving);
    node.kill().await;
}
