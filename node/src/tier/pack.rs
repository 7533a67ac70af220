//! A segment as objects of bounded size: its files one after the other, cut into parts, then a footer that lists files and parts.
//!
//! Every part is created once and checked by its digest before a byte of it is opened again; the digest of the footer is kept
//! by whoever copied the segment out. The footer is created last: without it there is no copy. Never holds more than one part
//! in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domicile_proto::ids::{ShardId, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::blocks::Blocks;
use super::cold::sums;
use super::errors::TierError;
use super::tables::add_tables;
use crate::index::builder::Layout;
use crate::limits::{COLD_HOT_BYTES, COPY_PART_BYTES};
use crate::policy::Scope;
use crate::segment::files::open_dir;
use crate::segment::lookup::{Columns, TABLES, file_of};
use crate::segment::manifest::Row;
use crate::segment::ranged::{ReadFirst, joined, read_first};
use crate::segment::{Copied, Segment, SegmentError, SegmentId, is_archive, object_of};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// A segment that was copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cold {
    pub(crate) id: SegmentId,
    pub(crate) shard: ShardId,
    /// What its manifest says of it.
    pub(crate) row: Row,
    /// What the names of its objects begin with.
    pub(crate) object: String,
    /// Digest of the footer.
    pub(crate) sha256: [u8; 32],
}

impl Cold {
    /// The copy that a row of a manifest names; `None` where it names none, or not one of this build.
    pub(crate) fn named(shard: ShardId, row: &Row) -> Option<Self> {
        let copied = row.copied.as_ref()?;
        let (object, sha256) = (copied.object.clone(), copied.digest()?);
        Some(Self { id: row.id()?, shard, row: row.clone(), object, sha256 })
    }

    /// As a manifest names it.
    pub(crate) fn named_by(&self, bytes: u64, at: Timestamp) -> Copied {
        Copied { object: self.object.clone(), sha256: hex::encode(self.sha256), bytes, at }
    }
}

/// Moves segments between the local disk and the bucket.
#[derive(Clone)]
pub(crate) struct Tier {
    pub(super) store: Store,
    /// Where segments from the bucket are kept while they are searched. What is in it may be removed at any time.
    pub(super) cache: PathBuf,
    pub(super) tasks: Tasks,
    /// What was read of cold segments.
    pub(super) blocks: Blocks,
    /// Most bytes of one part.
    pub(super) part_bytes: usize,
    /// Where a test ends the work, as a crash would.
    #[cfg(test)]
    pub(crate) ends_at: std::sync::Arc<parking_lot::Mutex<Option<&'static str>>>,
}

/// What a copy consists of. In its object a line of JSON; behind it the bytes of the ranges in `hot`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footer {
    pub(super) format: u8,
    /// What the segment's manifest says of it.
    pub(super) row: Row,
    pub(super) files: Vec<Entry>,
    pub(super) parts: Vec<Part>,
    /// What is read whenever the segment is opened, and first by most questions, as ranges of the files one after the other.
    pub(super) hot: Vec<Range<u64>>,
}

/// A file of the segment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) length: u64,
}

/// An object that holds a part of the files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) length: u64,
    pub(super) sha256: String,
    /// Sums of its blocks, for whoever reads some of them.
    pub(super) blocks: Vec<u32>,
}

impl Tier {
    pub(crate) fn new(store: Store, cache: PathBuf, tasks: Tasks) -> Self {
        Self {
            store,
            cache,
            tasks,
            blocks: Blocks::default(),
            part_bytes: COPY_PART_BYTES,
            #[cfg(test)]
            ends_at: std::sync::Arc::default(),
        }
    }

    /// Copies a durable segment into the bucket. Its files are checked before, so that no damaged copy is made. The segment stays
    /// where it is. Parts that an interrupted copy left behind are used again where they are the same.
    ///
    /// # Errors
    /// [`TierError::Store`] with `AlreadyThere` where it was copied out before, or other bytes lie where a part belongs.
    pub(crate) async fn copy_out(&self, segment: &Segment) -> Result<Cold, TierError> {
        self.copy_out_to(segment, object_of(segment.shard, segment.id)).await
    }

    /// The same, to where the names of its objects begin so.
    pub(super) async fn copy_out_to(&self, segment: &Segment, object: String) -> Result<Cold, TierError> {
        let Segment { id, shard, .. } = *segment;
        let dir = segment.dir.clone().ok_or(TierError::Young { segment: id })?;
        let index = segment.searcher.index().clone();
        let columns = Columns::of(segment);
        let beside = self.cache.join(format!("{id}-tables"));
        let listed = move || {
            let damaged =
                index.validate_checksum().ok().map_or_else(|| Some(dir.clone()), |bad| bad.into_iter().next());
            match damaged {
                Some(file) => Err(TierError::Damaged { segment: id, file: file.display().to_string() }),
                None => {
                    let mut reading = Reading::begin(dir.clone())?;
                    let files: Vec<_> = reading.files.iter().map(|file| (file.name.clone(), file.length)).collect();
                    let opened = |source| TierError::Open { segment: id, source: Box::new(source) };
                    let ReadFirst { mut at_open, when_asked } = read_first(id, &dir, &files).map_err(opened)?;
                    at_open.extend(add_tables(&mut reading, &columns, &beside)?);
                    at_open.extend(when_asked);
                    Ok((reading, Hot::of(at_open)))
                }
            }
        };
        let (mut reading, mut hot) = self.blocking(listed).await?;
        let stored = |source| TierError::Store { segment: id, source: Box::new(source) };
        let mut parts = Vec::new();
        loop {
            let bytes = self.part_bytes;
            let (rest, part) = self.blocking(move || reading.part(bytes)).await?;
            reading = rest;
            if part.is_empty() {
                break;
            }
            let (name, sha256) = (part_name(&object, parts.len()), sha256(&part));
            hot.take(&part);
            parts.push(Part { length: part.len() as u64, sha256: hex::encode(sha256), blocks: sums(&part) });
            match self.create(&name, Bytes::from(part)).await {
                Err(known @ StoreError::AlreadyThere { .. }) => {
                    let found = self.store.read(&name).await.map_err(stored)?;
                    if self::sha256(&found) != sha256 {
                        return Err(stored(known));
                    }
                }
                created => created.map_err(stored)?,
            }
        }
        let Hot { ranges, bytes, .. } = hot;
        let footer = Footer { format: FORMAT, row: Row::of(segment), files: reading.files, parts, hot: ranges };
        let mut footer = serde_json::to_vec(&footer).unwrap_or_default();
        footer.push(b'\n');
        footer.extend_from_slice(&bytes);
        let sha256 = sha256(&footer);
        self.create(&footer_name(&object), Bytes::from(footer)).await.map_err(stored)?;
        Ok(Cold { id, shard, row: Row::of(segment), object, sha256 })
    }

    /// Reads every object of a copy again and compares it with its digest; how many bytes there are. `read` is told of each.
    ///
    /// # Errors
    /// [`TierError::Altered`] names the first object that is not what was copied out, [`TierError::Store`] one that is not there.
    pub(crate) async fn verify(&self, cold: &Cold, mut read: impl FnMut(u64)) -> Result<u64, TierError> {
        let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
        let name = footer_name(&cold.object);
        let footer = self.store.read(&name).await.map_err(stored)?;
        let found = (sha256(&footer) == cold.sha256).then(|| read_footer(&footer)).flatten();
        let (Footer { parts, .. }, _) = found.ok_or(TierError::Altered { object: name })?;
        let mut bytes = footer.len() as u64;
        read(bytes);
        for (number, part) in parts.iter().enumerate() {
            let name = part_name(&cold.object, number);
            let content = self.store.read(&name).await.map_err(stored)?;
            if content.len() as u64 != part.length || hex::encode(sha256(&content)) != part.sha256 {
                return Err(TierError::Altered { object: name });
            }
            bytes += part.length;
            read(part.length);
        }
        Ok(bytes)
    }

    /// The copy of a segment, as its footer describes it.
    ///
    /// # Errors
    /// [`TierError::Altered`] where the footer is none of this build.
    pub(super) async fn copy_at(&self, shard: ShardId, id: SegmentId) -> Result<Cold, TierError> {
        let object = object_of(shard, id);
        let name = footer_name(&object);
        let stored = |source| TierError::Store { segment: id, source: Box::new(source) };
        let footer = self.store.read(&name).await.map_err(stored)?;
        let row = read_footer(&footer).ok_or(TierError::Altered { object: name })?.0.row;
        Ok(Cold { id, shard, row, object, sha256: sha256(&footer) })
    }

    /// Opens a segment that was copied out, for search. Fetches it part by part and compares every digest first.
    ///
    /// # Errors
    /// [`TierError::Altered`] where an object is not what was copied out.
    pub(crate) async fn open(&self, layout: &Layout, cold: &Cold) -> Result<Segment, TierError> {
        let stored = |source| TierError::Store { segment: cold.id, source: Box::new(source) };
        let altered = |object: String| TierError::Altered { object };
        let name = footer_name(&cold.object);
        let footer = self.store.read(&name).await.map_err(stored)?;
        let footer = (sha256(&footer) == cold.sha256).then(|| read_footer(&footer)).flatten();
        let (Footer { files, parts, .. }, _) = footer.ok_or_else(|| altered(name))?;
        let dir = self.cache.join(cold.id.to_string());
        let mut writing = self.blocking(move || Writing::begin(dir, files)).await?;
        for (number, part) in parts.iter().enumerate() {
            let name = part_name(&cold.object, number);
            let content = self.store.read(&name).await.map_err(stored)?;
            if hex::encode(sha256(&content)) != part.sha256 {
                return Err(altered(name));
            }
            writing = self.blocking(move || writing.take(&content)).await?;
        }
        let (layout, cold) = (layout.clone(), cold.clone());
        self.blocking(move || {
            let dir = writing.finish().ok_or(TierError::Altered { object: cold.object })?;
            let failed = |source| TierError::Open { segment: cold.id, source: Box::new(source) };
            let segment = open_dir(&layout, (cold.id, cold.shard), &cold.row, &dir).map_err(failed)?;
            // A copy from before an erasure still holds what was erased.
            let sifted = segment.sift(&layout.suppression.now(), Scope::All);
            sifted.map_err(|source| failed(SegmentError::Open { segment: cold.id, source }))?;
            Ok(segment)
        })
        .await
    }
}

impl Tier {
    /// Creates an object in the class of storage that belongs to its place.
    pub(super) async fn create(&self, object: &str, content: Bytes) -> Result<(), StoreError> {
        if is_archive(object) {
            self.store.create_archived(object, content).await
        } else {
            self.store.create(object, content).await
        }
    }

    /// A place where a test may end the work, as a crash would.
    #[cfg(test)]
    pub(super) fn step(&self, name: &'static str) -> Result<(), TierError> {
        let ends = *self.ends_at.lock() == Some(name);
        if ends { Err(TierError::Altered { object: name.to_owned() }) } else { Ok(()) }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a test ends the work here")]
    pub(super) const fn step(&self, _: &'static str) -> Result<(), TierError> {
        Ok(())
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TierError> + Send + 'static,
    ) -> Result<T, TierError> {
        self.tasks.blocking(work).await.unwrap_or_else(|ended| {
            Err(TierError::Disk { path: "segment".to_owned(), source: std::io::Error::other(ended) })
        })
    }
}

/// The files of a directory being read one after the other; the engine's own book-keeping is left out.
pub(super) struct Reading {
    dir: PathBuf,
    files: Vec<Entry>,
    /// Which file is read next, and the one that is open.
    next: usize,
    open: Option<File>,
    /// The last of the files, which have no name in the directory.
    nameless: BTreeMap<usize, File>,
}

impl Reading {
    fn begin(dir: PathBuf) -> Result<Self, TierError> {
        let failed = |source| disk(&dir, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                files.push(Entry { name, length: entry.metadata().map_err(failed)?.len() });
            }
        }
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { dir, files, next: 0, open: None, nameless: BTreeMap::new() })
    }

    /// One more file, behind the others; where it ends among the bytes of all.
    pub(super) fn add(&mut self, name: String, length: u64, file: File) -> u64 {
        self.nameless.insert(self.files.len(), file);
        self.files.push(Entry { name, length });
        self.files.iter().map(|file| file.length).sum()
    }

    /// The next bytes, as many as there are up to `most`; none at the end.
    fn part(mut self, most: usize) -> Result<(Self, Vec<u8>), TierError> {
        let mut part = Vec::new();
        while part.len() < most {
            if self.open.is_none() {
                let Some(file) = self.files.get(self.next) else { break };
                let path = self.dir.join(&file.name);
                let open = self.nameless.remove(&self.next).map_or_else(|| File::open(&path), Ok);
                self.open = Some(open.map_err(|source| disk(&path, source))?);
                self.next += 1;
            }
            let Some(file) = &mut self.open else { break };
            let room = (most - part.len()) as u64;
            if file.take(room).read_to_end(&mut part).map_err(|source| disk(&self.dir, source))? == 0 {
                self.open = None;
            }
        }
        Ok((self, part))
    }
}

/// Files being written one after the other from parts.
struct Writing {
    dir: PathBuf,
    /// The files to come, the next one last, and the bytes that the open one still lacks.
    files: Vec<Entry>,
    open: Option<(File, u64)>,
    is_too_long: bool,
}

impl Writing {
    /// Into an empty directory.
    fn begin(dir: PathBuf, mut files: Vec<Entry>) -> Result<Self, TierError> {
        let failed = |source| disk(&dir, source);
        if dir.try_exists().map_err(failed)? {
            fs::remove_dir_all(&dir).map_err(failed)?;
        }
        fs::create_dir_all(&dir).map_err(failed)?;
        files.reverse();
        let mut writing = Self { dir, files, open: None, is_too_long: false };
        writing.next()?;
        Ok(writing)
    }

    fn take(mut self, mut part: &[u8]) -> Result<Self, TierError> {
        while !part.is_empty() {
            let Some((file, lacking)) = &mut self.open else {
                self.is_too_long = true;
                break;
            };
            let length = usize::try_from(*lacking).unwrap_or(usize::MAX).min(part.len());
            let (here, rest) = part.split_at(length);
            file.write_all(here).map_err(|source| disk(&self.dir, source))?;
            *lacking -= length as u64;
            part = rest;
            self.next()?;
        }
        Ok(self)
    }

    /// Goes on to the next file that lacks bytes, where the open one is whole.
    fn next(&mut self) -> Result<(), TierError> {
        while self.open.as_ref().is_none_or(|(_, lacking)| *lacking == 0) {
            self.open = None;
            let Some(Entry { name, length }) = self.files.pop() else { break };
            let path = self.dir.join(name);
            self.open = Some((File::create(&path).map_err(|source| disk(&path, source))?, length));
        }
        Ok(())
    }

    /// The directory, where every file is whole and nothing was left over. What serves a copy alone is not in it.
    fn finish(self) -> Option<PathBuf> {
        TABLES.iter().for_each(|table| drop(fs::remove_file(self.dir.join(file_of(table)))));
        (self.open.is_none() && self.files.is_empty() && !self.is_too_long).then_some(self.dir)
    }
}

/// What is read at open, gathered while the parts pass.
struct Hot {
    ranges: Vec<Range<u64>>,
    bytes: Vec<u8>,
    at: u64,
}

impl Hot {
    /// As many of the ranges as fit into a footer, the first ones rather than the last.
    fn of(ranges: Vec<Range<u64>>) -> Self {
        let mut room = COLD_HOT_BYTES;
        let fits = |range: &Range<u64>| {
            let length = range.end - range.start;
            let fits = length <= room;
            room -= if fits { length } else { 0 };
            fits
        };
        // Their bytes pass in this order, and no byte twice.
        Self { ranges: joined(ranges.into_iter().filter(fits).collect()), bytes: Vec::new(), at: 0 }
    }

    fn take(&mut self, part: &[u8]) {
        let end = self.at + part.len() as u64;
        for range in &self.ranges {
            let (from, to) = (range.start.max(self.at), range.end.min(end));
            let place = |at: u64| usize::try_from(at - self.at).unwrap_or(usize::MAX);
            if from < to {
                self.bytes.extend_from_slice(part.get(place(from)..place(to)).unwrap_or_default());
            }
        }
        self.at = end;
    }
}

/// A footer and what is read at open, where it is one of this format and no name in it leaves its directory.
pub(super) fn read_footer(bytes: &Bytes) -> Option<(Footer, Vec<(u64, Bytes)>)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let footer: Footer = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let mut rest = bytes.slice(end + 1..);
    let mut hot = Vec::new();
    for range in &footer.hot {
        let length =
            usize::try_from(range.end.checked_sub(range.start)?).ok().filter(|length| *length <= rest.len())?;
        hot.push((range.start, rest.split_to(length)));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let names = footer.files.iter().all(|file| file.name.bytes().all(is_plain) && !file.name.starts_with('.'));
    (footer.format == FORMAT && names && rest.is_empty()).then_some((footer, hot))
}

pub(super) fn part_name(object: &str, number: usize) -> String {
    format!("{object}/{number:06}")
}

pub(super) fn footer_name(object: &str) -> String {
    format!("{object}/footer")
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(place, byte)| *place = *byte);
    sum
}

pub(super) fn disk(path: &Path, source: std::io::Error) -> TierError {
    TierError::Disk { path: path.display().to_string(), source }
}

/// Version of the footer.
pub(super) const FORMAT: u8 = 5;

#[cfg(test)]
#[path = "pack_test.rs"]
mod tests;
