//! A segment as one object: its files one after the other, a footer that lists them, the footer's length and a magic.
//!
//! The digest of the whole object is kept by whoever copied it out, and checked before a byte of it is opened again.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domicile_proto::ids::ShardId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::errors::TierError;
use crate::index::builder::Layout;
use crate::segment::files::open_dir;
use crate::segment::manifest::Row;
use crate::segment::{Segment, SegmentId};
use crate::store::Store;
use crate::tasks::Tasks;

/// A segment that was copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cold {
    pub(crate) id: SegmentId,
    pub(crate) shard: ShardId,
    /// What its manifest says of it.
    pub(crate) row: Row,
    /// Name of its object.
    pub(crate) object: String,
    /// Digest of the object.
    pub(crate) sha256: [u8; 32],
}

/// Moves segments between the local disk and the bucket.
#[derive(Clone)]
pub(crate) struct Tier {
    store: Store,
    /// Where segments from the bucket are kept while they are searched. What is in it may be removed at any time.
    cache: PathBuf,
    tasks: Tasks,
}

/// One file in the footer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    length: u64,
}

impl Tier {
    pub(crate) const fn new(store: Store, cache: PathBuf, tasks: Tasks) -> Self {
        Self { store, cache, tasks }
    }

    /// Copies a durable segment into the bucket. Its files are checked before, so that no damaged copy is made. The segment stays
    /// where it is. Holds the whole segment in memory once.
    ///
    /// # Errors
    /// [`TierError::Store`] with `AlreadyThere` where it was copied out before.
    pub(crate) async fn copy_out(&self, segment: &Segment) -> Result<Cold, TierError> {
        let Segment { id, shard, .. } = *segment;
        let dir = segment.dir.clone().ok_or(TierError::Young { segment: id })?;
        let index = segment.searcher.index().clone();
        let read = move || {
            let damaged =
                index.validate_checksum().ok().map_or_else(|| Some(dir.clone()), |bad| bad.into_iter().next());
            match damaged {
                Some(file) => Err(TierError::Damaged { segment: id, file: file.display().to_string() }),
                None => pack(&dir),
            }
        };
        let packed = self.blocking(read).await?;
        let sha256 = sha256(&packed);
        let object = format!("segments/{:016x}/{id}", shard.0);
        let created = self.store.create(&object, Bytes::from(packed)).await;
        created.map_err(|source| TierError::Store { segment: id, source: Box::new(source) })?;
        Ok(Cold { id, shard, row: Row::of(segment), object, sha256 })
    }

    /// Opens a segment that was copied out, for search. Fetches it whole and compares its digest first.
    ///
    /// # Errors
    /// [`TierError::Altered`] where the object is not what was copied out.
    pub(crate) async fn open(&self, layout: &Layout, cold: &Cold) -> Result<Segment, TierError> {
        let fetched = self.store.read(&cold.object).await;
        let packed = fetched.map_err(|source| TierError::Store { segment: cold.id, source: Box::new(source) })?;
        let (layout, cold, dir) = (layout.clone(), cold.clone(), self.cache.join(cold.id.to_string()));
        self.blocking(move || {
            let altered = || TierError::Altered { object: cold.object.clone() };
            if sha256(&packed) != cold.sha256 {
                return Err(altered());
            }
            if dir.try_exists().map_err(|source| disk(&dir, source))? {
                fs::remove_dir_all(&dir).map_err(|source| disk(&dir, source))?;
            }
            fs::create_dir_all(&dir).map_err(|source| disk(&dir, source))?;
            for (name, content) in unpack(&packed).ok_or_else(altered)? {
                let path = dir.join(name);
                fs::write(&path, content).map_err(|source| disk(&path, source))?;
            }
            let opened = open_dir(&layout, (cold.id, cold.shard), &cold.row, &dir);
            opened.map_err(|source| TierError::Open { segment: cold.id, source: Box::new(source) })
        })
        .await
    }
}

impl Tier {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TierError> + Send + 'static,
    ) -> Result<T, TierError> {
        self.tasks.blocking(work).await.unwrap_or_else(|ended| {
            Err(TierError::Disk { path: "segment".to_owned(), source: std::io::Error::other(ended) })
        })
    }
}

/// The files of a directory as one object; the engine's own book-keeping is left out.
fn pack(dir: &Path) -> Result<Vec<u8>, TierError> {
    let failed = |source| disk(dir, source);
    let mut names: Vec<_> = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
        .map_err(failed)?;
    names.retain(|name: &String| !name.starts_with('.'));
    names.sort_unstable();
    let (mut packed, mut parts) = (Vec::new(), Vec::new());
    for name in names {
        let content = fs::read(dir.join(&name)).map_err(failed)?;
        parts.push(Part { name, length: content.len() as u64 });
        packed.extend_from_slice(&content);
    }
    let footer = serde_json::to_vec(&parts).unwrap_or_default();
    packed.extend_from_slice(&footer);
    packed.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    packed.extend_from_slice(&MAGIC);
    Ok(packed)
}

/// The files of an object; `None` where it is not a whole one, or a name in it would leave its directory.
fn unpack(packed: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let (rest, magic) = packed.split_last_chunk::<8>()?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let at = rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?;
    let (mut files, footer) = rest.split_at_checked(at)?;
    let parts: Vec<Part> = serde_json::from_slice(footer).ok().filter(|_| *magic == MAGIC)?;
    let mut unpacked = Vec::with_capacity(parts.len());
    for part in parts {
        let (content, rest) = files.split_at_checked(usize::try_from(part.length).ok()?)?;
        let is_plain = part.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_');
        if !is_plain || part.name.starts_with('.') {
            return None;
        }
        unpacked.push((part.name, content));
        files = rest;
    }
    files.is_empty().then_some(unpacked)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(place, byte)| *place = *byte);
    sum
}

fn disk(path: &Path, source: std::io::Error) -> TierError {
    TierError::Disk { path: path.display().to_string(), source }
}

/// End of every object; the digit is the version.
const MAGIC: [u8; 8] = *b"DMCSEG1\n";

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
        Tier::new(Store::open(&config, &"tokyo".parse().unwrap()).await.unwrap(), dir.join("cache"), Tasks::default())
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

        let object = dir.path().join("bucket").join(&cold.object);
        let mut bytes = fs::read(&object).unwrap();
        bytes[100] ^= 1;
        fs::write(&object, bytes).unwrap();
        assert_eq!(tier.open(&layout, &cold).await.err().map(|e| e.code()), Some("DMC-TIER-03"));

        let files = fs::read_dir(hot.dir.as_ref().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let store = files.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "store")).unwrap();
        let mut bytes = fs::read(&store).unwrap();
        bytes[3] ^= 1;
        fs::write(&store, bytes).unwrap();
        assert_eq!(tier.copy_out(&hot).await.err().map(|e| e.code()), Some("DMC-TIER-02"));
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for name in ["../x", "/x", ".managed.json", "a/b", "a\\b"] {
            let footer = serde_json::to_vec(&[Part { name: name.to_owned(), length: 0 }]).unwrap();
            let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
            assert!(unpack(&[&footer[..], &length, &MAGIC].concat()).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(&[&bytes[..], &MAGIC].concat());
        }
    }
}
