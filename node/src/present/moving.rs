//! Questions that meet a stream on its way from one node of the region to another: they wait for it a bounded time, and are asked where it
//! lies then. What a node has of a stream that comes or goes is no answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{StreamId, TenantId};
use tokio::time::Instant;

use super::desk::Desk;
use super::searching::Unfound;
use crate::limits::HANDOVER_WAIT;
use crate::ownership::{Passing, Patience};
use crate::policy::StreamView;
use crate::query::QueryError;
use crate::receive::Failure;

/// That one try found nothing, and what another one may change about it.
pub(super) struct Missed {
    pub(super) failure: Failure,
    pub(super) passing: Passing,
}

impl Missed {
    /// Of which another try may change this.
    pub(super) fn passing(failure: impl Into<Failure>, passing: Passing) -> Self {
        Self { failure: failure.into(), passing }
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        Self::passing(failure, Passing::No)
    }
}

impl From<QueryError> for Missed {
    fn from(error: QueryError) -> Self {
        Self::passing(error, Passing::No)
    }
}

/// Until when streams on their way are waited for, where an answer is wanted within this time.
pub(super) fn until(within: Duration) -> Instant {
    Instant::now() + within.min(HANDOVER_WAIT)
}

/// What work comes to, where it is wanted until it is done; it ends where it is not.
pub(super) async fn wanted_still<T>(work: impl Future<Output = T>, given_up: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = given_up => None,
    }
}

impl Desk {
    /// Whether a stream that this node has by its policy comes to it or goes from it at this moment, so that nothing can be said of it here.
    /// Where taking it up has failed, nobody knows how long that lasts, and nobody waits.
    fn is_on_its_way(&self, stream: &StreamView) -> bool {
        let policy = self.parts.policy.now();
        let lies = policy.stream(stream.tenant, &stream.name).and_then(|view| view.shard);
        lies.is_some_and(|(shard, owner)| {
            let is_going = self.parts.ownership.giving().is_under_way(shard, &policy);
            let is_coming = !self.parts.catalog.is_taken_up(shard, &policy) && self.parts.catalog.is_whole(shard);
            owner == self.parts.node && (is_going || is_coming)
        })
    }

    /// Whether this node writes all of some streams now, and none is on its way.
    pub(super) fn has_still(&self, streams: &[Arc<StreamView>]) -> bool {
        let policy = self.parts.policy.now();
        streams.iter().all(|stream| {
            let now = policy.stream(stream.tenant, &stream.name);
            now.is_some_and(|now| self.writes(now)) && !self.is_on_its_way(stream)
        })
    }

    /// Waits until none of some streams comes to this node or goes from it, at most until this moment.
    pub(super) async fn arrived(&self, streams: &[Arc<StreamView>], until: Instant) {
        let mut patience = Patience::looking_until(until);
        while streams.iter().any(|stream| self.is_on_its_way(stream)) && patience.next(&self.parts.policy).await {}
    }

    /// The same for streams that a neighbour names.
    pub(super) async fn arrived_of(&self, tenant: Option<TenantId>, named: &[StreamId], until: Instant) {
        let (policy, named) = (self.parts.policy.now(), named.iter().collect::<BTreeSet<_>>());
        let is_meant = |view: &&Arc<StreamView>| {
            named.contains(&view.id) && tenant.is_none_or(|tenant| tenant == view.tenant) && self.writes(view)
        };
        let meant: Vec<Arc<StreamView>> = policy.streams.values().filter(is_meant).cloned().collect();
        drop(policy);
        self.arrived(&meant, until).await;
    }

    /// What this node does not find of its own streams may be on its way from it.
    pub(super) fn missed(&self, unfound: Unfound, streams: &[Arc<StreamView>]) -> Missed {
        let passing = match unfound {
            Unfound::NotWhole(_) if streams.iter().any(|stream| self.is_on_its_way(stream)) => Passing::Moving,
            Unfound::NotWhole(_) => Passing::Elsewhere,
            _ => Passing::No,
        };
        Missed::passing(unfound, passing)
    }

    /// The streams as they lie now, where another try may find what this one missed; it waits for that.
    ///
    /// # Errors
    /// What the try missed, where another one would miss it too, or the time is up.
    pub(super) async fn once_more(
        &self,
        missed: Missed,
        tried: &[Arc<StreamView>],
        patience: &mut Patience,
    ) -> Result<Vec<Arc<StreamView>>, Failure> {
        let Missed { failure, passing } = missed;
        let has_time = match passing {
            Passing::No => false,
            Passing::Moving => patience.next(&self.parts.policy).await,
            Passing::Elsewhere => !patience.is_over(),
        };
        if !has_time {
            return Err(failure);
        }
        let policy = self.parts.policy.now();
        let now = |stream: &Arc<StreamView>| policy.stream(stream.tenant, &stream.name).unwrap_or(stream).clone();
        let now: Vec<Arc<StreamView>> = tried.iter().map(now).collect();
        let has_moved = now.iter().zip(tried).any(|(now, tried)| now.shard != tried.shard);
        if passing == Passing::Elsewhere && !has_moved {
            return Err(failure);
        }
        Ok(now)
    }
}
