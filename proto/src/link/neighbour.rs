//! A peer of the same region: what is said to it crosses no border and needs no entry in the ledger.
//!
//! Orders of erasure stand here and only here, and so do records: in the query stage's own codec, and as producers sent them. What
//! one node released another one that was asked for it takes here, and here alone.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{HeadReply, Inbound, Line, RegionReplyTo, Reply};
use super::crossing::Sent;
use super::errors::LinkError;
use super::metadata_stream::Channel;
use crate::border::relayed::Relayed;
use crate::border::{CrossesBorder, Received, Released, VettedQuestion};
use crate::message::gated::{DrawnFrom, GatedQuestion};
use crate::message::ledger::{HeadOffer, Verdict};
use crate::message::metadata::MetadataFrame;
use crate::message::region::{RegionAsk, RegionReply, RowBytes};

/// A connection with a node of this node's own region.
#[derive(Clone, Debug)]
pub struct Neighbour(pub(super) Arc<Line>);

impl Neighbour {
    /// As [`super::foreign::Foreign::ask`], without the ledger.
    ///
    /// # Errors
    /// As there.
    pub async fn ask(&self, question: &VettedQuestion, deadline: Duration) -> Result<Received, LinkError> {
        self.0.ask(question, deadline).await
    }

    /// As [`super::foreign::Foreign::answer`], without the ledger.
    ///
    /// # Errors
    /// As there.
    pub async fn answer<A: CrossesBorder>(&self, to: Reply, answer: &Released<A>) -> Result<Sent, LinkError> {
        self.0.answer(to, answer).await
    }

    /// As [`super::foreign::Foreign::metadata`].
    ///
    /// # Errors
    /// As there.
    pub async fn metadata(&self, on: &mut Channel, frame: &MetadataFrame) -> Result<(), LinkError> {
        on.send(frame).await
    }

    /// As [`super::foreign::Foreign::ledger_head`], without the ledger.
    ///
    /// # Errors
    /// As there.
    pub async fn ledger_head(&self, offer: &HeadOffer) -> Result<Verdict, LinkError> {
        self.0.ledger_head(offer).await
    }

    /// As [`super::foreign::Foreign::cosign`], without the ledger.
    ///
    /// # Errors
    /// As there.
    pub async fn cosign(&self, to: HeadReply, verdict: &Verdict) -> Result<Sent, LinkError> {
        self.0.cosign(to, verdict).await
    }

    /// Asks a node of this region, and waits for what it says until the deadline.
    ///
    /// # Errors
    /// [`LinkError::Deadline`], or what became of the connection.
    pub async fn tell(&self, ask: &RegionAsk, deadline: Duration) -> Result<RegionReply, LinkError> {
        self.0.tell(ask, deadline).await
    }

    /// Answers a [`Neighbour::tell`] of the other side.
    ///
    /// # Errors
    /// [`LinkError::Home`] where it came over a connection with another region, or what became of the connection.
    pub async fn say(&self, to: RegionReplyTo, reply: &RegionReply) -> Result<(), LinkError> {
        self.0.say(to, reply).await
    }

    /// Asks a node of this region for records: the pieces, at most so many bytes of them, and the word that ends them.
    ///
    /// # Errors
    /// [`LinkError::Deadline`], [`LinkError::Codec`] where there are more bytes, or what became of the connection. What came
    /// before is not all then.
    pub async fn tell_rows(
        &self,
        ask: &RegionAsk,
        most: usize,
        deadline: Duration,
    ) -> Result<(Vec<RowBytes>, RegionReply), LinkError> {
        self.0.tell_rows(ask, most, deadline).await
    }

    /// As [`Neighbour::tell_rows`], each piece handed over as it comes; where one is not taken, nothing more is read.
    ///
    /// # Errors
    /// As there, and [`LinkError::GivenUp`] where a piece was not taken.
    pub async fn tell_pieces(
        &self,
        ask: &RegionAsk,
        take: &mut (dyn FnMut(RowBytes) -> bool + Send),
        deadline: Duration,
    ) -> Result<RegionReply, LinkError> {
        self.0.tell_pieces(ask, take, deadline).await
    }

    /// Sends one piece of the records that the other side asked for; [`Neighbour::say`] ends them.
    ///
    /// # Errors
    /// As there.
    pub async fn send_rows(&self, to: &mut RegionReplyTo, rows: RowBytes) -> Result<(), LinkError> {
        self.0.send_rows(to, rows).await
    }

    /// Has the node that owns a stream judge a question, and waits for what it releases and what that was drawn from.
    ///
    /// # Errors
    /// [`LinkError::Deadline`], [`LinkError::Answer`] where it is no answer to the question, or what became of the connection.
    pub async fn carry(
        &self,
        asked: GatedQuestion,
        deadline: Duration,
    ) -> Result<(Relayed, Option<DrawnFrom>), LinkError> {
        self.0.carry(asked, deadline).await
    }

    /// Answers a [`Neighbour::carry`] of the other side.
    ///
    /// # Errors
    /// As [`Neighbour::say`].
    pub async fn bring<A: CrossesBorder>(
        &self,
        to: RegionReplyTo,
        answer: &Released<A>,
        drawn: Option<DrawnFrom>,
    ) -> Result<(), LinkError> {
        self.0.bring(to, answer, drawn).await
    }

    /// As [`super::foreign::Foreign::next`].
    ///
    /// # Errors
    /// As there.
    pub async fn next(&self) -> Result<Inbound, LinkError> {
        self.0.next().await
    }
}
