//! Whether a legal hold stands against an order: by name, by what lies sealed, and by what the records say.
//!
//! A person has several names, and a hold may use another one than an order. So names are only the first look: an order is also
//! refused where it would destroy an original of somebody who is held, or hide a record that is held. Each node looks at what
//! it holds itself before it takes an order; what it cannot look through may be held. Destroys nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use domicile_proto::ids::{ShardId, StreamId, TenantId, TimeRange};

use super::errors::EraseError;
use super::order::{Order, Whom};
use super::workflow::{Erasure, with_targets_of};
use crate::audit::Event;
use crate::errors::Coded;
use crate::keys::{KeysError, Vault};
use crate::limits::ERASE_REFRESH_WAIT;
use crate::policy::{Policy, Wanted};

/// Holds of a tenant, by id.
type Holds = Vec<(Box<str>, Whom)>;

impl Erasure {
    /// Refuses an order against which a hold stands or may stand; `names` is all that the person may be called. The caller
    /// holds `ordering`.
    ///
    /// # Errors
    /// [`EraseError::Held`], [`EraseError::HoldUnseen`]; or the keyring could not be read.
    pub(super) async fn refuse_held(&self, order: &Order, names: &Whom) -> Result<(), EraseError> {
        let (by_name, holds): (Option<Box<str>>, Holds) = {
            let records = self.records.read();
            let own = records.holds.iter().filter(|(_, hold)| hold.tenant == order.tenant);
            let holds = own.map(|(id, hold)| (id.clone(), hold.whom.clone())).collect();
            (records.against(order.tenant, names).map(Into::into), holds)
        };
        if let Some(hold) = by_name {
            return Err(EraseError::Held { hold });
        }
        if holds.is_empty() {
            return Ok(());
        }
        let (vault, tenant, whom) = (Arc::clone(&self.parts.vault), order.tenant, order.whom.clone());
        let looking = self.parts.tasks.blocking(move || {
            let held = held_in_keys(&vault, tenant, &whom, &holds);
            held.map(|held| (held, holds))
        });
        let (held, holds) = looking.await.map_err(|_| EraseError::Stopping)??;
        if let Some(hold) = held {
            return Err(EraseError::Held { hold });
        }
        // A hold on whole streams is seen by their names: what an order hides, it hides in streams that it names.
        let persons: Holds = holds.into_iter().filter(|(_, held)| !held.is_nobody()).collect();
        if persons.is_empty() { Ok(()) } else { self.look_in_records(order, &persons).await }
    }

    /// Has the ledger tell that an order was refused for a hold; why it is refused.
    pub(super) async fn tell_refused(&self, order: &Order, refused: EraseError) -> EraseError {
        let hold = match &refused {
            EraseError::Held { hold } | EraseError::HoldUnseen { hold, .. } => hold.clone(),
            _ => return refused,
        };
        let event = Event::ErasureRefused { hold, commitment: order.commitment() };
        match self.parts.ledger.record_of(order.tenant, event).await {
            Ok(_) => refused,
            Err(error) => error.into(),
        }
    }

    /// Looks for a record that is the order's and that of a person who is held.
    async fn look_in_records(&self, order: &Order, persons: &[(Box<str>, Whom)]) -> Result<(), EraseError> {
        let (policy, catalog) = (self.parts.policy.now(), self.parts.shards.catalog());
        let owners = policy.owners();
        let shards = self.shards_of(order.tenant, &policy);
        // What cannot be looked through is found before anything is read.
        for shard in &shards {
            let is_about = |whom: &Whom| reaches(whom, (order.tenant, *shard), &policy);
            let first = persons.iter().find(|(_, whom)| is_about(whom)).filter(|_| is_about(&order.whom));
            let Some((hold, _)) = first else { continue };
            let unseen = |why: &'static str| EraseError::HoldUnseen { hold: hold.clone(), why };
            let is_ours = owners.get(shard).is_none_or(|owner| *owner == self.parts.us);
            if is_ours && !(catalog.is_whole(*shard) && catalog.is_taken_up(*shard, &policy)) {
                return Err(unseen(NOT_WHOLE));
            }
            if catalog.unsearched(*shard, TimeRange::ALL, &catalog.view(*shard)).is_some() {
                return Err(unseen(ARCHIVED));
            }
        }
        // What was accepted before is looked at as well. A bucket that does not answer keeps other orders waiting no longer than this.
        if tokio::time::timeout(ERASE_REFRESH_WAIT, self.parts.shards.refresh(None)).await.is_err() {
            let hold = persons.first().map(|(hold, _)| hold.clone()).unwrap_or_default();
            return Err(EraseError::HoldUnseen { hold, why: NOT_WHOLE });
        }
        for shard in shards {
            let is_about = |whom: &Whom| reaches(whom, (order.tenant, shard), &policy);
            let held: Vec<&(Box<str>, Whom)> = persons.iter().filter(|(_, whom)| is_about(whom)).collect();
            let Some((first, _)) = held.first().copied().filter(|_| is_about(&order.whom)) else { continue };
            let view = catalog.view(shard);
            let unseen = |why: &'static str| EraseError::HoldUnseen { hold: first.clone(), why };
            let kept: Vec<Wanted> = held.iter().map(|(_, whom)| whom.wanted()).collect();
            for segment in view.iter() {
                let looking = self.parts.shards.shared_with(Arc::clone(segment), order.whom.wanted(), kept.clone());
                match looking.await {
                    Ok(None) => {}
                    Ok(Some(place)) => {
                        let hold = held.get(place).map_or(first, |(hold, _)| hold).clone();
                        return Err(EraseError::Held { hold });
                    }
                    Err(error) => {
                        let (code, error) = (error.code(), &error as &dyn std::error::Error);
                        tracing::error!(%shard, code, error, "a segment cannot be looked through for a legal hold");
                        return Err(unseen(UNREADABLE));
                    }
                }
            }
        }
        Ok(())
    }

    /// The shards that may hold records of a tenant here: its own, and those of which nobody knows whose they are.
    fn shards_of(&self, tenant: TenantId, policy: &Policy) -> BTreeSet<ShardId> {
        let catalog = self.parts.shards.catalog();
        let mut shards: BTreeSet<ShardId> = catalog.shards().into_iter().chain(catalog.archives()).collect();
        for view in policy.streams.values() {
            let Some((shard, owner)) = view.shard else { continue };
            if view.tenant != tenant {
                shards.remove(&shard);
            } else if owner == self.parts.us {
                shards.insert(shard);
            }
        }
        shards
    }
}

/// Whether it is about what a shard holds: the shard is that of a stream it names, then or now.
fn reaches(whom: &Whom, (tenant, shard): (TenantId, ShardId), policy: &Policy) -> bool {
    let is_of = |stream: StreamId| {
        let view = policy.stream_by_id(tenant, stream);
        view.and_then(|view| view.shard).is_some_and(|(known, _)| known == shard)
    };
    let only = whom.only.as_ref();
    only.is_none_or(|only| only.iter().any(|(stream, known)| *known == Some(shard) || is_of(*stream)))
}

/// The hold of which an erasure would destroy an original. Blocks.
fn held_in_keys(
    vault: &Vault,
    tenant: TenantId,
    whom: &Whom,
    holds: &[(Box<str>, Whom)],
) -> Result<Option<Box<str>>, KeysError> {
    let going = with_targets_of(tenant, whom, |targets| vault.originals_of(targets))?;
    if going.is_empty() {
        return Ok(None);
    }
    for (id, held) in holds {
        let is_in = |stream: StreamId| held.only.as_ref().is_none_or(|only| only.iter().any(|(own, _)| *own == stream));
        let kept = with_targets_of(tenant, held, |targets| vault.originals_of(targets))?;
        let is_kept = |one: &(StreamId, Vec<u8>)| is_in(one.0) && (held.is_nobody() || kept.contains(one));
        if going.iter().any(is_kept) {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// A look a moment ago found that out.
pub(super) const LOOKED_AT: &str = "not everything could be looked through a moment ago";
const NOT_WHOLE: &str = "not everything that this node accepted can be looked through now";
const ARCHIVED: &str = "part of a stream lies in the archive, where nobody looks for a person; `domicile lifecycle restore` brings it back";
const UNREADABLE: &str = "a segment cannot be read; the log of the node names it";
