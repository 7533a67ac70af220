//! The file of the ledger: opened, checked to the last entry, written on.
//!
//! An end that is not a whole group of entries is what a crash leaves of entries nobody was told of: it is put aside in a file of
//! its own and the ledger says so. Anything wrong before whole entries is damage, and the node does not write on.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domicile_proto::ids::Region;
use parking_lot::Mutex;

use super::chain::{self, FULL_GROUP_BYTES, Found, HEAD_BYTES, Head, MAX_GROUP_BYTES};
use super::errors::LedgerError;

/// Name of the file in its directory.
pub(super) const FILE: &str = "ledger";

/// An end of the file that was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// Entries from one mark to the next, at least; and the most of one group, so that no mark is much later.
const BETWEEN_MARKS: u64 = 1_024;

/// A place in the file from which reading may begin: behind so many entries, at this byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    head: Head,
    offset: u64,
}

/// Ends of groups; a page of a long ledger is read from the one before it. Memory: at most 48 bytes for 1,024 entries.
#[derive(Clone, Default)]
pub(super) struct Marks(Arc<Mutex<Vec<Mark>>>);

impl Marks {
    fn note(&self, head: Head, offset: u64) {
        let mut marks = self.0.lock();
        if head.size >= marks.last().map_or(0, |last| last.head.size) + BETWEEN_MARKS {
            marks.push(Mark { head, offset });
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
            if walk.read.is_empty() {
                marks.note(walk.head, walk.offset);
            }
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
        Self { file, head, pending: Vec::new(), pending_head: head, end, marks }
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
        chain::put(&mut self.pending, body);
        self.pending_head = self.pending_head.after(body);
        self.pending_head.size
    }

    /// Whether the group should be committed before it takes more.
    pub(super) const fn is_full(&self) -> bool {
        self.pending.len() >= FULL_GROUP_BYTES || self.pending_head.size - self.head.size >= BETWEEN_MARKS
    }

    /// Makes the group durable. After an error the file must not be written again.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let group = chain::write(self.head, &self.pending);
        self.file.write_all(&group)?;
        self.file.sync_data()?;
        self.end += group.len() as u64;
        self.pending.clear();
        self.head = self.pending_head;
        self.marks.note(self.head, self.end);
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
    /// Entries of the group that was read last.
    read: VecDeque<Vec<u8>>,
}

impl<R: Read> Walk<R> {
    pub(super) fn new(from: R, path: PathBuf, region: &Region) -> Self {
        let (head, buffer, read) = (Head::empty(region), Vec::new(), VecDeque::new());
        Self { from, path, head, offset: 0, buffer, at: 0, is_over: false, read }
    }

    /// From a mark on.
    pub(super) fn behind(mut from: R, path: PathBuf, mark: Mark) -> io::Result<Self>
    where
        R: Seek,
    {
        from.seek(SeekFrom::Start(mark.offset))?;
        let (buffer, read) = (Vec::new(), VecDeque::new());
        Ok(Self { from, path, head: mark.head, offset: mark.offset, buffer, at: 0, is_over: false, read })
    }

    /// The body of the next entry and its number; `None` at the end, be it torn or not.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, LedgerError> {
        if self.read.is_empty() {
            self.read_group()?;
        }
        let Some(body) = self.read.pop_front() else { return Ok(None) };
        self.head = self.head.after(&body);
        Ok(Some((self.head.size, body)))
    }

    /// Reads the next group, if there is one.
    fn read_group(&mut self) -> Result<(), LedgerError> {
        self.fill()?;
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        match chain::read(&self.head, bytes) {
            Found::Whole { entries, length } => {
                self.read.extend(entries.into_iter().map(<[u8]>::to_vec));
                self.at += length;
                self.offset += length as u64;
                Ok(())
            }
            Found::Unchained if self.offset == 0 => Err(LedgerError::Foreign { path: self.path.clone() }),
            Found::Newer => Err(LedgerError::Foreign { path: self.path.clone() }),
            Found::Unchained => Err(self.damaged()),
            Found::Cut | Found::Damaged => {
                let (offset, entry) = (self.offset, self.head.size + 1);
                let rest = self.rest()?;
                if rest.get(1..).is_some_and(chain::holds_a_frame) {
                    return Err(LedgerError::Damaged { path: self.path.clone(), entry, offset });
                }
                Ok(())
            }
        }
    }

    /// Everything after the last whole group.
    fn rest(&mut self) -> Result<Vec<u8>, LedgerError> {
        self.from
            .read_to_end(&mut self.buffer)
            .map_err(|source| LedgerError::Open { path: self.path.clone(), source })?;
        self.is_over = true;
        Ok(self.buffer.get(self.at..).unwrap_or_default().to_vec())
    }

    /// Makes sure that a whole group is in the buffer, unless the file ends before.
    fn fill(&mut self) -> Result<(), LedgerError> {
        const WANTED: usize = HEAD_BYTES + MAX_GROUP_BYTES;
        if self.is_over || self.buffer.len() - self.at >= WANTED {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        // Two groups of the largest size, and many of the usual one; the memory is bounded either way.
        let missing = (2 * WANTED - self.buffer.len()) as u64;
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
