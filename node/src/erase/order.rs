//! Orders, holds and deletions on record: objects of the region's bucket, created once. The newest object of an order is its
//! state.
//!
//! `erasure/<id>/order`, then `shredded`, then `gone`; `holds/<id>`; `retention/<id>/plan`, then `evidence`. JSON; subjects are keyed hashes, and there is no value.

use std::collections::BTreeMap;

use bytes::Bytes;
use domicile_proto::ids::{ShardId, StreamId, TenantId, Timestamp};
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Progress;
use super::deletion::{Deleted, Deletion};
use super::errors::EraseError;
use crate::policy::Suppressed;
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

    /// Whether an erasure of `self` would touch what `held` holds.
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
    salt: String,
}

/// A hold. No `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Hold {
    version: u32,
    pub(crate) tenant: TenantId,
    pub(crate) whom: Whom,
    pub(crate) at: Timestamp,
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

/// Everything on record about one order. No `Debug`.
#[derive(Clone)]
pub(crate) struct Tracked {
    pub(crate) order: Order,
    pub(crate) shredded: Option<Shredded>,
    /// The signed receipt, as JSON.
    pub(crate) receipt: Option<serde_json::Value>,
}

impl Order {
    pub(super) fn new(tenant: TenantId, whom: Whom, (at, until): (Timestamp, Timestamp), salt: [u8; 32]) -> Self {
        Self { version: VERSION, tenant, whom, at, until, salt: hex::encode(salt) }
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
        Self { version: VERSION, tenant, whom, at }
    }
}

impl Tracked {
    /// How far it is.
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
    pub(crate) deletions: BTreeMap<Box<str>, Deleted>,
}

impl Records {
    /// Reads them; the node shows nothing before it has.
    ///
    /// # Errors
    /// [`EraseError::Store`], [`EraseError::Damaged`].
    pub(crate) async fn read(store: &Store) -> Result<Self, EraseError> {
        let mut records = Self::default();
        // In rising order: `gone`, `order`, `shredded`.
        let listed = store.list(ORDERS).await?;
        for (object, _) in &listed {
            let Some(id) = id_of(object, ORDERS, "order") else { continue };
            let tracked = Tracked { order: parsed(store, object).await?, shredded: None, receipt: None };
            records.orders.insert(id.into(), tracked);
        }
        for (object, _) in &listed {
            if let Some(tracked) = id_of(object, ORDERS, "shredded").and_then(|id| records.orders.get_mut(id)) {
                tracked.shredded = Some(parsed(store, object).await?);
            } else if let Some(tracked) = id_of(object, ORDERS, "gone").and_then(|id| records.orders.get_mut(id)) {
                tracked.receipt = Some(parsed(store, object).await?);
            }
        }
        for (object, _) in store.list(HOLDS).await? {
            if let Some(id) = object.strip_prefix(HOLDS).and_then(|rest| rest.strip_prefix('/')) {
                records.holds.insert(id.into(), parsed(store, &object).await?);
            }
        }
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

    /// The hold that stands against an erasure, if any.
    pub(super) fn against(&self, tenant: TenantId, whom: &Whom) -> Option<&str> {
        let against = self.holds.iter().find(|(_, hold)| hold.tenant == tenant && whom.touches(&hold.whom));
        against.map(|(id, _)| &**id)
    }
}

/// Puts a step of an order on record. It may be there from an interrupted try: what was recorded first holds.
pub(super) async fn put_step(store: &Store, id: &str, step: &str, what: &impl Serialize) -> Result<(), EraseError> {
    put(store, &format!("{ORDERS}/{id}/{step}"), what).await
}

/// Puts a step of a deletion on record, as [`put_step`] does.
pub(super) async fn put_deletion(store: &Store, id: &str, step: &str, what: &impl Serialize) -> Result<(), EraseError> {
    put(store, &format!("{DELETIONS}/{id}/{step}"), what).await
}

pub(super) async fn put_hold(store: &Store, id: &str, hold: &Hold) -> Result<(), EraseError> {
    put(store, &format!("{HOLDS}/{id}"), hold).await
}

pub(super) async fn remove_hold(store: &Store, id: &str) -> Result<(), EraseError> {
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
const HOLDS: &str = "holds";
const DELETIONS: &str = "retention";
const VERSION: u32 = 1;
