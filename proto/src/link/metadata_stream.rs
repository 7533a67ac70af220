//! An exchange of the metadata group: frames one after another on one stream, until each side has finished.
//!
//! A request and its reply are one frame each way; a snapshot is its head, rows in several frames, and one reply. Counted
//! for the ledger, by peer (LED-1).

use super::connection::Peer;
use super::errors::{GivenUp, LinkError};
use super::identity::PeerId;
use super::stream::{FrameReceiver, FrameSender};
use crate::codec::CodecError;
use crate::message::metadata::MetadataFrame;

/// The two halves of an open exchange; only a peer's own `metadata` can send on it.
pub struct Channel {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl Channel {
    pub(super) const fn new(sender: FrameSender, receiver: FrameReceiver) -> Self {
        Self { sender, receiver }
    }

    pub(super) async fn send(&mut self, frame: &MetadataFrame) -> Result<(), LinkError> {
        let cleared = self.sender.standing().depart_metadata(frame)?;
        self.sender.send(&cleared).await
    }

    async fn receive(&mut self) -> Result<Option<MetadataFrame>, LinkError> {
        let Some((message, frame)) = self.receiver.next::<MetadataFrame>().await? else { return Ok(None) };
        self.sender.standing().arrive_metadata(frame.len());
        Ok(Some(message))
    }
}

/// An open exchange with a peer of either kind. Dropped before [`MetadataStream::finish`], it resets its stream, so that
/// the peer never takes half of it for the whole.
pub struct MetadataStream {
    peer: Peer,
    channel: Channel,
}

impl MetadataStream {
    pub(super) const fn new(peer: Peer, channel: Channel) -> Self {
        Self { peer, channel }
    }

    /// Who is at the other end, by its certificate. Whatever a frame says about its sender must agree with this.
    pub fn peer(&self) -> &PeerId {
        self.peer.id()
    }

    /// Sends a frame. Dropped halfway, the exchange is of no more use.
    ///
    /// # Errors
    /// As [`super::foreign::Foreign::metadata`].
    pub async fn send(&mut self, frame: &MetadataFrame) -> Result<(), LinkError> {
        match &self.peer {
            Peer::Neighbour(neighbour) => neighbour.metadata(&mut self.channel, frame).await,
            Peer::Foreign(foreign) => foreign.metadata(&mut self.channel, frame).await,
        }
    }

    /// The next frame, or `None` once the peer has finished. May be dropped and called again.
    ///
    /// # Errors
    /// [`LinkError::Codec`] for anything but a whole frame, [`LinkError::GivenUp`] where the peer stopped before its end.
    pub async fn recv(&mut self) -> Result<Option<MetadataFrame>, LinkError> {
        let received = self.channel.receive().await;
        match &received {
            Ok(Some(_)) => self.peer.prove(),
            Ok(None) => {}
            Err(_) => self.channel.sender.give_up(GivenUp::Malformed),
        }
        received
    }

    /// The last frame of the peer: one, and then its end.
    ///
    /// # Errors
    /// [`LinkError::NoReply`] where there is none, [`LinkError::Codec`] where another follows; else as
    /// [`MetadataStream::recv`].
    pub async fn only(&mut self) -> Result<MetadataFrame, LinkError> {
        let found = self.recv().await?.ok_or_else(|| LinkError::NoReply { peer: self.peer().clone() })?;
        match self.recv().await? {
            None => Ok(found),
            Some(_) => {
                self.channel.receiver.give_up(GivenUp::Malformed);
                Err(LinkError::Codec { peer: self.peer().clone(), source: CodecError::Trailing { extra: 1 } })
            }
        }
    }

    /// Says that nothing more will be sent. Frames of the peer can still be received.
    ///
    /// # Errors
    /// [`LinkError::Interrupted`] after a send that was dropped halfway.
    pub fn finish(&mut self) -> Result<(), LinkError> {
        self.channel.sender.finish()
    }
}
