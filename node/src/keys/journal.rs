//! The journal of the keyring: rows in the order of their coming, durable, until they are folded into the keyring's tree.
//!
//! One file beside the keyring, only ever appended to and never read but at a start. It belongs to the tree that names its
//! number; once a tree names another one, the file is void whatever it holds, so that nothing that was destroyed comes back
//! from it. Holds what the tree would hold: keyed hashes, wrapped keys, sealed originals.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::errors::KeysError;
use super::file;

/// Which journal: drawn anew whenever rows were folded.
pub(super) type Number = [u8; 16];

/// An open journal.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    number: Number,
    /// Its length.
    bytes: u64,
    /// Whether a write failed, so that nobody knows what the file ends with.
    is_broken: bool,
}

/// Rows of one table, as the tree knows them: key and value.
pub(super) type Row<'a> = (u8, &'a [u8], &'a [u8]);

impl Journal {
    /// An empty one, in the place of any that is there.
    pub(super) fn begin(path: &Path, number: Number) -> Result<Self, KeysError> {
        let failed = |source| unwritten(path, source);
        let mut file = file::create(path).map_err(failed)?;
        let header = header(number);
        file.write_all(&header).and_then(|()| file::sync_dir_of(path)).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), number, bytes: header.len() as u64, is_broken: false })
    }

    /// Appends one frame, durably. After an error nothing more can be appended, and what was appended before is still there.
    pub(super) fn append(&mut self, rows: &mut Body) -> Result<(), KeysError> {
        let frame = rows.framed(&self.number);
        let frame = frame.ok_or_else(|| unwritten(&self.path, io::ErrorKind::FileTooLarge.into()))?;
        self.is_broken = true;
        let written = self.file.write_all(frame).and_then(|()| self.file.sync_data());
        written.map_err(|source| unwritten(&self.path, source))?;
        self.is_broken = false;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// One that cannot be written.
    #[cfg(test)]
    pub(super) fn on_a_full_disk() -> Self {
        let path = PathBuf::from("/dev/full");
        let file = File::options().write(true).open(&path).unwrap();
        Self { file, path, number: Number::default(), bytes: 0, is_broken: false }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// The rows of one frame, being gathered behind the room for its head, so that the frame is not copied together.
pub(super) struct Body(Vec<u8>);

impl Default for Body {
    fn default() -> Self {
        Self(vec![0; FRAME_BYTES])
    }
}

impl Body {
    /// Makes room for rows of so many bytes.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    /// One more row. Keys are shorter than 256 bytes, values than 4 GiB.
    pub(super) fn put(&mut self, (table, key, value): Row<'_>) {
        self.0.push(table);
        self.0.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.len() <= FRAME_BYTES
    }

    /// The whole frame; `None` beyond 4 GiB, which the room for work keeps far away.
    fn framed(&mut self, number: &Number) -> Option<&[u8]> {
        let (head, rows) = self.0.split_first_chunk_mut::<FRAME_BYTES>()?;
        let length = u32::try_from(rows.len()).ok()?;
        let parts = BEGIN.into_iter().chain(length.to_le_bytes()).chain(sum(number, rows).to_le_bytes());
        head.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        Some(&self.0)
    }
}

/// Gives every row of the journal with this number, in the order of their coming. A frame that a crash cut short is left out:
/// nobody was told of it. `false` where the file is no journal of this number.
///
/// # Errors
/// [`KeysError::Damaged`] where a frame before others does not read as it was written.
pub(super) fn read(path: &Path, number: Number, mut take: impl FnMut(Row<'_>)) -> Result<bool, KeysError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(file::unreadable(path, source)),
    };
    let damaged = || KeysError::Damaged { path: path.to_owned() };
    let Some(mut rest) = bytes.strip_prefix(header(number).as_slice()) else {
        // Another's, or cut short when it was begun; a frame of this number can stand in neither.
        return if is_header(&bytes) || !holds_frame(&number, &bytes) { Ok(false) } else { Err(damaged()) };
    };
    while let Some((body, behind)) = unframed(&number, rest) {
        rows_of(body, &mut take).ok_or_else(damaged)?;
        rest = behind;
    }
    if holds_frame(&number, rest) { Err(damaged()) } else { Ok(true) }
}

fn rows_of(mut body: &[u8], take: &mut impl FnMut(Row<'_>)) -> Option<()> {
    while !body.is_empty() {
        let (&[table, key], rest) = body.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let value = usize::try_from(u32::from_le_bytes(*value)).ok()?;
        let (key, rest) = rest.split_at_checked(usize::from(key))?;
        let (value, rest) = rest.split_at_checked(value)?;
        take((table, key, value));
        body = rest;
    }
    Some(())
}

fn header(number: Number) -> Vec<u8> {
    let mut header = [&MAGIC[..], &number].concat();
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header
}

/// Whether the bytes begin as a journal of some number.
fn is_header(bytes: &[u8]) -> bool {
    let number = bytes.get(MAGIC.len()..).and_then(|bytes| bytes.first_chunk());
    number.is_some_and(|number| bytes.starts_with(&header(*number)))
}

/// The frame that the bytes begin with, and what follows it.
fn unframed<'a>(number: &Number, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, rest) = bytes.strip_prefix(&BEGIN)?.split_first_chunk()?;
    let (wanted, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (sum(number, body) == u32::from_le_bytes(*wanted)).then_some((body, rest))
}

/// Whether a whole frame of this number stands anywhere in the bytes: then what stands before it was not cut short by a crash.
fn holds_frame(number: &Number, bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, &BEGIN).any(|at| bytes.get(at..).is_some_and(|at| unframed(number, at).is_some()))
}

/// Over the number as well: what an older file left on the same place of the disk is no frame of this one.
fn sum(number: &Number, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(number);
    sum.update(body);
    sum.finalize()
}

fn unwritten(path: &Path, source: io::Error) -> KeysError {
    KeysError::Journal { path: path.to_owned(), source }
}

/// Name of the file.
pub(super) const JOURNAL_FILE: &str = "keyring.journal";
/// What a journal begins with. On disk.
const MAGIC: [u8; 8] = *b"DMCKEYJ1";
/// What a frame begins with. On disk.
const BEGIN: [u8; 4] = [0xF1, b'k', b'j', 0xF2];
/// What stands before the rows of a frame, in bytes.
const FRAME_BYTES: usize = 12;

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
