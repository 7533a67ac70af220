//! The entries of a ledger, in order, for audits and tests. Changes nothing, and may run beside a node that writes.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use domicile_proto::ids::Region;

use super::entry::Entry;
use super::errors::LedgerError;
use super::file::{FILE, Mark, Walk};

/// Entries with their numbers, counted from 1; ends at the first error.
pub(crate) struct Entries {
    walk: Option<Walk<BufReader<File>>>,
}

impl Entries {
    /// Opens the ledger of a region for reading, from its first entry on.
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, region: &Region) -> Result<Self, LedgerError> {
        Self::from(dir, region, None)
    }

    /// Opens the ledger of a region for reading, from a mark on where there is one.
    ///
    /// # Errors
    /// [`LedgerError::Open`].
    pub(super) fn from(dir: &Path, region: &Region, mark: Option<Mark>) -> Result<Self, LedgerError> {
        let path = dir.join(FILE);
        let opened = |source| LedgerError::Open { path: path.clone(), source };
        let file = BufReader::new(File::open(&path).map_err(opened)?);
        let walk = match mark {
            None => Walk::new(file, path, region),
            Some(mark) => Walk::behind(file, path.clone(), mark).map_err(opened)?,
        };
        Ok(Self { walk: Some(walk) })
    }
}

impl Iterator for Entries {
    type Item = Result<(u64, Entry), LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        let walk = self.walk.as_mut()?;
        let next = walk.next().transpose()?.and_then(|(number, body)| {
            let entry = serde_json::from_slice(&body).map_err(|_| walk.unreadable());
            entry.map(|entry| (number, entry))
        });
        if next.is_err() {
            self.walk = None;
        }
        Some(next)
    }
}
