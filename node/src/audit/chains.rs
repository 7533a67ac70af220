//! The chain of each tenant through the ledger: every entry has its number in it and names the one before, so that an auditor
//! of one tenant, who sees nothing of the others, sees that one was withheld.

use std::collections::BTreeMap;

use domicile_proto::ids::TenantId;
use serde::{Deserialize, Serialize};

use super::merkle::Hash;

/// The end of a chain: its last number, and what stands for that entry in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    #[serde(with = "super::entry::hex_digest")]
    pub(super) commitment: Hash,
}

impl Link {
    /// Before the first entry of a chain.
    pub(super) const NONE: Self = Self { seq: 0, commitment: [0; 32] };
}

/// The ends of all chains. What is about no tenant is a chain of its own.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Chains {
    region: Option<Link>,
    tenants: BTreeMap<TenantId, Link>,
}

impl Chains {
    /// The end of a chain.
    pub(super) fn end(&self, of: Option<TenantId>) -> Link {
        let end = of.map_or(self.region.as_ref(), |tenant| self.tenants.get(&tenant));
        end.copied().unwrap_or(Link::NONE)
    }

    /// A chain has one more entry.
    pub(super) fn grow(&mut self, of: Option<TenantId>, link: Link) {
        match of {
            None => self.region = Some(link),
            Some(tenant) => {
                self.tenants.insert(tenant, link);
            }
        }
    }
}
