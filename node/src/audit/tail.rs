//! The tail: where entries become durable, in groups with one flush each, before the files of the log are written from it.
//!
//! A tail file begins with what the ledger was like at a bundle's border and holds every entry since, so a start reads no more
//! than the tail. A file: `DMLT` · version 1 · kind · length (u32, big-endian) · CRC-32 of what follows · root before (32) · body, again
//! and again; the first is the state, all others are groups of bodies. A tail that has grown long is followed by another, and
//! removed once the files of the log hold what it holds.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chains::Chains;
use super::files::Files;
use super::merkle::{Hash, Tree};
use super::tiles::{self, Kept, Record};
use crate::limits::{LEDGER_BODY_BYTES, LEDGER_GROUP_BYTES, LEDGER_STATE_BYTES};

const MAGIC: [u8; 4] = *b"DMLT";
const VERSION: u8 = 1;
/// Bytes before the body of a frame.
const HEAD_BYTES: usize = 4 + 1 + 1 + 4 + 4 + 32;
/// Largest group, in bytes.
const MAX_GROUP_BYTES: usize = LEDGER_GROUP_BYTES + 64 + LEDGER_BODY_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    State = 1,
    Group = 2,
}

/// What the ledger was like at the border of a bundle.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) chains: Chains,
}

/// The same, written down.
#[derive(Serialize, Deserialize)]
struct Written {
    size: u64,
    /// Hashes of the tiles that are not whole, in hexadecimal, one level behind the other.
    edge: Vec<Vec<String>>,
    chains: Chains,
}

impl State {
    fn write(&self) -> Vec<u8> {
        let edge = self.tree.edge().iter().map(|hashes| hashes.iter().map(hex::encode).collect()).collect();
        let written = Written { size: self.tree.size(), edge, chains: self.chains.clone() };
        // Plain data always serialises.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let Written { size, edge, chains } = serde_json::from_slice(bytes).ok()?;
        let hash = |text: &String| -> Option<Hash> { hex::decode(text).ok()?.try_into().ok() };
        let edge: Option<Vec<Vec<Hash>>> = edge.iter().map(|hashes| hashes.iter().map(hash).collect()).collect();
        Some(Self { tree: Tree::of(size, edge?)?, chains })
    }
}

/// The name of the tail that begins behind so many entries.
pub(super) fn name(start: u64) -> String {
    format!("tail-{start:020}")
}

/// The tails in a directory, the oldest first, each with where it begins.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("tail-")).filter(|rest| rest.len() == 20);
        if let Some(start) = number.and_then(|rest| rest.parse().ok()) {
            found.push((start, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The tail that is written.
pub(super) struct Tail {
    files: Files,
    file: File,
    pub(super) start: u64,
    pub(super) bytes: u64,
}

impl Tail {
    /// A new tail with what came since the state, durable before it has its name.
    pub(super) fn begin(files: &Files, dir: &Path, state: &State, since: &[Record]) -> io::Result<Self> {
        let start = state.tree.size();
        let path = dir.join(name(start));
        let new = path.with_extension("new");
        let mut file = files.fresh(&new)?;
        let mut bytes = frame(Kind::State, &state.tree.root(), &state.write());
        let mut tree = state.tree.clone();
        let mut group = Group::at(tree.root());
        for record in since {
            group.add(record);
            tree.push(super::merkle::leaf(&record.commitment()));
            if group.is_full() {
                bytes.extend(std::mem::replace(&mut group, Group::at(tree.root())).close());
            }
        }
        if !group.is_empty() {
            bytes.extend(group.close());
        }
        files.append(&mut file, &bytes)?;
        files.sync(&file)?;
        files.rename(&new, &path)?;
        Ok(Self { files: files.clone(), file, start, bytes: bytes.len() as u64 })
    }

    /// The tail that a start found, to be written on at its end.
    pub(super) fn go_on(files: &Files, dir: &Path, start: u64, bytes: u64) -> io::Result<Self> {
        let path = dir.join(name(start));
        File::options().write(true).open(&path)?.set_len(bytes)?;
        let file = files.appending(&path)?;
        files.sync(&file)?;
        Ok(Self { files: files.clone(), file, start, bytes })
    }

    /// A tail over a file that a test has opened.
    #[cfg(test)]
    pub(super) fn over(file: File) -> Self {
        Self { files: Files::default(), file, start: 0, bytes: 0 }
    }

    /// Makes a group durable. After an error the tail must not be written again.
    pub(super) fn commit(&mut self, group: Group) -> io::Result<()> {
        let bytes = group.close();
        self.files.append(&mut self.file, &bytes)?;
        self.files.sync(&self.file)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Entries that become durable together. One checksum stands over all of them: pages reach a disk in any order, and an entry
/// with a checksum of its own behind one that was lost would look like damage.
pub(super) struct Group {
    root: Hash,
    body: Vec<u8>,
}

impl Group {
    /// A group that follows a root.
    pub(super) const fn at(root: Hash) -> Self {
        Self { root, body: Vec::new() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        record.put(&mut self.body);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.body.len() >= LEDGER_GROUP_BYTES
    }

    fn close(self) -> Vec<u8> {
        frame(Kind::Group, &self.root, &self.body)
    }
}

fn frame(kind: Kind, root: &Hash, body: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(HEAD_BYTES + body.len());
    // Bodies of frames are bounded far below 4 GiB.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&[VERSION, kind as u8]);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&checksum(kind as u8, root, body).to_be_bytes());
    to.extend_from_slice(root);
    to.extend_from_slice(body);
    to
}

fn checksum(kind: u8, root: &Hash, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(root);
    hasher.update(body);
    hasher.finalize()
}

/// What stands at the beginning of some bytes.
enum Found<'a> {
    Whole {
        kind: Kind,
        root: Hash,
        body: &'a [u8],
        length: usize,
    },
    /// Less than a whole frame, or not one of ours, or one that was altered.
    Broken,
    /// A frame of a newer layout.
    Newer,
}

fn read_frame(bytes: &[u8]) -> Found<'_> {
    let Some((top, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Found::Broken };
    let [m0, m1, m2, m3, version, kind, l0, l1, l2, l3, c0, c1, c2, c3, root @ ..] = top;
    if [*m0, *m1, *m2, *m3] != MAGIC || *version == 0 {
        return Found::Broken;
    }
    if *version != VERSION {
        return Found::Newer;
    }
    let (kind, most) = match *kind {
        1 => (Kind::State, LEDGER_STATE_BYTES),
        2 => (Kind::Group, MAX_GROUP_BYTES),
        _ => return Found::Broken,
    };
    let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
    let Some(body) = rest.get(..length).filter(|_| length <= most) else { return Found::Broken };
    if checksum(kind as u8, root, body) != u32::from_be_bytes([*c0, *c1, *c2, *c3]) {
        return Found::Broken;
    }
    Found::Whole { kind, root: *root, body, length: HEAD_BYTES + length }
}

/// Whether a whole frame begins anywhere in `bytes`.
fn holds_a_frame(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, &MAGIC)
        .any(|at| !matches!(read_frame(bytes.get(at..).unwrap_or_default()), Found::Broken))
}

/// What is wrong with a tail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It does not begin with a state.
    NoState,
    /// Something in the middle, at this byte.
    Damaged(u64),
    /// A newer build wrote it.
    Newer,
}

/// What is in a tail file.
pub(super) struct Contents {
    pub(super) state: State,
    pub(super) records: Vec<Record>,
    /// Bytes of whole frames.
    pub(super) bytes: u64,
    /// What stands behind them.
    pub(super) torn: Vec<u8>,
}

/// Reads a tail file: every checksum, and that each group follows the root before it.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Wrong> {
    let (state, mut at) = match read_frame(bytes) {
        Found::Whole { kind: Kind::State, root, body, length } => {
            let state = State::read(body).filter(|state| state.tree.root() == root);
            (state.ok_or(Wrong::NoState)?, length)
        }
        Found::Newer => return Err(Wrong::Newer),
        Found::Whole { .. } | Found::Broken => return Err(Wrong::NoState),
    };
    let (mut tree, mut records) = (state.tree.clone(), Vec::new());
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let damaged = Wrong::Damaged(at as u64);
        match read_frame(rest) {
            _ if rest.is_empty() => break,
            Found::Whole { kind: Kind::Group, root, mut body, length } if root == tree.root() => {
                while !body.is_empty() {
                    let Some(Kept::Whole(record)) = tiles::take(&mut body) else { return Err(damaged) };
                    tree.push(super::merkle::leaf(&record.commitment()));
                    records.push(record);
                }
                at += length;
            }
            Found::Whole { .. } => return Err(damaged),
            Found::Newer => return Err(Wrong::Newer),
            Found::Broken if rest.get(1..).is_some_and(holds_a_frame) => return Err(damaged),
            Found::Broken => break,
        }
    }
    Ok(Contents { state, records, bytes: at as u64, torn: bytes.get(at..).unwrap_or_default().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};

    /// A tail with a right checksum around any state and any group.
    #[test]
    fn no_tail_of_a_ledger_panics() {
        let record = |byte| Record { nonce: [byte; 32], body: vec![byte; 9] };
        let mut state = State::default();
        state.tree.push(super::super::merkle::leaf(&record(1).commitment()));
        let mut group = Group::at(state.tree.root());
        (2..5).for_each(|byte| group.add(&record(byte)));
        let (state, root) = (state.write(), state.tree.root());
        let (states, bodies) = (vec![state.clone()], vec![group.body.clone()]);
        let whole = [frame(Kind::State, &root, &state), group.close()].concat();
        assert_eq!(read(&whole).map(|read| (read.records.len(), read.torn.len())), Ok((3, 0)));
        let files = vec![whole];
        bolero::check!().with_iterations(cases()).with_type::<(Input, Input)>().for_each(|(input, other)| {
            let any_state = frame(Kind::State, &root, &input.bytes(&states));
            let any_group = frame(Kind::Group, &root, &other.bytes(&bodies));
            for bytes in [
                [&any_state[..], &any_group].concat(),
                [&frame(Kind::State, &root, &state)[..], &any_group].concat(),
                input.bytes(&files),
            ] {
                if let Ok(read) = read(&bytes) {
                    assert!(read.bytes as usize + read.torn.len() == bytes.len());
                    assert!(read.records.len() <= bytes.len());
                }
            }
        });
    }
}
