//! Why the line did not take a record or a batch that could be read: its own reasons, and those of ownership and log in the
//! words of the doors.

use crate::errors::{Coded, Verdict};
use crate::ownership::{OwnershipError, Passing};
use crate::receive::Failure;
use crate::wal::WalError;

/// The line's own reasons.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unaccepted {
    /// The producer's `_id` is taken.
    #[error(
        "a record with this `_id` and other bytes, or any at all for a `create`, was accepted before; give each record its own `_id`"
    )]
    IdTaken,
    /// A batch under one id is taken together, and so it is in memory together.
    #[error(
        "a batch with `X-Domicile-Batch` may take {limit} bytes, {each} for each document beside its own; send smaller batches, \
         each with its own id"
    )]
    BatchTooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// What a document costs beside its bytes.
        each: usize,
    },
    /// Two streams are two logs: nothing makes both of them take their part or none.
    #[error(
        "a batch with `X-Domicile-Batch` goes into one stream, and this one names {found}; send one batch for each, with its own id"
    )]
    BatchOfStreams {
        /// How many are named.
        found: usize,
    },
}

impl Coded for Unaccepted {
    fn code(&self) -> &'static str {
        match self {
            Self::IdTaken => "DMC-INGEST-01",
            Self::BatchTooLarge { .. } => "DMC-INGEST-02",
            Self::BatchOfStreams { .. } => "DMC-INGEST-03",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Refused
    }
}

impl From<Unaccepted> for Failure {
    fn from(error: Unaccepted) -> Self {
        let (status, kind) = match error {
            Unaccepted::IdTaken => (409, "version_conflict_engine_exception"),
            Unaccepted::BatchTooLarge { .. } => (413, "content_too_long_exception"),
            Unaccepted::BatchOfStreams { .. } => (400, "illegal_argument_exception"),
        };
        Self::new(&error, status, kind)
    }
}

pub(super) fn of_ownership(error: &OwnershipError) -> Failure {
    match error {
        OwnershipError::MayNotCreate { .. } => Failure::new(error, 404, "index_not_found_exception"),
        OwnershipError::Personal => Failure::new(error, 400, "invalid_index_name_exception"),
        OwnershipError::TooFast { .. } => Failure::new(error, 429, "es_rejected_execution_exception"),
        _ => Failure::of(error),
    }
}

/// What another try may change about a refusal of a log: nothing was taken of what came for a shard that this node has not taken up yet, or
/// does not have any more. So it is told by other nodes too.
pub(super) fn passing(failure: &Failure) -> Passing {
    if [NOT_HELD, DEPOSED].contains(&failure.code.as_ref()) { Passing::Moving } else { Passing::No }
}

/// The code of `WalError::NotHeld`.
const NOT_HELD: &str = "DMC-WAL-14";
/// The code of `WalError::Deposed`.
const DEPOSED: &str = "DMC-WAL-15";

pub(super) fn of_wal(error: &WalError) -> Failure {
    match error {
        WalError::OtherBytes { .. } => Failure::new(error, 409, "version_conflict_engine_exception"),
        WalError::TooLarge { .. } => Failure::new(error, 413, "content_too_long_exception"),
        WalError::Busy { .. } => Failure::new(error, 429, "es_rejected_execution_exception"),
        _ => Failure::of(error),
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::ShardId;

    use super::*;

    #[test]
    fn only_what_was_certainly_not_taken_and_passes_by_is_tried_again() {
        let shard = ShardId(7);
        for (error, wanted) in [
            (WalError::NotHeld { shard }, Passing::Moving),
            (WalError::Deposed { shard }, Passing::Moving),
            (WalError::InDoubt { seconds: 20 }, Passing::No),
            (WalError::Stopped, Passing::No),
            (WalError::Busy { waiting: 256 }, Passing::No),
            (WalError::OtherBytes { shard }, Passing::No),
        ] {
            assert_eq!(passing(&of_wal(&error)), wanted, "{error}");
        }
    }
}
