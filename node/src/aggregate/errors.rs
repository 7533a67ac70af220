//! What can go wrong while a region answers another. The other region reads one of a closed set of refusals; this is what
//! the operator of this region reads.

use domicile_proto::border::ShapeError;
use domicile_proto::message::answer::RefusalCode;

use crate::errors::{Coded, Verdict};
use crate::query::QueryError;

/// Why a question of another region has no aggregate as its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AggregateError {
    /// The search failed.
    #[error("a question of another region could not be answered; the cause is below")]
    Query(#[source] QueryError),
    /// Cells and layout do not fit each other.
    #[error("an answer to another region was not released, since its cells do not fit its layout; please report this")]
    Shape(#[source] ShapeError),
    /// The answer would hold more cells than one may.
    #[error("a question of another region asks for more cells than an answer may hold; it was refused")]
    TooManyCells,
}

impl AggregateError {
    /// What the asking region is told.
    pub(crate) const fn refusal(&self) -> RefusalCode {
        match self {
            Self::Query(QueryError::Deadline | QueryError::Cancelled) => RefusalCode::Deadline,
            Self::Query(QueryError::TooCostly | QueryError::TooManyBuckets | QueryError::TooManyClauses) => {
                RefusalCode::TooCostly
            }
            Self::Query(_) | Self::Shape(_) => RefusalCode::Unavailable,
            Self::TooManyCells => RefusalCode::OutOfBounds,
        }
    }
}

impl Coded for AggregateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Query(_) => "DMC-AGGREGATE-01",
            Self::Shape(_) => "DMC-AGGREGATE-02",
            Self::TooManyCells => "DMC-AGGREGATE-03",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Query(error) => error.verdict(),
            Self::Shape(_) => Verdict::Broken,
            Self::TooManyCells => Verdict::Refused,
        }
    }
}
