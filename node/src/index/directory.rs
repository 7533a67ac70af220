//! A directory of the disk that the engine writes into without flushing: a young segment is safe in the write-ahead log, and most
//! are merged away before they need to be durable. Whoever makes a segment durable flushes its files once.
//!
//! It takes no locks: one builder writes a segment, once, and the node's own lock keeps other nodes away. The engine's locks are
//! files, and one that a crash or a reader left behind would keep the node from opening the segment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenDirectoryError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, MmapDirectory, TerminatingWrite, WatchCallback, WatchHandle,
    WritePtr,
};

/// The directory. Reads through the memory map.
#[derive(Clone, Debug)]
pub(crate) struct Unflushed {
    mapped: MmapDirectory,
    dir: PathBuf,
}

impl Unflushed {
    /// Opens a directory that is there.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenDirectoryError> {
        Ok(Self { mapped: MmapDirectory::open(dir)?, dir: dir.to_owned() })
    }
}

impl Directory for Unflushed {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.mapped.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.mapped.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.mapped.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let opened = OpenOptions::new().write(true).create_new(true).open(self.dir.join(path));
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => OpenWriteError::FileAlreadyExists(path.to_owned()),
            _ => OpenWriteError::wrap_io_error(error, path.to_owned()),
        })?;
        Ok(BufWriter::new(Box::new(Written(file))))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.mapped.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let staged = self.dir.join(".staged");
        fs::write(&staged, data)?;
        fs::rename(staged, self.dir.join(path))
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

struct Written(File);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TerminatingWrite for Written {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use tantivy::Index;
    use tantivy::directory::META_LOCK;

    use super::*;

    #[test]
    fn a_lock_that_was_left_keeps_nobody_out_and_readers_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Unflushed::open(dir.path()).unwrap();
        Index::create(open(), tantivy::schema::Schema::builder().build(), tantivy::IndexSettings::default()).unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        Index::open(open()).unwrap().reader().unwrap();
        assert_eq!(names(), before);
        fs::write(dir.path().join(&META_LOCK.filepath), "").unwrap();
        Index::open(open()).unwrap().reader().unwrap();
    }
}
