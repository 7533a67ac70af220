//! The left half of the line as one walk: admit, parse, classify, seal, wal.
//!
//! Every arrival is cut into documents, its streams are found, and piece after piece goes down to the write-ahead log; each
//! document gets its own outcome, in the order of the request. A body with a producer's batch id is one piece of one stream, so
//! that what can be taken of it is taken together or not at all. Documents whose stream another node of the region writes are
//! carried there; what a neighbour carries here goes the same way from the piece on. What a stream on its way to another node keeps from
//! being taken is held for a moment (`hold`). Nothing here looks into a record.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domicile_proto::ids::{Name, NodeId, ShardId, TenantId, Timestamp};
use domicile_proto::metadata::Durability;
use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::carry::{Errand, Way};
use super::hold::Hold;
use super::outcomes::{Walked, Walking};
use super::sealing::{self, Days};
use super::unaccepted::{Unaccepted, of_ownership, of_wal};
use crate::admit::{Admitter, Principal};
use crate::classify::{Classified, Classifier, Statements};
use crate::keys::Vault;
use crate::limits::{
    ARRIVALS_AT_ONCE, CARRIED_BYTES, CARRIED_DOCUMENTS, DOCUMENT_BYTES, DOCUMENTS_AT_ONCE, HELD_BYTES,
    MAX_DOCUMENTS_PER_REQUEST, MAX_STREAMS_PER_REQUEST, PIECE_BYTES, TAKEN_IN_BYTES, WORK_BYTES,
};
use crate::ownership::{Ownership, OwnershipError};
use crate::parse::{self, Document, Form, ParseError, Parser, Zone};
use crate::policy::{StreamView, Suppression};
use crate::receive::{Action, Arrival, Content, Failure, ItemOutcome, Posted, ReceiveError, Reply};
use crate::tasks::{Kind, Tasks};
use crate::telemetry::Metrics;
use crate::wal::{Op, ProducerBatch, Wal, WalError};

/// Whether it is known where the log of a shard is: not between the group's word that it is this node's and the look whether it left all it
/// holds in the bucket.
pub(crate) type Knows = Arc<dyn Fn(ShardId) -> bool + Send + Sync>;

/// Makes what lies in these shards searchable, and comes back when it is.
pub(crate) type Refresh = Arc<dyn Fn(Vec<ShardId>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The stages from `admit` to `wal`, and what stands beside them.
pub(crate) struct Line {
    pub(crate) admitter: Arc<Admitter>,
    pub(crate) classifier: Classifier,
    /// Where it is counted in how many records of a stream that is stated to hold no personal data some was found.
    pub(crate) statements: Statements,
    /// Where originals are sealed before their records are written.
    pub(crate) vault: Arc<Vault>,
    /// Whose originals are not sealed any more.
    pub(crate) suppression: Suppression,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) wal: Arc<Wal>,
    /// The region's zone, for time stamps that name none.
    pub(crate) zone: Zone,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    /// For producers that wait until they can search.
    pub(crate) refresh: Option<Refresh>,
    /// Whether it is known here where the log of a shard is.
    pub(crate) knows: Knows,
    /// How much may be in memory between a body and its answer; see [`Line::room_for_work`].
    pub(crate) work: Arc<Rooms>,
    /// To the nodes that write streams which this one does not.
    pub(crate) way: Way,
    /// Under which day originals are sealed.
    pub(crate) days: Days,
    /// How long a request waits for streams on their way to another node.
    pub(crate) patience: Duration,
}

/// Room for what the line makes of bodies.
pub(crate) struct Rooms {
    /// Requests in the line. Closed when the line has ended.
    pub(super) places: Arc<Semaphore>,
    /// Bytes that are parsed and not yet written.
    pub(super) bytes: Semaphore,
    /// Documents that are cut and not yet answered.
    pub(super) documents: Arc<Semaphore>,
    /// Bytes that are on their way to other nodes of the region.
    pub(super) carried: Semaphore,
    /// Documents that wait for other nodes of the region.
    pub(super) carried_documents: Arc<Semaphore>,
    /// Bytes that other nodes of the region brought and that are not yet answered.
    pub(super) taken_in: Semaphore,
    /// Bytes that wait for streams on their way from node to node.
    pub(super) held: Semaphore,
}

/// An arrival, cut.
struct Cut {
    arrival: Arrival,
    documents: Vec<Document>,
    producer: Option<ProducerBatch>,
    /// The room of the documents, given back when all are answered.
    room: OwnedSemaphorePermit,
}

/// Documents, each with its stream.
pub(super) struct Framed {
    pub(super) body: Bytes,
    pub(super) form: Form,
    pub(super) received_at: Timestamp,
    pub(super) documents: Vec<Document>,
    /// For each document, its place in `streams`.
    pub(super) slots: Vec<usize>,
    pub(super) streams: Vec<Stream>,
}

/// Who writes a stream that documents are for.
pub(super) enum Stream {
    /// This node.
    Here(Arc<StreamView>),
    /// Another node of the region.
    Elsewhere(Arc<StreamView>, NodeId),
    /// Nobody, or nobody who can be told.
    Nowhere(Failure),
}

/// Classified records of one stream, each with the place of its document.
pub(super) struct Group {
    pub(super) stream: Arc<StreamView>,
    pub(super) places: Vec<usize>,
    pub(super) ids: Vec<Option<Box<str>>>,
    pub(super) records: Vec<(Op, Classified)>,
}

impl Line {
    /// The room that [`Line::work`] begins with.
    pub(crate) fn room_for_work() -> Arc<Rooms> {
        Arc::new(Rooms {
            places: Arc::new(Semaphore::new(ARRIVALS_AT_ONCE)),
            bytes: Semaphore::new(WORK_BYTES),
            documents: Arc::new(Semaphore::new(DOCUMENTS_AT_ONCE)),
            carried: Semaphore::new(CARRIED_BYTES),
            carried_documents: Arc::new(Semaphore::new(CARRIED_DOCUMENTS)),
            taken_in: Semaphore::new(TAKEN_IN_BYTES),
            held: Semaphore::new(HELD_BYTES),
        })
    }

    /// Takes arrivals until all doors are closed, each in a task of its own, and finishes those that are in the line.
    pub(crate) async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Posted>) {
        let places = &self.work.places;
        while let Ok(place) = Arc::clone(places).acquire_owned().await {
            let Some(Posted { arrival, reply }) = inbox.recv().await else { break };
            let line = Arc::clone(&self);
            self.tasks.spawn(Kind::Line, async move {
                // A producer that went away has its records taken all the same.
                let _ = reply.send(line.take(arrival).await);
                drop(place);
            });
        }
        // With all places back, everything is answered; and nothing more is taken from a neighbour.
        let _all = places.acquire_many(u32::try_from(ARRIVALS_AT_ONCE).unwrap_or(u32::MAX)).await;
        places.close();
    }

    /// Takes one arrival.
    pub(crate) async fn take(&self, arrival: Arrival) -> Reply {
        match self.walk(arrival).await {
            Ok(reply) => reply,
            Err(failure) => Reply::Failed(failure),
        }
    }

    async fn walk(&self, arrival: Arrival) -> Result<Reply, Failure> {
        let (principal, arrival) = self.admitter.admit(arrival)?.open();
        let Cut { arrival, documents, producer, room } = self.frame(arrival, principal.tenant()).await?;
        tracing::debug!(
            tenant = %principal.tenant(),
            key = %principal.key(),
            door = ?arrival.door,
            bytes = arrival.room.bytes(),
            documents = documents.len(),
            "arrival admitted"
        );
        let framed = Arc::new(self.find_streams(&principal, &arrival, documents).await?);
        let hold = Hold::of(&principal, &arrival, self.patience);
        let errand = framed.has_elsewhere().then(|| Errand::of(&hold, &framed, &self.work));
        let walked = self.pieces(&framed, producer.as_ref(), Some((&hold, errand.as_ref()))).await?;
        if arrival.refresh {
            self.show(&walked).await;
        }
        walked.count(&self.metrics);
        drop(room);
        Ok(walked.reply(&framed))
    }

    /// Piece after piece, each of them here and at the nodes that an errand goes to; a body with a batch id is one piece. What comes in
    /// at a door of this node is held where its stream is on its way; what a neighbour brings is taken or not.
    pub(super) async fn pieces(
        &self,
        framed: &Arc<Framed>,
        producer: Option<&ProducerBatch>,
        own: Option<(&Hold, Option<&Errand>)>,
    ) -> Result<Walked, Failure> {
        let mut walking = Walking::of(framed.documents.len(), producer.is_some());
        let mut from = 0;
        while from < framed.documents.len() {
            let to = end_of_piece(&framed.documents, from, producer.is_some());
            let errand = own.and_then(|(_, errand)| errand);
            self.try_piece(framed, from..to, producer, errand, &mut walking).await?;
            if let Some((hold, _)) = own {
                self.try_again(framed, from..to, producer, hold, &mut walking).await?;
            }
            from = to;
        }
        Ok(walking.finish(framed))
    }

    /// One piece, once.
    pub(super) async fn try_piece(
        &self,
        framed: &Arc<Framed>,
        places: Range<usize>,
        producer: Option<&ProducerBatch>,
        errand: Option<&Errand>,
        walking: &mut Walking,
    ) -> Result<(), Failure> {
        let carried = async {
            match errand {
                Some(errand) => self.carry(framed, places.clone(), errand).await,
                None => Vec::new(),
            }
        };
        let (here, carried) = tokio::join!(self.piece(framed, places.clone(), producer, walking), carried);
        here?;
        carried.into_iter().for_each(|carried| walking.hear(carried));
        Ok(())
    }

    /// Makes searchable what this node took, where it is told to.
    pub(super) async fn show(&self, walked: &Walked) {
        if let Some(refresh) = &self.refresh {
            refresh(walked.shards.iter().copied().collect()).await;
        }
    }

    /// Cuts the body, and digests it where its producer gave it an id. Room is taken for as many documents as its bytes could be,
    /// and what was too much is given back.
    async fn frame(&self, arrival: Arrival, tenant: TenantId) -> Result<Cut, Failure> {
        let most = (arrival.body.len() / 2 + 1).min(MAX_DOCUMENTS_PER_REQUEST);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.work.documents).acquire_many_owned(most).await;
        let mut room = room.map_err(|_| ReceiveError::NoReply)?;
        let classifier = self.classifier.clone();
        let framing = self.tasks.blocking(move || {
            let target = arrival.target.as_deref();
            let documents = match arrival.content {
                Content::Bulk => parse::frame_bulk(&arrival.body, target),
                Content::JsonLines | Content::TextLines => {
                    parse::frame_lines(&arrival.body, target.unwrap_or_default())
                }
                Content::Single(action) => {
                    parse::frame_single(&arrival.body, target.unwrap_or_default(), action, arrival.id.as_deref())
                }
            }?;
            drop(room.split(room.num_permits().saturating_sub(documents.len())));
            let producer = arrival.batch.as_deref().map(|id| {
                let (id, sha256) = classifier.batch(tenant, id, &arrival.body);
                ProducerBatch { id: hex::encode(id).into(), sha256 }
            });
            if producer.is_some() && documents.iter().map(length).sum::<usize>() > WORK_BYTES {
                return Err(Unaccepted::BatchTooLarge { limit: WORK_BYTES, each: DOCUMENT_BYTES }.into());
            }
            Ok::<_, Failure>(Cut { arrival, documents, producer, room })
        });
        framing.await.map_err(|_| ReceiveError::NoReply)?
    }

    /// The stream of each document; each name is asked for once.
    async fn find_streams(
        &self,
        principal: &Principal,
        arrival: &Arrival,
        documents: Vec<Document>,
    ) -> Result<Framed, Failure> {
        let mut known: HashMap<Arc<str>, usize> = HashMap::new();
        let mut names: Vec<Result<Name, ParseError>> = Vec::new();
        let mut slots = Vec::with_capacity(documents.len());
        let mut last: Option<(&Arc<str>, usize)> = None;
        for document in &documents {
            let slot = match last {
                Some((index, slot)) if Arc::ptr_eq(index, &document.index) => slot,
                _ => *known.entry(Arc::clone(&document.index)).or_insert_with(|| {
                    names.push(parse::stream_name(&document.index));
                    names.len() - 1
                }),
            };
            last = Some((&document.index, slot));
            slots.push(slot);
        }
        if names.len() > MAX_STREAMS_PER_REQUEST {
            return Err(ParseError::TooManyStreams { limit: MAX_STREAMS_PER_REQUEST }.into());
        }
        let mut wanted = vec![false; names.len()];
        for (document, slot) in documents.iter().zip(&slots) {
            if let Some(wanted) = wanted.get_mut(*slot).filter(|_| document.place.is_ok()) {
                *wanted = true;
            }
        }
        let named: BTreeSet<&Name> = names
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .filter_map(|(name, _)| name.as_ref().ok())
            .collect();
        if arrival.batch.is_some() && named.len() > 1 {
            return Err(Unaccepted::BatchOfStreams { found: named.len() }.into());
        }
        let may_create = principal.roles().create;
        let asked = names.into_iter().zip(wanted).map(async |(name, wanted)| match name {
            Ok(_) if !wanted => Stream::Nowhere(ParseError::ActionUnsupported.into()),
            Ok(name) => self.find_stream(principal.tenant(), &name, may_create).await,
            Err(error) => Stream::Nowhere(error.into()),
        });
        let streams = join_all(asked).await;
        let form = if arrival.content == Content::TextLines { Form::Text } else { Form::Json };
        let (body, received_at) = (arrival.body.clone(), arrival.received_at);
        Ok(Framed { body, form, received_at, documents, slots, streams })
    }

    pub(super) async fn find_stream(&self, tenant: TenantId, name: &Name, may_create: bool) -> Stream {
        match self.ownership.stream(tenant, name, may_create).await {
            Ok(view) => Stream::Here(view),
            Err(error @ OwnershipError::OwnedElsewhere { .. }) => self
                .ownership
                .elsewhere(tenant, name)
                .map_or_else(|| Stream::Nowhere(of_ownership(&error)), |(view, owner)| Stream::Elsewhere(view, owner)),
            Err(error) => Stream::Nowhere(of_ownership(&error)),
        }
    }

    /// What of one piece belongs here: parsed, classified and sealed off the runtime, then appended stream by stream.
    async fn piece(
        &self,
        framed: &Arc<Framed>,
        places: Range<usize>,
        producer: Option<&ProducerBatch>,
        walking: &mut Walking,
    ) -> Result<(), Failure> {
        let belongs = |place: &usize| framed.owner(*place).is_none();
        let bytes: usize =
            places.clone().filter(belongs).filter_map(|place| framed.documents.get(place)).map(length).sum();
        if bytes == 0 {
            return Ok(());
        }
        let room = u32::try_from(bytes.clamp(1, WORK_BYTES)).unwrap_or(u32::MAX);
        let _room = self.work.bytes.acquire_many(room).await.map_err(|_| ReceiveError::NoReply)?;
        let today = self.days.today();
        let classifier = self.classifier.on(today);
        let (work, zone) = (Arc::clone(framed), self.zone.clone());
        let (vault, suppression, whole) = (Arc::clone(&self.vault), self.suppression.clone(), producer.is_some());
        let sealed = self.tasks.blocking(move || {
            let (mut groups, mut failed) = classify(&work, places, &classifier, &zone);
            for group in &mut groups {
                let unsealed = sealing::seal((&vault, &suppression), group, today, whole);
                failed.extend(unsealed.into_iter().map(|(place, failure)| (place, ItemOutcome::Failed(failure))));
            }
            groups.retain(|group| !group.records.is_empty());
            (groups, failed)
        });
        let (groups, failed) = sealed.await.map_err(|_| ReceiveError::NoReply)?;
        for (place, outcome) in failed {
            walking.set(place, None, outcome);
        }
        let appended = groups.into_iter().map(async |group| {
            // What would go into the disk's log of a shard that lies in the bucket would stand behind nothing.
            let on_disk = group.stream.policy.durability == Durability::Disk;
            let shard = group.stream.shard.map(|(shard, _)| shard).filter(|_| on_disk);
            let accepted = match shard.filter(|shard| !(self.knows)(*shard)) {
                Some(shard) => Err(of_wal(&WalError::NotHeld { shard })),
                None => self.append(group.stream, producer.cloned(), group.records).await,
            };
            (group.places, group.ids, accepted)
        });
        for (places, ids, accepted) in join_all(appended).await {
            match accepted {
                Ok(accepted) => walking.accept(&accepted, places, ids),
                Err(failure) => walking.refuse(&failure, places, ids),
            }
        }
        Ok(())
    }
}

impl Framed {
    /// The other node that writes the stream of a document, where one does and the document is worth its while.
    pub(super) fn owner(&self, place: usize) -> Option<NodeId> {
        self.documents.get(place).filter(|document| document.place.is_ok())?;
        match self.streams.get(*self.slots.get(place)?)? {
            Stream::Elsewhere(_, owner) => Some(*owner),
            Stream::Here(_) | Stream::Nowhere(_) => None,
        }
    }

    fn has_elsewhere(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream, Stream::Elsewhere(..)))
    }
}

/// Where the piece that begins at `from` ends: one document at least.
fn end_of_piece(documents: &[Document], from: usize, whole: bool) -> usize {
    if whole {
        return documents.len();
    }
    let mut bytes = 0;
    for (place, document) in documents.iter().enumerate().skip(from) {
        bytes += length(document);
        if bytes > PIECE_BYTES && place > from {
            return place;
        }
    }
    documents.len()
}

/// What a document takes of the room for work: its bytes, and what every document costs.
pub(super) fn length(document: &Document) -> usize {
    DOCUMENT_BYTES + document.place.as_ref().map_or(0, ExactSizeIterator::len)
}

/// Parses and classifies a piece; runs off the runtime.
fn classify(
    framed: &Framed,
    places: Range<usize>,
    classifier: &Classifier,
    region: &Zone,
) -> (Vec<Group>, Vec<(usize, ItemOutcome)>) {
    let mut groups: HashMap<usize, (Parser, Group)> = HashMap::new();
    let mut failed = Vec::new();
    for place in places {
        let (Some(document), Some(slot)) = (framed.documents.get(place), framed.slots.get(place)) else { continue };
        if let Err(error) = document.place {
            failed.push((place, ItemOutcome::Failed(error.into())));
            continue;
        }
        // Two index names with different dates are one stream: its id groups, not the name.
        let Some(Stream::Here(stream)) = framed.streams.get(*slot) else { continue };
        let key = usize::try_from(stream.id.0).unwrap_or(*slot);
        let (parser, group) = groups.entry(key).or_insert_with(|| {
            let parser = Parser::new(Zone::of(&stream.policy, region), framed.received_at);
            let stream = Arc::clone(stream);
            (parser, Group { stream, places: Vec::new(), ids: Vec::new(), records: Vec::new() })
        });
        match parser.record(framed.form, &framed.body, document) {
            Err(error) => failed.push((place, ItemOutcome::Failed(error.into()))),
            Ok(record) => {
                let record = match classifier.classify(record, &group.stream) {
                    Ok(Some(record)) => record,
                    Ok(None) => {
                        failed.push((place, ItemOutcome::Dropped));
                        continue;
                    }
                    Err(error) => {
                        let failure = Failure::new(&error, 400, "document_parsing_exception");
                        failed.push((place, ItemOutcome::Failed(failure)));
                        continue;
                    }
                };
                let op = if document.action == Action::Create { Op::Create } else { Op::Index };
                group.places.push(place);
                group.ids.push(record.id().map(Into::into));
                group.records.push((op, record));
            }
        }
    }
    let groups = groups.into_values().map(|(_, group)| group).filter(|group| !group.records.is_empty());
    (groups.collect(), failed)
}

#[cfg(test)]
#[path = "ingest_test.rs"]
mod tests;
