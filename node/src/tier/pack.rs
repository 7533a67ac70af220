//! A segment as objects of bounded size: its files one after the other, cut into parts, then a footer that lists files and parts.
//!
//! Every part is created once and checked by its digest before a byte of it is opened again; the digest of the footer is kept
//! by whoever copied the segment out. The footer is created last: without it there is no copy. Never holds more than one part
//! in memory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domicile_proto::ids::ShardId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::errors::TierError;
use crate::index::builder::Layout;
use crate::limits::COPY_PART_BYTES;
use crate::policy::Scope;
use crate::segment::files::open_dir;
use crate::segment::manifest::Row;
use crate::segment::{Segment, SegmentError, SegmentId};
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

/// Moves segments between the local disk and the bucket.
#[derive(Clone)]
pub(crate) struct Tier {
    pub(super) store: Store,
    /// Where segments from the bucket are kept while they are searched. What is in it may be removed at any time.
    pub(super) cache: PathBuf,
    pub(super) tasks: Tasks,
    /// Most bytes of one part.
    part_bytes: usize,
}

/// What a copy consists of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    format: u8,
    /// What the segment's manifest says of it.
    row: Row,
    files: Vec<Entry>,
    parts: Vec<Part>,
}

/// A file of the segment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    length: u64,
}

/// An object that holds a part of the files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    length: u64,
    sha256: String,
}

impl Tier {
    pub(crate) const fn new(store: Store, cache: PathBuf, tasks: Tasks) -> Self {
        Self { store, cache, tasks, part_bytes: COPY_PART_BYTES }
    }

    /// Copies a durable segment into the bucket. Its files are checked before, so that no damaged copy is made. The segment stays
    /// where it is. Parts that an interrupted copy left behind are used again where they are the same.
    ///
    /// # Errors
    /// [`TierError::Store`] with `AlreadyThere` where it was copied out before, or other bytes lie where a part belongs.
    pub(crate) async fn copy_out(&self, segment: &Segment) -> Result<Cold, TierError> {
        let Segment { id, shard, .. } = *segment;
        let dir = segment.dir.clone().ok_or(TierError::Young { segment: id })?;
        let index = segment.searcher.index().clone();
        let listed = move || {
            let damaged =
                index.validate_checksum().ok().map_or_else(|| Some(dir.clone()), |bad| bad.into_iter().next());
            match damaged {
                Some(file) => Err(TierError::Damaged { segment: id, file: file.display().to_string() }),
                None => Reading::begin(dir),
            }
        };
        let mut reading = self.blocking(listed).await?;
        let object = object_of(shard, id);
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
            parts.push(Part { length: part.len() as u64, sha256: hex::encode(sha256) });
            match self.store.create(&name, Bytes::from(part)).await {
                Err(known @ StoreError::AlreadyThere { .. }) => {
                    let found = self.store.read(&name).await.map_err(stored)?;
                    if self::sha256(&found) != sha256 {
                        return Err(stored(known));
                    }
                }
                created => created.map_err(stored)?,
            }
        }
        let footer = Footer { format: FORMAT, row: Row::of(segment), files: reading.files, parts };
        let footer = serde_json::to_vec(&footer).unwrap_or_default();
        let sha256 = sha256(&footer);
        self.store.create(&footer_name(&object), Bytes::from(footer)).await.map_err(stored)?;
        Ok(Cold { id, shard, row: Row::of(segment), object, sha256 })
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
        let row = read_footer(&footer).ok_or(TierError::Altered { object: name })?.row;
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
        let Footer { files, parts, .. } = footer.ok_or_else(|| altered(name))?;
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
struct Reading {
    dir: PathBuf,
    files: Vec<Entry>,
    /// Which file is read next, and the one that is open.
    next: usize,
    open: Option<File>,
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
        Ok(Self { dir, files, next: 0, open: None })
    }

    /// The next bytes, as many as there are up to `most`; none at the end.
    fn part(mut self, most: usize) -> Result<(Self, Vec<u8>), TierError> {
        let mut part = Vec::new();
        while part.len() < most {
            if self.open.is_none() {
                let Some(file) = self.files.get(self.next) else { break };
                let path = self.dir.join(&file.name);
                self.open = Some(File::open(&path).map_err(|source| disk(&path, source))?);
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

    /// The directory, where every file is whole and nothing was left over.
    fn finish(self) -> Option<PathBuf> {
        (self.open.is_none() && self.files.is_empty() && !self.is_too_long).then_some(self.dir)
    }
}

/// A footer, where it is one of this format and no name in it leaves its directory.
fn read_footer(bytes: &[u8]) -> Option<Footer> {
    let footer: Footer = serde_json::from_slice(bytes).ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let names = footer.files.iter().all(|file| file.name.bytes().all(is_plain) && !file.name.starts_with('.'));
    (footer.format == FORMAT && names).then_some(footer)
}

/// What the names of the objects of a copy begin with.
pub(super) fn object_of(shard: ShardId, segment: SegmentId) -> String {
    format!("{COPIES}/{:016x}/{segment}", shard.0)
}

fn part_name(object: &str, number: usize) -> String {
    format!("{object}/{number:06}")
}

fn footer_name(object: &str) -> String {
    format!("{object}/footer")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(place, byte)| *place = *byte);
    sum
}

fn disk(path: &Path, source: std::io::Error) -> TierError {
    TierError::Disk { path: path.display().to_string(), source }
}

/// Above all copies.
pub(super) const COPIES: &str = "segments";
/// Version of the footer.
const FORMAT: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tantivy::collector::Count;
    use tantivy::query::{AllQuery, TermQuery};
    use tantivy::schema::IndexRecordOption;

    use super::*;
    use crate::errors::Coded;
    use crate::index::builder::Builder;
    use crate::segment::files::{Files, open_built};
    use crate::segment::specimen::{durable, record, segment};
    use crate::store::StoreConfig;

    async fn tier(dir: &Path) -> Tier {
        let config = StoreConfig { dir: dir.join("bucket") };
        let store = Store::open(&config, &"tokyo".parse().unwrap()).await.unwrap();
        Tier { part_bytes: 999, ..Tier::new(store, dir.join("cache"), Tasks::default()) }
    }

    fn on_disk(layout: &Layout, dir: &Path) -> Segment {
        let (id, place) = Files::open(&dir.join("segments")).unwrap().place(ShardId(4)).unwrap();
        let mut builder = Builder::on_disk(layout, &place, 0).unwrap();
        let records =
            (0..500).map(|n| record(n, None, json!({"message": format!("needle{} in hay", n % 50)}))).collect();
        builder.add(durable(4, 1, records)).unwrap();
        let built = builder.finish().unwrap().unwrap();
        open_built(layout, (id, ShardId(4)), built, Some(place), Default::default()).unwrap()
    }

    #[tokio::test]
    async fn a_segment_goes_out_and_is_searched_from_the_bucket_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (tier, layout) = (tier(dir.path()).await, Layout::new());
        let hot = on_disk(&layout, dir.path());
        let cold = tier.copy_out(&hot).await.unwrap();
        let (local, found) = (hot.dir.clone().unwrap(), Row::of(&hot));
        drop(hot);
        fs::remove_dir_all(local).unwrap();
        for _ in 0..2 {
            let back = tier.open(&layout, &cold).await.unwrap();
            assert_eq!(Row::of(&back), found);
            assert_eq!(back.searcher.search(&AllQuery, &Count).unwrap(), 500);
            let term = tantivy::Term::from_field_text(layout.fields.message, "needle7");
            let query = TermQuery::new(term, IndexRecordOption::Basic);
            assert_eq!(back.searcher.search(&query, &Count).unwrap(), 10);
        }
    }

    #[tokio::test]
    async fn neither_a_damaged_segment_goes_out_nor_an_altered_object_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (tier, layout) = (tier(dir.path()).await, Layout::new());
        let hot = on_disk(&layout, dir.path());
        let cold = tier.copy_out(&hot).await.unwrap();
        assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-05"), "once");
        let young = segment(&layout, durable(4, 1, vec![record(1, None, json!({}))]));
        assert_eq!(tier.copy_out(&young).await.err().map(|e| e.code()), Some("DMC-TIER-01"));

        for object in [footer_name(&cold.object), part_name(&cold.object, 0), part_name(&cold.object, 3)] {
            let object = dir.path().join("bucket").join(object);
            let kept = fs::read(&object).unwrap();
            let mut bytes = kept.clone();
            bytes[100] ^= 1;
            fs::write(&object, bytes).unwrap();
            assert_eq!(tier.open(&layout, &cold).await.err().map(|e| e.code()), Some("DMC-TIER-03"));
            fs::write(&object, kept).unwrap();
        }
        tier.open(&layout, &cold).await.unwrap();

        let files = fs::read_dir(hot.dir.as_ref().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let store = files.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "store")).unwrap();
        let mut bytes = fs::read(&store).unwrap();
        bytes[3] ^= 1;
        fs::write(&store, bytes).unwrap();
        assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-02"));
    }

    #[tokio::test]
    async fn parts_are_bounded_and_an_interrupted_copy_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let (tier, layout) = (tier(dir.path()).await, Layout::new());
        let hot = on_disk(&layout, dir.path());
        let cold = tier.copy_out(&hot).await.unwrap();
        let parts = tier.store.list(&cold.object).await.unwrap();
        assert!(parts.len() > 5 && parts.iter().all(|(name, size)| name.ends_with("footer") || *size <= 999));
        for lost in [footer_name(&cold.object), part_name(&cold.object, 2)] {
            tier.store.delete(&lost).await.unwrap();
        }
        assert_eq!(tier.open(&layout, &cold).await.err().map(|e| e.code()), Some("DMC-TIER-05"));
        assert_eq!(tier.copy_out(&hot).await.unwrap(), cold);
        tier.open(&layout, &cold).await.unwrap();
        // Other bytes where a part belongs are never taken for it.
        tier.store.delete(&footer_name(&cold.object)).await.unwrap();
        fs::write(dir.path().join("bucket").join(part_name(&cold.object, 1)), "other").unwrap();
        assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-05"));
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        let footer = |name: &str, format| {
            let files = vec![Entry { name: name.to_owned(), length: 0 }];
            let row = serde_json::json!({"id": "1", "docs": 1, "oldest": 1, "newest": 1, "first_seq": 1, "last_seq": 1, "bytes": 1, "built_at": 1, "received_until": 1});
            let row = serde_json::from_value(row).unwrap();
            serde_json::to_vec(&Footer { format, row, files, parts: Vec::new() }).unwrap()
        };
        assert!(read_footer(&footer("a.store", FORMAT)).is_some());
        assert!(read_footer(&footer("a.store", FORMAT + 1)).is_none());
        for name in ["../x", "/x", ".managed.json", "a/b", "a\\b"] {
            assert!(read_footer(&footer(name, FORMAT)).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn files_come_back_from_parts_of_any_size(
            lengths in proptest::collection::vec(0..50_usize, 0..8),
            most in 1..40_usize,
            lost in 0..3_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            fs::create_dir(&from).unwrap();
            for (n, length) in lengths.iter().enumerate() {
                fs::write(from.join(format!("f{n}")), vec![u8::try_from(n).unwrap(); *length]).unwrap();
            }
            let mut reading = Reading::begin(from.clone()).unwrap();
            let mut parts = Vec::new();
            loop {
                let (rest, part) = reading.part(most).unwrap();
                reading = rest;
                if part.is_empty() {
                    break;
                }
                prop_assert!(part.len() <= most);
                parts.push(part);
            }
            let total = lengths.iter().sum::<usize>();
            prop_assert_eq!(parts.len(), total.div_ceil(most));
            let kept = parts.len().saturating_sub(lost);
            let writing = Writing::begin(to.clone(), reading.files).unwrap();
            let whole = parts.iter().take(kept).fold(writing, |writing, part| writing.take(part).unwrap()).finish();
            prop_assert_eq!(whole.is_some(), kept == parts.len());
            for (n, length) in lengths.iter().enumerate().filter(|_| whole.is_some()) {
                prop_assert_eq!(fs::read(to.join(format!("f{n}"))).unwrap(), vec![u8::try_from(n).unwrap(); *length]);
            }
        }
    }
}
