//! Which entries of the ledger an auditor of one tenant may read whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::border::EgressClass;
use domicile_proto::ids::TenantId;

use super::Office;
use crate::audit::{Entry, Event};
use crate::policy::Policy;

/// What is known about a tenant when its auditor asks.
pub(super) struct Visible {
    tenant: TenantId,
    /// Ids of its erasures, holds and deletions: entries about those name no tenant.
    own: BTreeSet<Box<str>>,
    policy: Arc<Policy>,
}

impl Visible {
    pub(super) fn to(office: &Office, tenant: TenantId) -> Self {
        let mut own: BTreeSet<Box<str>> = office.erasure.all(tenant).into_iter().map(|stands| stands.id).collect();
        own.extend(office.erasure.holds(tenant).into_iter().map(|hold| hold.id));
        Self { tenant, own, policy: office.desk.parts.policy.now() }
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
            Event::RefusedQuestion { stream: Some(stream), .. } | Event::ThresholdLowered { stream, .. } => {
                self.policy.stream_by_id(self.tenant, *stream).is_some()
            }
            Event::RetentionBegun { tenant, .. } | Event::RetentionDropped { tenant, .. } => *tenant == self.tenant,
            Event::ErasureRequested { erasure, .. }
            | Event::Shredded { erasure, .. }
            | Event::Purged { erasure, .. } => self.own.contains(erasure),
            Event::ErasureRefused { hold, .. } | Event::HoldSet { hold } | Event::HoldReleased { hold } => {
                self.own.contains(hold)
            }
            _ => true,
        }
    }
}
