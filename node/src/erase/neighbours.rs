//! The other nodes of the region and the metadata group, as an erasure sees them; and orders in the words of the link.
//!
//! Decides nothing. What is said here stays in the region: only a neighbour can be told (RES-1). The group is told a salted
//! commitment and a state (RES-2).

use std::sync::Arc;

use domicile_proto::ids::ErasureId;
use domicile_proto::link::connection::Peer;
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::region::{ErasureOrder, NotGiven, PersonRows, RegionAsk, RegionReply, RowBytes, Token};
use domicile_proto::metadata::ErasureRow;
use futures::future::BoxFuture;

use super::order::{Order, Whom};
use crate::limits::{ERASE_TELL_DEADLINE, EXPORT_BYTES, EXPORT_TELL_DEADLINE};

/// The neighbour said nothing that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent;

type Ask = dyn Fn(PeerAddr, RegionAsk) -> BoxFuture<'static, Result<RegionReply, Silent>> + Send + Sync;

/// Pieces of records, and the word that ends them.
pub(super) type Pieces = (Vec<RowBytes>, RegionReply);
type Gather = dyn Fn(PeerAddr, RegionAsk) -> BoxFuture<'static, Result<Pieces, Silent>> + Send + Sync;

/// Reads records of a person on this node: the pieces, and how many records are in them.
pub(crate) type RowsHere =
    Arc<dyn Fn(PersonRows) -> BoxFuture<'static, Result<(Vec<RowBytes>, u64), NotGiven>> + Send + Sync>;

/// The way to other nodes of the region.
#[derive(Clone)]
pub(crate) struct Neighbours {
    ask: Arc<Ask>,
    gather: Arc<Gather>,
}

impl Neighbours {
    /// Over some way; the tests have their own.
    pub(crate) fn over<F>(ask: F) -> Self
    where
        F: Fn(PeerAddr, RegionAsk) -> BoxFuture<'static, Result<RegionReply, Silent>> + Send + Sync + 'static,
    {
        Self { ask: Arc::new(ask), gather: Arc::new(|_, _| Box::pin(async { Err(Silent) })) }
    }

    /// With some way for records.
    pub(crate) fn gathering<F>(self, gather: F) -> Self
    where
        F: Fn(PeerAddr, RegionAsk) -> BoxFuture<'static, Result<Pieces, Silent>> + Send + Sync + 'static,
    {
        Self { gather: Arc::new(gather), ..self }
    }

    /// Over the link. A pooled connection may have died unnoticed: a loss is tried once more on a fresh one.
    pub(crate) fn by(link: Link) -> Self {
        let records = link.clone();
        let asking = Self::over(move |to, ask| {
            let link = link.clone();
            Box::pin(async move {
                let mut said = tell(&link, &to, &ask).await;
                if matches!(said, Err(LinkError::Lost { .. })) {
                    said = tell(&link, &to, &ask).await;
                }
                said.map_err(|error| {
                    tracing::debug!(peer = %to.id, code = error.code(), %error, "a neighbour was not told");
                    Silent
                })
            })
        });
        asking.gathering(move |to, ask| {
            let link = records.clone();
            Box::pin(async move {
                let mut said = gather(&link, &to, &ask).await;
                if matches!(said, Err(LinkError::Lost { .. })) {
                    said = gather(&link, &to, &ask).await;
                }
                said.map_err(|error| {
                    tracing::warn!(peer = %to.id, code = error.code(), %error, "a neighbour gave no records");
                    Silent
                })
            })
        })
    }

    /// Asks one, and waits for what it says.
    pub(crate) async fn ask(&self, to: PeerAddr, ask: RegionAsk) -> Result<RegionReply, Silent> {
        (self.ask)(to, ask).await
    }

    /// Asks one for records, and waits for the word that ends them.
    pub(super) async fn gather(&self, to: PeerAddr, ask: RegionAsk) -> Result<Pieces, Silent> {
        (self.gather)(to, ask).await
    }
}

async fn tell(link: &Link, to: &PeerAddr, ask: &RegionAsk) -> Result<RegionReply, LinkError> {
    match link.peer(to, Protocol::Region).await? {
        Peer::Neighbour(neighbour) => neighbour.tell(ask, ERASE_TELL_DEADLINE).await,
        Peer::Foreign(_) => Err(LinkError::Home { peer: to.id.clone() }),
    }
}

async fn gather(link: &Link, to: &PeerAddr, ask: &RegionAsk) -> Result<Pieces, LinkError> {
    match link.peer(to, Protocol::Region).await? {
        Peer::Neighbour(neighbour) => neighbour.tell_rows(ask, EXPORT_BYTES, EXPORT_TELL_DEADLINE).await,
        Peer::Foreign(_) => Err(LinkError::Home { peer: to.id.clone() }),
    }
}

/// What the metadata group says of this region's orders.
#[derive(Clone)]
pub(crate) struct GroupView {
    /// As this node's copy has it.
    pub(crate) rows: Arc<dyn Fn() -> Vec<ErasureRow> + Send + Sync>,
}

impl GroupView {
    /// A group that knows nothing of this region.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self { rows: Arc::new(Vec::new) }
    }
}

impl Whom {
    /// Its tokens in the words of the link; none where one does not fit them.
    pub(super) fn told_tokens(&self) -> Option<Vec<Token>> {
        self.tokens.iter().map(|token| Token::try_from(token.to_string()).ok()).collect()
    }
}

impl Order {
    /// In the words of the link; none where it does not fit them, which [`Order::new`] sees to.
    pub(super) fn told(&self, id: ErasureId) -> Option<ErasureOrder> {
        let mut salt = [0; 32];
        hex::decode_to_slice(&self.salt, &mut salt).ok()?;
        let order = ErasureOrder {
            id,
            tenant: self.tenant,
            subjects: self.whom.subjects.clone(),
            tokens: self.whom.told_tokens()?,
            only: self.whom.only.clone(),
            at: self.at,
            until: self.until,
            salt,
        };
        order.is_bounded().then_some(order)
    }

    /// Out of the words of the link.
    pub(super) fn taken(order: ErasureOrder) -> Self {
        let ErasureOrder { tenant, subjects, tokens, only, at, until, salt, .. } = order;
        let tokens = tokens.into_iter().map(|token| String::from(token).into()).collect();
        Self::new(tenant, Whom { subjects, tokens, only }, (at, until), salt)
    }
}
