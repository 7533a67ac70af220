//! Where segments lie on the local disk: `<dir>/<shard>/<segment>/`, one tantivy index of one tantivy segment each.
//!
//! What no manifest names is left over from a crash or a merge and goes at the next start, if the write-ahead log proves it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use domicile_proto::ids::{ShardId, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tantivy::{Directory, Index};

use super::manifest::{Manifest, Row};
use super::{Segment, SegmentError, SegmentId};
use crate::index::builder::{Built, Layout};
use crate::index::directory::Unflushed;
use crate::wal::WalError;

/// Below the directory of all segments: what was given up. No shard has such a name.
const ASIDE: &str = "given-up";

/// The directory of all segments of this node.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Makes the directory where it is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, SegmentError> {
        fs::create_dir_all(dir).map_err(|source| disk(dir, source))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// An id for a new segment, and where its directory must be made; the one above it is made here.
    pub(crate) fn place(&self, shard: ShardId) -> Result<(SegmentId, PathBuf), SegmentError> {
        let id = fresh_id();
        let above = self.shard_dir(shard);
        fs::create_dir_all(&above).map_err(|source| disk(&above, source))?;
        Ok((id, above.join(id.to_string())))
    }

    fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.dir.join(format!("{:016x}", shard.0))
    }

    /// Opens a segment that a manifest names, and compares it with what is said there.
    pub(crate) fn reopen(&self, layout: &Layout, shard: ShardId, row: &Row) -> Result<Segment, SegmentError> {
        let id = row.id().ok_or_else(|| SegmentError::Manifest { object: format!("shard {shard}") })?;
        open_dir(layout, (id, shard), row, &self.shard_dir(shard).join(id.to_string()))
    }

    /// Whether anything of a shard lies here.
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        self.shard_dir(shard).is_dir()
    }

    /// Removes everything of a shard, or one segment of it, damaged or not.
    pub(crate) fn discard(&self, shard: ShardId, segment: Option<SegmentId>) -> Result<(), SegmentError> {
        let above = self.shard_dir(shard);
        let dir = segment.map_or_else(|| above.clone(), |id| above.join(id.to_string()));
        match fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(disk(&dir, source)),
            _ => Ok(()),
        }
    }

    /// Moves every segment of a shard that its manifest does not name out of the way, and links the files of a log beside them, once for
    /// what was given up behind a place: what is left lying after that is of the time since. Where to; `None` where there is nothing. May
    /// be repeated.
    pub(super) fn put_aside(
        &self,
        manifest: &Manifest,
        after: u64,
        logs: &[PathBuf],
    ) -> Result<Option<PathBuf>, SegmentError> {
        let name = format!("{:016x}", manifest.shard.0);
        // No shard has such a name.
        let mark = self.dir.join(format!("{name}-{after:016x}.put-aside"));
        if mark.try_exists().map_err(|source| disk(&mark, source))? {
            return Ok(None);
        }
        let aside = self.move_aside(manifest, logs)?;
        File::create(&mark).and_then(|mark| mark.sync_all()).map_err(|source| disk(&mark, source))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(|source| disk(&self.dir, source))?;
        Ok(aside)
    }

    fn move_aside(&self, manifest: &Manifest, logs: &[PathBuf]) -> Result<Option<PathBuf>, SegmentError> {
        let name = format!("{:016x}", manifest.shard.0);
        let (above, aside) = (self.shard_dir(manifest.shard), self.dir.join(ASIDE).join(name));
        let is_there = above.try_exists().map_err(|source| disk(&above, source))?;
        let mut segments = if is_there { entries(&above)? } else { Vec::new() };
        let named: BTreeSet<_> =
            manifest.body.segments.iter().filter_map(Row::id).map(|id| above.join(id.to_string())).collect();
        segments.retain(|segment| !named.contains(segment));
        if segments.is_empty() && logs.is_empty() {
            return Ok(None);
        }
        fs::create_dir_all(&aside).map_err(|source| disk(&aside, source))?;
        for log in logs {
            let Some(name) = log.file_name() else { continue };
            let to = aside.join(name);
            match fs::hard_link(log, &to) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(disk(&to, source)),
                _ => {}
            }
        }
        for segment in segments {
            let Some(name) = segment.file_name() else { continue };
            let to = aside.join(name);
            fs::rename(&segment, &to).map_err(|source| disk(&to, source))?;
        }
        for dir in [aside.as_path(), &self.dir.join(ASIDE), &self.dir] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| disk(dir, source))?;
        }
        Ok(Some(aside))
    }

    /// Where something was put aside; `None` where there is nothing.
    pub(super) fn aside(&self) -> Result<Option<PathBuf>, SegmentError> {
        let aside = self.dir.join(ASIDE);
        let is_there = aside.try_exists().map_err(|source| disk(&aside, source))?;
        Ok((is_there && !entries(&aside)?.is_empty()).then_some(aside))
    }

    /// Flushes a segment's files and their names, so that it survives a loss of power.
    pub(crate) fn flush(&self, segment: &Segment) -> Result<(), SegmentError> {
        let Some(dir) = &segment.dir else { return Ok(()) };
        for file in entries(dir)? {
            File::open(&file).and_then(|file| file.sync_all()).map_err(|source| disk(&file, source))?;
        }
        for dir in [dir.as_path(), &self.shard_dir(segment.shard), &self.dir] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| disk(dir, source))?;
        }
        Ok(())
    }

    /// Removes the directories of segments that no manifest names, or names in the bucket alone. `begins` says of a shard whether the write-ahead log holds its
    /// first record: a shard without a manifest whose records are not all in the log has lost its manifest, and nothing of any
    /// shard is removed then.
    pub(crate) fn remove_orphans(
        &self,
        manifests: &BTreeMap<ShardId, Manifest>,
        begins: impl Fn(ShardId) -> bool,
    ) -> Result<(), SegmentError> {
        let mut orphans = Vec::new();
        for above in entries(&self.dir)? {
            let name = above.file_name().and_then(|name| u64::from_str_radix(name.to_str()?, 16).ok());
            // What does not have the name of a shard is not ours to remove.
            let Some(shard) = name.map(ShardId) else { continue };
            let found = entries(&above)?;
            match manifests.get(&shard) {
                None if !found.is_empty() && !begins(shard) => {
                    return Err(WalError::NoManifest { shard, dir: above.display().to_string() }.into());
                }
                None => orphans.extend(found),
                Some(manifest) => {
                    let rows = manifest.body.segments.iter();
                    let named: BTreeSet<PathBuf> = rows
                        .filter(|row| !row.is_away())
                        .filter_map(|row| Some(above.join(row.id()?.to_string())))
                        .collect();
                    orphans.extend(found.into_iter().filter(|segment| !named.contains(segment)));
                }
            }
        }
        orphans.iter().try_for_each(|orphan| fs::remove_dir_all(orphan).map_err(|source| disk(orphan, source)))
    }
}

/// Opens the segment of a directory as a row of a manifest describes it.
pub(crate) fn open_dir(
    layout: &Layout,
    (id, shard): (SegmentId, ShardId),
    row: &Row,
    dir: &Path,
) -> Result<Segment, SegmentError> {
    let open = |source| SegmentError::Open { segment: id, source };
    let found = bytes_of(dir).map_err(|source| open(source.into()))?;
    if found != row.bytes {
        return Err(SegmentError::Differs { segment: id, what: "bytes", expected: row.bytes, found });
    }
    let directory = Unflushed::open(dir).map_err(|error| open(error.into()))?;
    open_index(layout, (id, shard), row, directory, Some(dir.to_owned()), found)
}

/// Opens the segment in a directory of the engine as a row of a manifest describes it.
pub(super) fn open_index(
    layout: &Layout,
    (id, shard): (SegmentId, ShardId),
    row: &Row,
    directory: impl Into<Box<dyn Directory>>,
    dir: Option<PathBuf>,
    bytes: u64,
) -> Result<Segment, SegmentError> {
    let open = |source| SegmentError::Open { segment: id, source };
    let mut index = Index::open(directory).map_err(open)?;
    if index.schema() != layout.fields.schema {
        return Err(open(tantivy::TantivyError::SchemaError("fields of another build".to_owned())));
    }
    index.set_tokenizers(layout.tokenizers.clone());
    let built = Built {
        index,
        bytes,
        docs: row.docs,
        oldest: row.oldest,
        newest: row.newest,
        first_seq: row.first_seq,
        last_seq: row.last_seq,
        received_until: row.received_until,
        sifted: 0,
    };
    Segment::open(layout, (id, shard), built, dir, row.built_at)
}

/// Opens a segment that was just built in `dir`, or in memory.
pub(crate) fn open_built(
    layout: &Layout,
    ids: (SegmentId, ShardId),
    mut built: Built,
    dir: Option<PathBuf>,
    now: Timestamp,
) -> Result<Segment, SegmentError> {
    if let Some(dir) = &dir {
        built.bytes = bytes_of(dir).map_err(|source| disk(dir, source))?;
    }
    Segment::open(layout, ids, built, dir, now)
}

/// Size of the files of a segment that hold its content; the engine's own book-keeping beside them does not count.
fn bytes_of(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// A random id.
pub(crate) fn fresh_id() -> SegmentId {
    let mut bytes = [0; 16];
    // The system's random source does not fail once it has worked; a repeated id would be refused by the directory.
    let _ = SystemRandom::new().fill(&mut bytes);
    SegmentId(u128::from_le_bytes(bytes))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, SegmentError> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|source| disk(dir, source))
}

pub(super) fn disk(path: &Path, source: io::Error) -> SegmentError {
    SegmentError::Disk { path: path.display().to_string(), source }
}
