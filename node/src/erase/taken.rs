//! What another node of the region asks: to take orders, how they stand here, and which there are; records of a person;
//! and what the shards of this node ask of it.
//!
//! An order is taken like one that was given here: durable, in the ledger, hidden and shredded before the answer. Twice
//! is once. Only a neighbour is answered.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Instant;

use domicile_proto::ids::ErasureId;
use domicile_proto::link::connection::RegionReplyTo;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::message::region::{
    ErasureOrder, KeysMark, MAX_ASKED, MAX_ORDERS, NodeStand, NotGiven, RegionAsk, RegionReply,
};

use super::errors::EraseError;
use super::held::LOOKED_AT;
use super::order::{Order, Tracked};
use super::workflow::{Erasure, sha256};
use crate::errors::Coded;
use crate::limits::ERASE_LOOK_AGAIN;

impl Erasure {
    /// Answers what a node of the region asks about orders, holds and records of a person.
    pub(crate) async fn answer(&self, neighbour: &Neighbour, ask: RegionAsk, to: RegionReplyTo) {
        let ask = match ask {
            RegionAsk::Rows(keys, person) => return self.give(neighbour, (keys, person), to).await,
            other => other,
        };
        let reply = self.asked(ask).await;
        if let Err(error) = neighbour.say(to, &reply).await {
            tracing::debug!(code = error.code(), %error, "a neighbour did not hear the answer");
        }
    }

    /// What this node says to a neighbour.
    pub(super) async fn asked(&self, ask: RegionAsk) -> RegionReply {
        match ask {
            RegionAsk::Take(keys, orders) => RegionReply::Stands(self.take(keys, orders).await),
            RegionAsk::How(ids) => {
                let records = self.records.read();
                let stand = |id: &ErasureId| records.orders.get(id.to_string().as_str()).map(stand_of);
                let stands = ids.iter().take(MAX_ASKED).map(|id| stand(id).unwrap_or(NodeStand::Unknown));
                RegionReply::Stands(stands.collect())
            }
            RegionAsk::List(after) => self.listed(after),
            RegionAsk::Hold(keys, holds) => self.told_holds(keys, holds).await,
            RegionAsk::Holds(after) => self.list_holds(after),
            RegionAsk::Standings(tenant, only, after) => self.list_standings(tenant, only, after),
            // In pieces, by `give`; and what is no matter of erasures, by whoever serves it.
            RegionAsk::Rows(..)
            | RegionAsk::Search(_)
            | RegionAsk::Refresh(_)
            | RegionAsk::Batch(_)
            | RegionAsk::Gated(_)
            | RegionAsk::Holdings(..) => RegionReply::NotGiven(NotGiven::Failed),
            RegionAsk::Purge => {
                self.is_purge_due.store(true, Ordering::Release);
                self.going_on.notify_one();
                RegionReply::Begun
            }
            RegionAsk::Loads => RegionReply::Loads(self.parts.loads.is_drained(), self.parts.loads.told()),
        }
    }

    fn listed(&self, after: Option<ErasureId>) -> RegionReply {
        let (records, now) = (self.records.read(), self.parts.clock.now());
        let after: Box<str> = after.map(|after| after.to_string()).unwrap_or_default().into();
        let mut orders = Vec::new();
        for (id, tracked) in records.orders.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded)) {
            let is_over = tracked.region.is_some() && tracked.order.until <= now;
            let Some(id) = id.parse().ok().filter(|_| !is_over) else { continue };
            let Some(order) = tracked.order.told(id) else { continue };
            if orders.len() == MAX_ORDERS {
                return RegionReply::Listed(self.mark(), orders, false);
            }
            orders.push(order);
        }
        RegionReply::Listed(self.mark(), orders, true)
    }

    /// Takes orders of a neighbour; how each of them stands here then.
    pub(super) async fn take(&self, keys: KeysMark, orders: Vec<ErasureOrder>) -> Vec<NodeStand> {
        let mut stands = Vec::with_capacity(orders.len());
        for order in orders.into_iter().take(MAX_ORDERS) {
            stands.push(self.take_one(keys, order).await);
        }
        stands
    }

    async fn take_one(&self, keys: KeysMark, order: ErasureOrder) -> NodeStand {
        let (number, tenant, is_bounded) = (order.id, order.tenant, order.is_bounded());
        let id = number.to_string();
        let _ordering = self.ordering.lock().await;
        if let Some(tracked) = self.records.read().orders.get(id.as_str()) {
            return stand_of(tracked);
        }
        if keys != self.mark() {
            if self.around.seen.lock().foreign.insert(number, tenant).is_none() {
                tracing::error!(order = %number, code = EraseError::OtherKeys.code(), "an order of a neighbour");
            }
            self.look_around();
            return NodeStand::OtherKeys;
        }
        if !is_bounded {
            return NodeStand::Failed;
        }
        let order = Order::taken(order);
        let mut is_new = false;
        let stand = match self.admit_told(&id, order).await {
            Ok(()) => {
                is_new = true;
                if let Err(error) = self.shred(&id).await {
                    tracing::error!(code = error.code(), error = &error as &dyn std::error::Error, "tried again");
                }
                self.records.read().orders.get(id.as_str()).map_or(NodeStand::Failed, stand_of)
            }
            Err(EraseError::Held { .. } | EraseError::HoldUnseen { .. }) => NodeStand::Held,
            Err(error) => {
                tracing::error!(code = error.code(), error = &error as &dyn std::error::Error, "an order is not taken");
                NodeStand::Failed
            }
        };
        if is_new {
            self.look_around();
            self.around.wake.notify_one();
        }
        stand
    }

    /// Makes an order of another node durable, unless a hold stands or may stand against it; the ledger tells of that once. The caller holds
    /// `ordering`.
    pub(super) async fn admit_told(&self, id: &str, order: Order) -> Result<(), EraseError> {
        let number = id.parse::<ErasureId>().ok();
        let known = number.and_then(|number| self.around.seen.lock().held.get(&number).cloned());
        // Nobody looks through everything each second: the answer is the same until the hold is over, and mostly for a while.
        match &known {
            Some((Some(hold), _)) if self.records.read().holds.contains_key(hold) => {
                return Err(EraseError::Held { hold: hold.clone() });
            }
            Some((None, since)) if since.elapsed() < ERASE_LOOK_AGAIN => {
                return Err(EraseError::HoldUnseen { hold: Box::default(), why: LOOKED_AT });
            }
            _ => {}
        }
        let refused = match self.refuse_held(&order, &order.whom).await {
            Ok(()) => {
                self.enter(id, order).await?;
                if let Some(number) = number {
                    self.around.seen.lock().held.remove(&number);
                }
                return Ok(());
            }
            Err(refused) if known.is_some() => refused,
            Err(refused) => self.tell_refused(&order, refused).await,
        };
        let hold = match &refused {
            EraseError::Held { hold } => Some(Some(hold.clone())),
            EraseError::HoldUnseen { .. } => Some(None),
            _ => None,
        };
        if let (Some(number), Some(hold)) = (number, hold) {
            self.around.seen.lock().held.insert(number, (hold, Instant::now()));
        }
        Err(refused)
    }
}

pub(super) fn stand_of(tracked: &Tracked) -> NodeStand {
    match (&tracked.receipt, &tracked.shredded) {
        (Some(receipt), shredded) => {
            NodeStand::Gone(shredded.map_or(tracked.order.at, |shredded| shredded.at), sha256(receipt))
        }
        (None, Some(shredded)) => NodeStand::Shredded(shredded.at),
        (None, None) => NodeStand::Ordered,
    }
}
