//! Reading ranges of a copy: whole, few requests, and no more in memory than allowed, however many segments are open.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::segment::manifest::Row;
use crate::segment::specimen::{durable, record, segment};
use crate::tasks::Tasks;
use crate::tier::pack::{FORMAT, Part};

proptest! {
    #[test]
    fn every_missing_block_is_in_exactly_one_request_and_few_others_are(
        blocks in proptest::collection::btree_set((0..3_usize, 0..40_usize), 0..30),
    ) {
        let missing: Vec<_> = blocks.iter().copied().collect();
        let requests = runs(&missing);
        for (part, block) in &missing {
            let holding = requests.iter().filter(|(of, run)| of == part && run.contains(block)).count();
            prop_assert_eq!(holding, 1);
        }
        let fetched: usize = requests.iter().map(|(_, run)| run.len()).sum();
        prop_assert!(fetched <= missing.len() + missing.len().saturating_sub(requests.len()) * COLD_GAP_BLOCKS);
        for (one, next) in requests.iter().zip(requests.iter().skip(1)) {
            prop_assert!(one.0 != next.0 || one.1.end + COLD_GAP_BLOCKS < next.1.start);
        }
    }
}

fn tier(store: &Store, dir: &std::path::Path) -> Tier {
    Tier::new(store.clone(), dir.join("cache"), Tasks::default())
}

/// A copy of these parts, of which `hot` is read at open: as it is after that.
async fn lying(tier: &Tier, number: u64, parts: &[Vec<u8>], hot: Range<u64>) -> Arc<Source> {
    let hot: Vec<_> = Some(hot).filter(|hot| !hot.is_empty()).into_iter().collect();
    let row = Row::of(&segment(&Layout::new(), durable(number, 1, vec![record(1, None, json!({}))])));
    let (id, object) = (row.id().unwrap(), format!("copy-{number}"));
    let whole = parts.concat();
    let at = |at: u64| usize::try_from(at).unwrap();
    let bytes: Vec<u8> = hot.iter().flat_map(|range| &whole[at(range.start)..at(range.end)]).copied().collect();
    let mut described = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        described.push(Part { length: part.len() as u64, sha256: hex::encode(sha256(part)), blocks: sums(part) });
        tier.store.create(&part_name(&object, number), Bytes::from(part.clone())).await.unwrap();
    }
    let footer = Footer { format: FORMAT, row: row.clone(), files: Vec::new(), parts: described, hot };
    let mut content = serde_json::to_vec(&footer).unwrap();
    content.push(b'\n');
    content.extend(bytes);
    let content = Bytes::from(content);
    tier.store.create(&footer_name(&object), content.clone()).await.unwrap();
    let (footer, hot) = read_footer(&content).unwrap();
    let cold = Cold { id, shard: ShardId(number), row, object, sha256: sha256(&content) };
    tier.blocks.keep_footer(id, &content, &Arc::new(framed(&footer, &hot)));
    Arc::new(Source::new(tier, &cold, &footer, Handle::current()))
}

/// Off the threads of the runtime, as the engine reads.
async fn read(source: &Arc<Source>, range: Range<u64>) -> Vec<u8> {
    let source = Arc::clone(source);
    tokio::task::spawn_blocking(move || source.read(range).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_many_parts_is_whole_and_no_more_requests_run_beside_each_other_than_may() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let parts: Vec<_> = (0..10_u8).map(|number| vec![number; 10]).collect();
    let source = lying(&tier(&store, dir.path()), 1, &parts, 0..0).await;
    // Long enough that all that may run are there together.
    store.traffic.lock().pause = Duration::from_millis(20);
    let wanted: Vec<u8> = (5..95_u8).map(|at| at / 10).collect();
    assert_eq!(read(&source, 5..95).await, wanted);
    assert_eq!(store.traffic.lock().at_once, COLD_READS_AT_ONCE);
}

/// Reads beside each other.
async fn read_all(source: &Arc<Source>, ranges: Vec<Range<u64>>) -> Vec<io::Result<Vec<u8>>> {
    let reads = ranges.into_iter().map(|range| {
        let source = Arc::clone(source);
        tokio::task::spawn_blocking(move || source.read(range))
    });
    futures::future::join_all(reads).await.into_iter().map(Result::unwrap).collect()
}

const BLOCK: u64 = COLD_BLOCK_BYTES as u64;

fn numbered(blocks: usize) -> Vec<u8> {
    (0..blocks * COLD_BLOCK_BYTES).map(|at| (at / 1_000).to_le_bytes()[0]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_several_want_is_fetched_once_and_who_wants_another_does_not_wait() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let part = numbered(10);
    let source = lying(&tier(&store, dir.path()), 1, std::slice::from_ref(&part), 0..0).await;
    store.traffic.lock().pause = Duration::from_millis(100);
    let ranges: Vec<_> = (0..8).map(|number| number % 2 * 5 * BLOCK..number % 2 * 5 * BLOCK + 9_000).collect();
    for (read, range) in read_all(&source, ranges.clone()).await.into_iter().zip(ranges) {
        let at = |at| usize::try_from(at).unwrap();
        assert!(read.unwrap() == part[at(range.start)..at(range.end)]);
    }
    let traffic = *store.traffic.lock();
    assert_eq!((traffic.reads, traffic.at_once), (2, 2));
    assert!(source.coming.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waited_for_a_block_that_did_not_come_fetches_it() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let source = lying(&tier(&store, dir.path()), 1, &[numbered(1)], 0..0).await;
    store.fail(crate::store::Faults { count: 1, ..Default::default() });
    let read = read_all(&source, vec![0..BLOCK; 6]).await;
    assert_eq!(read.iter().filter(|read| read.is_err()).count(), 1);
    assert!(read.into_iter().flatten().all(|read| read == numbered(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_reads_of_many_threads_are_whole_whatever_leaves_the_cache() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let parts: Vec<_> = (1..4).map(numbered).collect();
    let whole = parts.concat();
    for most in [1, 3, 100] {
        let tier = tier(&store, dir.path()).with_blocks(Blocks::of(most * COLD_BLOCK_BYTES));
        let source = lying(&tier, most as u64, &parts, 0..9).await;
        let ranges: Vec<_> = (0..40).map(|n| n * 7_919..(n * 7_919 + n * 2_003).min(6 * BLOCK)).collect();
        for (read, range) in read_all(&source, ranges.clone()).await.into_iter().zip(ranges) {
            let at = |at| usize::try_from(at).unwrap();
            assert!(read.unwrap() == whole[at(range.start)..at(range.end)], "{range:?} with {most} blocks");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_segments_together_have_no_more_under_way_than_may_be() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let tier = tier(&store, dir.path()).with_blocks(Blocks::default().with_room(32));
    let mut sources = Vec::new();
    for number in 0..8 {
        sources.push(lying(&tier, number, &[numbered(1)], 0..0).await);
    }
    store.traffic.lock().pause = Duration::from_millis(50);
    // A request counts as sixteen blocks at least.
    futures::future::join_all(sources.iter().map(|source| read(source, 0..10))).await;
    let traffic = *store.traffic.lock();
    assert_eq!((traffic.reads, traffic.at_once), (8, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_open_segments_hold_no_more_than_the_cache_may_and_read_the_same() {
    const HOT: usize = 100_000;
    const MOST: usize = 1_000_000;
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let on_disk = dir.path().join("kept");
    for blocks in [Blocks::of(MOST), Blocks::of(MOST).with_disk(on_disk, 1 << 30)] {
        let has_disk = store.traffic.lock().reads > 0;
        let tier = tier(&store, dir.path()).with_blocks(blocks.clone());
        let mut sources = Vec::new();
        for number in 0..100_u8 {
            let part: Vec<u8> = (0..2 * HOT).map(|at| number ^ at.to_le_bytes()[0]).collect();
            let at = u64::from(number) + if has_disk { 1_000 } else { 0 };
            sources.push((lying(&tier, at, std::slice::from_ref(&part), 0..HOT as u64).await, part));
            assert!(blocks.bytes() <= MOST);
        }
        *store.traffic.lock() = Default::default();
        for (source, part) in sources.iter().chain(&sources) {
            assert_eq!(read(source, 99_000..99_900).await, part[99_000..99_900]);
            assert_eq!(read(source, 99_900..100_100).await, part[99_900..100_100], "half of it is in no footer");
            assert!(blocks.bytes() <= MOST);
        }
        let reads = store.traffic.lock().reads;
        if has_disk {
            assert_eq!(reads, 100, "a block of each once; the footers lie on the disk");
        } else {
            assert!(reads > 300, "{reads}: footers and blocks had to leave, and were read again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_footer_is_none_and_one_on_the_disk_is_read_again() {
    let (store, dir) = (Store::in_memory(), tempfile::tempdir().unwrap());
    let kept = dir.path().join("kept");
    // Memory holds nothing, so that each read asks the disk.
    let tier = tier(&store, dir.path()).with_blocks(Blocks::of(0).with_disk(kept.clone(), 1 << 30));
    let source = lying(&tier, 1, &[vec![7; 1_000]], 0..500).await;
    *store.traffic.lock() = Default::default();
    assert_eq!(read(&source, 400..500).await, [7; 100]);
    assert_eq!(store.traffic.lock().reads, 0, "it lies on the disk");
    let alter = || {
        for entry in std::fs::read_dir(&kept).unwrap() {
            let path = entry.unwrap().path();
            let altered: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
            std::fs::write(&path, altered).unwrap();
        }
    };
    alter();
    assert_eq!(read(&source, 400..500).await, [7; 100]);
    assert_eq!(store.traffic.lock().reads, 1, "it was read again");
    alter();
    let name = footer_name(&source.object);
    store.delete(&name).await.unwrap();
    let unread = |source: &Arc<Source>| {
        let source = Arc::clone(source);
        async move { tokio::task::spawn_blocking(move || source.read(400..500)).await.unwrap().err().map(|e| e.kind()) }
    };
    assert_eq!(unread(&source).await, Some(OUT_OF_REACH));
    store.create(&name, Bytes::from_static(b"{}\n")).await.unwrap();
    assert_eq!(unread(&source).await, Some(io::ErrorKind::InvalidData));
}
