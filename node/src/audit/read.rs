//! The entries of a ledger, in order, from any of them on: out of the bodies, and what is not there yet out of the tails.
//!
//! Changes nothing, and may run beside a node that writes. Whether the entries are the ones that were written is checked by
//! `verify`, not here.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::errors::LedgerError;
use super::merkle::WIDTH;
use super::tail;
use super::tiles::{self, Kept, LOG};

/// Entries with their numbers, counted from 1; ends at the first error. One whose body was destroyed is left out.
pub(crate) struct Entries {
    dir: PathBuf,
    /// Entries before the one that is read next.
    next: u64,
    read: VecDeque<(u64, Vec<u8>)>,
    is_over: bool,
}

impl Entries {
    /// Opens the ledger in a directory for reading, from its first entry on.
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, _: &domicile_proto::ids::Region) -> Result<Self, LedgerError> {
        Self::behind(dir, 0)
    }

    /// The entries behind the first `after`.
    ///
    /// # Errors
    /// [`LedgerError::Open`].
    pub(super) fn behind(dir: &Path, after: u64) -> Result<Self, LedgerError> {
        let opened = |source| LedgerError::Open { path: dir.to_path_buf(), source };
        std::fs::read_dir(dir).map_err(opened)?;
        Ok(Self { dir: dir.to_path_buf(), next: after, read: VecDeque::new(), is_over: false })
    }

    /// Reads one bundle, or one tail; `false` where there is nothing more.
    fn fill(&mut self) -> Result<bool, LedgerError> {
        let opened = |path: &Path| {
            let path = path.to_path_buf();
            move |source| LedgerError::Open { path, source }
        };
        let tails = tail::list(&self.dir).map_err(opened(&self.dir))?;
        // The last tail that begins before what is wanted; what lies before all of them is in the bodies.
        let Some((start, path)) = tails.iter().rfind(|(start, _)| *start <= self.next) else {
            let index = self.next / WIDTH;
            let path = self.dir.join(LOG).join(tiles::bodies_path(index));
            let bytes = std::fs::read(&path).map_err(opened(&path))?;
            return self.take(index * WIDTH, bundle(&bytes).ok_or(LedgerError::Damaged { path, offset: 0 })?);
        };
        let bytes = match std::fs::read(path) {
            // It was replaced just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            read => read.map_err(opened(path))?,
        };
        let contents = tail::read(&bytes);
        let contents = contents.map_err(|_| LedgerError::Damaged { path: path.clone(), offset: 0 })?;
        let bodies = contents.records.into_iter().map(|record| Some(record.body)).collect();
        let is_more = self.take(*start, bodies)?;
        Ok(is_more)
    }

    fn take(&mut self, start: u64, bodies: Vec<Option<Vec<u8>>>) -> Result<bool, LedgerError> {
        let before = self.next;
        for (number, body) in (start + 1..).zip(bodies) {
            if number > before {
                self.next = number;
                self.read.extend(body.map(|body| (number, body)));
            }
        }
        Ok(self.next > before)
    }
}

fn bundle(mut bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        bodies.push(match tiles::take(&mut bytes)? {
            Kept::Whole(record) => Some(record.body),
            Kept::Destroyed | Kept::Withheld => None,
        });
    }
    Some(bodies)
}

impl Iterator for Entries {
    type Item = Result<(u64, Entry), LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.read.is_empty() && !self.is_over {
            match self.fill() {
                Ok(is_more) => self.is_over = !is_more,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        let (number, body) = self.read.pop_front()?;
        let entry = Entry::read(&body).ok_or_else(|| LedgerError::Foreign { path: self.dir.clone() });
        if entry.is_err() {
            self.is_over = true;
            self.read.clear();
        }
        Some(entry.map(|entry| (number, entry)))
    }
}
