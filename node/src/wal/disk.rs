//! The disk below the write-ahead log: the machine's, or one in a test that loses what was not flushed.
//!
//! Knows files and flushing, nothing of frames. What a disk does by itself is apart from what is made of it, so that the order of
//! flushes, that of the directory included, is the same code over both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the log asks of a disk. Names are names of files in the log's one directory.
pub(super) trait Disk: Send {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// The whole content of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// A new, empty file. Its name may be lost until [`Self::flush_names`] returns, whatever is flushed of the file itself.
    fn make(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Gives a file another name, in the place of what had it; may be undone until [`Self::flush_names`] returns.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes every change of names last.
    fn flush_names(&self) -> io::Result<()>;
    /// Cuts a file and flushes it.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;
    /// Removes a file; it may come back until [`Self::flush_names`] returns.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Where it is, for people.
    fn place(&self) -> String;

    /// A new, empty file, whose name survives a loss of power once this returns.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut file = self.make(name)?;
        if let Err(error) = file.sync().and_then(|()| self.keep_names()) {
            // A file that nobody writes should not stay; where it does, it is empty, and the next start removes it.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(file)
    }

    /// Writes a file whole: after a loss of power it is there with this content or not at all.
    fn publish(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let staged = format!("{name}.tmp");
        let mut file = match self.make(&staged) {
            // What an earlier try left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(&staged)?;
                self.make(&staged)?
            }
            made => made?,
        };
        file.append(content)?;
        file.sync()?;
        self.rename(&staged, name)?;
        self.keep_names()
    }

    /// [`Self::flush_names`], unless that is the bug that was asked for.
    fn keep_names(&self) -> io::Result<()> {
        #[cfg(feature = "jepsen-bugs")]
        if crate::bugs::is_seeded("skip-dir-fsync") {
            return Ok(());
        }
        self.flush_names()
    }
}

/// A file that is appended to.
pub(super) trait LogFile: Send {
    /// Appends; the bytes may be lost until [`Self::sync`] returns.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Flushes.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file back to a length, and flushes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A directory of the machine.
pub(super) struct Directory {
    dir: PathBuf,
}

impl Directory {
    /// Makes the directory where it is missing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let directory = Self { dir: dir.to_owned() };
        directory.flush_names()?;
        if let Some(parent) = dir.parent() {
            File::open(parent).and_then(|parent| parent.sync_all())?;
        }
        Ok(directory)
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(name))
    }

    fn make(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.dir.join(name))?;
        Ok(Box::new(Appended(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn flush_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.dir.join(name))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }
}

struct Appended(File);

impl LogFile for Appended {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        #[cfg(feature = "jepsen-bugs")]
        if crate::bugs::is_seeded("ack-before-fsync") {
            return Ok(());
        }
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        use std::io::Seek;
        self.0.set_len(length)?;
        self.0.seek(io::SeekFrom::Start(length))?;
        self.0.sync_all()
    }
}
