//! Legal holds: set at one node, in force at every node of the region.
//!
//! Each node keeps every hold on its own disk and tells each other node of it until that one has it too; whoever sets one is
//! told where it does not stand yet. A node that has started takes no order of erasure before every other node has said its
//! holds, and nothing is deleted by age unless all of them have just said theirs: what is destroyed cannot be brought back. A
//! release is as durable as a hold, and final.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use domicile_proto::ids::{ErasureId, NodeId, TenantId, Timestamp};
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::message::region::{KeysMark, LegalHold, MAX_HOLDS, RegionAsk, RegionReply};
use parking_lot::Mutex;

use super::errors::EraseError;
use super::neighbours::Silent;
use super::order::{self, Hold, Whom};
use super::workflow::{Erasure, random_id};
use crate::audit::Event;
use crate::errors::Coded;

/// What is known of the holds of other nodes. In memory: a node that starts asks and tells again.
#[derive(Default)]
pub(super) struct Holders {
    /// Nodes that have said all their holds since this one started.
    heard: Mutex<BTreeSet<NodeId>>,
    /// By node, the holds that it has, and whether it has their release.
    told: Mutex<BTreeMap<NodeId, Confirmed>>,
}

/// Ids of holds, and whether it is their release.
type Confirmed = BTreeSet<(Box<str>, bool)>;

/// A hold as it stands in the region.
pub(crate) struct HoldStands {
    pub(crate) id: Box<str>,
    pub(crate) since: Timestamp,
    /// Nodes that did not say that they have it.
    pub(crate) not_held_at: Vec<NodeId>,
}

impl Erasure {
    /// Sets a legal hold: no erasure and no retention touches it until it is released. Orders that were given before go on.
    ///
    /// # Errors
    /// [`EraseError::Nobody`], [`EraseError::TooWide`], or it could not be made durable here.
    pub(crate) async fn hold(&self, tenant: TenantId, whom: Whom) -> Result<HoldStands, EraseError> {
        if whom.is_nobody() && whom.only.is_none() {
            return Err(EraseError::Nobody);
        }
        let hold = Hold::new(tenant, whom, self.parts.clock.now());
        if hold.told(ErasureId(0)).is_none() {
            return Err(EraseError::TooWide);
        }
        let (id, since) = (random_id()?, hold.at);
        {
            let _working = self.working.lock().await;
            let _ordering = self.ordering.lock().await;
            self.set(&id, hold).await?;
        }
        let telling = self.addresses();
        let telling = telling.iter().map(|to| self.tell_holds(to));
        futures::future::join_all(telling).await;
        let not_held_at = self.lacking_hold(&id, false);
        Ok(HoldStands { id, since, not_held_at })
    }

    /// Releases a hold, whichever node of the region set it.
    ///
    /// # Errors
    /// [`EraseError::Unknown`], or it could not be made durable.
    pub(crate) async fn release(&self, tenant: TenantId, id: &str) -> Result<(), EraseError> {
        {
            let _working = self.working.lock().await;
            let _ordering = self.ordering.lock().await;
            let known = self.records.read().holds.get(id).filter(|hold| hold.tenant == tenant).cloned();
            let unknown = || EraseError::Unknown { id: id.chars().take(80).collect::<String>().into() };
            let mut hold = known.ok_or_else(unknown)?;
            hold.released = Some(self.parts.clock.now());
            self.lift(id, hold).await?;
        }
        let telling = self.addresses();
        let telling = telling.iter().map(|to| self.tell_holds(to));
        futures::future::join_all(telling).await;
        Ok(())
    }

    /// Holds of a tenant.
    pub(crate) fn holds(&self, tenant: TenantId) -> Vec<HoldStands> {
        let own: Vec<(Box<str>, Timestamp)> = {
            let records = self.records.read();
            let own = records.holds.iter().filter(|(_, hold)| hold.tenant == tenant);
            own.map(|(id, hold)| (id.clone(), hold.at)).collect()
        };
        let stands = |(id, since): (Box<str>, Timestamp)| {
            let not_held_at = self.lacking_hold(&id, false);
            HoldStands { id, since, not_held_at }
        };
        own.into_iter().map(stands).collect()
    }

    /// Before an order is taken: every other node has said its holds since this one started.
    ///
    /// # Errors
    /// [`EraseError::Unheard`].
    pub(super) async fn hear_holds(&self) -> Result<(), EraseError> {
        let heard = self.around.holders.heard.lock().clone();
        self.hear_holds_of(self.others().difference(&heard).copied().collect()).await
    }

    /// Before anything is deleted by age: every other node says its holds now.
    ///
    /// # Errors
    /// [`EraseError::Unheard`].
    pub(super) async fn hear_holds_anew(&self) -> Result<(), EraseError> {
        self.hear_holds_of(self.others()).await
    }

    async fn hear_holds_of(&self, mut nodes: BTreeSet<NodeId>) -> Result<(), EraseError> {
        let asked: Vec<PeerAddr> = self.addresses().into_iter().filter(|to| nodes.contains(&to.id.node)).collect();
        let said = futures::future::join_all(asked.iter().map(|to| self.take_holds(to))).await;
        for (to, _) in asked.iter().zip(said).filter(|(_, said)| said.is_ok()) {
            nodes.remove(&to.id.node);
        }
        nodes.first().map_or(Ok(()), |node| Err(EraseError::Unheard { node: *node }))
    }

    /// Takes every hold and release that another node has.
    async fn take_holds(&self, to: &PeerAddr) -> Result<(), Silent> {
        let mut after = None;
        loop {
            let ask = RegionAsk::Holds(after);
            let RegionReply::Holds(keys, holds, is_last) = self.parts.neighbours.ask(to.clone(), ask).await? else {
                return Err(Silent);
            };
            let last = holds.iter().map(|hold| hold.id).max();
            for hold in holds {
                let said = (Box::from(hold.id.to_string()), hold.released.is_some());
                self.take_hold(keys, hold).await.map_err(|error| {
                    tracing::error!(
                        code = error.code(),
                        error = &error as &dyn std::error::Error,
                        "a neighbour's hold"
                    );
                    Silent
                })?;
                self.around.holders.told.lock().entry(to.id.node).or_default().insert(said);
            }
            match last {
                Some(last) if !is_last && Some(last) > after => after = Some(last),
                _ => break,
            }
        }
        self.around.holders.heard.lock().insert(to.id.node);
        Ok(())
    }

    /// Tells a node of the holds and releases that it has not confirmed, after it has said its own.
    pub(super) async fn tell_holds(&self, to: &PeerAddr) -> Result<(), Silent> {
        let node = to.id.node;
        if !self.around.holders.heard.lock().contains(&node) {
            self.take_holds(to).await?;
        }
        let untold: Vec<LegalHold> = {
            let (records, told) = (self.records.read(), self.around.holders.told.lock());
            let is_told =
                |id: &str, is_over| told.get(&node).is_some_and(|told| told.contains(&(Box::<str>::from(id), is_over)));
            let untold = records.all_holds().filter(|(id, hold)| !is_told(id, hold.released.is_some()));
            untold.filter_map(|(id, hold)| hold.told(id.parse().ok()?)).collect()
        };
        for holds in untold.chunks(MAX_HOLDS) {
            let ask = RegionAsk::Hold(self.mark(), holds.to_vec());
            let RegionReply::Held(taken) = self.parts.neighbours.ask(to.clone(), ask).await? else {
                return Err(Silent);
            };
            let confirmed = holds.iter().zip(taken).filter(|(_, taken)| *taken).map(|(hold, _)| hold);
            let confirmed = confirmed.map(|hold| (Box::from(hold.id.to_string()), hold.released.is_some()));
            self.around.holders.told.lock().entry(node).or_default().extend(confirmed);
        }
        Ok(())
    }

    /// What a neighbour is answered that tells of holds: whether each is durable here.
    pub(super) async fn told_holds(&self, keys: KeysMark, holds: Vec<LegalHold>) -> RegionReply {
        let mut taken = Vec::with_capacity(holds.len());
        for hold in holds.into_iter().take(MAX_HOLDS) {
            let said = self.take_hold(keys, hold).await;
            if let Err(error) = &said {
                tracing::error!(code = error.code(), error = error as &dyn std::error::Error, "a hold is not taken");
            }
            taken.push(said.is_ok());
        }
        RegionReply::Held(taken)
    }

    /// What a neighbour is answered that asks for holds after one.
    pub(super) fn list_holds(&self, after: Option<ErasureId>) -> RegionReply {
        let records = self.records.read();
        let after: Box<str> = after.map(|after| after.to_string()).unwrap_or_default().into();
        let all: BTreeMap<&str, &Hold> = records.all_holds().collect();
        let rest = all.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded));
        let mut holds: Vec<LegalHold> =
            rest.filter_map(|(id, hold)| hold.told(id.parse().ok()?)).take(MAX_HOLDS + 1).collect();
        let is_last = holds.len() <= MAX_HOLDS;
        holds.truncate(MAX_HOLDS);
        RegionReply::Holds(self.mark(), holds, is_last)
    }

    async fn take_hold(&self, keys: KeysMark, hold: LegalHold) -> Result<(), EraseError> {
        let id = hold.id.to_string();
        let is_known = {
            let records = self.records.read();
            records.released.contains_key(id.as_str())
                || (hold.released.is_none() && records.holds.contains_key(id.as_str()))
        };
        if is_known {
            return Ok(());
        }
        // Whom it means is only known under the same keys; a hold on whole streams and a release need none.
        let is_about_people = !(hold.subjects.is_empty() && hold.tokens.is_empty()) && hold.released.is_none();
        if is_about_people && keys != self.mark() {
            return Err(EraseError::OtherKeys);
        }
        if !hold.is_bounded() {
            return Err(EraseError::TooWide);
        }
        let hold = Hold::taken(hold);
        let _working = self.working.lock().await;
        let _ordering = self.ordering.lock().await;
        if hold.released.is_some() { self.lift(&id, hold).await } else { self.set(&id, hold).await }
    }

    /// The caller holds `working` and `ordering`.
    async fn set(&self, id: &str, hold: Hold) -> Result<(), EraseError> {
        let is_known = {
            let records = self.records.read();
            records.released.contains_key(id) || records.holds.contains_key(id)
        };
        if is_known {
            return Ok(());
        }
        self.parts.ledger.record_of(hold.tenant, Event::HoldSet { hold: id.into() }).await?;
        order::put_hold(&self.parts.store, id, &hold).await?;
        self.records.write().holds.insert(id.into(), hold);
        Ok(())
    }

    /// The caller holds `working` and `ordering`.
    async fn lift(&self, id: &str, released: Hold) -> Result<(), EraseError> {
        if self.records.read().released.contains_key(id) {
            return Ok(());
        }
        self.parts.ledger.record_of(released.tenant, Event::HoldReleased { hold: id.into() }).await?;
        order::put_release(&self.parts.store, id, &released).await?;
        let mut records = self.records.write();
        records.holds.remove(id);
        records.released.insert(id.into(), released);
        Ok(())
    }

    fn lacking_hold(&self, id: &str, is_over: bool) -> Vec<NodeId> {
        let (others, told) = (self.others(), self.around.holders.told.lock());
        let has = |node: &NodeId| told.get(node).is_some_and(|told| told.contains(&(Box::<str>::from(id), is_over)));
        others.into_iter().filter(|node| !has(node)).collect()
    }
}

impl Hold {
    /// In the words of the link; none where it does not fit them.
    fn told(&self, id: ErasureId) -> Option<LegalHold> {
        let hold = LegalHold {
            id,
            tenant: self.tenant,
            subjects: self.whom.subjects.clone(),
            tokens: self.whom.told_tokens()?,
            only: self.whom.only.clone(),
            at: self.at,
            released: self.released,
        };
        hold.is_bounded().then_some(hold)
    }

    /// Out of the words of the link.
    fn taken(hold: LegalHold) -> Self {
        let LegalHold { tenant, subjects, tokens, only, at, released, .. } = hold;
        let tokens = tokens.into_iter().map(|token| String::from(token).into()).collect();
        let mut taken = Self::new(tenant, Whom { subjects, tokens, only }, at);
        taken.released = released;
        taken
    }
}
