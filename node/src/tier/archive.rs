//! The archive: copies of segments in the store's archive class, below a prefix of their own that no question reads.
//!
//! A segment goes there and comes back object by object, each compared with its digest, and everything is created once: killed
//! anywhere, the next try goes on. What was erased goes out of the archive as out of every other tier: the segment is
//! fetched, made anew and archived again. Decides not when.

use std::sync::Arc;

use domicile_proto::ids::{ShardId, Timestamp};

use super::errors::TierError;
use super::forget::forget;
use super::pack::{Cold, Tier, footer_name, part_name, read_footer, sha256};
use crate::policy::Scope;
use crate::segment::files::fresh_id;
use crate::segment::{Archived, PurgeArchive, Rewritten, SegmentError, SegmentId, Shards, archive_of, restored_of};
use crate::store::StoreError;

impl Tier {
    /// Copies a cold segment into the archive; what its manifest says of it there.
    ///
    /// # Errors
    /// [`TierError::Altered`] where an object is not what it was, [`TierError::Store`].
    pub(crate) async fn put_away(&self, cold: &Cold, now: Timestamp) -> Result<Archived, TierError> {
        let there = Cold { object: archive_of(cold.shard, cold.id), ..cold.clone() };
        self.carry(cold, &there, |_| {}).await?;
        self.step("archived")?;
        let bytes = self.verify(&there, |_| {}).await?;
        Ok(Self::kept(&there, bytes, now))
    }

    fn kept(there: &Cold, bytes: u64, now: Timestamp) -> Archived {
        let mut row = there.row.clone();
        row.copied = Some(there.named_by(bytes, now));
        row.beside = false;
        Archived { row, since: now, wanted_until: None }
    }

    /// Copies a segment of the archive to a place of its own beside the cold segments, verified; `read` is told how many bytes of it are done.
    ///
    /// # Errors
    /// As [`Self::put_away`].
    pub(crate) async fn bring_back(
        &self,
        (shard, archived): (ShardId, &Archived),
        now: Timestamp,
        read: impl FnMut(u64),
    ) -> Result<Cold, TierError> {
        let lost = || TierError::Altered { object: format!("the archive of shard {shard}") };
        let there = Cold::named(shard, &archived.row).ok_or_else(lost)?;
        let object = format!("{}/{:032x}", restored_of(shard, there.id), fresh_id().0);
        let mut back = Cold { object, ..there.clone() };
        self.carry(&there, &back, read).await?;
        self.step("brought back")?;
        let bytes = self.verify(&back, |_| {}).await?;
        back.row.copied = Some(back.named_by(bytes, now));
        Ok(back)
    }

    /// Copies every object of a copy to another place, the footer last.
    async fn carry(&self, from: &Cold, to: &Cold, mut done: impl FnMut(u64)) -> Result<(), TierError> {
        let stored = |source| TierError::Store { segment: from.id, source: Box::new(source) };
        let name = footer_name(&from.object);
        let footer = self.store.read(&name).await.map_err(stored)?;
        let found = (sha256(&footer) == from.sha256).then(|| read_footer(&footer)).flatten();
        let parts = found.ok_or(TierError::Altered { object: name })?.0.parts;
        for (number, part) in parts.iter().enumerate() {
            let name = part_name(&from.object, number);
            let content = self.store.read(&name).await.map_err(stored)?;
            if content.len() as u64 != part.length || hex::encode(sha256(&content)) != part.sha256 {
                return Err(TierError::Altered { object: name });
            }
            self.put(from.id, &part_name(&to.object, number), content).await?;
            done(part.length);
        }
        done(footer.len() as u64);
        self.put(from.id, &footer_name(&to.object), footer).await
    }

    /// Creates an object, or finds the same there.
    async fn put(&self, segment: SegmentId, object: &str, content: bytes::Bytes) -> Result<(), TierError> {
        let stored = |source| TierError::Store { segment, source: Box::new(source) };
        match self.create(object, content.clone()).await {
            Err(known @ StoreError::AlreadyThere { .. }) => match self.store.read(object).await.map_err(stored)? {
                found if found == content => Ok(()),
                _ => Err(stored(known)),
            },
            created => created.map_err(stored),
        }
    }

    /// What takes what was erased out of the archive, for the stage that purges.
    pub(crate) fn archive_purger(&self) -> PurgeArchive {
        let tier = self.clone();
        Arc::new(move |shards, now| {
            let tier = tier.clone();
            Box::pin(async move {
                tier.purge_archive(&shards, now)
                    .await
                    .map_err(|source| SegmentError::Archive { source: Box::new(source) })
            })
        })
    }

    /// Makes every segment of the archive anew that holds something of the suppression list; which. Fetches and decodes every one
    /// of a shard whose records anybody was erased from.
    async fn purge_archive(&self, shards: &Shards, now: Timestamp) -> Result<Vec<Rewritten>, TierError> {
        let (layout, catalog) = (shards.layout().clone(), shards.catalog().clone());
        let mut rewritten = Vec::new();
        for shard in catalog.archives() {
            let list = layout.suppression.now();
            if list.of_shard(shard, Scope::All).is_empty() {
                continue;
            }
            for archived in catalog.archive(shard).iter() {
                let Some(old) = Cold::named(shard, &archived.row) else {
                    return Err(TierError::Altered { object: format!("the archive of shard {shard}") });
                };
                let segment = Arc::new(self.open(&layout, &old).await?);
                let made = if segment.hidden().is_empty() {
                    None
                } else {
                    Some(self.archive_anew(shards, (&old, &segment, archived), now).await)
                };
                // Also where it failed: what was read to be made anew may hold whom the next try finds gone.
                self.leave(&segment).await?;
                rewritten.extend(made.transpose()?);
            }
        }
        Ok(rewritten)
    }

    async fn archive_anew(
        &self,
        shards: &Shards,
        (old, segment, archived): (&Cold, &Arc<crate::segment::Segment>, &Archived),
        now: Timestamp,
    ) -> Result<Rewritten, TierError> {
        let failed = |source: SegmentError| TierError::Open { segment: old.id, source: Box::new(source) };
        let (new, (old_sha256, new_sha256)) = self.made_anew(shards.layout(), segment, now).await?;
        let there = self.copy_out_to(&new, archive_of(old.shard, new.id)).await?;
        self.step("archived anew")?;
        let bytes = self.verify(&there, |_| {}).await?;
        let again = Arc::new(self.open(shards.layout(), &there).await?);
        if !again.hidden().is_empty() {
            return Err(TierError::Altered { object: there.object });
        }
        self.leave(&again).await?;
        self.leave(&Arc::new(new)).await?;
        let done = Rewritten {
            shard: old.shard,
            old: old.id,
            old_sha256,
            new: there.id,
            new_sha256,
            removed: old.row.docs.saturating_sub(there.row.docs),
            kept: there.row.docs,
        };
        let new = Archived { since: archived.since, ..Self::kept(&there, bytes, now) };
        if !shards.archive_anew(old.shard, old.id, new).await.map_err(failed)? {
            let stored = |source| TierError::Store { segment: old.id, source: Box::new(source) };
            crate::segment::delete_copy(&self.store, &archive_of(old.shard, done.new)).await.map_err(stored)?;
            forget(&self.store, old.shard, old.id).await.map_err(stored)?;
        }
        Ok(done)
    }
}
