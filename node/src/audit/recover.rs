//! What a start finds: the tails, read whole and checked against the newest checkpoint before anything is written.
//!
//! An end that is not a whole group is what a crash leaves of entries nobody was told of: it is put aside in a file of its own and
//! the ledger says so. Anything else that does not fit is damage or an old copy, and the node does not write on.

use std::io;
use std::path::{Path, PathBuf};

use super::errors::LedgerError;
use super::files::Files;
use super::merkle::{Hash, leaf, sha256};
use super::note::Verifier;
use super::tail::{self, Contents, State, Wrong};
use super::tiles::{CHECKPOINT, LOG, Record};
use crate::limits::CHECKPOINT_BYTES;

/// An end of a tail that was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: Hash,
}

/// What was found.
pub(super) struct Found {
    /// What the ledger was like where the oldest tail begins.
    pub(super) state: State,
    /// Every entry since.
    pub(super) records: Vec<Record>,
    /// Where the newest tail begins and ends.
    pub(super) last: (u64, u64),
    /// The tails before it.
    pub(super) old: Vec<PathBuf>,
    pub(super) torn: Option<Torn>,
}

/// Reads the tails of a ledger; `None` where there is no ledger yet.
pub(super) fn find(files: &Files, dir: &Path, verifier: &Verifier) -> Result<Option<Found>, LedgerError> {
    let opened = |source| LedgerError::Open { path: dir.to_path_buf(), source };
    let mut tails = tail::list(dir).map_err(opened)?;
    let checkpoint = dir.join(LOG).join(CHECKPOINT);
    let Some((last_start, last_path)) = tails.pop() else {
        return match note(files, &checkpoint)? {
            None => Ok(None),
            Some(_) => Err(LedgerError::Rewound { path: dir.to_path_buf() }),
        };
    };
    let mut joined: Option<(State, Vec<Record>)> = None;
    for (_, path) in &tails {
        let contents = read(files, path)?;
        if !contents.torn.is_empty() {
            return Err(damaged(path, contents.bytes));
        }
        join(&mut joined, contents, path)?;
    }
    let mut contents = read(files, &last_path)?;
    let (bytes, torn) = (contents.bytes, std::mem::take(&mut contents.torn));
    join(&mut joined, contents, &last_path)?;
    let (state, records) = joined.unwrap_or_default();
    check(files, &checkpoint, verifier, &state, &records)?;
    let torn = put_aside(files, dir, (last_start, bytes), &torn).map_err(opened)?;
    let old = tails.into_iter().map(|(_, path)| path).collect();
    Ok(Some(Found { state, records, last: (last_start, bytes), old, torn }))
}

fn read(files: &Files, path: &Path) -> Result<Contents, LedgerError> {
    let bytes = files.read(path).map_err(|source| LedgerError::Open { path: path.to_path_buf(), source })?;
    tail::read(&bytes).map_err(|wrong| match wrong {
        Wrong::NoState => damaged(path, 0),
        Wrong::Damaged(offset) => damaged(path, offset),
        Wrong::Newer => LedgerError::Foreign { path: path.to_path_buf() },
    })
}

fn damaged(path: &Path, offset: u64) -> LedgerError {
    LedgerError::Damaged { path: path.to_path_buf(), offset }
}

/// A tail goes on from the one before, and begins with some of its entries.
fn join(joined: &mut Option<(State, Vec<Record>)>, contents: Contents, path: &Path) -> Result<(), LedgerError> {
    let Some((state, records)) = joined else {
        *joined = Some((contents.state, contents.records));
        return Ok(());
    };
    let behind = contents.state.tree.size().checked_sub(state.tree.size()).and_then(|n| usize::try_from(n).ok());
    let Some((before, shared)) = behind.and_then(|behind| records.split_at_checked(behind)) else {
        return Err(damaged(path, 0));
    };
    let mut tree = state.tree.clone();
    before.iter().for_each(|record| drop(tree.push(leaf(&record.commitment()))));
    let is_same = tree == contents.state.tree && contents.records.starts_with(shared);
    if !is_same {
        return Err(damaged(path, 0));
    }
    let known = shared.len();
    records.extend(contents.records.into_iter().skip(known));
    Ok(())
}

/// The text of a note; `None` where there is none.
fn note(files: &Files, path: &Path) -> Result<Option<String>, LedgerError> {
    let is_small = std::fs::metadata(path).map(|found| found.len() <= CHECKPOINT_BYTES);
    match is_small.and_then(|is_small| if is_small { files.read(path) } else { Ok(Vec::new()) }) {
        // What is no text is no note either.
        Ok(bytes) => Ok(Some(String::from_utf8(bytes).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LedgerError::Open { path: path.to_path_buf(), source }),
    }
}

/// The newest checkpoint must be over entries that are here.
fn check(
    files: &Files,
    path: &Path,
    verifier: &Verifier,
    state: &State,
    records: &[Record],
) -> Result<(), LedgerError> {
    let rewound = || LedgerError::Rewound { path: path.to_path_buf() };
    let Some(note) = note(files, path)? else {
        return if state.tree.size() == 0 { Ok(()) } else { Err(rewound()) };
    };
    if note.lines().next() != Some(verifier.name()) {
        return Err(LedgerError::Foreign { path: path.to_path_buf() });
    }
    let head = verifier.checkpoint(&note).ok_or_else(|| damaged(path, 0))?;
    let mut tree = state.tree.clone();
    for record in records {
        if tree.size() >= head.size {
            break;
        }
        tree.push(leaf(&record.commitment()));
    }
    if tree.size() != head.size {
        return Err(rewound());
    }
    if tree.root() == head.root { Ok(()) } else { Err(damaged(path, 0)) }
}

fn put_aside(files: &Files, dir: &Path, (start, at): (u64, u64), torn: &[u8]) -> io::Result<Option<Torn>> {
    if torn.is_empty() {
        return Ok(None);
    }
    files.replace(&dir.join(format!("torn-{start}-{at}")), torn)?;
    Ok(Some(Torn { bytes: torn.len() as u64, sha256: sha256(&[torn]) }))
}
