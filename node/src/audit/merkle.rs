//! The tree of the ledger: hashing after RFC 6962, the right edge that grows, proofs and what checks them.
//!
//! A tile is 256 hashes of one level, as C2SP tlog-tiles cuts the tree: level 0 holds the hashes of entries, each hash of a
//! level above is the root of one whole tile below. Knows no file.

use ring::digest::{Context, SHA256};

/// A hash of the tree.
pub(crate) type Hash = [u8; 32];
/// Hashes of a whole tile; entries of a whole bundle.
pub(super) const WIDTH: u64 = 256;

/// How many entries there are, and the root of the tree over them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Entries.
    pub(crate) size: u64,
    /// Root of the tree over all of them.
    pub(crate) root: Hash,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Head({}, {})", self.size, hex::encode(self.root))
    }
}

pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The hash of an entry.
pub(super) fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// The hash over two.
pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root over hashes of one level.
pub(super) fn root_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(&[]),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&root_of(left), &root_of(right))
        }
    }
}

/// The largest power of two below `count`, which is 2 at least.
const fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// A tile that has become whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) level: u8,
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
}

/// A tree that only grows: of each level it keeps the hashes of the tile that is not whole yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    edge: Vec<Vec<Hash>>,
}

impl Tree {
    /// From what was kept; `None` where the hashes are not as many as the size says.
    pub(super) fn of(size: u64, edge: Vec<Vec<Hash>>) -> Option<Self> {
        let mut left = size;
        for hashes in &edge {
            if hashes.len() as u64 != left % WIDTH {
                return None;
            }
            left /= WIDTH;
        }
        (left == 0).then_some(Self { size, edge })
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Of each level, the hashes of the tile that is not whole.
    pub(super) fn edge(&self) -> &[Vec<Hash>] {
        &self.edge
    }

    /// Adds the hash of an entry; gives the tiles that it makes whole, the lowest first.
    pub(super) fn push(&mut self, leaf: Hash) -> Vec<Whole> {
        self.size += 1;
        let (mut whole, mut next, mut index) = (Vec::new(), Some(leaf), self.size);
        for level in 0..u8::MAX {
            let Some(hash) = next.take() else { break };
            if self.edge.len() <= usize::from(level) {
                self.edge.push(Vec::new());
            }
            let Some(hashes) = self.edge.get_mut(usize::from(level)) else { break };
            hashes.push(hash);
            index /= WIDTH;
            if hashes.len() as u64 == WIDTH {
                let hashes = std::mem::take(hashes);
                next = Some(root_of(&hashes));
                whole.push(Whole { level, index: index - 1, hashes });
            }
        }
        whole
    }

    /// The root over all entries so far.
    pub(super) fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for hashes in &self.edge {
            if hashes.is_empty() && below.is_none() {
                continue;
            }
            let mut hashes = hashes.clone();
            hashes.extend(below);
            below = Some(root_of(&hashes));
        }
        below.unwrap_or_else(|| root_of(&[]))
    }

    pub(super) fn head(&self) -> Head {
        Head { size: self.size, root: self.root() }
    }
}

/// What proves that entry `index` is in the tree over `leaves`.
pub(super) fn inclusion(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, other) =
        if index < left.len() { (inclusion(left, index), right) } else { (inclusion(right, index - left.len()), left) };
    proof.push(root_of(other));
    proof
}

/// What proves that the tree over `leaves` goes on from the one over the first `old` of them.
pub(super) fn consistency(leaves: &[Hash], old: usize) -> Vec<Hash> {
    fn part(leaves: &[Hash], old: usize, is_known: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_known { Vec::new() } else { vec![root_of(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, other) = if old <= left.len() {
            (part(left, old, is_known), right)
        } else {
            (part(right, old - left.len(), false), left)
        };
        proof.push(root_of(other));
        proof
    }
    if old == 0 || old >= leaves.len() { Vec::new() } else { part(leaves, old, true) }
}

/// Whether the proof shows an entry's hash at `index` of a tree (RFC 9162, section 2.1.3.2).
pub(super) fn includes(tree: &Head, index: u64, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= tree.size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, tree.size - 1, *leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node(other, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == tree.root
}

/// Whether the proof shows that `new` goes on from `old` (RFC 9162, section 2.1.4.2). From nothing nothing is proven.
pub(super) fn goes_on(old: &Head, new: &Head, proof: &[Hash]) -> bool {
    if old.size == 0 {
        return false;
    }
    if old.size >= new.size {
        return old == new && proof.is_empty();
    }
    let first = old.size.is_power_of_two().then_some(old.root);
    roots(old.size, new.size, first, proof) == Some((old.root, new.root))
}

/// The root over the first `old` entries, as a proof shows it to whoever has the whole tree; `None` where it shows none. For the one
/// who made the proof: a hash that was read wrongly is seen before it is sent.
pub(super) fn shown(old: u64, new: &Head, first: Hash, proof: &[Hash]) -> Option<Hash> {
    let first = old.is_power_of_two().then_some(first);
    roots(old, new.size, first, proof).filter(|(_, after)| *after == new.root).map(|(before, _)| before)
}

/// The two roots that a proof leads to; `first` is the older one where its tree is whole, and the proof leaves it out.
fn roots(old: u64, new: u64, first: Option<Hash>, proof: &[Hash]) -> Option<(Hash, Hash)> {
    let (first, rest) = match first {
        Some(first) => (first, proof),
        None => proof.split_first().map(|(first, rest)| (*first, rest))?,
    };
    let (mut place, mut last) = (old.checked_sub(1)?, new.checked_sub(1)?);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut before, mut after) = (first, first);
    for other in rest {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            before = node(other, &before);
            after = node(other, &after);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            after = node(&after, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    (last == 0).then_some((before, after))
}

#[cfg(test)]
#[path = "merkle_test.rs"]
mod tests;
