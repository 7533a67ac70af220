//! Questions that another node of this region carries here: judged as if they had come in here, and carried to nobody else.
//!
//! The node that was asked let them in by its own policy; this one does so again by its own, and looks the key up again. Nothing of it
//! is a crossing: where the answer leaves the region, and where a refusal is told, that lies in the ledger of the node that was asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::codec::encode;
use domicile_proto::ids::{NodeId, PolicyVersion};
use domicile_proto::link::connection::RegionReplyTo;
use domicile_proto::link::neighbour::Neighbour;
use domicile_proto::message::answer::RefusalCode;
use domicile_proto::message::gated::{AskedBy, DrawnFrom, GatedQuestion};

use super::answerer::{Answerer, header};
use super::gate::Put;
use crate::admit::{Admitter, Places};
use crate::aggregate::Answered;
use crate::audit::Drawn;
use crate::limits::{FEDERATED_DEADLINE, JUDGED_QUESTIONS, JUDGED_QUESTIONS_OF_TENANT};

/// Judges what neighbours carry here.
pub(crate) struct Owner {
    us: NodeId,
    answerer: Arc<Answerer>,
    admitter: Arc<Admitter>,
    places: Places,
}

impl Owner {
    /// Beside the one that answers other regions, before the same gate.
    pub(crate) fn new(us: NodeId, answerer: Arc<Answerer>, admitter: Arc<Admitter>) -> Self {
        Self { us, answerer, admitter, places: Places::new(JUDGED_QUESTIONS, JUDGED_QUESTIONS_OF_TENANT) }
    }

    /// Answers a neighbour. Where that one waits no more, the work ends and its place is free.
    pub(crate) async fn answer(&self, neighbour: &Neighbour, asked: GatedQuestion, to: RegionReplyTo) {
        let (answered, drawn) = tokio::select! {
            judged = self.judged(asked) => judged,
            () = to.given_up() => {
                tracing::debug!("a neighbour gave up a question that it had carried here");
                return;
            }
        };
        let drawn = drawn.map(DrawnFrom::from);
        let sending = async {
            match &answered {
                Answered::Count(released) => neighbour.bring(to, released, drawn).await,
                Answered::DateGrid(released) => neighbour.bring(to, released, drawn).await,
                Answered::Terms(released) => neighbour.bring(to, released, drawn).await,
                Answered::TermGrid(released) => neighbour.bring(to, released, drawn).await,
                Answered::Numbers(released) => neighbour.bring(to, released, drawn).await,
                Answered::Sum(released) => neighbour.bring(to, released, drawn).await,
                Answered::Quantile(released) => neighbour.bring(to, released, drawn).await,
                Answered::Distinct(released) => neighbour.bring(to, released, drawn).await,
                Answered::Nothing(released) => neighbour.bring(to, released, drawn).await,
            }
        };
        match tokio::time::timeout(FEDERATED_DEADLINE, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(code = error.code(), %error, "a neighbour did not get its answer"),
            Err(_) => tracing::debug!("a neighbour took too long to take its answer"),
        }
    }

    /// What this node releases, or why it does not.
    pub(crate) async fn judged(&self, asked: GatedQuestion) -> (Answered, Option<Drawn>) {
        let began = Instant::now();
        let header = header(self.answerer.ledger(), &asked.question);
        let refused = |code| (Answered::refused(header, code), None);
        let within = Duration::from_millis(asked.wait_ms.into()).min(FEDERATED_DEADLINE);
        if !self.holds(asked.policy, within / 4).await {
            return refused(RefusalCode::Unavailable);
        }
        let put = match self.let_in(asked) {
            Ok(put) => put,
            Err(code) => return refused(code),
        };
        let Some(_place) = self.places.wait(put.question.tenant, within / 2).await else {
            return refused(RefusalCode::Busy);
        };
        let deadline = within.saturating_sub(began.elapsed());
        let (answered, drawn) = self.answerer.gate().answer_here(Put { deadline, ..put }).await;
        // The gate looks at the size of what crosses alone; on its way through the region every answer is one frame.
        if encode(answered.answer()).is_err() {
            return refused(RefusalCode::AnswerTooLarge);
        }
        (answered, drawn)
    }

    /// Whether this node's policy is, or becomes within this time, no older than that of the node that was asked: what an older one lets
    /// out, that node may not pass on.
    async fn holds(&self, version: PolicyVersion, within: Duration) -> bool {
        let holding = self.answerer.policy().shows(|policy| (policy.version >= version).then_some(()));
        tokio::time::timeout(within, holding).await.is_ok()
    }

    fn let_in(&self, GatedQuestion { by, question, .. }: GatedQuestion) -> Result<Put, RefusalCode> {
        question.check_bounds().map_err(|_| RefusalCode::OutOfBounds)?;
        let put = match by {
            AskedBy::Region(region) => self.answerer.let_in_from_abroad(&region, &question)?,
            AskedBy::Key(asker, crosses) => {
                // A key that this node does not know yet, or no more.
                let who = self.admitter.vouched(&asker).filter(|who| who.tenant() == question.tenant);
                who.ok_or(RefusalCode::Unavailable)?;
                self.answerer.let_in_from_home(question, crosses)?
            }
        };
        // The other node heard that this one writes the stream, and this one did not; or not any more.
        let is_ours = put.stream.shard.is_some_and(|(_, owner)| owner == self.us);
        if is_ours { Ok(put) } else { Err(RefusalCode::Unavailable) }
    }
}
