//! What became of the documents of a request, place by place, and the reply that is made of it.

use std::collections::BTreeSet;
use std::ops::Range;

use domicile_proto::ids::ShardId;

use super::carry::Carried;
use super::ingest::{Framed, Stream};
use super::unaccepted::{Unaccepted, of_ownership, passing};
use crate::ownership::{OwnershipError, Passing};
use crate::parse::Document;
use crate::receive::{Failure, Item, ItemOutcome, ReceiveError, Reply};
use crate::telemetry::Metrics;
use crate::wal::{Accepted, Outcome};

/// What is told of one document.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) id: Option<Box<str>>,
    pub(super) outcome: ItemOutcome,
    /// Whether another node said so, and counted it.
    pub(super) by_another: bool,
    /// What another try may change about it; what was certainly not taken alone is tried again.
    pub(super) passing: Passing,
}

/// What became of documents so far, by their places.
pub(super) struct Walking {
    told: Vec<Option<Told>>,
    repeated: bool,
    shards: BTreeSet<ShardId>,
}

/// What became of all documents of a request.
pub(super) struct Walked {
    /// Of each, in the order of the request.
    pub(super) told: Vec<Told>,
    /// Everything had been accepted before under the same batch id.
    pub(super) repeated: bool,
    /// Shards of this node that took something.
    pub(super) shards: BTreeSet<ShardId>,
}

impl Walking {
    /// Nothing is told yet, of so many; only with a batch id can they be a repetition.
    pub(super) fn of(documents: usize, has_batch_id: bool) -> Self {
        Self { told: vec![None; documents], repeated: has_batch_id, shards: BTreeSet::new() }
    }

    /// Puts down what became of one document.
    pub(super) fn tell(&mut self, place: usize, told: Told) {
        if let Some(slot) = self.told.get_mut(place) {
            *slot = Some(told);
        }
    }

    /// The same, where this node decided it.
    pub(super) fn set(&mut self, place: usize, id: Option<Box<str>>, outcome: ItemOutcome) {
        self.tell(place, Told { id, outcome, by_another: false, passing: Passing::No });
    }

    /// Whether what a log said of some documents was a repetition.
    pub(super) const fn repeats(&mut self, repeated: bool) {
        self.repeated &= repeated;
    }

    /// Puts down what the log of this node said of some documents.
    pub(super) fn accept(&mut self, accepted: &Accepted, places: Vec<usize>, ids: Vec<Option<Box<str>>>) {
        self.repeats(accepted.repeated);
        self.shards.insert(accepted.shard);
        for ((place, id), outcome) in places.into_iter().zip(ids).zip(&accepted.outcomes) {
            let named = |seq| id.clone().unwrap_or_else(|| name_of(accepted.shard, seq));
            match *outcome {
                Outcome::Created { seq } => self.set(place, Some(named(seq)), ItemOutcome::Created { seq }),
                Outcome::Noop { seq } => self.set(place, Some(named(seq)), ItemOutcome::Noop { seq }),
                Outcome::Conflict => self.set(place, id, ItemOutcome::Failed(Unaccepted::IdTaken.into())),
            }
        }
    }

    /// Puts down that the log of this node took none of some documents.
    pub(super) fn refuse(&mut self, failure: &Failure, places: Vec<usize>, ids: Vec<Option<Box<str>>>) {
        let passing = passing(failure);
        self.repeats(passing != Passing::No);
        for (place, id) in places.into_iter().zip(ids) {
            self.tell(place, Told { id, outcome: ItemOutcome::Failed(failure.clone()), by_another: false, passing });
        }
    }

    /// Puts down what another node said of some documents.
    pub(super) fn hear(&mut self, carried: Carried) {
        // Of what is tried again, the last try says whether it was a repetition.
        self.repeats(carried.repeated || carried.told.iter().any(|(_, told)| told.passing != Passing::No));
        carried.told.into_iter().for_each(|(place, told)| self.tell(place, told));
    }

    /// Of which of some documents another try may change what became of them.
    pub(super) fn passing(&self, places: Range<usize>) -> Vec<(usize, Passing)> {
        let told = places.filter_map(|place| Some((place, self.told.get(place)?.as_ref()?.passing)));
        told.filter(|(_, passing)| *passing != Passing::No).collect()
    }

    /// Puts down what became of the documents at these places at another try.
    pub(super) fn take(&mut self, again: Walked, places: &[usize]) {
        self.repeats(again.repeated || again.told.iter().any(|told| told.passing != Passing::No));
        self.shards.extend(again.shards);
        places.iter().zip(again.told).for_each(|(place, told)| self.tell(*place, told));
    }

    /// All of it. Of whom nobody spoke, it is told what became of their stream.
    pub(super) fn finish(self, framed: &Framed) -> Walked {
        let untold = |(document, slot): (&Document, &usize)| {
            let failure = match &document.place {
                Err(error) => (*error).into(),
                Ok(_) => untold(framed.streams.get(*slot)),
            };
            Told { id: None, outcome: ItemOutcome::Failed(failure), by_another: false, passing: Passing::No }
        };
        let documents = framed.documents.iter().zip(&framed.slots);
        let told: Vec<Told> = documents.zip(self.told).map(|(of, told)| told.unwrap_or_else(|| untold(of))).collect();
        // A refusal that passes by must not look like a repetition that was known whole.
        let passes_by =
            |told: &Told| matches!(&told.outcome, ItemOutcome::Failed(failure) if failure.retry_after.is_some());
        let repeated = self.repeated && !told.iter().any(passes_by);
        Walked { told, repeated, shards: self.shards }
    }
}

impl Walked {
    /// What whoever brought it may try again is told to the producer, and counted, there.
    pub(super) fn brought(mut self, framed: &Framed) -> Self {
        for (told, slot) in self.told.iter_mut().zip(&framed.slots) {
            let is_not_ours = matches!(framed.streams.get(*slot), Some(Stream::Nowhere(_)) | None);
            told.by_another |= is_not_ours || told.passing != Passing::No;
        }
        self
    }

    /// Counts what producers are told of their records, each at the node that decided it; what was known before, or dropped by policy,
    /// is neither.
    pub(super) fn count(&self, metrics: &Metrics) {
        let (mut accepted, mut refused) = (0, 0);
        for told in self.told.iter().filter(|told| !self.repeated && !told.by_another) {
            match &told.outcome {
                ItemOutcome::Created { .. } => accepted += 1,
                ItemOutcome::Failed(_) => refused += 1,
                ItemOutcome::Noop { .. } | ItemOutcome::Dropped => {}
            }
        }
        metrics.flows().taken(accepted, refused);
    }

    /// One item for each document; where no document could be taken now, one failure for all of them, with its `Retry-After`.
    pub(super) fn reply(self, framed: &Framed) -> Reply {
        let items = framed.documents.iter().zip(self.told).map(|(document, told)| {
            let index = document.index.as_ref().into();
            Item { action: document.action, index, id: told.id, outcome: told.outcome }
        });
        let items: Vec<Item> = items.collect();
        // What concerns the batch as a whole is told once, as the status of the request.
        let is_told_once = items.iter().all(|item| match &item.outcome {
            ItemOutcome::Failed(failure) => failure.retry_after.is_some() || failure.code == OTHER_BYTES,
            _ => false,
        });
        match items.first().map(|item| &item.outcome) {
            Some(ItemOutcome::Failed(failure)) if is_told_once => Reply::Failed(failure.clone()),
            _ => Reply::Items { items, repeated: self.repeated },
        }
    }
}

/// The id of a record that its producer gave none.
pub(super) fn name_of(shard: ShardId, seq: u64) -> Box<str> {
    format!("{:x}-{seq:x}", shard.0).into()
}

/// Why nobody said what became of a document.
fn untold(stream: Option<&Stream>) -> Failure {
    match stream {
        Some(Stream::Nowhere(failure)) => failure.clone(),
        Some(Stream::Elsewhere(view, owner)) => {
            of_ownership(&OwnershipError::OwnedElsewhere { stream: view.name.clone(), owner: *owner })
        }
        Some(Stream::Here(_)) | None => ReceiveError::NoReply.into(),
    }
}

/// The code of `WalError::OtherBytes`: the batch id was used for other bytes.
const OTHER_BYTES: &str = "DMC-WAL-05";
