//! One stream of a connection: frames, whole or not at all.
//!
//! A `SendStream` of quinn that is dropped counts as finished, so [`FrameSender`] resets it unless it was finished on
//! purpose; a receiver takes a frame only as a whole, and the end of the stream only between frames. Memory for a frame is
//! taken as its bytes arrive, never ahead of them; what the length announces is checked first.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::crossing::{Cleared, Standing};
use super::errors::{GivenUp, LinkError};
use crate::codec::{self, CodecError, HEADER_BYTES, Header, Message};

/// The sending half: takes frames the ledger has, and nothing else.
pub(super) struct FrameSender {
    stream: SendStream,
    standing: Arc<Standing>,
    state: Sending,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Between frames.
    Idle,
    /// Inside a frame; still so on the next call only if the last one was dropped halfway.
    Inside,
    /// Finished or reset.
    Over,
}

impl FrameSender {
    pub(super) const fn new(stream: SendStream, standing: Arc<Standing>) -> Self {
        Self { stream, standing, state: Sending::Idle }
    }

    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Hands a frame to QUIC. Dropped halfway, the stream is of no more use and will be reset.
    pub(super) async fn send(&mut self, frame: &Cleared) -> Result<(), LinkError> {
        if self.state != Sending::Idle {
            self.give_up(GivenUp::Dropped);
            return Err(LinkError::Interrupted { peer: self.standing.peer.clone() });
        }
        self.state = Sending::Inside;
        self.stream.write_all(frame.as_bytes()).await.map_err(|error| self.write_error(error))?;
        self.state = Sending::Idle;
        Ok(())
    }

    /// Says that no further frame follows.
    pub(super) fn finish(&mut self) -> Result<(), LinkError> {
        if self.state != Sending::Idle || self.stream.finish().is_err() {
            self.give_up(GivenUp::Dropped);
            return Err(LinkError::Interrupted { peer: self.standing.peer.clone() });
        }
        self.state = Sending::Over;
        Ok(())
    }

    /// Resets the stream with a reason, unless it is over.
    pub(super) fn give_up(&mut self, reason: GivenUp) {
        if self.state != Sending::Over {
            self.state = Sending::Over;
            // Fails only where the stream is closed already, which is what is wanted.
            let _ = self.stream.reset(VarInt::from_u32(reason.wire()));
        }
    }

    /// Waits until the peer reads no more of what is sent here, or is lost. Not for a stream that was finished.
    pub(super) fn given_up(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.stream.stopped();
        // Whether it was told so or is lost: nobody waits any more.
        async move { drop(stopped.await) }
    }

    fn write_error(&self, error: WriteError) -> LinkError {
        let peer = self.standing.peer.clone();
        match error {
            WriteError::Stopped(code) => LinkError::GivenUp { peer, reason: GivenUp::from_wire(code.into_inner()) },
            WriteError::ConnectionLost(source) => LinkError::Lost { peer, source: Box::new(source) },
            WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::Interrupted { peer },
        }
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.give_up(GivenUp::Dropped);
    }
}

/// The receiving half. Its futures may be dropped at any time; nothing that has arrived is lost.
pub(super) struct FrameReceiver {
    stream: RecvStream,
    standing: Arc<Standing>,
    patience: Duration,
    waits: bool,
    arrived: Vec<u8>,
}

impl FrameReceiver {
    /// For a frame that is due now: no pause may be longer than `patience`.
    pub(super) const fn due(stream: RecvStream, standing: Arc<Standing>, patience: Duration) -> Self {
        Self { stream, standing, patience, waits: false, arrived: Vec::new() }
    }

    /// For frames that come when the peer is ready: `patience` holds only inside a frame, the rest is the caller's.
    pub(super) const fn awaiting(stream: RecvStream, standing: Arc<Standing>, patience: Duration) -> Self {
        Self { stream, standing, patience, waits: true, arrived: Vec::new() }
    }

    /// The header of the next frame; `None` where the peer has finished.
    pub(super) async fn header(&mut self) -> Result<Option<Header>, LinkError> {
        if !self.fill(HEADER_BYTES).await? {
            return if self.arrived.is_empty() { Ok(None) } else { Err(self.truncated(HEADER_BYTES)) };
        }
        Header::read(&self.arrived).map(Some).map_err(|source| self.refuse(source))
    }

    /// The next frame, which must be an `M`, with its bytes; `None` where the peer has finished.
    pub(super) async fn next<M: Message>(&mut self) -> Result<Option<(M, Vec<u8>)>, LinkError> {
        let Some(header) = self.header().await? else { return Ok(None) };
        let wanted = HEADER_BYTES + header.expect::<M>().map_err(|source| self.refuse(source))?;
        if !self.fill(wanted).await? {
            return Err(self.truncated(wanted));
        }
        let frame = std::mem::take(&mut self.arrived);
        let message = codec::decode::<M>(&frame).map_err(|source| self.refuse(source))?;
        Ok(Some((message, frame)))
    }

    /// The one frame of the stream: an `M`, and then the end. `None` where there was none.
    pub(super) async fn only<M: Message>(&mut self) -> Result<Option<(M, Vec<u8>)>, LinkError> {
        let Some(found) = self.next::<M>().await? else { return Ok(None) };
        if self.fill(1).await? {
            return Err(self.refuse(CodecError::Trailing { extra: self.arrived.len() }));
        }
        Ok(Some(found))
    }

    /// Tells the peer that nothing more is read.
    pub(super) fn give_up(&mut self, reason: GivenUp) {
        // Fails only where the stream is closed already, which is what is wanted.
        let _ = self.stream.stop(VarInt::from_u32(reason.wire()));
    }

    /// Waits until `wanted` bytes are there; false where the peer finished before.
    async fn fill(&mut self, wanted: usize) -> Result<bool, LinkError> {
        while self.arrived.len() < wanted {
            let missing = wanted - self.arrived.len();
            let patience = if self.waits && self.arrived.is_empty() { Duration::MAX } else { self.patience };
            let piece = tokio::time::timeout(patience, self.stream.read_chunk(missing, true)).await;
            let Ok(piece) = piece else {
                self.give_up(GivenUp::TooSlow);
                return Err(LinkError::Deadline { peer: self.standing.peer.clone(), deadline: self.patience });
            };
            match piece.map_err(|error| self.read_error(error))? {
                Some(chunk) => self.arrived.extend_from_slice(&chunk.bytes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn truncated(&mut self, wanted: usize) -> LinkError {
        self.refuse(CodecError::Truncated { found: self.arrived.len(), wanted })
    }

    fn refuse(&mut self, source: CodecError) -> LinkError {
        self.give_up(GivenUp::Malformed);
        LinkError::Codec { peer: self.standing.peer.clone(), source }
    }

    fn read_error(&self, error: ReadError) -> LinkError {
        let peer = self.standing.peer.clone();
        match error {
            ReadError::Reset(code) => LinkError::GivenUp { peer, reason: GivenUp::from_wire(code.into_inner()) },
            ReadError::ConnectionLost(source) => LinkError::Lost { peer, source: Box::new(source) },
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                LinkError::Interrupted { peer }
            }
        }
    }
}
