//! Places for work that runs at once: so many of a node, and so many of each tenant among them, so that nobody waits for one tenant
//! alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::TENANT_RATES;

/// The places of a node.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    each: usize,
    /// Of each tenant that asked of late.
    of_tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// One place among those of its tenant and of the node; given back when the work ends, not when the caller goes.
pub(crate) struct Place {
    _of_tenant: OwnedSemaphorePermit,
    _of_node: OwnedSemaphorePermit,
}

impl Places {
    /// So many of the node, and so many of each tenant.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, of_tenants: Mutex::default() }
    }

    fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut all = self.of_tenants.lock();
        if all.len() > TENANT_RATES {
            all.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let places = all.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(places)
    }

    /// A place for the tenant, where one is free now.
    pub(crate) fn take(&self, tenant: TenantId) -> Option<Place> {
        let of_tenant = self.of(tenant).try_acquire_owned().ok()?;
        let of_node = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_tenant: of_tenant, _of_node: of_node })
    }

    /// A place for the tenant, where one is free within this time; whoever came first has it first.
    pub(crate) async fn wait(&self, tenant: TenantId, within: Duration) -> Option<Place> {
        let of_tenant = self.of(tenant);
        let waiting = async {
            let of_tenant = of_tenant.acquire_owned().await.ok()?;
            let of_node = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Place { _of_tenant: of_tenant, _of_node: of_node })
        };
        tokio::time::timeout(within, waiting).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_its_places_and_leaves_the_others_theirs() {
        let (places, [one, other]) = (Places::new(3, 2), [TenantId(1), TenantId(2)]);
        let held = [places.take(one), places.take(one)];
        assert!(held.iter().all(Option::is_some) && places.take(one).is_none());
        let last = places.take(other);
        assert!(last.is_some() && places.take(other).is_none(), "the node has no more");
        assert!(places.wait(one, Duration::ZERO).await.is_none());
        let waiting = places.wait(one, Duration::from_secs(60));
        let (came, ()) = tokio::join!(waiting, async { drop(held) });
        assert!(came.is_some(), "whoever waits has the next one");
        drop((came, last));
        assert!(places.take(other).is_some() && places.take(one).is_some());
    }
}
