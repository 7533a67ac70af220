//! The file of the ledger: opened, checked to the last entry, written on.
//!
//! An end that is not a whole entry is what a crash leaves of an entry nobody was told of: it is put aside in a file of its
//! own and the ledger says so. Anything wrong before whole entries is damage, and the node does not write on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domicile_proto::ids::Region;
use parking_lot::Mutex;

use super::chain::{self, Found, HEAD_BYTES, Head, MAX_BODY_BYTES};
use super::errors::LedgerError;

/// Name of the file in its directory.
pub(super) const FILE: &str = "ledger";

/// An end of the file that was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// Entries between two marks.
const BETWEEN_MARKS: u64 = 1_024;

/// A place in the file from which reading may begin: behind so many entries, at this byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    head: Head,
    offset: u64,
}

/// Every so-manieth place; a page of a long ledger is read from the one before it. Memory: 48 bytes for 1,024 entries.
#[derive(Clone, Default)]
pub(super) struct Marks(Arc<Mutex<Vec<Mark>>>);

impl Marks {
    fn note(&self, head: Head, offset: u64) {
        if head.size.is_multiple_of(BETWEEN_MARKS) && head.size > 0 {
            self.0.lock().push(Mark { head, offset });
        }
    }

    /// The last place behind at most `entries` entries; `None` where that is the beginning.
    pub(super) fn before(&self, entries: u64) -> Option<Mark> {
        let marks = self.0.lock();
        let place = marks.partition_point(|mark| mark.head.size <= entries);
        place.checked_sub(1).and_then(|place| marks.get(place).copied())
    }
}

/// The file, at its end.
pub(super) struct LedgerFile {
    file: File,
    head: Head,
    pending: Vec<u8>,
    pending_head: Head,
    /// Where the durable entries end.
    end: u64,
    marks: Marks,
    /// Marks of what is pending.
    pending_marks: Vec<(Head, u64)>,
}

impl LedgerFile {
    /// Opens or creates the ledger of a region, and checks every entry in it.
    pub(super) fn open(dir: &Path, region: &Region) -> Result<(Self, Option<Torn>), LedgerError> {
        let path = dir.join(FILE);
        let opened = |source| LedgerError::Open { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(opened)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(opened)?;
        let mut walk = Walk::new(BufReader::with_capacity(1 << 20, &file), path.clone(), region);
        let marks = Marks::default();
        while walk.next()?.is_some() {
            marks.note(walk.head, walk.offset);
        }
        let (head, end) = (walk.head, walk.offset);
        let rest = walk.rest()?;
        let torn = put_aside(dir, end, &rest).map_err(opened)?;
        if torn.is_some() {
            file.set_len(end).map_err(opened)?;
        }
        file.seek(SeekFrom::Start(end)).map_err(opened)?;
        file.sync_all().map_err(opened)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(opened)?;
        Ok((Self::at(file, head, end, marks), torn))
    }

    pub(super) const fn at(file: File, head: Head, end: u64, marks: Marks) -> Self {
        Self { file, head, pending: Vec::new(), pending_head: head, end, marks, pending_marks: Vec::new() }
    }

    /// Places to begin reading at; they grow as the file does.
    pub(super) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// The durable head.
    pub(super) const fn head(&self) -> Head {
        self.head
    }

    /// Adds an entry to the group that the next [`LedgerFile::commit`] makes durable; gives its number.
    pub(super) fn add(&mut self, body: &[u8]) -> u64 {
        chain::write(self.pending_head, body, &mut self.pending);
        self.pending_head = self.pending_head.after(body);
        self.pending_marks.push((self.pending_head, self.end + self.pending.len() as u64));
        self.pending_head.size
    }

    /// Makes the group durable. After an error the file must not be written again.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending)?;
        self.file.sync_data()?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        self.head = self.pending_head;
        for (head, offset) in self.pending_marks.drain(..) {
            self.marks.note(head, offset);
        }
        Ok(())
    }
}

fn put_aside(dir: &Path, end: u64, rest: &[u8]) -> io::Result<Option<Torn>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut aside = File::create(dir.join(format!("torn-{end}")))?;
    aside.write_all(rest)?;
    aside.sync_all()?;
    Ok(Some(Torn { bytes: rest.len() as u64, sha256: chain::sha256(&[rest]) }))
}

/// One pass over the entries of a file, from the first.
pub(super) struct Walk<R> {
    from: R,
    path: PathBuf,
    head: Head,
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl<R: Read> Walk<R> {
    pub(super) fn new(from: R, path: PathBuf, region: &Region) -> Self {
        Self { from, path, head: Head::empty(region), offset: 0, buffer: Vec::new(), at: 0, is_over: false }
    }

    /// From a mark on.
    pub(super) fn behind(mut from: R, path: PathBuf, mark: Mark) -> io::Result<Self>
    where
        R: Seek,
    {
        from.seek(SeekFrom::Start(mark.offset))?;
        Ok(Self { from, path, head: mark.head, offset: mark.offset, buffer: Vec::new(), at: 0, is_over: false })
    }

    /// The body of the next entry and its number; `None` at the end, be it torn or not.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, LedgerError> {
        self.fill()?;
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        match chain::read(&self.head, bytes) {
            Found::Whole { body, length } => {
                self.head = self.head.after(body);
                let body = body.to_vec();
                self.at += length;
                self.offset += length as u64;
                Ok(Some((self.head.size, body)))
            }
            Found::Unchained if self.offset == 0 => Err(LedgerError::Foreign { path: self.path.clone() }),
            Found::Newer => Err(LedgerError::Foreign { path: self.path.clone() }),
            Found::Unchained => Err(self.damaged()),
            Found::Cut | Found::Damaged => {
                let (offset, entry) = (self.offset, self.head.size + 1);
                let rest = self.rest()?;
                if rest.get(1..).is_some_and(chain::holds_an_entry) {
                    return Err(LedgerError::Damaged { path: self.path.clone(), entry, offset });
                }
                Ok(None)
            }
        }
    }

    /// Everything after the last whole entry.
    fn rest(&mut self) -> Result<Vec<u8>, LedgerError> {
        self.from
            .read_to_end(&mut self.buffer)
            .map_err(|source| LedgerError::Open { path: self.path.clone(), source })?;
        self.is_over = true;
        Ok(self.buffer.get(self.at..).unwrap_or_default().to_vec())
    }

    /// Makes sure that a whole entry is in the buffer, unless the file ends before.
    fn fill(&mut self) -> Result<(), LedgerError> {
        const WANTED: usize = HEAD_BYTES + MAX_BODY_BYTES;
        if self.is_over || self.buffer.len() - self.at >= WANTED {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        // Several entries at a time; the memory is bounded either way.
        let missing = (8 * WANTED - self.buffer.len()) as u64;
        let read = (&mut self.from).take(missing).read_to_end(&mut self.buffer);
        let read = read.map_err(|source| LedgerError::Open { path: self.path.clone(), source })?;
        self.is_over = (read as u64) < missing;
        Ok(())
    }

    /// The error for an entry that fits the chain and is no entry of this build.
    pub(super) fn unreadable(&self) -> LedgerError {
        LedgerError::Foreign { path: self.path.clone() }
    }

    fn damaged(&self) -> LedgerError {
        LedgerError::Damaged { path: self.path.clone(), entry: self.head.size + 1, offset: self.offset }
    }
}
