//! What was read of cold segments, in memory: blocks of their parts, and their footers. Both count, both may leave, and the ones not
//! used for longest leave first: whatever the number of open segments, there is one bound.
//!
//! Below it lies what is kept on the disk. Reads nothing from the bucket, and knows not what is in a footer or a block.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::kept::Kept;
use crate::limits::{COLD_CACHE_BYTES, COLD_REQUEST_BLOCKS, COLD_UNDER_WAY};
use crate::segment::SegmentId;

/// A block of a part of a segment.
pub(super) type Key = (SegmentId, usize, usize);

/// Where the footer of a segment stands among its blocks: no part has such a number.
const fn footer_of(segment: SegmentId) -> Key {
    (segment, usize::MAX, 0)
}

/// What a footer has beyond the places of things.
pub(super) struct Frame {
    /// The sums of the blocks of each part.
    sums: Vec<Vec<u32>>,
    /// What is read at open, and where it begins.
    hot: Vec<(u64, Bytes)>,
    bytes: usize,
}

impl Frame {
    /// From its parts, whose bytes belong to it alone afterwards.
    pub(super) fn new(sums: Vec<Vec<u32>>, hot: &[(u64, Bytes)]) -> Self {
        let of_sums: usize = sums.iter().map(|sums| size_of::<Vec<u32>>() + size_of_val(sums.as_slice())).sum();
        let hot: Vec<_> = hot.iter().map(|(at, bytes)| (*at, Bytes::copy_from_slice(bytes))).collect();
        let of_hot: usize = hot.iter().map(|(_, bytes)| size_of::<(u64, Bytes)>() + bytes.len()).sum();
        Self { sums, hot, bytes: size_of::<Self>() + of_sums + of_hot }
    }

    /// The sum of a block.
    pub(super) fn sum(&self, part: usize, block: usize) -> Option<u32> {
        self.sums.get(part)?.get(block).copied()
    }

    /// Bytes that are read at open, if it has all of them.
    pub(super) fn hot(&self, range: &Range<u64>) -> Option<&[u8]> {
        self.hot.iter().find_map(|(from, bytes)| {
            let at = |place: u64| usize::try_from(place.checked_sub(*from)?).ok();
            bytes.get(at(range.start)?..at(range.end)?)
        })
    }
}

/// Blocks and footers of cold segments in memory. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Blocks {
    most: usize,
    inner: Arc<Mutex<Held>>,
    /// What is kept on the disk besides.
    kept: Option<Arc<Kept>>,
    /// Room for blocks that come from the bucket.
    room: Arc<Semaphore>,
}

#[derive(Clone)]
enum Piece {
    Block(Bytes),
    Footer(Arc<Frame>),
}

impl Piece {
    fn bytes(&self) -> usize {
        match self {
            Self::Block(bytes) => bytes.len(),
            Self::Footer(frame) => frame.bytes,
        }
    }
}

#[derive(Default)]
struct Held {
    pieces: HashMap<Key, (Piece, u64)>,
    /// By when they were used.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    used: u64,
    /// Requests and bytes that were fetched into it.
    fetched: (u64, u64),
}

impl Default for Blocks {
    fn default() -> Self {
        Self::of(COLD_CACHE_BYTES)
    }
}

impl Blocks {
    /// At most so many bytes.
    pub(crate) fn of(most: usize) -> Self {
        let room = Arc::new(Semaphore::new(usize::try_from(COLD_UNDER_WAY).unwrap_or(Semaphore::MAX_PERMITS)));
        Self { most, inner: Arc::default(), kept: None, room }
    }

    /// With room for fewer blocks under way.
    #[cfg(test)]
    pub(super) fn with_room(self, blocks: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(blocks)), ..self }
    }

    /// The same, with more of them in a directory of the local disk, which is emptied.
    pub(crate) fn with_disk(self, dir: PathBuf, most: u64) -> Self {
        Self { kept: Some(Arc::new(Kept::within(dir, most))), ..self }
    }

    /// A block that is in memory.
    pub(super) fn block(&self, key: Key) -> Option<Bytes> {
        match self.get(key)? {
            Piece::Block(bytes) => Some(bytes),
            Piece::Footer(_) => None,
        }
    }

    /// A block that is on the disk and as its sum says; in memory from now on.
    pub(super) fn kept_block(&self, key: Key, sum: Option<u32>) -> Option<Bytes> {
        let found = self.kept_if(key, |bytes| (sum == Some(crc32fast::hash(bytes))).then(|| bytes.clone()))?;
        self.put(key, Piece::Block(found.clone()));
        Some(found)
    }

    /// Keeps a block that was fetched.
    pub(super) fn keep(&self, key: Key, bytes: Bytes) {
        if let Some(kept) = &self.kept {
            kept.put(key, &bytes);
        }
        self.put(key, Piece::Block(bytes));
    }

    /// A segment's footer that is in memory.
    pub(super) fn footer(&self, segment: SegmentId) -> Option<Arc<Frame>> {
        match self.get(footer_of(segment))? {
            Piece::Footer(frame) => Some(frame),
            Piece::Block(_) => None,
        }
    }

    /// A segment's footer whose object is on the disk and passes `read`; in memory from now on.
    pub(super) fn kept_footer(
        &self,
        segment: SegmentId,
        read: impl FnOnce(&Bytes) -> Option<Frame>,
    ) -> Option<Arc<Frame>> {
        let found = Arc::new(self.kept_if(footer_of(segment), read)?);
        self.put(footer_of(segment), Piece::Footer(Arc::clone(&found)));
        Some(found)
    }

    /// Keeps a footer: as what was read of it in memory, as its object on the disk.
    pub(super) fn keep_footer(&self, segment: SegmentId, object: &Bytes, frame: &Arc<Frame>) {
        if let Some(kept) = &self.kept {
            kept.put(footer_of(segment), object);
        }
        self.put(footer_of(segment), Piece::Footer(Arc::clone(frame)));
    }

    /// What is on the disk and passes `read`; what does not pass is forgotten.
    fn kept_if<T>(&self, key: Key, read: impl FnOnce(&Bytes) -> Option<T>) -> Option<T> {
        let kept = self.kept.as_ref()?;
        let read = read(&kept.get(key)?);
        if read.is_none() {
            kept.forget_block(key);
        }
        read
    }

    fn get(&self, key: Key) -> Option<Piece> {
        let held = &mut *self.inner.lock();
        let (piece, used) = held.pieces.get_mut(&key)?;
        held.order.remove(used);
        held.used += 1;
        *used = held.used;
        held.order.insert(held.used, key);
        Some(piece.clone())
    }

    fn put(&self, key: Key, piece: Piece) {
        let held = &mut *self.inner.lock();
        held.used += 1;
        held.bytes += piece.bytes();
        held.order.insert(held.used, key);
        if let Some((old, used)) = held.pieces.insert(key, (piece, held.used)) {
            held.order.remove(&used);
            held.bytes -= old.bytes();
        }
        while held.bytes > self.most {
            let Some((_, oldest)) = held.order.pop_first() else { break };
            if let Some((gone, _)) = held.pieces.remove(&oldest) {
                held.bytes -= gone.bytes();
            }
        }
    }

    /// Room for a request of so many blocks, until it is dropped.
    pub(super) async fn under_way(&self, blocks: usize) -> io::Result<SemaphorePermit<'_>> {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).clamp(COLD_REQUEST_BLOCKS, COLD_UNDER_WAY);
        self.room.acquire_many(blocks).await.map_err(io::Error::other)
    }

    pub(super) fn count(&self, bytes: u64) {
        let held = &mut *self.inner.lock();
        held.fetched = (held.fetched.0 + 1, held.fetched.1 + bytes);
    }

    /// Requests that filled it, and their bytes.
    pub(crate) fn fetched(&self) -> (u64, u64) {
        self.inner.lock().fetched
    }

    /// Forgets a segment: what was erased stays in no cache.
    pub(super) fn forget(&self, segment: SegmentId) {
        if let Some(kept) = &self.kept {
            kept.forget(segment);
        }
        let held = &mut *self.inner.lock();
        let gone: Vec<_> = held.pieces.keys().filter(|(id, ..)| *id == segment).copied().collect();
        for (piece, used) in gone.iter().filter_map(|key| held.pieces.remove(key)) {
            held.order.remove(&used);
            held.bytes -= piece.bytes();
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_holds_no_more_than_it_may_and_the_block_used_last_stays() {
        let cache = Blocks::of(250);
        let key = |block| (SegmentId(1), 0, block);
        let put = |block, length| cache.put(key(block), Piece::Block(Bytes::from(vec![0; length])));
        for block in 0..3 {
            put(block, 100);
            assert!(cache.block(key(0)).is_some(), "it is used all the time");
        }
        assert_eq!(cache.bytes(), 200);
        assert!(cache.block(key(1)).is_none() && cache.block(key(2)).is_some());
        put(2, 50);
        assert_eq!(cache.bytes(), 150);
        put(3, 300);
        assert_eq!(cache.bytes(), 0, "what is larger than all of it is not held");
    }

    #[test]
    fn a_footer_counts_with_its_sums_and_goes_with_its_segment() {
        let cache = Blocks::of(10_000);
        let frame = Arc::new(Frame::new(vec![vec![7; 500]; 2], &[(40, Bytes::from(vec![3; 1_000]))]));
        cache.keep_footer(SegmentId(1), &Bytes::new(), &frame);
        assert!(cache.bytes() >= 1_000 + 2 * 500 * 4, "{}", cache.bytes());
        let found = cache.footer(SegmentId(1)).unwrap();
        assert_eq!((found.sum(1, 499), found.sum(1, 500), found.sum(2, 0)), (Some(7), None, None));
        assert_eq!(found.hot(&(1_030..1_040)), Some(&[3; 10][..]));
        assert!(found.hot(&(39..41)).is_none() && found.hot(&(1_030..1_041)).is_none());
        cache.forget(SegmentId(1));
        assert!(cache.footer(SegmentId(1)).is_none() && cache.bytes() == 0);
    }
}
