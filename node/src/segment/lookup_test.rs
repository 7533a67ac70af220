//! The table of ids says what the column says, of any column; and a damaged one says nothing wrong in silence.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proptest::prelude::*;
use tantivy::columnar::{ColumnarReader, ColumnarWriter, DynamicColumn};

use super::*;

/// Bytes in memory, and which of them were read.
#[derive(Debug)]
struct Shown(Vec<u8>, Mutex<Vec<Range<u64>>>);

impl Ranges for Shown {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.1.lock().push(range.clone());
        let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        self.0.get(from..to).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn column(docs: &[Vec<u64>]) -> Column<u64> {
    let mut writer = ColumnarWriter::default();
    // A column that nobody wrote is not there.
    writer.record_column_type("n", tantivy::columnar::ColumnType::U64, false);
    for (doc, numbers) in docs.iter().enumerate() {
        numbers.iter().for_each(|number| writer.record_numerical(doc as u32, "n", *number));
    }
    let mut bytes = Vec::new();
    writer.serialize(docs.len() as u32, None, &mut bytes).unwrap();
    let handles = ColumnarReader::open(bytes).unwrap().read_columns("n").unwrap();
    match handles[0].open().unwrap() {
        DynamicColumn::U64(column) => column,
        _ => panic!("another kind of column"),
    }
}

fn table(docs: &[Vec<u64>]) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let (length, at_open) = write(&column(docs), docs.len() as u32, &mut bytes).unwrap();
    assert_eq!(length, bytes.len() as u64);
    (bytes, at_open)
}

fn opened(bytes: Vec<u8>) -> (Arc<Shown>, Option<Lookup>) {
    let length = bytes.len() as u64;
    let shown = Arc::new(Shown(bytes, Mutex::default()));
    let source: Arc<dyn Ranges> = Arc::clone(&shown) as _;
    let lookup = Lookup::open(&source, 0..length).unwrap();
    (shown, lookup)
}

fn by_number(docs: &[Vec<u64>]) -> BTreeMap<u64, Vec<DocId>> {
    let mut wanted: BTreeMap<u64, Vec<DocId>> = BTreeMap::new();
    for (doc, numbers) in docs.iter().enumerate() {
        for number in numbers {
            let list = wanted.entry(*number).or_default();
            if list.last() != Some(&(doc as u32)) {
                list.push(doc as u32);
            }
        }
    }
    wanted
}

proptest! {
    #[test]
    fn a_table_says_what_its_column_says(
        docs in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![0..40_u64, any::<u64>(), Just(u64::MAX)], 0..4), 1..200),
        others in proptest::collection::vec(any::<u64>(), 10),
    ) {
        let (bytes, _) = table(&docs);
        let (_, lookup) = opened(bytes);
        let (lookup, wanted) = (lookup.unwrap(), by_number(&docs));
        for (number, docs) in &wanted {
            prop_assert_eq!(&lookup.find(*number).unwrap(), docs);
        }
        for other in others.iter().filter(|other| !wanted.contains_key(other)) {
            prop_assert_eq!(lookup.find(*other).unwrap(), Vec::<DocId>::new());
        }
    }

    #[test]
    fn no_bytes_of_a_table_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), number in any::<u64>()) {
        // A tail of this make more often than chance would have it.
        if let Some(make) = bytes.len().checked_sub(12).and_then(|at| bytes.get_mut(at)) {
            *make = MAKE;
        }
        if let (_, Some(lookup)) = opened(bytes) {
            let _ = lookup.find(number);
        }
    }
}

#[test]
fn a_large_table_is_read_by_one_shelf_and_sorted_in_pieces() {
    // More than is sorted at once, spread as hashes are.
    let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n >> 7);
    let docs: Vec<Vec<u64>> = (0..(SORTED_AT_ONCE + SORTED_AT_ONCE / 8)).map(|n| vec![hash(n)]).collect();
    let (bytes, at_open) = table(&docs);
    assert!(at_open <= 16 << 10, "{at_open} bytes are kept in the footer");
    assert!(bytes.len() as u64 / docs.len() as u64 <= 11, "{} bytes", bytes.len());
    let (shown, lookup) = opened(bytes);
    let lookup = lookup.unwrap();
    for n in [0, 1, 4_711, SORTED_AT_ONCE, docs.len() as u64 - 1] {
        shown.1.lock().clear();
        assert_eq!(lookup.find(hash(n)).unwrap(), vec![n as u32]);
        let read: u64 = shown.1.lock().iter().map(|range| range.end - range.start).sum();
        assert!(read <= 16 << 10, "{read} bytes are read for one id");
    }
}

#[test]
fn a_table_of_another_make_or_length_is_as_if_there_was_none() {
    let (bytes, _) = table(&[vec![1, 2], vec![], vec![2]]);
    assert!(opened(bytes.clone()).1.is_some());
    let mut newer = bytes.clone();
    let make = newer.len() - 12;
    newer[make] = MAKE + 1;
    assert!(opened(newer).1.is_none());
    assert!(opened(bytes[1..].to_vec()).1.is_none());
    assert!(opened(bytes[..5].to_vec()).1.is_none());
    // Ends that do not rise are refused, and never read past the table.
    let mut wrong = bytes;
    let end = wrong.len() - 16;
    wrong[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(opened(wrong).1.unwrap().find(1).unwrap_err().kind(), io::ErrorKind::InvalidData);
}
