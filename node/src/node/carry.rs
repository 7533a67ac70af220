//! Documents for streams of other nodes: carried to those, whose word is what the producer is told.
//!
//! Records go from node to node of one region and no further (RES-1): only a neighbour is told of them. This node keeps nothing of
//! what it carries. Where no word comes back nobody knows what was taken, and the producer is told just that; only a batch under
//! an id is told a second time, for its owner knows it again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::ids::{Name, NodeId, StreamId};
use domicile_proto::link::connection::Peer;
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::{GivenUp, LinkError};
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::batch::{
    BatchFates, BatchForm, BatchRecord, GivenId, MAX_BATCH, NotTaken, RecordBatch, RecordBytes, RecordFate,
};
use domicile_proto::message::region::{Asker, RegionAsk, RegionReply};
use futures::future::{BoxFuture, join_all};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::carried::heard;
use super::hold::Hold;
use super::ingest::{Framed, Line, Rooms, Stream, length};
use super::outcomes::{Told, name_of};
use super::unaccepted::{of_ownership, passing};
use crate::limits::{CARRIED_BYTES, CARRIED_LEAST};
use crate::ownership::{OwnershipError, Passing};
use crate::parse::Form;
use crate::policy::StreamView;
use crate::receive::{Action, Failure, ItemOutcome, ReceiveError};

/// Why no word came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFate {
    /// It never left, or was turned away before it was read.
    NotSent,
    /// The node does not know such a message.
    Unknown,
    /// It left, and nobody knows what became of it.
    Lost,
}

type Said = Result<RegionReply, NoFate>;
type Tell = dyn Fn(PeerAddr, RegionAsk, Duration) -> BoxFuture<'static, Said> + Send + Sync;

/// The way to the other nodes of the region.
#[derive(Clone)]
pub(crate) struct Way(pub(super) Arc<Tell>);

impl Way {
    /// Over some way; the tests have their own.
    pub(crate) fn over<F>(tell: F) -> Self
    where
        F: Fn(PeerAddr, RegionAsk, Duration) -> BoxFuture<'static, Said> + Send + Sync + 'static,
    {
        Self(Arc::new(tell))
    }

    /// Over the link. A pooled connection may have died unnoticed: a batch that is known again is told once more on a fresh one.
    pub(crate) fn by(link: Link) -> Self {
        Self::over(move |to, ask, within| {
            let link = link.clone();
            Box::pin(async move {
                let until = Instant::now() + within;
                let is_known_again = matches!(&ask, RegionAsk::Batch(batch) if batch.id.is_some());
                match tell_once(&link, &to, &ask, until).await {
                    // The first one may have arrived, whatever becomes of the second.
                    Err((NoFate::Lost, true)) if is_known_again => {
                        let again = tell_once(&link, &to, &ask, until).await;
                        again.map(not_repeated).map_err(|_| NoFate::Lost)
                    }
                    said => said.map_err(|(why, _)| why),
                }
            })
        })
    }
}

/// What this node told twice was sent once by its producer, as far as anybody knows.
fn not_repeated(mut reply: RegionReply) -> RegionReply {
    if let RegionReply::Fates(fates) = &mut reply {
        fates.repeated = false;
    }
    reply
}

/// The reply, or why there is none, and whether the connection ended.
async fn tell_once(link: &Link, to: &PeerAddr, ask: &RegionAsk, until: Instant) -> Result<RegionReply, (NoFate, bool)> {
    let failed = |error: &LinkError, why| {
        tracing::info!(peer = %to.id, code = error.code(), %error, "a node of the region did not say what became of a batch");
        (why, matches!(error, LinkError::Lost { .. }))
    };
    let neighbour = match tokio::time::timeout_at(until, link.peer(to, Protocol::Region)).await {
        Ok(Ok(Peer::Neighbour(neighbour))) => neighbour,
        Ok(Ok(Peer::Foreign(_))) => return Err(failed(&LinkError::Home { peer: to.id.clone() }, NoFate::NotSent)),
        Ok(Err(error)) => return Err(failed(&error, NoFate::NotSent)),
        Err(_) => return Err((NoFate::NotSent, false)),
    };
    let said = neighbour.tell(ask, until.saturating_duration_since(Instant::now())).await;
    said.map_err(|error| {
        let why = match &error {
            // Neither was read to its end.
            LinkError::GivenUp { reason: GivenUp::TooMany, .. } => NoFate::NotSent,
            LinkError::GivenUp { reason: GivenUp::Malformed, .. } => NoFate::Unknown,
            _ => NoFate::Lost,
        };
        failed(&error, why)
    })
}

/// What all that is carried of one request has in common.
pub(super) struct Errand {
    asker: Asker,
    /// The producer's id of the batch.
    batch: Option<Box<str>>,
    refresh: bool,
    until: Instant,
    /// The room of its documents; none where there was none.
    room: Option<OwnedSemaphorePermit>,
}

impl Errand {
    /// For whom, and until when a word is waited for. Its documents wait for another node: they take no more than their share of the
    /// room for documents, so that what belongs here goes on.
    pub(super) fn of(hold: &Hold, framed: &Framed, rooms: &Rooms) -> Self {
        let (asker, batch) = (hold.asker.clone(), hold.batch.clone());
        let documents = (0..framed.documents.len()).filter(|place| framed.owner(*place).is_some()).count();
        let documents = u32::try_from(documents).unwrap_or(u32::MAX);
        let room = Arc::clone(&rooms.carried_documents).try_acquire_many_owned(documents).ok();
        Self { asker, batch, refresh: hold.refresh, until: hold.carried_until, room }
    }
}

/// What was told of documents that were carried to one node.
pub(super) struct Carried {
    pub(super) told: Vec<(usize, Told)>,
    /// It knew all of them before, under the same batch id.
    pub(super) repeated: bool,
}

impl Line {
    /// What of one piece other nodes of the region write, carried to each of them at the same time.
    pub(super) async fn carry(&self, framed: &Framed, places: Range<usize>, errand: &Errand) -> Vec<Carried> {
        let mut by_owner: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for place in places {
            if let Some(owner) = framed.owner(place) {
                by_owner.entry(owner).or_default().push(place);
            }
        }
        join_all(by_owner.iter().map(|(owner, places)| self.carry_to(*owner, framed, places, errand))).await
    }

    async fn carry_to(&self, owner: NodeId, framed: &Framed, places: &[usize], errand: &Errand) -> Carried {
        let refused = |passing, error: &dyn Fn(Name) -> OwnershipError| {
            framed.refused(places, passing, |stream| of_ownership(&error(stream.name.clone())))
        };
        let full = || framed.refused(places, Passing::No, |_| ReceiveError::NoRoom.into());
        let not_carried = |passing, why| refused(passing, &|stream| OwnershipError::NotCarried { stream, owner, why });
        let unheard = || refused(Passing::No, &|stream| OwnershipError::Unheard { stream, owner });
        let weight: usize = places.iter().filter_map(|place| framed.documents.get(*place)).map(length).sum();
        let weight = if errand.batch.is_some() { weight.max(framed.body.len()) } else { weight };
        let room = u32::try_from(weight.clamp(CARRIED_LEAST, CARRIED_BYTES)).unwrap_or(u32::MAX);
        let Ok(_room) = self.work.carried.try_acquire_many(room) else { return full() };
        if errand.room.is_none() {
            return full();
        }
        let Some(to) = self.ownership.address_of(owner) else {
            return not_carried(Passing::Elsewhere, "is no node of it any more");
        };
        let Some(batch) = framed.batch(places, errand) else {
            return refused(Passing::No, &|stream| OwnershipError::TooLargeToCarry { stream, owner, limit: MAX_BATCH });
        };
        let within = errand.until.saturating_duration_since(Instant::now());
        if within.is_zero() {
            return not_carried(Passing::No, "was not told of them in time");
        }
        match (self.way.0)(to, RegionAsk::Batch(batch), within).await {
            Ok(RegionReply::Fates(fates)) => {
                let not_its = |stream: &StreamView| {
                    let why = "says that it does not write it; it may be on its way to another one";
                    of_ownership(&OwnershipError::NotCarried { stream: stream.name.clone(), owner, why })
                };
                framed.read(places, &fates, not_its).unwrap_or_else(unheard)
            }
            Ok(RegionReply::NotTaken(why)) => match why {
                NotTaken::Full(failure) => framed.refused(places, Passing::No, |_| heard(&failure)),
                NotTaken::Stranger => not_carried(Passing::No, "does not know this key yet, or no more"),
                NotTaken::Stopping => not_carried(Passing::Elsewhere, "is about to stop"),
                NotTaken::Unread => {
                    not_carried(Passing::No, "does not read them; give all nodes of the region the same build")
                }
            },
            Ok(_) | Err(NoFate::Lost) => unheard(),
            Err(NoFate::NotSent) => not_carried(Passing::Elsewhere, "is out of reach"),
            Err(NoFate::Unknown) => refused(Passing::No, &|stream| OwnershipError::OwnedElsewhere { stream, owner }),
        }
    }
}

impl Framed {
    fn elsewhere(&self, place: usize) -> Option<&Arc<StreamView>> {
        match self.streams.get(*self.slots.get(place)?)? {
            Stream::Elsewhere(view, _) => Some(view),
            Stream::Here(_) | Stream::Nowhere(_) => None,
        }
    }

    /// The same failure for each of some documents but for the name of its stream; this node tells of it.
    fn refused(&self, places: &[usize], passing: Passing, failure: impl Fn(&StreamView) -> Failure) -> Carried {
        let told = |place: &usize| {
            let outcome = ItemOutcome::Failed(failure(self.elsewhere(*place)?));
            Some((*place, Told { id: None, outcome, by_another: false, passing }))
        };
        Carried { told: places.iter().filter_map(told).collect(), repeated: false }
    }

    /// Some documents as a message; none where it would be larger than one may be. Under a batch id the body goes whole, for the
    /// digest of it is what the batch is known by.
    fn batch(&self, places: &[usize], errand: &Errand) -> Option<RecordBatch> {
        if self.body.len() > MAX_BATCH && errand.batch.is_some() {
            return None;
        }
        let mut body = if errand.batch.is_some() { self.body.to_vec() } else { Vec::new() };
        let mut streams: Vec<StreamId> = Vec::new();
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            let document = self.documents.get(*place)?;
            let range = document.place.as_ref().ok()?.clone();
            let stream = self.elsewhere(*place)?.id;
            let slot = streams.iter().position(|known| *known == stream).unwrap_or_else(|| {
                streams.push(stream);
                streams.len() - 1
            });
            let (from, to) = if errand.batch.is_some() {
                (range.start, range.end)
            } else {
                let from = body.len();
                body.extend_from_slice(self.body.get(range)?);
                (from, body.len())
            };
            records.push(BatchRecord {
                stream: u16::try_from(slot).ok()?,
                is_create: document.action == Action::Create,
                id: document.id.clone().map(GivenId),
                from: u32::try_from(from).ok()?,
                to: u32::try_from(to).ok()?,
            });
        }
        let batch = RecordBatch {
            asker: errand.asker.clone(),
            streams,
            form: if self.form == Form::Text { BatchForm::Text } else { BatchForm::Json },
            received_at: self.received_at,
            id: errand.batch.clone().map(GivenId),
            refresh: errand.refresh,
            records,
            body: RecordBytes(body),
        };
        batch.is_bounded().then_some(batch)
    }

    /// What another node said of some documents; nothing where it does not speak of just these.
    fn read(&self, places: &[usize], said: &BatchFates, not_its: impl Fn(&StreamView) -> Failure) -> Option<Carried> {
        if said.fates.len() != places.len() {
            return None;
        }
        let failures: Vec<Failure> = said.failures.iter().map(heard).collect();
        let ids: HashMap<usize, &GivenId> = said.ids.iter().map(|(place, id)| (*place as usize, id)).collect();
        let told = places.iter().zip(&said.fates).enumerate().map(|(number, (place, fate))| {
            let (document, stream) = (self.documents.get(*place)?, self.elsewhere(*place)?);
            let id = ids.get(&number).map(|id| id.0.clone()).or_else(|| document.id.clone());
            let named = |seq| id.clone().or_else(|| Some(name_of(stream.shard?.0, seq)));
            let (id, outcome, passing) = match *fate {
                RecordFate::Created(seq) => (named(seq), ItemOutcome::Created { seq }, Passing::No),
                RecordFate::Noop(seq) => (named(seq), ItemOutcome::Noop { seq }, Passing::No),
                RecordFate::Dropped => (None, ItemOutcome::Dropped, Passing::No),
                RecordFate::Failed(which, is_told) => {
                    let failure = failures.get(usize::from(which))?.clone();
                    let passing = passing(&failure);
                    (id.filter(|_| is_told), ItemOutcome::Failed(failure), passing)
                }
                RecordFate::NotMine => (None, ItemOutcome::Failed(not_its(stream)), Passing::Moving),
            };
            // What may be tried again is counted by the node that tells the producer.
            Some((*place, Told { id, outcome, by_another: passing == Passing::No, passing }))
        });
        Some(Carried { told: told.collect::<Option<Vec<_>>>()?, repeated: said.repeated })
    }
}
