//! Which entries of the ledger an auditor of one tenant may read whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::border::EgressClass;
use domicile_proto::ids::{ShardId, TenantId};

use super::Office;
use crate::audit::{Entry, Event};
use crate::policy::Policy;

/// What is known about a tenant when its auditor asks.
pub(super) struct Visible {
    tenant: TenantId,
    /// Ids of its erasures, holds and deletions: entries about those name no tenant.
    own: BTreeSet<Box<str>>,
    /// Shards of its streams.
    shards: BTreeSet<ShardId>,
    policy: Arc<Policy>,
}

impl Visible {
    pub(super) fn to(office: &Office, tenant: TenantId) -> Self {
        let mut own: BTreeSet<Box<str>> = office.erasure.all(tenant).into_iter().map(|stands| stands.id).collect();
        own.extend(office.erasure.holds(tenant).into_iter().map(|hold| hold.id));
        let views = office.desk.streams(tenant).into_values();
        let shards = views.filter_map(|view| view.shard.map(|(shard, _)| shard)).collect();
        Self { tenant, own, shards, policy: office.desk.parts.policy.now() }
    }

    /// Whether an entry is about the tenant, or about the region and no tenant.
    pub(super) fn shows(&self, entry: &Entry) -> bool {
        if let Some(chain) = entry.tenant {
            return chain == self.tenant;
        }
        match &entry.event {
            // An answer of which nobody knows any more whose question it was.
            Event::Egress(passage) | Event::Ingress(passage) => {
                matches!(passage.class, EgressClass::LedgerHead | EgressClass::Metadata)
            }
            Event::NotSent { stream, .. }
            | Event::RefusedQuestion { stream: Some(stream), .. }
            | Event::ThresholdLowered { stream, .. } => self.policy.stream_by_id(self.tenant, *stream).is_some(),
            Event::RetentionBegun { tenant, .. } | Event::RetentionDropped { tenant, .. } => *tenant == self.tenant,
            Event::ErasureRequested { erasure, .. }
            | Event::Shredded { erasure, .. }
            | Event::Purged { erasure, .. } => self.own.contains(erasure),
            Event::SegmentPublished { shard, .. }
            | Event::SegmentMoved { shard, .. }
            | Event::ShardAdopted { shard, .. }
            | Event::SegmentDeleted { shard, .. } => self.shards.contains(shard),
            Event::ErasureRefused { hold, .. } | Event::HoldSet { hold } | Event::HoldReleased { hold } => {
                self.own.contains(hold)
            }
            Event::Reveal { tenant, .. }
            | Event::SubjectExported { tenant, .. }
            | Event::ExportKept { tenant, .. }
            | Event::ExportRead { tenant, .. }
            | Event::Breach { tenant, .. }
            | Event::ValuesApproved { tenant, .. } => *tenant == self.tenant,
            Event::Key(notice) => notice.tenant.is_none_or(|tenant| tenant == self.tenant),
            // Nobody's stream is known of a question that named none. The rest is about the node.
            Event::RefusedQuestion { stream: None, .. }
            | Event::PolicyChanged { .. }
            | Event::RouteChanged { .. }
            | Event::MembershipChanged { .. }
            | Event::NodeStarted { .. }
            | Event::ClockJumped { .. }
            | Event::Metadata { .. }
            | Event::TurnedAway { .. }
            | Event::EarlierLedger { .. }
            | Event::BodyDestroyed(_)
            | Event::OfficerHonoured { .. }
            | Event::TornTail { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{ByteCount, StreamId, Timestamp};

    use super::*;

    #[test]
    fn what_is_about_another_tenants_streams_is_not_shown() {
        let (ours, theirs) = (ShardId(1), ShardId(2));
        let policy = Arc::new(Policy::empty("tokyo".parse().unwrap()));
        let own = [Box::from("ours")].into();
        let visible = Visible { tenant: TenantId(7), own, shards: [ours].into(), policy };
        let published = |shard| Event::SegmentPublished {
            shard,
            manifest: 1,
            segment: "s".into(),
            records: 1,
            bytes: ByteCount(1),
            sha256: [0; 32],
            places: None,
        };
        let deleted = |shard| Event::SegmentDeleted { shard, manifest: 1, segment: "s".into() };
        let shown =
            |tenant: Option<u32>, event| visible.shows(&Entry::specimen(Timestamp(1), tenant.map(TenantId), event));
        assert!(shown(None, published(ours)) && shown(None, deleted(ours)));
        assert!(!shown(None, published(theirs)) && !shown(None, deleted(theirs)));
        assert!(shown(None, Event::HoldSet { hold: "ours".into() }));
        assert!(!shown(None, Event::HoldSet { hold: "theirs".into() }));
        assert!(shown(None, Event::ClockJumped { by: 1, ordered: true, at_start: false }));
        let of_stream = |stream| Event::RefusedQuestion { peer: None, stream, why: crate::audit::Why::NotExpressible };
        assert!(shown(None, of_stream(None)) && !shown(None, of_stream(Some(StreamId(9)))));
        // Whose chain it stands in decides before anything else.
        assert!(shown(Some(7), published(theirs)) && !shown(Some(8), published(ours)));
    }
}
