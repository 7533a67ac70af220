//! Shards from opening to stopping, with a real log, a real bucket and real directories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Epoch, NodeId, ShardId, StreamId, TenantId, Timestamp};
use domicile_proto::metadata::StreamPolicy;
use proptest::prelude::*;
use serde_json::json;
use tantivy::TantivyDocument;
use tantivy::schema::Value;

use super::manifest::Manifest;
use super::specimen::record;
use super::*;
use crate::clock::Clock;
use crate::errors::Coded;
use crate::index::stored::Stored;
use crate::ownership::Loads;
use crate::policy::{StreamView, Suppression};
use crate::store::{Store, StoreConfig};
use crate::tasks::Tasks;
use crate::wal::{Batch, Op, Outcome, Wal, WalConfig};

const NOW: Timestamp = Timestamp(1_000_000);

pub(super) struct Node {
    tasks: Tasks,
    pub(super) clock: Clock,
    store: Store,
    wal: Wal,
    pub(super) shards: Shards,
    loads: Loads,
}

impl Node {
    pub(super) async fn start(dir: &Path) -> Result<Self, SegmentError> {
        Self::start_under(dir, Suppression::default()).await
    }

    async fn start_under(dir: &Path, suppression: Suppression) -> Result<Self, SegmentError> {
        let (tasks, clock) = (Tasks::default(), Clock::standing_at(NOW));
        let (store, opened) = open(dir, &tasks, &clock, suppression).await?;
        let (wal, durable) = Wal::open(&log(dir), &opened.indexed(), clock.clone())?;
        let loads = Loads::new(Duration::from_secs(60));
        let shards = opened.measuring(loads.clone()).start(wal.clone(), durable).await?;
        Ok(Self { tasks, clock, store, wal, shards, loads })
    }

    /// Begins to start and ends as kill -9 would once it is time; whether it was not ready before.
    async fn killed_while_it_starts(dir: &Path, is_time: impl Fn() -> bool) -> bool {
        let (tasks, clock) = (Tasks::default(), Clock::standing_at(NOW));
        let (_, opened) = open(dir, &tasks, &clock, Suppression::default()).await.unwrap();
        let (wal, durable) = Wal::open(&log(dir), &opened.indexed(), clock).unwrap();
        let time = async {
            while !is_time() {
                tokio::task::yield_now().await;
            }
        };
        let was_early = tokio::select! {
            _ = opened.start(wal.clone(), durable) => false,
            () = time => true,
        };
        assert!(tasks.stop(Duration::from_secs(30)).await);
        wal.stop().await;
        was_early
    }

    pub(super) async fn append(&self, shard: u64, texts: &[String]) -> Vec<Outcome> {
        let stream = StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: "app".parse().unwrap(),
            fields: Vec::new(),
            policy: StreamPolicy { refresh_ms: 30_000, ..StreamPolicy::default() },
            shard: Some((ShardId(shard), NodeId(1))),
        };
        let records = texts.iter().map(|text| (Op::Create, record(1, None, json!({ "message": text })))).collect();
        let batch = Batch { stream: Arc::new(stream), producer: None, records };
        self.wal.append(batch).await.unwrap().outcomes
    }

    /// Everything that can be searched in a shard, by place.
    pub(super) fn content(&self, shard: u64) -> BTreeMap<u64, String> {
        let mut content = BTreeMap::new();
        let mut before = u64::MAX;
        for segment in self.shards.catalog().view(ShardId(shard)).iter() {
            assert!(segment.last_seq < before && segment.first_seq <= segment.last_seq, "segments overlap");
            before = segment.first_seq;
            let places = segment.reader().fast_fields().u64("seq").unwrap();
            let times = segment.reader().fast_fields().i64("ts").unwrap();
            for doc in 0..segment.docs {
                let seq = places.first(doc).unwrap();
                assert_eq!(seq, segment.first_seq + u64::from(doc), "order of a segment");
                let document: TantivyDocument = segment.searcher.doc(tantivy::DocAddress::new(0, doc)).unwrap();
                let bytes = document.get_first(segment.fields.doc).unwrap().as_bytes().unwrap();
                let at = Timestamp(times.first(doc).unwrap());
                let json: serde_json::Value =
                    serde_json::from_slice(&Stored::decode(bytes, at, |_| None).unwrap().json).unwrap();
                let text = json["message"].as_str().unwrap().to_owned();
                assert!(content.insert(seq, text).is_none(), "place {seq} is there twice");
            }
        }
        content
    }

    /// Ends as kill -9 would: nothing is finished, nothing in memory is kept.
    pub(super) async fn kill(self) {
        assert!(self.tasks.stop(Duration::from_secs(30)).await);
        self.wal.stop().await;
    }

    pub(super) async fn stop(self) {
        self.shards.stop().await;
        assert!(self.tasks.stop(Duration::from_secs(30)).await);
    }
}

async fn open(
    dir: &Path,
    tasks: &Tasks,
    clock: &Clock,
    suppression: Suppression,
) -> Result<(Store, Opened), SegmentError> {
    let store = Store::open(&StoreConfig { dir: dir.join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
    let (segments, copies) = (dir.join("segments"), specimen::no_copies());
    let opened = Opened::open(&segments, store.clone(), tasks, clock.clone(), suppression, &copies).await?;
    Ok((store, opened))
}

/// Its log, in many files.
fn log(dir: &Path) -> WalConfig {
    WalConfig { file_bytes: 2_000, ..WalConfig::new(dir.join("wal")) }
}

pub(super) fn texts(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("line {n} of many")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_searchable_after_a_refresh_and_after_any_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    for round in 0..6 {
        let node = Node::start(dir.path()).await.unwrap();
        assert_eq!(node.content(1), expected, "round {round}: all of it, with no refresh asked for");
        for part in 0..25 {
            let lines = texts(expected.len(), 3);
            let outcomes = node.append(1, &lines).await;
            for (outcome, line) in outcomes.into_iter().zip(lines) {
                let Outcome::Created { seq } = outcome else { panic!("{outcome:?}") };
                expected.insert(seq, line);
            }
            if part % 2 == 0 {
                node.shards.refresh(Some(ShardId(1))).await;
                assert_eq!(node.content(1), expected, "round {round}");
            }
        }
        assert!(!node.shards.is_failed());
        if round % 2 == 0 { node.kill().await } else { node.stop().await }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shard_takes_in_is_its_load_and_what_the_log_gives_again_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    assert_eq!(node.loads.totals(), (0, 0));
    node.append(1, &texts(0, 200)).await;
    node.append(2, &texts(0, 20)).await;
    node.shards.refresh(None).await;
    let told: BTreeMap<ShardId, u64> =
        node.loads.told().into_iter().map(|load| (load.shard, load.bytes_per_second)).collect();
    assert!(told[&ShardId(1)] > told[&ShardId(2)] && told[&ShardId(2)] > 0, "{told:?}");
    node.kill().await;
    let node = Node::start(dir.path()).await.unwrap();
    assert_eq!((node.content(1).len(), node.loads.totals()), (200, (0, 0)), "it was taken in before");
    node.kill().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_record_is_searchable_once_whatever_happens(
        steps in proptest::collection::vec((1..4_u64, 1..40_usize, 0..8_u8), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut node = Node::start(dir.path()).await.unwrap();
            let mut expected: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
            let mut serial = 0;
            for (shard, count, then) in steps.into_iter().chain([(1, 1, 4), (1, 1, 3)]) {
                let lines = texts(serial, count);
                serial += count;
                for (outcome, line) in node.append(shard, &lines).await.into_iter().zip(lines) {
                    let Outcome::Created { seq } = outcome else { panic!("{outcome:?}") };
                    expected.entry(shard).or_default().insert(seq, line);
                }
                match then {
                    0 | 1 => node.shards.refresh(Some(ShardId(shard))).await,
                    2 => node.clock.turn_to(Timestamp(node.clock.now().0 + 61 * Timestamp::MICROS)),
                    3 => {
                        node.kill().await;
                        node = Node::start(dir.path()).await.unwrap();
                    }
                    4 => {
                        node.stop().await;
                        node = Node::start(dir.path()).await.unwrap();
                    }
                    _ => {}
                }
            }
            node.shards.refresh(None).await;
            for (shard, expected) in &expected {
                assert_eq!(&node.content(*shard), expected);
            }
            assert!(!node.shards.is_failed());
            node.kill().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refreshes_leave_few_segments_and_a_stop_leaves_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    for n in 0..60 {
        node.append(1, &texts(n, 2)).await;
        node.shards.refresh(None).await;
    }
    let content = node.content(1);
    assert_eq!(content.len(), 120);
    node.stop().await;
    let node = Node::start(dir.path()).await.unwrap();
    let view = node.shards.catalog().view(ShardId(1));
    assert_eq!(view.len(), 1, "everything was flushed together");
    assert!(view[0].dir.is_some() && node.content(1) == content);
    assert_eq!(node.shards.catalog().totals(ShardId(1)).docs, 120);
    node.wal.given().await;
    assert_eq!(std::fs::read_dir(dir.path().join("wal")).unwrap().count(), 0, "nothing is left in the log");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_at_once_is_written_to_the_disk_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    let filler = "wide ".repeat(2_000);
    let mut expected = Vec::new();
    for n in 0..12 {
        let lines: Vec<_> = (0..100).map(|line| format!("{n}-{line} {filler}")).collect();
        node.append(1, &lines).await;
        expected.extend(lines);
    }
    node.shards.refresh(None).await;
    assert!(node.shards.catalog().view(ShardId(1)).iter().all(|segment| segment.dir.is_some()));
    assert!(node.content(1).into_values().eq(expected.iter().cloned()));
    node.kill().await;
    let node = Node::start(dir.path()).await.unwrap();
    node.shards.refresh(None).await;
    assert!(node.content(1).into_values().eq(expected));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_killed_while_it_reads_a_long_log_loses_and_doubles_nothing() {
    const SHARDS: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    let filler = "wide ".repeat(2_000);
    let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    // More of each than is kept as it came, in turn, and a little at the end.
    for (n, lines) in std::iter::repeat_n(100, 9).chain([1]).enumerate() {
        for shard in 0..SHARDS {
            let lines: Vec<_> = (0..lines).map(|line| format!("{shard}-{n}-{line} {filler}")).collect();
            node.append(shard, &lines).await;
            expected.entry(shard).or_default().extend(lines);
        }
    }
    node.kill().await;
    let segments = dir.path().join("segments");
    let begun = || {
        let shards = std::fs::read_dir(&segments).into_iter().flatten().flatten();
        shards.filter_map(|shard| Some(std::fs::read_dir(shard.path()).ok()?.count())).sum::<usize>()
    };
    for wanted in [1, 2] {
        // The log holds all of it. What a manifest names by now, on a slow machine, stays.
        if !dir.path().join("bucket").join("shards").try_exists().unwrap() {
            std::fs::remove_dir_all(&segments).unwrap();
        }
        assert!(Node::killed_while_it_starts(dir.path(), || begun() >= wanted).await, "it had read everything");
    }
    assert!(begun() > 0, "what was half built is left over");
    for _ in 0..2 {
        let node = Node::start(dir.path()).await.unwrap();
        for (shard, expected) in &expected {
            assert!(node.content(*shard).into_values().eq(expected.iter().cloned()), "shard {shard}");
        }
        assert!(!node.shards.is_failed());
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_named_and_left_over_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    node.append(1, &texts(0, 50)).await;
    node.stop().await;
    let node = Node::start(dir.path()).await.unwrap();
    let segment = Arc::clone(&node.shards.catalog().view(ShardId(1))[0]);
    let (id, files) = (segment.id.to_string(), segment.dir.clone().unwrap());
    drop(segment);
    let orphan = files.with_file_name("0123456789abcdef0123456789abcdef");
    std::fs::create_dir(&orphan).unwrap();
    node.kill().await;
    Node::start(dir.path()).await.unwrap().kill().await;
    assert!(!orphan.try_exists().unwrap());

    let names: Vec<_> = std::fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in names.iter().filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')) {
        let whole = std::fs::read(path).unwrap();
        for damage in [None, Some(whole.len() / 2)] {
            match damage {
                None => std::fs::remove_file(path).unwrap(),
                Some(length) => std::fs::write(path, &whole[..length]).unwrap(),
            }
            let error = Node::start(dir.path()).await.err().unwrap_or_else(|| panic!("{path:?} went unnoticed"));
            assert!(["DMC-SEGMENT-01", "DMC-SEGMENT-02"].contains(&error.code()), "{error}");
            assert!(error.to_string().contains(&id), "{error}");
        }
        std::fs::write(path, whole).unwrap();
    }
    Node::start(dir.path()).await.unwrap().kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_shard_keeps_its_log_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    let other = Manifest::none(ShardId(1)).next(Epoch(2), 0, Vec::new());
    other.publish(&node.store).await.unwrap();
    node.append(1, &texts(0, 50)).await;
    node.append(2, &texts(0, 50)).await;
    let shards = node.shards.clone();
    let store = node.store.clone();
    node.stop().await;
    assert!(shards.is_failed());
    let manifests = Manifest::read_all(&store).await.unwrap();
    assert_eq!(manifests.iter().map(|m| (m.shard.0, m.body.last_seq)).collect::<Vec<_>>(), [(1, 0), (2, 50)]);
    let log: u64 =
        std::fs::read_dir(dir.path().join("wal")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(log > 50 * 20, "the records of the lost shard are still in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_behind_a_failed_build_stay_in_the_log_and_are_built_again_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    // A file where the directory of the shard should be: nothing of the shard can reach the disk.
    let in_the_way = dir.path().join("segments").join("0000000000000001");
    std::fs::write(&in_the_way, b"").unwrap();
    let filler = "wide ".repeat(100_000);
    let mut expected = texts(0, 3);
    node.append(1, &expected).await;
    node.shards.refresh(None).await;
    let large: Vec<_> = (0..12).map(|line| format!("{line} {filler}")).collect();
    node.append(1, &large).await;
    expected.extend(large);
    for n in 0..12 {
        let lines = texts(100 + n, 1);
        node.append(1, &lines).await;
        node.shards.refresh(None).await;
        expected.extend(lines);
    }
    assert!(node.shards.is_failed());
    assert_eq!(node.content(1).len(), 15, "all but the large ones");
    assert!(!node.shards.catalog().is_whole(ShardId(1)) && node.shards.catalog().is_whole(ShardId(2)));
    std::fs::remove_file(&in_the_way).unwrap();
    node.shards.catalog().all_whole().await;
    assert!(!node.shards.is_failed() && node.shards.retries() > 0);
    assert!(node.content(1).into_values().eq(expected.iter().cloned()), "each once, in order");
    node.stop().await;

    let node = Node::start(dir.path()).await.unwrap();
    assert!(node.content(1).into_values().eq(expected), "all of it in durable segments");
    node.wal.given().await;
    assert_eq!(std::fs::read_dir(dir.path().join("wal")).unwrap().count(), 0, "and nothing holds the log");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_behind_a_failed_build_are_built_by_the_next_start_where_this_one_ends_before() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    let in_the_way = dir.path().join("segments").join("0000000000000001");
    std::fs::write(&in_the_way, b"").unwrap();
    let large: Vec<_> = (0..12).map(|line| format!("{line} {}", "wide ".repeat(100_000))).collect();
    node.append(1, &large).await;
    node.shards.refresh(None).await;
    assert!(node.shards.is_failed() && node.content(1).len() < 12);
    node.kill().await;
    std::fs::remove_file(&in_the_way).unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    node.shards.refresh(None).await;
    assert!(!node.shards.is_failed() && node.content(1).into_values().eq(large));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_fails_for_a_while_makes_no_shard_fail_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    // A file where the manifests should be: no manifest can be created.
    let in_the_way = dir.path().join("bucket").join("shards");
    std::fs::write(&in_the_way, b"").unwrap();
    node.append(1, &texts(0, 50)).await;
    node.shards.refresh(None).await;
    let shards = node.shards.clone();
    node.stop().await;
    assert!(!shards.is_failed(), "all of it can be searched");
    assert!(shards.retries() > 0);
    std::fs::remove_file(&in_the_way).unwrap();
    // Its segments are named by no manifest, and its log begins at the first record: they are removed and built again.
    let node = Node::start(dir.path()).await.unwrap();
    node.shards.refresh(None).await;
    assert!(node.content(1).into_values().eq(texts(0, 50)));
    node.stop().await;
    assert_eq!(Node::start(dir.path()).await.unwrap().content(1).len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_its_manifests_stops_the_start_and_no_segment_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    node.append(1, &texts(0, 50)).await;
    node.append(2, &texts(0, 5)).await;
    node.stop().await;
    let node = Node::start(dir.path()).await.unwrap();
    node.wal.given().await;
    assert_eq!(std::fs::read_dir(dir.path().join("wal")).unwrap().count(), 0, "the log is released");
    node.kill().await;
    let (manifests, aside) = (dir.path().join("bucket").join("shards"), dir.path().join("aside"));
    let listed = || {
        let shard = dir.path().join("segments").join("0000000000000001");
        std::fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let before = listed();
    assert_eq!(before.len(), 1);

    // The log is empty, or it goes on behind the segments.
    for more in [false, true] {
        std::fs::rename(&manifests, &aside).unwrap();
        let error = Node::start(dir.path()).await.err().expect("the bucket is another one");
        assert_eq!(error.code(), "DMC-WAL-12", "{error}");
        assert_eq!(listed(), before);
        std::fs::remove_dir_all(&manifests).ok();
        std::fs::rename(&aside, &manifests).unwrap();
        let node = Node::start(dir.path()).await.unwrap();
        assert!(node.content(1).into_values().eq(texts(0, if more { 53 } else { 50 })));
        if !more {
            node.append(1, &texts(50, 3)).await;
        }
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_shards_cost_little_to_open() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await.unwrap();
    for shard in 0..200 {
        node.append(shard, &texts(0, 1)).await;
    }
    node.stop().await;
    let began = std::time::Instant::now();
    let node = Node::start(dir.path()).await.unwrap();
    let took = began.elapsed();
    assert_eq!(node.shards.catalog().shards().len(), 200);
    assert!(took < Duration::from_secs(5), "{took:?}");
    node.kill().await;
}
