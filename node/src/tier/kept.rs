//! Blocks of cold segments kept on the local disk, the ones not used for longest leaving first: a second, larger cache below memory.
//!
//! Whatever is in its directory may be removed at any time, and is removed at every start: nothing here is the only copy of
//! anything, and a segment that goes takes its blocks along. A block that cannot be kept is fetched again. Trusts no file: whoever
//! takes a block compares it with its sum.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::Mutex;

use super::blocks::Key;
use crate::segment::SegmentId;

/// The directory and what is in it.
pub(super) struct Kept {
    dir: PathBuf,
    most: u64,
    inner: Mutex<Listed>,
}

#[derive(Default)]
struct Listed {
    /// Size, and when it was used.
    blocks: HashMap<Key, (u64, u64)>,
    order: BTreeMap<u64, Key>,
    bytes: u64,
    used: u64,
}

impl Kept {
    /// At most so many bytes in a directory of its own, which is empty then.
    pub(super) fn within(dir: PathBuf, most: u64) -> Self {
        // Where this fails nothing is kept.
        drop(fs::remove_dir_all(&dir).and_then(|()| fs::create_dir_all(&dir)).or_else(|_| fs::create_dir_all(&dir)));
        Self { dir, most, inner: Mutex::default() }
    }

    /// A block as its file has it.
    pub(super) fn get(&self, key: Key) -> Option<Bytes> {
        let listed = &mut *self.inner.lock();
        let (_, used) = listed.blocks.get_mut(&key)?;
        listed.order.remove(used);
        listed.used += 1;
        *used = listed.used;
        listed.order.insert(listed.used, key);
        fs::read(self.path(key)).ok().map(Bytes::from)
    }

    /// Keeps a block, if it can.
    pub(super) fn put(&self, key: Key, bytes: &Bytes) {
        let length = bytes.len() as u64;
        let listed = &mut *self.inner.lock();
        if listed.blocks.contains_key(&key) || length > self.most {
            return;
        }
        while listed.bytes + length > self.most {
            let Some((_, oldest)) = listed.order.pop_first() else { break };
            self.remove(listed, oldest);
        }
        if fs::write(self.path(key), bytes).is_err() {
            // A file that is half there is no block.
            drop(fs::remove_file(self.path(key)));
            return;
        }
        listed.used += 1;
        listed.bytes += length;
        listed.order.insert(listed.used, key);
        listed.blocks.insert(key, (length, listed.used));
    }

    /// Forgets one block: its file is not what it was.
    pub(super) fn forget_block(&self, key: Key) {
        self.remove(&mut self.inner.lock(), key);
    }

    /// Forgets a segment.
    pub(super) fn forget(&self, segment: SegmentId) {
        let listed = &mut *self.inner.lock();
        let gone: Vec<_> = listed.blocks.keys().filter(|(id, ..)| *id == segment).copied().collect();
        gone.into_iter().for_each(|key| self.remove(listed, key));
    }

    fn remove(&self, listed: &mut Listed, key: Key) {
        let Some((length, used)) = listed.blocks.remove(&key) else { return };
        listed.order.remove(&used);
        listed.bytes -= length;
        drop(fs::remove_file(self.path(key)));
    }

    fn path(&self, (segment, part, block): Key) -> PathBuf {
        self.dir.join(format!("{segment}-{part}-{block}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(kept: &Kept) -> u64 {
        fs::read_dir(&kept.dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn the_disk_holds_no_more_than_it_may_and_the_block_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::within(dir.path().join("blocks"), 250);
        let key = |block| (SegmentId(1), 0, block);
        for block in 0..4 {
            kept.put(key(block), &Bytes::from(vec![7; 100]));
            assert_eq!(kept.get(key(0)).map(|bytes| bytes.len()), Some(100), "it is used all the time");
            assert!(files(&kept) <= 250);
        }
        assert!(kept.get(key(1)).is_none() && kept.get(key(3)).is_some());
        kept.put(key(9), &Bytes::from(vec![7; 300]));
        assert!(kept.get(key(9)).is_none(), "what is larger than all of it is not kept");
    }

    #[test]
    fn a_segment_that_goes_takes_its_blocks_along_and_a_start_begins_with_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::within(dir.path().join("blocks"), 1_000);
        for segment in 1..3 {
            kept.put((SegmentId(segment), 0, 0), &Bytes::from(vec![7; 100]));
        }
        kept.forget(SegmentId(1));
        assert_eq!(files(&kept), 100);
        assert!(kept.get((SegmentId(1), 0, 0)).is_none() && kept.get((SegmentId(2), 0, 0)).is_some());
        let again = Kept::within(dir.path().join("blocks"), 1_000);
        assert!(files(&again) == 0 && again.get((SegmentId(2), 0, 0)).is_none());
    }
}
