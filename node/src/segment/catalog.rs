//! The segments that can be searched, by shard. Reading never waits: every list is replaced whole.
//!
//! Decides nothing: `shards` builds and merges, and says here what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use domicile_proto::ids::{Epoch, ShardId};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Archived, Segment, SegmentId};
use crate::limits::OWNER_LEASE;
use crate::policy::{Policy, Suppression};

/// The segments of one shard, newest first: their places fall, and so, nearly always, do their times.
pub(crate) type View = Arc<Vec<Arc<Segment>>>;

type List = Arc<ArcSwap<Vec<Arc<Segment>>>>;

/// All segments of this node. Cheap to clone; clones show the same.
#[derive(Clone, Default)]
pub(crate) struct Catalog(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Changes only when a shard comes or goes; the lists inside change with every refresh.
    shards: ArcSwap<BTreeMap<ShardId, List>>,
    changing: Mutex<()>,
    /// Shards with accepted records that are in no segment, though they should be.
    failed: watch::Sender<BTreeSet<ShardId>>,
    /// Shards with a segment that could not be looked through for what was erased.
    unsifted: Mutex<BTreeSet<ShardId>>,
    /// The epoch up to which this node took a shard up that another one wrote before.
    taken_up: Mutex<BTreeMap<ShardId, Epoch>>,
    /// The epoch from which another node writes a shard, as its seal in this node's log says.
    ended: Mutex<BTreeMap<ShardId, Epoch>>,
    /// When this node last knew of every seal in its log; none before it first looked.
    met: Mutex<Option<Instant>>,
    /// What lies in the archive, of shards that have any of it.
    archives: Mutex<BTreeMap<ShardId, Arc<Vec<Archived>>>>,
}

/// What a shard or a stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) docs: u64,
    pub(crate) bytes: u64,
    pub(crate) segments: u64,
}

impl Catalog {
    /// The segments of a shard as they are now; they stay readable as long as they are held.
    pub(crate) fn view(&self, shard: ShardId) -> View {
        self.0.shards.load().get(&shard).map_or_else(View::default, |segments| segments.load_full())
    }

    /// The shards that have a segment.
    pub(crate) fn shards(&self) -> Vec<ShardId> {
        self.0.shards.load().keys().copied().collect()
    }

    /// What of a shard lies in the archive, whether a copy of it is shown or not.
    pub(crate) fn archive(&self, shard: ShardId) -> Arc<Vec<Archived>> {
        self.0.archives.lock().get(&shard).cloned().unwrap_or_default()
    }

    /// The shards that have something in the archive.
    pub(crate) fn archives(&self) -> Vec<ShardId> {
        self.0.archives.lock().keys().copied().collect()
    }

    /// Says what of a shard lies in the archive.
    pub(super) fn set_archive(&self, shard: ShardId, archive: Vec<Archived>) {
        let mut archives = self.0.archives.lock();
        if archive.is_empty() {
            archives.remove(&shard);
        } else {
            archives.insert(shard, Arc::new(archive));
        }
    }

    /// The segments whose copy in the bucket is the segment.
    pub(crate) fn copied(&self) -> BTreeSet<SegmentId> {
        let views = self.shards().into_iter().map(|shard| self.view(shard));
        let ids = |view: View| view.iter().filter(|one| one.copied.is_some()).map(|one| one.id).collect::<Vec<_>>();
        views.flat_map(ids).collect()
    }

    /// Whether everything of a shard that should be in a segment is in one. Of a shard that is not whole, no answer is the truth.
    pub(crate) fn is_whole(&self, shard: ShardId) -> bool {
        !self.0.failed.borrow().contains(&shard) && !self.0.unsifted.lock().contains(&shard)
    }

    /// Whether this node took a shard up in the epoch that the metadata group knows. A shard in its first epoch was nobody's before;
    /// of a later one nothing is here between the group's decision and the end of the taking up, and that is no answer. Nor is what
    /// lies here of one that another node took over, or may have taken while this one was away.
    pub(crate) fn is_taken_up(&self, shard: ShardId, policy: &Policy) -> bool {
        let taken = self.taken_up(shard);
        let is_ended = |taken: Epoch| self.0.ended.lock().get(&shard).is_some_and(|by| *by > taken);
        if taken.is_some_and(|taken| !self.is_awake() || is_ended(taken)) {
            return false;
        }
        match policy.epochs.get(&shard) {
            Some(epoch) if epoch.0 > 1 => taken.is_some_and(|taken| taken >= *epoch),
            _ => true,
        }
    }

    /// Whether nobody can have taken this node for gone since it last knew of every seal in its log. Looked at with each question: a
    /// node that was paused does not notice it before.
    pub(crate) fn is_awake(&self) -> bool {
        self.0.met.lock().is_none_or(|met| met.elapsed() < OWNER_LEASE / 2)
    }

    /// Says that this node knew of every seal in its log at a time, and what they say.
    pub(crate) fn set_met(&self, at: Instant, ended: BTreeMap<ShardId, Epoch>) {
        *self.0.ended.lock() = ended;
        *self.0.met.lock() = Some(at);
    }

    /// The epoch in which this node took a shard up.
    pub(crate) fn taken_up(&self, shard: ShardId) -> Option<Epoch> {
        self.0.taken_up.lock().get(&shard).copied()
    }

    /// Says that this node took a shard up in an epoch.
    pub(crate) fn set_taken_up(&self, shard: ShardId, epoch: Epoch) {
        self.0.taken_up.lock().insert(shard, epoch);
    }

    /// Says whether all of a shard was looked through for what was erased.
    pub(super) fn set_sifted(&self, shard: ShardId, is_sifted: bool) {
        let mut unsifted = self.0.unsifted.lock();
        if is_sifted {
            unsifted.remove(&shard)
        } else {
            unsifted.insert(shard)
        };
    }

    /// A shard that is not whole, if there is one.
    pub(crate) fn lacking(&self) -> Option<ShardId> {
        let failed = self.0.failed.borrow().first().copied();
        failed.or_else(|| self.0.unsifted.lock().first().copied())
    }

    /// How many shards are not whole.
    pub(crate) fn failures(&self) -> usize {
        self.0.failed.borrow().len() + self.0.unsifted.lock().len()
    }

    /// A shard that has records here, or of which records are not here that should be, and belongs to no stream, if there is one: then
    /// this node knows less of the metadata group than it once did, and a stream of which it knows no shard may hold those records.
    pub(crate) fn unclaimed(&self, policy: &Policy) -> Option<ShardId> {
        let claimed: BTreeSet<_> =
            policy.streams.values().filter_map(|stream| stream.shard).map(|(id, _)| id).collect();
        let failed: Vec<_> = self.0.failed.borrow().iter().copied().collect();
        let known = self.shards().into_iter().chain(failed).chain(self.archives());
        known.into_iter().find(|shard| !claimed.contains(shard))
    }

    /// Says that a shard is not whole, or that it is again.
    pub(crate) fn set_whole(&self, shard: ShardId, is_whole: bool) {
        self.0.failed.send_if_modified(|failed| if is_whole { failed.remove(&shard) } else { failed.insert(shard) });
    }

    /// Returns when all shards are whole.
    #[cfg(test)]
    pub(crate) async fn all_whole(&self) {
        self.0.failed.subscribe().wait_for(BTreeSet::is_empty).await.unwrap();
    }

    /// What a shard holds.
    pub(crate) fn totals(&self, shard: ShardId) -> Totals {
        self.view(shard).iter().fold(Totals::default(), |sum, segment| Totals {
            docs: sum.docs + u64::from(segment.docs.saturating_sub(segment.hidden().count)),
            bytes: sum.bytes + segment.bytes,
            segments: sum.segments + 1,
        })
    }

    /// Runs `work`, which changes the suppression list, while no segment comes or goes: every segment that is shown later
    /// was sifted with the new list, and every other one is in the views now.
    pub(super) fn enforce(&self, work: impl FnOnce()) {
        let _changing = self.0.changing.lock();
        work();
    }

    /// As [`Self::replace`], where the new segment was sifted with the list as it is now; `false` and nothing changed else.
    pub(super) fn replace_sifted(&self, gone: &[SegmentId], new: &Arc<Segment>, list: &Suppression) -> bool {
        let changing = self.0.changing.lock();
        let is_sifted = new.hidden().sifted >= list.now().version();
        if is_sifted {
            self.replace_locked(new.shard, gone, Some(Arc::clone(new)));
        }
        drop(changing);
        is_sifted
    }

    /// Takes segments out of what is shown; those that were there.
    pub(super) fn take_out(&self, shard: ShardId, gone: &BTreeSet<SegmentId>) -> Vec<Arc<Segment>> {
        let _changing = self.0.changing.lock();
        let taken: Vec<_> = self.view(shard).iter().filter(|segment| gone.contains(&segment.id)).cloned().collect();
        let ids: Vec<_> = taken.iter().map(|segment| segment.id).collect();
        if !ids.is_empty() {
            self.replace_locked(shard, &ids, None);
        }
        taken
    }

    /// Shows a segment and hides those it replaces, in one step.
    #[cfg(test)]
    pub(super) fn replace(&self, shard: ShardId, gone: &[SegmentId], new: Option<Arc<Segment>>) {
        let _changing = self.0.changing.lock();
        self.replace_locked(shard, gone, new);
    }

    fn replace_locked(&self, shard: ShardId, gone: &[SegmentId], new: Option<Arc<Segment>>) {
        let shards = self.0.shards.load();
        let before = shards.get(&shard).map_or_else(View::default, |segments| segments.load_full());
        let mut after: Vec<_> = before.iter().filter(|segment| !gone.contains(&segment.id)).cloned().collect();
        if let Some(new) = new {
            let place = after.partition_point(|segment| segment.first_seq > new.first_seq);
            after.insert(place, new);
        }
        debug_assert!(after.is_sorted_by(|newer, older| newer.first_seq > older.last_seq), "segments do not overlap");
        match shards.get(&shard) {
            Some(segments) if !after.is_empty() => segments.store(Arc::new(after)),
            _ => {
                let mut all = BTreeMap::clone(&shards);
                if after.is_empty() {
                    all.remove(&shard);
                } else {
                    all.insert(shard, Arc::new(ArcSwap::from_pointee(after)));
                }
                self.0.shards.store(Arc::new(all));
            }
        }
    }

    /// Has a segment lie in the archive, as far as anybody sees.
    #[cfg(test)]
    pub(crate) fn put_away(&self, segment: &Segment) {
        let mut archive = Vec::clone(&self.archive(segment.shard));
        let row = super::manifest::Row::of(segment);
        archive.push(Archived { row, since: segment.received_until, wanted_until: None });
        self.set_archive(segment.shard, archive);
        self.take_out(segment.shard, &BTreeSet::from([segment.id]));
    }

    /// A catalog of such segments.
    #[cfg(test)]
    pub(crate) fn of(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        let catalog = Self::default();
        segments.into_iter().for_each(|segment| catalog.replace(segment.shard, &[], Some(segment)));
        catalog
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::builder::Layout;
    use crate::segment::specimen::{durable, record, segment};

    #[test]
    fn segments_are_newest_first_whatever_the_order_they_came_in() {
        let layout = Layout::new();
        let make = |first: u64, count: u64| {
            let records = (0..count).map(|n| record(i64::try_from(first + n).unwrap(), None, json!({}))).collect();
            segment(&layout, durable(3, first, records))
        };
        let catalog = Catalog::of([make(3, 2), make(1, 2), make(5, 4)]);
        let firsts = |view: View| view.iter().map(|segment| segment.first_seq).collect::<Vec<_>>();
        let held = catalog.view(ShardId(3));
        assert_eq!(firsts(Arc::clone(&held)), [5, 3, 1]);
        assert_eq!((catalog.totals(ShardId(3)).docs, catalog.totals(ShardId(3)).segments), (8, 3));

        let gone: Vec<_> = held.iter().skip(1).map(|segment| segment.id).collect();
        catalog.replace(ShardId(3), &gone, Some(make(1, 4)));
        assert_eq!(firsts(catalog.view(ShardId(3))), [5, 1]);
        assert_eq!(firsts(held), [5, 3, 1], "a view that is held does not change");

        let all: Vec<_> = catalog.view(ShardId(3)).iter().map(|segment| segment.id).collect();
        catalog.replace(ShardId(3), &all, None);
        assert!(catalog.view(ShardId(3)).is_empty() && catalog.shards().is_empty());
    }

    #[test]
    fn a_node_that_was_away_has_nothing_of_what_it_took_up_before_it_has_met_the_seals_in_its_log() {
        let (catalog, policy, now) = (Catalog::default(), Policy::empty("tokyo".parse().unwrap()), Instant::now());
        let (ours, another) = (ShardId(3), ShardId(4));
        catalog.set_taken_up(ours, Epoch(2));
        let long_ago = now.checked_sub(OWNER_LEASE).unwrap();
        for (met, ended, is_here) in [(now, 0, true), (long_ago, 0, false), (now, 3, false), (now, 2, true)] {
            catalog.set_met(met, BTreeMap::from([(ours, Epoch(ended))]));
            assert_eq!(catalog.is_taken_up(ours, &policy), is_here, "{ended}");
            assert!(catalog.is_taken_up(another, &policy), "what nobody took up lies in no log of the store");
        }
        catalog.set_met(now, BTreeMap::from([(ours, Epoch(3))]));
        catalog.set_taken_up(ours, Epoch(4));
        assert!(catalog.is_taken_up(ours, &policy), "taken again, later");
    }
}
