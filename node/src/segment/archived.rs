//! The archive of a shard, as its manifest has it: which segments lie there, since when, and of which a copy is wanted back.
//!
//! A segment comes here from the cold tier and is searched no more, but for a copy among the cold segments while one is wanted.
//! The list and the segments that are shown change so that at no moment a segment is in neither. Writes and reads no
//! archive by itself, and decides not when: that is the next stage's.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, TimeRange, Timestamp};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::copied::copies_below;
use super::manifest::{Manifest, Row};
use super::merge::{Left, Merger};
use super::moved::Moving;
use super::{COPIES, Catalog, Copied, Rewritten, Segment, SegmentError, SegmentId, Shards, object_of};
use crate::audit::Event;
use crate::store::{ARCHIVE, RESTORED};

/// A segment in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Archived {
    /// The segment; its copy is the one in the archive.
    pub(crate) row: Row,
    /// When it came there.
    pub(crate) since: Timestamp,
    /// Until when a copy of it is wanted among the cold segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wanted_until: Option<Timestamp>,
}

impl Archived {
    pub(crate) fn id(&self) -> Option<SegmentId> {
        self.row.id()
    }

    /// Size of all its objects.
    pub(crate) fn bytes(&self) -> u64 {
        self.row.copied.as_ref().map_or(self.row.bytes, |copied| copied.bytes)
    }

    /// Whether a record of it can lie on one of the days of a range. Whole days: what is told about it tells nothing about a
    /// record.
    pub(crate) fn touches(&self, range: TimeRange) -> bool {
        let day = |at: Timestamp| at.0.div_euclid(DAY);
        self.row.docs > 0
            && day(self.row.oldest) <= day(Timestamp(range.to.0.saturating_sub(1)))
            && day(range.from) <= day(self.row.newest)
    }
}

/// What of a range lies in the archive and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsearched {
    pub(crate) segments: u64,
    /// Records in them; some of them may lie outside of the range.
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Times of the oldest and the newest record, both inclusive.
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
}

/// What the names of the objects of a segment in the archive begin with.
pub(crate) fn archive_of(shard: ShardId, segment: SegmentId) -> String {
    format!("{ARCHIVE}/{:016x}/{segment}", shard.0)
}

/// What the names of the objects of all copies of it begin with that came back from there. Each has a name of its own: what goes can
/// never be taken for what comes.
pub(crate) fn restored_of(shard: ShardId, segment: SegmentId) -> String {
    format!("{RESTORED}/{:016x}/{segment}", shard.0)
}

/// Whether an object lies in the archive.
pub(crate) fn is_archive(object: &str) -> bool {
    object.strip_prefix(ARCHIVE).is_some_and(|rest| rest.starts_with('/'))
}

/// Takes what was erased out of the archive of every shard that is shown. The next stage gives it, for this one reads no copy.
pub(crate) type PurgeArchive =
    Arc<dyn Fn(Shards, Timestamp) -> BoxFuture<'static, Result<Vec<Rewritten>, SegmentError>> + Send + Sync>;

/// A wish about the archive of a shard.
pub(super) enum Keeping {
    /// A cold segment lies there from now on.
    In(Box<Archived>),
    /// One that lies there was made anew.
    Anew { old: SegmentId, new: Box<Archived> },
    /// Copies of these are wanted until then, at least.
    Wanted { ids: BTreeSet<SegmentId>, until: Timestamp },
    /// A copy that is wanted is there.
    Back(Arc<Segment>),
    /// Copies of these go.
    Go(BTreeSet<SegmentId>),
    /// What is left of interrupted work goes. Nothing may be on its way meanwhile.
    Sweep,
}

impl Catalog {
    /// What of some range of a shard cannot be searched, beside the segments that were taken as shown; none where all of it can.
    /// To be asked after they were taken.
    pub(crate) fn unsearched(&self, shard: ShardId, range: TimeRange, shown: &[Arc<Segment>]) -> Option<Unsearched> {
        let archive = self.archive(shard);
        let is_shown = |one: &Archived| shown.iter().any(|segment| Some(segment.id) == one.id());
        let mut missing = archive.iter().filter(|one| one.touches(range) && !is_shown(one));
        let of = |one: &Archived| Unsearched {
            segments: 1,
            records: one.row.docs.into(),
            bytes: one.bytes(),
            oldest: one.row.oldest,
            newest: one.row.newest,
        };
        let first = of(missing.next()?);
        Some(missing.map(of).fold(first, |sum, one| Unsearched {
            segments: sum.segments + one.segments,
            records: sum.records + one.records,
            bytes: sum.bytes + one.bytes,
            oldest: sum.oldest.min(one.oldest),
            newest: sum.newest.max(one.newest),
        }))
    }
}

impl Shards {
    /// Has a cold segment lie in the archive: there by now, then in the manifest; then where it lay goes. Whether it does: not
    /// where it is gone, or hides what was erased since.
    ///
    /// # Errors
    /// Any [`SegmentError`]; until the manifest is created it lies where it was.
    pub(crate) async fn put_away(&self, shard: ShardId, archived: Archived) -> Result<bool, SegmentError> {
        self.keep(shard, Keeping::In(Box::new(archived))).await
    }

    /// Has a segment of the archive replaced by the same without what was erased; a copy of the old one goes. Whether it was
    /// there.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn archive_anew(
        &self,
        shard: ShardId,
        old: SegmentId,
        new: Archived,
    ) -> Result<bool, SegmentError> {
        self.keep(shard, Keeping::Anew { old, new: Box::new(new) }).await
    }

    /// Puts on record that copies of some segments are wanted, until then at least. Whether all of them are, as the manifest says: not
    /// where one is there no more, or was made anew under another id.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn want(
        &self,
        shard: ShardId,
        ids: BTreeSet<SegmentId>,
        until: Timestamp,
    ) -> Result<bool, SegmentError> {
        self.keep(shard, Keeping::Wanted { ids, until }).await
    }

    /// Shows a copy that is wanted. Whether it is shown: not where nobody wants it any more.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn bring_back(&self, copy: Arc<Segment>) -> Result<bool, SegmentError> {
        self.keep(copy.shard, Keeping::Back(copy)).await
    }

    /// Lets copies go whose time is over: the segments stay in the archive.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn let_go(&self, shard: ShardId, ids: BTreeSet<SegmentId>) -> Result<bool, SegmentError> {
        self.keep(shard, Keeping::Go(ids)).await
    }

    /// Deletes what interrupted work on the archive of a shard has left. Nothing of it may be on its way meanwhile.
    ///
    /// # Errors
    /// Any [`SegmentError`].
    pub(crate) async fn sweep_archive(&self, shard: ShardId) -> Result<bool, SegmentError> {
        self.keep(shard, Keeping::Sweep).await
    }

    async fn keep(&self, shard: ShardId, keeping: Keeping) -> Result<bool, SegmentError> {
        self.wish(shard, |done| Moving::Kept { shard, keeping, done }).await
    }

    /// Ends the next step of what moves to or from the archive, as a crash would.
    ///
    /// # Errors
    /// In a test.
    pub(crate) fn archive_step(&self, name: &'static str) -> Result<(), SegmentError> {
        self.shared().step(name)
    }
}

impl Merger {
    /// Every shard that has a segment, or had one that lies in the archive.
    pub(super) fn all_shards(&self) -> BTreeSet<ShardId> {
        let catalog = &self.shared.catalog;
        catalog.shards().into_iter().chain(catalog.archives()).collect()
    }

    pub(super) async fn keep(&mut self, shard: ShardId, keeping: Keeping) -> Result<bool, SegmentError> {
        self.check_owned(shard)?;
        let is_done = match keeping {
            Keeping::In(archived) => self.put_away(shard, *archived)?,
            Keeping::Anew { old, new } => self.keep_anew(shard, old, *new),
            Keeping::Wanted { ids, until } => {
                let is_all = self.want(shard, &ids, until);
                // Also what another one wished for may wait for its manifest.
                self.keep_published(shard).await?;
                return Ok(is_all);
            }
            Keeping::Back(copy) => self.bring_back(copy).await?,
            Keeping::Go(ids) => self.let_go(shard, &ids),
            Keeping::Sweep => {
                self.sweep_archive(shard).await?;
                false
            }
        };
        if is_done {
            self.keep_published(shard).await?;
        }
        Ok(is_done)
    }

    async fn keep_published(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        self.shared.step("archive shown")?;
        self.publish(shard).await?;
        self.shared.step("archive published")?;
        self.sweep(shard).await;
        Ok(())
    }

    fn put_away(&mut self, shard: ShardId, archived: Archived) -> Result<bool, SegmentError> {
        let view = self.shared.catalog.view(shard);
        let found = view.iter().find(|segment| Some(segment.id) == archived.id() && segment.copied.is_some());
        let Some(old) = found.filter(|segment| segment.hidden().is_empty()) else { return Ok(false) };
        let mut archive = Vec::clone(&self.shared.catalog.archive(shard));
        if archive.iter().any(|known| known.id() == archived.id()) {
            // A copy of what lies there already.
            return Ok(false);
        }
        archive.push(archived);
        // First it is in the list, and only then not shown any more: no question misses it without being told.
        self.shared.catalog.set_archive(shard, archive);
        self.shared.step("archive listed")?;
        self.hide_away(shard, &BTreeSet::from([old.id]));
        Ok(true)
    }

    fn keep_anew(&mut self, shard: ShardId, old: SegmentId, new: Archived) -> bool {
        let mut archive = Vec::clone(&self.shared.catalog.archive(shard));
        let Some(known) = archive.iter_mut().find(|known| known.id() == Some(old)) else { return false };
        let objects = known.row.copied.as_ref().map(|copied| copied.object.clone());
        *known = Archived { since: known.since, wanted_until: known.wanted_until, ..new };
        self.shared.catalog.set_archive(shard, archive);
        self.hide_away(shard, &BTreeSet::from([old]));
        self.leave(shard, objects.map(Left::Copy));
        true
    }

    fn want(&self, shard: ShardId, ids: &BTreeSet<SegmentId>, until: Timestamp) -> bool {
        let mut archive = Vec::clone(&self.shared.catalog.archive(shard));
        let mut found = 0;
        for one in archive.iter_mut().filter(|one| one.id().is_some_and(|id| ids.contains(&id))) {
            one.wanted_until = one.wanted_until.max(Some(until));
            found += 1;
        }
        self.shared.catalog.set_archive(shard, archive);
        found == ids.len()
    }

    async fn bring_back(&self, copy: Arc<Segment>) -> Result<bool, SegmentError> {
        let (shard, id) = (copy.shard, copy.id);
        let archive = self.shared.catalog.archive(shard);
        let is_wanted = |one: &Archived| one.id() == Some(id) && one.wanted_until.is_some();
        let is_shown = self.shared.catalog.view(shard).iter().any(|segment| segment.id == id);
        if is_shown || !archive.iter().any(is_wanted) {
            return Ok(false);
        }
        let shared = Arc::clone(&self.shared);
        let showing = self.shared.tasks.blocking(move || shared.replace(&[], &copy));
        showing.await.map_err(|_| SegmentError::Interrupted { shard })??;
        Ok(true)
    }

    fn let_go(&mut self, shard: ShardId, ids: &BTreeSet<SegmentId>) -> bool {
        let mut archive = Vec::clone(&self.shared.catalog.archive(shard));
        let is_meant = |one: &&mut Archived| one.id().is_some_and(|id| ids.contains(&id));
        let kept: BTreeSet<SegmentId> = archive
            .iter_mut()
            .filter(is_meant)
            .filter_map(|one| {
                one.wanted_until = None;
                one.id()
            })
            .collect();
        self.shared.catalog.set_archive(shard, archive);
        self.hide_away(shard, &kept);
        !kept.is_empty()
    }

    /// Takes segments that lie in the archive out of what is shown; where their copies lie goes with the next manifest.
    pub(super) fn hide_away(&mut self, shard: ShardId, ids: &BTreeSet<SegmentId>) {
        let taken = self.shared.catalog.take_out(shard, ids);
        self.leave(shard, taken.iter().flat_map(|segment| Left::of(segment)).collect::<Vec<_>>());
    }

    /// Copies of archived segments in which something is hidden go at once: what was erased is made anew in the archive, and copied
    /// again from there, where the copy is still wanted.
    pub(super) fn drop_hiding_copies(&mut self, shard: ShardId) -> bool {
        let archive = self.shared.catalog.archive(shard);
        let view = self.shared.catalog.view(shard);
        let hiding = view.iter().filter(|segment| !segment.hidden().is_empty()).map(|segment| segment.id);
        let copies: BTreeSet<_> = hiding.filter(|id| archive.iter().any(|one| one.id() == Some(*id))).collect();
        self.hide_away(shard, &copies);
        !copies.is_empty()
    }

    /// Deletes objects in the archive of a shard, and copies from there, that its manifest does not name: what was interrupted left
    /// them, or somebody put them back.
    pub(super) async fn sweep_archive(&mut self, shard: ShardId) -> Result<(), SegmentError> {
        // What was begun and may have failed half way is named first, or what it names would go.
        self.publish(shard).await?;
        let Some(manifest) = self.manifests.get(&shard).cloned() else { return Ok(()) };
        let failed = |source| SegmentError::Store { shard, source };
        let mut found = copies_below(&self.store, ARCHIVE, shard).await.map_err(failed)?;
        found.extend(copies_below(&self.store, RESTORED, shard).await.map_err(failed)?);
        // What is archived lies no more where it was cold.
        let once: BTreeSet<_> =
            manifest.body.archived.iter().filter_map(|one| Some(object_of(shard, one.id()?))).collect();
        if !once.is_empty() {
            let cold = copies_below(&self.store, COPIES, shard).await.map_err(failed)?;
            found.extend(cold.into_iter().filter(|object| once.contains(object)));
        }
        self.sweep_all_but(manifest, found).await
    }
}

/// What the ledger is told of the archive when one manifest follows another.
pub(super) fn told(before: &Manifest, next: &Manifest) -> Vec<Event> {
    let (shard, manifest) = (next.shard, next.number);
    let named = |id: Option<SegmentId>| id.unwrap_or(SegmentId(0)).to_string().into();
    let knows = |rows: &[Row], id: Option<SegmentId>| rows.iter().any(|row| row.id() == id);
    let keeps = |archive: &[Archived], id: Option<SegmentId>| archive.iter().any(|one| one.id() == id);
    let moved = |one: &Archived, to: &str| {
        let copied = one.row.copied.as_ref();
        let (bytes, sha256) = (one.bytes(), copied.and_then(Copied::digest).unwrap_or_default());
        let bytes = domicile_proto::ids::ByteCount(bytes);
        Event::SegmentMoved { shard, manifest, segment: named(one.id()), to: to.into(), bytes, sha256 }
    };
    let mut events = Vec::new();
    for one in &next.body.archived {
        let (was_shown, is_shown) = (knows(&before.body.segments, one.id()), knows(&next.body.segments, one.id()));
        let was_kept = keeps(&before.body.archived, one.id());
        if !was_kept && !was_shown {
            events.push(Event::SegmentPublished {
                shard,
                manifest,
                segment: named(one.id()),
                records: one.row.docs.into(),
                bytes: domicile_proto::ids::ByteCount(one.bytes()),
                sha256: one.row.copied.as_ref().and_then(Copied::digest).unwrap_or_default(),
                places: Some([one.row.first_seq, one.row.last_seq]),
            });
        }
        if (!was_kept || was_shown) && !is_shown {
            events.push(moved(one, "archive"));
        }
        if was_kept && is_shown && !was_shown {
            events.push(moved(one, "cold"));
        }
    }
    let gone = before
        .body
        .archived
        .iter()
        .filter(|one| !keeps(&next.body.archived, one.id()) && !knows(&before.body.segments, one.id()));
    events.extend(gone.map(|one| Event::SegmentDeleted { shard, manifest, segment: named(one.id()) }));
    events
}

/// A day, in microseconds.
const DAY: i64 = 86_400 * Timestamp::MICROS;
