//! An order reaches every node of the region: each node tells each other one until it is confirmed, and asks what it missed.
//!
//! What another node said is on record before it counts. A node that was away shows nothing before each neighbour that it knew
//! has said what there is, or was taken out of the region, or shares its bucket and what lies there was read; and nothing of a
//! tenant of whom there is an order that it does not have. The group is told a salted commitment and a state, and is never
//! waited for: an order may have missed it. Holds no lock while it waits for another node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use domicile_proto::ids::{ErasureId, NodeId, TenantId, Timestamp};
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::message::region::{
    ErasureOrder, KeysMark, MAX_ASKED, MAX_ORDERS, NodeStand, RegionAsk, RegionReply,
};
use domicile_proto::metadata::ErasureRow;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::errors::EraseError;
use super::holds::Holders;
use super::neighbours::Silent;
use super::order::{self, Step, Tracked, Word};
use super::whole::Silence;
use super::workflow::Erasure;
use crate::errors::Coded;
use crate::limits::{ERASE_OVERDUE, ERASE_TELL_EVERY, ERASE_TOLD_WAIT};
use crate::policy::Unaware;

/// What is known of the other nodes of the region. In memory: a node that starts asks again.
#[derive(Default)]
pub(super) struct Around {
    pub(super) seen: Mutex<Seen>,
    /// The region's other nodes as the node's own copy of the group's state had them at the start.
    known: Mutex<BTreeSet<NodeId>>,
    /// What is known of the legal holds of other nodes.
    pub(super) holders: Holders,
    /// Since when nodes say nothing.
    pub(super) silence: Silence,
    /// There is something to tell.
    pub(super) wake: Notify,
    /// A node said something new.
    pub(super) heard: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Seen {
    /// Neighbours that were known when the node started, and have not said since which orders they have.
    pub(super) awaited: BTreeSet<NodeId>,
    /// Neighbours that have said all their orders since the node started.
    listed: BTreeSet<NodeId>,
    /// Orders of the group that this node does not have, with the neighbours that do not have them either.
    absent: BTreeMap<ErasureId, BTreeSet<NodeId>>,
    /// Orders of neighbours that are made under other keys, and whose they are.
    pub(super) foreign: BTreeMap<ErasureId, TenantId>,
    /// Orders of neighbours against which a hold of this node stands, each with the hold; with none where one may stand. And since when.
    pub(super) held: BTreeMap<ErasureId, (Option<Box<str>>, Instant)>,
    /// Why a node has not taken an order.
    pub(super) problems: BTreeMap<(Box<str>, NodeId), &'static str>,
    /// Orders of which the log was told that they are overdue.
    overdue: BTreeSet<Box<str>>,
}

impl Erasure {
    /// The other nodes of the region. Before the first policy is there, those that were known at the start: an order must not
    /// look as if this node were alone.
    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        if self.parts.policy.now().nodes.is_empty() {
            return self.around.known.lock().clone();
        }
        self.addresses().into_iter().map(|to| to.id.node).collect()
    }

    pub(super) fn addresses(&self) -> Vec<PeerAddr> {
        self.parts.policy.now().nodes_of(&self.parts.region).filter(|to| to.id.node != self.parts.us).collect()
    }

    /// Under which keys this node's orders are made.
    pub(super) fn mark(&self) -> KeysMark {
        let mut mark = [0; 8];
        let hash = self.parts.vault.region_hash("mark", b"");
        mark.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        KeysMark(mark)
    }

    /// Before any door opens: whether this node has to ask first. `known` are the region's nodes as its own copy of the group's
    /// state has them.
    pub(crate) fn begin(&self, known: impl IntoIterator<Item = NodeId>) {
        let known: BTreeSet<NodeId> = known.into_iter().filter(|node| *node != self.parts.us).collect();
        self.around.known.lock().clone_from(&known);
        self.around.seen.lock().awaited = known;
        self.look_around();
    }

    /// Tells and asks until cancelled.
    pub(crate) async fn keep_telling(self: Arc<Self>, token: CancellationToken) {
        loop {
            self.tell_round().await;
            let rest = async {
                tokio::select! {
                    () = self.around.wake.notified() => {}
                    () = tokio::time::sleep(ERASE_TELL_EVERY) => {}
                }
            };
            if token.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    /// Tells every other node once what it has not confirmed, asks it what this one lacks, and concludes.
    pub(super) async fn tell_round(&self) {
        let others = self.addresses();
        futures::future::join_all(others.iter().map(|to| self.tell_one(to))).await;
        if let Err(error) = self.take_from_bucket().await {
            tracing::warn!(code = error.code(), error = &error as &dyn std::error::Error, "the bucket is read again");
        }
        self.look_around();
        if let Err(error) = self.conclude().await {
            tracing::error!(code = error.code(), error = &error as &dyn std::error::Error, "a receipt is tried again");
        }
        self.tell_overdue();
    }

    async fn tell_one(&self, to: &PeerAddr) {
        let node = to.id.node;
        // Holds go first, so that no order of a round overtakes one.
        if self.tell_holds(to).await.is_err() {
            tracing::debug!(node = %node, "a neighbour does not know every hold yet");
        }
        let lacks = self.lacking();
        let is_listed = {
            let seen = self.around.seen.lock();
            let is_said = |id: &ErasureId| seen.absent.get(id).is_some_and(|said| said.contains(&node));
            seen.listed.contains(&node) && lacks.iter().all(|row| is_said(&row.id))
        };
        if !is_listed && self.take_list(to).await.is_ok() {
            let mut seen = self.around.seen.lock();
            seen.listed.insert(node);
            seen.awaited.remove(&node);
            for row in &lacks {
                seen.absent.entry(row.id).or_default().insert(node);
            }
        }
        let (untold, unfinished) = self.open_at(node);
        for orders in untold.chunks(MAX_ORDERS) {
            let ids: Vec<ErasureId> = orders.iter().map(|order| order.id).collect();
            let said = self.ask(to, RegionAsk::Take(self.mark(), orders.to_vec())).await;
            // Who is silent once is asked again in the next round, so that the others are not kept waiting.
            let is_silent = said.is_err();
            self.hear(node, &ids, said).await;
            if is_silent {
                return;
            }
        }
        for ids in unfinished.chunks(MAX_ASKED) {
            let said = self.ask(to, RegionAsk::How(ids.to_vec())).await;
            let is_silent = said.is_err();
            self.hear(node, ids, said).await;
            if is_silent {
                return;
            }
        }
    }

    /// Takes what nodes that say nothing put into the bucket that they share with this one, as long as they are awaited.
    async fn take_from_bucket(&self) -> Result<(), EraseError> {
        let sharing = self.records.read().sharing.clone();
        let awaited: BTreeSet<NodeId> = self.around.seen.lock().awaited.intersection(&sharing).copied().collect();
        if awaited.is_empty() {
            return Ok(());
        }
        for (id, order) in order::orders_in(&self.parts.store).await? {
            let _ordering = self.ordering.lock().await;
            if !self.records.read().orders.contains_key(&id) {
                match self.admit_told(&id, order).await {
                    // The others are taken all the same.
                    Err(EraseError::Held { .. } | EraseError::HoldUnseen { .. }) => continue,
                    admitted => admitted?,
                }
                self.shred(&id).await?;
            }
        }
        self.around.seen.lock().awaited.retain(|node| !awaited.contains(node));
        Ok(())
    }

    /// Orders that a node has not confirmed, and those it has and is not through with.
    fn open_at(&self, node: NodeId) -> (Vec<ErasureOrder>, Vec<ErasureId>) {
        let records = self.records.read();
        let (mut untold, mut unfinished) = (Vec::new(), Vec::new());
        for (id, tracked) in records.open.iter().filter_map(|id| records.orders.get(id).map(|tracked| (id, tracked))) {
            let Ok(number) = id.parse::<ErasureId>() else { continue };
            match tracked.at(node) {
                None => untold.extend(tracked.order.told(number)),
                Some(Progress::Gone) => {}
                Some(_) => unfinished.push(number),
            }
        }
        (untold, unfinished)
    }

    /// Takes every order that another node has.
    async fn take_list(&self, to: &PeerAddr) -> Result<(), Silent> {
        let mut after = None;
        loop {
            let ask = RegionAsk::List(after);
            let RegionReply::Listed(keys, orders, is_last) = self.ask(to, ask).await? else {
                return Err(Silent);
            };
            let last = orders.iter().map(|order| order.id).max();
            for stand in self.take(keys, orders).await {
                if stand == NodeStand::Failed {
                    return Err(Silent);
                }
            }
            match last {
                Some(last) if !is_last && Some(last) > after => after = Some(last),
                _ => return Ok(()),
            }
        }
    }

    /// Puts on record what a node said of some orders.
    async fn hear(&self, node: NodeId, ids: &[ErasureId], said: Result<RegionReply, Silent>) {
        let stands = match said {
            Ok(RegionReply::Stands(stands)) if stands.len() == ids.len() => stands,
            _ => vec![NodeStand::Failed; ids.len()],
        };
        for (id, stand) in ids.iter().zip(stands) {
            let id: Box<str> = id.to_string().into();
            let heard = match stand {
                NodeStand::Ordered => self.confirm(&id, node, None, None).await,
                NodeStand::Shredded(at) => self.confirm(&id, node, Some(at), None).await,
                NodeStand::Gone(at, receipt) => self.confirm(&id, node, Some(at), Some(receipt)).await,
                NodeStand::Unknown => self.forget(&id, node),
                NodeStand::Failed => Err(EraseError::Untold),
                NodeStand::OtherKeys => Err(EraseError::OtherKeys),
                NodeStand::Held => Err(EraseError::Held { hold: "of that node".into() }),
            };
            let mut seen = self.around.seen.lock();
            match heard {
                Ok(()) => drop(seen.problems.remove(&(id, node))),
                Err(error) => drop(seen.problems.insert((id, node), error.code())),
            }
        }
        self.around.heard.send_replace(());
    }

    async fn confirm(
        &self,
        id: &str,
        node: NodeId,
        shredded: Option<Timestamp>,
        gone: Option<[u8; 32]>,
    ) -> Result<(), EraseError> {
        let known = self.records.read().orders.get(id).and_then(|tracked| tracked.told.get(&node).copied());
        let place = (id, self.parts.us);
        if let Some(at) = shredded.filter(|_| known.is_none_or(|known| known.shredded.is_none())) {
            let word = Word { at, receipt: None };
            order::put_step(&self.parts.store, place, Step::ToldShredded(node), &word).await?;
        }
        if let Some(receipt) = gone.filter(|_| known.is_none_or(|known| known.gone.is_none())) {
            let word = Word { at: self.parts.clock.now(), receipt: Some(hex::encode(receipt)) };
            order::put_step(&self.parts.store, place, Step::ToldGone(node), &word).await?;
        }
        if let Some(tracked) = self.records.write().orders.get_mut(id) {
            let told = tracked.told.entry(node).or_default();
            told.shredded = told.shredded.or(shredded);
            told.gone = told.gone.or(gone);
        }
        Ok(())
    }

    /// A node that lost what it had confirmed is told again, unless it had said that it was through.
    fn forget(&self, id: &str, node: NodeId) -> Result<(), EraseError> {
        if let Some(tracked) = self.records.write().orders.get_mut(id) {
            tracked.told.remove(&node);
        }
        Err(EraseError::Untold)
    }

    /// Orders that the group has of this region and this node does not.
    fn lacking(&self) -> Vec<ErasureRow> {
        let rows = (self.parts.group.rows)();
        let (records, seen) = (self.records.read(), self.around.seen.lock());
        let is_known = |row: &ErasureRow| {
            seen.held.contains_key(&row.id) || records.orders.contains_key(row.id.to_string().as_str())
        };
        rows.into_iter().filter(|row| !is_known(row)).collect()
    }

    /// What this node does not know, for all who show anything. A row that nobody in the region made hides nothing once every
    /// neighbour has said that it has no such order: another region could have put it there.
    pub(super) fn look_around(&self) {
        let (lacking, others) = (self.lacking(), self.others());
        let mut unaware = Unaware::default();
        {
            let (records, mut seen) = (self.records.read(), self.around.seen.lock());
            // Who was taken out of the region is not waited for.
            seen.awaited.retain(|node| others.contains(node));
            unaware.was_away = !seen.awaited.is_empty();
            seen.absent.retain(|id, _| lacking.iter().any(|row| row.id == *id));
            for row in &lacking {
                let is_nowhere = seen.absent.get(&row.id).is_some_and(|said| others.is_subset(said));
                if self.is_ours(row) || !(is_nowhere || others.is_empty()) {
                    unaware.of.insert(row.tenant, row.id);
                }
            }
            seen.foreign.retain(|id, _| !records.orders.contains_key(id.to_string().as_str()));
            unaware.of.extend(seen.foreign.iter().map(|(id, tenant)| (*tenant, *id)));
        }
        if self.parts.awareness.set(unaware.clone()) {
            let first = unaware.of.values().next().map(ErasureId::to_string);
            match (unaware.was_away, first) {
                (true, _) => tracing::warn!(code = EraseError::Away.code(), "{}", EraseError::Away),
                (false, Some(order)) => {
                    let error = EraseError::Missing { order: order.into() };
                    tracing::error!(code = error.code(), "{error}");
                }
                (false, None) => tracing::info!("every erasure of the region is known here"),
            }
        }
    }

    /// Whether a node with this one's keys made a row of the group.
    fn is_ours(&self, row: &ErasureRow) -> bool {
        self.proof(row.id, row.tenant, &row.commitment) == row.proof
    }

    /// What only the region's own nodes can say of an order.
    pub(super) fn proof(&self, id: ErasureId, tenant: TenantId, commitment: &[u8; 32]) -> [u8; 16] {
        let said = [&id.0.to_be_bytes()[..], &tenant.0.to_be_bytes(), commitment].concat();
        let mut proof = [0; 16];
        let hash = self.parts.vault.region_hash("erasure", &said);
        proof.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        proof
    }

    /// Signs for the region what every node of it is through with.
    pub(super) async fn conclude(&self) -> Result<(), EraseError> {
        let others = self.others();
        let is_done = |tracked: &&Tracked| tracked.everywhere(&others) == Progress::Gone;
        let done: Vec<(Box<str>, Tracked)> = {
            let records = self.records.read();
            let open = records.open.iter().filter_map(|id| records.orders.get(id).map(|tracked| (id, tracked)));
            open.filter(|(_, tracked)| is_done(tracked)).map(|(id, tracked)| (id.clone(), tracked.clone())).collect()
        };
        for (id, tracked) in done {
            let names = (&*id, self.parts.region.as_str(), self.parts.us);
            let receipt = self.signer.of_region(names, &tracked, &others, self.parts.clock.now())?;
            order::put_step(&self.parts.store, (&id, self.parts.us), Step::Region, &receipt).await?;
            let mut records = self.records.write();
            records.open.remove(&id);
            if let Some(tracked) = records.orders.get_mut(&id) {
                tracked.region = Some(receipt);
            }
        }
        Ok(())
    }

    /// Waits until every node of the region has shredded an order, but not long.
    pub(super) async fn wait_for_others(&self, id: &str) {
        let mut heard = self.around.heard.subscribe();
        self.around.wake.notify_one();
        let told = async {
            loop {
                heard.mark_unchanged();
                let others = self.others();
                let far = self.records.read().orders.get(id).map(|tracked| tracked.everywhere(&others));
                if others.is_empty()
                    || far.is_none_or(|far| far >= Progress::Shredded)
                    || heard.changed().await.is_err()
                {
                    return;
                }
            }
        };
        // Where it takes longer the order goes on all the same.
        drop(tokio::time::timeout(ERASE_TOLD_WAIT, told).await);
    }

    fn tell_overdue(&self) {
        let (now, others) = (self.parts.clock.now(), self.others());
        let limit = i64::try_from(ERASE_OVERDUE.as_micros()).unwrap_or(i64::MAX);
        let (records, mut seen) = (self.records.read(), self.around.seen.lock());
        let orders = records.open.iter().filter_map(|id| records.orders.get(id).map(|tracked| (id, tracked)));
        for (id, tracked) in orders {
            let is_late = now.0.saturating_sub(tracked.order.at.0) > limit;
            if is_late && tracked.everywhere(&others) < Progress::Shredded && seen.overdue.insert(id.clone()) {
                let error = EraseError::Overdue { order: id.clone() };
                tracing::error!(code = error.code(), "{error}");
            }
        }
    }
}
