//! Writes the files of the log behind the tail, and signs checkpoints over what is in them.
//!
//! A thread of its own, so that nobody who waits for an entry waits for a tile. What it writes is durable before the tail that
//! it came from is removed; until then a start writes it again from the tail.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::destroyed;
use super::files::{Files, Unsynced};
use super::merkle::{Hash, Head, Tree, WIDTH, leaf};
use super::note::Signer;
use super::past::Past;
use super::tiles::{self, CHECKPOINT, CHECKPOINTS, COSIGNED, LOG, Record, VERIFIER, WITNESSES};
use crate::limits::{CHECKPOINT_EVERY, CHECKPOINT_KEPT_EVERY};

/// What the writer of the tail tells.
pub(super) enum Job {
    /// These entries are durable.
    Entries(Vec<Record>),
    /// A new tail began; this one is of no more use once everything before is in the files of the log.
    Replaced(PathBuf),
    /// Publish now, and say so.
    #[cfg(test)]
    Now(std::sync::mpsc::Sender<()>),
    /// Publish now, and give what was signed, for witnesses to cosign.
    Offer(oneshot::Sender<Signed>),
    /// Give what proves that a head of this log goes on from the one over the first so many entries.
    Prove(u64, Head, oneshot::Sender<io::Result<Vec<Hash>>>),
    /// Say that everything before was done.
    Tell(Vec<oneshot::Sender<()>>),
    /// Take the body of an entry out of its bundle, which is whole.
    TakeOut(u64, oneshot::Sender<io::Result<()>>),
    /// Publish the checkpoint of a head with these lines of witnesses, whose keys are these.
    Cosigned(Head, String, String),
}

/// A head that was published, and the signature over its checkpoint.
#[derive(Clone, Copy)]
pub(super) struct Signed {
    pub(super) head: Head,
    pub(super) signature: [u8; 64],
}

/// The newest checkpoint in one line: origin, size, root and signature, as they stand in the note.
pub(super) type Stamp = Arc<Mutex<Arc<str>>>;

/// The files of the log, and where they end.
pub(super) struct Publisher {
    files: Files,
    dir: PathBuf,
    log: PathBuf,
    signer: Signer,
    tree: Tree,
    /// Commitments of the bundle that is not whole.
    bundle: Vec<Hash>,
    bodies: Option<File>,
    unsynced: Unsynced,
    /// Partial tiles of the last checkpoint.
    partial: Vec<PathBuf>,
    published: Option<Head>,
    kept: Option<Instant>,
    stamp: Stamp,
}

impl Publisher {
    /// Goes on behind `tree`, which ends with a whole bundle.
    pub(super) fn new(files: &Files, dir: &Path, signer: Signer, tree: Tree) -> Self {
        Self {
            files: files.clone(),
            dir: dir.to_path_buf(),
            log: dir.join(LOG),
            signer,
            tree,
            bundle: Vec::new(),
            bodies: None,
            unsynced: Unsynced::default(),
            partial: Vec::new(),
            published: None,
            kept: None,
            stamp: Arc::new(Mutex::new(Arc::from(""))),
        }
    }

    /// Where the newest checkpoint can be seen.
    pub(super) fn stamp(&self) -> Stamp {
        Arc::clone(&self.stamp)
    }

    pub(super) const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Says who signs, for those who take a copy without asking.
    pub(super) fn show_verifier(&self) -> io::Result<()> {
        let path = self.log.join(VERIFIER);
        let said = format!("{}\n", self.signer.verifier());
        if std::fs::read_to_string(&path).is_ok_and(|there| there == said) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.log)?;
        self.files.replace(&path, said.as_bytes())
    }

    /// Writes bodies, and what they make whole.
    pub(super) fn add(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bodies = Vec::new();
        for record in records {
            record.put(&mut bodies);
            let commitment = record.commitment();
            self.bundle.push(commitment);
            let index = self.tree.size() / WIDTH;
            let whole = self.tree.push(leaf(&commitment));
            if !whole.is_empty() {
                self.write_bodies(index, &std::mem::take(&mut bodies))?;
                self.bodies = None;
                let bundle = tiles::bundle(&std::mem::take(&mut self.bundle));
                self.write(tiles::bundle_path(index, WIDTH), &bundle)?;
                for tile in whole {
                    self.write(tiles::hashes_path(tile.level, tile.index, WIDTH), tile.hashes.as_flattened())?;
                }
            }
        }
        if bodies.is_empty() { Ok(()) } else { self.write_bodies(self.tree.size() / WIDTH, &bodies) }
    }

    fn write_bodies(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.log.join(tiles::bodies_path(index));
        let mut file = match self.bodies.take() {
            Some(file) => file,
            None => self.files.fresh(&path)?,
        };
        self.files.append(&mut file, bytes)?;
        self.bodies = Some(file);
        self.unsynced.note(path);
        Ok(())
    }

    fn write(&mut self, path: String, bytes: &[u8]) -> io::Result<()> {
        let path = self.log.join(path);
        let mut file = self.files.fresh(&path)?;
        self.files.append(&mut file, bytes)?;
        self.unsynced.note(path);
        Ok(())
    }

    /// Signs a checkpoint over everything so far, unless the last one is over just that.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        let head = self.tree.head();
        if self.published == Some(head) {
            return Ok(());
        }
        let mut partial = Vec::new();
        if !self.bundle.is_empty() {
            let (index, width) = (self.tree.size() / WIDTH, self.bundle.len() as u64);
            partial.push((tiles::bundle_path(index, width), tiles::bundle(&self.bundle)));
        }
        let mut index = self.tree.size();
        for (level, hashes) in (0..u8::MAX).zip(self.tree.edge()) {
            index /= WIDTH;
            if !hashes.is_empty() {
                let path = tiles::hashes_path(level, index, hashes.len() as u64);
                partial.push((path, hashes.as_flattened().to_vec()));
            }
        }
        let before = std::mem::take(&mut self.partial);
        for (path, bytes) in partial {
            let path = self.log.join(path);
            let mut file = self.files.fresh(&path)?;
            self.files.append(&mut file, &bytes)?;
            self.partial.push(path);
        }
        let note = self.signer.checkpoint(&head);
        if self.kept.is_none_or(|kept| kept.elapsed() >= CHECKPOINT_KEPT_EVERY) && head.size > 0 {
            let dir = self.log.join(CHECKPOINTS);
            std::fs::create_dir_all(&dir)?;
            self.files.replace(&dir.join(format!("{:020}", head.size)), note.as_bytes())?;
            self.kept = Some(Instant::now());
        }
        self.files.replace(&self.log.join(CHECKPOINT), note.as_bytes())?;
        self.published = Some(head);
        *self.stamp.lock() = Arc::from(self.in_one_line(&head, &note));
        self.forget(before)
    }

    fn in_one_line(&self, head: &Head, note: &str) -> String {
        let signature = note.trim_end().rsplit(' ').next().unwrap_or_default();
        format!("{} {} {} {signature}", self.signer.verifier().name(), head.size, STANDARD.encode(head.root))
    }

    /// Publishes, and says what was signed.
    fn offer(&mut self) -> io::Result<Signed> {
        self.publish()?;
        let head = self.tree.head();
        Ok(Signed { head, signature: self.signer.sign(&head) })
    }

    /// Publishes a checkpoint with the lines of witnesses; who they are first, for whoever reads in between.
    fn cosigned(&self, head: &Head, lines: &str, witnesses: &str) -> io::Result<()> {
        let keys = self.log.join(WITNESSES);
        if !std::fs::read_to_string(&keys).is_ok_and(|there| there == witnesses) {
            self.files.replace(&keys, witnesses.as_bytes())?;
        }
        let note = format!("{}{lines}", self.signer.checkpoint(head));
        self.files.replace(&self.log.join(COSIGNED), note.as_bytes())
    }

    /// Removes the partial tiles of the checkpoint before; those that have become whole, with their directory.
    fn forget(&self, before: Vec<PathBuf>) -> io::Result<()> {
        for path in before.iter().filter(|path| !self.partial.contains(path)) {
            self.files.remove(path)?;
            let is_last = |dir: &&Path| !self.partial.iter().any(|path| path.starts_with(dir));
            if let Some(dir) = path.parent().filter(is_last) {
                self.files.remove_dir(dir)?;
            }
        }
        Ok(())
    }

    /// Removes partial tiles that a crash left, once the first checkpoint of this start has its own.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let mut open = vec![self.log.join("tile")];
        while let Some(dir) = open.pop() {
            for path in directories(&dir).into_iter().filter(|path| path.extension().is_some_and(|end| end == "p")) {
                if !self.partial.iter().any(|partial| partial.starts_with(&path)) {
                    self.files.remove_dir(&path)?;
                    continue;
                }
                for left in std::fs::read_dir(&path)?.filter_map(Result::ok).map(|entry| entry.path()) {
                    if !self.partial.contains(&left) {
                        self.files.remove(&left)?;
                    }
                }
            }
            open.extend(newest(&dir));
        }
        Ok(())
    }

    /// Takes the body of an entry out of its bundle. One that is not whole has no file of its own yet. The entry that says so is signed
    /// for first: whoever sees the gap finds a checkpoint over what explains it.
    pub(super) fn take_out(&mut self, entry: u64) -> io::Result<()> {
        self.unsynced.sync(&self.files, &self.log)?;
        self.publish()?;
        destroyed::take_out(&self.files, &self.dir, entry)
    }

    /// Makes everything durable, and removes a tail that holds nothing more.
    pub(super) fn settle(&mut self, tail: Option<&Path>) -> io::Result<()> {
        if let Some(bodies) = &self.bodies {
            self.files.sync(bodies)?;
        }
        self.unsynced.sync(&self.files, &self.log)?;
        self.publish()?;
        match tail {
            Some(tail) => {
                self.files.remove(tail)?;
                self.files.sync_dir(&self.dir)
            }
            None => Ok(()),
        }
    }

    /// The thread: until the writer of the tail has ended, or the disk fails.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) -> io::Result<()> {
        let mut due: Option<Instant> = None;
        loop {
            let job = match due {
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => jobs.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match job {
                Ok(Job::Entries(records)) => {
                    self.add(&records)?;
                    due.get_or_insert_with(|| Instant::now() + CHECKPOINT_EVERY);
                }
                Ok(Job::Replaced(tail)) => self.settle(Some(&tail))?,
                #[cfg(test)]
                Ok(Job::Now(done)) => {
                    self.publish()?;
                    // A test that went away needs no word.
                    let _ = done.send(());
                }
                // Whoever stopped waiting needs no word, in all three.
                Ok(Job::Offer(to)) => drop(to.send(self.offer()?)),
                Ok(Job::Prove(old, new, to)) => {
                    let past = Past { log: &self.log, tree: &self.tree };
                    drop(to.send(past.consistency(old, &new)));
                }
                // Whoever stopped waiting needs no word, here as well.
                Ok(Job::Tell(all)) => all.into_iter().for_each(|to| to.send(()).unwrap_or_default()),
                Ok(Job::TakeOut(entry, to)) => drop(to.send(self.take_out(entry))),
                Ok(Job::Cosigned(head, lines, witnesses)) => self.cosigned(&head, &lines, &witnesses)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.settle(None),
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                self.publish()?;
                due = None;
            }
        }
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Of a directory of levels all of them; of one of tiles the newest thousand, for only there partial ones are.
fn newest(dir: &Path) -> Vec<PathBuf> {
    let (thousands, levels): (Vec<PathBuf>, Vec<PathBuf>) = directories(dir)
        .into_iter()
        .filter(|path| path.extension().is_none())
        .partition(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('x')));
    levels.into_iter().chain(thousands.into_iter().max()).collect()
}
