//! The ledger comes before the wire (LED-1).
//!
//! The stream of a connection takes nothing but [`Cleared`] frames, and this file alone makes them: after the ledger of
//! the node has durably recorded the crossing. What arrives is recorded before it is handed up. Metadata is counted.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::errors::LinkError;
use super::identity::PeerId;
use super::protocol::Protocol;
use super::turnstile::Turnstiles;
use crate::border::EgressClass;
use crate::codec::{self, Message};
use crate::ids::ByteCount;
use crate::message::metadata::MetadataFrame;

/// A future behind a pointer, as `futures::future::BoxFuture`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One message that crosses a border.
#[derive(Clone)]
pub struct Crossing {
    /// The node at the other end.
    pub peer: PeerId,
    /// What kind of thing.
    pub class: EgressClass,
    /// Its size on the wire, header of the frame included.
    pub bytes: ByteCount,
    /// SHA-256 of the frame.
    pub sha256: [u8; 32],
    /// The exact frame.
    pub body: Vec<u8>,
}

/// Without the body: a question may hold a literal.
impl fmt::Debug for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crossing")
            .field("peer", &self.peer)
            .field("class", &self.class)
            .field("bytes", &self.bytes)
            .field("sha256", &hex::encode(self.sha256))
            .finish_non_exhaustive()
    }
}

/// The ledger did not take a crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger could not record the crossing; see the node's status for the reason")]
pub struct LedgerRefused;

/// The node's ledger, as the link sees it. Implemented by the node; the tests of the link have their own.
pub trait CrossingLedger: Send + Sync + 'static {
    /// Records durably what is about to leave. Nothing is sent before it returns, and nothing at all if it refuses.
    fn departing(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>>;
    /// Records durably what has arrived. Nobody sees it before it returns, and nobody at all if it refuses.
    fn arrived(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>>;
    /// Counts bytes of metadata to and from a peer of any region.
    fn metadata_bytes(&self, peer: &PeerId, sent: u64, received: u64);
    /// Counts an exchange of a peer of another region that was turned away unread, for its region begins too many.
    fn turned_away(&self, peer: &PeerId);
}

/// A frame that may go onto the wire. Made by [`Standing::depart`], [`Standing::depart_at_home`] and [`Standing::depart_metadata`] alone.
pub(super) struct Cleared(Vec<u8>);

impl Cleared {
    /// The bytes for QUIC.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What has left, for the caller's own records.
    pub(super) fn sent(&self) -> Sent {
        Sent { bytes: ByteCount(self.0.len() as u64), sha256: sha256(&self.0) }
    }
}

/// Proof that something was handed to the wire after the ledger had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its size on the wire.
    pub bytes: ByteCount,
    /// SHA-256 of the frame.
    pub sha256: [u8; 32],
}

/// What the peer of a connection is to this node; decided once, from its certificate.
pub(super) struct Standing {
    pub(super) peer: PeerId,
    pub(super) protocol: Protocol,
    is_foreign: bool,
    ledger: Arc<dyn CrossingLedger>,
    turnstiles: Arc<Turnstiles>,
}

impl Standing {
    pub(super) fn new(
        us: &PeerId,
        peer: PeerId,
        protocol: Protocol,
        ledger: Arc<dyn CrossingLedger>,
        turnstiles: Arc<Turnstiles>,
    ) -> Self {
        let is_foreign = us.region != peer.region;
        Self { peer, protocol, is_foreign, ledger, turnstiles }
    }

    /// Whether the peer may begin another exchange that the ledger would have to record; counts it where not.
    pub(super) fn may_begin_another(&self) -> bool {
        let may = !self.is_foreign || self.turnstiles.lets_in(&self.peer.region, self.protocol, Instant::now());
        if !may {
            self.ledger.turned_away(&self.peer);
        }
        may
    }

    pub(super) const fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Refuses a message that does not belong to the connection's protocol.
    pub(super) fn speaks(&self, message: Protocol) -> Result<(), LinkError> {
        if self.protocol == message {
            return Ok(());
        }
        Err(LinkError::WrongProtocol { peer: self.peer.clone(), message, spoken: self.protocol })
    }

    /// Clears a message for sending: across a border only after the ledger has it.
    pub(super) async fn depart<M: Message>(&self, class: EgressClass, message: &M) -> Result<Cleared, LinkError> {
        let frame = self.encode(message)?;
        if self.is_foreign {
            let crossing = self.crossing(class, frame.clone());
            self.ledger.departing(crossing).await.map_err(|source| self.ledger_error(source))?;
        }
        Ok(Cleared(frame))
    }

    /// Clears a message that stays in the region; there is no other way to the wire for it.
    pub(super) fn depart_at_home<M: Message>(&self, message: &M) -> Result<Cleared, LinkError> {
        if self.is_foreign {
            return Err(LinkError::Home { peer: self.peer.clone() });
        }
        Ok(Cleared(self.encode(message)?))
    }

    /// Clears a frame of the metadata group: counted, not awaited.
    pub(super) fn depart_metadata(&self, message: &MetadataFrame) -> Result<Cleared, LinkError> {
        let frame = self.encode(message)?;
        self.ledger.metadata_bytes(&self.peer, frame.len() as u64, 0);
        Ok(Cleared(frame))
    }

    /// Records what has arrived, before anybody sees it.
    pub(super) async fn arrive(&self, class: EgressClass, frame: Vec<u8>) -> Result<(), LinkError> {
        if self.is_foreign {
            let crossing = self.crossing(class, frame);
            self.ledger.arrived(crossing).await.map_err(|source| self.ledger_error(source))?;
        }
        Ok(())
    }

    /// Counts a frame of the metadata group that has arrived.
    pub(super) fn arrive_metadata(&self, bytes: usize) {
        self.ledger.metadata_bytes(&self.peer, 0, bytes as u64);
    }

    fn encode<M: Message>(&self, message: &M) -> Result<Vec<u8>, LinkError> {
        codec::encode(message).map_err(|source| LinkError::Codec { peer: self.peer.clone(), source })
    }

    fn crossing(&self, class: EgressClass, body: Vec<u8>) -> Crossing {
        Crossing { peer: self.peer.clone(), class, bytes: ByteCount(body.len() as u64), sha256: sha256(&body), body }
    }

    fn ledger_error(&self, source: LedgerRefused) -> LinkError {
        LinkError::Ledger { peer: self.peer.clone(), source }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}
