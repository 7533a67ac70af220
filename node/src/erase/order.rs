//! Orders, holds and deletions on record: objects of the region's bucket, created once. The newest object of an order is its
//! state.
//!
//! `erasure/<id>/order`, and below `erasure/<id>/<node>` what that node did and saw: `counted`, `shredded`, `gone`, `told-<other>-shredded`,
//! `told-<other>-gone`, and `region` once all nodes are through; `erasure-nodes/<node>` says who puts orders here; `holds/<id>` and `holds/<id>-released`; `retention/<id>/plan`, then `evidence`. JSON; subjects are keyed hashes, and there is no value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use domicile_proto::ids::{ErasureId, NodeId, ShardId, StreamId, TenantId, Timestamp};
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Progress;
use super::deletion::{Deleted, Deletion};
use super::errors::EraseError;
use crate::clock::Clock;
use crate::limits::ERASE_WINDOW;
use crate::policy::{Suppressed, Wanted};
use crate::store::{Store, StoreError};

/// Whom an order or a hold is about. No `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whom {
    /// Keyed hashes of subjects.
    pub(crate) subjects: Vec<u64>,
    /// Pseudonym tokens.
    pub(crate) tokens: Vec<Box<str>>,
    /// Only these streams, with their shards; none means all of the tenant.
    pub(crate) only: Option<Vec<(StreamId, Option<ShardId>)>>,
}

impl Whom {
    /// Whether nobody is meant. A hold may be about whole streams.
    pub(crate) fn is_nobody(&self) -> bool {
        self.subjects.is_empty() && self.tokens.is_empty()
    }

    /// Records of these.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { subjects: self.subjects.iter().copied().collect(), tokens: self.tokens.iter().cloned().collect() }
    }

    /// Whether an erasure of `self` would touch what `held` holds, as far as names say it.
    fn touches(&self, held: &Self) -> bool {
        let shares_stream = match (&self.only, &held.only) {
            (Some(ours), Some(theirs)) => {
                ours.iter().any(|(stream, _)| theirs.iter().any(|(other, _)| stream == other))
            }
            _ => true,
        };
        let shares_person = held.is_nobody()
            || self.subjects.iter().any(|subject| held.subjects.contains(subject))
            || self.tokens.iter().any(|token| held.tokens.contains(token));
        shares_stream && shares_person
    }
}

/// An order as it was given. No `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    version: u32,
    pub(crate) tenant: TenantId,
    pub(crate) whom: Whom,
    pub(crate) at: Timestamp,
    /// Until when records that come back are kept out.
    pub(crate) until: Timestamp,
    /// Random; without it the commitment says nothing.
    pub(super) salt: String,
}

/// A hold. No `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Hold {
    version: u32,
    pub(crate) tenant: TenantId,
    pub(crate) whom: Whom,
    pub(crate) at: Timestamp,
    /// When it was released; a hold that stands has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) released: Option<Timestamp>,
}

/// What was done when an order was shredded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shredded {
    pub(crate) at: Timestamp,
    /// Records that were hidden.
    pub(crate) hidden: u64,
    /// Originals that were destroyed.
    pub(crate) originals: u64,
}

/// What there was before anything was destroyed: a second try finds nothing any more, and the receipt says it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) originals: u64,
    /// Records that were hidden; 0 also where they could not be counted yet.
    pub(super) hidden: u64,
}

/// What another node of the region said of an order; each of it is on record before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// When nobody could find or read there any more what the order means.
    pub(crate) shredded: Option<Timestamp>,
    /// Where it is physically gone there: the SHA-256 of that node's receipt.
    pub(crate) gone: Option<[u8; 32]>,
}

/// A word of another node, as it is on record.
#[derive(Serialize, Deserialize)]
pub(super) struct Word {
    pub(super) at: Timestamp,
    /// In hex; only where it is gone.
    pub(super) receipt: Option<String>,
}

/// Everything on record about one order. No `Debug`.
#[derive(Clone)]
pub(crate) struct Tracked {
    pub(crate) order: Order,
    /// Since when this process knows it, as [`Clock::steady`] has it.
    pub(super) known_at: Duration,
    /// Whether the ledger told of it since this node started.
    pub(super) is_asked_for: bool,
    pub(crate) shredded: Option<Shredded>,
    /// Originals that there were before the first of them was destroyed.
    pub(super) counted: Option<Counted>,
    /// The signed receipt of this node, as JSON.
    pub(crate) receipt: Option<serde_json::Value>,
    /// What the other nodes of the region said.
    pub(crate) told: BTreeMap<NodeId, Told>,
    /// The signed receipt for the region: every node of it is through.
    pub(crate) region: Option<serde_json::Value>,
}

impl Order {
    pub(super) fn new(tenant: TenantId, whom: Whom, (at, until): (Timestamp, Timestamp), salt: [u8; 32]) -> Self {
        Self { version: VERSION, tenant, whom, at, until, salt: hex::encode(salt) }
    }

    /// Whether it is small enough to be told to another node.
    pub(super) fn fits(&self) -> bool {
        self.told(ErasureId(0)).is_some()
    }

    /// The same, given at this moment and not at the one when it came: between them it was looked at.
    pub(super) fn given_at(self, at: Timestamp) -> Self {
        let until = Timestamp(self.until.0.saturating_add(at.0.saturating_sub(self.at.0)));
        Self { at, until, ..self }
    }

    /// What may be said of the order: a hash over salt, tenant and whom.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        let said = serde_json::to_vec(&(&self.salt, self.tenant, &self.whom)).unwrap_or_default();
        let mut commitment = [0; 32];
        commitment.copy_from_slice(digest(&SHA256, &said).as_ref());
        commitment
    }
}

impl Hold {
    pub(super) const fn new(tenant: TenantId, whom: Whom, at: Timestamp) -> Self {
        Self { version: VERSION, tenant, whom, at, released: None }
    }
}

impl Tracked {
    /// As it was given, and is known from now on.
    pub(super) fn new(order: Order, clock: &Clock) -> Self {
        let (known_at, is_asked_for, shredded, counted) = (clock.steady(), false, None, None);
        Self { order, known_at, is_asked_for, shredded, counted, receipt: None, told: BTreeMap::new(), region: None }
    }

    /// For how long it waits for others before segments are made anew. The window is over by whichever time says so first: that of
    /// the region can be set back, and an order may come from a node that was ahead.
    pub(super) fn waits(&self, clock: &Clock) -> Duration {
        let since = u64::try_from(clock.now().0.saturating_sub(self.order.at.0)).unwrap_or(0);
        let known = clock.steady().saturating_sub(self.known_at);
        ERASE_WINDOW.saturating_sub(known.max(Duration::from_micros(since)))
    }

    /// How far it is at another node, as far as that one said.
    pub(crate) fn at(&self, node: NodeId) -> Option<Progress> {
        let told = self.told.get(&node)?;
        let far = told.gone.map(|_| Progress::Gone).or_else(|| told.shredded.map(|_| Progress::Shredded));
        Some(far.unwrap_or(Progress::Ordered))
    }

    /// How far this node and all these others are; none of them is taken to have begun that did not say so.
    pub(crate) fn everywhere(&self, others: &BTreeSet<NodeId>) -> Progress {
        let far = others.iter().map(|node| self.at(*node).unwrap_or(Progress::Ordered)).min();
        far.unwrap_or(Progress::Gone).min(self.progress())
    }

    /// How far it is on this node.
    pub(crate) const fn progress(&self) -> Progress {
        match (&self.receipt, &self.shredded) {
            (Some(_), _) => Progress::Gone,
            (None, Some(_)) => Progress::Shredded,
            (None, None) => Progress::Ordered,
        }
    }

    /// As the suppression list has it.
    pub(crate) fn suppressed(&self, id: &str) -> Suppressed {
        let Order { tenant, whom, until, .. } = &self.order;
        Suppressed {
            order: id.into(),
            tenant: *tenant,
            subjects: whom.subjects.clone(),
            tokens: whom.tokens.clone(),
            only: whom.only.clone(),
            until: *until,
            is_purged: self.receipt.is_some(),
        }
    }
}

/// All orders, holds and deletions of the region. No `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Records {
    pub(crate) orders: BTreeMap<Box<str>, Tracked>,
    pub(crate) holds: BTreeMap<Box<str>, Hold>,
    /// Holds that were released, at whatever node of the region.
    pub(crate) released: BTreeMap<Box<str>, Hold>,
    pub(crate) deletions: BTreeMap<Box<str>, Deleted>,
    /// Orders with which not every node of the region is through.
    pub(crate) open: BTreeSet<Box<str>>,
    /// Nodes that put their orders into this same bucket: what such a node had taken before it went silent lies here.
    pub(crate) sharing: BTreeSet<NodeId>,
}

impl Records {
    /// Reads them; the node shows nothing before it has.
    ///
    /// # Errors
    /// [`EraseError::Store`], [`EraseError::Damaged`].
    pub(crate) async fn read(store: &Store, us: NodeId, clock: &Clock) -> Result<Self, EraseError> {
        let mut records = Self::default();
        put(store, &format!("{NODES}/{us}"), &serde_json::json!({"version": VERSION})).await?;
        let nodes = store.list(NODES).await?;
        let named = nodes.iter().filter_map(|(object, _)| object.strip_prefix(NODES)?.strip_prefix('/')?.parse().ok());
        records.sharing = named.map(NodeId).filter(|node| *node != us).collect();
        let listed = store.list(ORDERS).await?;
        for (object, _) in &listed {
            let Some(id) = id_of(object, ORDERS, "order") else { continue };
            records.orders.insert(id.into(), Tracked::new(parsed(store, object).await?, clock));
        }
        for (object, _) in &listed {
            let Some((id, step)) = step_of(object, us) else { continue };
            if let Some(tracked) = records.orders.get_mut(id) {
                take_step(tracked, step, store, object).await?;
            }
        }
        let open = records.orders.iter().filter(|(_, tracked)| tracked.region.is_none());
        records.open = open.map(|(id, _)| id.clone()).collect();
        for (object, _) in store.list(HOLDS).await? {
            let Some(id) = object.strip_prefix(HOLDS).and_then(|rest| rest.strip_prefix('/')) else { continue };
            let hold = parsed(store, &object).await?;
            match id.strip_suffix(RELEASED) {
                Some(id) => records.released.insert(id.into(), hold),
                None => records.holds.insert(id.into(), hold),
            };
        }
        records.holds.retain(|id, _| !records.released.contains_key(id));
        // In rising order: `evidence`, `plan`.
        let listed = store.list(DELETIONS).await?;
        for (object, _) in &listed {
            let Some(id) = id_of(object, DELETIONS, "plan") else { continue };
            let deletion: Deletion = parsed(store, object).await?;
            records.deletions.insert(id.into(), Deleted { deletion, evidence: None });
        }
        for (object, _) in &listed {
            let known = id_of(object, DELETIONS, "evidence").and_then(|id| records.deletions.get_mut(id));
            if let Some(deleted) = known {
                deleted.evidence = Some(parsed(store, object).await?);
            }
        }
        Ok(records)
    }

    /// Every hold and every release.
    pub(super) fn all_holds(&self) -> impl Iterator<Item = (&str, &Hold)> {
        self.holds.iter().chain(&self.released).map(|(id, hold)| (&**id, hold))
    }

    /// The hold that stands against an erasure by name, if any.
    pub(super) fn against(&self, tenant: TenantId, whom: &Whom) -> Option<&str> {
        let against = self.holds.iter().find(|(_, hold)| hold.tenant == tenant && whom.touches(&hold.whom));
        against.map(|(id, _)| &**id)
    }
}

/// Every order that lies in the bucket, whichever node put it there.
pub(super) async fn orders_in(store: &Store) -> Result<Vec<(Box<str>, Order)>, EraseError> {
    let mut orders = Vec::new();
    for (object, _) in store.list(ORDERS).await? {
        let Some(id) = id_of(&object, ORDERS, "order") else { continue };
        orders.push((id.into(), parsed(store, &object).await?));
    }
    Ok(orders)
}

async fn take_step(tracked: &mut Tracked, step: Step, store: &Store, object: &str) -> Result<(), EraseError> {
    match step {
        Step::Counted => tracked.counted = Some(parsed(store, object).await?),
        Step::Shredded => tracked.shredded = Some(parsed(store, object).await?),
        Step::Gone => tracked.receipt = Some(parsed(store, object).await?),
        Step::Region => tracked.region = Some(parsed(store, object).await?),
        Step::ToldShredded(node) => {
            let word: Word = parsed(store, object).await?;
            tracked.told.entry(node).or_default().shredded = Some(word.at);
        }
        Step::ToldGone(node) => {
            let word: Word = parsed(store, object).await?;
            let mut receipt = [0; 32];
            let digits = word.receipt.unwrap_or_default();
            hex::decode_to_slice(digits, &mut receipt)
                .map_err(|_| EraseError::Damaged { object: object.to_owned() })?;
            tracked.told.entry(node).or_default().gone = Some(receipt);
        }
    }
    Ok(())
}

/// What a node did about an order, or was told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Counted,
    Shredded,
    Gone,
    Region,
    ToldShredded(NodeId),
    ToldGone(NodeId),
}

impl Step {
    fn name(self) -> String {
        match self {
            Self::Counted => "counted".to_owned(),
            Self::Shredded => "shredded".to_owned(),
            Self::Gone => "gone".to_owned(),
            Self::Region => "region".to_owned(),
            Self::ToldShredded(node) => format!("told-{node}-shredded"),
            Self::ToldGone(node) => format!("told-{node}-gone"),
        }
    }

    fn named(name: &str) -> Option<Self> {
        let told = |step| name.strip_prefix("told-")?.strip_suffix(step)?.parse().ok().map(NodeId);
        match name {
            "counted" => Some(Self::Counted),
            "shredded" => Some(Self::Shredded),
            "gone" => Some(Self::Gone),
            "region" => Some(Self::Region),
            _ => told("-shredded").map(Self::ToldShredded).or_else(|| told("-gone").map(Self::ToldGone)),
        }
    }
}

/// Order and step of an object, where it is one of this node. Before steps had a node, they were that of the one there was.
fn step_of(object: &str, us: NodeId) -> Option<(&str, Step)> {
    let (id, rest) = object.strip_prefix(ORDERS)?.strip_prefix('/')?.split_once('/')?;
    let step = match rest.split_once('/') {
        Some((node, step)) => Some(step).filter(|_| node == us.to_string())?,
        None => rest,
    };
    Step::named(step).map(|step| (id, step))
}

/// Puts an order on record. It may be there from an interrupted try, or in words of another node: the same.
pub(super) async fn put_order(store: &Store, id: &str, order: &Order) -> Result<(), EraseError> {
    put(store, &format!("{ORDERS}/{id}/order"), order).await
}

/// Puts a step of this node on record. It may be there from an interrupted try: what was recorded first holds.
pub(super) async fn put_step(
    store: &Store,
    (id, us): (&str, NodeId),
    step: Step,
    what: &impl Serialize,
) -> Result<(), EraseError> {
    put(store, &format!("{ORDERS}/{id}/{us}/{}", step.name()), what).await
}

/// Puts a step of a deletion on record, as [`put_step`] does.
pub(super) async fn put_deletion(store: &Store, id: &str, step: &str, what: &impl Serialize) -> Result<(), EraseError> {
    put(store, &format!("{DELETIONS}/{id}/{step}"), what).await
}

pub(super) async fn put_hold(store: &Store, id: &str, hold: &Hold) -> Result<(), EraseError> {
    put(store, &format!("{HOLDS}/{id}"), hold).await
}

/// Puts the release of a hold on record; from then on it stands no more, whatever becomes of its object.
pub(super) async fn put_release(store: &Store, id: &str, released: &Hold) -> Result<(), EraseError> {
    put(store, &format!("{HOLDS}/{id}{RELEASED}"), released).await?;
    Ok(store.delete(&format!("{HOLDS}/{id}")).await?)
}

async fn put(store: &Store, object: &str, what: &impl Serialize) -> Result<(), EraseError> {
    let content = Bytes::from(serde_json::to_vec(what).unwrap_or_default());
    match store.create(object, content).await {
        Ok(()) | Err(StoreError::AlreadyThere { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn parsed<T: DeserializeOwned>(store: &Store, object: &str) -> Result<T, EraseError> {
    let content = store.read(object).await?;
    serde_json::from_slice(&content).map_err(|_| EraseError::Damaged { object: object.to_owned() })
}

fn id_of<'a>(object: &'a str, above: &str, step: &str) -> Option<&'a str> {
    object.strip_prefix(above)?.strip_prefix('/')?.strip_suffix(step)?.strip_suffix('/')
}

const ORDERS: &str = "erasure";
/// An object for each node that puts its orders into the bucket.
const NODES: &str = "erasure-nodes";
const HOLDS: &str = "holds";
/// Behind the id of a hold that was released.
const RELEASED: &str = "-released";
const DELETIONS: &str = "retention";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_its_own_steps_and_no_other_ones() {
        let us = NodeId(2);
        assert_eq!(step_of("erasure/aa/2/shredded", us), Some(("aa", Step::Shredded)));
        assert_eq!(step_of("erasure/aa/gone", us), Some(("aa", Step::Gone)), "from before steps had a node");
        assert_eq!(step_of("erasure/aa/1/gone", us), None, "another node's, in a bucket they share");
        assert_eq!(step_of("erasure/aa/order", us), None);
        let steps = [
            Step::Counted,
            Step::Shredded,
            Step::Gone,
            Step::Region,
            Step::ToldShredded(NodeId(7)),
            Step::ToldGone(NodeId(17)),
        ];
        for step in steps {
            assert_eq!(step_of(&format!("erasure/aa/2/{}", step.name()), us), Some(("aa", step)));
        }
    }

    #[test]
    fn an_order_is_nowhere_further_than_at_its_slowest_node() {
        let mut tracked = Tracked::new(
            Order::new(TenantId(1), Whom::default(), (Timestamp(1), Timestamp(2)), [0; 32]),
            &Clock::standing_at(Timestamp(1)),
        );
        let others = BTreeSet::from([NodeId(2), NodeId(3)]);
        tracked.shredded = Some(Shredded { at: Timestamp(1), hidden: 0, originals: 0 });
        assert_eq!(tracked.everywhere(&BTreeSet::new()), Progress::Shredded);
        assert_eq!(tracked.everywhere(&others), Progress::Ordered, "nobody said a word");
        tracked.told.insert(NodeId(2), Told { shredded: Some(Timestamp(1)), gone: Some([0; 32]) });
        assert_eq!(tracked.everywhere(&others), Progress::Ordered);
        tracked.told.insert(NodeId(3), Told { shredded: Some(Timestamp(1)), gone: None });
        assert_eq!(tracked.everywhere(&others), Progress::Shredded);
        tracked.receipt = Some(serde_json::Value::Null);
        assert_eq!(tracked.everywhere(&others), Progress::Shredded);
        assert_eq!(tracked.everywhere(&BTreeSet::from([NodeId(2)])), Progress::Gone);
    }
}
