//! What the line says to a producer: one outcome for each record, or one failure for all of them.
//!
//! The doors write it in their own shapes. It holds no record content; a failure's reason never quotes what was sent.

use std::borrow::Cow;

use crate::errors::{Coded, Verdict};

/// What the producer asked for, as far as it has to be repeated to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Take it unless the id is known.
    Create,
    /// Take it; the same bytes under the same id are no second record.
    #[default]
    Index,
    /// Not supported: records are never changed.
    Update,
    /// Not supported: records are erased by order of the officer alone.
    Delete,
}

impl Action {
    /// As bulk requests spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemOutcome {
    /// Durable.
    Created {
        /// Place in its shard.
        seq: u64,
    },
    /// Was durable before.
    Noop {
        /// Place in its shard.
        seq: u64,
    },
    /// Dropped, as the stream's policy says for personal data that was found in it; counted, and never stored.
    Dropped,
    /// Not taken.
    Failed(Failure),
}

/// One record of a request, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) action: Action,
    /// The index name as the producer wrote it.
    pub(crate) index: Box<str>,
    /// Its id, where it has one by now.
    pub(crate) id: Option<Box<str>>,
    pub(crate) outcome: ItemOutcome,
}

impl Item {
    /// HTTP status of the item.
    pub(crate) const fn status(&self) -> u16 {
        match &self.outcome {
            ItemOutcome::Created { .. } => 201,
            ItemOutcome::Noop { .. } | ItemOutcome::Dropped => 200,
            ItemOutcome::Failed(failure) => failure.status,
        }
    }
}

/// The line's reply to one arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Every record has its own outcome.
    Items {
        /// One for each record, in the order of the request.
        items: Vec<Item>,
        /// Everything had been accepted before under the same batch id.
        repeated: bool,
    },
    /// Nothing of it was taken.
    Failed(Failure),
}

/// Why something was not taken, ready for any door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// HTTP status.
    pub(crate) status: u16,
    /// Elasticsearch's name for the kind of failure.
    pub(crate) kind: Cow<'static, str>,
    /// Stable code.
    pub(crate) code: Cow<'static, str>,
    /// What failed; and after the first `; ` what to do.
    pub(crate) reason: Box<str>,
    /// Seconds after which a repetition makes sense.
    pub(crate) retry_after: Option<u32>,
}

impl Failure {
    /// From a stage's error, with the HTTP status and Elasticsearch's name for it.
    pub(crate) fn new(error: &impl Coded, status: u16, kind: &'static str) -> Self {
        let retry_after = match error.verdict() {
            Verdict::NotNow(seconds) => Some(seconds),
            Verdict::Refused | Verdict::Broken => None,
        };
        let (kind, code) = (Cow::Borrowed(kind), Cow::Borrowed(error.code()));
        Self { status, kind, code, reason: error.to_string().into(), retry_after }
    }

    /// From any stage's error: 400, 503 or 500 as its verdict says.
    pub(crate) fn of(error: &impl Coded) -> Self {
        match error.verdict() {
            Verdict::Refused => Self::new(error, 400, "illegal_argument_exception"),
            Verdict::NotNow(_) => Self::new(error, 503, "unavailable_shards_exception"),
            Verdict::Broken => Self::new(error, 500, "internal_server_error"),
        }
    }

    /// What failed, and what to do.
    pub(crate) fn halves(&self) -> (&str, &str) {
        self.reason.split_once("; ").unwrap_or((&self.reason, "see the page of this code"))
    }
}
