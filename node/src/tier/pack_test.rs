//! Segments go out in parts and come back; altered ones do not.

use proptest::prelude::*;
use serde_json::json;
use tantivy::collector::Count;
use tantivy::query::{AllQuery, TermQuery};
use tantivy::schema::IndexRecordOption;

use super::*;
use crate::errors::Coded;
use crate::index::builder::Builder;
use crate::segment::files::{Files, open_built};
use crate::segment::specimen::{durable, record, segment};
use crate::store::StoreConfig;

async fn tier(dir: &Path) -> Tier {
    let config = StoreConfig { dir: dir.join("bucket") };
    let store = Store::open(&config, &"tokyo".parse().unwrap()).await.unwrap();
    Tier { part_bytes: 999, ..Tier::new(store, dir.join("cache"), Tasks::default()) }
}

fn on_disk(layout: &Layout, dir: &Path) -> Segment {
    let (id, place) = Files::open(&dir.join("segments")).unwrap().place(ShardId(4)).unwrap();
    let mut builder = Builder::on_disk(layout, &place, 0).unwrap();
    let records = (0..500).map(|n| record(n, None, json!({"message": format!("needle{} in hay", n % 50)}))).collect();
    builder.add(durable(4, 1, records)).unwrap();
    let built = builder.finish().unwrap().unwrap();
    open_built(layout, (id, ShardId(4)), built, Some(place), Default::default()).unwrap()
}

#[tokio::test]
async fn a_segment_goes_out_and_is_searched_from_the_bucket_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, layout) = (tier(dir.path()).await, Layout::new());
    let hot = on_disk(&layout, dir.path());
    let cold = tier.copy_out(&hot).await.unwrap();
    let (local, found) = (hot.dir.clone().unwrap(), Row::of(&hot));
    drop(hot);
    fs::remove_dir_all(local).unwrap();
    for _ in 0..2 {
        let back = tier.open(&layout, &cold).await.unwrap();
        assert_eq!(Row::of(&back), found);
        assert_eq!(back.searcher.search(&AllQuery, &Count).unwrap(), 500);
        let term = tantivy::Term::from_field_text(layout.fields.message, "needle7");
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        assert_eq!(back.searcher.search(&query, &Count).unwrap(), 10);
    }
}

#[tokio::test]
async fn neither_a_damaged_segment_goes_out_nor_an_altered_object_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, layout) = (tier(dir.path()).await, Layout::new());
    let hot = on_disk(&layout, dir.path());
    let cold = tier.copy_out(&hot).await.unwrap();
    assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-05"), "once");
    let young = segment(&layout, durable(4, 1, vec![record(1, None, json!({}))]));
    assert_eq!(tier.copy_out(&young).await.err().map(|e| e.code()), Some("DMC-TIER-01"));

    for object in [footer_name(&cold.object), part_name(&cold.object, 0), part_name(&cold.object, 3)] {
        let object = dir.path().join("bucket").join(object);
        let kept = fs::read(&object).unwrap();
        let mut bytes = kept.clone();
        bytes[100] ^= 1;
        fs::write(&object, bytes).unwrap();
        assert_eq!(tier.open(&layout, &cold).await.err().map(|e| e.code()), Some("DMC-TIER-03"));
        fs::write(&object, kept).unwrap();
    }
    tier.open(&layout, &cold).await.unwrap();

    let files = fs::read_dir(hot.dir.as_ref().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let store = files.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "store")).unwrap();
    let mut bytes = fs::read(&store).unwrap();
    bytes[3] ^= 1;
    fs::write(&store, bytes).unwrap();
    assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-02"));
}

#[tokio::test]
async fn parts_are_bounded_and_an_interrupted_copy_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, layout) = (tier(dir.path()).await, Layout::new());
    let hot = on_disk(&layout, dir.path());
    let cold = tier.copy_out(&hot).await.unwrap();
    let parts = tier.store.list(&cold.object).await.unwrap();
    assert!(parts.len() > 5 && parts.iter().all(|(name, size)| name.ends_with("footer") || *size <= 999));
    for lost in [footer_name(&cold.object), part_name(&cold.object, 2)] {
        tier.store.delete(&lost).await.unwrap();
    }
    assert_eq!(tier.open(&layout, &cold).await.err().map(|e| e.code()), Some("DMC-TIER-05"));
    assert_eq!(tier.copy_out(&hot).await.unwrap(), cold);
    tier.open(&layout, &cold).await.unwrap();
    // Other bytes where a part belongs are never taken for it.
    tier.store.delete(&footer_name(&cold.object)).await.unwrap();
    fs::write(dir.path().join("bucket").join(part_name(&cold.object, 1)), "other").unwrap();
    assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-05"));
}

#[test]
fn a_name_that_leaves_the_directory_is_refused() {
    let footer = |name: &str, format| {
        let files = vec![Entry { name: name.to_owned(), length: 0 }];
        let row = serde_json::json!({"id": "1", "docs": 1, "oldest": 1, "newest": 1, "first_seq": 1, "last_seq": 1, "bytes": 1, "built_at": 1, "received_until": 1});
        let row = serde_json::from_value(row).unwrap();
        let mut bytes = serde_json::to_vec(&Footer { format, row, files, parts: Vec::new(), hot: Vec::new() }).unwrap();
        bytes.push(b'\n');
        Bytes::from(bytes)
    };
    assert!(read_footer(&footer("a.store", FORMAT)).is_some());
    assert!(read_footer(&footer("a.store", FORMAT + 1)).is_none());
    for name in ["../x", "/x", ".managed.json", "a/b", "a\\b"] {
        assert!(read_footer(&footer(name, FORMAT)).is_none(), "{name}");
    }
}

#[test]
fn a_footer_keeps_no_more_of_what_is_read_at_open_than_it_may() {
    let hot = Hot::of(vec![0..10, 20..COLD_HOT_BYTES + 20, 30..COLD_HOT_BYTES + 20]);
    assert_eq!(hot.ranges, [0..10, 30..COLD_HOT_BYTES + 20], "the rest is read in ranges");
    let mut hot = Hot::of(vec![2..5, 7..9]);
    for part in [&b"01"[..], b"23456", b"7", b"89"] {
        hot.take(part);
    }
    assert_eq!(hot.bytes, b"23478");
    let mut hot = Hot::of(vec![7..9, 2..5, 4..6, 8..9]);
    for part in [&b"01"[..], b"234", b"56789"] {
        hot.take(part);
    }
    assert_eq!((hot.ranges, &hot.bytes[..]), (vec![2..6, 7..9], &b"234578"[..]), "in their order, and nothing twice");
}

proptest! {
    #[test]
    fn files_come_back_from_parts_of_any_size(
        lengths in proptest::collection::vec(0..50_usize, 0..8),
        most in 1..40_usize,
        lost in 0..3_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        for (n, length) in lengths.iter().enumerate() {
            fs::write(from.join(format!("f{n}")), vec![u8::try_from(n).unwrap(); *length]).unwrap();
        }
        let mut reading = Reading::begin(from.clone()).unwrap();
        let mut parts = Vec::new();
        loop {
            let (rest, part) = reading.part(most).unwrap();
            reading = rest;
            if part.is_empty() {
                break;
            }
            prop_assert!(part.len() <= most);
            parts.push(part);
        }
        let total = lengths.iter().sum::<usize>();
        prop_assert_eq!(parts.len(), total.div_ceil(most));
        let kept = parts.len().saturating_sub(lost);
        let writing = Writing::begin(to.clone(), reading.files).unwrap();
        let whole = parts.iter().take(kept).fold(writing, |writing, part| writing.take(part).unwrap()).finish();
        prop_assert_eq!(whole.is_some(), kept == parts.len());
        for (n, length) in lengths.iter().enumerate().filter(|_| whole.is_some()) {
            prop_assert_eq!(fs::read(to.join(format!("f{n}"))).unwrap(), vec![u8::try_from(n).unwrap(); *length]);
        }
    }
}

#[test]
fn no_footer_of_a_copy_panics() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = runtime.block_on(async {
        let (tier, layout) = (tier(dir.path()).await, Layout::new());
        let cold = tier.copy_out(&on_disk(&layout, dir.path())).await.unwrap();
        tier.store.read(&footer_name(&cold.object)).await.unwrap()
    });
    // The whole of it is long; one without what is read at each opening shows more of its line.
    let line = memchr::memchr(b'\n', &whole).unwrap();
    let mut plain: serde_json::Value = serde_json::from_slice(&whole[..line]).unwrap();
    plain["hot"] = json!([{"start": 3, "end": 5}]);
    plain["parts"] = json!([]);
    let good = vec![whole.to_vec(), format!("{plain}\nab").into_bytes()];
    assert!(good.iter().all(|footer| read_footer(&Bytes::from(footer.clone())).is_some()));
    bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
        let bytes = Bytes::from(input.bytes(&good));
        if let Some((footer, hot)) = read_footer(&bytes) {
            let held: usize = hot.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(held < bytes.len() && footer.files.iter().all(|file| !file.name.contains('/')));
        }
    });
}
