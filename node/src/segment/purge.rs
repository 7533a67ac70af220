//! What goes for good in this stage. The second half of an erasure: every segment that hides something is made anew without
//! it, each alone, however little that is; the manifest names the new ones, and the old files go. And retention: whole
//! segments leave the manifest, and their files go.
//!
//! May be interrupted anywhere and repeated: what no manifest names goes at the next start, and what is still hidden is found
//! again. Decides not when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, Read};
use std::path::Path;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, Timestamp};
use ring::digest::{Context, SHA256};
use tokio::sync::oneshot;

use super::adopt::Adopted;
use super::files::{Files, disk};
use super::merge::{Left, Merger, merge};
use super::plan::{Pressure, Target};
use super::{Segment, SegmentError, SegmentId, object_of};
use crate::index::builder::Layout;

/// A digest of all files of a segment.
pub(crate) type Sha256 = [u8; 32];

/// A wish to the task that alone changes manifests.
pub(super) enum Removal {
    /// Everything that is hidden.
    Hidden { done: oneshot::Sender<Result<Vec<Rewritten>, SegmentError>> },
    /// Whole segments.
    Whole { gone: Whole, done: oneshot::Sender<Result<(), SegmentError>> },
    /// Nothing: a merge that began before has ended.
    Spared { done: oneshot::Sender<Result<(), SegmentError>> },
    /// Nothing: a shard is taken up.
    Adopt { adopted: Adopted, done: oneshot::Sender<Result<(), SegmentError>> },
    /// Nothing: everything of a shard becomes durable.
    Settle { shard: ShardId, done: oneshot::Sender<Result<(), SegmentError>> },
    /// Nothing: what was taken over of a shard lies in this node's own log.
    Settled { shard: ShardId, done: oneshot::Sender<Result<(), SegmentError>> },
    /// A shard from this node; another one writes it.
    Leave { shard: ShardId, done: oneshot::Sender<Result<(), SegmentError>> },
}

/// Whole segments, by shard.
pub(crate) type Whole = BTreeMap<ShardId, BTreeSet<SegmentId>>;

/// One segment that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) shard: ShardId,
    pub(crate) old: SegmentId,
    pub(crate) old_sha256: Sha256,
    pub(crate) new: SegmentId,
    pub(crate) new_sha256: Sha256,
    /// Records that are no longer in it.
    pub(crate) removed: u32,
    /// Records that are.
    pub(crate) kept: u32,
}

impl Merger {
    /// Makes everything anew that hides something; what lies in memory becomes durable without it.
    pub(super) async fn purge(&mut self) -> Result<Vec<Rewritten>, SegmentError> {
        let mut rewritten = Vec::new();
        for shard in self.all_shards() {
            self.check_owned(shard)?;
            self.rewrite(shard, &mut rewritten).await?;
            self.try_settle(shard, Pressure::High, true).await?;
            self.sweep_copies(shard).await?;
            self.sweep_archive(shard).await?;
        }
        self.nothing_left()?;
        Ok(rewritten)
    }

    /// Removes whole segments: first from what is shown, then from the manifest, then from the disk. Everything else becomes
    /// durable, so that the log can go. One that is not there any more is none to remove.
    pub(super) async fn drop_whole(&mut self, gone: &Whole) -> Result<(), SegmentError> {
        let mut shards = self.all_shards();
        shards.extend(gone.keys());
        for shard in shards {
            self.check_owned(shard)?;
            if let Some(gone) = gone.get(&shard) {
                let taken = self.shared.catalog.take_out(shard, gone);
                // Their copies are deleted, and counted, by whoever wants them gone.
                self.leave(shard, taken.iter().filter_map(|segment| segment.dir.clone().map(Left::Dir)));
                let mut archive = Vec::clone(&self.shared.catalog.archive(shard));
                archive.retain(|one| one.id().is_none_or(|id| !gone.contains(&id)));
                self.shared.catalog.set_archive(shard, archive);
                self.shared.step("taken out")?;
                self.publish(shard).await?;
                self.shared.step("published")?;
                let counted: Vec<_> = gone.iter().map(|id| object_of(shard, *id)).collect();
                self.leaving.entry(shard).or_default().retain(|left| !left.is_copy_of(&counted));
                self.sweep(shard).await;
            }
            self.try_settle(shard, Pressure::High, true).await?;
        }
        self.nothing_left()
    }

    /// The removal is asked for again, and by then it may be gone.
    fn nothing_left(&self) -> Result<(), SegmentError> {
        match self.left_over() {
            Some(Left::Dir(dir)) => Err(disk(dir, still_there())),
            Some(Left::Copy(object)) => Err(disk(Path::new(object), still_there())),
            None => Ok(()),
        }
    }

    async fn rewrite(&mut self, shard: ShardId, rewritten: &mut Vec<Rewritten>) -> Result<(), SegmentError> {
        let is_dropped = self.drop_hiding_copies(shard);
        let view = self.shared.catalog.view(shard);
        let hiding = view.iter().filter(|segment| !segment.is_young() && !segment.hidden().is_empty());
        let hiding = hiding.cloned().collect::<Vec<_>>();
        if hiding.is_empty() && !is_dropped {
            return Ok(());
        }
        for old in hiding {
            let left = Left::of(&old);
            let shared = Arc::clone(&self.shared);
            let work = move || {
                let old_sha256 = digest_of(&old)?;
                let new = renew(&shared.layout, &shared.files, &old, shared.clock.now())?;
                shared.step("made anew")?;
                let new = Arc::new(new);
                shared.replace(&[old.id], &new)?;
                Ok::<_, SegmentError>(Rewritten {
                    shard,
                    old: old.id,
                    old_sha256,
                    new: new.id,
                    new_sha256: sha256_of(new.dir.as_deref())?,
                    removed: old.docs.saturating_sub(new.docs),
                    kept: new.docs,
                })
            };
            let made = self.shared.tasks.blocking(work).await;
            rewritten.push(made.map_err(|_| SegmentError::Interrupted { shard })??);
            self.leave(shard, left);
        }
        self.publish(shard).await?;
        self.shared.step("published")?;
        self.sweep(shard).await;
        Ok(())
    }
}

/// Makes a segment anew on the disk, without what is hidden in it. Blocks and computes.
pub(crate) fn renew(
    layout: &Layout,
    files: &Files,
    old: &Arc<Segment>,
    now: Timestamp,
) -> Result<Segment, SegmentError> {
    merge(layout, files, &[Arc::clone(old)], Target::Disk, now)
}

fn still_there() -> Error {
    Error::other("a segment that was replaced or deleted is still there")
}

/// The digest of a durable segment: of its files, or of the footer of its copy, where that is the segment.
pub(super) fn digest_of(segment: &Segment) -> Result<Sha256, SegmentError> {
    match &segment.copied {
        Some(copied) => Ok(copied.digest().unwrap_or_default()),
        None => sha256_of(segment.dir.as_deref()),
    }
}

/// The digest of a segment's files, none of one in memory: for each, in the order of names, name, length and content.
pub(crate) fn sha256_of(dir: Option<&Path>) -> Result<Sha256, SegmentError> {
    let mut digest = [0; 32];
    let Some(dir) = dir else { return Ok(digest) };
    let failed = |source| disk(dir, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            files.push(name);
        }
    }
    files.sort_unstable();
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    for name in files {
        let mut file = File::open(dir.join(&name)).map_err(failed)?;
        context.update(name.to_string_lossy().as_bytes());
        context.update(&[0]);
        context.update(&file.metadata().map_err(failed)?.len().to_be_bytes());
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            context.update(buffer.get(..read).unwrap_or_default());
        }
    }
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

impl Segment {
    /// Times of what is in it, after something was left out.
    pub(super) fn retime(&mut self) -> Result<(), SegmentError> {
        let (mut oldest, mut newest) = (0, 0);
        if self.docs > 0 {
            let times = self.reader().fast_fields().i64("ts");
            let times = times.map_err(|source| SegmentError::Open { segment: self.id, source })?;
            (oldest, newest) = (i64::MAX, i64::MIN);
            for at in (0..self.docs).filter_map(|doc| times.first(doc)) {
                (oldest, newest) = (oldest.min(at), newest.max(at));
            }
        }
        (self.oldest.0, self.newest.0) = (oldest, newest);
        Ok(())
    }
}
