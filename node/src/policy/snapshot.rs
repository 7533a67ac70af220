//! The snapshot itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use arc_swap::ArcSwap;
use domicile_proto::border::{QuestionRules, ReleasePolicy};
use domicile_proto::ids::{
    DictionaryId, Epoch, FieldId, KThreshold, Name, NodeId, PolicyVersion, Region, RegionNumber, ShardId, StreamId,
    TenantId,
};
use domicile_proto::link::identity::{PeerAddr, PeerId};
use domicile_proto::metadata::{AccessKey, NodeRow, NumberField, Personal, StreamPolicy};
use domicile_proto::officer::OfficerRow;
use domicile_proto::privacy::PersonalClass;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::honoured::FieldsOnce;
use super::lease::Lease;
use super::routes::Routes;
use crate::limits::POLICIES_HELD;

/// A stream as this region treats it.
#[derive(Clone, Debug)]
pub(crate) struct StreamView {
    pub(crate) id: StreamId,
    pub(crate) tenant: TenantId,
    pub(crate) name: Name,
    /// Every field any region ever allowed; a [`FieldId`] is a place in this list.
    pub(crate) fields: Vec<Name>,
    /// What holds in this region.
    pub(crate) policy: StreamPolicy,
    /// The shard of this region and its owner, once there is one.
    pub(crate) shard: Option<(ShardId, NodeId)>,
}

impl StreamView {
    /// Whether this region lets the field group and filter abroad. The level is built in: it is allowed everywhere.
    fn allows(&self, field: &Name) -> bool {
        *field == Name::level() || self.policy.group_fields.contains(field)
    }

    /// The field's id, if this region allows it abroad.
    pub(crate) fn allowed(&self, field: &str) -> Option<FieldId> {
        let place = self.fields.iter().position(|name| name.as_str() == field && self.allows(name))?;
        u16::try_from(place).ok().map(FieldId)
    }

    /// The field of an id, if this region allows it abroad.
    pub(crate) fn field(&self, id: FieldId) -> Option<&Name> {
        self.fields.get(usize::from(id.0)).filter(|name| self.allows(name))
    }

    /// The numeric field of an id, if this region declares it.
    pub(crate) fn number(&self, id: FieldId) -> Option<&NumberField> {
        let name = self.fields.get(usize::from(id.0))?;
        self.policy.numbers.iter().find(|number| number.field == *name)
    }

    /// The id of a numeric field that this region declares.
    pub(crate) fn number_id(&self, field: &str) -> Option<FieldId> {
        let number = self.policy.numbers.iter().find(|number| number.field.as_str() == field)?;
        let place = self.fields.iter().position(|name| *name == number.field)?;
        u16::try_from(place).ok().map(FieldId)
    }

    /// What questions to other regions may name.
    pub(crate) fn question_rules(&self) -> QuestionRules {
        QuestionRules {
            fields: u16::try_from(self.fields.len()).unwrap_or(u16::MAX),
            text_questions: self.policy.text_questions,
        }
    }
}

/// The dictionary of one tenant and field: what is known anywhere, and what this region may let out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dictionary {
    /// Text of every id, in rising order.
    pub(crate) texts: BTreeMap<DictionaryId, String>,
    /// The ids this region's officer approved.
    pub(crate) approved: BTreeMap<DictionaryId, String>,
}

/// The snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) region: Region,
    pub(crate) version: PolicyVersion,
    pub(crate) tenants: BTreeMap<Name, TenantId>,
    pub(crate) streams: BTreeMap<(TenantId, Name), Arc<StreamView>>,
    /// This region's valid keys by SHA-256.
    pub(crate) keys: BTreeMap<[u8; 32], Arc<AccessKey>>,
    pub(crate) dictionaries: BTreeMap<(TenantId, Name), Arc<Dictionary>>,
    pub(crate) regions: BTreeMap<Region, RegionNumber>,
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    /// The newest consent of every officer the group knows; only its own region's nodes know which one to believe.
    pub(crate) officers: Vec<OfficerRow>,
    /// Streams whose policy is not honoured, with the days that an officer said their records are kept. They are kept for the
    /// longer of this and the region's period, until a policy is honoured again.
    pub(crate) kept_longer: BTreeMap<StreamId, NonZeroU16>,
    /// How many erasures the group knows of each region.
    pub(crate) erasures: BTreeMap<Region, u64>,
    /// In which epoch each shard of this region is written by its owner.
    pub(crate) epochs: BTreeMap<ShardId, Epoch>,
    /// Where what is released here may go.
    pub(crate) routes: Routes,
    /// What policies that were in force here ever said of the fields of a tenant, as far as this node was there.
    pub(crate) once: BTreeMap<TenantId, FieldsOnce>,
}

impl Policy {
    /// The nodes of a region, with where each is reached.
    pub(crate) fn nodes_of<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = PeerAddr> + 'a {
        let nodes = self.nodes.values().filter(move |row| row.region == *region);
        nodes.map(|row| PeerAddr { id: PeerId { region: row.region.clone(), node: row.node }, addr: row.addr })
    }

    /// A policy that knows nothing: what a node has before it has ever heard from the metadata group.
    pub(crate) fn empty(region: Region) -> Self {
        Self {
            region,
            version: PolicyVersion::default(),
            tenants: BTreeMap::new(),
            streams: BTreeMap::new(),
            keys: BTreeMap::new(),
            dictionaries: BTreeMap::new(),
            regions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            officers: Vec::new(),
            kept_longer: BTreeMap::new(),
            erasures: BTreeMap::new(),
            epochs: BTreeMap::new(),
            routes: Routes::default(),
            once: BTreeMap::new(),
        }
    }

    /// Who writes each shard of this region.
    pub(crate) fn owners(&self) -> BTreeMap<ShardId, NodeId> {
        self.streams.values().filter_map(|stream| stream.shard).collect()
    }

    /// Tenant and stream of a shard of this region.
    pub(crate) fn place_of(&self, shard: ShardId) -> Option<(Name, Name)> {
        let stream = self.streams.values().find(|stream| stream.shard.is_some_and(|(of, _)| of == shard))?;
        let (tenant, _) = self.tenants.iter().find(|(_, id)| **id == stream.tenant)?;
        Some((tenant.clone(), stream.name.clone()))
    }

    /// A stream by tenant and name.
    pub(crate) fn stream(&self, tenant: TenantId, name: &Name) -> Option<&Arc<StreamView>> {
        self.streams.get(&(tenant, name.clone()))
    }

    /// A stream by id.
    pub(crate) fn stream_by_id(&self, tenant: TenantId, id: StreamId) -> Option<&Arc<StreamView>> {
        self.streams.values().find(|stream| stream.tenant == tenant && stream.id == id)
    }

    /// The dictionary of a field; that of `level` is built in.
    pub(crate) fn dictionary(&self, tenant: TenantId, field: &Name) -> Arc<Dictionary> {
        if field.as_str() == super::build::LEVEL {
            return Arc::new(super::build::level_dictionary());
        }
        self.dictionaries.get(&(tenant, field.clone())).cloned().unwrap_or_default()
    }

    /// The streams whose smallest group is smaller than it was in an earlier snapshot, with both.
    pub(crate) fn lowered_since(&self, before: &Self) -> Vec<(StreamId, KThreshold, KThreshold)> {
        let lowered = |(key, stream): (&(TenantId, Name), &Arc<StreamView>)| {
            let (from, to) = (before.streams.get(key)?.policy.threshold(), stream.policy.threshold());
            (to < from).then_some((stream.id, from, to))
        };
        self.streams.iter().filter_map(lowered).collect()
    }

    /// Days that records of a stream are kept, where its region keeps what says nothing for so many.
    pub(crate) fn days_kept(&self, stream: &StreamView, of_region: u32) -> u32 {
        let signed = stream.policy.retention_days.map_or(of_region, |days| u32::from(days.get()));
        let longer = self.kept_longer.get(&stream.id).map_or(0, |days| u32::from(days.get()));
        signed.max(longer)
    }

    /// Days in the archive after which records of a stream are deleted, where its region says so many; none where their retention
    /// alone ends them: a stream with a period of its own is kept for it, wherever its records lie, and so is one whose longer
    /// period an officer signed that is not honoured any more.
    pub(crate) fn archive_for(&self, stream: &StreamView, of_region: u32) -> Option<u32> {
        match (stream.policy.lifecycle.archive_days, stream.policy.retention_days) {
            _ if self.kept_longer.contains_key(&stream.id) => None,
            (Some(days), _) => Some(u32::from(days.get())),
            (None, Some(_)) => None,
            (None, None) => Some(of_region),
        }
    }

    /// The fields by which records of a tenant may know their subject: those that its policies name, and those that they named
    /// when the records came.
    pub(crate) fn subject_fields(&self, tenant: TenantId) -> BTreeSet<Name> {
        let now = self.streams.values().filter(|stream| stream.tenant == tenant);
        let now = now.filter_map(|stream| match &stream.policy.personal {
            Personal::Subject(field) => Some(field.clone()),
            Personal::Undeclared | Personal::No => None,
        });
        let once = self.once.get(&tenant).into_iter().flat_map(|once| once.subjects.iter().cloned());
        now.chain(once).collect()
    }

    /// As what values of a tenant are replaced whole, or were when the records came.
    pub(crate) fn whole_classes(&self, tenant: TenantId) -> Vec<PersonalClass> {
        let mut streams = self.streams.values().filter(|stream| stream.tenant == tenant);
        let is_declared = streams.any(|stream| !stream.policy.privacy.fields().is_empty())
            || self.once.get(&tenant).is_some_and(|once| once.declared);
        let subject = Some(PersonalClass::Subject).filter(|_| !self.subject_fields(tenant).is_empty());
        subject.into_iter().chain(Some(PersonalClass::Declared).filter(|_| is_declared)).collect()
    }

    /// What an answer about the stream is released under.
    pub(crate) fn release(&self, stream: &StreamView) -> ReleasePolicy {
        ReleasePolicy { k: stream.policy.threshold(), version: self.version }
    }
}

/// The newest snapshot, for whoever needs it; replaced whole.
#[derive(Clone, Debug)]
pub(crate) struct PolicyWatch {
    newest: Arc<ArcSwap<Policy>>,
    changes: Arc<watch::Sender<()>>,
    lease: Arc<Lease>,
    /// The versions that held here since the start, the newest of them.
    held: Arc<Mutex<BTreeSet<PolicyVersion>>>,
    /// Cancelled when the node stops.
    stopping: CancellationToken,
}

impl PolicyWatch {
    /// Begins with a snapshot.
    pub(crate) fn new(policy: Policy) -> Self {
        let held = Arc::new(Mutex::new(BTreeSet::from([policy.version])));
        Self {
            newest: Arc::new(ArcSwap::from_pointee(policy)),
            changes: Arc::new(watch::Sender::new(())),
            lease: Arc::new(Lease::default()),
            held,
            stopping: CancellationToken::new(),
        }
    }

    /// The newest snapshot.
    pub(crate) fn now(&self) -> Arc<Policy> {
        self.newest.load_full()
    }

    /// Replaces it.
    pub(crate) fn replace(&self, policy: Policy) {
        {
            let mut held = self.held.lock();
            // A group that began anew with a backup counts from there.
            held.retain(|version| *version <= policy.version);
            held.insert(policy.version);
            if held.len() > POLICIES_HELD {
                held.pop_first();
            }
        }
        self.newest.store(Arc::new(policy));
        self.changes.send_replace(());
    }

    /// Whether a version held here since the start, so that this node's ledger tells of it: of versions that come quickly one behind the
    /// other, a node may honour the last alone. Of a newer one it is waited for; the caller has the deadline.
    pub(crate) async fn has_held(&self, version: PolicyVersion) -> bool {
        self.shows(|policy| (policy.version >= version).then_some(())).await;
        self.held.lock().contains(&version)
    }

    /// Waits until a snapshot shows what is looked for. Never ends by itself: the caller has the deadline.
    pub(crate) async fn shows<T>(&self, mut look: impl FnMut(&Policy) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look(&self.now()) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender lives in `self`; without it nothing would ever change again.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The node stops: nobody is to wait for another snapshot.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Cancelled when the node stops.
    pub(crate) const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Told whenever a snapshot is replaced.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How long the group has been silent; beyond 30 s this region answers outward in the most restrictive view only.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_version_counts_as_held_where_it_held_since_the_start_and_a_newer_one_is_waited_for() {
        let of = |version| Policy { version: PolicyVersion(version), ..Policy::empty("tokyo".parse().unwrap()) };
        let watch = PolicyWatch::new(of(0));
        [3, 7].into_iter().for_each(|version| watch.replace(of(version)));
        for (version, held) in [(0, true), (3, true), (5, false), (7, true)] {
            assert_eq!(watch.has_held(PolicyVersion(version)).await, held, "{version}");
        }
        assert_eq!(watch.has_held(PolicyVersion(8)).now_or_never(), None, "nobody knows yet");
        let waiting = watch.clone();
        let (held, ()) = tokio::join!(waiting.has_held(PolicyVersion(8)), async { watch.replace(of(9)) });
        assert!(!held, "9 holds, and 8 never did");
        watch.replace(of(3));
        assert!(watch.has_held(PolicyVersion(3)).await);
        assert_eq!(watch.has_held(PolicyVersion(7)).now_or_never(), None, "the group began anew before it");
        (4..4 + POLICIES_HELD as u64).for_each(|version| watch.replace(of(version)));
        assert!(
            watch.has_held(PolicyVersion(4)).await && !watch.has_held(PolicyVersion(3)).await,
            "the newest are known"
        );
    }
}
