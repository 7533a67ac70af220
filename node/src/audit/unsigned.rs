//! Bodies behind the newest checkpoint of a log: what a node wrote that no checkpoint is over yet, or what somebody put there.
//!
//! They are never shown, for nobody signed them, and those that no tail holds either are counted. What cannot have been written there by the node fails: bodies that do
//! not go on from the last entry, others than those that became durable, and files that no bundle has. Whether the rest is
//! believed is not decided here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::chains::{Chains, Link};
use super::entry::Entry;
use super::merkle::{Hash, WIDTH};
use super::tiles::{self, Kept};
use super::verify::{Broken, broken};

/// What lies there that no tail holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsigned {
    /// Whole bodies.
    pub(crate) entries: u64,
    /// Their bytes, and those of a last one that is not whole.
    pub(crate) bytes: u64,
}

/// The files of bodies that are there. Asked before any of them is read, so that what a running node begins meanwhile is not missed.
pub(super) fn list(log: &Path) -> BTreeSet<PathBuf> {
    let (mut open, mut found) = (vec![log.join(BODIES)], BTreeSet::new());
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

/// The end of what is signed, from where bodies may go on.
pub(super) struct End<'a> {
    /// Entries under the newest checkpoint.
    pub(super) size: u64,
    /// The ends of the chains there.
    pub(super) chains: &'a Chains,
    /// Whether bodies before it are destroyed or withheld, so that an end may be unknown.
    pub(super) has_gaps: bool,
    /// What the tails say became durable since, in order.
    pub(super) durable: &'a [Hash],
}

/// Looks at what lies behind: the `rest` of the last file of bodies that was read, and the files after it.
///
/// # Errors
/// [`Broken`] for what no node writes there.
pub(super) fn check(
    log: &Path,
    mut listed: BTreeSet<PathBuf>,
    rest: Vec<u8>,
    end: &End<'_>,
) -> Result<Unsigned, Broken> {
    let bundles = end.size.div_ceil(WIDTH);
    for index in 0..bundles {
        listed.remove(&log.join(tiles::bodies_path(index)));
    }
    let mut walk = Walk { end, chains: end.chains.clone(), seen: 0, found: Unsigned::default(), is_torn: false };
    if !rest.is_empty() {
        walk.file(&tiles::bodies_path(bundles.saturating_sub(1)), &rest)?;
    }
    for index in bundles.. {
        let place = tiles::bodies_path(index);
        let path = log.join(&place);
        if !listed.remove(&path) {
            break;
        }
        if walk.is_torn || end.size + walk.seen != index * WIDTH {
            return Err(broken(place, "bodies before these are missing"));
        }
        let bytes = std::fs::read(&path).map_err(|_| broken(&place, "this file is missing or cannot be read"))?;
        walk.file(&place, &bytes)?;
    }
    match listed.iter().find(|path| path.extension().is_none_or(|end| end != "new")) {
        None => Ok(walk.found),
        Some(path) => {
            Err(broken(path.strip_prefix(log).unwrap_or(path).display(), "this file does not belong to the log"))
        }
    }
}

struct Walk<'a> {
    end: &'a End<'a>,
    chains: Chains,
    /// Whole bodies so far.
    seen: u64,
    found: Unsigned,
    /// A body ended before its end: the last one of a copy that was made while the node wrote.
    is_torn: bool,
}

impl Walk<'_> {
    fn file(&mut self, place: &str, bytes: &[u8]) -> Result<(), Broken> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let number = self.end.size + self.seen + 1;
            let at = || format!("{place}, behind the last signed entry, number {number}");
            let before = rest.len();
            let taken = tiles::take(&mut rest);
            let is_durable = self.durable().is_some();
            match taken {
                Some(Kept::Whole(record)) => {
                    self.entry(&record).map_err(|why| broken(at(), why))?;
                    self.seen += 1;
                    self.found.entries += u64::from(!is_durable);
                }
                None if tiles::is_begun(rest) => self.is_torn = true,
                _ => return Err(broken(at(), "there are bytes that are no body, and no checkpoint is over them")),
            }
            let taken = if self.is_torn { before } else { before - rest.len() };
            self.found.bytes += if is_durable { 0 } else { taken as u64 };
            if self.is_torn {
                break;
            }
        }
        Ok(())
    }

    /// What the tails say of the next body.
    fn durable(&self) -> Option<&Hash> {
        self.end.durable.get(usize::try_from(self.seen).unwrap_or(usize::MAX))
    }

    fn entry(&mut self, record: &tiles::Record) -> Result<(), &'static str> {
        let commitment = record.commitment();
        if self.durable().is_some_and(|durable| *durable != commitment) {
            return Err("the body is another than the one that became durable");
        }
        let entry =
            Entry::read(&record.body).ok_or("the body is no entry that this build knows, and nobody signed it")?;
        let end = self.chains.end(entry.tenant);
        let is_next = entry.seq == end.seq + 1 && entry.prev == end.commitment;
        let is_leap = self.end.has_gaps && entry.seq > end.seq;
        if !(is_next || is_leap) {
            return Err("the body does not go on from the entries before it, and nobody signed it");
        }
        self.chains.grow(entry.tenant, Link { seq: entry.seq, commitment });
        Ok(())
    }
}

const BODIES: &str = "bodies";

#[cfg(test)]
#[path = "unsigned_test.rs"]
mod tests;
