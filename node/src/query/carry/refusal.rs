//! Why a search failed, in the words of the link and back: who asks one node is told what who asks the other one is told.

use domicile_proto::message::region::{NotSearched, SearchBytes};
use tantivy::TantivyError;

use crate::query::QueryError;

impl QueryError {
    /// In the words of the link.
    pub(crate) fn told(&self) -> NotSearched {
        match self {
            Self::TooCostly => NotSearched::Costly,
            Self::Crowded => NotSearched::Crowded,
            Self::Deadline | Self::Cancelled => NotSearched::Late,
            Self::PageTooLarge => NotSearched::PageTooLarge,
            Self::TooManyBeginnings => NotSearched::TooManyBeginnings,
            Self::Apart { field } => NotSearched::Apart(SearchBytes(field.clone().into_bytes())),
            Self::Personal => NotSearched::Personal,
            Self::Away(_) => NotSearched::Away,
            Self::Engine(_) => NotSearched::Broken,
            // A value that is replaced by tokens may become several clauses, under the owner's keys alone.
            Self::TooManyClauses => NotSearched::TooManyClauses,
            Self::TooDeep => NotSearched::TooDeep,
            // What else a search may hold was judged where it came in.
            Self::Unknown { .. }
            | Self::Malformed { .. }
            | Self::Syntax { .. }
            | Self::TooManyHits
            | Self::TooManyBuckets
            | Self::TooManyAggregations
            | Self::Archived { .. } => NotSearched::Unread,
        }
    }

    /// Out of the words of the link; `None` for what is no matter of this stage.
    pub(crate) fn heard(why: &NotSearched) -> Option<Self> {
        let elsewhere = || TantivyError::SystemError("on the node of the region that holds it".to_owned());
        Some(match why {
            NotSearched::Costly => Self::TooCostly,
            NotSearched::Crowded => Self::Crowded,
            NotSearched::Late => Self::Deadline,
            NotSearched::PageTooLarge => Self::PageTooLarge,
            NotSearched::TooManyBeginnings => Self::TooManyBeginnings,
            NotSearched::Apart(field) => Self::apart(&String::from_utf8_lossy(&field.0)),
            NotSearched::Personal => Self::Personal,
            NotSearched::Away => Self::Away(elsewhere()),
            NotSearched::Broken => Self::Engine(elsewhere()),
            NotSearched::TooManyClauses => Self::TooManyClauses,
            NotSearched::TooDeep => Self::TooDeep,
            NotSearched::Stranger
            | NotSearched::NotMine(_)
            | NotSearched::NotWhole(_)
            | NotSearched::Unaware(_)
            | NotSearched::Busy
            | NotSearched::Archived(..)
            | NotSearched::Unread => return None,
        })
    }
}
