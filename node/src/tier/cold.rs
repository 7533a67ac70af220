//! A copy in the bucket searched in place: its footer with what is read at open, then ranges of its parts, through a bounded cache.
//!
//! Whole blocks are fetched and each is compared with its sum in the footer, so that no altered byte reaches a question. Blocks
//! that lie beside each other are one request, requests of one read run beside each other. Decides not which segment is cold.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use domicile_proto::ids::ShardId;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::errors::TierError;
use super::kept::Kept;
use super::pack::{Cold, Footer, Tier, footer_name, part_name, read_footer, sha256};
use crate::index::builder::Layout;
use crate::limits::{COLD_BLOCK_BYTES, COLD_CACHE_BYTES, COLD_GAP_BLOCKS, COLD_READS_AT_ONCE};
use crate::policy::Scope;
use crate::segment::ranged::{OUT_OF_REACH, Ranges, open_ranged};
use crate::segment::{OpenCopied, Segment, SegmentError, SegmentId};
use crate::store::Store;

/// A block of a part of a segment.
pub(super) type Key = (SegmentId, usize, usize);

/// Blocks of cold segments in memory, the ones not used for longest leaving first. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Blocks {
    most: usize,
    inner: Arc<Mutex<Held>>,
    /// What is kept on the disk besides.
    kept: Option<Arc<Kept>>,
}

#[derive(Default)]
struct Held {
    blocks: HashMap<Key, (Bytes, u64)>,
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
        Self { most, inner: Arc::default(), kept: None }
    }

    /// The same, with more of them in a directory of the local disk, which is emptied.
    pub(crate) fn with_disk(self, dir: PathBuf, most: u64) -> Self {
        Self { kept: Some(Arc::new(Kept::within(dir, most))), ..self }
    }

    /// A block that is in memory, or on the disk and as its sum says.
    fn find(&self, key: Key, sum: Option<u32>) -> Option<Bytes> {
        if let Some(bytes) = self.get(key) {
            return Some(bytes);
        }
        let kept = self.kept.as_ref()?;
        let bytes = kept.get(key)?;
        if sum != Some(crc32fast::hash(&bytes)) {
            kept.forget_block(key);
            return None;
        }
        self.put(key, bytes.clone());
        Some(bytes)
    }

    /// Keeps a block that was fetched.
    fn keep(&self, key: Key, bytes: Bytes) {
        if let Some(kept) = &self.kept {
            kept.put(key, &bytes);
        }
        self.put(key, bytes);
    }

    fn get(&self, key: Key) -> Option<Bytes> {
        let held = &mut *self.inner.lock();
        let (bytes, used) = held.blocks.get_mut(&key)?;
        held.order.remove(used);
        held.used += 1;
        *used = held.used;
        held.order.insert(held.used, key);
        Some(bytes.clone())
    }

    fn put(&self, key: Key, bytes: Bytes) {
        let held = &mut *self.inner.lock();
        held.used += 1;
        held.bytes += bytes.len();
        held.order.insert(held.used, key);
        if let Some((old, used)) = held.blocks.insert(key, (bytes, held.used)) {
            held.order.remove(&used);
            held.bytes -= old.len();
        }
        while held.bytes > self.most {
            let Some((_, oldest)) = held.order.pop_first() else { break };
            if let Some((gone, _)) = held.blocks.remove(&oldest) {
                held.bytes -= gone.len();
            }
        }
    }

    fn count(&self, bytes: u64) {
        let held = &mut *self.inner.lock();
        held.fetched = (held.fetched.0 + 1, held.fetched.1 + bytes);
    }

    /// Requests that filled it, and their bytes.
    pub(crate) fn fetched(&self) -> (u64, u64) {
        self.inner.lock().fetched
    }

    /// Forgets a segment: what was erased stays in no cache.
    fn forget(&self, segment: SegmentId) {
        if let Some(kept) = &self.kept {
            kept.forget(segment);
        }
        let held = &mut *self.inner.lock();
        let gone: Vec<_> = held.blocks.keys().filter(|(id, ..)| *id == segment).copied().collect();
        for (bytes, used) in gone.iter().filter_map(|key| held.blocks.remove(key)) {
            held.order.remove(&used);
            held.bytes -= bytes.len();
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

#[cfg(test)]
impl Tier {
    pub(crate) const fn blocks(&self) -> &Blocks {
        &self.blocks
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.blocks.forget(self.id);
    }
}

impl Tier {
    /// The same with another cache.
    pub(crate) fn with_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }

    /// Bytes that opening a copy takes.
    pub(super) async fn footer_bytes(&self, cold: &Cold) -> Result<u64, TierError> {
        let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
        Ok(self.store.read(&footer_name(&cold.object)).await.map_err(stored)?.len() as u64)
    }

    /// Opens a segment that was copied out, for search where it lies. One request; nothing of it is kept on the disk.
    ///
    /// # Errors
    /// [`TierError::Altered`] where the footer is not what was copied out.
    pub(crate) async fn open_in_place(&self, layout: &Layout, cold: &Cold) -> Result<Segment, TierError> {
        let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
        let name = footer_name(&cold.object);
        let found = self.store.read(&name).await.map_err(stored)?;
        let footer = (sha256(&found) == cold.sha256).then(|| read_footer(&found)).flatten();
        let (footer, hot) = footer.ok_or_else(|| TierError::Altered { object: name })?;
        let files: Vec<_> = footer.files.iter().map(|file| (file.name.clone(), file.length)).collect();
        let source = Source::new(self, cold, &footer, hot);
        let (layout, cold) = (layout.clone(), cold.clone());
        self.blocking(move || {
            let failed = |source| TierError::Open { segment: cold.id, source: Box::new(source) };
            let ids = (cold.id, cold.shard);
            let mut segment = open_ranged(&layout, ids, &cold.row, &files, Arc::new(source)).map_err(failed)?;
            segment.copied.clone_from(&cold.row.copied);
            // A copy from before an erasure still holds what was erased. One that a manifest names was made anew by every purge
            // since, like a segment on the disk; any other is looked through for all that ever was.
            let scope = if segment.copied.is_some() { Scope::Open } else { Scope::All };
            let sifted = segment.sift(&layout.suppression.now(), scope);
            sifted.map_err(|source| failed(SegmentError::Open { segment: cold.id, source }))?;
            Ok(segment)
        })
        .await
    }

    /// Opens what a manifest names, for whoever opens the shards.
    pub(crate) fn opener(&self) -> OpenCopied {
        let tier = self.clone();
        Arc::new(move |layout, shard, row| {
            let tier = tier.clone();
            Box::pin(async move {
                let segment = row.id().unwrap_or(SegmentId(0));
                let named =
                    Cold::named(shard, &row).ok_or_else(|| TierError::Altered { object: row_name(shard, segment) });
                let opened = match named {
                    Ok(cold) => tier.open_in_place(&layout, &cold).await,
                    Err(error) => Err(error),
                };
                opened.map_err(|source| SegmentError::Away { segment, source: Box::new(source) })
            })
        })
    }
}

fn row_name(shard: ShardId, segment: SegmentId) -> String {
    format!("segment {segment} in the manifest of shard {shard}")
}

/// Where the bytes of one cold segment come from.
struct Source {
    store: Store,
    id: SegmentId,
    object: String,
    parts: Vec<PartOf>,
    /// What is read at open, by where it begins.
    hot: BTreeMap<u64, Bytes>,
    blocks: Blocks,
    runtime: Handle,
    /// One read of a segment at a time: threads that want the same block fetch it once.
    reading: tokio::sync::Mutex<()>,
}

/// A part, where it begins among the bytes of the segment, and the sums of its blocks.
struct PartOf {
    from: u64,
    length: u64,
    sums: Vec<u32>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.object)
    }
}

impl Ranges for Source {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if let Some(found) = self.hot(&range) {
            return Ok(found);
        }
        self.runtime.block_on(self.gather(range))
    }
}

impl Source {
    fn new(tier: &Tier, cold: &Cold, footer: &Footer, hot: Vec<(u64, Bytes)>) -> Self {
        let mut from = 0;
        let parts = footer.parts.iter().map(|part| {
            let placed = PartOf { from, length: part.length, sums: part.blocks.clone() };
            from += part.length;
            placed
        });
        Self {
            store: tier.store.clone(),
            id: cold.id,
            object: cold.object.clone(),
            parts: parts.collect(),
            hot: hot.into_iter().collect(),
            blocks: tier.blocks.clone(),
            runtime: Handle::current(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    fn hot(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let (from, bytes) = self.hot.range(..=range.start).next_back()?;
        let (begin, end) = (usize::try_from(range.start - from).ok()?, usize::try_from(range.end - from).ok()?);
        bytes.get(begin..end).map(<[u8]>::to_vec)
    }

    async fn gather(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let _reading = self.reading.lock().await;
        let wanted = self.wanted(&range);
        let mut found: BTreeMap<(usize, usize), Bytes> = BTreeMap::new();
        for (part, block) in &wanted {
            let sum = self.parts.get(*part).and_then(|part| part.sums.get(*block)).copied();
            if let Some(bytes) = self.blocks.find((self.id, *part, *block), sum) {
                found.insert((*part, *block), bytes);
            }
        }
        let missing: Vec<_> = wanted.iter().copied().filter(|place| !found.contains_key(place)).collect();
        let fetches = runs(&missing).into_iter().map(|(part, blocks)| self.fetch(part, blocks));
        let mut fetched = futures::stream::iter(fetches).buffered(COLD_READS_AT_ONCE);
        while let Some(run) = fetched.try_next().await? {
            for (place, bytes) in run {
                self.blocks.keep((self.id, place.0, place.1), bytes.clone());
                found.insert(place, bytes);
            }
        }
        let mut whole = BytesMut::new();
        for (part, block) in wanted {
            let lost = || io::Error::new(io::ErrorKind::UnexpectedEof, "a block that was not fetched");
            let bytes = found.get(&(part, block)).ok_or_else(lost)?;
            let begin = self.parts.get(part).ok_or_else(lost)?.from + (block * COLD_BLOCK_BYTES) as u64;
            let from = usize::try_from(range.start.saturating_sub(begin)).map_err(io::Error::other)?;
            let to = usize::try_from(range.end.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
            whole.extend_from_slice(bytes.get(from..to).ok_or_else(lost)?);
        }
        Ok(whole.into())
    }

    /// The blocks that hold a range, in order.
    fn wanted(&self, range: &Range<u64>) -> Vec<(usize, usize)> {
        let mut wanted = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let begin = range.start.max(part.from) - part.from;
            let end = range.end.min(part.from + part.length).saturating_sub(part.from);
            if begin < end {
                let block = |at: u64| usize::try_from(at / COLD_BLOCK_BYTES as u64).unwrap_or(usize::MAX);
                wanted.extend((block(begin)..=block(end - 1)).map(|block| (number, block)));
            }
        }
        wanted
    }

    /// Blocks that lie beside each other, in one request; each is what was copied out.
    async fn fetch(&self, part: usize, blocks: Range<usize>) -> io::Result<Vec<((usize, usize), Bytes)>> {
        let name = part_name(&self.object, part);
        let altered = || io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is not what was copied out"));
        let PartOf { length, sums, .. } = self.parts.get(part).ok_or_else(altered)?;
        let from = (blocks.start * COLD_BLOCK_BYTES) as u64;
        let to = ((blocks.end * COLD_BLOCK_BYTES) as u64).min(*length);
        let away = |error| io::Error::new(OUT_OF_REACH, error);
        let bytes = self.store.read_range(&name, from..to).await.map_err(away)?;
        self.blocks.count(to - from);
        if bytes.len() as u64 != to - from {
            return Err(altered());
        }
        let mut found = Vec::new();
        for (at, block) in blocks.enumerate() {
            let (begin, end) = (at * COLD_BLOCK_BYTES, ((at + 1) * COLD_BLOCK_BYTES).min(bytes.len()));
            let one = bytes.get(begin..end).ok_or_else(altered)?;
            if sums.get(block) != Some(&crc32fast::hash(one)) {
                return Err(altered());
            }
            // A copy of its own: a block in the cache holds no larger one.
            found.push(((part, block), Bytes::copy_from_slice(one)));
        }
        Ok(found)
    }
}

/// Blocks as requests: those of one part with nothing, or little, between.
fn runs(missing: &[(usize, usize)]) -> Vec<(usize, Range<usize>)> {
    let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
    for (part, block) in missing {
        match runs.last_mut().filter(|(of, blocks)| of == part && *block <= blocks.end + COLD_GAP_BLOCKS) {
            Some((_, blocks)) => blocks.end = block + 1,
            None => runs.push((*part, *block..block + 1)),
        }
    }
    runs
}

/// The sums of the blocks of a part.
pub(super) fn sums(part: &[u8]) -> Vec<u32> {
    part.chunks(COLD_BLOCK_BYTES).map(crc32fast::hash).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_missing_block_is_in_exactly_one_request_and_few_others_are(
            blocks in proptest::collection::btree_set((0..3_usize, 0..40_usize), 0..30),
        ) {
            let missing: Vec<_> = blocks.iter().copied().collect();
            let requests = runs(&missing);
            for (part, block) in &missing {
                let holding = requests.iter().filter(|(of, run)| of == part && run.contains(block)).count();
                prop_assert_eq!(holding, 1);
            }
            let fetched: usize = requests.iter().map(|(_, run)| run.len()).sum();
            prop_assert!(fetched <= missing.len() + missing.len().saturating_sub(requests.len()) * COLD_GAP_BLOCKS);
            for (one, next) in requests.iter().zip(requests.iter().skip(1)) {
                prop_assert!(one.0 != next.0 || one.1.end + COLD_GAP_BLOCKS < next.1.start);
            }
        }
    }

    #[tokio::test]
    async fn a_read_of_many_parts_is_whole_and_no_more_requests_run_beside_each_other_than_may() {
        let store = Store::in_memory();
        let mut parts = Vec::new();
        for number in 0..10_u8 {
            let bytes = vec![number; 10];
            let from = u64::from(number) * 10;
            parts.push(PartOf { from, length: 10, sums: sums(&bytes) });
            store.create(&part_name("o", number.into()), Bytes::from(bytes)).await.unwrap();
        }
        // Long enough that all that may run are there together.
        store.traffic.lock().pause = std::time::Duration::from_millis(20);
        let source = Source {
            store: store.clone(),
            id: SegmentId(1),
            object: "o".to_owned(),
            parts,
            hot: BTreeMap::new(),
            blocks: Blocks::default(),
            runtime: Handle::current(),
            reading: tokio::sync::Mutex::default(),
        };
        let read = source.gather(5..95).await.unwrap();
        let wanted: Vec<u8> = (5..95_u8).map(|at| at / 10).collect();
        assert_eq!(read, wanted);
        assert_eq!(store.traffic.lock().at_once, COLD_READS_AT_ONCE);
    }

    #[test]
    fn the_cache_holds_no_more_than_it_may_and_the_block_used_last_stays() {
        let cache = Blocks::of(250);
        let key = |block| (SegmentId(1), 0, block);
        for block in 0..3 {
            cache.put(key(block), Bytes::from(vec![0; 100]));
            assert!(cache.get(key(0)).is_some(), "it is used all the time");
        }
        assert_eq!(cache.bytes(), 200);
        assert!(cache.get(key(1)).is_none() && cache.get(key(2)).is_some());
        cache.put(key(2), Bytes::from(vec![1; 50]));
        assert_eq!(cache.bytes(), 150);
        cache.put(key(3), Bytes::from(vec![0; 300]));
        assert_eq!(cache.bytes(), 0, "what is larger than all of it is not held");
    }
}
