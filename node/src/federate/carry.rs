//! Questions about a stream that another node of this region owns: carried there, and what that one released is taken as it came.
//!
//! The owner judges, by its table, its budget and its guard; this node has nothing to judge by and changes nothing (decision 70). An
//! owner that is not heard is [`Unheard`]: no number stands for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::NodeId;
use domicile_proto::link::connection::Peer;
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::PeerAddr;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::answer::{Outcome, RefusalCode};
use domicile_proto::message::gated::{AskedBy, DrawnFrom, GatedQuestion};
use futures::future::BoxFuture;

use super::gate::Put;
use crate::admit::Places;
use crate::aggregate::Answered;
use crate::audit::Drawn;
use crate::limits::{ABROAD_PERCENT, CARRIED_QUESTIONS, CARRIED_QUESTIONS_OF_TENANT};
use crate::policy::PolicyWatch;

/// The owner of the stream was not heard: it is out of reach, broke off, or its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheard;

/// What the owner released, and what that was drawn from.
pub(crate) type Carried = Result<(Answered, Option<Drawn>), Unheard>;

type Call = dyn Fn(PeerAddr, GatedQuestion, Duration) -> BoxFuture<'static, Carried> + Send + Sync;

/// The way to the owners of this region's streams.
#[derive(Clone)]
pub(crate) struct Carrier {
    us: NodeId,
    call: Arc<Call>,
    places: Arc<Places>,
    policy: Option<PolicyWatch>,
}

impl Carrier {
    /// Over some way; the tests have their own.
    pub(crate) fn over<F>(us: NodeId, call: F) -> Self
    where
        F: Fn(PeerAddr, GatedQuestion, Duration) -> BoxFuture<'static, Carried> + Send + Sync + 'static,
    {
        let places = Arc::new(Places::new(CARRIED_QUESTIONS, CARRIED_QUESTIONS_OF_TENANT));
        Self { us, call: Arc::new(call), places, policy: None }
    }

    /// What crosses is passed on where it was judged under a version of the policy that held on this node too: by its ledger alone,
    /// where the answer leaves, nobody could say otherwise what holds under the version that the answer names.
    pub(crate) fn under(self, policy: PolicyWatch) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Over the link. A pooled connection may have died unnoticed: a loss is tried once more on a fresh one. The owner knows a question
    /// again that it was asked before.
    pub(crate) fn by(us: NodeId, link: Link) -> Self {
        Self::over(us, move |to, asked, within| {
            let link = link.clone();
            Box::pin(async move {
                let began = Instant::now();
                let asking = async {
                    let told = ask_once(&link, &to, asked.clone(), within).await;
                    if !matches!(told, Err(LinkError::Lost { .. })) {
                        return told;
                    }
                    let spent = began.elapsed();
                    let wait_ms = asked.wait_ms.saturating_sub(u32::try_from(spent.as_millis()).unwrap_or(u32::MAX));
                    ask_once(&link, &to, GatedQuestion { wait_ms, ..asked }, within.saturating_sub(spent)).await
                };
                match tokio::time::timeout(within, asking).await {
                    Ok(Ok((answered, drawn))) => Ok((answered, drawn.map(Drawn::from))),
                    Ok(Err(error)) => {
                        tracing::info!(peer = %to.id, code = error.code(), %error, "the owner of a stream gave no answer");
                        Err(Unheard)
                    }
                    Err(_) => Err(Unheard),
                }
            })
        })
    }

    /// What is known of streams.
    pub(super) const fn policy(&self) -> Option<&PolicyWatch> {
        self.policy.as_ref()
    }

    /// The node that owns the stream of a question, where it is another one than this.
    pub(super) fn owner(&self, put: &Put) -> Option<NodeId> {
        put.stream.shard.map(|(_, owner)| owner).filter(|owner| *owner != self.us)
    }

    /// Has the owner judge a question. The answer stands under the head of this node's own ledger, for here it leaves.
    pub(super) async fn carry(&self, owner: NodeId, put: &Put, by: AskedBy) -> Carried {
        let began = Instant::now();
        let to = put.policy.nodes_of(&put.policy.region).find(|to| to.id.node == owner).ok_or(Unheard)?;
        let is_abroad = matches!(by, AskedBy::Region(_));
        // Another region waits for half of its time for a node, and then asks the next one.
        let deadline = within(put, is_abroad);
        let Some(_place) = self.places.wait(put.question.tenant, deadline / 2).await else {
            // The next node may have a place for it; a client has this one.
            let busy = (Answered::refused(put.header, RefusalCode::Busy), None);
            return if is_abroad { Err(Unheard) } else { Ok(busy) };
        };
        let left = deadline.saturating_sub(began.elapsed());
        // So that its word, which may be that its time was up, still reaches this node.
        let its = left - left / 10;
        let wait_ms = u32::try_from(its.as_millis()).unwrap_or(u32::MAX);
        let asked = GatedQuestion { by, question: put.question.clone(), policy: put.policy.version, wait_ms };
        let told = tokio::time::timeout(left, (self.call)(to, asked, left)).await;
        let (answered, drawn) = told.unwrap_or(Err(Unheard))?;
        let judged = answered.answer();
        if let Some(policy) = self.policy.as_ref().filter(|_| put.crosses)
            && matches!(judged.outcome, Outcome::Aggregate(_))
        {
            let left = deadline.saturating_sub(began.elapsed());
            let has_held = tokio::time::timeout(left, policy.has_held(judged.header.policy)).await;
            has_held.ok().filter(|has_held| *has_held).ok_or(Unheard)?;
        }
        Ok((answered.repeat(&put.header), drawn))
    }
}

/// How long a question waits for an owner in all.
pub(super) fn within(put: &Put, is_abroad: bool) -> Duration {
    if is_abroad { put.deadline * ABROAD_PERCENT / 100 } else { put.deadline }
}

/// The time of a question that waits so long for an owner.
pub(super) fn lasting(wait: Duration, is_abroad: bool) -> Duration {
    if is_abroad { wait * 100 / ABROAD_PERCENT } else { wait }
}

async fn ask_once(
    link: &Link,
    to: &PeerAddr,
    asked: GatedQuestion,
    within: Duration,
) -> Result<(Answered, Option<DrawnFrom>), LinkError> {
    match link.peer(to, Protocol::Region).await? {
        Peer::Neighbour(neighbour) => {
            let (relayed, drawn) = neighbour.carry(asked, within).await?;
            Ok((Answered::relayed(relayed), drawn))
        }
        Peer::Foreign(_) => Err(LinkError::Home { peer: to.id.clone() }),
    }
}

impl From<DrawnFrom> for Drawn {
    fn from(from: DrawnFrom) -> Self {
        let DrawnFrom { shard, upto, journal, rules, k } = from;
        Self { shard, upto, journal, rules, k }
    }
}

impl From<Drawn> for DrawnFrom {
    fn from(from: Drawn) -> Self {
        let Drawn { shard, upto, journal, rules, k } = from;
        Self { shard, upto, journal, rules, k }
    }
}
