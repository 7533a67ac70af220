//! Questions of other regions: let in by this region's own policy, put before its gate, answered or refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::Region;
use domicile_proto::link::connection::{Inbound, Peer, Reply};
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::answer::{AnswerHeader, Outcome, RefusalCode};
use domicile_proto::message::gated::AskedBy;
use domicile_proto::message::question::Question;

use super::carry::Unheard;
use super::coverage::cells;
use super::gate::{Gate, Put, admissible};
use crate::admit::Places;
use crate::aggregate::Answered;
use crate::audit::{Event, Ledger, Why};
use crate::limits::{
    FEDERATED_DEADLINE, FOREIGN_QUESTIONS_AT_ONCE, FOREIGN_QUESTIONS_CARRIED, FOREIGN_QUESTIONS_CARRIED_OF_TENANT,
};
use crate::policy::PolicyWatch;
use crate::tasks::{Kind, Tasks};
use crate::telemetry::Metrics;

/// Answers other regions.
pub(crate) struct Answerer {
    policy: PolicyWatch,
    gate: Gate,
    ledger: Arc<Ledger>,
    metrics: Metrics,
    detector: Arc<dyn LiteralDetector + Send + Sync>,
    here: Places,
    /// For what waits for another node of the region.
    elsewhere: Places,
}

impl Answerer {
    /// Over this region's gate.
    pub(crate) fn new(
        policy: PolicyWatch,
        gate: Gate,
        ledger: Arc<Ledger>,
        metrics: Metrics,
        detector: Arc<dyn LiteralDetector + Send + Sync>,
    ) -> Self {
        let here = Places::new(FOREIGN_QUESTIONS_AT_ONCE, FOREIGN_QUESTIONS_AT_ONCE);
        let elsewhere = Places::new(FOREIGN_QUESTIONS_CARRIED, FOREIGN_QUESTIONS_CARRIED_OF_TENANT);
        Self { policy, gate, ledger, metrics, detector, here, elsewhere }
    }

    pub(super) const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(super) const fn policy(&self) -> &PolicyWatch {
        &self.policy
    }

    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Answers what a peer asks on a connection of the query protocol until the connection ends.
    pub(crate) async fn serve(self: Arc<Self>, peer: Peer, tasks: Tasks) {
        let token = tasks.token().clone();
        loop {
            let next = tokio::select! {
                () = token.cancelled() => return,
                next = peer.next() => next,
            };
            match next {
                Ok(Inbound::Question(question, reply)) => {
                    let (answerer, peer) = (Arc::clone(&self), peer.clone());
                    tasks.spawn(Kind::Peer, async move {
                        let answered = answerer.answer(peer.id(), question.question()).await;
                        send(&peer, reply, &answered).await;
                    });
                }
                // The link speaks one protocol per connection; anything else is dropped, which resets its stream.
                Ok(Inbound::Metadata(_) | Inbound::LedgerHead(..) | Inbound::Region(..)) => {}
                Err(error) => {
                    tracing::debug!(peer = %peer.id(), %error, "a peer's connection ended");
                    return;
                }
            }
        }
    }

    /// What this region says to a question; a refusal lies in the ledger with its reason.
    pub(crate) async fn answer(&self, peer: &PeerId, question: &Question) -> Answered {
        let answered = match self.let_in(&peer.region, question) {
            Ok(put) => self.gated(put, AskedBy::Region(peer.region.clone())).await,
            Err(code) => Answered::refused(header(&self.ledger, question), code),
        };
        // The route may have been closed while the question was looked at, and the policy that it was judged by be over for long.
        let withheld = if is_refused(&answered) {
            None
        } else if !self.may_answer(&peer.region) {
            Some(RefusalCode::NoTransferBasis)
        } else {
            is_outdated(&self.ledger, &answered).then_some(RefusalCode::Unavailable)
        };
        let answered = withheld.map_or(answered, |code| Answered::refused(header(&self.ledger, question), code));
        if let Outcome::Refused(code) = answered.answer().outcome {
            let (peer, stream) = (Some(peer.into()), Some(question.stream));
            let event = Event::RefusedQuestion { peer, stream, why: Why::Code(code) };
            let recorded = self.ledger.record_of(question.tenant, event).await;
            if let Err(error) = recorded {
                tracing::error!(error = &error as &dyn std::error::Error, "a refused question is not recorded");
            }
        }
        self.count(peer, &answered);
        answered
    }

    async fn gated(&self, put: Put, by: AskedBy) -> Answered {
        let (header, question) = (put.header, put.question.id);
        let (places, full) = if self.gate.is_elsewhere(&put) {
            // The next node may own the stream, or have a place.
            (&self.elsewhere, RefusalCode::Unavailable)
        } else {
            (&self.here, RefusalCode::Busy)
        };
        let Some(_place) = places.take(put.question.tenant) else { return Answered::refused(header, full) };
        match self.gate.ask(put, by).await {
            Ok((answered, drawn)) => {
                if let Some(drawn) = drawn {
                    self.ledger.draws(question, drawn);
                }
                answered
            }
            Err(Unheard) => Answered::refused(header, RefusalCode::Unavailable),
        }
    }

    /// Counts what another region was told. A whole answer that is withheld is one cell.
    fn count(&self, peer: &PeerId, answered: &Answered) {
        let (whole, withheld) = match &answered.answer().outcome {
            Outcome::Aggregate(aggregate) => {
                let cells = cells(aggregate);
                let whole = cells.iter().filter(|cell| cell.is_exact()).count() as u64;
                (whole, cells.len() as u64 - whole)
            }
            Outcome::Suppressed => (0, 1),
            Outcome::Refused(_) => return,
        };
        self.metrics.flows().answered(&peer.region, whole, withheld);
    }

    /// Whether what is released here may go to a region at this moment.
    fn may_answer(&self, asking: &Region) -> bool {
        let policy = self.policy.now();
        // The ledger tells of a route that is closed a moment before the policy that closes it holds.
        *asking == policy.region || policy.routes.is_open_to(asking) && self.ledger.lets_out_to(asking)
    }

    /// As a question of another region that came in at another node of this one.
    pub(super) fn let_in_from_abroad(&self, asking: &Region, question: &Question) -> Result<Put, RefusalCode> {
        let is_abroad = *asking != self.policy.now().region;
        if is_abroad { self.let_in(asking, question) } else { Err(RefusalCode::NoTransferBasis) }
    }

    /// As a question of a client of this region, whose key was looked up.
    pub(super) fn let_in_from_home(&self, question: Question, crosses: bool) -> Result<Put, RefusalCode> {
        let policy = self.policy.now();
        let stream = policy.stream_by_id(question.tenant, question.stream).cloned();
        let stream = stream.ok_or(RefusalCode::UnknownStream)?;
        let header = header(&self.ledger, &question);
        Ok(Put { policy, stream, question, header, deadline: FEDERATED_DEADLINE, crosses })
    }

    fn let_in(&self, asking: &Region, question: &Question) -> Result<Put, RefusalCode> {
        // A policy nobody can change any more may have been revoked: nothing is the most restrictive view.
        if self.policy.lease().is_over(Instant::now()) {
            return Err(RefusalCode::Unavailable);
        }
        if !self.may_answer(asking) {
            return Err(RefusalCode::NoTransferBasis);
        }
        let policy = self.policy.now();
        let stream = policy.stream_by_id(question.tenant, question.stream).cloned();
        let stream = stream.ok_or(RefusalCode::UnknownStream)?;
        admissible(&stream, question, self.detector.as_ref())?;
        let deadline = Duration::from_millis(question.deadline_ms.into()).min(FEDERATED_DEADLINE);
        Ok(Put {
            policy,
            stream,
            question: question.clone(),
            header: header(&self.ledger, question),
            deadline,
            crosses: true,
        })
    }
}

/// Whether numbers would leave under a version of the policy after which a newer one was told of long ago.
fn is_outdated(ledger: &Ledger, answered: &Answered) -> bool {
    let answer = answered.answer();
    matches!(answer.outcome, Outcome::Aggregate(_)) && !ledger.lets_out_under(answer.header.policy)
}

fn is_refused(answered: &Answered) -> bool {
    matches!(answered.answer().outcome, Outcome::Refused(_))
}

/// The header of an answer before anything is known: the question, and the head of the ledger.
pub(super) fn header(ledger: &Ledger, question: &Question) -> AnswerHeader {
    let head = ledger.head();
    AnswerHeader { ledger_size: head.size, ledger_root: head.root, ..AnswerHeader::new(question.id, question.range) }
}

async fn send(peer: &Peer, reply: Reply, answered: &Answered) {
    let sent = match answered {
        Answered::Count(released) => peer.answer(reply, released).await,
        Answered::DateGrid(released) => peer.answer(reply, released).await,
        Answered::Terms(released) => peer.answer(reply, released).await,
        Answered::TermGrid(released) => peer.answer(reply, released).await,
        Answered::Numbers(released) => peer.answer(reply, released).await,
        Answered::Sum(released) => peer.answer(reply, released).await,
        Answered::Quantile(released) => peer.answer(reply, released).await,
        Answered::Distinct(released) => peer.answer(reply, released).await,
        Answered::Nothing(released) => peer.answer(reply, released).await,
    };
    match sent {
        Ok(_) => {}
        Err(error @ LinkError::Ledger { .. }) => {
            tracing::error!(peer = %peer.id(), error = &error as &dyn std::error::Error, "an answer was not sent");
        }
        Err(error) => tracing::debug!(peer = %peer.id(), %error, "an answer did not arrive"),
    }
}
