//! The journal under cuts, flips and strangers.

use proptest::prelude::*;

use super::*;

const NUMBER: Number = *b"0123456789abcdef";

type Owned = (u8, Vec<u8>, Vec<u8>);

/// A journal of these frames, and where each of them ends.
fn written(path: &Path, frames: &[Vec<Owned>]) -> Vec<usize> {
    let mut journal = Journal::begin(path, NUMBER).unwrap();
    let mut ends = Vec::new();
    for frame in frames {
        let mut body = Body::default();
        frame.iter().for_each(|(table, key, value)| body.put((*table, key, value)));
        journal.append(&mut body).unwrap();
        ends.push(usize::try_from(journal.bytes()).unwrap());
    }
    ends
}

fn rows(path: &Path, number: Number) -> Result<(bool, Vec<Owned>), KeysError> {
    let mut rows = Vec::new();
    let is_ours = read(path, number, |(table, key, value)| rows.push((table, key.to_vec(), value.to_vec())))?;
    Ok((is_ours, rows))
}

fn three_frames() -> Vec<Vec<Owned>> {
    let row = |table: u8, of: u8| (table, vec![of; 24], vec![of; usize::from(of)]);
    vec![vec![row(0, 1), row(1, 2)], vec![row(2, 3)], vec![row(0, 4), row(1, 5)]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_come_back_in_the_order_of_their_coming(
        frames in proptest::collection::vec(proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60), proptest::collection::vec(any::<u8>(), 0..300)), 1..5,
        ), 0..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(JOURNAL_FILE);
        written(&path, &frames);
        let all: Vec<Owned> = frames.into_iter().flatten().collect();
        prop_assert_eq!(rows(&path, NUMBER).unwrap(), (true, all));
    }
}

#[test]
fn a_cut_at_any_byte_leaves_every_whole_frame_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(JOURNAL_FILE);
    let frames = three_frames();
    let ends = written(&path, &frames);
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&path, bytes.get(..cut).unwrap()).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let expected: Vec<Owned> = frames.iter().take(whole).flatten().cloned().collect();
        assert_eq!(rows(&path, NUMBER).unwrap(), (cut >= header(NUMBER).len(), expected), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_before_another_frame_is_damage_and_in_the_last_frame_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(JOURNAL_FILE);
    let frames = three_frames();
    let ends = written(&path, &frames);
    let bytes = std::fs::read(&path).unwrap();
    let last = ends[1];
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        let read = rows(&path, NUMBER);
        if at < last {
            assert!(matches!(read, Err(KeysError::Damaged { .. })), "a frame behind byte {at} was thrown away");
        } else {
            let expected: Vec<Owned> = frames.iter().take(2).flatten().cloned().collect();
            assert_eq!(read.unwrap(), (true, expected), "byte {at}");
        }
    }
}

#[test]
fn a_journal_of_another_number_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(JOURNAL_FILE);
    assert_eq!(rows(&path, NUMBER).unwrap(), (false, Vec::new()), "there is none");
    let ends = written(&path, &three_frames());
    assert_eq!(rows(&path, [7; 16]).unwrap(), (false, Vec::new()));
    // What an older file left behind the end of a newer one is none of its frames.
    let old = std::fs::read(&path).unwrap();
    let newer = [header([7; 16]).as_slice(), old.get(header(NUMBER).len()..ends[0]).unwrap()].concat();
    std::fs::write(&path, newer).unwrap();
    assert_eq!(rows(&path, [7; 16]).unwrap(), (true, Vec::new()));
}

#[test]
fn the_bytes_on_disk_are_those_of_every_version_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(JOURNAL_FILE);
    written(&path, &[vec![(1, b"key".to_vec(), b"value".to_vec())]]);
    let bytes = hex::encode(std::fs::read(&path).unwrap());
    assert_eq!(bytes, GOLDEN);
}

#[test]
fn a_disk_that_is_full_breaks_the_journal_and_says_so() {
    let mut journal = Journal::on_a_full_disk();
    let mut body = Body::default();
    body.put((0, b"key", b"value"));
    assert!(!journal.is_broken());
    assert!(matches!(journal.append(&mut body), Err(KeysError::Journal { .. })));
    assert!(journal.is_broken());
}

/// Magic, number and sum; then a frame: beginning, length, sum, table, lengths of key and value, key, value.
const GOLDEN: &str = concat!(
    "444d434b45594a3130313233343536373839616263646566c3a32427",
    "f16b6af20e0000000e0336be0103050000006b657976616c7565",
);

#[test]
fn no_journal_of_keys_panics() {
    let good = three_frames().into_iter().map(|frame| {
        let mut body = Body::default();
        frame.iter().for_each(|(table, key, value)| body.put((*table, key, value)));
        body.0.split_off(FRAME_BYTES)
    });
    let (good, number) = (good.collect::<Vec<_>>(), [7; 16]);
    bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
        let rows = input.bytes(&good);
        let mut body = Body::default();
        body.0.extend_from_slice(&rows);
        let frame = body.framed(&number).unwrap().to_vec();
        let (found, rest) = unframed(&number, &frame).unwrap();
        assert!(found == rows && rest.is_empty());
        let mut again = Body::default();
        let is_whole = rows_of(found, &mut |row| again.put(row)).is_some();
        assert!(!is_whole || again.0[FRAME_BYTES..] == rows, "rows are what they were written as");
        let _ = (unframed(&number, &rows), holds_frame(&number, &rows), is_header(&rows));
    });
}
