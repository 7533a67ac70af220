//! Whether this node knows of every erasure of its region. What it does not know of it cannot hide, so it answers nothing.
//!
//! Asked by every door and by the gate before a question is put; set by `erase`, which asks the other nodes of the region. A
//! node whose region has no other one is always aware. Records are taken all the while.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use domicile_proto::ids::{ErasureId, TenantId};

/// What is not known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unaware {
    /// Whether the node was away, and has not heard since which orders there are.
    pub(crate) was_away: bool,
    /// Tenants with an order that exists and that this node does not have, and which.
    pub(crate) of: BTreeMap<TenantId, ErasureId>,
}

/// Why a tenant's records are not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It is not known whether there are orders that this node does not have.
    Away,
    /// This order is known to exist, and not whom it means.
    Order(ErasureId),
}

/// Whether this node knows, for whoever needs it. Cheap to clone; clones show the same.
#[derive(Clone, Default)]
pub(crate) struct Awareness(Arc<ArcSwap<Unaware>>);

impl Awareness {
    /// Why nothing of a tenant may be shown now, if so.
    pub(crate) fn unknown_of(&self, tenant: TenantId) -> Option<Unknown> {
        let now = self.0.load();
        if now.was_away { Some(Unknown::Away) } else { now.of.get(&tenant).copied().map(Unknown::Order) }
    }

    /// Whether anything is not known.
    pub(crate) fn lacks(&self) -> bool {
        let now = self.0.load();
        now.was_away || !now.of.is_empty()
    }

    /// Replaces it; whether it changed.
    pub(crate) fn set(&self, unaware: Unaware) -> bool {
        let is_new = **self.0.load() != unaware;
        if is_new {
            self.0.store(Arc::new(unaware));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_order_hides_its_tenant_and_a_node_that_was_away_all_of_them() {
        let awareness = Awareness::default();
        assert!(awareness.unknown_of(TenantId(1)).is_none() && !awareness.lacks());
        let one = Unaware { was_away: false, of: BTreeMap::from([(TenantId(1), ErasureId(7))]) };
        assert!(awareness.set(one.clone()) && !awareness.set(one));
        assert_eq!(awareness.unknown_of(TenantId(1)), Some(Unknown::Order(ErasureId(7))));
        assert!(awareness.unknown_of(TenantId(2)).is_none() && awareness.lacks());
        awareness.set(Unaware { was_away: true, ..Unaware::default() });
        assert_eq!(awareness.clone().unknown_of(TenantId(2)), Some(Unknown::Away));
        awareness.set(Unaware::default());
        assert!(!awareness.lacks());
    }
}
