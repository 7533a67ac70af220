//! Where the numbers of a column stand, by number: an id is found in a cold segment without reading the column of all ids.
//!
//! A copy in the bucket has one table for each column of hashed ids, behind the engine's files. Pairs of a number and a document, sorted,
//! in shelves by the leading bits of the number; behind them where each shelf ends, and a tail that says how all of this is written.
//! Everything is in little endian. Whoever reads checks the bytes against their sums first; a table of another make is as if there was
//! none. Knows not where the bytes lie.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::{DocId, Searcher};

use super::Segment;
use super::ranged::Ranges;

/// Columns that have a table.
pub(crate) const TABLES: [&str; 2] = ["trace", "ids"];
/// What the names of their files end with.
const ENDING: &str = ".lookup";
/// First byte of a tail of this make.
const MAKE: u8 = 1;
/// Make, bits of a shelf, bytes of a number and of a document, number of pairs.
const TAIL_BYTES: u64 = 12;
/// Bytes of the end of one shelf.
const END_BYTES: u64 = 4;
/// Pairs of one shelf, about: a shelf is read whole, and its end is kept with what is read at open.
const SHELF_PAIRS: u64 = 512;
/// Pairs that are sorted in memory at once, about.
const SORTED_AT_ONCE: u64 = 1 << 20;

/// The file of a column's table.
pub(crate) fn file_of(column: &str) -> String {
    format!("{column}{ENDING}")
}

/// Whether a file of a copy is a table, and none of the engine's.
pub(crate) fn is_table(file: &str) -> bool {
    file.ends_with(ENDING)
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    pairs: u64,
    /// Leading bits of a number that name its shelf.
    bits: u32,
    number_bytes: usize,
    doc_bytes: usize,
}

impl Shape {
    fn of(pairs: u64, docs: u32) -> Self {
        let bits = (pairs / SHELF_PAIRS).max(1).ilog2();
        let bytes = |bits: u32| usize::try_from(bits.div_ceil(8)).unwrap_or(8);
        let doc_bytes = bytes(u32::BITS - docs.leading_zeros()).max(1);
        Self { pairs, bits, number_bytes: bytes(u64::BITS - bits), doc_bytes }
    }

    const fn shelf_of(self, number: u64) -> u64 {
        if self.bits == 0 { 0 } else { number >> (u64::BITS - self.bits) }
    }

    const fn pair_bytes(self) -> u64 {
        (self.number_bytes + self.doc_bytes) as u64
    }

    fn tail(self) -> [u8; TAIL_BYTES as usize] {
        let mut tail = [0; TAIL_BYTES as usize];
        let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let head = [MAKE, u8::try_from(self.bits).unwrap_or(u8::MAX), byte(self.number_bytes), byte(self.doc_bytes)];
        let bytes = head.into_iter().chain(self.pairs.to_le_bytes());
        tail.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        tail
    }

    /// What a tail says of a table of so many bytes; `None` where it is not one of this make.
    fn read(tail: &[u8], length: u64) -> Option<Self> {
        let (&[make, bits, number_bytes, doc_bytes], pairs) = tail.split_first_chunk::<4>()?;
        let pairs = u64::from_le_bytes(pairs.try_into().ok()?);
        let shape = Self { pairs, bits: bits.into(), number_bytes: number_bytes.into(), doc_bytes: doc_bytes.into() };
        let is_known = make == MAKE && shape.bits <= 32 && number_bytes <= 8 && (1..=4).contains(&doc_bytes);
        (is_known && shape.length()? == length).then_some(shape)
    }

    fn length(self) -> Option<u64> {
        let pairs = self.pairs.checked_mul(self.pair_bytes())?;
        pairs.checked_add((1_u64 << self.bits) * END_BYTES)?.checked_add(TAIL_BYTES)
    }
}

/// Writes the table of a column; how many bytes it has, and how many of them at its end are read at open.
///
/// # Errors
/// The file cannot be written; a column of more pairs than a table can hold.
fn write(column: &Column<u64>, docs: u32, to: &mut impl Write) -> io::Result<(u64, u64)> {
    let pairs = u64::from(column.values.num_vals());
    let shape = Shape::of(pairs, docs);
    let shelves = 1_u64 << shape.bits;
    let together = (shelves * SORTED_AT_ONCE / pairs.max(1)).clamp(1, shelves);
    let (mut ends, mut written) = (Vec::new(), 0_u64);
    let mut from = 0;
    while from < shelves {
        let shelf = from..(from + together).min(shelves);
        let mut sorted: Vec<(u64, DocId)> = Vec::new();
        for doc in 0..docs {
            let here = column.values_for_doc(doc).filter(|number| shelf.contains(&shape.shelf_of(*number)));
            sorted.extend(here.map(|number| (number, doc)));
        }
        sorted.sort_unstable();
        sorted.dedup();
        let mut rest = sorted.as_slice();
        for shelf in shelf.clone() {
            let (here, behind) = rest.split_at(rest.partition_point(|(number, _)| shape.shelf_of(*number) <= shelf));
            for (number, doc) in here {
                to.write_all(number.to_le_bytes().get(..shape.number_bytes).unwrap_or_default())?;
                to.write_all(doc.to_le_bytes().get(..shape.doc_bytes).unwrap_or_default())?;
            }
            written += here.len() as u64;
            ends.extend(u32::try_from(written).map_err(io::Error::other)?.to_le_bytes());
            rest = behind;
        }
        from = shelf.end;
    }
    to.write_all(&ends)?;
    let shape = Shape { pairs: written, ..shape };
    to.write_all(&shape.tail())?;
    let at_open = ends.len() as u64 + TAIL_BYTES;
    Ok((written * shape.pair_bytes() + at_open, at_open))
}

/// The columns of a segment that have a table.
pub(crate) struct Columns(Searcher);

impl Columns {
    /// Those of a segment on the disk.
    pub(crate) fn of(segment: &Segment) -> Self {
        Self(segment.searcher.clone())
    }

    /// Writes the table of one, as [`write`] does; nothing where the segment has no such number.
    ///
    /// # Errors
    /// The column cannot be read, or the file not be written.
    pub(crate) fn write(&self, column: &str, to: &mut impl Write) -> io::Result<Option<(u64, u64)>> {
        let reader = self.0.segment_reader(0);
        let numbers = reader.fast_fields().u64(column).map_err(io::Error::other)?;
        if numbers.values.num_vals() == 0 {
            return Ok(None);
        }
        write(&numbers, reader.max_doc(), to).map(Some)
    }
}

/// A table that lies somewhere.
#[derive(Debug)]
pub(crate) struct Lookup {
    source: Arc<dyn Ranges>,
    /// Where it begins among the bytes of its source.
    from: u64,
    shape: Shape,
}

impl Lookup {
    /// The table at some bytes of a source; `None` where it is none of this make.
    ///
    /// # Errors
    /// The bytes cannot be had.
    pub(super) fn open(source: &Arc<dyn Ranges>, at: Range<u64>) -> io::Result<Option<Self>> {
        let length = at.end.saturating_sub(at.start);
        if length < TAIL_BYTES {
            return Ok(None);
        }
        let tail = source.read(at.end - TAIL_BYTES..at.end)?;
        let shape = Shape::read(&tail, length);
        Ok(shape.map(|shape| Self { source: Arc::clone(source), from: at.start, shape }))
    }

    /// The documents with a number, rising.
    ///
    /// # Errors
    /// The bytes cannot be had, or are not what was written.
    pub(crate) fn find(&self, number: u64) -> io::Result<Vec<DocId>> {
        let Shape { pairs, number_bytes, doc_bytes, .. } = self.shape;
        let (shelf, ends) = (self.shape.shelf_of(number), self.from + pairs * self.shape.pair_bytes());
        let before = if shelf == 0 { 0 } else { self.end_at(ends + (shelf - 1) * END_BYTES)? };
        let end = self.end_at(ends + shelf * END_BYTES)?;
        if before > end || end > pairs {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a shelf that ends before it begins"));
        }
        if before == end {
            return Ok(Vec::new());
        }
        let at = |pair: u64| self.from + pair * self.shape.pair_bytes();
        let bytes = self.source.read(at(before)..at(end))?;
        let wanted = number.to_le_bytes();
        let wanted = wanted.get(..number_bytes).unwrap_or_default();
        let doc = |pair: &[u8]| {
            let (number, doc) = pair.split_at_checked(number_bytes)?;
            let mut whole = [0; 4];
            whole.get_mut(..doc_bytes)?.copy_from_slice(doc);
            (number == wanted).then_some(DocId::from_le_bytes(whole))
        };
        Ok(bytes.chunks_exact(number_bytes + doc_bytes).filter_map(doc).collect())
    }

    fn end_at(&self, at: u64) -> io::Result<u64> {
        let bytes = self.source.read(at..at + END_BYTES)?;
        let end = bytes.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(u32::from_le_bytes(end).into())
    }
}

/// The tables of one segment, in the order of [`TABLES`].
#[derive(Debug, Default)]
pub(crate) struct Lookups([Option<Lookup>; 2]);

impl Lookups {
    /// Those among the files of a copy, which lie one after the other.
    ///
    /// # Errors
    /// The bytes cannot be had.
    pub(super) fn among(files: &[(String, u64)], source: &Arc<dyn Ranges>) -> io::Result<Self> {
        let mut found = Self::default();
        let mut from = 0;
        for (name, length) in files {
            let at = from..from + length;
            from = at.end;
            let tables = TABLES.iter().zip(&mut found.0);
            if let Some((_, table)) = tables.into_iter().find(|(column, _)| file_of(column) == *name) {
                *table = Lookup::open(source, at)?;
            }
        }
        Ok(found)
    }

    /// The table of a column.
    pub(crate) fn of(&self, column: &str) -> Option<&Lookup> {
        let (_, table) = TABLES.iter().zip(&self.0).find(|(name, _)| **name == column)?;
        table.as_ref()
    }
}

#[cfg(test)]
#[path = "lookup_test.rs"]
mod tests;
