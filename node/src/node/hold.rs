//! What is held of a request while its streams go from one node of the region to another: tried again, for a bounded time, where those are.
//!
//! Only what certainly was not taken is tried again, so that nothing is taken twice; under a batch id the owner knows it anyway. What is
//! held keeps its room and its place, and half of the places stay for streams that go nowhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{NodeId, TenantId};
use domicile_proto::message::region::Asker;
use tokio::time::Instant;

use super::carry::Errand;
use super::ingest::{Framed, Line, Stream, length};
use super::outcomes::Walking;
use crate::admit::Principal;
use crate::limits::{CARRY_DEADLINE, HELD_BYTES, HELD_LEAST};
use crate::ownership::{Passing, Patience};
use crate::receive::{Arrival, Failure};
use crate::wal::ProducerBatch;

/// What is needed to try again.
pub(super) struct Hold {
    pub(super) asker: Asker,
    /// The producer's id of the batch.
    pub(super) batch: Option<Box<str>>,
    pub(super) refresh: bool,
    /// Until when another node is waited for.
    pub(super) carried_until: Instant,
    tenant: TenantId,
    /// Until when a stream on its way is.
    until: Instant,
}

impl Hold {
    /// For one request from now on.
    pub(super) fn of(principal: &Principal, arrival: &Arrival, patience: Duration) -> Self {
        let now = Instant::now();
        Self {
            asker: principal.asker(),
            batch: arrival.batch.clone(),
            refresh: arrival.refresh,
            carried_until: now + CARRY_DEADLINE,
            tenant: principal.tenant(),
            until: now + patience,
        }
    }
}

impl Line {
    /// Tries again what of one piece was not taken because its stream is on its way, until it is taken, refused for another reason, or the
    /// time is up.
    pub(super) async fn try_again(
        &self,
        framed: &Framed,
        places: Range<usize>,
        producer: Option<&ProducerBatch>,
        hold: &Hold,
        walking: &mut Walking,
    ) -> Result<(), Failure> {
        let mut left = walking.passing(places.clone());
        if left.is_empty() {
            return Ok(());
        }
        let bytes = left.iter().filter_map(|(place, _)| framed.documents.get(*place)).map(length).sum::<usize>();
        // The body stays as long as any document of it.
        let bytes = bytes.max(framed.body.len());
        let room = u32::try_from(bytes.clamp(HELD_LEAST, HELD_BYTES)).unwrap_or(u32::MAX);
        let Ok(_room) = self.work.held.try_acquire_many(room) else { return Ok(()) };
        let mut patience = Patience::until(hold.until);
        let mut tried: BTreeMap<usize, Option<NodeId>> = BTreeMap::new();
        while !left.is_empty() {
            let is_moving = left.iter().any(|(_, passing)| *passing == Passing::Moving);
            let goes_on = if is_moving { patience.next(self.ownership.policy()).await } else { !patience.is_over() };
            if !goes_on {
                return Ok(());
            }
            let streams = self.streams_again(framed, &left, hold.tenant).await;
            let has_moved = |slot: usize| {
                let now = streams.get(&slot).and_then(Stream::writer);
                let before = tried.get(&slot).copied().unwrap_or_else(|| framed.streams.get(slot)?.writer());
                now != before
            };
            let due = |(place, passing): &(usize, Passing)| {
                *passing == Passing::Moving || framed.slots.get(*place).is_some_and(|slot| has_moved(*slot))
            };
            let due: Vec<usize> = left.iter().filter(|one| due(one)).map(|(place, _)| *place).collect();
            if due.is_empty() {
                return Ok(());
            }
            tried.extend(streams.iter().map(|(slot, stream)| (*slot, stream.writer())));
            let part = Arc::new(framed.part(&due, streams));
            let errand = Errand::of(hold, &part, &self.work);
            let mut trying = Walking::of(due.len(), producer.is_some());
            self.try_piece(&part, 0..due.len(), producer, Some(&errand), &mut trying).await?;
            walking.take(trying.finish(&part), &due);
            left = walking.passing(places.clone());
        }
        Ok(())
    }

    /// The streams of some documents, as they lie now.
    async fn streams_again(
        &self,
        framed: &Framed,
        left: &[(usize, Passing)],
        tenant: TenantId,
    ) -> BTreeMap<usize, Stream> {
        let mut streams = BTreeMap::new();
        for slot in left.iter().filter_map(|(place, _)| framed.slots.get(*place)) {
            if streams.contains_key(slot) {
                continue;
            }
            if let Some(Stream::Here(view) | Stream::Elsewhere(view, _)) = framed.streams.get(*slot) {
                streams.insert(*slot, self.find_stream(tenant, &view.name, false).await);
            }
        }
        streams
    }
}

impl Stream {
    /// The other node that writes it; nothing where this one does, or nobody.
    fn writer(&self) -> Option<NodeId> {
        match self {
            Self::Elsewhere(_, owner) => Some(*owner),
            Self::Here(_) | Self::Nowhere(_) => None,
        }
    }
}

impl Framed {
    /// Some of its documents, with their streams as they lie now.
    fn part(&self, places: &[usize], streams: BTreeMap<usize, Stream>) -> Self {
        let slots: Vec<usize> = streams.keys().copied().collect();
        let slot_of = |place: &usize| {
            let slot = self.slots.get(*place)?;
            slots.iter().position(|known| known == slot)
        };
        Self {
            body: self.body.clone(),
            form: self.form,
            received_at: self.received_at,
            documents: places.iter().filter_map(|place| self.documents.get(*place).cloned()).collect(),
            slots: places.iter().map(|place| slot_of(place).unwrap_or(usize::MAX)).collect(),
            streams: streams.into_values().collect(),
        }
    }
}
