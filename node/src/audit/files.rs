//! Every write of the ledger to its disk goes through here, so that a test can end them between any two; and what a start reads, so
//! that a test can count it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes; in a test only so many.
#[derive(Clone, Default)]
pub(super) struct Files {
    #[cfg(test)]
    pub(super) left: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
    #[cfg(test)]
    pub(super) read: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Files {
    /// One step of writing is about to happen.
    #[cfg_attr(not(test), allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test counts"))]
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = &self.left
            && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0
        {
            return Err(io::Error::other("the test ended the writing here"));
        }
        Ok(())
    }

    /// A whole file.
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "a test counts"))]
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = std::fs::read(path)?;
        #[cfg(test)]
        self.read.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::SeqCst);
        Ok(bytes)
    }

    /// Opens a file at its end, which is made where there is none.
    pub(super) fn appending(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        make_parent(path)?;
        OpenOptions::new().append(true).create(true).open(path)
    }

    /// A new, empty file in the place of whatever was there.
    pub(super) fn fresh(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        make_parent(path)?;
        File::create(path)
    }

    /// Writes behind what is there; half of it only where a test ends here.
    pub(super) fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        File::open(dir)?.sync_all()
    }

    /// A file with these bytes in the place of whatever was there, whole or as before, and durable.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = self.fresh(&new)?;
        self.append(&mut file, bytes)?;
        self.sync(&file)?;
        self.step()?;
        std::fs::rename(&new, path)?;
        self.sync_dir(path.parent().unwrap_or(path))
    }

    /// Renames, durably.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)?;
        self.sync_dir(to.parent().unwrap_or(to))
    }

    /// Removes a file that may be gone already.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        gone(std::fs::remove_file(path))
    }

    /// Removes a directory with what is in it; it may be gone already.
    pub(super) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        gone(std::fs::remove_dir_all(path))
    }
}

fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Files that were written and are not durable yet.
#[derive(Default)]
pub(super) struct Unsynced(BTreeSet<PathBuf>);

impl Unsynced {
    pub(super) fn note(&mut self, path: PathBuf) {
        self.0.insert(path);
    }

    /// Makes all of them durable, and the directories they are in.
    pub(super) fn sync(&mut self, files: &Files, top: &Path) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        for path in std::mem::take(&mut self.0) {
            files.sync(&File::open(&path)?)?;
            dirs.extend(path.ancestors().skip(1).take_while(|dir| dir.starts_with(top)).map(Path::to_path_buf));
        }
        dirs.iter().try_for_each(|dir| files.sync_dir(dir))
    }
}
