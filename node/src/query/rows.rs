//! Rows between nodes of one region: the codec of the records that one node gives another for an export.
//!
//! A batch is a version byte, the stream, and then each row as its id and its stored copy, each behind its length. What does
//! not read to the last byte is not taken. Crosses no border: only `Neighbour` sends it (RES-1).

use domicile_proto::ids::StreamId;

use super::hits::Row;
use crate::limits::ROWS_PIECE_BYTES;

/// Rows of one stream. No `Debug`.
#[derive(PartialEq, Eq)]
pub(crate) struct RowBatch {
    pub(crate) stream: StreamId,
    pub(crate) rows: Vec<Given>,
}

/// A row as it is given: enough for an export. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The producer's `_id`, or the generated one.
    pub(crate) id: String,
    /// The event as compact JSON, as it was stored.
    pub(crate) source: Vec<u8>,
}

impl From<Row> for Given {
    fn from(row: Row) -> Self {
        Self { id: row.id, source: row.source }
    }
}

impl RowBatch {
    /// Rows of a stream as batches of about so many bytes, in their order; a larger row goes by itself. At least one batch.
    pub(crate) fn pieces(stream: StreamId, rows: Vec<Row>) -> Vec<Vec<u8>> {
        let (mut pieces, mut batch, mut bytes) = (Vec::new(), Self { stream, rows: Vec::new() }, 0_usize);
        for row in rows.into_iter().map(Given::from) {
            let size = row.id.len() + row.source.len() + 2 * LENGTH_BYTES;
            if !batch.rows.is_empty() && bytes + size > ROWS_PIECE_BYTES {
                pieces.push(batch.write());
                (batch.rows, bytes) = (Vec::new(), 0);
            }
            bytes += size;
            batch.rows.push(row);
        }
        pieces.push(batch.write());
        pieces
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.stream.0.to_be_bytes());
        for row in &self.rows {
            for part in [row.id.as_bytes(), &row.source] {
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// What [`RowBatch::pieces`] wrote, if it is that and nothing else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (stream, mut rest) = rest.split_first_chunk()?;
        let mut batch = Self { stream: StreamId(u32::from_be_bytes(*stream)), rows: Vec::new() };
        while !rest.is_empty() {
            let (id, after) = part(rest)?;
            let (source, after) = part(after)?;
            batch.rows.push(Given { id: std::str::from_utf8(id).ok()?.to_owned(), source: source.to_vec() });
            rest = after;
        }
        (*version == VERSION).then_some(batch)
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

const VERSION: u8 = 1;
/// Of the length in front of a part.
const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{ShardId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn row(id: &str, source: &[u8]) -> Row {
        let (time, tie) = (Timestamp(1), (ShardId(1), 1));
        Row { id: id.to_owned(), source: source.to_vec(), time, tie, score: 0.0 }
    }

    proptest! {
        #[test]
        fn what_is_given_comes_back_and_nothing_shorter_or_longer_is_taken(
            stream: u32,
            rows in proptest::collection::vec((".{0,9}", proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
            cut in 0_usize..400,
        ) {
            let all = rows.iter().map(|(id, source)| row(id, source)).collect();
            let pieces = RowBatch::pieces(StreamId(stream), all);
            prop_assert_eq!(pieces.len(), 1);
            let read = RowBatch::read(&pieces[0]).expect("a batch");
            prop_assert_eq!(read.stream, StreamId(stream));
            let back: Vec<(String, Vec<u8>)> = read.rows.into_iter().map(|row| (row.id, row.source)).collect();
            prop_assert_eq!(&back, &rows);
            // What is cut off reads as fewer rows at most, never as other ones; one byte more is no batch.
            let short = RowBatch::read(&pieces[0][..cut.min(pieces[0].len() - 1)]);
            prop_assert!(short.is_none_or(|short| short.rows.len() < rows.len()));
            let longer = [&pieces[0][..], &[7]].concat();
            prop_assert!(RowBatch::read(&longer).is_none());
        }
    }

    #[test]
    fn many_rows_go_in_pieces_and_a_row_that_is_larger_than_one_goes_by_itself() {
        let half = vec![b'a'; ROWS_PIECE_BYTES / 2];
        let large = vec![b'b'; ROWS_PIECE_BYTES * 2];
        let rows = vec![row("1", &half), row("2", &half), row("3", &large), row("4", b"c")];
        let pieces = RowBatch::pieces(StreamId(7), rows);
        let counts: Vec<usize> = pieces.iter().map(|piece| RowBatch::read(piece).unwrap().rows.len()).collect();
        assert_eq!(counts, [1, 1, 1, 1], "two halves with their ids are more than one piece");
        assert!(RowBatch::read(&[2, 0, 0, 0, 7]).is_none(), "another version");
        assert!(RowBatch::read(&[]).is_none());
        assert_eq!(RowBatch::pieces(StreamId(7), vec![]).len(), 1, "nothing is something too");
    }
}
