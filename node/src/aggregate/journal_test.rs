//! The journal through an ordinary bucket: kept, summed up, contested, damaged.

use std::num::NonZeroU32;

use domicile_proto::ids::{DictionaryId, KThreshold, Name, TimeRange, Timestamp};

use super::super::book::{CutRow, Dictionary, TableRow};
use super::*;
use crate::errors::Coded;
use crate::fuzz::{Input, cases};

const SHARD: ShardId = ShardId(7);

fn cut(minute: i64, after: u64) -> CutRow {
    let k = KThreshold(NonZeroU32::new(5).unwrap());
    let (upto, noisy) = (after + 10, None);
    CutRow { start: minute * 60, width: 60, after, upto, records: 9, k, by_records: false, journal: 0, noisy }
}

fn entry(minute: i64) -> Entry {
    let fields = vec![(Name::level(), 0)];
    let dictionaries = if minute == 0 {
        vec![Dictionary::Ids(vec![DictionaryId(1), DictionaryId(2)]), Dictionary::Bounds(vec![-5, 10])]
    } else {
        Vec::new()
    };
    let tables = vec![TableRow {
        start: minute * 60,
        generation: 0,
        fields,
        cells: vec![(1, 5), (2, 4)],
        seen: vec![],
        sums: vec![],
    }];
    Entry { version: Entry::VERSION, dictionaries, cuts: vec![cut(minute, 0)], tables }
}

async fn names(store: &Store) -> Vec<String> {
    store.list(PREFIX).await.unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn no_entry_of_the_release_journal_panics() {
    let good: Vec<Vec<u8>> = [entry(0), entry(1), Entry { cuts: vec![cut(0, 10), cut(-7, 3)], ..entry(2) }]
        .iter()
        .map(|entry| serde_json::to_vec(entry).unwrap())
        .collect();
    bolero::check!().with_iterations(cases()).with_type::<(Input, Input)>().for_each(|inputs| {
        let mut book = Book::default();
        assert!(book.apply(&entry(0)).is_ok());
        for input in [&inputs.0, &inputs.1] {
            let Ok(entry) = serde_json::from_slice::<Entry>(&input.bytes(&good)) else { return };
            // A book that something did not fit is used no more.
            if book.apply(&entry).is_err() {
                return;
            }
        }
        let range = TimeRange { from: Timestamp(-60 * Timestamp::MICROS), to: Timestamp(i64::MAX) };
        let _ = (book.inside(range).count(), book.has_late(range), book.noise(range), book.is_barred(i64::MAX, 60));
        let mut again = Book::default();
        assert!(again.apply(&book.whole()).is_ok(), "what is summed up is taken by an empty book");
        assert!(again.whole() == book.whole());
    });
}

#[tokio::test]
async fn what_was_kept_is_read_again_whole_also_after_it_was_summed_up() {
    let store = Store::in_memory();
    let mut shelf = Shelf::open(&store, SHARD).await.unwrap();
    for minute in 0..i64::try_from(JOURNAL_ENTRIES).unwrap() * 2 + 3 {
        shelf.keep(&store, &entry(minute)).await.unwrap();
        if minute % 20 == 0 || names(&store).await.len() == 1 {
            let again = Shelf::open(&store, SHARD).await.unwrap();
            assert_eq!((again.number, again.book.whole()), (shelf.number, shelf.book.whole()));
            shelf = again;
        }
    }
    assert!(names(&store).await.len() as u64 <= JOURNAL_ENTRIES, "{:?}", names(&store).await);
    assert_eq!(shelf.book.inside(TimeRange::ALL).count() as u64, JOURNAL_ENTRIES * 2 + 3);
    assert!(Shelf::open(&store, ShardId(8)).await.unwrap().book.whole().is_empty());
}

#[tokio::test]
async fn of_two_nodes_the_second_loses_whether_or_not_entries_were_summed_up() {
    let store = Store::in_memory();
    let mut ahead = Shelf::open(&store, SHARD).await.unwrap();
    let mut behind = Shelf::open(&store, SHARD).await.unwrap();
    ahead.keep(&store, &entry(0)).await.unwrap();
    let lost = behind.keep(&store, &entry(0)).await.err().unwrap();
    assert_eq!(lost.code(), "DMC-AGGREGATE-06");
    for minute in 1..i64::try_from(JOURNAL_ENTRIES).unwrap() + 2 {
        ahead.keep(&store, &entry(minute)).await.unwrap();
    }
    // Number 1 is free again, and proves nothing.
    assert!(!names(&store).await.iter().any(|name| name.ends_with("0000000001-entry")));
    assert_eq!(behind.keep(&store, &entry(0)).await.err().unwrap().code(), "DMC-AGGREGATE-06");
    let again = Shelf::open(&store, SHARD).await.unwrap();
    assert_eq!(again.book.whole(), ahead.book.whole());
}

#[tokio::test]
async fn a_journal_with_a_gap_or_a_strange_entry_releases_nothing() {
    for damage in [Some(&b"{}"[..]), None] {
        let store = Store::in_memory();
        let mut shelf = Shelf::open(&store, SHARD).await.unwrap();
        for minute in 0..3 {
            shelf.keep(&store, &entry(minute)).await.unwrap();
        }
        let second = name(SHARD, 2, false);
        store.delete(&second).await.unwrap();
        if let Some(content) = damage {
            store.create(&second, Bytes::from_static(content)).await.unwrap();
        }
        let error = Shelf::open(&store, SHARD).await.err().unwrap();
        assert_eq!(error.code(), "DMC-AGGREGATE-05");
        assert!(error.to_string().contains("released/0000000000000007/"), "{error}");
    }
}

#[test]
fn a_book_takes_nothing_twice_and_nothing_out_of_order() {
    let mut book = Book::default();
    book.apply(&entry(0)).unwrap();
    assert!(book.apply(&Entry { cuts: vec![], ..entry(0) }).is_err(), "a table that is there");
    for wrong in [cut(0, 5), CutRow { upto: 0, ..cut(1, 0) }, CutRow { width: 300, ..cut(0, 10) }] {
        let mut book = Book::default();
        book.apply(&entry(0)).unwrap();
        let entry = Entry { version: Entry::VERSION, cuts: vec![wrong], ..Entry::default() };
        assert!(book.apply(&entry).is_err());
    }
    let mut unknown = entry(1);
    unknown.tables[0].fields[0].1 = 9;
    assert!(book.apply(&unknown).is_err(), "a dictionary that is not there");
    assert!(book.apply(&Entry { version: 2, ..Entry::default() }).is_err());
}

#[test]
fn a_book_that_is_full_bars_new_leaves_and_not_those_it_has() {
    let mut book = Book::with_room(1);
    assert!(!book.is_barred(0, 60));
    book.apply(&entry(0)).unwrap();
    assert!(book.is_barred(60, 60) && !book.is_barred(0, 60));
}

#[test]
fn the_json_of_an_entry_stays() {
    let golden = r#"{"version":1,"dictionaries":[{"ids":[1,2]},{"bounds":[-5,10]}],"cuts":[{"start":0,"width":60,"after":0,"upto":10,"records":9,"k":5,"by_records":false}],"tables":[{"start":0,"generation":0,"fields":[["level",0]],"cells":[[1,5],[2,4]]}]}"#;
    assert_eq!(serde_json::to_string(&entry(0)).unwrap(), golden);
    assert_eq!(serde_json::from_str::<Entry>(golden).unwrap(), entry(0));
}
