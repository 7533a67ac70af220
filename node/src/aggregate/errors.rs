//! What can go wrong while a region answers another. The other region reads one of a closed set of refusals; this is what
//! the operator of this region reads.

use domicile_proto::border::ShapeError;
use domicile_proto::message::answer::RefusalCode;

use crate::errors::{Coded, Verdict};
use crate::query::QueryError;
use crate::store::StoreError;

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
    /// The release journal cannot be read or written.
    #[error("what was released before cannot be read from the region's bucket or added to; the cause is below")]
    Journal(#[source] StoreError),
    /// The release journal is not what was written.
    #[error(
        "`{object}` of the release journal is damaged; restore it, for without it nothing of the stream is released"
    )]
    Damaged {
        /// Which object.
        object: String,
    },
    /// Another node of the region has released something of the stream meanwhile.
    #[error(
        "another node released cells of the stream at the same time; the question is answered when it is asked again"
    )]
    Overtaken,
    /// A day's privacy budget does not pay for a table that was not told of before.
    #[error(
        "a question of another region needs more of the tenant's privacy budget of a day than is left; it was refused, and what is paid for already is still told"
    )]
    NoiseSpent,
    /// The system gives no random numbers.
    #[error("the system gave no random numbers for the noise of an answer; nothing was told, ask again")]
    NoRandomness,
    /// The node stops.
    #[error("a question of another region was interrupted; the node is stopping")]
    Interrupted,
}

impl AggregateError {
    /// What the asking region is told.
    pub(crate) const fn refusal(&self) -> RefusalCode {
        match self {
            Self::Query(QueryError::Deadline | QueryError::Cancelled) => RefusalCode::Deadline,
            Self::Query(QueryError::TooCostly | QueryError::TooManyBuckets | QueryError::TooManyClauses) => {
                RefusalCode::TooCostly
            }
            Self::Query(_)
            | Self::Shape(_)
            | Self::Journal(_)
            | Self::Damaged { .. }
            | Self::Overtaken
            | Self::NoRandomness
            | Self::Interrupted => RefusalCode::Unavailable,
            Self::TooManyCells => RefusalCode::TooManyCells,
            Self::NoiseSpent => RefusalCode::NoiseSpent,
        }
    }
}

impl Coded for AggregateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Query(_) => "DMC-AGGREGATE-01",
            Self::Shape(_) => "DMC-AGGREGATE-02",
            Self::TooManyCells => "DMC-AGGREGATE-03",
            Self::Journal(_) => "DMC-AGGREGATE-04",
            Self::Damaged { .. } => "DMC-AGGREGATE-05",
            Self::Overtaken => "DMC-AGGREGATE-06",
            Self::Interrupted => "DMC-AGGREGATE-07",
            Self::NoiseSpent => "DMC-AGGREGATE-08",
            Self::NoRandomness => "DMC-AGGREGATE-09",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Query(error) => error.verdict(),
            Self::Journal(error) => error.verdict(),
            Self::Shape(_) | Self::Damaged { .. } => Verdict::Broken,
            Self::Overtaken | Self::Interrupted | Self::NoRandomness => Verdict::NotNow(1),
            Self::TooManyCells | Self::NoiseSpent => Verdict::Refused,
        }
    }
}
