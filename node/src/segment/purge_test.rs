//! Hiding and rewriting with a real log, a real bucket and real directories: what was erased is in no segment, in no file of
//! the log and in no search, all else stays, and a crash anywhere loses neither.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{NodeId, ShardId, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use serde_json::{Value, json};

use super::manifest::Manifest;
use super::specimen::record;
use super::*;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::policy::{StreamView, Suppressed, Suppression};
use crate::store::{Store, StoreConfig};
use crate::tasks::Tasks;
use crate::wal::{Batch, Op, Wal, WalConfig};

const TOKEN: &str = "‹email:abcdefghijklmnopqrstuvwxyz›";
const OTHER: &str = "‹email:zzzzzzzzzzzzzzzzzzzzzzzzzz›";

struct Node {
    tasks: Tasks,
    store: Store,
    wal: Wal,
    shards: Shards,
    suppression: Suppression,
}

impl Node {
    async fn start(dir: &Path, orders: &[Suppressed]) -> Self {
        let (tasks, clock) = (Tasks::default(), Clock::standing_at(Timestamp(1_000_000)));
        let suppression = Suppression::default();
        orders.iter().for_each(|order| suppression.add(order));
        let store = Store::open(&StoreConfig { dir: dir.join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
        let (dir, log) = (dir.join("segments"), dir.join("wal"));
        let opened =
            Opened::open(&dir, store.clone(), &tasks, clock.clone(), suppression.clone(), &specimen::no_copies())
                .await
                .unwrap();
        let (wal, durable) = Wal::open(&WalConfig::new(log), &opened.indexed(), clock).unwrap();
        let shards = opened.start(wal.clone(), durable).await.unwrap();
        Self { tasks, store, wal, shards, suppression }
    }

    async fn append(&self, shard: u64, records: Vec<(Option<u64>, Value)>) {
        let stream = StreamView {
            id: StreamId(shard.try_into().unwrap()),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { refresh_ms: 30_000, ..StreamPolicy::default() },
            shard: Some((ShardId(shard), NodeId(1))),
        };
        let records = records.into_iter().enumerate();
        let records =
            records.map(|(at, (subject, event))| (Op::Create, record(1 + i64::try_from(at).unwrap(), subject, event)));
        let batch = Batch { stream: Arc::new(stream), producer: None, records: records.collect() };
        self.wal.append(batch).await.unwrap();
    }

    /// Records that a search sees, and records that are there at all.
    fn seen_and_there(&self) -> (u64, u64) {
        let catalog = self.shards.catalog();
        let seen = catalog.shards().into_iter().map(|shard| catalog.totals(shard).docs).sum();
        let views: Vec<_> = catalog.shards().into_iter().map(|shard| catalog.view(shard)).collect();
        (seen, views.iter().flat_map(|view| view.iter()).map(|segment| u64::from(segment.docs)).sum())
    }

    async fn kill(self) {
        assert!(self.tasks.stop(Duration::from_secs(30)).await);
        self.wal.stop().await;
    }
}

/// Subject 7 and the token, in two shards; in each shape in which a token is stored.
fn order() -> Suppressed {
    Suppressed {
        order: "o1".into(),
        tenant: TenantId(1),
        subjects: vec![7],
        tokens: vec![TOKEN.into()],
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    }
}

fn erased() -> Vec<(Option<u64>, Value)> {
    vec![
        (Some(7), json!({"message": "of the subject"})),
        (None, json!({"message": format!("from {TOKEN} to all")})),
        (None, json!({"user": TOKEN})),
        (None, json!({"a": {"b": [1, {"c": format!("x{TOKEN}")}]}})),
        (None, json!({TOKEN: 1})),
        (None, json!({"_id": TOKEN, "n": 1})),
        (None, json!({"long": format!("{} {TOKEN}", "l".repeat(400))})),
        (None, json!({"service": TOKEN, "host": "h"})),
    ]
}

fn kept() -> Vec<(Option<u64>, Value)> {
    let others = |n: u64| (Some(8 + n), json!({"message": format!("line {n}"), "user": OTHER}));
    (0..20).map(others).collect()
}

fn both() -> Vec<(Option<u64>, Value)> {
    let mut all = kept();
    for (at, record) in erased().into_iter().enumerate() {
        all.insert(at * 2, record);
    }
    all
}

/// Whether a token stands in any file below a directory that is not compressed: the log above all.
fn stands_below(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return stands_below(&path);
        }
        memchr::memmem::find(&std::fs::read(&path).unwrap(), TOKEN.as_bytes()).is_some()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_suppressed_is_hidden_at_once_and_after_the_purge_it_is_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    node.append(1, both()).await;
    node.append(2, erased()).await;
    node.append(3, kept()).await;
    node.shards.refresh(None).await;
    let erased_count = 2 * erased().len() as u64;
    assert_eq!(node.seen_and_there(), (40 + erased_count, 40 + erased_count));

    assert_eq!(node.shards.suppress(order()).await.unwrap(), erased_count);
    assert_eq!(node.seen_and_there(), (40, 40 + erased_count));
    assert!(stands_below(&dir.path().join("wal")), "the log still holds it");

    node.shards.purge().await.unwrap();
    assert_eq!(node.seen_and_there(), (40, 40));
    assert_eq!(node.shards.count(order()).await.unwrap(), 0);
    assert!(!stands_below(dir.path()), "no file holds it");
    // What arrives late is acknowledged and becomes part of nothing.
    node.append(2, erased()).await;
    node.append(1, both()).await;
    node.shards.refresh(None).await;
    assert_eq!(node.seen_and_there(), (60, 60));
    // The two with an id of their own were known already, and never came so far.
    assert_eq!(node.suppression.late(), erased_count - 2);
    node.shards.purge().await.unwrap();
    assert!(!stands_below(dir.path()));
    node.kill().await;

    // A new start finds every place of every shard where it was, an empty segment included.
    let node = Node::start(dir.path(), &[order()]).await;
    assert_eq!(node.seen_and_there(), (60, 60));
    node.append(2, kept()).await;
    node.shards.refresh(None).await;
    node.shards.purge().await.unwrap();
    assert_eq!(node.seen_and_there(), (80, 80));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_segments_are_rewritten_once_each_and_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    node.append(1, both()).await;
    node.append(3, kept()).await;
    // A purge with nothing to do makes everything durable.
    assert!(node.shards.purge().await.unwrap().is_empty());
    let untouched = node.shards.catalog().view(ShardId(3)).first().unwrap().id;
    node.shards.suppress(order()).await.unwrap();
    node.shards
        .suppress(Suppressed {
            order: "o2".into(),
            subjects: vec![9],
            tokens: vec![],
            only: Some(vec![(StreamId(1), Some(ShardId(1)))]),
            ..order()
        })
        .await
        .unwrap();
    let rewritten = node.shards.purge().await.unwrap();
    let [one] = rewritten.as_slice() else { panic!("{rewritten:?}") };
    assert_eq!((one.shard, one.removed, one.kept), (ShardId(1), 1 + u32::try_from(erased().len()).unwrap(), 19));
    assert_ne!(one.old_sha256, one.new_sha256);
    assert_eq!(node.shards.catalog().view(ShardId(3)).first().unwrap().id, untouched);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_a_purge_loses_nothing_and_shows_nothing() {
    for step in ["made anew", "published"] {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &[]).await;
        node.append(1, both()).await;
        node.append(2, erased()).await;
        assert!(node.shards.purge().await.unwrap().is_empty());
        node.shards.suppress(order()).await.unwrap();
        node.shards.end_at(step);
        assert_eq!(node.shards.purge().await.err().unwrap().code(), "DMC-SEGMENT-09", "{step}");
        node.kill().await;

        let node = Node::start(dir.path(), &[order()]).await;
        let (seen, _) = node.seen_and_there();
        assert_eq!(seen, 20, "hidden before anybody can ask; {step}");
        node.shards.purge().await.unwrap();
        assert_eq!(node.seen_and_there(), (20, 20), "{step}");
        assert_eq!(node.shards.count(order()).await.unwrap(), 0, "{step}");
        assert!(!stands_below(dir.path()), "{step}");
        let named: usize = Manifest::read_all(&node.store).await.unwrap().iter().map(|m| m.body.segments.len()).sum();
        let shards = std::fs::read_dir(dir.path().join("segments")).unwrap();
        let dirs: usize = shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum();
        assert_eq!(named, dirs, "no directory is left that no manifest names; {step}");
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_one_stream_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    node.append(1, erased()).await;
    node.append(2, erased()).await;
    node.shards.refresh(None).await;
    let count = erased().len() as u64;
    let only = Suppressed { only: Some(vec![(StreamId(1), Some(ShardId(1)))]), ..order() };
    assert_eq!(node.shards.suppress(only.clone()).await.unwrap(), count);
    node.shards.purge().await.unwrap();
    assert_eq!(node.seen_and_there(), (count, count));
    assert_eq!(node.shards.count(only).await.unwrap(), 0);
    assert_eq!(node.shards.count(order()).await.unwrap(), count);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_purged_while_records_wait_to_be_built_again_and_they_come_back_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    // A file where the directory of the shard should be: what is too much for memory cannot become a segment.
    let in_the_way = dir.path().join("segments").join("0000000000000001");
    std::fs::write(&in_the_way, b"").unwrap();
    let wide = "wide ".repeat(100_000);
    let large = |who: &str| json!({"message": format!("{who} {wide}")});
    let mut records: Vec<_> = (0..12).map(|n| (Some(100 + n), large("others"))).collect();
    records.extend([(Some(7), large("the subject")), (None, large(TOKEN))]);
    node.append(1, records).await;
    node.shards.refresh(None).await;
    assert!(node.shards.is_failed());
    assert_eq!(node.shards.suppress(order()).await.unwrap(), 0, "nothing of it is shown anyway");
    for _ in 0..2 {
        assert_eq!(node.shards.purge().await.err().unwrap().code(), "DMC-SEGMENT-11");
    }
    assert!(stands_below(&dir.path().join("wal")), "the log is all there is");

    std::fs::remove_file(&in_the_way).unwrap();
    node.shards.catalog().all_whole().await;
    assert_eq!(node.seen_and_there(), (12, 12), "built again, without what was erased");
    node.shards.purge().await.unwrap();
    assert_eq!(node.shards.count(order()).await.unwrap(), 0);
    assert!(!stands_below(&dir.path().join("wal")));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_fails_during_a_purge_leaves_no_directory_behind_once_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    node.append(1, both()).await;
    node.append(2, erased()).await;
    assert!(node.shards.purge().await.unwrap().is_empty());
    node.shards.suppress(order()).await.unwrap();
    // A file where the manifests should be: no manifest can be created.
    let (manifests, aside) = (dir.path().join("bucket").join("shards"), dir.path().join("aside"));
    std::fs::rename(&manifests, &aside).unwrap();
    std::fs::write(&manifests, b"").unwrap();
    assert!(node.shards.purge().await.is_err());
    assert_eq!(node.seen_and_there().0, 20);
    std::fs::remove_file(&manifests).unwrap();
    std::fs::rename(&aside, &manifests).unwrap();
    node.shards.purge().await.unwrap();
    assert_eq!(node.seen_and_there(), (20, 20));
    let read = Manifest::read_all(&node.store).await.unwrap();
    let named: usize = read.iter().map(|manifest| manifest.body.segments.len()).sum();
    let shards = std::fs::read_dir(dir.path().join("segments")).unwrap();
    let dirs: usize = shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum();
    assert_eq!(named, dirs, "what was replaced is gone, without a restart");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_whole_segments_are_deleted_loses_nothing_else_and_the_next_call_finishes_it() {
    for step in ["taken out", "published"] {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &[]).await;
        node.append(1, both()).await;
        node.append(2, erased()).await;
        node.shards.purge().await.unwrap();
        let gone = node.shards.catalog().view(ShardId(2)).first().unwrap().id;
        let gone = Whole::from([(ShardId(2), [gone].into())]);
        node.shards.end_at(step);
        assert_eq!(node.shards.drop_whole(gone.clone()).await.err().unwrap().code(), "DMC-SEGMENT-09", "{step}");
        node.kill().await;

        let node = Node::start(dir.path(), &[]).await;
        node.shards.drop_whole(gone).await.unwrap();
        let there = both().len() as u64;
        assert_eq!(node.seen_and_there(), (there, there), "{step}");
        assert!(node.shards.catalog().view(ShardId(2)).is_empty(), "{step}");
        let dirs = std::fs::read_dir(dir.path().join("segments").join("0000000000000002")).unwrap().count();
        assert_eq!(dirs, 0, "{step}");
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_behind_a_deleted_segment_is_still_made_durable_and_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]).await;
    for _ in 0..3 {
        node.append(1, both()).await;
        node.shards.purge().await.unwrap();
    }
    // The oldest stays, as under a hold, and the one behind it goes.
    let view = node.shards.catalog().view(ShardId(1));
    let [_, middle, _] = view.as_slice() else { panic!("{} segments", view.len()) };
    node.shards.drop_whole(Whole::from([(ShardId(1), [middle.id].into())])).await.unwrap();
    let (left, _) = node.seen_and_there();
    assert_eq!(left + u64::from(middle.docs), view.iter().map(|segment| u64::from(segment.docs)).sum::<u64>());
    node.append(1, both()).await;
    node.shards.purge().await.unwrap();
    let (seen, _) = node.seen_and_there();
    assert!(seen > left);
    assert!(node.shards.catalog().view(ShardId(1)).iter().all(|segment| segment.dir.is_some()), "out of memory");
    node.kill().await;
    let node = Node::start(dir.path(), &[]).await;
    assert_eq!(node.seen_and_there(), (seen, seen));
    node.kill().await;
}
