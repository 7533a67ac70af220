//! A simulated disk for tests: every call may be the last one before the power goes, and of what was not flushed any subset of
//! 512-byte sectors is there afterwards. Whatever was done to names since the directory was flushed last may be undone, however
//! well the files themselves were flushed: new files are gone, removed and renamed ones are back. What came last is undone
//! first: file systems with a journal keep the order.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, LogFile};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// SplitMix64: a generator whose whole state is its seed.
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn is_heads(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The power goes in the middle of this call.
    Power,
    /// This call fails with this error, and the next ones succeed.
    Error(io::ErrorKind),
}

#[derive(Clone, Default)]
struct Kept {
    durable: Vec<u8>,
    pending: Vec<u8>,
}

/// What was done to a name.
#[derive(Clone)]
enum Named {
    Made(String),
    Removed(String, Kept),
    /// From, to, and what had that name before.
    Renamed(String, String, Option<Kept>),
}

struct State {
    files: BTreeMap<String, Kept>,
    /// Since the directory was flushed.
    named: Vec<Named>,
    /// Whether flushing the directory does nothing, as if the log had forgotten it.
    forgets_names: bool,
    calls: u64,
    plan: Option<(u64, Trouble)>,
    is_down: bool,
    dice: Dice,
}

/// The disk; clones are the same disk.
#[derive(Clone)]
pub(super) struct Sim(Arc<Mutex<State>>);

/// How a call ends.
enum End {
    Well,
    /// The power went; any part of it may have been done.
    Dark,
    Failed(io::Error),
}

impl Sim {
    pub(super) fn new(seed: u64, plan: Option<(u64, Trouble)>) -> Self {
        Self::with(BTreeMap::new(), plan, false, Dice(seed))
    }

    /// One whose directory is never flushed, whatever the log asks for.
    pub(super) fn forgetful(seed: u64, plan: Option<(u64, Trouble)>) -> Self {
        Self::with(BTreeMap::new(), plan, true, Dice(seed))
    }

    fn with(files: BTreeMap<String, Kept>, plan: Option<(u64, Trouble)>, forgets_names: bool, dice: Dice) -> Self {
        let (named, calls, is_down) = (Vec::new(), 0, false);
        Self(Arc::new(Mutex::new(State { files, named, forgets_names, calls, plan, is_down, dice })))
    }

    /// Calls that changed something so far.
    pub(super) fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    pub(super) fn is_down(&self) -> bool {
        self.0.lock().is_down
    }

    /// The disk after the power has come back, and what goes wrong then.
    pub(super) fn after_power_loss(&self, plan: Option<(u64, Trouble)>) -> Self {
        let mut state = self.0.lock();
        let mut dice = Dice(state.dice.below(u64::MAX));
        let mut files = state.files.clone();
        let lasts = usize::try_from(dice.below(state.named.len() as u64 + 1)).unwrap();
        state.named[lasts..].iter().rev().for_each(|named| named.undo(&mut files));
        for kept in files.values_mut() {
            *kept = Kept { durable: torn(kept, &mut dice), pending: Vec::new() };
        }
        Self::with(files, plan, state.forgets_names, dice)
    }

    fn change(&self, act: impl Fn(&mut State)) -> io::Result<()> {
        let mut state = self.0.lock();
        match state.end() {
            End::Well => act(&mut state),
            End::Dark => {
                if state.dice.is_heads() {
                    act(&mut state);
                }
                return Err(io::Error::other("the power is gone"));
            }
            End::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

impl Named {
    fn undo(&self, files: &mut BTreeMap<String, Kept>) {
        match self {
            Self::Made(name) => drop(files.remove(name)),
            Self::Removed(name, kept) => drop(files.insert(name.clone(), kept.clone())),
            Self::Renamed(from, to, before) => {
                if let Some(kept) = files.remove(to) {
                    files.insert(from.clone(), kept);
                }
                if let Some(kept) = before {
                    files.insert(to.clone(), kept.clone());
                }
            }
        }
    }
}

impl State {
    fn end(&mut self) -> End {
        if self.is_down {
            return End::Failed(io::Error::other("the power is gone"));
        }
        self.calls += 1;
        match self.plan {
            Some((at, Trouble::Power)) if at == self.calls => {
                self.is_down = true;
                End::Dark
            }
            Some((at, Trouble::Error(kind))) if at == self.calls => End::Failed(kind.into()),
            _ => End::Well,
        }
    }
}

/// What a disk that lost its power has of a file: all that was flushed, and any of the other sectors.
fn torn(kept: &Kept, dice: &mut Dice) -> Vec<u8> {
    let mut there = kept.durable.clone();
    let length = usize::try_from(dice.below(kept.pending.len() as u64 + 1)).unwrap();
    let whole = [kept.durable.as_slice(), &kept.pending[..length]].concat();
    there.resize(whole.len(), 0);
    let first = kept.durable.len() / SECTOR;
    for sector in first..whole.len().div_ceil(SECTOR) {
        let range = (sector * SECTOR).max(kept.durable.len())..((sector + 1) * SECTOR).min(whole.len());
        if dice.is_heads() && !range.is_empty() {
            there[range.clone()].copy_from_slice(&whole[range]);
        }
    }
    there
}

impl Disk for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        let kept = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok([kept.durable.as_slice(), kept.pending.as_slice()].concat())
    }

    fn make(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        if self.0.lock().files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(|state| {
            state.files.insert(name.to_owned(), Kept::default());
            state.named.push(Named::Made(name.to_owned()));
        })?;
        Ok(Box::new(Open { disk: self.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let Some(kept) = state.files.remove(from) else { return };
            let before = state.files.insert(to.to_owned(), kept);
            state.named.push(Named::Renamed(from.to_owned(), to.to_owned(), before));
        })
    }

    fn flush_names(&self) -> io::Result<()> {
        self.change(|state| {
            if !state.forgets_names {
                state.named.clear();
            }
        })
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.change(|state| state.with(name, |kept| cut(kept, length)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            if let Some(kept) = state.files.remove(name) {
                state.named.push(Named::Removed(name.to_owned(), kept));
            }
        })
    }

    fn place(&self) -> String {
        "simulated".to_owned()
    }
}

impl State {
    fn with(&mut self, name: &str, act: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.files.get_mut(name) {
            act(kept);
        }
    }
}

fn cut(kept: &mut Kept, length: u64) {
    kept.durable.append(&mut kept.pending);
    kept.durable.truncate(usize::try_from(length).unwrap());
}

struct Open {
    disk: Sim,
    name: String,
}

impl LogFile for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let appended = self.disk.change(|state| state.with(&self.name, |kept| kept.pending.extend_from_slice(bytes)));
        if appended.is_err() && !self.disk.is_down() {
            // A write that fails has written some of it.
            let part = &bytes[..bytes.len() / 2];
            self.disk.0.lock().with(&self.name, |kept| kept.pending.extend_from_slice(part));
        }
        appended
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.change(|state| {
            state.with(&self.name, |kept| kept.durable.append(&mut kept.pending));
        })
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.change(|state| state.with(&self.name, |kept| cut(kept, length)))
    }
}
