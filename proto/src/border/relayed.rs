//! An answer that another node of the same region released: whichever node was asked passes it on as it is.
//!
//! The region judged it, once, at the node that owns the stream; this node has no other way to numbers of that stream. Only
//! [`crate::link`] makes one, of what came over a connection with a neighbour that was asked exactly this question.

use std::marker::PhantomData;

use super::{CrossesBorder, Nothing, Received, ReceivedError, Released};
use crate::aggregate::Aggregate;
use crate::aggregate::count::Count;
use crate::aggregate::date_grid::DateGrid;
use crate::aggregate::histogram::FixedHistogram;
use crate::aggregate::scalars::{DistinctEstimate, Quantile};
use crate::aggregate::sum::Sum;
use crate::aggregate::term_grid::TermGrid;
use crate::aggregate::terms::Terms;
use crate::message::answer::{Answer, Outcome};
use crate::message::question::Question;

/// What the owner of a stream released, in the shape it was asked for. No constructor is public.
#[derive(Clone, Debug)]
pub enum Relayed {
    /// A count.
    Count(Released<Count>),
    /// Counts on a grid of time.
    DateGrid(Released<DateGrid>),
    /// Counts by approved value.
    Terms(Released<Terms>),
    /// Counts by approved value and time.
    TermGrid(Released<TermGrid>),
    /// Counts between declared bounds.
    Numbers(Released<FixedHistogram>),
    /// Sums.
    Sum(Released<Sum>),
    /// A quantile.
    Quantile(Released<Quantile>),
    /// A number of distinct values.
    Distinct(Released<DistinctEstimate>),
    /// A refusal, or everything suppressed.
    Nothing(Released<Nothing>),
}

impl Relayed {
    /// Takes what a neighbour answered to a question, where it is an answer to that one.
    pub(crate) fn check(answer: Answer, question: &Question) -> Result<Self, ReceivedError> {
        Received::fits(&answer, question)?;
        Ok(match &answer.outcome {
            Outcome::Suppressed | Outcome::Refused(_) => Self::Nothing(as_it_came(answer)),
            Outcome::Aggregate(aggregate) => match aggregate {
                Aggregate::Count(_) => Self::Count(as_it_came(answer)),
                Aggregate::DateGrid(_) => Self::DateGrid(as_it_came(answer)),
                Aggregate::Terms(_) => Self::Terms(as_it_came(answer)),
                Aggregate::TermGrid(_) => Self::TermGrid(as_it_came(answer)),
                Aggregate::FixedHistogram(_) => Self::Numbers(as_it_came(answer)),
                Aggregate::Sum(_) => Self::Sum(as_it_came(answer)),
                Aggregate::Quantile(_) => Self::Quantile(as_it_came(answer)),
                Aggregate::DistinctEstimate(_) => Self::Distinct(as_it_came(answer)),
            },
        })
    }
}

fn as_it_came<A: CrossesBorder>(answer: Answer) -> Released<A> {
    Released { answer, shape: PhantomData }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::cell::Cell;
    use crate::ids::{FieldId, QuestionId, RecordCount, StreamId, TenantId, TimeRange};
    use crate::message::answer::{AnswerHeader, RefusalCode};
    use crate::message::question::Ask;

    fn question(ask: Ask) -> Question {
        let (id, tenant, stream) = (QuestionId(7), TenantId(1), StreamId(2));
        Question { id, tenant, stream, range: TimeRange::ALL, filters: Vec::new(), ask, deadline_ms: 1_000 }
    }

    fn answer(id: u128, outcome: Outcome) -> Answer {
        Answer { header: AnswerHeader::new(QuestionId(id), TimeRange::ALL), outcome }
    }

    fn count(records: u64) -> Outcome {
        Outcome::Aggregate(Aggregate::Count(Count { cell: Cell::published(RecordCount(records)) }))
    }

    #[test]
    fn what_a_neighbour_released_is_passed_on_as_it_came_and_only_to_its_own_question() {
        let came = answer(7, count(70));
        let relayed = Relayed::check(came.clone(), &question(Ask::Count));
        assert!(matches!(relayed, Ok(Relayed::Count(released)) if *released.answer() == came));
        for outcome in [Outcome::Suppressed, Outcome::Refused(RefusalCode::Busy)] {
            let came = answer(7, outcome);
            let relayed = Relayed::check(came.clone(), &question(Ask::Count));
            assert!(matches!(relayed, Ok(Relayed::Nothing(released)) if *released.answer() == came));
        }
        let other = Relayed::check(answer(8, count(70)), &question(Ask::Count)).map(|_| ());
        assert_eq!(other, Err(ReceivedError::OtherQuestion));
        let wider = Relayed::check(answer(7, count(70)), &question(Ask::Terms(FieldId(0)))).map(|_| ());
        assert_eq!(wider, Err(ReceivedError::OtherShape));
    }
}
