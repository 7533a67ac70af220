//! The manifest of a shard follows its segments: what is durable without a gap is flushed, copied out where the shard's durability
//! asks for it, told to the ledger, and named in the next manifest.
//!
//! Merges nothing and removes nothing by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::{ByteCount, Epoch, ShardId};
use futures::future::join_all;

use super::copied::copies_of;
use super::manifest::{Manifest, Row};
use super::merge::{Left, Merger};
use super::purge::sha256_of;
use super::{Copied, Segment, SegmentError, SegmentId, delete_copy, object_of};
use crate::audit::Event;

/// A segment with the SHA-256 of its files.
type Digested = (Arc<Segment>, [u8; 32]);

impl Merger {
    /// Creates a manifest of the segments that are durable without a gap, if they are others than before, and releases the log.
    pub(super) async fn publish(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        if let Some(begun) = self.begun.get(&shard).cloned() {
            begun.publish(&self.store).await?;
            self.published(begun);
        }
        let manifest = self.manifests.entry(shard).or_insert_with(|| Manifest::none(shard)).clone();
        let view = self.shared.catalog.view(shard);
        let mut last_seq = manifest.body.last_seq;
        let mut durable = Vec::new();
        for segment in view.iter().rev() {
            if segment.is_young() || segment.first_seq > last_seq + 1 {
                break;
            }
            last_seq = last_seq.max(segment.last_seq);
            durable.push(Arc::clone(segment));
        }
        let mut rows: Vec<_> = durable.iter().map(|segment| manifest.row_of(segment)).collect();
        let (in_bucket, is_settled) = (manifest.body.in_bucket, self.settled.contains(&shard));
        let lacks_copies = in_bucket && rows.iter().any(|row| row.copied.is_none());
        let archive = self.shared.catalog.archive(shard);
        let is_as_told = (!in_bucket || manifest.body.settled == is_settled) && manifest.body.archived == *archive;
        if rows == manifest.body.segments && !lacks_copies && is_as_told {
            return Ok(());
        }
        let moved: Vec<_> = rows.iter().filter(|row| is_moved(row, &manifest.body.segments)).cloned().collect();
        let gone = manifest.body.segments.iter().filter_map(Row::id);
        let gone: Vec<_> = gone.filter(|id| durable.iter().all(|segment| segment.id != *id)).collect();
        let new = self.flush(&manifest, durable.clone()).await?;
        if in_bucket {
            self.copy_out(shard, &durable, &mut rows).await?;
            self.leave(shard, gone.iter().map(|id| Left::Copy(object_of(shard, *id))).collect::<Vec<_>>());
        }
        let mut next = manifest.next(manifest.body.epoch.max(FIRST_EPOCH), last_seq, rows);
        next.body.settled = is_settled && in_bucket;
        next.body.archived = Vec::clone(&archive);
        self.tell((&manifest, &next), (new, moved), gone).await;
        self.begun.insert(shard, next.clone());
        next.publish(&self.store).await?;
        self.published(next);
        Ok(())
    }

    /// Sees that the files of what is new survive a loss of power; their digests, where somebody is told of them.
    async fn flush(&self, manifest: &Manifest, durable: Vec<Arc<Segment>>) -> Result<Vec<Digested>, SegmentError> {
        let known: BTreeSet<_> = manifest.body.segments.iter().filter_map(Row::id).collect();
        let (files, is_told) = (self.shared.files.clone(), self.shared.ledger.get().is_some());
        let flush = move || {
            let new = durable.iter().filter(|segment| !known.contains(&segment.id));
            let flushed = new.map(|segment| {
                files.flush(segment)?;
                let digest = if is_told { sha256_of(segment.dir.as_deref())? } else { [0; 32] };
                Ok((Arc::clone(segment), digest))
            });
            flushed.collect::<Result<Vec<_>, SegmentError>>()
        };
        let flushed = self.shared.tasks.blocking(flush).await;
        flushed.map_err(|_| SegmentError::Interrupted { shard: manifest.shard })?
    }

    /// Sees that every segment lies in the store, and notes it in its row.
    async fn copy_out(&self, shard: ShardId, durable: &[Arc<Segment>], rows: &mut [Row]) -> Result<(), SegmentError> {
        let out = self.shared.copy_out.get().ok_or(SegmentError::Interrupted { shard })?;
        for (segment, row) in durable.iter().zip(rows).filter(|(_, row)| row.copied.is_none()) {
            row.copied = Some(out(Arc::clone(segment), self.shared.clock.now()).await?);
            row.beside = true;
        }
        Ok(())
    }

    /// What the next manifest changes lies in the ledger before it is there. A ledger that takes nothing holds up no segment: what
    /// was accepted must become durable, and nothing leaves the region meanwhile.
    async fn tell(
        &self,
        (before, next): (&Manifest, &Manifest),
        (new, moved): (Vec<Digested>, Vec<Row>),
        gone: Vec<SegmentId>,
    ) {
        let Some(ledger) = self.shared.ledger.get() else { return };
        let (shard, manifest) = (next.shard, next.number);
        // Of what lies in the archive, or comes out of it for a while, it is told apart.
        let is_kept = |id: SegmentId| next.body.archived.iter().any(|one| one.id() == Some(id));
        let new: Vec<_> = new.into_iter().filter(|(segment, _)| !is_kept(segment.id)).collect();
        let gone: Vec<_> = gone.into_iter().filter(|id| !is_kept(*id)).collect();
        let published = new.iter().map(|(segment, sha256)| Event::SegmentPublished {
            shard,
            manifest,
            segment: segment.id.to_string().into(),
            records: segment.docs.into(),
            bytes: ByteCount(segment.bytes),
            sha256: *sha256,
            places: Some([segment.first_seq, segment.last_seq]),
        });
        let deleted = gone.iter().map(|id| Event::SegmentDeleted { shard, manifest, segment: id.to_string().into() });
        let moved = moved.iter().map(|row| Event::SegmentMoved {
            shard,
            manifest,
            segment: row.id().unwrap_or(SegmentId(0)).to_string().into(),
            to: if row.copied.is_some() { "cold".into() } else { "disk".into() },
            bytes: ByteCount(row.copied.as_ref().map_or(row.bytes, |copied| copied.bytes)),
            sha256: row.copied.as_ref().and_then(Copied::digest).unwrap_or_default(),
        });
        let all = published.chain(moved).chain(deleted).chain(super::archived::told(before, next));
        for told in join_all(all.map(|event| ledger.record(event))).await {
            if let Err(error) = told {
                tracing::error!(error = &error as &dyn std::error::Error, "a change of segments is not recorded");
            }
        }
    }

    /// A shard of the disk that another node has adopted takes nothing more: what would be accepted now could never be published.
    pub(super) async fn close_log_of(&self, shard: ShardId) {
        let is_on_disk = !self.shared.in_bucket.lock().contains(&shard);
        if let Some(bucket) = self.wal.bucket().filter(|_| is_on_disk)
            && let Ok(Some(newest)) = Manifest::newest(&self.store, shard).await
        {
            bucket.close(shard, newest.body.epoch);
        }
    }

    fn published(&mut self, manifest: Manifest) {
        self.begun.remove(&manifest.shard);
        self.wal.release(&BTreeMap::from([(manifest.shard, manifest.body.last_seq)]));
        self.manifests.insert(manifest.shard, manifest);
    }

    /// Deletes copies of a shard of durability `bucket` that its manifest does not name: what was interrupted left them, or somebody
    /// put them back.
    pub(super) async fn sweep_copies(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        let Some(manifest) = self.manifests.get(&shard).filter(|manifest| manifest.body.in_bucket).cloned() else {
            return Ok(());
        };
        let found = copies_of(&self.store, shard).await.map_err(|source| SegmentError::Store { shard, source })?;
        self.sweep_all_but(manifest, found).await
    }

    /// Deletes what was found of a shard, but for what its manifest names. Whoever takes the shard over makes copies only after a
    /// manifest of its own, and then the one that is created here between looking and deleting fails.
    pub(super) async fn sweep_all_but(
        &mut self,
        manifest: Manifest,
        mut found: BTreeSet<String>,
    ) -> Result<(), SegmentError> {
        let shard = manifest.shard;
        let archived = manifest.body.archived.iter().map(|one| &one.row);
        for copied in archived.chain(&manifest.body.segments).filter_map(|row| row.copied.as_ref()) {
            found.remove(&copied.object);
        }
        if found.is_empty() {
            return Ok(());
        }
        self.fence(manifest).await?;
        for object in found {
            let deleted = delete_copy(&self.store, &object).await;
            deleted.map_err(|source| SegmentError::Store { shard, source })?;
        }
        Ok(())
    }

    /// Creates the same manifest once more: whoever was deposed meanwhile cannot.
    pub(super) async fn fence(&mut self, manifest: Manifest) -> Result<(), SegmentError> {
        let body = &manifest.body;
        let next = manifest.next(body.epoch, body.last_seq, body.segments.clone());
        self.begun.insert(manifest.shard, next.clone());
        next.publish(&self.store).await?;
        self.published(next);
        Ok(())
    }

    /// A shard goes on after this manifest.
    pub(super) fn begin_with(&mut self, manifest: Manifest) {
        self.forget_shard(manifest.shard);
        if manifest.body.settled {
            self.settled.insert(manifest.shard);
        }
        self.shared.in_bucket.lock().insert(manifest.shard);
        self.shared.catalog.set_archive(manifest.shard, manifest.body.archived.clone());
        self.wal.release(&BTreeMap::from([(manifest.shard, manifest.body.last_seq)]));
        self.manifests.insert(manifest.shard, manifest);
    }

    pub(super) fn forget_shard(&mut self, shard: ShardId) {
        self.settled.remove(&shard);
        self.begun.remove(&shard);
        self.put_off.remove(&shard);
        self.manifests.remove(&shard);
        self.leaving.remove(&shard);
        self.closed.remove(&shard);
        self.shared.catalog.set_archive(shard, Vec::new());
        self.shared.in_bucket.lock().remove(&shard);
        self.shared.taken.lock().remove(&shard);
    }
}

/// Whether a row names a segment that another manifest names elsewhere.
fn is_moved(row: &Row, before: &[Row]) -> bool {
    let lay = |old: &Row| old.id() == row.id() && old.is_away() != row.is_away();
    before.iter().any(lay)
}

/// The epoch of a shard that was never taken over.
const FIRST_EPOCH: Epoch = Epoch(1);
