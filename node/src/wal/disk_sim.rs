//! A simulated disk for tests: every call may be the last one before the power goes, and of what was not flushed any subset of
//! 512-byte sectors is there afterwards. Removed names may come back until something flushes the directory, those removed last
//! before the others: file systems with a journal keep the order of removals.

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

struct State {
    files: BTreeMap<String, Kept>,
    removed: Vec<(String, Kept)>,
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
        let (files, removed) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(State { files, removed, calls: 0, plan, is_down: false, dice: Dice(seed) })))
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
        let mut files = BTreeMap::new();
        for (name, kept) in &state.files {
            files.insert(name.clone(), Kept { durable: torn(kept, &mut dice), pending: Vec::new() });
        }
        let stays_removed = usize::try_from(dice.below(state.removed.len() as u64 + 1)).unwrap();
        for (name, kept) in &state.removed[stays_removed..] {
            files.entry(name.clone()).or_insert_with(|| Kept { durable: torn(kept, &mut dice), pending: Vec::new() });
        }
        Self(Arc::new(Mutex::new(State { files, removed: Vec::new(), calls: 0, plan, is_down: false, dice })))
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

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.change(|state| {
            // Flushing the directory makes every earlier removal last.
            state.removed.clear();
            state.files.insert(name.to_owned(), Kept::default());
        })?;
        Ok(Box::new(Open { disk: self.clone(), name: name.to_owned() }))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.change(|state| state.with(name, |kept| cut(kept, length)))
    }

    fn publish(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let published = self.change(|state| {
            state.removed.clear();
            let content = Kept { durable: content.to_vec(), pending: Vec::new() };
            state.files.insert(name.to_owned(), content);
        });
        if published.is_err() && self.0.lock().dice.is_heads() {
            // What was to be renamed may be left under its first name.
            let staged = Kept { durable: content[..content.len() / 2].to_vec(), pending: Vec::new() };
            self.0.lock().files.insert(format!("{name}.tmp"), staged);
        }
        published
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            if let Some(kept) = state.files.remove(name) {
                state.removed.push((name.to_owned(), kept));
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
