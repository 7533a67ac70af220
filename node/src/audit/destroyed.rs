//! Bodies that are destroyed: which may be, who ordered it, and how one is taken out of the files for good.
//!
//! The tree is over commitments, so it is as it was; an entry of its own says what is gone, why and by whose order, and is durable
//! before anything goes. It says nothing of what the body held.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use domicile_proto::border::EgressClass;
use domicile_proto::ids::{QuestionId, TenantId, Timestamp};
use domicile_proto::officer::{BodyOrder, OfficerPublic, OrderGround, OrderedBody};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::chains::Link;
use super::entry::{Entry, Event, Passage, Peer, hex_digest};
use super::errors::LedgerError;
use super::files::Files;
use super::merkle::WIDTH;
use super::tiles::{self, DESTROYED, Kept, LOG, Record};
use crate::tasks::{Kind, Tasks};

/// What stands in the ledger for a body that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destroyed {
    /// The entry whose body it was.
    pub(crate) entry: u64,
    /// What stands in the tree for it, as before.
    #[serde(with = "hex_digest")]
    pub(crate) commitment: [u8; 32],
    /// Whether it left; else it arrived.
    pub(crate) left: bool,
    /// The node at the other end.
    pub(crate) peer: Peer,
    /// What class of thing crossed.
    pub(crate) class: EgressClass,
    /// Which question it was, or answered.
    #[serde(with = "question_digits")]
    pub(crate) question: QuestionId,
    /// Why.
    pub(crate) ground: OrderGround,
    /// The officer who ordered it, and the signature over the order.
    pub(crate) officer: OfficerPublic,
    pub(crate) signature: Box<str>,
}

/// A number of 128 bits is no number of JSON.
mod question_digits {
    use domicile_proto::ids::QuestionId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(question: &QuestionId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{:032x}", question.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<QuestionId, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map(QuestionId).map_err(serde::de::Error::custom)
    }
}

impl Destroyed {
    /// What the officer signed, of the log of this node.
    fn order(&self, us: Peer) -> BodyOrder {
        let Self { entry, commitment, left, ref peer, class, question, ground, .. } = *self;
        let peer = (peer.region.clone(), peer.node);
        let body = OrderedBody { commitment, left, peer, class, question };
        BodyOrder { region: us.region, node: us.node, entry, body, ground }
    }

    /// What it says that the body was.
    pub(super) const fn said(&self) -> (bool, &Peer, EgressClass, QuestionId) {
        (self.left, &self.peer, self.class, self.question)
    }

    /// Whether the officer whom it names ordered it, of the log with this name.
    pub(super) fn is_ordered(&self, origin: &str) -> bool {
        Peer::of_log(origin).is_some_and(|us| self.officer.orders(&self.order(us), &self.signature))
    }
}

/// What may be destroyed: a message that crossed. All other entries hold numbers, names and digests, and are what explains the rest.
fn message(entry: &Entry, commitment: [u8; 32]) -> Option<OrderedBody> {
    let (left, passage) = match &entry.event {
        Event::Egress(passage) => (true, passage),
        Event::Ingress(passage) => (false, passage),
        _ => return None,
    };
    let (class, question) = sort(passage)?;
    let peer = (passage.peer.region.clone(), passage.peer.node);
    Some(OrderedBody { commitment, left, peer, class, question })
}

/// What class of message it is by what is in it, for earlier builds entered some of what arrived as what it was nearest to, and which
/// question it is or answers; none for what is neither.
pub(crate) fn sort(passage: &Passage) -> Option<(EgressClass, QuestionId)> {
    let asked = || passage.question().map(|question| (EgressClass::Question, question.id));
    let answered = || passage.answer().map(|answer| (EgressClass::of(&answer), answer.header.question));
    asked().or_else(answered)
}

/// How many entries must still come until this one can be destroyed: the newest bundle is written on until it is whole.
pub(super) const fn missing(entry: u64, size: u64) -> u64 {
    let end = entry.div_ceil(WIDTH) * WIDTH;
    end.saturating_sub(size)
}

/// Takes a body out of the file of its bundle, which is whole; nothing where it is gone already.
///
/// # Errors
/// Where the file cannot be read or written, or is damaged.
pub(super) fn take_out(files: &Files, dir: &Path, entry: u64) -> io::Result<()> {
    let index = entry.saturating_sub(1) / WIDTH;
    let path = dir.join(LOG).join(tiles::bodies_path(index));
    let bytes = std::fs::read(&path)?;
    let (mut rest, mut kept) = (&bytes[..], Vec::with_capacity(bytes.len()));
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the bodies of a bundle are damaged");
    for number in index * WIDTH + 1..=(index + 1) * WIDTH {
        match tiles::take(&mut rest).ok_or_else(damaged)? {
            Kept::Whole(record) if number != entry => record.put(&mut kept),
            Kept::Withheld => kept.push(tiles::WITHHELD),
            Kept::Whole(_) | Kept::Destroyed => kept.push(DESTROYED),
        }
    }
    if kept == bytes { Ok(()) } else { files.replace(&path, &kept) }
}

/// The entries that records say are destroyed.
pub(super) fn ordered(records: &[Record]) -> Vec<u64> {
    // The first bytes of a body do not say its kind; few tails hold such an entry at all.
    let marked = |record: &&Record| memchr::memmem::find(&record.body, b"\"kind\":\"body_destroyed\"").is_some();
    let read = records.iter().filter(marked).filter_map(|record| Entry::read(&record.body));
    read.filter_map(|entry| if let Event::BodyDestroyed(gone) = entry.event { Some(gone.entry) } else { None })
        .collect()
}

/// The entries that say that bodies are destroyed, by the entry whose body it is.
#[derive(Default)]
pub(super) struct Orders {
    /// Whether those from before this start are among them.
    is_read: bool,
    of: BTreeMap<u64, Entry>,
}

impl Orders {
    /// The one about an entry.
    pub(super) fn about(&self, entry: u64) -> Option<&Entry> {
        self.of.get(&entry)
    }

    /// One that became durable just now.
    pub(super) fn add(&mut self, at: Timestamp, tenant: Option<TenantId>, gone: Destroyed) {
        let entry = gone.entry;
        let said = || Entry::new(at, tenant, &Link::NONE, Event::BodyDestroyed(gone));
        self.of.entry(entry).or_insert_with(said);
    }
}

/// What is asked of the ledger: an order whose signature was checked.
pub(crate) struct Order {
    pub(crate) order: BodyOrder,
    pub(crate) officer: OfficerPublic,
    pub(crate) signature: Box<str>,
}

impl super::Ledger {
    /// What the body of an entry is, as an order to destroy it says it.
    ///
    /// # Errors
    /// [`LedgerError::NotAMessage`], [`LedgerError::TooYoung`]; [`LedgerError::Gone`] where it is destroyed already.
    pub(crate) async fn to_destroy(self: &Arc<Self>, entry: u64, tasks: &Tasks) -> Result<OrderedBody, LedgerError> {
        self.found(entry, tasks).await.map(|(body, _)| body)
    }

    /// The same, and in whose chain the entry stands.
    async fn found(
        self: &Arc<Self>,
        entry: u64,
        tasks: &Tasks,
    ) -> Result<(OrderedBody, Option<TenantId>), LedgerError> {
        let size = self.head().size;
        if entry == 0 || entry > size {
            return Err(LedgerError::NotAMessage { entry });
        }
        let ledger = Arc::clone(self);
        let reading = tasks.blocking(move || ledger.entries_after(entry - 1)?.next().transpose());
        let found = reading.await.map_err(|_| LedgerError::Closed)??;
        let Some((_, found)) = found.filter(|(number, _)| *number == entry) else {
            return Err(LedgerError::Gone { entry });
        };
        let body = message(&found, [0; 32]).ok_or(LedgerError::NotAMessage { entry })?;
        let more = missing(entry, size);
        if more > 0 {
            return Err(LedgerError::TooYoung { entry, more });
        }
        // The files of the log follow the tail: what is asked of them after this has the whole bundle.
        self.offer().await?;
        Ok((OrderedBody { commitment: self.commitment(entry)?, ..body }, found.tenant))
    }

    /// Destroys the body of an entry by an officer's order that was checked; the number of the entry that says so. Returns once
    /// the body is in no file of the ledger. Whoever stops waiting does not end it between two steps.
    ///
    /// # Errors
    /// As [`Ledger::to_destroy`](super::Ledger::to_destroy); [`LedgerError::NotAMessage`] where the order is about another body.
    pub(crate) async fn destroy(self: &Arc<Self>, order: Order, tasks: &Tasks) -> Result<u64, LedgerError> {
        let (ledger, beside) = (Arc::clone(self), tasks.clone());
        let (done, ended) = oneshot::channel();
        tasks.spawn(Kind::Connection, async move { drop(done.send(ledger.carry_out(order, &beside).await)) });
        ended.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Sees to it that the entries which say that bodies are destroyed are known; blocks while the ledger is read for them, once in a start.
    pub(super) fn know_orders(&self) -> Result<(), LedgerError> {
        if self.orders.lock().is_read {
            return Ok(());
        }
        let mut found = Vec::new();
        for entry in self.entries_after(0)? {
            let (_, entry) = entry?;
            if let Event::BodyDestroyed(gone) = &entry.event {
                found.push((gone.entry, entry));
            }
        }
        let mut known = self.orders.lock();
        for (gone, entry) in found {
            known.of.entry(gone).or_insert(entry);
        }
        known.is_read = true;
        Ok(())
    }

    async fn carry_out(self: &Arc<Self>, order: Order, tasks: &Tasks) -> Result<u64, LedgerError> {
        let Order { order: BodyOrder { entry, body, ground, .. }, officer, signature } = order;
        // Two orders for one body: the second finds it gone.
        let _alone = self.destroying.lock().await;
        let (there, tenant) = self.found(entry, tasks).await?;
        if there != body {
            return Err(LedgerError::NotAMessage { entry });
        }
        let OrderedBody { commitment, left, peer: (region, node), class, question } = body;
        let peer = Peer { region, node };
        let gone = Destroyed { entry, commitment, left, peer, class, question, ground, officer, signature };
        // In the chain of the message: whoever could read that one reads what became of it, and nobody else.
        let told = self.record_in(tenant, Event::BodyDestroyed(gone)).await?;
        self.take_out(entry, tasks).await?;
        tracing::warn!(entry, told, ?ground, "the body of an entry of the ledger was destroyed by the officer's order");
        Ok(told)
    }
}

#[cfg(test)]
#[path = "destroyed_test.rs"]
mod tests;
