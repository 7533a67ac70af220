//! How an order stands in the whole region: whichever node is asked, it asks the others, and says which of them say nothing.
//!
//! What another node says here is shown and goes no further: what counts is what it confirmed, which is on record. Records of
//! a person, for an export, come from the node that holds them, all of them or none. Only a neighbour is asked and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use domicile_proto::ids::{ErasureId, NodeId, StreamId, TenantId, Timestamp};
use domicile_proto::link::connection::RegionReplyTo;
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::message::region::{
    KeysMark, MAX_ASKED, NodeStand, NotGiven, PersonRows, RegionAsk, RegionReply, RowBytes, Standing,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::Progress;
use super::errors::EraseError;
use super::neighbours::{Pieces, Silent};
use super::order::{Shredded, Tracked, Whom};
use super::taken::stand_of;
use super::workflow::Erasure;
use crate::errors::Coded;
use crate::limits::{ERASE_TOLD_WAIT, EXPORT_BYTES, EXPORT_TELL_DEADLINE, REWRITE_BYTES_PER_SECOND};

/// How an order stands.
#[derive(Clone, Debug)]
pub(crate) struct Stands {
    pub(crate) id: Box<str>,
    /// How far this node is.
    pub(crate) progress: Progress,
    /// Whether this node has the order.
    pub(crate) is_here: bool,
    pub(crate) ordered_at: Timestamp,
    /// What was done on this node.
    pub(crate) shredded: Option<Shredded>,
    /// Records that were hidden and originals that were destroyed, by every node that said so.
    pub(crate) hidden: Option<u64>,
    pub(crate) originals: Option<u64>,
    /// Of the node that is least far.
    pub(crate) percent: u8,
    /// When it is gone, as far as can be said; none where it is, and where a node that is not through says nothing.
    pub(crate) gone_in_seconds: Option<u64>,
    /// The signed receipt of this node.
    pub(crate) receipt: Option<Value>,
    /// Code of what keeps it from going on here.
    pub(crate) problem: Option<&'static str>,
    /// How far every node of the region is, this one among them.
    pub(crate) everywhere: Progress,
    pub(crate) nodes: Vec<AtNode>,
    /// The signed receipt for the region.
    pub(crate) region_receipt: Option<Value>,
}

/// How an order stands at one node of the region.
#[derive(Clone, Debug)]
pub(crate) struct AtNode {
    pub(crate) node: NodeId,
    /// None where it did not say that it has the order.
    pub(crate) progress: Option<Progress>,
    /// Code of what keeps it.
    pub(crate) problem: Option<&'static str>,
    /// What it says of it now; none where it says nothing.
    pub(crate) says: Option<Standing>,
    /// For how many seconds, at least, it has said nothing; none where it answers.
    pub(crate) silent_for: Option<u64>,
}

/// A node of the region that says nothing, and what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SilentNode {
    pub(crate) node: NodeId,
    /// At least so long.
    pub(crate) seconds: u64,
    /// Nothing is shown here before it has said which orders there are.
    pub(crate) keeps_answers: bool,
    /// No order is taken here before it has said its legal holds.
    pub(crate) keeps_orders: bool,
    /// Orders that it is not through with.
    pub(crate) unfinished: u64,
}

/// Since when each other node says nothing, as far as it was asked.
#[derive(Default)]
pub(super) struct Silence(Mutex<BTreeMap<NodeId, Instant>>);

impl Silence {
    fn hear(&self, node: NodeId, is_silent: bool) {
        let mut since = self.0.lock();
        if is_silent {
            since.entry(node).or_insert_with(Instant::now);
        } else {
            since.remove(&node);
        }
    }

    /// For how many seconds; none where it answers.
    pub(super) fn of(&self, node: NodeId) -> Option<u64> {
        self.0.lock().get(&node).map(|since| since.elapsed().as_secs())
    }
}

/// What the nodes that answered say, by node and order.
type Said = BTreeMap<NodeId, BTreeMap<ErasureId, Standing>>;

impl Erasure {
    /// Asks another node, and notes whether it said anything.
    pub(super) async fn ask(&self, to: &PeerAddr, ask: RegionAsk) -> Result<RegionReply, Silent> {
        let said = self.parts.neighbours.ask(to.clone(), ask).await;
        self.around.silence.hear(to.id.node, said.is_err());
        said
    }

    /// How an order stands at all nodes of the region.
    ///
    /// # Errors
    /// [`EraseError::Unknown`]: no node that answers has it.
    pub(crate) async fn stands_in_region(&self, tenant: TenantId, id: &str) -> Result<Stands, EraseError> {
        let unknown = || EraseError::Unknown { id: id.chars().take(80).collect::<String>().into() };
        let number: ErasureId = id.parse().map_err(|_| unknown())?;
        let said = self.ask_all(tenant, Some(number)).await;
        self.merged(tenant, Some(number), &said).pop().ok_or_else(unknown)
    }

    /// How all orders of a tenant stand at all nodes of the region, those that this node does not have among them.
    pub(crate) async fn all_in_region(&self, tenant: TenantId) -> Vec<Stands> {
        let said = self.ask_all(tenant, None).await;
        self.merged(tenant, None, &said)
    }

    async fn ask_all(&self, tenant: TenantId, only: Option<ErasureId>) -> Said {
        let others = self.addresses();
        let asked = others.iter().map(async |to| {
            let said = tokio::time::timeout(ERASE_TOLD_WAIT, self.ask_standings(to, tenant, only)).await;
            if said.is_err() {
                self.around.silence.hear(to.id.node, true);
            }
            let said = said.ok()?.ok()?.into_iter().map(|standing| (standing.id, standing));
            Some((to.id.node, said.collect()))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask_standings(
        &self,
        to: &PeerAddr,
        tenant: TenantId,
        only: Option<ErasureId>,
    ) -> Result<Vec<Standing>, Silent> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let RegionReply::Standings(page, is_last) = self.ask(to, RegionAsk::Standings(tenant, only, after)).await?
            else {
                return Err(Silent);
            };
            let last = page.iter().map(|standing| standing.id).max();
            all.extend(page);
            match last {
                Some(last) if !is_last && Some(last) > after => after = Some(last),
                _ => return Ok(all),
            }
        }
    }

    /// What a neighbour is answered that asks how it is with orders.
    pub(super) fn list_standings(
        &self,
        tenant: TenantId,
        only: Option<ErasureId>,
        after: Option<ErasureId>,
    ) -> RegionReply {
        let records = self.records.read();
        let after: Box<str> = after.map(|after| after.to_string()).unwrap_or_default().into();
        let rest = records.orders.range::<str, _>((Bound::Excluded(&*after), Bound::Unbounded));
        let numbered = rest.filter_map(|(id, tracked)| Some((id.parse::<ErasureId>().ok()?, tracked)));
        let own =
            numbered.filter(|(id, tracked)| tracked.order.tenant == tenant && only.is_none_or(|only| only == *id));
        let mut page: Vec<Standing> = own.take(MAX_ASKED + 1).map(|(id, tracked)| self.standing(id, tracked)).collect();
        let is_last = page.len() <= MAX_ASKED;
        page.truncate(MAX_ASKED);
        RegionReply::Standings(page, is_last)
    }

    /// How this node is with an order.
    fn standing(&self, id: ErasureId, tracked: &Tracked) -> Standing {
        let (records, bytes) = self.parts.shards.remaining();
        let hidden = tracked.shredded.map_or(0, |shredded| shredded.hidden);
        let rewritten = 49 - 49 * records.min(hidden.max(1)) / hidden.max(1);
        let seconds = tracked.waits(&self.parts.clock).as_secs() + bytes / REWRITE_BYTES_PER_SECOND;
        let progress = tracked.progress();
        Standing {
            id,
            ordered_at: tracked.order.at,
            stand: stand_of(tracked),
            hidden,
            originals: tracked.shredded.map_or(0, |shredded| shredded.originals),
            percent: match progress {
                Progress::Ordered => 0,
                Progress::Shredded => 50 + u8::try_from(rewritten).unwrap_or(0),
                Progress::Gone => 100,
            },
            gone_in_seconds: (progress != Progress::Gone).then_some(seconds),
        }
    }

    /// This node's orders and those that only others have, each with what the others said.
    fn merged(&self, tenant: TenantId, only: Option<ErasureId>, said: &Said) -> Vec<Stands> {
        let records = self.records.read();
        let own = records.orders.iter().filter(|(_, tracked)| tracked.order.tenant == tenant);
        let own = own.filter_map(|(id, tracked)| Some((id.parse::<ErasureId>().ok()?, Some(tracked))));
        let theirs = said.values().flat_map(BTreeMap::keys).map(|id| (*id, None));
        // Their own come last, and stay.
        let all: BTreeMap<ErasureId, Option<&Tracked>> = theirs.chain(own).collect();
        let wanted = all.into_iter().filter(|(id, _)| only.is_none_or(|only| only == *id));
        wanted.map(|(id, tracked)| self.as_it_stands(id, tracked, said)).collect()
    }

    /// How an order stands; one that this node does not have was given when others say.
    pub(super) fn as_it_stands(&self, id: ErasureId, tracked: Option<&Tracked>, said: &Said) -> Stands {
        let nodes = self.at_nodes(id, tracked, said);
        let ours = tracked.map(|tracked| self.standing(id, tracked));
        let says: Vec<Standing> = ours.into_iter().chain(nodes.iter().filter_map(|at| at.says)).collect();
        let is_shredded = |standing: &&Standing| far(standing.stand) >= Some(Progress::Shredded);
        let sum = |of: fn(&Standing) -> u64| {
            let shredded: Vec<u64> = says.iter().filter(is_shredded).map(of).collect();
            (!shredded.is_empty()).then(|| shredded.into_iter().fold(0, u64::saturating_add))
        };
        let percents = nodes.iter().map(|at| {
            let recorded = match at.progress {
                None | Some(Progress::Ordered) => 0,
                Some(Progress::Shredded) => 50,
                Some(Progress::Gone) => 100,
            };
            let said = if at.node == self.parts.us { ours } else { at.says };
            said.map_or(recorded, |standing| standing.percent)
        });
        let is_unsaid =
            |at: &AtNode| at.node != self.parts.us && at.says.is_none() && at.progress != Some(Progress::Gone);
        let seconds = says.iter().filter_map(|standing| standing.gone_in_seconds).max();
        let everywhere = tracked.map_or(Progress::Ordered, |tracked| tracked.everywhere(&self.others()));
        Stands {
            id: id.to_string().into(),
            progress: tracked.map_or(Progress::Ordered, Tracked::progress),
            is_here: tracked.is_some(),
            ordered_at: says.iter().map(|standing| standing.ordered_at).min().unwrap_or_default(),
            shredded: tracked.and_then(|tracked| tracked.shredded),
            hidden: sum(|standing| standing.hidden),
            originals: sum(|standing| standing.originals),
            percent: percents.min().unwrap_or(0),
            gone_in_seconds: seconds.filter(|_| !nodes.iter().any(is_unsaid)),
            receipt: tracked.and_then(|tracked| tracked.receipt.clone()),
            problem: None,
            everywhere,
            nodes,
            region_receipt: tracked.and_then(|tracked| tracked.region.clone()),
        }
    }

    /// How an order stands at every node of the region, this one first.
    fn at_nodes(&self, id: ErasureId, tracked: Option<&Tracked>, said: &Said) -> Vec<AtNode> {
        let (others, seen) = (self.others(), self.around.seen.lock());
        let keeps = || {
            let code = |error: EraseError| error.code();
            match (seen.held.get(&id), seen.foreign.contains_key(&id)) {
                (Some((Some(_), _)), _) => code(EraseError::Held { hold: Box::default() }),
                (Some((None, _)), _) => code(EraseError::HoldUnseen { hold: Box::default(), why: "" }),
                (None, true) => code(EraseError::OtherKeys),
                (None, false) => code(EraseError::Untold),
            }
        };
        let problem = tracked.is_none().then(keeps);
        let us = self.parts.us;
        let us = AtNode { node: us, progress: tracked.map(Tracked::progress), problem, says: None, silent_for: None };
        let place: Box<str> = id.to_string().into();
        let others = others.into_iter().map(|node| {
            let says = said.get(&node).and_then(|said| said.get(&id)).copied();
            let recorded = tracked.and_then(|tracked| tracked.at(node));
            let progress = recorded.max(says.and_then(|standing| far(standing.stand)));
            let problem = seen.problems.get(&(place.clone(), node)).copied();
            AtNode { node, progress, problem, says, silent_for: self.around.silence.of(node) }
        });
        std::iter::once(us).chain(others).collect()
    }

    /// The nodes of the region that say nothing, with what waits for them.
    pub(crate) fn silent(&self) -> Vec<SilentNode> {
        let (unheard, awaited) = (self.unheard(), self.around.seen.lock().awaited.clone());
        let records = self.records.read();
        let open: Vec<&Tracked> = records.open.iter().filter_map(|id| records.orders.get(id)).collect();
        let silent = self.others().into_iter().filter_map(|node| {
            let unfinished = open.iter().filter(|tracked| tracked.at(node) != Some(Progress::Gone)).count();
            Some(SilentNode {
                node,
                seconds: self.around.silence.of(node)?,
                keeps_answers: awaited.contains(&node),
                keeps_orders: unheard.contains(&node),
                unfinished: u64::try_from(unfinished).unwrap_or(u64::MAX),
            })
        });
        silent.collect()
    }

    /// Nodes that have to say their holds before an order is taken here.
    fn unheard(&self) -> BTreeSet<NodeId> {
        let heard = self.around.holders.heard();
        self.others().difference(&heard).copied().collect()
    }

    /// Has every node of the region purge now, and says which of them began; this one is the caller's.
    pub(crate) async fn have_purged(&self) -> BTreeMap<NodeId, bool> {
        let others = self.addresses();
        let told = others.iter().map(async |to| {
            let said = tokio::time::timeout(ERASE_TOLD_WAIT, self.ask(to, RegionAsk::Purge)).await;
            (to.id.node, matches!(said, Ok(Ok(RegionReply::Begun))))
        });
        futures::future::join_all(told).await.into_iter().collect()
    }

    /// Records of a person that another node of the region holds: all of them, in pieces, with how many they are.
    ///
    /// # Errors
    /// [`EraseError::Elsewhere`]: the node says nothing, or why it gives none. Nothing is exported then.
    pub(crate) async fn rows_at(
        &self,
        node: NodeId,
        (tenant, whom): (TenantId, &Whom),
        streams: Vec<StreamId>,
    ) -> Result<(Vec<RowBytes>, u64), EraseError> {
        let person =
            whom.told_tokens().map(|tokens| PersonRows { tenant, subjects: whom.subjects.clone(), tokens, streams });
        let person = person.filter(PersonRows::is_bounded).ok_or(EraseError::TooWide)?;
        let silent = || EraseError::Elsewhere { node, why: "says nothing" };
        let to = self.addresses().into_iter().find(|to| to.id.node == node).ok_or_else(silent)?;
        let asked = self.parts.neighbours.gather(to, RegionAsk::Rows(self.mark(), person));
        let said = tokio::time::timeout(EXPORT_TELL_DEADLINE, asked).await;
        let why = match said {
            Ok(Ok((pieces, RegionReply::RowsEnd(records)))) => return Ok((pieces, records)),
            Ok(Ok((_, RegionReply::NotGiven(why)))) => why,
            _ => return Err(silent()),
        };
        let why = match why {
            NotGiven::OtherKeys => "makes its tokens under other keys, so that it cannot know whom they mean",
            NotGiven::Unaware => "does not know every erasure of the region yet",
            NotGiven::NotWhole => "cannot search everything of it now",
            NotGiven::TooMany => "has more records of this person than one export holds",
            NotGiven::Failed => "could not read them",
        };
        Err(EraseError::Elsewhere { node, why })
    }

    /// Gives a neighbour the records that it asks for.
    pub(super) async fn give(
        &self,
        neighbour: &Neighbour,
        (keys, person): (KeysMark, PersonRows),
        mut to: RegionReplyTo,
    ) {
        let (pieces, end) = self.asked_rows(keys, person).await;
        let sending = async {
            for piece in pieces {
                neighbour.send_rows(&mut to, piece).await?;
            }
            neighbour.say(to, &end).await
        };
        if let Err(error) = sending.await {
            tracing::debug!(code = error.code(), %error, "a neighbour did not get the records it asked for");
        }
    }

    /// The records that a neighbour asks for, and the word that ends them.
    pub(super) async fn asked_rows(&self, keys: KeysMark, person: PersonRows) -> Pieces {
        let refused = |why| (Vec::new(), RegionReply::NotGiven(why));
        if keys != self.mark() {
            return refused(NotGiven::OtherKeys);
        }
        if !person.is_bounded() {
            return refused(NotGiven::Failed);
        }
        if self.parts.awareness.unknown_of(person.tenant).is_some() {
            return refused(NotGiven::Unaware);
        }
        match (self.parts.rows)(person).await {
            Ok((pieces, _)) if pieces.iter().map(|piece| piece.0.len()).sum::<usize>() > EXPORT_BYTES => {
                refused(NotGiven::TooMany)
            }
            Ok((pieces, records)) => (pieces, RegionReply::RowsEnd(records)),
            Err(why) => refused(why),
        }
    }
}

/// How far a node is that says so; none where it does not have the order.
const fn far(stand: NodeStand) -> Option<Progress> {
    match stand {
        NodeStand::Unknown | NodeStand::OtherKeys | NodeStand::Held | NodeStand::Failed => None,
        NodeStand::Ordered => Some(Progress::Ordered),
        NodeStand::Shredded(_) => Some(Progress::Shredded),
        NodeStand::Gone(..) => Some(Progress::Gone),
    }
}
