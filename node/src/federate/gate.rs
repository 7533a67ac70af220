//! The gate of this region as federation sees it: a question goes in, what was released comes out. Home and abroad alike.

use std::sync::Arc;
use std::time::Duration;

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{FieldId, TimeRange};
use domicile_proto::message::answer::{AnswerHeader, Outcome, RefusalCode};
use domicile_proto::message::gated::AskedBy;
use domicile_proto::message::question::{Filter, Question};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::carry::{Carried, Carrier, Unheard, lasting, within};
use super::guard::{Before, Guard};
use super::predicate::is_text;
use crate::aggregate::Answered;
use crate::aggregate::contributors::Contributors;
use crate::audit::Drawn;
use crate::classify::{Statements, Upheld};
use crate::limits::{MOVE_HEARD, TEXT_STEP};
use crate::policy::{Policy, StreamView};

/// What was released, and whom it is about where the question has a text condition.
pub(crate) struct Gated {
    pub(crate) answered: Answered,
    pub(crate) contributors: Option<Contributors>,
    /// What it was drawn from, where something was looked at.
    pub(crate) drawn: Option<Drawn>,
}

impl From<Answered> for Gated {
    fn from(answered: Answered) -> Self {
        Self { answered, contributors: None, drawn: None }
    }
}

/// A question that this region's policy lets in.
#[derive(Clone)]
pub(crate) struct Put {
    pub(crate) policy: Arc<Policy>,
    pub(crate) stream: Arc<StreamView>,
    pub(crate) question: Question,
    /// With the head of the ledger; the gate fills in the rest.
    pub(crate) header: AnswerHeader,
    pub(crate) deadline: Duration,
    /// Whether another region asks, or is asked with this one: what is answered then counts and is kept in mind.
    pub(crate) crosses: bool,
}

type Call = dyn Fn(Put, Upheld) -> BoxFuture<'static, Gated> + Send + Sync;

/// Holds what is stated of a stream against what its detectors found, for a question about a time.
type Uphold = dyn Fn(Arc<StreamView>, TimeRange) -> BoxFuture<'static, Upheld> + Send + Sync;

/// Time as the padding sees it.
#[derive(Clone, Default)]
pub(crate) enum Timer {
    /// The machine's.
    #[default]
    Machine,
    /// One that stands until it is turned: what an answer takes is then the same on every machine.
    Turned(Arc<Mutex<Instant>>),
}

impl Timer {
    /// One that stands.
    pub(crate) fn turned() -> Self {
        Self::Turned(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Machine => Instant::now(),
            Self::Turned(at) => *at.lock(),
        }
    }

    /// Turns one that stands; the machine's goes by itself.
    pub(crate) fn turn(&self, by: Duration) {
        if let Self::Turned(at) = self {
            *at.lock() += by;
        }
    }

    async fn sleep_until(&self, at: Instant) {
        match self {
            Self::Machine => tokio::time::sleep_until(at).await,
            Self::Turned(now) => *now.lock() = at,
        }
    }
}

/// Aggregates, decides and releases.
#[derive(Clone)]
pub(crate) struct Gate {
    call: Arc<Call>,
    uphold: Arc<Uphold>,
    guard: Option<Arc<Guard>>,
    timer: Timer,
    way: Option<Carrier>,
}

impl Gate {
    /// Over the stage that aggregates, which is given each stream as these statements are upheld.
    pub(crate) fn upholding<F, R>(statements: Statements, call: F) -> Self
    where
        F: Fn(Put, Upheld) -> BoxFuture<'static, R> + Send + Sync + 'static,
        R: Into<Gated> + Send + 'static,
    {
        let uphold = move |stream, range| -> BoxFuture<'static, Upheld> {
            let statements = statements.clone();
            Box::pin(async move { statements.upheld(stream, range).await })
        };
        let call = move |put, stream| -> BoxFuture<'static, Gated> {
            let answering = call(put, stream);
            Box::pin(async move { answering.await.into() })
        };
        Self { call: Arc::new(call), uphold: Arc::new(uphold), guard: None, timer: Timer::Machine, way: None }
    }

    /// Over something in the place of that stage, for which every statement stands.
    #[cfg(test)]
    pub(crate) fn over<F, R>(call: F) -> Self
    where
        F: Fn(Put) -> BoxFuture<'static, R> + Send + Sync + 'static,
        R: Into<Gated> + Send + 'static,
    {
        let uphold = |stream, _| -> BoxFuture<'static, Upheld> { Box::pin(async { Upheld::of_then(stream, None) }) };
        let call = move |put, _| -> BoxFuture<'static, Gated> {
            let answering = call(put);
            Box::pin(async move { answering.await.into() })
        };
        Self { call: Arc::new(call), uphold: Arc::new(uphold), guard: None, timer: Timer::Machine, way: None }
    }

    /// With a guard that keeps the questions of a day in mind.
    pub(crate) fn guarded(self, guard: Arc<Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// With a way to the nodes of the region that own other streams.
    pub(crate) fn beside(self, way: Carrier) -> Self {
        Self { way: Some(way), ..self }
    }

    /// With another time than the machine's.
    pub(crate) fn timed(self, timer: Timer) -> Self {
        Self { timer, ..self }
    }

    /// Answers, or refuses once the deadline has passed. What crosses and has a text condition leaves at a whole step of
    /// time after its arrival, whatever was found and whatever was decided.
    pub(crate) async fn answer(&self, put: Put) -> Answered {
        let arrived = self.timer.now();
        let is_padded = put.crosses && is_text(&put.question);
        let (answered, _) = self.judged(put).await;
        self.pad(is_padded, arrived).await;
        answered
    }

    /// Whether another node of the region owns the stream.
    pub(super) fn is_elsewhere(&self, put: &Put) -> bool {
        self.way.as_ref().is_some_and(|way| way.owner(put).is_some())
    }

    /// As [`Gate::answer`], by whichever node of the region owns the stream, with what the answer was drawn from. The step of time
    /// begins here, before anything is waited for, and covers the way to the owner.
    pub(super) async fn ask(&self, put: Put, by: AskedBy) -> Carried {
        let arrived = self.timer.now();
        let is_padded = put.crosses && is_text(&put.question);
        let answered = self.ask_where_it_lies(put, by).await;
        self.pad(is_padded, arrived).await;
        answered
    }

    /// Of whichever node owns the stream. Where that one says nothing, and the stream goes to another node, it is asked once more of that.
    async fn ask_where_it_lies(&self, mut put: Put, by: AskedBy) -> Carried {
        let Some((way, policy)) = self.way.as_ref().and_then(|way| Some((way, way.policy()?))) else {
            return self.ask_once(put, by).await;
        };
        let is_abroad = matches!(by, AskedBy::Region(_));
        let until = Instant::now() + within(&put, is_abroad);
        loop {
            let owner = way.owner(&put);
            let answered = self.ask_once(put.clone(), by.clone()).await;
            let is_short = match &answered {
                Ok((answered, _)) => matches!(answered.answer().outcome, Outcome::Refused(RefusalCode::Unavailable)),
                Err(Unheard) => true,
            };
            if !is_short {
                return answered;
            }
            // Another node may know already that it is not the owner any more.
            let patience = if owner.is_some() && answered.is_ok() { MOVE_HEARD } else { Duration::ZERO };
            let moved = |policy: &Policy| {
                let now = policy.stream_by_id(put.stream.tenant, put.stream.id);
                now.filter(|now| now.shard != put.stream.shard).cloned()
            };
            let heard = tokio::time::timeout_at(until.min(Instant::now() + patience), policy.shows(moved)).await;
            let left = until.saturating_duration_since(Instant::now());
            let (Ok(stream), false) = (heard, left.is_zero()) else { return answered };
            // By the rules that it was let in under: a newer policy may not let it in, and is found to be newer before an answer leaves.
            let stream = Arc::new(StreamView { shard: stream.shard, ..StreamView::clone(&put.stream) });
            put = Put { deadline: lasting(left, is_abroad), stream, ..put };
        }
    }

    async fn ask_once(&self, put: Put, by: AskedBy) -> Carried {
        match self.way.as_ref().and_then(|way| Some((way, way.owner(&put)?))) {
            Some((way, owner)) => way.carry(owner, &put, by).await,
            None => Ok(self.judged(put).await),
        }
    }

    /// What this node itself says, for the node of the region that was asked: that one waits for the step of time.
    pub(super) async fn answer_here(&self, put: Put) -> (Answered, Option<Drawn>) {
        self.judged(put).await
    }

    async fn pad(&self, is_padded: bool, arrived: Instant) {
        if is_padded {
            self.timer.sleep_until(next_step(arrived, self.timer.now())).await;
        }
    }

    async fn judged(&self, put: Put) -> (Answered, Option<Drawn>) {
        // Once, so that the guard and what answers see the same.
        let stream = (self.uphold)(Arc::clone(&put.stream), put.question.range).await;
        let put = Put { stream: Arc::clone(stream.view()), ..put };
        let Some(guard) = self.guard.as_ref().filter(|_| put.crosses) else {
            let gated = self.looked_up(put, stream).await;
            return (gated.answered, gated.drawn);
        };
        match guard.before(put.clone()).await {
            Before::Repeat(answered) => *answered,
            Before::Refused(code) => (Answered::refused(put.header, code), None),
            Before::New => {
                let gated = self.looked_up(put.clone(), stream).await;
                guard.after(put, gated).await
            }
        }
    }

    async fn looked_up(&self, put: Put, stream: Upheld) -> Gated {
        let (header, deadline) = (put.header, put.deadline);
        let gated = tokio::time::timeout(deadline, (self.call)(put, stream)).await;
        gated.unwrap_or_else(|_| Answered::refused(header, RefusalCode::Deadline).into())
    }
}

/// The first whole step after the arrival that is not over.
fn next_step(arrived: Instant, now: Instant) -> Instant {
    let steps = now.saturating_duration_since(arrived).as_nanos().div_ceil(TEXT_STEP.as_nanos()).max(1);
    arrived + TEXT_STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

/// Whether this region's policy lets the question in; a region does not trust what others have vetted.
pub(super) fn admissible(
    stream: &StreamView,
    question: &Question,
    detector: &dyn LiteralDetector,
) -> Result<(), RefusalCode> {
    let known = |field: FieldId| stream.field(field).is_some();
    if question.ask.field().is_some_and(|field| !known(field)) {
        return Err(RefusalCode::FieldNotAllowed);
    }
    if question.ask.number().is_some_and(|field| stream.number(field).is_none()) {
        return Err(RefusalCode::FieldNotAllowed);
    }
    for filter in &question.filters {
        match filter {
            Filter::Level { .. } => {}
            Filter::Value { field, .. } if known(*field) => {}
            Filter::Value { .. } => return Err(RefusalCode::FieldNotAllowed),
            Filter::Text { .. } | Filter::TextIn { .. } if !stream.policy.text_questions => {
                return Err(RefusalCode::TextNotAllowed);
            }
            Filter::Text { literal, .. } | Filter::TextIn { literal, .. } => {
                if detector.finds_personal_data(literal.as_str()) {
                    return Err(RefusalCode::PersonalLiteral);
                }
            }
        }
    }
    Ok(())
}
