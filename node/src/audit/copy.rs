//! A copy of a log for somebody who may not read all of it: the whole tree, and of the bodies those that are theirs.
//!
//! One half gives entries out of the log of a node; the other makes the files of the log from them again, in a directory where
//! `verify` checks them as it does the log itself. A body that is not theirs is one byte there, and its commitment stays in the
//! tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::destroyed;
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

    /// The entries of one bundle of the log at a size, those that `shows` lets through whole; blocks. A body that was destroyed, or
    /// is about to be, is told of as such to whom the entry that says so is shown, and is somebody else's for all others; one that
    /// nothing explains, to everybody.
    ///
    /// # Errors
    /// [`LedgerError::Open`], [`LedgerError::Damaged`].
    pub(crate) fn copied(
        &self,
        bundle: u64,
        size: u64,
        shows: &dyn Fn(&Entry) -> bool,
    ) -> Result<Vec<u8>, LedgerError> {
        self.know_orders()?;
        let log = self.dir.join(LOG);
        let path = log.join(tiles::bodies_path(bundle));
        let bytes = std::fs::read(&path).map_err(|source| LedgerError::Open { path: path.clone(), source })?;
        // After the bodies: an order is known before its body goes.
        let orders = self.orders.lock();
        let width = size.saturating_sub(bundle.saturating_mul(WIDTH)).min(WIDTH);
        let (mut rest, mut copied) = (&bytes[..], Vec::new());
        let mut hashes = None;
        for number in 0..usize::try_from(width).unwrap_or_default() {
            let offset = (bytes.len() - rest.len()) as u64;
            let damaged = || LedgerError::Damaged { path: path.clone(), offset };
            let order = orders.about(bundle * WIDTH + number as u64 + 1);
            match tiles::take(&mut rest).ok_or_else(damaged)? {
                Kept::Whole(record)
                    if order.is_none() && Entry::read(&record.body).is_some_and(|entry| shows(&entry)) =>
                {
                    record.put(&mut copied);
                }
                Kept::Whole(record) => {
                    copied.push(if order.is_some_and(shows) { DESTROYED } else { WITHHELD });
                    copied.extend_from_slice(&record.commitment());
                }
                Kept::Destroyed | Kept::Withheld => {
                    let hashes = hashes.get_or_insert_with(|| commitments(&log, bundle));
                    copied.push(if order.is_none_or(shows) { DESTROYED } else { WITHHELD });
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

/// Most heads that one copy asks for: bodies that are destroyed while it is made are few, or it is no copy.
const MOST_HEADS: u32 = 64;

/// A copy that is being made. Bodies may be destroyed meanwhile: an entry that says so is signed for before the body goes, so a head that
/// is asked for after a gap was seen is over what explains it. And a bundle is asked for again where an entry behind it says that a body in it,
/// which was there, is destroyed.
pub(crate) struct Copy {
    dir: PathBuf,
    verifier: Verifier,
    shown: Shown,
    head: Head,
    tree: Tree,
    /// Entries whose bodies were seen to be gone; and whether one of them only since the head was asked for.
    gone: BTreeSet<u64>,
    wants_head: bool,
    /// Entries of which others say that their bodies are destroyed.
    ordered: BTreeSet<u64>,
    heads: u32,
}

impl Copy {
    /// Begins with what everybody may know of the log.
    ///
    /// # Errors
    /// [`Broken`] where the key did not sign.
    pub(crate) fn begin(dir: &Path, shown: Shown) -> Result<Self, Broken> {
        let verifier = Verifier::read(&shown.verifier).ok_or_else(|| broken(VERIFIER, "this is no key"))?;
        let head = verifier.checkpoint(&shown.checkpoint);
        let head = head.ok_or_else(|| broken(CHECKPOINT, "the log's key did not sign this checkpoint"))?;
        let (dir, tree, gone, ordered) = (dir.to_path_buf(), Tree::default(), BTreeSet::new(), BTreeSet::new());
        Ok(Self { dir, verifier, shown, head, tree, gone, wants_head: false, ordered, heads: 1 })
    }

    /// Entries under the checkpoint.
    pub(crate) const fn size(&self) -> u64 {
        self.head.size
    }

    /// The bundle that is to be added next; none where all of it is there. The one that is not whole comes last.
    pub(crate) fn wants(&self) -> Option<u64> {
        let next = (self.tree.size() < self.head.size).then(|| self.tree.size() / WIDTH);
        next.filter(|_| self.head.size - self.tree.size() >= WIDTH).or_else(|| self.stale()).or(next)
    }

    /// A bundle that is there with a body in it that is destroyed by now.
    fn stale(&self) -> Option<u64> {
        let here = self.ordered.range(1..=self.tree.size());
        here.copied().find(|entry| !self.gone.contains(entry)).map(|entry| (entry - 1) / WIDTH)
    }

    /// Whether what everybody may know is to be asked for again: all whole bundles are there, and a gap in one came after it.
    pub(crate) fn wants_head(&self) -> bool {
        self.wants_head && self.head.size - self.tree.size() < WIDTH
    }

    /// Goes on to what everybody may know now. The head until here is kept beside it: the new one must go on from it.
    ///
    /// # Errors
    /// [`Broken`] where the same key did not sign a head over as much.
    pub(crate) fn go_on(&mut self, mut shown: Shown) -> Result<(), Broken> {
        let head = self.verifier.checkpoint(&shown.checkpoint).filter(|head| head.size >= self.head.size);
        let head =
            head.ok_or_else(|| broken(CHECKPOINT, "the log's key did not sign that the log goes on from here"))?;
        self.heads += 1;
        if self.heads > MOST_HEADS {
            return Err(broken(CHECKPOINT, "bodies are destroyed again and again while the log is copied"));
        }
        shown.kept.extend(std::mem::take(&mut self.shown.kept));
        shown.kept.push(std::mem::take(&mut self.shown.checkpoint));
        (self.shown, self.head, self.wants_head) = (shown, head, false);
        Ok(())
    }

    /// What everybody may know; of checkpoints those that are over no more than the newest.
    fn write_shown(&self) -> Result<(), Broken> {
        let Self { verifier, shown, head, .. } = self;
        self.write(VERIFIER, format!("{verifier}\n").as_bytes())?;
        self.write(CHECKPOINT, shown.checkpoint.as_bytes())?;
        for note in &shown.kept {
            if let Some(kept) = verifier.checkpoint(note).filter(|kept| kept.size <= head.size) {
                self.write(&format!("{CHECKPOINTS}/{:020}", kept.size), note.as_bytes())?;
            }
        }
        if let Some((note, keys)) = &shown.cosigned
            && verifier.checkpoint(note).is_some_and(|cosigned| cosigned.size <= head.size)
        {
            self.write(COSIGNED, note.as_bytes())?;
            self.write(WITNESSES, keys.as_bytes())?;
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Broken> {
        let path = self.dir.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = made.and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|_| broken(path.display(), "this file cannot be written"))
    }

    /// The bundle that [`Copy::wants`], as [`Ledger::copied`] gave it. The last one, that is not whole, is not taken where the head says nothing
    /// yet of a gap in it, or where an entry of it is about a body before it that is still there.
    ///
    /// # Errors
    /// [`Broken`] where the bytes are no such entries.
    pub(crate) fn add(&mut self, index: u64, given: &[u8]) -> Result<(), Broken> {
        let width = (self.head.size - index * WIDTH).min(WIDTH);
        let (bodies, bundle) = self.read(index, width, given)?;
        let place = tiles::bodies_path(index);
        if index < self.tree.size() / WIDTH {
            if commitments(&self.dir, index) != bundle {
                return Err(broken(place, "the node gave other entries than before"));
            }
            // What was asked for, and no other entry: where the body is there still, that is for whoever checks the copy.
            self.gone.extend(self.ordered.range(index * WIDTH + 1..=(index + 1) * WIDTH).copied());
            return self.write(&place, &bodies);
        }
        if width < WIDTH && (self.wants_head || self.stale().is_some()) {
            return Ok(());
        }
        for commitment in &bundle {
            for tile in self.tree.push(leaf(commitment)) {
                let place = tiles::hashes_path(tile.level, tile.index, WIDTH);
                self.write(&place, tile.hashes.as_flattened())?;
            }
        }
        self.write(&place, &bodies)?;
        self.write(&tiles::bundle_path(index, width), &tiles::bundle(&bundle))
    }

    /// The bodies and the commitments of a bundle that was given; notes what it says of bodies that are gone.
    fn read(&mut self, index: u64, width: u64, given: &[u8]) -> Result<(Vec<u8>, Vec<Hash>), Broken> {
        let (mut rest, mut bodies, mut bundle) = (given, Vec::new(), Vec::new());
        for number in index * WIDTH + 1..=index * WIDTH + width {
            let wrong = || broken(tiles::bodies_path(index), "the node gave something else than entries");
            let commitment = match rest.split_first() {
                Some((mark, after)) if [DESTROYED, WITHHELD].contains(mark) => {
                    let (commitment, after) = after.split_first_chunk::<32>().ok_or_else(wrong)?;
                    bodies.push(*mark);
                    rest = after;
                    self.wants_head |= *mark == DESTROYED && self.gone.insert(number);
                    *commitment
                }
                _ => match tiles::take(&mut rest) {
                    Some(Kept::Whole(record)) => {
                        record.put(&mut bodies);
                        self.ordered.extend(destroyed::ordered(std::slice::from_ref(&record)));
                        record.commitment()
                    }
                    _ => return Err(wrong()),
                },
            };
            bundle.push(commitment);
        }
        if rest.is_empty() {
            Ok((bodies, bundle))
        } else {
            Err(broken(tiles::bodies_path(index), "the node gave more entries than there are"))
        }
    }

    /// What everybody may know, and the tiles at the right edge.
    ///
    /// # Errors
    /// [`Broken`] where what was copied is not what the checkpoint is over, or the directory cannot be written.
    pub(crate) fn finish(self) -> Result<Head, Broken> {
        if self.tree.head() != self.head {
            return Err(broken(CHECKPOINT, "the entries that the node gave do not give the root it signed"));
        }
        self.write_shown()?;
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
