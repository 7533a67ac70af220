//! The mover's part of the archive: segments go there, copies of what somebody asks for come back, and go when their time is over.
//!
//! What is asked for is on record in the manifest before anything is fetched, so a restore goes on after kill -9. A copy is looked
//! through for everything that was ever erased before it is shown. See `plan` for when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::{ShardId, TimeRange, Timestamp};

use super::errors::TierError;
use super::mover::Mover;
use super::pack::Cold;
use super::plan::{InArchive, Lying, Place};
use crate::segment::manifest::Row;
use crate::segment::{Archived, SegmentError, SegmentId};

/// What was asked for of the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) segments: u64,
    pub(crate) records: u64,
    /// What is fetched from the archive.
    pub(crate) bytes: u64,
}

/// How it is with one segment that somebody wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) shard: ShardId,
    pub(crate) archived: Archived,
    pub(crate) until: Timestamp,
    /// Whether its copy is searched.
    pub(crate) is_restored: bool,
    /// Bytes of it that were fetched.
    pub(crate) fetched: u64,
}

impl Mover {
    /// Has everything of a range of some shards that lies in the archive restored, until then at least; what that is. The work is
    /// done by the next round.
    ///
    /// # Errors
    /// The manifest could not be written: then nothing of that shard is restored.
    pub(crate) async fn ask_back(
        &self,
        shards: &[ShardId],
        range: TimeRange,
        until: Timestamp,
    ) -> Result<Asked, TierError> {
        let mut asked = Asked::default();
        for shard in shards {
            for one in self.ask_back_of(*shard, range, until).await.map_err(failed(SegmentId(0)))? {
                asked.segments += 1;
                asked.records += u64::from(one.row.docs);
                asked.bytes += one.bytes();
            }
        }
        Ok(asked)
    }

    /// The same of one shard; what of its archive is wanted now, as its manifest says.
    async fn ask_back_of(
        &self,
        shard: ShardId,
        range: TimeRange,
        until: Timestamp,
    ) -> Result<Vec<Archived>, SegmentError> {
        for _ in 0..TRIES {
            let archive = self.parts.shards.catalog().archive(shard);
            let meant: Vec<_> = archive.iter().filter(|one| one.touches(range)).cloned().collect();
            let ids: BTreeSet<SegmentId> = meant.iter().filter_map(Archived::id).collect();
            // One that was made anew meanwhile has another id, and is asked for by the next round.
            if ids.is_empty() || self.parts.shards.want(shard, ids, until).await? {
                return Ok(meant);
            }
        }
        Err(SegmentError::Interrupted { shard })
    }

    /// Everything that somebody wants back.
    pub(crate) fn backs(&self) -> Vec<Back> {
        let catalog = self.parts.shards.catalog();
        let restoring = self.state.lock().restoring.clone();
        let mut backs = Vec::new();
        for shard in catalog.archives() {
            let view = catalog.view(shard);
            for archived in catalog.archive(shard).iter() {
                let (Some(until), Some(id)) = (archived.wanted_until, archived.id()) else { continue };
                let is_restored = view.iter().any(|segment| segment.id == id);
                let fetched = if is_restored {
                    archived.bytes()
                } else {
                    restoring.get(&id.to_string()).copied().unwrap_or_default()
                };
                backs.push(Back { shard, archived: archived.clone(), until, is_restored, fetched });
            }
        }
        backs
    }

    /// Everything in the archive, as the plan cares.
    pub(super) fn archived(&self) -> Vec<Lying> {
        let catalog = self.parts.shards.catalog();
        let mut lying = Vec::new();
        for shard in catalog.archives() {
            let shown: BTreeMap<_, _> =
                catalog.view(shard).iter().map(|segment| (segment.id, !segment.hidden().is_empty())).collect();
            lying.extend(catalog.archive(shard).iter().filter_map(|one| {
                let id = one.id()?;
                Some(Lying {
                    segment: id,
                    shard,
                    records: one.row.docs,
                    bytes: one.bytes(),
                    received_until: one.row.received_until,
                    first_seq: one.row.first_seq,
                    place: Place::Archived,
                    is_hiding: shown.get(&id).copied().unwrap_or(false),
                    archive: Some(InArchive {
                        since: one.since,
                        wanted_until: one.wanted_until,
                        is_restored: shown.contains_key(&id),
                    }),
                })
            }));
        }
        lying
    }

    /// What was interrupted may have left something of this shard.
    pub(super) fn dirty(&self, shard: ShardId) {
        self.clean.lock().remove(&shard);
    }

    /// Removes what interrupted work has left of shards that have an archive: once after the start, and after every failure. Only
    /// while nothing is on its way.
    pub(super) async fn sweep_archives(&self) {
        // What a purge makes anew is named by no manifest before it is there.
        let _moving = self.parts.shards.moving().read().await;
        for shard in self.parts.shards.catalog().archives() {
            if self.clean.lock().contains(&shard) {
                continue;
            }
            match self.parts.shards.sweep_archive(shard).await {
                Ok(_) => drop(self.clean.lock().insert(shard)),
                Err(error) => {
                    let (code, error) = (crate::errors::Coded::code(&error), &error as &dyn std::error::Error);
                    tracing::warn!(%shard, code, error, "the archive is not looked through for what was left; this is tried again");
                }
            }
        }
    }

    fn in_archive(&self, lying: &Lying) -> Option<Archived> {
        self.parts.shards.catalog().archive(lying.shard).iter().find(|one| one.id() == Some(lying.segment)).cloned()
    }

    /// Copies a cold segment into the archive and lets it lie there. Whether it does, and its size.
    pub(super) async fn put_away(&self, lying: &Lying) -> Result<(bool, u64), TierError> {
        let (tier, shards, now) = (&self.parts.tier, &self.parts.shards, self.parts.clock.now());
        let moving = shards.moving().read().await;
        let view = shards.catalog().view(lying.shard);
        let found = view.iter().find(|segment| segment.id == lying.segment && segment.hidden().is_empty());
        let Some(cold) = found.and_then(|segment| Cold::named(lying.shard, &Row::of(segment))) else {
            return Ok((false, 0));
        };
        let archived = tier.put_away(&cold, now).await?;
        let bytes = archived.bytes();
        let is_moved = shards.put_away(lying.shard, archived).await.map_err(failed(lying.segment))?;
        // What was copied and is not named goes with the next purge, or is taken up again by the next round.
        drop(moving);
        Ok((is_moved, bytes))
    }

    /// Brings a copy back from the archive and shows it. Whether it is shown, and its size.
    pub(super) async fn restore(&self, lying: &Lying, name: &str) -> Result<(bool, u64), TierError> {
        let (tier, shards, now) = (&self.parts.tier, &self.parts.shards, self.parts.clock.now());
        let moving = shards.moving().read().await;
        let is_there = shards.catalog().view(lying.shard).iter().any(|segment| segment.id == lying.segment);
        let Some(archived) = self.in_archive(lying).filter(|_| !is_there) else { return Ok((false, 0)) };
        let told = |bytes: u64| *self.state.lock().restoring.entry(name.to_owned()).or_default() += bytes;
        let back = tier.bring_back((lying.shard, &archived), now, told).await?;
        let copy = Arc::new(tier.open_in_place(shards.layout(), &back).await?);
        // Named by the manifest from now on, it is looked through for all that was ever erased.
        let list = shards.layout().suppression.now();
        let sifting = Arc::clone(&copy);
        let sifted = tier.blocking(move || {
            let sifted = sifting.sift(&list, crate::policy::Scope::All);
            sifted.map_err(|source| failed(sifting.id)(SegmentError::Open { segment: sifting.id, source }))
        });
        sifted.await?;
        shards.archive_step("brought back").map_err(failed(lying.segment))?;
        let is_shown = shards.bring_back(copy).await.map_err(failed(lying.segment))?;
        if !is_shown {
            self.dirty(lying.shard);
        }
        drop(moving);
        Ok((is_shown, archived.bytes()))
    }

    /// Lets the copy of a segment go. Whether there was one.
    pub(super) async fn let_go(&self, lying: &Lying) -> Result<bool, TierError> {
        let shards = &self.parts.shards;
        let _moving = shards.moving().read().await;
        shards.let_go(lying.shard, BTreeSet::from([lying.segment])).await.map_err(failed(lying.segment))
    }
}

/// How often it is looked what of the archive is wanted, while segments of it are made anew.
const TRIES: usize = 8;

fn failed(segment: SegmentId) -> impl Fn(SegmentError) -> TierError {
    move |source| TierError::Open { segment, source: Box::new(source) }
}
