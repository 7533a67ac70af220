//! How other regions are reached: one question to one of a region's nodes, another node where the first is out of reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::border::{Received, VettedQuestion};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::answer::{Outcome, RefusalCode};
use futures::future::BoxFuture;

/// The node gave no answer that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

type Call = dyn Fn(PeerAddr, VettedQuestion, Duration) -> BoxFuture<'static, Result<Received, NoAnswer>> + Send + Sync;

/// The way to nodes of other regions.
#[derive(Clone)]
pub(crate) struct Reach(Arc<Call>);

impl Reach {
    /// Over some way; the tests have their own.
    pub(crate) fn over<F>(call: F) -> Self
    where
        F: Fn(PeerAddr, VettedQuestion, Duration) -> BoxFuture<'static, Result<Received, NoAnswer>>
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(call))
    }

    /// Over the link. A pooled connection may have died unnoticed: a loss is tried once more on a fresh one.
    pub(crate) fn by(link: Link) -> Self {
        Self::over(move |to, question, within| {
            let link = link.clone();
            Box::pin(async move {
                let asked = tokio::time::timeout(within, ask(&link, &to, &question, within)).await;
                asked.unwrap_or(Err(NoAnswer))
            })
        })
    }

    /// Asks one of the region's nodes after another until one answers or the time is up. A node that cannot answer leaves it to
    /// the next one; what it said stands where no other says more.
    pub(super) async fn ask(
        &self,
        nodes: Vec<PeerAddr>,
        question: &VettedQuestion,
        deadline: Duration,
    ) -> Result<Received, NoAnswer> {
        let began = Instant::now();
        let mut left_to_try = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let mut refused = Err(NoAnswer);
        for node in nodes {
            let left = deadline.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            // A silent node must leave time for the next one.
            let share = left / left_to_try.clamp(1, 2);
            left_to_try = left_to_try.saturating_sub(1);
            match (self.0)(node, question.clone(), share).await {
                // Another node of the region may hold the stream, or be in touch with the group.
                Ok(received) if matches!(received.answer().outcome, Outcome::Refused(RefusalCode::Unavailable)) => {
                    refused = Ok(received);
                }
                Ok(received) => return Ok(received),
                Err(NoAnswer) => {}
            }
        }
        refused
    }
}

async fn ask(link: &Link, to: &PeerAddr, question: &VettedQuestion, within: Duration) -> Result<Received, NoAnswer> {
    let began = Instant::now();
    let mut outcome = ask_once(link, to, question, within).await;
    if matches!(outcome, Err(LinkError::Lost { .. })) {
        outcome = ask_once(link, to, question, within.saturating_sub(began.elapsed())).await;
    }
    outcome.map_err(|error| {
        tracing::info!(peer = %to.id, code = error.code(), %error, "no answer from a node of another region");
        NoAnswer
    })
}

async fn ask_once(
    link: &Link,
    to: &PeerAddr,
    question: &VettedQuestion,
    within: Duration,
) -> Result<Received, LinkError> {
    let peer = link.peer(to, Protocol::Query).await?;
    peer.ask(question, within).await
}
