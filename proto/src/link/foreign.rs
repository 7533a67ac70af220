//! A peer of another region: four things may be said to it, each a sealed type of the border, and none takes bytes (RES-1).
//! `cosign` is what a witness says back to a ledger head, as `answer` is what is said back to a question.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{HeadReply, Inbound, Line, Reply};
use super::crossing::Sent;
use super::errors::LinkError;
use super::metadata_stream::Channel;
use crate::border::{CrossesBorder, Received, Released, VettedQuestion};
use crate::message::ledger::{HeadOffer, Verdict};
use crate::message::metadata::MetadataFrame;

/// A connection with a node of another region.
#[derive(Clone, Debug)]
pub struct Foreign(pub(super) Arc<Line>);

impl Foreign {
    /// Asks, and waits for the answer until the deadline. Question and answer are in the ledger before anybody sees them.
    ///
    /// # Errors
    /// [`LinkError::Deadline`], [`LinkError::Ledger`], [`LinkError::Answer`] for an answer that does not fit the question,
    /// or what became of the connection. A failure on the first use of a connection may mean that the peer refuses us.
    pub async fn ask(&self, question: &VettedQuestion, deadline: Duration) -> Result<Received, LinkError> {
        self.0.ask(question, deadline).await
    }

    /// Answers a question. Returns once the answer is with QUIC; the asker's deadline decides whether it is in time.
    ///
    /// # Errors
    /// [`LinkError::OtherQuestion`] where reply, answer and connection do not belong together, [`LinkError::Ledger`], or
    /// what became of the connection.
    pub async fn answer<A: CrossesBorder>(&self, to: Reply, answer: &Released<A>) -> Result<Sent, LinkError> {
        self.0.answer(to, answer).await
    }

    /// Sends a frame of the metadata group on an open exchange. [`super::metadata_stream::MetadataStream`] calls it.
    ///
    /// # Errors
    /// [`LinkError::Interrupted`] after a send that was dropped halfway, or what became of the connection.
    pub async fn metadata(&self, on: &mut Channel, frame: &MetadataFrame) -> Result<(), LinkError> {
        on.send(frame).await
    }

    /// Sends a ledger head, and waits for what the peer's witness says to it. Both are in both ledgers before anybody sees them.
    ///
    /// # Errors
    /// [`LinkError::GivenUp`] where the peer's ledger refused, [`LinkError::Ledger`] where ours did, or what became of the
    /// connection.
    pub async fn ledger_head(&self, offer: &HeadOffer) -> Result<Verdict, LinkError> {
        self.0.ledger_head(offer).await
    }

    /// Answers a ledger head with what this node's witness says to it.
    ///
    /// # Errors
    /// [`LinkError::OtherQuestion`] where the head came over another connection, [`LinkError::Ledger`], or what became of the
    /// connection.
    pub async fn cosign(&self, to: HeadReply, verdict: &Verdict) -> Result<Sent, LinkError> {
        self.0.cosign(to, verdict).await
    }

    /// What the peer begins next, on a connection it dialled. May be dropped at any time. What is handed up lies in the
    /// ledger; a question that breaks a bound was refused already.
    ///
    /// # Errors
    /// [`LinkError::Lost`] at the end of the connection, [`LinkError::WrongDirection`] on one this node dialled.
    pub async fn next(&self) -> Result<Inbound, LinkError> {
        self.0.next().await
    }
}
