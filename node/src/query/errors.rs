//! What can go wrong while a search is read or run. Holds no record content; texts of the caller's own query come back to
//! the caller alone.

use crate::errors::{Coded, Verdict};
use crate::limits::{
    MAX_AGGREGATIONS, MAX_BUCKETS, MAX_CLAUSES, MAX_EXPANSIONS, MAX_FILTER_DEPTH, MAX_HITS, MAX_PAGE_BYTES,
};
use crate::segment::ranged::is_out_of_reach;

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// A clause, option or aggregation that does not exist here.
    #[error("{kind} `{name}` is not known here; see the guide for what a search may hold")]
    Unknown {
        /// What kind of thing was expected.
        kind: &'static str,
        /// What stood there.
        name: String,
    },
    /// A clause whose body is not what it should be.
    #[error("`{place}` should be {wanted}")]
    Malformed {
        /// Which clause or option.
        place: String,
        /// What should stand there.
        wanted: &'static str,
    },
    /// A query string that cannot be read; the second line points at the place.
    #[error("{problem} at character {position}; {advice}\n{pointer}")]
    Syntax {
        /// What was found.
        problem: &'static str,
        /// Where, counted from 1.
        position: usize,
        /// What to write instead.
        advice: &'static str,
        /// The query with a caret below the place.
        pointer: String,
    },
    /// Too many clauses.
    #[error("a search has at most {MAX_CLAUSES} clauses; use `terms` for long lists of values")]
    TooManyClauses,
    /// Nested too deeply.
    #[error("clauses are nested at most {MAX_FILTER_DEPTH} deep; flatten the search")]
    TooDeep,
    /// More hits than a page may have.
    #[error("a page has at most {MAX_HITS} hits; page on with `search_after`")]
    TooManyHits,
    /// More buckets than an answer may have.
    #[error("the aggregation would give more than {MAX_BUCKETS} buckets; widen the interval or lower `size`")]
    TooManyBuckets,
    /// The search would cost more than one may.
    #[error("the search would cost more than one may; narrow the range or the clauses")]
    TooCostly,
    /// The time was up.
    #[error("the search did not end in time; narrow the range, or allow more time")]
    Deadline,
    /// Nobody waits for the answer any more.
    #[error("the search was given up by the caller")]
    Cancelled,
    /// A text that looks personal, searched for by a key that may not see such texts. Says nothing of what is stored.
    #[error(
        "the search looks for what seems to be personal data, and this key may not; search for the token of the value, or use a key with `rows: full`"
    )]
    Personal,
    /// More aggregations, or filters and ranges in them, than a search may have.
    #[error(
        "a search has at most {MAX_AGGREGATIONS} aggregations, and as many filters and ranges in them; send several searches"
    )]
    TooManyAggregations,
    /// Records of a page that are too large together.
    #[error(
        "the records of the page are larger than {MAX_PAGE_BYTES} bytes together; ask for fewer, and page on with `search_after`"
    )]
    PageTooLarge,
    /// The searches of the node hold as much as they may together.
    #[error(
        "the searches that run on this node hold as much memory as they may together; ask again after the time in `Retry-After`"
    )]
    Crowded,
    /// The last word of a phrase may go on in too many ways.
    #[error("the last word of the phrase begins more than {MAX_EXPANSIONS} different words; write more of it")]
    TooManyBeginnings,
    /// A field whose values are kept as hashes or words alone.
    #[error(
        "the values of `{field}` look like ids or are longer than 256 bytes, and are kept without their order; search for a whole id, for words in `exception`, or with `exists`"
    )]
    Apart {
        /// The field as it was written, shortened.
        field: String,
    },
    /// A segment lies in the bucket, and the bucket does not answer.
    #[error(
        "a segment of the range lies in the region's bucket, which does not answer; an answer without it would be wrong: narrow the range to what lies on the disk, or ask again"
    )]
    Away(#[source] tantivy::TantivyError),
    /// What is wanted whole lies in part in the archive.
    #[error(
        "{records} records in {segments} segments of stream `{stream}` lie in the archive and are not searched; narrow the range, take a partial answer, or have them restored: `domicile lifecycle restore --stream {stream} --from … --to …`"
    )]
    Archived {
        /// Of which stream.
        stream: domicile_proto::ids::Name,
        /// How many segments.
        segments: u64,
        /// How many records are in them.
        records: u64,
    },
    /// The engine failed on a segment.
    #[error("a segment could not be read; look at the disk below `data`")]
    Engine(#[source] tantivy::TantivyError),
}

impl QueryError {
    /// The name Elasticsearch has for such an error.
    pub(crate) const fn elastic_type(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::Malformed { .. } => "parsing_exception",
            Self::Syntax { .. } => "query_shard_exception",
            Self::TooManyClauses => "too_many_clauses",
            Self::TooDeep
            | Self::TooManyHits
            | Self::TooCostly
            | Self::TooManyAggregations
            | Self::TooManyBeginnings
            | Self::Apart { .. } => "illegal_argument_exception",
            Self::TooManyBuckets => "too_many_buckets_exception",
            Self::PageTooLarge => "content_too_long_exception",
            Self::Crowded => "es_rejected_execution_exception",
            Self::Deadline | Self::Cancelled => "timeout_exception",
            Self::Personal => "security_exception",
            Self::Engine(_) | Self::Away(_) | Self::Archived { .. } => "search_phase_execution_exception",
        }
    }

    /// A clause whose body is wrong.
    pub(crate) fn malformed(place: impl Into<String>, wanted: &'static str) -> Self {
        Self::Malformed { place: shortened(&place.into()), wanted }
    }

    /// A field whose values stand apart.
    pub(crate) fn apart(field: &str) -> Self {
        Self::Apart { field: shortened(field) }
    }

    /// A name that is not known.
    pub(crate) fn unknown(kind: &'static str, name: &str) -> Self {
        Self::Unknown { kind, name: shortened(name) }
    }
}

/// At most 80 characters of what the caller wrote.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl From<tantivy::TantivyError> for QueryError {
    fn from(error: tantivy::TantivyError) -> Self {
        if is_out_of_reach(&error) { Self::Away(error) } else { Self::Engine(error) }
    }
}

impl From<std::io::Error> for QueryError {
    fn from(error: std::io::Error) -> Self {
        tantivy::TantivyError::from(error).into()
    }
}

impl Coded for QueryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "DMC-QUERY-01",
            Self::Malformed { .. } => "DMC-QUERY-02",
            Self::Syntax { .. } => "DMC-QUERY-03",
            Self::TooManyClauses => "DMC-QUERY-04",
            Self::TooDeep => "DMC-QUERY-05",
            Self::TooManyHits => "DMC-QUERY-06",
            Self::TooManyBuckets => "DMC-QUERY-07",
            Self::TooCostly => "DMC-QUERY-08",
            Self::Deadline => "DMC-QUERY-09",
            Self::Cancelled => "DMC-QUERY-10",
            Self::Engine(_) => "DMC-QUERY-11",
            Self::Personal => "DMC-QUERY-12",
            Self::TooManyAggregations => "DMC-QUERY-13",
            Self::PageTooLarge => "DMC-QUERY-14",
            Self::Crowded => "DMC-QUERY-15",
            Self::TooManyBeginnings => "DMC-QUERY-16",
            Self::Apart { .. } => "DMC-QUERY-17",
            Self::Away(_) => "DMC-QUERY-18",
            Self::Archived { .. } => "DMC-QUERY-19",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Deadline | Self::Cancelled | Self::Crowded => Verdict::NotNow(1),
            Self::Away(_) => Verdict::NotNow(5),
            Self::Engine(_) => Verdict::Broken,
            _ => Verdict::Refused,
        }
    }
}
