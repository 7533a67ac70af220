//! A copy of a log for somebody who may not read all of it: the whole tree, and of the bodies those that are theirs.
//!
//! One half gives entries out of the log of a node; the other makes the files of the log from them again, in a directory where
//! `verify` checks them as it does the log itself. A body that is not theirs is one byte there, and its commitment stays in the
//! tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::errors::LedgerError;
use super::ledger::Ledger;
use super::merkle::{Hash, Head, Tree, WIDTH, leaf};
use super::note::{Signer, Verifier};
use super::tiles::{self, CHECKPOINT, CHECKPOINTS, COSIGNED, DESTROYED, Kept, LOG, VERIFIER, WITHHELD, WITNESSES};
use super::verify::{Broken, broken};

/// What everybody may know of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The key that checks it.
    pub(crate) verifier: String,
    /// The newest checkpoint.
    pub(crate) checkpoint: String,
    /// Checkpoints that were kept.
    pub(crate) kept: Vec<String>,
    /// The newest checkpoint that others cosigned, with their lines, and the keys of the witnesses; where there is one.
    pub(crate) cosigned: Option<(String, String)>,
}

impl Ledger {
    /// The key and the checkpoints; blocks.
    ///
    /// # Errors
    /// [`LedgerError::Open`].
    pub(crate) fn shown(&self) -> Result<Shown, LedgerError> {
        let log = self.dir.join(LOG);
        let text = |name: &str| {
            let path = log.join(name);
            std::fs::read_to_string(&path).map_err(|source| LedgerError::Open { path, source })
        };
        // Before the newest checkpoint, which is then over no fewer entries.
        let cosigned = text(COSIGNED).ok().and_then(|note| Some((note, text(WITNESSES).ok()?)));
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(log.join(CHECKPOINTS)).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                kept.push(text(&format!("{CHECKPOINTS}/{name}"))?);
            }
        }
        Ok(Shown { verifier: text(VERIFIER)?.trim_end().to_owned(), checkpoint: text(CHECKPOINT)?, kept, cosigned })
    }

    /// A note under a title, signed with the key of the log; blocks for two small files.
    ///
    /// # Errors
    /// [`LedgerError::Open`], [`LedgerError::Key`].
    pub(crate) fn says(&self, title: &str, lines: &[String]) -> Result<String, LedgerError> {
        let path = self.dir.join(LOG).join(VERIFIER);
        let said = std::fs::read_to_string(&path).map_err(|source| LedgerError::Open { path: path.clone(), source })?;
        let verifier = Verifier::read(said.trim_end()).ok_or(LedgerError::Key { path })?;
        Ok(Signer::open(&self.dir.join("key"), verifier.name(), false)?.says(title, lines))
    }

    /// The entries of one bundle of the log at a size, those that `shows` lets through whole; blocks.
    ///
    /// # Errors
    /// [`LedgerError::Open`], [`LedgerError::Damaged`].
    pub(crate) fn copied(
        &self,
        bundle: u64,
        size: u64,
        shows: &dyn Fn(&Entry) -> bool,
    ) -> Result<Vec<u8>, LedgerError> {
        let log = self.dir.join(LOG);
        let path = log.join(tiles::bodies_path(bundle));
        let bytes = std::fs::read(&path).map_err(|source| LedgerError::Open { path: path.clone(), source })?;
        let width = size.saturating_sub(bundle.saturating_mul(WIDTH)).min(WIDTH);
        let (mut rest, mut copied) = (&bytes[..], Vec::new());
        let mut hashes = None;
        for number in 0..usize::try_from(width).unwrap_or_default() {
            let offset = (bytes.len() - rest.len()) as u64;
            let damaged = || LedgerError::Damaged { path: path.clone(), offset };
            match tiles::take(&mut rest).ok_or_else(damaged)? {
                Kept::Whole(record) if Entry::read(&record.body).is_some_and(|entry| shows(&entry)) => {
                    record.put(&mut copied);
                }
                Kept::Whole(record) => {
                    copied.push(WITHHELD);
                    copied.extend_from_slice(&record.commitment());
                }
                Kept::Destroyed | Kept::Withheld => {
                    let hashes = hashes.get_or_insert_with(|| commitments(&log, bundle));
                    copied.push(DESTROYED);
                    copied.extend_from_slice(hashes.get(number).ok_or_else(damaged)?);
                }
            }
        }
        Ok(copied)
    }
}

/// The commitments of a bundle, the widest there is of it.
fn commitments(log: &Path, bundle: u64) -> Vec<Hash> {
    let whole = log.join(tiles::bundle_path(bundle, WIDTH));
    let partial = log.join(tiles::bundle_path(bundle, 1));
    let partial = partial.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
    let paths = std::iter::once(whole).chain(partial.filter_map(Result::ok).map(|entry| entry.path()));
    let read = paths.filter_map(|path| tiles::commitments(&std::fs::read(path).ok()?));
    read.max_by_key(Vec::len).unwrap_or_default()
}

/// The roots that a checked log had at some sizes.
pub(crate) fn roots_at(log: &Path, size: u64, wanted: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
    let (mut tree, mut roots) = (Tree::default(), BTreeMap::new());
    for index in 0..size.div_ceil(WIDTH) {
        for commitment in
            commitments(log, index).iter().take(usize::try_from(size - index * WIDTH).unwrap_or(usize::MAX))
        {
            tree.push(leaf(commitment));
            if wanted.contains(&tree.size()) {
                roots.insert(tree.size(), tree.root());
            }
        }
    }
    roots
}

/// A copy that is being made.
pub(crate) struct Copy {
    dir: PathBuf,
    head: Head,
    tree: Tree,
}

impl Copy {
    /// Begins with what everybody may know; the checkpoints that are over no more than the newest are kept.
    ///
    /// # Errors
    /// [`Broken`] where the key did not sign, or the directory cannot be written.
    pub(crate) fn begin(dir: &Path, shown: &Shown) -> Result<Self, Broken> {
        let verifier = Verifier::read(&shown.verifier).ok_or_else(|| broken(VERIFIER, "this is no key"))?;
        let head = verifier.checkpoint(&shown.checkpoint);
        let head = head.ok_or_else(|| broken(CHECKPOINT, "the log's key did not sign this checkpoint"))?;
        let copy = Self { dir: dir.to_path_buf(), head, tree: Tree::default() };
        copy.write(VERIFIER, format!("{verifier}\n").as_bytes())?;
        copy.write(CHECKPOINT, shown.checkpoint.as_bytes())?;
        for note in &shown.kept {
            if let Some(kept) = verifier.checkpoint(note).filter(|kept| kept.size <= head.size) {
                copy.write(&format!("{CHECKPOINTS}/{:020}", kept.size), note.as_bytes())?;
            }
        }
        if let Some((note, keys)) = &shown.cosigned
            && verifier.checkpoint(note).is_some_and(|cosigned| cosigned.size <= head.size)
        {
            copy.write(COSIGNED, note.as_bytes())?;
            copy.write(WITNESSES, keys.as_bytes())?;
        }
        Ok(copy)
    }

    /// Entries under the checkpoint.
    pub(crate) const fn size(&self) -> u64 {
        self.head.size
    }

    /// How many bundles there are.
    pub(crate) const fn bundles(&self) -> u64 {
        self.head.size.div_ceil(WIDTH)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Broken> {
        let path = self.dir.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = made.and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|_| broken(path.display(), "this file cannot be written"))
    }

    /// The next bundle, as [`Ledger::copied`] gave it.
    ///
    /// # Errors
    /// [`Broken`] where the bytes are no such entries.
    pub(crate) fn add(&mut self, given: &[u8]) -> Result<(), Broken> {
        let index = self.tree.size() / WIDTH;
        let width = (self.head.size - self.tree.size()).min(WIDTH);
        let (mut rest, mut bodies, mut bundle) = (given, Vec::new(), Vec::new());
        for _ in 0..width {
            let wrong = || broken(tiles::bodies_path(index), "the node gave something else than entries");
            let commitment = match rest.split_first() {
                Some((mark, after)) if [DESTROYED, WITHHELD].contains(mark) => {
                    let (commitment, after) = after.split_first_chunk::<32>().ok_or_else(wrong)?;
                    bodies.push(*mark);
                    rest = after;
                    *commitment
                }
                _ => match tiles::take(&mut rest) {
                    Some(Kept::Whole(record)) => {
                        record.put(&mut bodies);
                        record.commitment()
                    }
                    _ => return Err(wrong()),
                },
            };
            bundle.push(commitment);
            for tile in self.tree.push(leaf(&commitment)) {
                let place = tiles::hashes_path(tile.level, tile.index, WIDTH);
                self.write(&place, tile.hashes.as_flattened())?;
            }
        }
        if !rest.is_empty() {
            return Err(broken(tiles::bodies_path(index), "the node gave more entries than there are"));
        }
        self.write(&tiles::bodies_path(index), &bodies)?;
        self.write(&tiles::bundle_path(index, width), &tiles::bundle(&bundle))
    }

    /// The tiles at the right edge.
    ///
    /// # Errors
    /// [`Broken`] where what was copied is not what the checkpoint is over.
    pub(crate) fn finish(self) -> Result<Head, Broken> {
        if self.tree.head() != self.head {
            return Err(broken(CHECKPOINT, "the entries that the node gave do not give the root it signed"));
        }
        let mut index = self.head.size;
        for (level, hashes) in (0..u8::MAX).zip(self.tree.edge()) {
            index /= WIDTH;
            if !hashes.is_empty() {
                self.write(&tiles::hashes_path(level, index, hashes.len() as u64), hashes.as_flattened())?;
            }
        }
        Ok(self.head)
    }
}

#[cfg(test)]
#[path = "copy_test.rs"]
mod tests;
