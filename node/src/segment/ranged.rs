//! A segment whose files lie one after the other somewhere else: read in ranges, never written, never fetched whole.
//!
//! Knows what the engine reads of such a stretch of bytes and in what order; where the bytes come from is the business of whoever
//! gives them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr};
use tantivy::{Directory, HasLen, Index};

use super::files::{disk, open_index};
use super::lookup::{Lookups, is_table};
use super::manifest::Row;
use super::segment::searcher;
use super::{Segment, SegmentError, SegmentId};
use crate::index::builder::Layout;
use domicile_proto::ids::ShardId;

/// Gives ranges of the files of a segment as they follow each other. May block; is never asked on a thread of the runtime.
pub(crate) trait Ranges: fmt::Debug + Send + Sync + 'static {
    /// Exactly these bytes.
    ///
    /// # Errors
    /// They cannot be had, or are not what was written.
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>>;
}

/// Whether the engine failed because the bytes of a segment could not be had where they lie.
pub(crate) fn is_out_of_reach(error: &tantivy::TantivyError) -> bool {
    let is_away = |error: &io::Error| error.kind() == OUT_OF_REACH;
    match error {
        tantivy::TantivyError::IoError(error) => is_away(error),
        tantivy::TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => is_away(io_error),
        _ => false,
    }
}

/// The kind of an error that says so.
pub(crate) const OUT_OF_REACH: io::ErrorKind = io::ErrorKind::HostUnreachable;

/// A file and its length.
pub(crate) type Named = (String, u64);

/// Opens a segment in place.
///
/// # Errors
/// What cannot be read, or is not what the row says.
pub(crate) fn open_ranged(
    layout: &Layout,
    ids: (SegmentId, ShardId),
    row: &Row,
    files: &[Named],
    source: Arc<dyn Ranges>,
) -> Result<Segment, SegmentError> {
    let directory = Ranged::new(files, Arc::clone(&source));
    let bytes = files.iter().filter(|(name, _)| !is_table(name)).map(|(_, length)| length).sum();
    let mut segment = open_index(layout, ids, row, directory, None, bytes)?;
    let tables = Lookups::among(files, &source);
    let failed = |error: io::Error| SegmentError::Open { segment: ids.0, source: error.into() };
    segment.lookups = Arc::new(tables.map_err(failed)?);
    Ok(segment)
}

/// What is read first of a segment, as ranges of its files one after the other.
pub(crate) struct ReadFirst {
    /// Before any question is asked.
    pub(crate) at_open: Vec<Range<u64>>,
    /// By nearly every question: where the blocks of each dictionary of terms begin, and which columns there are.
    pub(crate) when_asked: Vec<Range<u64>>,
}

/// What is read first of a segment.
///
/// # Errors
/// The segment cannot be read.
pub(crate) fn read_first(id: SegmentId, dir: &Path, files: &[Named]) -> Result<ReadFirst, SegmentError> {
    let open = |source| SegmentError::Open { segment: id, source };
    let local = Arc::new(Local { dir: dir.to_owned(), files: files.to_vec(), seen: Mutex::default() });
    let directory = Ranged::new(files, Arc::clone(&local) as _);
    let index = Index::open(directory).map_err(open)?;
    let searcher = searcher(&index).map_err(open)?;
    for reader in searcher.segment_readers() {
        reader.get_store_reader(0).map_err(|error| disk(dir, error))?;
    }
    let at_open = local.seen();
    for reader in searcher.segment_readers() {
        for (field, _) in reader.schema().fields().filter(|(_, entry)| entry.is_indexed()) {
            reader.inverted_index(field).map_err(open)?;
        }
        for column in ["ts", "seq"] {
            reader.fast_fields().dynamic_column_handles(column).map_err(open)?;
        }
    }
    let is_new = |range: &Range<u64>| !at_open.iter().any(|at| at.start <= range.start && range.end <= at.end);
    let when_asked = local.seen().into_iter().filter(is_new).collect();
    Ok(ReadFirst { at_open, when_asked })
}

/// Ranges in their order, those that touch each other as one.
pub(crate) fn joined(mut seen: Vec<Range<u64>>) -> Vec<Range<u64>> {
    seen.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in seen.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => joined.push(range),
        }
    }
    joined
}

/// The directory as the engine sees it.
#[derive(Clone, Debug)]
struct Ranged {
    files: Arc<BTreeMap<PathBuf, Range<u64>>>,
    source: Arc<dyn Ranges>,
}

impl Ranged {
    fn new(files: &[Named], source: Arc<dyn Ranges>) -> Self {
        let mut from = 0;
        let placed = files.iter().map(|(name, length)| {
            let at = from..from + length;
            from = at.end;
            (PathBuf::from(name), at)
        });
        Self { files: Arc::new(placed.collect()), source }
    }

    fn handle(&self, path: &Path) -> Result<Handle, OpenReadError> {
        let at = self.files.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_owned()))?;
        Ok(Handle { at: at.clone(), source: Arc::clone(&self.source) })
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a cold segment is never written")
}

impl Directory for Ranged {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.handle(path)?))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_owned()))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let handle = self.handle(path)?;
        let read = handle.source.read(handle.at.clone());
        read.map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()))
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// One file of it.
#[derive(Debug)]
struct Handle {
    at: Range<u64>,
    source: Arc<dyn Ranges>,
}

impl HasLen for Handle {
    fn len(&self) -> usize {
        usize::try_from(self.at.end - self.at.start).unwrap_or(usize::MAX)
    }
}

impl FileHandle for Handle {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let (from, to) = (self.at.start + range.start as u64, self.at.start + range.end as u64);
        if from > to || to > self.at.end {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a range that is not in the file"));
        }
        if from == to {
            return Ok(OwnedBytes::empty());
        }
        Ok(OwnedBytes::new(self.source.read(from..to)?))
    }
}

/// Files of this disk, and what was read of them.
struct Local {
    dir: PathBuf,
    files: Vec<Named>,
    seen: Mutex<Vec<Range<u64>>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({})", self.dir.display())
    }
}

impl Local {
    /// What was read since this was asked last.
    fn seen(&self) -> Vec<Range<u64>> {
        joined(std::mem::take(&mut *self.seen.lock()))
    }
}

impl Ranges for Local {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.seen.lock().push(range.clone());
        let mut begin = 0;
        for (name, length) in &self.files {
            // What the engine reads lies in one file.
            if (begin..begin + length).contains(&range.start) {
                let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
                File::open(self.dir.join(name))?.read_exact_at(&mut bytes, range.start - begin)?;
                return Ok(bytes);
            }
            begin += length;
        }
        Ok(Vec::new())
    }
}
