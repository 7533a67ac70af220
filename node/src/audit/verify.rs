//! Checks the files of a log offline, from the first entry to the checkpoint: nothing of the node runs, nothing is asked.
//!
//! Integrity ends at the first thing that does not fit, and says where. What the entries say about themselves (an erasure that
//! took too long) is a finding, and there may be many. What needs more than the files of one log is not checked here, and the
//! command says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::chains::{Chains, Link};
use super::cosigned;
use super::destroyed::Destroyed;
use super::edge::{self, Parts};
use super::entry::{Entry, Event, Passage};
use super::finding::{About, Finding};
use super::gone::Gone;
use super::merkle::{Hash, Head, Tree, WIDTH, leaf, sha256};
use super::note::{Cosigner, Verifier};
use super::passing::Elapsed;
use super::strays;
use super::tail;
use super::tiles::{self, CHECKPOINT, CHECKPOINTS, COSIGNED, Kept, LOG, VERIFIER, WITNESSES};
use super::unsigned::{self, End, Unsigned};
use domicile_proto::border::EgressClass;
use domicile_proto::codec;
use domicile_proto::message::ledger::{HeadOffer, Verdict};
use domicile_proto::officer::OfficerPublic;

/// From the request of an erasure to the destruction of its keys, at most, in microseconds (ERA-1).
const SHREDDED_WITHIN_US: i64 = 60_000_000;

/// Where a log does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{place}`: {why}")]
pub(crate) struct Broken {
    /// A file, or an entry of one.
    pub(crate) place: String,
    /// What is wrong there.
    pub(crate) why: &'static str,
}

pub(super) fn broken(place: impl std::fmt::Display, why: &'static str) -> Broken {
    Broken { place: place.to_string(), why }
}

/// What was checked.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The name of the log.
    pub(crate) origin: String,
    /// Entries under the newest checkpoint, and its root.
    pub(crate) head: Option<Head>,
    /// Checkpoints that the log goes on from, the newest and saved ones included.
    pub(crate) checkpoints: u64,
    /// Bodies that were destroyed.
    pub(crate) destroyed: u64,
    /// Bodies that were not given to whom the copy was made for.
    pub(crate) withheld: u64,
    /// Entries that are durable and under no checkpoint yet.
    pub(crate) beyond: u64,
    /// Bodies behind the newest checkpoint that no tail holds; nobody signed them and nobody is shown them.
    pub(crate) unsigned: Unsigned,
    /// Names of the witnesses that cosigned the newest checkpoint that anybody cosigned.
    pub(crate) cosigners: Vec<String>,
    /// Their keys, and how many entries that checkpoint is over.
    pub(crate) cosigner_keys: Vec<String>,
    pub(crate) cosigned: u64,
    /// Whom the node honoured as its region's officer, by its own word: from which entry on, each time it was another one.
    pub(crate) officers: Vec<(u64, OfficerPublic)>,
    /// What the entries say against the region.
    pub(crate) findings: Vec<Finding>,
}

/// A walk over a log.
pub(crate) struct Walk<'a> {
    log: PathBuf,
    verifier: Verifier,
    head: Head,
    /// What was read with the checkpoint, and may be gone by now.
    parts: Parts,
    expected: BTreeMap<u64, Vec<(String, Hash)>>,
    tree: Tree,
    chains: Chains,
    gone: Gone,
    withheld: u64,
    /// Entries that chains of tenants went on without.
    leapt: u64,
    /// And the chain of what is about no tenant.
    leapt_of_none: u64,
    files: BTreeSet<PathBuf>,
    /// What the tails say of entries behind the checkpoint.
    durable: Vec<Hash>,
    /// What stands behind the last signed body in the file of it.
    behind: Vec<u8>,
    /// By id: the entry that asked, and when that was by [`Elapsed`].
    erasures: BTreeMap<Box<str>, (u64, i64)>,
    elapsed: Elapsed,
    last_at: i64,
    officers: Vec<(u64, OfficerPublic)>,
    findings: Vec<Finding>,
    /// Told of every entry.
    each: &'a mut dyn FnMut(u64, &Entry),
}

/// Checks the ledger, or the log, in a directory.
///
/// # Errors
/// [`Broken`] says where it does not hold.
pub(crate) fn verify(
    dir: &Path,
    pinned: Option<&Verifier>,
    saved: &[(String, String)],
    each: &mut dyn FnMut(u64, &Entry),
) -> Result<Checked, Broken> {
    let inner = dir.join(LOG);
    let log = if inner.is_dir() { inner } else { dir.to_path_buf() };
    let said = text(&log.join(VERIFIER))?;
    let verifier = said.strip_suffix('\n').and_then(Verifier::read);
    let verifier = verifier.ok_or_else(|| broken(VERIFIER, "this is no key that checks a log"))?;
    if pinned.is_some_and(|pinned| *pinned != verifier) {
        return Err(broken(VERIFIER, "this is another key than the one you trust"));
    }
    let (head, parts) = edge::read(&log, &verifier)?;
    let (expected, files) = (BTreeMap::new(), BTreeSet::new());
    let mut walk = Walk {
        log,
        verifier,
        head,
        parts,
        expected,
        tree: Tree::default(),
        chains: Chains::default(),
        gone: Gone::default(),
        withheld: 0,
        leapt: 0,
        leapt_of_none: 0,
        files,
        durable: Vec::new(),
        behind: Vec::new(),
        erasures: BTreeMap::new(),
        elapsed: Elapsed::default(),
        last_at: 0,
        officers: Vec::new(),
        findings: Vec::new(),
        each,
    };
    walk.expect(CHECKPOINT.to_owned(), head);
    walk.known(CHECKPOINT);
    walk.known(VERIFIER);
    walk.expect_checkpoints(saved)?;
    let cosigners = walk.expect_cosigned()?;
    let beyond = walk.expect_tails(dir)?;
    let listed = unsigned::list(&walk.log);
    walk.entries()?;
    walk.edges()?;
    let unsigned = walk.unsigned(listed)?;
    strays::check(&walk.log, &walk.files, &walk.parts)?;
    let (cosigned, cosigners) = cosigners;
    let cosigner_keys = cosigners.iter().map(ToString::to_string).collect();
    let cosigners = cosigners.iter().map(|key| key.name().to_owned()).collect();
    Ok(Checked { cosigners, cosigner_keys, cosigned, unsigned, ..walk.conclude(beyond) })
}

pub(super) fn text(path: &Path) -> Result<String, Broken> {
    std::fs::read_to_string(path).map_err(|_| broken(path.display(), "this file is missing or cannot be read"))
}

impl Walk<'_> {
    fn known(&mut self, path: &str) -> PathBuf {
        let path = self.log.join(path);
        self.files.insert(path.clone());
        path
    }

    /// The bytes of a file of the log.
    fn bytes(&mut self, path: &str) -> Result<Vec<u8>, Broken> {
        let full = self.known(path);
        if let Some(part) = self.parts.get(path) {
            return Ok(part.clone());
        }
        std::fs::read(full).map_err(|_| broken(path, "this file is missing or cannot be read"))
    }

    /// The tree must have this root at this size.
    fn expect(&mut self, place: String, head: Head) {
        self.expected.entry(head.size).or_default().push((place, head.root));
    }

    fn expect_checkpoints(&mut self, saved: &[(String, String)]) -> Result<(), Broken> {
        let dir = self.log.join(CHECKPOINTS);
        let mut notes = Vec::new();
        for entry in std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
            let name = format!("{CHECKPOINTS}/{}", entry.file_name().to_string_lossy());
            if name.ends_with(".new") {
                continue;
            }
            self.known(&name);
            let note = text(&entry.path())?;
            let head = self.verifier.checkpoint(&note);
            if head.is_none_or(|head| name != format!("{CHECKPOINTS}/{:020}", head.size)) {
                return Err(broken(name, "the log's key did not sign this checkpoint under this name"));
            }
            notes.push((name, note));
        }
        for (place, note) in notes.iter().chain(saved) {
            let head = self.verifier.checkpoint(note);
            let head = head.ok_or_else(|| broken(place, "the log's key did not sign this checkpoint"))?;
            if head.size > self.head.size {
                return Err(broken(
                    place,
                    "this checkpoint is over more entries than the log has; entries were removed",
                ));
            }
            self.expect(place.clone(), head);
        }
        Ok(())
    }

    /// The checkpoint that others cosigned is one of this log, and over no more than there is.
    fn expect_cosigned(&mut self) -> Result<(u64, Vec<Cosigner>), Broken> {
        self.known(COSIGNED);
        self.known(WITNESSES);
        let Some((head, cosigners)) = cosigned::read(&self.log, &self.verifier)? else { return Ok((0, Vec::new())) };
        if head.size > self.head.size {
            return Err(broken(
                COSIGNED,
                "this checkpoint is over more entries than the log has; entries were removed",
            ));
        }
        self.expect(COSIGNED.to_owned(), head);
        Ok((head.size, cosigners))
    }

    /// What the tails say of the tree; how many entries lie in them behind the checkpoint.
    fn expect_tails(&mut self, dir: &Path) -> Result<u64, Broken> {
        let mut size = self.head.size;
        for (_, path) in tail::list(dir).unwrap_or_default() {
            let place = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let unread = |_| broken(&place, "this file is missing or cannot be read");
            let bytes = std::fs::read(&path).map_err(unread)?;
            let read = tail::read(&bytes).map_err(|_| broken(&place, "this tail was altered or damaged"))?;
            if !read.torn.is_empty() {
                let why =
                    "it ends in part of an entry, as after a crash; start the node once, which puts the part aside";
                self.find(About::End, format!("`{place}`: {why}"));
            }
            let mut tree = read.state.tree;
            if tree.size() <= self.head.size {
                self.expect(place.clone(), tree.head());
            }
            for record in &read.records {
                tree.push(leaf(&record.commitment()));
                if tree.size() == self.head.size {
                    self.expect(place.clone(), tree.head());
                }
                if tree.size() == self.head.size + self.durable.len() as u64 + 1 {
                    self.durable.push(record.commitment());
                }
            }
            size = size.max(tree.size());
        }
        Ok(size - self.head.size)
    }

    /// Every bundle with its bodies and its tiles.
    fn entries(&mut self) -> Result<(), Broken> {
        self.meet()?;
        let bundles = self.head.size.div_ceil(WIDTH);
        for index in 0..bundles {
            let width = (self.head.size - index * WIDTH).min(WIDTH);
            let place = tiles::bundle_path(index, width);
            let commitments = tiles::commitments(&self.bytes(&place)?).filter(|all| all.len() as u64 == width);
            let commitments = commitments.ok_or_else(|| broken(&place, "this is no bundle of so many entries"))?;
            let bodies_place = tiles::bodies_path(index);
            let bodies = self.bytes(&bodies_place)?;
            let mut rest = &bodies[..];
            for (number, commitment) in (index * WIDTH + 1..).zip(&commitments) {
                let place = || format!("{bodies_place}, entry {number}");
                match tiles::take(&mut rest) {
                    None => return Err(broken(place(), "the body is missing or cut")),
                    Some(Kept::Destroyed) => self.gone.add(number, *commitment),
                    Some(Kept::Withheld) => self.withheld += 1,
                    Some(Kept::Whole(record)) if record.commitment() == *commitment => {
                        self.entry(number, &record.body, commitment).map_err(|why| broken(place(), why))?;
                    }
                    Some(Kept::Whole(_)) => return Err(broken(place(), "the body is not the one in the tree")),
                }
                for tile in self.tree.push(leaf(commitment)) {
                    self.tile(&tiles::hashes_path(tile.level, tile.index, WIDTH), &tile.hashes)?;
                }
                self.meet()?;
            }
            if width == WIDTH && !rest.is_empty() {
                return Err(broken(bodies_place, "there are more bodies than entries"));
            }
            self.behind = rest.to_vec();
        }
        Ok(())
    }

    fn tile(&mut self, place: &str, hashes: &[Hash]) -> Result<(), Broken> {
        let is_same = self.bytes(place)? == hashes.as_flattened();
        if is_same { Ok(()) } else { Err(broken(place, "the tile does not follow from the entries")) }
    }

    /// The tiles at the right edge, that are not whole.
    fn edges(&mut self) -> Result<(), Broken> {
        let (edge, mut index) = (self.tree.edge().to_vec(), self.head.size);
        for (level, hashes) in (0..u8::MAX).zip(edge) {
            index /= WIDTH;
            if !hashes.is_empty() {
                self.tile(&tiles::hashes_path(level, index, hashes.len() as u64), &hashes)?;
            }
        }
        Ok(())
    }

    /// What lies behind the last entry that is signed.
    fn unsigned(&mut self, listed: BTreeSet<PathBuf>) -> Result<Unsigned, Broken> {
        let has_gaps = self.gone.count() + self.withheld > 0;
        let end = End { size: self.head.size, chains: &self.chains, has_gaps, durable: &self.durable };
        unsigned::check(&self.log, listed, std::mem::take(&mut self.behind), &end)
    }

    /// Whether the tree has the roots that it must have at this size.
    fn meet(&mut self) -> Result<(), Broken> {
        let Some(expected) = self.expected.remove(&self.tree.size()) else { return Ok(()) };
        let root = self.tree.root();
        match expected.into_iter().find(|(_, wanted)| *wanted != root) {
            None => Ok(()),
            Some((place, _)) if place == CHECKPOINT => {
                Err(broken(place, "the entries do not give the root that was signed; one of them was changed"))
            }
            Some((place, _)) => {
                Err(broken(place, "the log does not go on from here: it was rewritten, or shown to others otherwise"))
            }
        }
    }

    /// A body: its form, its place in its chain, the frame in it.
    fn entry(&mut self, number: u64, body: &[u8], commitment: &Hash) -> Result<(), &'static str> {
        let entry = Entry::read(body).ok_or("the body is no entry that this build knows, or not in its one form")?;
        let end = self.chains.end(entry.tenant);
        let is_next = entry.seq == end.seq + 1 && entry.prev == end.commitment;
        // Where bodies were destroyed a chain may leap, but never further than that and never back. What is withheld from an
        // auditor of one tenant is about others: no chain of a tenant leaps over it, only that of the region.
        // One body that is missing explains a leap of one in one chain.
        let missing = self.gone.count().saturating_sub(self.leapt);
        let missing = match entry.tenant {
            Some(_) => missing,
            None => (missing + self.withheld).saturating_sub(self.leapt_of_none),
        };
        let leap = entry.seq.checked_sub(end.seq + 1).filter(|leap| (1..=missing).contains(leap));
        if !is_next && leap.is_none() {
            return Err("an entry of the same tenant before this one is withheld, or is another");
        }
        *if entry.tenant.is_some() { &mut self.leapt } else { &mut self.leapt_of_none } += leap.unwrap_or_default();
        self.chains.grow(entry.tenant, Link { seq: entry.seq, commitment: *commitment });
        let passed = self.elapsed.take(&entry);
        match &entry.event {
            Event::Egress(passage) => frame(passage, |class| passage.class == class)?,
            // Earlier builds entered scalars and numbers that arrived as what they were nearest to.
            Event::Ingress(passage) => frame(passage, |class| {
                passage.class == class || (passage.class == EgressClass::Count && COUNTED_BEFORE.contains(&class))
            })?,
            Event::OfficerHonoured { officer } => {
                self.gone.honour(*officer);
                if self.officers.last().is_none_or(|(_, before)| before != officer) {
                    self.officers.push((number, *officer));
                }
            }
            Event::BodyDestroyed(gone) => self.explained(number, gone),
            Event::ErasureRequested { erasure, .. } => {
                // Told of once more where the node stopped in between: the first counts.
                self.erasures.entry(erasure.clone()).or_insert((number, passed));
            }
            Event::Shredded { erasure, .. } => {
                if let Some((requested, since)) = self.erasures.remove(erasure)
                    && let took = passed.saturating_sub(since)
                    && took > SHREDDED_WITHIN_US
                {
                    let took = took / 1_000_000;
                    let words = format!("entry {number}: the erasure of entry {requested} took {took} s, not 60");
                    self.find(About::Clock, words);
                }
            }
            _ => {}
        }
        self.last_at = self.last_at.max(passed);
        (self.each)(number, &entry);
        Ok(())
    }

    /// An entry says that the body of another is gone.
    fn explained(&mut self, number: u64, gone: &Destroyed) {
        if let Err(why) = self.gone.explain(self.verifier.name(), gone) {
            self.find(About::Gap, format!("entry {number}: {why} {}", gone.entry));
        }
    }

    fn find(&mut self, about: About, words: String) {
        self.findings.push(Finding::new(about, words));
    }

    fn conclude(mut self, beyond: u64) -> Checked {
        let late: Vec<u64> = self
            .erasures
            .values()
            .filter(|(_, since)| self.last_at.saturating_sub(*since) > SHREDDED_WITHIN_US)
            .map(|(number, _)| *number)
            .collect();
        if let Some((count, first)) = self.gone.unexplained() {
            let words = format!(
                "the bodies of {count} entries were destroyed, and no entry says why (the first is entry {first})"
            );
            self.find(About::Gap, words);
        }
        for number in late {
            let words = format!("entry {number}: the erasure was asked for and is not carried out after 60 s");
            self.find(About::Clock, words);
        }
        let checkpoints = self.files.iter().filter(|path| path.starts_with(self.log.join(CHECKPOINTS))).count() as u64;
        Checked {
            origin: self.verifier.name().to_owned(),
            head: Some(self.head),
            checkpoints: checkpoints + 1,
            destroyed: self.gone.count(),
            withheld: self.withheld,
            beyond,
            officers: self.officers,
            findings: self.findings,
            ..Checked::default()
        }
    }
}

/// What earlier builds entered as a count where it arrived.
const COUNTED_BEFORE: [EgressClass; 4] =
    [EgressClass::Histogram, EgressClass::Sum, EgressClass::Quantile, EgressClass::DistinctEstimate];

/// The frame of a crossing: as long and with the hash as said, of a type of the border and nothing else, and entered as what it is. An
/// aggregate that was entered as a refusal would pass where nothing may be told.
fn frame(passage: &Passage, is_entered: impl Fn(EgressClass) -> bool) -> Result<(), &'static str> {
    let is_whole = passage.bytes.0 == passage.body.len() as u64 && passage.sha256 == sha256(&[&passage.body]);
    let is_known = match passage.class {
        EgressClass::Question => passage.question().is_some(),
        EgressClass::LedgerHead => {
            codec::decode::<HeadOffer>(&passage.body).is_ok() || codec::decode::<Verdict>(&passage.body).is_ok()
        }
        EgressClass::Metadata => false,
        _ => match passage.answer() {
            Some(answer) if !is_entered(EgressClass::of(&answer)) => {
                return Err("the answer that crossed is of another class than its entry says");
            }
            answer => answer.is_some(),
        },
    };
    match (is_whole, is_known) {
        (true, true) => Ok(()),
        (false, _) => Err("the frame that crossed is not the one of the length and hash beside it"),
        (true, false) => Err("the frame that crossed is none of the types that may cross"),
    }
}

#[cfg(test)]
#[path = "verify_test.rs"]
mod tests;
