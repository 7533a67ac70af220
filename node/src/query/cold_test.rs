//! A segment searched in the bucket against the same segment searched on the disk: the same answers byte for byte, few requests,
//! little read, no more held than allowed.

#![allow(clippy::print_stderr, reason = "a measurement is read by people")]

use std::path::Path;
use std::sync::Arc;

use domicile_proto::ids::ShardId;
use domicile_proto::metadata::Rows;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tantivy::TantivyDocument;

use super::dates::DateContext;
use super::specimen::{event, now, request};
use super::{Engine, QueryError, SearchRequest, Sort, elastic};
use crate::errors::Coded;
use crate::index::builder::{Builder, Layout};
use crate::index::schema::{TRACE_ID, id_hash};
use crate::limits::COLD_BLOCK_BYTES;
use crate::segment::Segment;
use crate::segment::files::{Files, open_built};
use crate::segment::specimen::{durable, record};
use crate::store::{Store, StoreConfig};
use crate::tasks::Tasks;
use crate::tier::{Blocks, Cold, Tier};

/// A segment on the disk, its copy, and both as they are searched.
struct Both {
    store: Store,
    tier: Tier,
    layout: Layout,
    cold: Cold,
    hot: Arc<Segment>,
    there: Arc<Segment>,
    engine: Engine,
}

impl Both {
    async fn of(dir: &Path, events: u64) -> Self {
        Self::with(dir, (0..events).map(event)).await
    }

    async fn with(dir: &Path, events: impl Iterator<Item = (i64, Json)>) -> Self {
        let store = Store::open(&StoreConfig { dir: dir.join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
        let (layout, tasks) = (Layout::new(), Tasks::default());
        let tier = Tier::new(store.clone(), dir.join("cache"), tasks);
        let (id, place) = Files::open(&dir.join("segments")).unwrap().place(ShardId(7)).unwrap();
        let mut builder = Builder::on_disk(&layout, &place, 0).unwrap();
        let records = (0..).zip(events).map(|(n, (at, source))| record(at, Some(n % 11), source));
        builder.add(durable(7, 1, records.collect())).unwrap();
        let built = builder.finish().unwrap().unwrap();
        let hot = Arc::new(open_built(&layout, (id, ShardId(7)), built, Some(place), Default::default()).unwrap());
        let cold = tier.copy_out(&hot).await.unwrap();
        *store.traffic.lock() = Default::default();
        let there = Arc::new(tier.open_in_place(&layout, &cold).await.unwrap());
        Self { store, tier, layout, cold, hot, there, engine: Engine::new().unwrap() }
    }

    /// The copy, of which nothing has been read but its footer.
    async fn with_empty_cache(&self) -> Segment {
        let empty = self.tier.clone().with_blocks(Blocks::default());
        empty.open_in_place(&self.layout, &self.cold).await.unwrap()
    }

    /// The median of some times.
    async fn timed(&self, segment: &Arc<Segment>, asked: &SearchRequest, times: usize) -> std::time::Duration {
        let mut took = Vec::new();
        for _ in 0..times {
            let begun = std::time::Instant::now();
            self.asked(segment, asked).await.unwrap();
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        took[times / 2]
    }

    /// Requests and bytes since the last call.
    fn read(&self) -> (u64, u64) {
        let traffic = &mut *self.store.traffic.lock();
        let pause = traffic.pause;
        let read = std::mem::take(traffic);
        traffic.pause = pause;
        (read.reads, read.bytes)
    }

    async fn asked(&self, segment: &Arc<Segment>, asked: &SearchRequest) -> Result<Vec<u8>, QueryError> {
        answer(&self.engine, vec![Arc::clone(segment)], asked).await
    }
}

async fn answer(engine: &Engine, segments: Vec<Arc<Segment>>, asked: &SearchRequest) -> Result<Vec<u8>, QueryError> {
    let (engine, asked) = (engine.clone(), asked.clone());
    let work = move || {
        let hits = engine.search(&asked, segments, Rows::Redacted)?;
        let mut answer = format!("{:?}", hits.total()).into_bytes();
        for row in hits.rows()? {
            answer.extend(format!("\n{} {:?} {:?} {}", row.id, row.time, row.tie, row.score).bytes());
            answer.extend(row.source);
        }
        Ok(answer)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn term(word: &str) -> SearchRequest {
    let filter = elastic::filter(&json!({"match": {"message": word}}), &DateContext::utc(now())).unwrap();
    SearchRequest { size: 20, ..request(filter) }
}

fn clauses() -> Vec<Json> {
    vec![
        json!({"match_all": {}}),
        json!({"match": {"message": "timeout"}}),
        json!({"match_phrase": {"message": "payment timeout"}}),
        json!({"term": {"level": "ERROR"}}),
        json!({"term": {"service": "cart"}}),
        json!({"prefix": {"service": "c"}}),
        json!({"term": {"ms": 7}}),
        json!({"terms": {"tags": ["blue", "green"]}}),
        json!({"term": {"trace_id": format!("{:032x}", 1_000_000_010)}}),
        json!({"exists": {"field": "ratio"}}),
        json!({"wildcard": {"request.path": "/a/*"}}),
        json!({"match": {"message": "東京"}}),
        json!({"term": {"level": "loud"}}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_takes_one_request_and_a_term_question_few() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 20_000).await;
    let (opened, _) = both.read();
    assert!(opened <= 2, "{opened} requests to open");
    let wanted = both.asked(&both.hot, &term("timeout")).await.unwrap();
    assert_eq!(both.read(), (0, 0), "the hot one is not in the bucket");
    let found = both.asked(&both.there, &term("timeout")).await.unwrap();
    let (requests, bytes) = both.read();
    assert_eq!(found, wanted);
    assert!((1..=10).contains(&requests) && bytes <= 2 << 20, "{requests} requests, {bytes} bytes");
    assert!(bytes < both.cold.row.bytes, "and not all of it: {bytes} of {}", both.cold.row.bytes);
    assert_eq!(both.asked(&both.there, &term("timeout")).await.unwrap(), wanted);
    assert_eq!(both.read(), (0, 0), "once it was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_segment_knows_where_dictionaries_and_columns_lie() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 20_000).await;
    let fresh = both.with_empty_cache().await;
    both.read();
    let looking = move || {
        for field in [fresh.fields.message, fresh.fields.more, fresh.fields.service] {
            fresh.reader().inverted_index(field).unwrap();
        }
        fresh.reader().fast_fields().dynamic_column_handles("ts").unwrap();
        fresh
    };
    let _open = tokio::task::spawn_blocking(looking).await.unwrap();
    assert_eq!(both.read(), (0, 0), "all of that is in the footer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_found_without_its_column_and_so_is_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 20_000).await;
    for (trace, is_there) in [(1_000_000_010, true), (77, false)] {
        let trace = format!("{trace:032x}");
        let fresh = Arc::new(both.with_empty_cache().await);
        both.read();
        let (looked, hash) = (Arc::clone(&fresh), id_hash(TRACE_ID, &trace));
        let looking = tokio::task::spawn_blocking(move || looked.looked_up("trace", hash).unwrap());
        let found = looking.await.unwrap().expect("a copy has a table");
        let (requests, bytes) = both.read();
        assert!(requests <= 2 && bytes <= 2 * COLD_BLOCK_BYTES as u64, "{trace}: {requests} requests, {bytes} bytes");
        let column = both.hot.reader().fast_fields().u64("trace").unwrap();
        let wanted: Vec<u32> = (0..both.hot.docs).filter(|doc| column.first(*doc) == Some(hash)).collect();
        assert_eq!((&found, found.is_empty()), (&wanted, !is_there));
        assert!(both.hot.looked_up("trace", hash).unwrap().is_none(), "a hot segment pays for no table");

        let filter = elastic::filter(&json!({"term": {"trace_id": trace}}), &DateContext::utc(now())).unwrap();
        let asked = SearchRequest { size: 20, ..request(filter) };
        assert_eq!(both.asked(&fresh, &asked).await.unwrap(), both.asked(&both.hot, &asked).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_holds_one_block_answers_the_same_and_holds_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 5_000).await;
    let small = both.tier.clone().with_blocks(Blocks::of(COLD_BLOCK_BYTES));
    let there = Arc::new(small.open_in_place(&both.layout, &both.cold).await.unwrap());
    for clause in clauses() {
        let asked = request(elastic::filter(&clause, &DateContext::utc(now())).unwrap());
        let wanted = both.asked(&both.hot, &asked).await.unwrap();
        assert!(both.asked(&there, &asked).await.unwrap() == wanted, "{clause}");
        assert!(small.blocks().bytes() <= COLD_BLOCK_BYTES);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_once_is_read_from_the_disk_afterwards_and_an_altered_file_of_it_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 5_000).await;
    let kept = dir.path().join("kept");
    let blocks = Blocks::of(COLD_BLOCK_BYTES).with_disk(kept.clone(), 1 << 30);
    let there = Arc::new(both.tier.clone().with_blocks(blocks).open_in_place(&both.layout, &both.cold).await.unwrap());
    let wanted = both.asked(&both.hot, &term("timeout")).await.unwrap();
    both.read();
    assert!(both.asked(&there, &term("timeout")).await.unwrap() == wanted);
    assert!(both.read().0 > 0);
    assert!(both.asked(&there, &term("timeout")).await.unwrap() == wanted);
    assert_eq!(both.read(), (0, 0), "memory holds one block, the disk all of them");
    for entry in std::fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        let altered: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
        std::fs::write(&path, altered).unwrap();
    }
    assert!(both.asked(&there, &term("timeout")).await.unwrap() == wanted);
    assert!(both.read().0 > 0, "fetched again");
    drop(there);
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 0, "with the segment go its blocks");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_byte_reaches_no_answer_and_a_store_that_is_back_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), 5_000).await;
    let wanted = both.asked(&both.hot, &term("timeout")).await.unwrap();
    let part = dir.path().join("bucket").join(&both.cold.object).join("000000");
    let kept = std::fs::read(&part).unwrap();
    let altered: Vec<u8> = kept.iter().map(|byte| byte ^ 1).collect();
    std::fs::write(&part, altered).unwrap();
    assert!(both.asked(&both.there, &term("timeout")).await.is_err());
    std::fs::write(&part, &kept[..kept.len() / 2]).unwrap();
    assert!(both.asked(&both.there, &term("timeout")).await.is_err());
    std::fs::remove_file(&part).unwrap();
    assert!(both.asked(&both.there, &term("timeout")).await.is_err());
    // No record has such a level, and no byte is read to know it.
    for clause in clauses().into_iter().filter(|clause| *clause != json!({"term": {"level": "loud"}})) {
        // Whatever else is asked, a bucket that does not answer is told as that, and never as damage or as fewer records.
        let asked = request(elastic::filter(&clause, &DateContext::utc(now())).unwrap());
        let there = Arc::new(both.with_empty_cache().await);
        let failed = both.asked(&there, &asked).await.err().map(|error| error.code());
        assert_eq!(failed, Some("DMC-QUERY-18"), "{clause}");
    }
    std::fs::write(&part, kept).unwrap();
    assert!(both.asked(&both.there, &term("timeout")).await.unwrap() == wanted);
    // A footer of another copy is none.
    let other = Cold { sha256: [0; 32], ..both.cold.clone() };
    assert_eq!(both.tier.open_in_place(&both.layout, &other).await.err().map(|e| e.code()), Some("DMC-TIER-03"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_out_of_reach_is_told_as_that_and_its_record_is_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let with_token = |n: u64| {
        let (at, mut source) = event(n);
        let letters: String = format!("{n:026}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        source["who"] = json!(format!("\u{2039}email:{letters}\u{203A}"));
        (at, source)
    };
    let both = Both::with(dir.path(), (0..20_000).map(with_token)).await;
    let asked = SearchRequest {
        size: 20,
        ..request(elastic::filter(&json!({"match_all": {}}), &DateContext::utc(now())).unwrap())
    };
    let (there, part) = (Arc::new(both.with_empty_cache().await), dir.path().join("bucket").join(&both.cold.object));
    let engine = both.engine.clone();
    let read = move || {
        let hits = engine.search(&asked, vec![Arc::clone(&there)], Rows::Redacted)?;
        // The stored copies are in the cache; the column of tokens is not.
        let store = there.reader().get_store_reader(1)?;
        for doc in 0..there.docs {
            store.get::<TantivyDocument>(doc)?;
        }
        std::fs::remove_dir_all(part).unwrap();
        hits.rows().map(|rows| rows.len())
    };
    let told: Result<usize, QueryError> = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(told.map_err(|error| error.code()), Err("DMC-QUERY-18"));
}

/// Segments in the bucket as their manifest names them, each with a copy on the disk.
async fn many(dir: &Path, store: &Store, count: u64) -> (Tier, Layout, Vec<Cold>, Vec<Arc<Segment>>) {
    let (tier, layout) = (Tier::new(store.clone(), dir.join("cache"), Tasks::default()), Layout::new());
    let files = Files::open(&dir.join("segments")).unwrap();
    let (mut colds, mut hot) = (Vec::new(), Vec::new());
    for number in 0..count {
        let shard = ShardId(number % 3);
        let (id, place) = files.place(shard).unwrap();
        let mut builder = Builder::on_disk(&layout, &place, 0).unwrap();
        let records = (number * 500..number * 500 + 500).map(|n| {
            let (at, source) = event(n);
            record(at, None, source)
        });
        builder.add(durable(shard.0, 1 + number * 500, records.collect())).unwrap();
        let built = builder.finish().unwrap().unwrap();
        let segment = open_built(&layout, (id, shard), built, Some(place), Default::default()).unwrap();
        let mut cold = tier.copy_out(&segment).await.unwrap();
        cold.row.copied = Some(cold.named_by(segment.bytes, Default::default()));
        colds.push(cold);
        hot.push(Arc::new(segment));
    }
    (tier, layout, colds, hot)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_segments_are_waited_for_beside_each_other_and_no_more_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreConfig { dir: dir.path().join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
    let (tier, layout, colds, hot) = many(dir.path(), &store, 24).await;
    let mut one_by_one = Engine::new().unwrap();
    one_by_one.beside = super::beside::Beside::alone();
    for sort in [Sort::Score, Sort::Newest] {
        let asked = SearchRequest { sort, ..term("timeout") };
        let wanted = answer(&one_by_one, hot.clone(), &asked).await.unwrap();
        let mut seen = Vec::new();
        for (engine, pause) in [(one_by_one.clone(), 0), (Engine::new().unwrap(), 100)] {
            let empty = tier.clone().with_blocks(Blocks::default());
            let mut segments = Vec::new();
            for cold in &colds {
                segments.push(Arc::new(empty.open_in_place(&layout, cold).await.unwrap()));
            }
            assert!(segments.iter().all(|segment| segment.is_away()));
            *store.traffic.lock() = Default::default();
            store.traffic.lock().pause = std::time::Duration::from_millis(pause);
            assert!(answer(&engine, segments, &asked).await.unwrap() == wanted, "{sort:?}");
            let traffic = *store.traffic.lock();
            seen.push((traffic.reads, traffic.at_once));
        }
        *store.traffic.lock() = Default::default();
        let [(reads, _), (reads_beside, at_once)] = seen[..] else { unreachable!() };
        assert!(at_once >= 12, "{sort:?}: {at_once} at once");
        // By score every segment is read in full; for the newest page, what is begun beside each other cannot be passed over.
        assert!(reads_beside == reads || (sort == Sort::Newest && reads_beside >= reads), "{reads_beside}, {reads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_newest_on_the_disk_leaves_the_bucket_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreConfig { dir: dir.path().join("bucket") }, &"tokyo".parse().unwrap()).await.unwrap();
    let (tier, layout, colds, hot) = many(dir.path(), &store, 6).await;
    let mut segments = vec![Arc::clone(&hot[4]), Arc::clone(&hot[5])];
    for cold in &colds[..4] {
        segments.push(Arc::new(tier.open_in_place(&layout, cold).await.unwrap()));
    }
    let everything = elastic::filter(&json!({"match_all": {}}), &DateContext::utc(now())).unwrap();
    let asked = SearchRequest { size: 20, ..request(everything) };
    let wanted = answer(&Engine::new().unwrap(), hot, &asked).await.unwrap();
    *store.traffic.lock() = Default::default();
    assert!(answer(&Engine::new().unwrap(), segments, &asked).await.unwrap() == wanted);
    assert_eq!(store.traffic.lock().reads, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cold_and_hot_answer_the_same_byte_for_byte(
        events in 1..400_u64,
        places in proptest::collection::vec(0..13_usize, 1..4),
        negated in any::<bool>(),
        sort in 0..3_u8,
        size in 0..40_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let both = Both::of(dir.path(), events).await;
            let clauses: Vec<Json> = places.iter().map(|place| clauses()[*place].clone()).collect();
            let kind = if negated { "must_not" } else { "should" };
            let filter = elastic::filter(&json!({"bool": {kind: clauses}}), &DateContext::utc(now())).unwrap();
            let sort = [Sort::Newest, Sort::Oldest, Sort::Score][usize::from(sort)];
            let asked = SearchRequest { sort, size, ..request(filter) };
            let hot = both.asked(&both.hot, &asked).await.unwrap();
            assert!(both.asked(&both.there, &asked).await.unwrap() == hot);
        });
    }
}

/// `DOMICILE_COLD_EVENTS=1000000 cargo test -p domicile --lib query::cold -- --nocapture measured`; few events without it. Messages
/// have a number of their own, so that the dictionary of terms grows with them.
#[tokio::test(flavor = "multi_thread")]
async fn cold_is_measured_against_hot_with_thirty_milliseconds_a_request() {
    let events: u64 = std::env::var("DOMICILE_COLD_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let dir = tempfile::tempdir().unwrap();
    let both = Both::of(dir.path(), events).await;
    let (requests, bytes) = both.read();
    let size = both.cold.row.bytes;
    eprintln!("{events} events, {size} bytes at rest; opened with {requests} requests and {bytes} bytes");
    both.store.traffic.lock().pause = std::time::Duration::from_millis(30);
    for clause in clauses() {
        let filter = elastic::filter(&clause, &DateContext::utc(now())).unwrap();
        let asked = SearchRequest { size: 20, ..request(filter) };
        let there = Arc::new(both.with_empty_cache().await);
        both.read();
        let (first, cold) = (both.timed(&there, &asked, 1).await, both.read());
        let (warm, hot) = (both.timed(&there, &asked, 21).await, both.timed(&both.hot, &asked, 21).await);
        assert_eq!(both.read(), (0, 0), "{clause}: all of it is in the cache");
        eprintln!(
            "{clause}: cold {first:?} with {} requests and {} bytes; warm p50 {warm:?}; hot p50 {hot:?}",
            cold.0, cold.1
        );
    }
}
