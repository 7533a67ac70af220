//! Segments that move while the region lives: killed at every step, erased before, meanwhile and after, held, and past their time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, StreamId, Timestamp};
use serde_json::json;

use super::workflow_test::{Node, TENANT, TOKEN, begin, stream};
use super::{Progress, Whom};
use crate::audit::Event;
use crate::errors::Coded;
use crate::policy::Policy;
use crate::segment::Segment;
use crate::segment::manifest::Manifest;
use crate::segment::specimen::record;
use crate::store::Faults;
use crate::tier::{Action, DAY, Mover, MoverParts, Place, Room, Rule, Tier, Why};

const SHARD: ShardId = ShardId(1);

fn tier(node: &Node, dir: &Path) -> Tier {
    Tier::new(node.store.clone(), dir.join("cache"), node.tasks.clone())
}

fn mover(node: &Node, tier: Tier, room: Option<Room>) -> Mover {
    let rule = Rule {
        tenant: TENANT,
        stream: StreamId(1),
        name: "app".parse().unwrap(),
        shard: SHARD,
        warm_after: 7,
        cold_after: 30,
        archive_after: 365,
        archive_for: Some(180),
        delete_after: 545,
    };
    let erasure = Arc::clone(&node.erasure);
    Mover::new(MoverParts {
        tier,
        shards: node.shards.clone(),
        clock: node.clock.clone(),
        rules: Arc::new(move || vec![rule.clone()]),
        holds: Arc::new(move || erasure.stream_holds()),
        room,
        pace: u64::MAX,
    })
}

fn whom() -> Whom {
    Whom { subjects: vec![7], tokens: vec![TOKEN.into()], only: None }
}

fn turn(node: &Node, days: i64) {
    node.clock.turn_to(Timestamp(2_000_000 + days * DAY));
    // A clock that was turned makes the key store look silent.
    node.vault.tend().unwrap();
}

fn lying(node: &Node) -> Vec<Arc<Segment>> {
    node.shards.catalog().view(SHARD).to_vec()
}

/// Directories of segments on the disk.
fn on_disk(dir: &Path) -> BTreeSet<String> {
    let shard = dir.join("segments").join(format!("{:016x}", SHARD.0));
    let entries = std::fs::read_dir(shard).map(|entries| entries.map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
    entries.unwrap_or_default().into_iter().map(|name| name.into_string().unwrap()).collect()
}

async fn objects(node: &Node) -> usize {
    node.store.list("segments").await.unwrap().len()
}

/// Twelve records in one durable segment.
async fn filled(dir: &Path) -> Node {
    let node = Node::start(dir).await;
    node.fill().await;
    node.shards.purge().await.unwrap();
    assert_eq!((node.seen(), lying(&node).len()), (12, 1));
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_becomes_cold_on_its_day_and_is_searched_there_also_after_a_restart() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let moving = mover(&node, tier(&node, dir.path()), None);
    turn(&node, 29);
    assert_eq!((moving.carry_out().await, objects(&node).await), (0, 0), "a day early");
    turn(&node, 30);
    assert_eq!(moving.planned()[0].why, Why::Age { days: 30, after: 30 });
    assert_eq!(moving.carry_out().await, 1);
    let [cold] = lying(&node).try_into().ok().unwrap();
    let copied = cold.copied.clone().unwrap();
    assert!(on_disk(dir.path()).is_empty() && cold.dir.is_none() && copied.bytes >= cold.bytes);
    assert_eq!((node.seen(), moving.carry_out().await), (12, 0), "once");
    assert_eq!(moving.lying()[0].place, Place::Cold);
    assert_eq!(moving.verify(Arc::clone(&cold)).await.unwrap(), copied.bytes);
    let told = node.entries().into_iter().any(|entry| {
        matches!(entry.event, Event::SegmentMoved { segment, sha256, .. }
            if *segment == *cold.id.to_string() && Some(sha256) == copied.digest())
    });
    assert!(told, "the ledger has it");
    drop((cold, moving));
    node.kill().await;

    let node = Node::start(dir.path()).await;
    node.shards.refresh(None).await;
    assert_eq!((node.seen(), lying(&node)[0].copied.clone()), (12, Some(copied)));
    // New records lie beside it on the disk, and are never merged with it.
    node.append(vec![record(99, Some(1), json!({"message": "young"}))]).await;
    node.shards.purge().await.unwrap();
    assert_eq!((node.seen(), lying(&node).len(), on_disk(dir.path()).len()), (13, 2, 1));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_of_a_move_nothing_is_lost_and_the_next_one_ends_it() {
    for step in ["copied", "verified", "shown", "published"] {
        let dir = begin();
        let node = filled(dir.path()).await;
        turn(&node, 30);
        let tier_of = tier(&node, dir.path());
        *tier_of.ends_at.lock() = Some(step);
        node.shards.end_move_at(Some(step));
        let moving = mover(&node, tier_of, None);
        assert_eq!(moving.carry_out().await, 0, "{step}");
        assert!(moving.state().trouble.is_some(), "{step}");
        assert_eq!(node.seen(), 12, "{step}: also while the node lives on");
        drop(moving);
        let store = node.store.clone();
        node.kill().await;
        let [manifest] = Manifest::read_all(&store).await.unwrap().try_into().unwrap();
        let is_away = manifest.body.segments[0].copied.is_some();
        // What is shown may be published by whoever publishes next, before the node dies.
        assert!(step == "shown" || is_away == (step == "published"), "{step}");

        let node = Node::start(dir.path()).await;
        node.shards.refresh(None).await;
        turn(&node, 30);
        let [found] = lying(&node).try_into().ok().unwrap();
        assert!(found.dir.is_some() != found.copied.is_some(), "{step}: hot or cold");
        assert_eq!(found.copied.is_some(), is_away, "{step}: as the manifest says");
        assert_eq!((node.seen(), found.holding_all()), (12, 12), "{step}");
        let is_hot = found.dir.is_some();
        drop(found);
        let moving = mover(&node, tier(&node, dir.path()), None);
        assert_eq!(moving.carry_out().await, u64::from(is_hot), "{step}");
        let [cold] = lying(&node).try_into().ok().unwrap();
        moving.verify(Arc::clone(&cold)).await.unwrap();
        assert_eq!((node.seen(), on_disk(dir.path()).len(), cold.holding_all()), (12, 0, 12), "{step}");
        drop((cold, moving));
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_to_the_bucket_fails_a_move_loses_nothing_and_ends_when_the_bucket_is_back() {
    for is_done in [false, true] {
        for after in 0.. {
            let dir = begin();
            let node = filled(dir.path()).await;
            turn(&node, 30);
            let moving = mover(&node, tier(&node, dir.path()), None);
            node.store.fail(Faults { after, count: 1, is_done, ..Faults::default() });
            moving.carry_out().await;
            let left = node.store.fail(Faults::default());
            assert_eq!(node.seen(), 12, "{after} {is_done}");
            moving.carry_out().await;
            let [cold] = lying(&node).try_into().ok().unwrap();
            assert!(cold.copied.is_some(), "{after} {is_done}");
            moving.verify(cold).await.unwrap();
            drop(moving);
            node.kill().await;
            let node = Node::start(dir.path()).await;
            node.shards.refresh(None).await;
            let [cold] = lying(&node).try_into().ok().unwrap();
            assert_eq!((node.seen(), cold.holding_all()), (12, 12), "{after} {is_done}");
            drop(cold);
            node.kill().await;
            if left == 1 {
                assert!(after > 3, "the fault was reached");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_move_the_same_segment_at_once_move_it_once_and_its_copy_stays() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 30);
    let moving = mover(&node, tier(&node, dir.path()), None);
    let (one, other) = futures::future::join(moving.carry_out(), moving.carry_out()).await;
    assert_eq!(one + other, 1);
    let [cold] = lying(&node).try_into().ok().unwrap();
    moving.verify(cold).await.unwrap();
    drop(moving);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_comes_between_copy_and_switch_goes_first_and_nothing_erased_stays_in_the_bucket() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 30);
    let tier_of = tier(&node, dir.path());
    *tier_of.ends_at.lock() = Some("verified");
    let ends_at = Arc::clone(&tier_of.ends_at);
    let moving = mover(&node, tier_of, None);
    moving.carry_out().await;
    assert!(objects(&node).await > 0, "a copy from before the erasure");
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    *ends_at.lock() = None;
    assert_eq!(moving.planned()[0].why, Why::Erasing);
    assert_eq!((moving.carry_out().await, node.seen()), (0, 10));
    node.erasure.purge().await.unwrap();
    assert!(node.erasure.all(TENANT).iter().all(|one| one.progress == Progress::Gone));
    assert_eq!(moving.carry_out().await, 1);
    let [cold] = lying(&node).try_into().ok().unwrap();
    assert_eq!((cold.docs, cold.holding_all(), node.seen()), (10, 10, 10));
    for copy in tier(&node, dir.path()).copies(|_| true).await.unwrap() {
        assert_eq!(copy.row.docs, 10, "no copy holds more");
    }
    drop((cold, moving));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_reaches_a_cold_segment_and_its_objects_go() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 30);
    let moving = mover(&node, tier(&node, dir.path()), None);
    moving.carry_out().await;
    let before: Vec<_> = node.store.list("segments").await.unwrap().into_iter().map(|(name, _)| name).collect();
    node.erasure.order(TENANT, whom(), None).await.unwrap();
    assert_eq!((node.seen(), node.is_revealed()), (10, false), "hidden where it lies");
    node.erasure.purge().await.unwrap();
    let [anew] = lying(&node).try_into().ok().unwrap();
    assert_eq!((anew.docs, anew.copied.is_none(), node.seen()), (10, true, 10), "made anew on the disk");
    for (object, _) in node.store.list("segments").await.unwrap() {
        assert!(!before.contains(&object), "{object} is still there");
    }
    drop(anew);
    assert_eq!((moving.carry_out().await, node.seen()), (1, 10));
    drop(moving);
    node.kill().await;
    let node = Node::start(dir.path()).await;
    node.shards.refresh(None).await;
    assert_eq!((node.seen(), lying(&node)[0].holding_all()), (10, 10));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_segment_that_cannot_be_looked_through_is_not_shown_until_it_was() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 30);
    let moving = mover(&node, tier(&node, dir.path()), None);
    moving.carry_out().await;
    drop(moving);
    node.kill().await;
    let node = Node::start(dir.path()).await;
    node.shards.refresh(None).await;
    turn(&node, 30);
    let part = {
        let object = lying(&node)[0].copied.clone().unwrap().object;
        dir.path().join("bucket").join(object).join("000000")
    };
    let aside = dir.path().join("aside");
    std::fs::rename(&part, &aside).unwrap();
    let stood = node.erasure.order(TENANT, whom(), None).await;
    assert!(stood.is_ok_and(|stands| stands.progress == Progress::Ordered && stands.problem.is_some()));
    assert!(!node.shards.catalog().is_whole(SHARD), "no question is answered from it");
    assert!(!node.is_revealed(), "the keys lie here, and wait for no bucket");
    std::fs::rename(&aside, &part).unwrap();
    node.erasure.tend().await.unwrap();
    assert!(node.shards.catalog().is_whole(SHARD));
    assert_eq!(node.seen(), 10);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_its_retention_a_cold_segment_goes_with_its_objects_unless_it_is_held() {
    let dir = begin();
    let node = filled(dir.path()).await;
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.streams.insert((TENANT, "app".parse().unwrap()), Arc::new(stream(Some(100))));
    node.policy.replace(policy);
    turn(&node, 30);
    let moving = mover(&node, tier(&node, dir.path()), None);
    assert_eq!(moving.carry_out().await, 1);
    let everything = Whom { only: Some(vec![(StreamId(1), Some(SHARD))]), ..Whom::default() };
    let hold = node.erasure.hold(TENANT, everything).await.unwrap();
    turn(&node, 600);
    let [planned] = moving.planned().try_into().ok().unwrap();
    assert_eq!((planned.action, planned.why), (Action::Delete, Why::Held(hold.id.clone())));
    node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!(node.seen(), 12, "held");
    node.erasure.release(TENANT, &hold.id).await.unwrap();
    node.erasure.drop_due(Some(TENANT)).await.unwrap();
    assert_eq!((node.seen(), objects(&node).await), (0, 0));
    drop(moving);
    node.kill().await;
    let node = Node::start(dir.path()).await;
    node.shards.refresh(None).await;
    assert_eq!(node.seen(), 0, "for good");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_mark_of_the_disk_the_oldest_segments_go_to_the_bucket_and_no_more_than_that() {
    let dir = begin();
    let node = filled(dir.path()).await;
    for n in 0..3 {
        turn(&node, n);
        node.append(vec![record(100 + n, Some(1), json!({"message": format!("later {n}")}))]).await;
        node.shards.purge().await.unwrap();
    }
    let all: Vec<u64> = moving_bytes(&node);
    assert!(all.len() >= 3, "{all:?}");
    let total: u64 = all.iter().sum();
    let room = Room { mark: total - 1, down_to: total - 1 };
    let moving = mover(&node, tier(&node, dir.path()), Some(room));
    assert_eq!(moving.carry_out().await, 1, "one is enough");
    let view = lying(&node);
    let oldest = view.iter().map(|one| one.received_until).min();
    assert!(view.iter().all(|one| one.copied.is_some() == (Some(one.received_until) == oldest)), "the oldest");
    assert_eq!((moving.carry_out().await, node.seen()), (0, 15));
    drop((view, moving));
    node.kill().await;
}

fn moving_bytes(node: &Node) -> Vec<u64> {
    lying(node).iter().filter(|one| !one.is_young()).map(|one| one.bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_of_one_day_become_one_when_they_are_warm() {
    let dir = begin();
    let node = filled(dir.path()).await;
    for n in 0..3 {
        node.append(vec![record(100 + n, Some(1), json!({"message": format!("later {n}")}))]).await;
        node.shards.purge().await.unwrap();
    }
    let before = lying(&node).len();
    assert!(before > 1);
    let moving = mover(&node, tier(&node, dir.path()), None);
    turn(&node, 6);
    assert_eq!(moving.carry_out().await, 0);
    turn(&node, 7);
    assert!(moving.planned().iter().all(|one| one.action == Action::Warm));
    moving.carry_out().await;
    assert_eq!((lying(&node).len(), node.seen(), on_disk(dir.path()).len()), (1, 15, 1));
    assert!(moving.planned().is_empty() && moving.lying()[0].place == Place::Warm);
    drop(moving);
    node.kill().await;
    let node = Node::start(dir.path()).await;
    node.shards.refresh(None).await;
    assert_eq!((lying(&node).len(), node.seen()), (1, 15));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_or_file_is_named_by_the_check() {
    let dir = begin();
    let node = filled(dir.path()).await;
    turn(&node, 30);
    let moving = mover(&node, tier(&node, dir.path()), None);
    let [hot] = lying(&node).try_into().ok().unwrap();
    let bytes = moving.verify(Arc::clone(&hot)).await.unwrap();
    assert_eq!(bytes, hot.bytes);
    let mut store = std::fs::read_dir(hot.dir.clone().unwrap()).unwrap().map(|e| e.unwrap().path());
    let store = store.find(|path| path.extension().is_some_and(|ext| ext == "store")).unwrap();
    let whole = std::fs::read(&store).unwrap();
    let mut altered = whole.clone();
    altered[0] ^= 1;
    std::fs::write(&store, &altered).unwrap();
    assert_eq!(moving.verify(Arc::clone(&hot)).await.err().map(|error| error.code()), Some("DMC-TIER-02"));
    assert_eq!((moving.carry_out().await, node.seen()), (0, 12), "no damaged copy is made");
    std::fs::write(&store, &whole).unwrap();
    drop(hot);
    assert_eq!(moving.carry_out().await, 1);
    let [cold] = lying(&node).try_into().ok().unwrap();
    let part = dir.path().join("bucket").join(&cold.copied.as_ref().unwrap().object).join("000000");
    let whole = std::fs::read(&part).unwrap();
    std::fs::write(&part, whole.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
    let error = moving.verify(Arc::clone(&cold)).await.err().unwrap();
    assert!(error.code() == "DMC-TIER-03" && error.to_string().contains("000000"), "{error}");
    drop((cold, moving));
    node.kill().await;
}

impl Segment {
    /// Records that can be read, whatever is hidden.
    fn holding_all(&self) -> u32 {
        let read = |doc| self.searcher.doc::<tantivy::TantivyDocument>(tantivy::DocAddress::new(0, doc)).is_ok();
        u32::try_from(tokio::task::block_in_place(|| (0..self.docs).filter(|doc| read(*doc)).count())).unwrap()
    }
}
