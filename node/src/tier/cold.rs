//! A copy in the bucket searched in place: its footer with what is read at open, then ranges of its parts, through a bounded cache.
//!
//! Whole blocks are fetched and each is compared with its sum in the footer, so that no altered byte reaches a question. Blocks
//! that lie beside each other are one request, requests of one read run beside each other. Whoever wants a block that another thread
//! fetches waits for it; nobody else does. An open segment holds where things lie; its footer is in the cache like its blocks, and is
//! read again when it had to leave. Decides not which segment is cold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use domicile_proto::ids::ShardId;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::blocks::{Blocks, Frame};
use super::errors::TierError;
use super::pack::{Cold, Footer, Tier, footer_name, part_name, read_footer, sha256};
use crate::index::builder::Layout;
use crate::limits::{COLD_BLOCK_BYTES, COLD_GAP_BLOCKS, COLD_READS_AT_ONCE};
use crate::policy::Scope;
use crate::segment::places::waiting;
use crate::segment::ranged::{OUT_OF_REACH, Ranges, open_ranged};
use crate::segment::{OpenCopied, Segment, SegmentError, SegmentId};
use crate::store::{Store, StoreError};

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

    /// Opens a segment that was copied out, for search where it lies. One request.
    ///
    /// # Errors
    /// [`TierError::Altered`] where the footer is not what was copied out.
    pub(crate) async fn open_in_place(&self, layout: &Layout, cold: &Cold) -> Result<Segment, TierError> {
        let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
        let name = footer_name(&cold.object);
        let found = self.store.read(&name).await.map_err(stored)?;
        let (tier, layout, cold, runtime) = (self.clone(), layout.clone(), cold.clone(), Handle::current());
        self.blocking(move || {
            let footer = (sha256(&found) == cold.sha256).then(|| read_footer(&found)).flatten();
            let (footer, hot) = footer.ok_or_else(|| TierError::Altered { object: name })?;
            let files: Vec<_> = footer.files.iter().map(|file| (file.name.clone(), file.length)).collect();
            let source = Arc::new(Source::new(&tier, &cold, &footer, runtime));
            // Whatever the cache holds, opening does not read the footer twice.
            let frame = Arc::new(framed(&footer, &hot));
            tier.blocks.keep_footer(cold.id, &found, &frame);
            *source.opening.lock() = Some(frame);
            let failed = |source| TierError::Open { segment: cold.id, source: Box::new(source) };
            let ids = (cold.id, cold.shard);
            let mut segment = open_ranged(&layout, ids, &cold.row, &files, Arc::clone(&source) as _).map_err(failed)?;
            segment.copied.clone_from(&cold.row.copied);
            // A copy from before an erasure still holds what was erased. One that a manifest names was made anew by every purge
            // since, like a segment on the disk; any other is looked through for all that ever was.
            let scope = if segment.copied.is_some() { Scope::Open } else { Scope::All };
            let sifted = segment.sift(&layout.suppression.now(), scope);
            *source.opening.lock() = None;
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

/// A block: which of which part.
type Place = (usize, usize);

/// Where the bytes of one cold segment come from.
struct Source {
    store: Store,
    id: SegmentId,
    object: String,
    /// Digest of the footer.
    sha256: [u8; 32],
    parts: Vec<PartOf>,
    /// Where that lies which is read at open and is in the footer besides.
    hot: Vec<Range<u64>>,
    blocks: Blocks,
    runtime: Handle,
    /// The footer while the segment is opened.
    opening: Mutex<Option<Arc<Frame>>>,
    /// Blocks that some read brings at this moment, and a call when some have come, or will not.
    coming: Mutex<BTreeSet<Place>>,
    landed: Notify,
    /// The footer is read again by one at a time.
    footing: tokio::sync::Mutex<()>,
}

/// A part, and where it begins among the bytes of the segment.
struct PartOf {
    from: u64,
    length: u64,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.object)
    }
}

impl Ranges for Source {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if self.hot.iter().any(|hot| hot.start <= range.start && range.end <= hot.end) {
            let frame = match self.held() {
                Some(frame) => frame,
                None => waiting(|| self.runtime.block_on(self.footer()))?,
            };
            return frame.hot(&range).map(<[u8]>::to_vec).ok_or_else(|| altered(&footer_name(&self.object)));
        }
        let wanted = self.wanted(&range);
        let mut found = BTreeMap::new();
        self.find(&wanted, &mut found);
        if lacks(&wanted, &found) {
            waiting(|| self.runtime.block_on(self.gather(&wanted, &mut found)))?;
        }
        self.joined(&range, &found)
    }
}

/// Whether anything is not there yet. More than is wanted may be.
fn lacks(wanted: &[Place], found: &BTreeMap<Place, Bytes>) -> bool {
    wanted.iter().any(|place| !found.contains_key(place))
}

/// Blocks that one read brings, so that no other does.
struct Claim<'a> {
    source: &'a Source,
    blocks: Vec<Place>,
}

impl<'a> Claim<'a> {
    /// Those of them that nobody brings yet.
    fn on(source: &'a Source, wanted: impl Iterator<Item = Place>) -> Self {
        let mut coming = source.coming.lock();
        let blocks = wanted.filter(|place| coming.insert(*place)).collect();
        Self { source, blocks }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut coming = self.source.coming.lock();
        for place in &self.blocks {
            coming.remove(place);
        }
        drop(coming);
        self.source.landed.notify_waiters();
    }
}

fn altered(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is not what was copied out"))
}

fn away(error: StoreError) -> io::Error {
    io::Error::new(OUT_OF_REACH, error)
}

/// What the cache holds of a footer.
fn framed(footer: &Footer, hot: &[(u64, Bytes)]) -> Frame {
    Frame::new(footer.parts.iter().map(|part| part.blocks.clone()).collect(), hot)
}

impl Source {
    fn new(tier: &Tier, cold: &Cold, footer: &Footer, runtime: Handle) -> Self {
        let mut from = 0;
        let parts = footer.parts.iter().map(|part| {
            let placed = PartOf { from, length: part.length };
            from += part.length;
            placed
        });
        Self {
            store: tier.store.clone(),
            id: cold.id,
            object: cold.object.clone(),
            sha256: cold.sha256,
            parts: parts.collect(),
            hot: footer.hot.clone(),
            blocks: tier.blocks.clone(),
            runtime,
            opening: Mutex::default(),
            coming: Mutex::default(),
            landed: Notify::new(),
            footing: tokio::sync::Mutex::default(),
        }
    }

    /// The footer, where it is in memory.
    fn held(&self) -> Option<Arc<Frame>> {
        let opening = self.opening.lock().clone();
        opening.or_else(|| self.blocks.footer(self.id))
    }

    /// The footer: from memory, from the disk, or from the bucket again.
    async fn footer(&self) -> io::Result<Arc<Frame>> {
        if let Some(frame) = self.held() {
            return Ok(frame);
        }
        let _footing = self.footing.lock().await;
        let read = |object: &Bytes| {
            let (footer, hot) = (sha256(object) == self.sha256).then(|| read_footer(object)).flatten()?;
            Some(framed(&footer, &hot))
        };
        if let Some(frame) = self.held().or_else(|| self.blocks.kept_footer(self.id, read)) {
            return Ok(frame);
        }
        let name = footer_name(&self.object);
        let object = self.store.read(&name).await.map_err(away)?;
        self.blocks.count(object.len() as u64);
        let frame = Arc::new(read(&object).ok_or_else(|| altered(&name))?);
        self.blocks.keep_footer(self.id, &object, &frame);
        Ok(frame)
    }

    /// Adds what is in memory of what is wanted.
    fn find(&self, wanted: &[Place], found: &mut BTreeMap<Place, Bytes>) {
        for (part, block) in wanted {
            if !found.contains_key(&(*part, *block))
                && let Some(bytes) = self.blocks.block((self.id, *part, *block))
            {
                found.insert((*part, *block), bytes);
            }
        }
    }

    /// Adds all that is wanted, wherever it comes from.
    async fn gather(&self, wanted: &[Place], found: &mut BTreeMap<Place, Bytes>) -> io::Result<()> {
        while lacks(wanted, found) {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            // What lands from here on is noticed.
            landed.as_mut().enable();
            let claim = Claim::on(self, wanted.iter().copied().filter(|place| !found.contains_key(place)));
            if claim.blocks.is_empty() {
                landed.await;
            } else {
                self.bring(&claim.blocks, found).await?;
            }
            drop(claim);
            // What others brought. Where it has left again, or did not come, it is brought here.
            self.find(wanted, found);
        }
        Ok(())
    }

    /// Brings blocks from the disk, and the rest of them from the bucket.
    async fn bring(&self, wanted: &[Place], found: &mut BTreeMap<Place, Bytes>) -> io::Result<()> {
        // They may have come since they were looked for.
        self.find(wanted, found);
        let lacking: Vec<_> = wanted.iter().copied().filter(|place| !found.contains_key(place)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let frame = self.footer().await?;
        let mut missing = Vec::new();
        for (part, block) in lacking {
            match self.blocks.kept_block((self.id, part, block), frame.sum(part, block)) {
                Some(bytes) => drop(found.insert((part, block), bytes)),
                None => missing.push((part, block)),
            }
        }
        let fetches = runs(&missing).into_iter().map(|(part, blocks)| self.fetch(&frame, part, blocks));
        let mut fetched = futures::stream::iter(fetches).buffered(COLD_READS_AT_ONCE);
        while let Some(run) = fetched.try_next().await? {
            for (place, bytes) in run {
                self.blocks.keep((self.id, place.0, place.1), bytes.clone());
                found.insert(place, bytes);
            }
        }
        Ok(())
    }

    /// The bytes of a range from its blocks.
    fn joined(&self, range: &Range<u64>, found: &BTreeMap<Place, Bytes>) -> io::Result<Vec<u8>> {
        let lost = || io::Error::new(io::ErrorKind::UnexpectedEof, "a block that was not fetched");
        let mut whole = BytesMut::new();
        for (part, block) in self.wanted(range) {
            let bytes = found.get(&(part, block)).ok_or_else(lost)?;
            let begin = self.parts.get(part).ok_or_else(lost)?.from + (block * COLD_BLOCK_BYTES) as u64;
            let from = usize::try_from(range.start.saturating_sub(begin)).map_err(io::Error::other)?;
            let to = usize::try_from(range.end.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
            whole.extend_from_slice(bytes.get(from..to).ok_or_else(lost)?);
        }
        Ok(whole.into())
    }

    /// The blocks that hold a range, in order.
    fn wanted(&self, range: &Range<u64>) -> Vec<Place> {
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
    async fn fetch(&self, frame: &Frame, part: usize, blocks: Range<usize>) -> io::Result<Vec<(Place, Bytes)>> {
        let name = part_name(&self.object, part);
        let altered = || altered(&name);
        let PartOf { length, .. } = self.parts.get(part).ok_or_else(altered)?;
        let from = (blocks.start * COLD_BLOCK_BYTES) as u64;
        let to = ((blocks.end * COLD_BLOCK_BYTES) as u64).min(*length);
        let _under_way = self.blocks.under_way(blocks.len()).await?;
        let bytes = self.store.read_range(&name, from..to).await.map_err(away)?;
        self.blocks.count(to - from);
        if bytes.len() as u64 != to - from {
            return Err(altered());
        }
        let mut found = Vec::new();
        for (at, block) in blocks.enumerate() {
            let (begin, end) = (at * COLD_BLOCK_BYTES, ((at + 1) * COLD_BLOCK_BYTES).min(bytes.len()));
            let one = bytes.get(begin..end).ok_or_else(altered)?;
            if frame.sum(part, block) != Some(crc32fast::hash(one)) {
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
#[path = "cold_test.rs"]
mod tests;
