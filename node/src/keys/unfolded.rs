//! What lies in the journal and not yet in the tree of the keyring: rows in memory, durable, and how they are folded.
//!
//! A tree of keyed hashes is written all over by every batch, for its rows lie at random places; so rows are gathered and go
//! into it by large groups, in its order. Whoever reads the tree for anything but sealing has it folded first, so that rows
//! are looked up in one place only. Everything here is called by whoever holds the vault's writer.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::TableDefinition;
use ring::rand::{SecureRandom, SystemRandom};

use super::errors::KeysError;
use super::journal::{self, Body, JOURNAL_FILE, Journal, Number};
use super::ring::{At, FACTS, JOURNAL, Ring, SEALED, SUBJECTS, TOKENS};
use crate::limits::KEYRING_JOURNAL_BYTES;

/// Tables whose rows go through the journal. Their places in [`TABLES`] stand on disk.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// Keys of subjects.
    Subjects,
    /// Originals.
    Sealed,
    /// Where tokens of declared subjects lie.
    Tokens,
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const TABLES: [Table; 3] = [SUBJECTS, SEALED, TOKENS];

/// Rows of one table by their keys.
type ByKey = HashMap<Box<[u8]>, Box<[u8]>, BuildHasherDefault<OfKeyedHashes>>;

/// Hashes keys of rows. They begin with keyed hashes, which no sender knows, so mixing them is enough.
#[derive(Default)]
pub(super) struct OfKeyedHashes(u64);

impl Hasher for OfKeyedHashes {
    fn write(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        for eight in eights.iter().chain([&last]) {
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(*eight)).wrapping_mul(ODD);
        }
    }

    /// Lengths, which say nothing more.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        // The highest bits are the best mixed, and a map looks at both ends.
        self.0.rotate_left(26)
    }
}

/// Rows by table and key.
#[derive(Default)]
pub(super) struct Rows([ByKey; TABLES.len()]);

impl Rows {
    pub(super) fn find(&self, of: Of, key: &[u8]) -> Option<&[u8]> {
        self.0.get(of as usize)?.get(key).map(AsRef::as_ref)
    }

    pub(super) fn put(&mut self, of: Of, key: &[u8], value: &[u8]) {
        if let Some(rows) = self.0.get_mut(of as usize) {
            rows.insert(key.into(), value.into());
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(HashMap::is_empty)
    }
}

/// New rows of a group of batches, before they are durable: found by the group alone.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) rows: Rows,
    body: Body,
    /// Keys of subjects and originals that were not there before.
    pub(super) subjects: u64,
    /// As above.
    pub(super) originals: u64,
}

impl Staged {
    /// For so many new originals.
    pub(super) fn expecting(originals: usize) -> Self {
        let mut staged = Self::default();
        staged.body.expect(originals.saturating_mul(ROW_BYTES));
        staged
    }

    pub(super) fn put(&mut self, of: Of, key: &[u8], value: &[u8]) {
        self.body.put((of as u8, key, value));
        self.rows.put(of, key, value);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

/// The rows of a ring that its tree lacks.
pub(super) struct Unfolded {
    pub(super) rows: RwLock<Rows>,
    open: Mutex<Open>,
    /// How often the tree was changed since it was opened.
    changes: AtomicU64,
    subjects: AtomicU64,
    originals: AtomicU64,
}

struct Open {
    number: Number,
    journal: Option<Journal>,
    /// When its first row came, by the steady clock.
    since: Option<Duration>,
}

impl Unfolded {
    /// Nothing, before a journal of this number.
    pub(super) fn new(number: Number) -> Self {
        let open = Mutex::new(Open { number, journal: None, since: None });
        let (changes, subjects, originals) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { rows: RwLock::default(), open, changes, subjects, originals }
    }

    /// What a crash or a stop left in the journal beside a tree.
    pub(super) fn recovered(path: &Path, number: Number) -> Result<Self, KeysError> {
        let mut rows = Rows::default();
        journal::read(&path.with_file_name(JOURNAL_FILE), number, |(table, key, value)| {
            if let Some(rows) = rows.0.get_mut(usize::from(table)) {
                rows.insert(key.into(), value.into());
            }
        })?;
        Ok(Self { rows: RwLock::new(rows), ..Self::new(number) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.read().is_empty()
    }

    /// How many keys of subjects, and how many originals, the tree lacks.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.subjects.load(Ordering::SeqCst), self.originals.load(Ordering::SeqCst))
    }

    /// Differs from what it was before where the tree was changed since.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The tree was changed: what was read from it before may be untrue.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// When the oldest row came, by the steady clock, as far as this process knows.
    pub(super) fn since(&self) -> Option<Duration> {
        self.open.lock().since
    }

    /// Whether there is no room for more rows before they are folded.
    pub(super) fn is_full(&self) -> bool {
        let open = self.open.lock();
        open.journal.as_ref().is_some_and(|journal| journal.is_broken() || journal.bytes() >= KEYRING_JOURNAL_BYTES)
    }

    /// Makes rows durable; then they are found.
    pub(super) fn keep(&self, ring: &Path, mut staged: Staged, now: Duration) -> Result<(), KeysError> {
        if staged.is_empty() {
            return Ok(());
        }
        {
            let mut open = self.open.lock();
            let number = open.number;
            // A broken one that holds rows was folded before; one that holds none is begun anew, for nobody knows what it ends with.
            let mut journal = match open.journal.take().filter(|journal| !journal.is_broken()) {
                Some(journal) => journal,
                None => Journal::begin(&ring.with_file_name(JOURNAL_FILE), number)?,
            };
            let appended = journal.append(&mut staged.body);
            open.journal = Some(journal);
            appended?;
            open.since.get_or_insert(now);
        }
        self.subjects.fetch_add(staged.subjects, Ordering::SeqCst);
        self.originals.fetch_add(staged.originals, Ordering::SeqCst);
        let mut rows = self.rows.write();
        rows.0.iter_mut().zip(staged.rows.0).for_each(|(rows, staged)| rows.extend(staged));
        Ok(())
    }
}

impl Ring {
    /// All rows into the tree, in one transaction, with which the journal is void.
    pub(super) fn fold(&self) -> Result<(), KeysError> {
        let (path, next) = (self.path.as_path(), number()?);
        let transaction = self.write()?;
        {
            let unfolded = self.unfolded.rows.read();
            for (table, rows) in TABLES.into_iter().zip(&unfolded.0) {
                // In the order of the table: each of its pages is written once. Keys differ in their first bytes, which are
                // compared where they lie side by side.
                let begun = |key: &[u8]| key.first_chunk().map_or(0, |begun| u64::from_be_bytes(*begun));
                let mut rows: Vec<_> = rows.iter().map(|(key, value)| (begun(key), key, value)).collect();
                rows.sort_unstable();
                let mut table = transaction.open_table(table).at(path)?;
                for (_, key, value) in rows {
                    table.insert(&**key, &**value).at(path)?;
                }
            }
            transaction.open_table(FACTS).at(path)?.insert(JOURNAL, next.as_slice()).at(path)?;
        }
        transaction.commit().at(path)?;
        self.unfolded.changed();
        let mut open = self.unfolded.open.lock();
        *open = Open { number: next, journal: None, since: None };
        let mut rows = self.unfolded.rows.write();
        *rows = Rows::default();
        self.unfolded.subjects.store(0, Ordering::SeqCst);
        self.unfolded.originals.store(0, Ordering::SeqCst);
        Ok(())
    }

    /// Takes the name of a journal that is void away. Where that fails, the next start or journal does.
    pub(super) fn end_journal(&self) {
        let _ = std::fs::remove_file(self.path.with_file_name(JOURNAL_FILE));
    }
}

/// Bytes of the rows of one original of ordinary length, with those of its key.
const ROW_BYTES: usize = 240;
/// 2^64 over the golden ratio.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A new number for a journal.
pub(super) fn number() -> Result<Number, KeysError> {
    let mut number = Number::default();
    SystemRandom::new().fill(&mut number).map_err(|_| KeysError::NoRandomness)?;
    Ok(number)
}

#[cfg(test)]
#[path = "unfolded_test.rs"]
mod tests;
