//! The gate of this region as federation sees it: a question goes in, what was released comes out. Home and abroad alike.

use std::sync::Arc;
use std::time::Duration;

use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::DateGrid;
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::{LiteralDetector, Nothing, Released};
use domicile_proto::ids::FieldId;
use domicile_proto::message::answer::{Answer, AnswerHeader, RefusalCode};
use domicile_proto::message::question::{Filter, Question};
use futures::future::BoxFuture;

use crate::policy::{Policy, StreamView};

/// What this region released, in the shape that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    Count(Released<Count>),
    DateGrid(Released<DateGrid>),
    Terms(Released<Terms>),
    TermGrid(Released<TermGrid>),
    Nothing(Released<Nothing>),
}

impl Answered {
    /// A refusal.
    pub(crate) const fn refused(header: AnswerHeader, code: RefusalCode) -> Self {
        Self::Nothing(Released::refused(header, code))
    }

    /// What may be told.
    pub(crate) const fn answer(&self) -> &Answer {
        match self {
            Self::Count(released) => released.answer(),
            Self::DateGrid(released) => released.answer(),
            Self::Terms(released) => released.answer(),
            Self::TermGrid(released) => released.answer(),
            Self::Nothing(released) => released.answer(),
        }
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
}

type Call = dyn Fn(Put) -> BoxFuture<'static, Answered> + Send + Sync;

/// Aggregates, decides and releases.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Call>);

impl Gate {
    /// Over the stage that aggregates.
    pub(crate) fn over<F>(call: F) -> Self
    where
        F: Fn(Put) -> BoxFuture<'static, Answered> + Send + Sync + 'static,
    {
        Self(Arc::new(call))
    }

    /// Answers, or refuses once the deadline has passed.
    pub(crate) async fn answer(&self, put: Put) -> Answered {
        let (header, deadline) = (put.header, put.deadline);
        let answered = tokio::time::timeout(deadline, (self.0)(put)).await;
        answered.unwrap_or_else(|_| Answered::refused(header, RefusalCode::Deadline))
    }
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
    for filter in &question.filters {
        match filter {
            Filter::Level { .. } => {}
            Filter::Value { field, .. } if known(*field) => {}
            Filter::Value { .. } => return Err(RefusalCode::FieldNotAllowed),
            Filter::Text { .. } if !stream.policy.text_questions => return Err(RefusalCode::TextNotAllowed),
            Filter::Text { literal, .. } if detector.finds_personal_data(literal.as_str()) => {
                return Err(RefusalCode::PersonalLiteral);
            }
            Filter::Text { .. } => {}
        }
    }
    Ok(())
}
