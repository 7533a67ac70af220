//! Why a question to several regions has no answer.

use std::fmt::Write as _;

use domicile_proto::aggregate::MergeError;
use domicile_proto::ids::{Name, Region};
use domicile_proto::message::question::QuestionError;

use super::coverage::{Coverage, Standing};
use crate::errors::{Coded, Verdict};

/// Why a question to several regions has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FederateError {
    /// No such stream.
    #[error("there is no stream `{stream}`; see `GET /api/v1/streams`")]
    UnknownStream {
        /// Which.
        stream: Name,
    },
    /// No such region.
    #[error("there is no region `{region}`; known are {known}")]
    UnknownRegion {
        /// Which.
        region: Region,
        /// Those there are.
        known: String,
    },
    /// A region is missing and the caller wants all or nothing.
    #[error("{} of {} regions gave no answer: {}; ask with `on_missing: partial` for the others", .0.missing().len(), .0.0.len(), list(&.0.missing()))]
    Missing(Coverage),
    /// The question breaks a bound.
    #[error("the question cannot be put to other regions: {0}")]
    Question(#[source] QuestionError),
    /// The answers together are too large.
    #[error("the answers of the regions cannot be put together: {0}; ask for a coarser grid or fewer regions")]
    Merge(#[source] MergeError),
    /// The machine gives no random numbers.
    #[error("the machine gave no random numbers; try again")]
    Random,
}

fn list(missing: &[(Region, Standing)]) -> String {
    let mut text = String::new();
    for (region, standing) in missing {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string never fails.
        let _ = match standing {
            Standing::Refused(code) => write!(text, "{comma}`{region}` refused ({})", code.explain()),
            other => write!(text, "{comma}`{region}` {}", other.as_str()),
        };
    }
    text
}

impl Coded for FederateError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownStream { .. } => "DMC-FEDERATE-01",
            Self::UnknownRegion { .. } => "DMC-FEDERATE-02",
            Self::Missing(_) => "DMC-FEDERATE-03",
            Self::Question(_) => "DMC-FEDERATE-04",
            Self::Merge(_) => "DMC-FEDERATE-05",
            Self::Random => "DMC-FEDERATE-06",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Missing(_) | Self::Random => Verdict::NotNow(2),
            Self::UnknownStream { .. } | Self::UnknownRegion { .. } | Self::Question(_) | Self::Merge(_) => {
                Verdict::Refused
            }
        }
    }
}
