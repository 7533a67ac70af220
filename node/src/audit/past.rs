//! The tree as it was: proofs out of the whole tiles on the disk and the edge in memory, without reading the log again.

use std::io;
use std::path::Path;

use super::merkle::{self, Hash, Head, Tree, WIDTH, node, root_of};
use super::tiles;

/// A tree, and where its whole tiles lie.
pub(super) struct Past<'a> {
    pub(super) log: &'a Path,
    pub(super) tree: &'a Tree,
}

impl Past<'_> {
    /// What proves that `new`, a head of this tree, goes on from the one over the first `old` entries; checked before anybody
    /// sees it. Empty where there is nothing to prove.
    pub(super) fn consistency(&self, old: u64, new: &Head) -> io::Result<Vec<Hash>> {
        if old == 0 || old >= new.size {
            return Ok(Vec::new());
        }
        let mut proof = Vec::new();
        self.part(old, (0, new.size), true, &mut proof)?;
        let first = if old.is_power_of_two() { self.root(0, old)? } else { [0; 32] };
        match merkle::shown(old, new, first, &proof) {
            Some(_) => Ok(proof),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "the tiles do not give the root of the tree")),
        }
    }

    fn part(&self, old: u64, (from, to): (u64, u64), is_known: bool, proof: &mut Vec<Hash>) -> io::Result<()> {
        if old == to {
            if !is_known {
                proof.push(self.root(from, to)?);
            }
            return Ok(());
        }
        let half = from + split(to - from);
        if old <= half {
            self.part(old, (from, half), is_known, proof)?;
            proof.push(self.root(half, to)?);
        } else {
            self.part(old, (half, to), false, proof)?;
            proof.push(self.root(from, half)?);
        }
        Ok(())
    }

    /// The root over entries `from` to `to`, which begin where a tree of their size may begin.
    fn root(&self, from: u64, to: u64) -> io::Result<Hash> {
        let count = to - from;
        if count.is_power_of_two() {
            return self.whole(count.trailing_zeros(), from / count);
        }
        let half = from + split(count);
        Ok(node(&self.root(from, half)?, &self.root(half, to)?))
    }

    /// The hash over 2 to the power of `height` entries, the `index`th of its kind.
    fn whole(&self, height: u32, index: u64) -> io::Result<Hash> {
        let (level, below) = (height / 8, height % 8);
        let (first, count) = (index << below, 1_u64 << below);
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a tile has too few hashes");
        let level = u8::try_from(level).map_err(|_| missing())?;
        let hashes = self.tile(level, first / WIDTH)?;
        let at = usize::try_from(first % WIDTH).map_err(|_| missing())?;
        let end = usize::try_from(first % WIDTH + count).map_err(|_| missing())?;
        hashes.get(at..end).map(root_of).ok_or_else(missing)
    }

    fn tile(&self, level: u8, index: u64) -> io::Result<Vec<Hash>> {
        let hashes = self.tree.size().checked_shr(8 * u32::from(level)).unwrap_or(0);
        if index == hashes / WIDTH {
            return Ok(self.tree.edge().get(usize::from(level)).cloned().unwrap_or_default());
        }
        let bytes = std::fs::read(self.log.join(tiles::hashes_path(level, index, WIDTH)))?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }
}

/// The largest power of two below `count`, which is 2 at least.
const fn split(count: u64) -> u64 {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::super::merkle::{consistency, goes_on, leaf};
    use super::*;

    #[test]
    fn proofs_out_of_tiles_are_those_of_the_definition_and_a_wrong_tile_gives_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let leaves: Vec<Hash> = (0..70_000_u32).map(|number| leaf(&number.to_be_bytes())).collect();
        let (mut tree, mut heads) = (Tree::default(), vec![Tree::default().head()]);
        for hash in &leaves {
            for tile in tree.push(*hash) {
                let path = dir.path().join(tiles::hashes_path(tile.level, tile.index, WIDTH));
                std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
                std::fs::write(path, tile.hashes.as_flattened()).expect("written");
            }
            if tree.size() <= 300 || tree.size() % 997 == 0 || tree.size() % 65_536 < 2 {
                heads.push(tree.head());
            }
        }
        let past = Past { log: dir.path(), tree: &tree };
        for (at, new) in heads.iter().enumerate().skip(1).step_by(7) {
            for old in heads.iter().take(at + 1).skip(1).step_by(11) {
                let proof = past.consistency(old.size, new).expect("there");
                if new.size <= 300 {
                    let all = &leaves[..new.size as usize];
                    assert_eq!(proof, consistency(all, old.size as usize), "{} to {}", old.size, new.size);
                }
                assert!(goes_on(old, new, &proof), "{} to {}", old.size, new.size);
            }
        }
        let path = dir.path().join("tile/0/100");
        let mut bytes = std::fs::read(&path).expect("there");
        bytes[7] ^= 1;
        std::fs::write(path, bytes).expect("written");
        let old = 100 * 256 + 3;
        assert!(past.consistency(old, &tree.head()).is_err(), "a damaged disk is not taken for a fork by others");
    }
}
