//! A disk for tests: it forgets what was not flushed, and fails when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, LogFile};

#[derive(Clone, Default)]
struct Kept {
    flushed: Vec<u8>,
    pending: Vec<u8>,
}

/// How the next operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Appending takes half of the bytes and then finds no room.
    NoRoom,
    /// Flushing fails.
    Sync,
    /// Cutting back fails.
    Cut,
    /// A new file finds no room, and its name stays.
    Create,
    /// A file that is written whole finds no room.
    Publish,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Kept>,
    faults: Vec<Fault>,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Double(Arc<Mutex<State>>);

impl Double {
    /// The disk as it is after a loss of power, when of everything not flushed the given share of 256 was written.
    pub(super) fn after_crash(&self, share: u8) -> Self {
        let state = self.0.lock();
        let files = state.files.iter().map(|(name, kept)| {
            let mut flushed = kept.flushed.clone();
            flushed.extend_from_slice(&kept.pending[..kept.pending.len() * usize::from(share) / 256]);
            (name.clone(), Kept { flushed, pending: Vec::new() })
        });
        Self(Arc::new(Mutex::new(State { files: files.collect(), faults: Vec::new() })))
    }

    /// Lets the next operation that can fail so fail.
    pub(super) fn break_with(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    /// Sets a file's content.
    pub(super) fn put(&self, name: &str, content: Vec<u8>) {
        self.0.lock().files.insert(name.to_owned(), Kept { flushed: content, pending: Vec::new() });
    }

    fn fails(&self, fault: Fault) -> bool {
        let faults = &mut self.0.lock().faults;
        let found = faults.iter().position(|planned| *planned == fault);
        found.map(|at| faults.remove(at)).is_some()
    }

    fn with<T>(&self, name: &str, change: impl FnOnce(&mut Kept) -> T) -> io::Result<T> {
        self.0.lock().files.get_mut(name).map(change).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Double {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.with(name, |kept| [kept.flushed.as_slice(), kept.pending.as_slice()].concat())
    }

    fn make(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        if self.0.lock().files.insert(name.to_owned(), Kept::default()).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.fails(Fault::Create) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(Open { disk: self.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let kept = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), kept);
        Ok(())
    }

    fn flush_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.with(name, |kept| kept.flushed.truncate(usize::try_from(length).unwrap()))
    }

    fn publish(&self, name: &str, content: &[u8]) -> io::Result<()> {
        if self.fails(Fault::Publish) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.put(name, content.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn place(&self) -> String {
        "double".to_owned()
    }
}

struct Open {
    disk: Double,
    name: String,
}

impl LogFile for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let no_room = self.disk.fails(Fault::NoRoom);
        let taken = if no_room { &bytes[..bytes.len() / 2] } else { bytes };
        self.disk.with(&self.name, |kept| kept.pending.extend_from_slice(taken))?;
        if no_room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.disk.fails(Fault::Sync) {
            return Err(io::Error::other("planned"));
        }
        self.disk.with(&self.name, |kept| kept.flushed.append(&mut kept.pending))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.disk.fails(Fault::Cut) {
            return Err(io::Error::other("planned"));
        }
        self.disk.with(&self.name, |kept| {
            kept.flushed.append(&mut kept.pending);
            kept.flushed.truncate(usize::try_from(length).unwrap());
        })
    }
}
