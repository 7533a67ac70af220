//! Why a body or a document of it cannot become a record.

use crate::errors::{Coded, Verdict};
use crate::receive::Failure;

/// What is wrong with a body or a document. Never quotes either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// An action line that is none; the whole request is refused, for nobody knows where the next document begins.
    #[error(
        "line {line} of the bulk request is no action; write `{{\"create\":{{}}}}` or `{{\"index\":{{}}}}` before each document"
    )]
    Action {
        /// Number of the line, counted from 1.
        line: usize,
    },
    /// An action without its document.
    #[error(
        "the action in line {line} of the bulk request has no document; send both lines, each ended by a line feed"
    )]
    NoDocument {
        /// Number of the line, counted from 1.
        line: usize,
    },
    /// `update` or `delete`.
    #[error("records are never changed, `update` and `delete` are not supported; send `create` or `index`")]
    ActionUnsupported,
    /// A name that cannot be a stream.
    #[error(
        "the index name is no stream name; write 1 to 63 characters of `a-z 0-9 . _ -`, beginning with `a-z 0-9`, and a date \
         at its end if you like"
    )]
    StreamName,
    /// No index in the action and none in the path.
    #[error("no index is named; put `_index` into the action or the index into the path")]
    NoStream,
    /// Not JSON, or no object.
    #[error("the document is no JSON object; send one object on one line")]
    NotAnObject,
    /// JSON that is no UTF-8.
    #[error("the document is not UTF-8; JSON is always UTF-8, convert it before sending")]
    NotUtf8,
    /// Too many bytes.
    #[error("the document is larger than {limit} bytes; cut it or send it as an attachment elsewhere")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many keys.
    #[error("the document has more than {limit} keys; send fewer, or nest less")]
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
    /// Too deep.
    #[error("the document is nested deeper than {limit} levels; send it flatter")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Too many values.
    #[error("the document has more than {limit} values; send shorter lists")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// An unusable `_id`.
    #[error("`_id` is empty or longer than {limit} bytes; send a shorter one or none")]
    Id {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many streams in one request.
    #[error("the request names more than {limit} streams; send one request for each of them")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// Too many documents in one request.
    #[error("the request has more than {limit} documents; send smaller batches")]
    TooManyDocuments {
        /// The limit.
        limit: usize,
    },
    /// Nothing in it.
    #[error("the request has no document; send at least one")]
    Empty,
}

impl Coded for ParseError {
    fn code(&self) -> &'static str {
        match self {
            Self::Action { .. } => "DMC-PARSE-01",
            Self::NoDocument { .. } => "DMC-PARSE-02",
            Self::ActionUnsupported => "DMC-PARSE-03",
            Self::StreamName => "DMC-PARSE-04",
            Self::NoStream => "DMC-PARSE-05",
            Self::NotAnObject => "DMC-PARSE-06",
            Self::NotUtf8 => "DMC-PARSE-07",
            Self::TooLarge { .. } => "DMC-PARSE-08",
            Self::TooManyKeys { .. } => "DMC-PARSE-09",
            Self::TooDeep { .. } => "DMC-PARSE-10",
            Self::TooManyValues { .. } => "DMC-PARSE-11",
            Self::Id { .. } => "DMC-PARSE-12",
            Self::TooManyStreams { .. } => "DMC-PARSE-13",
            Self::Empty => "DMC-PARSE-14",
            Self::TooManyDocuments { .. } => "DMC-PARSE-15",
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::Refused
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        let kind = match error {
            ParseError::Action { .. } | ParseError::ActionUnsupported | ParseError::Id { .. } => {
                "illegal_argument_exception"
            }
            ParseError::TooManyStreams { .. } => "illegal_argument_exception",
            ParseError::NoDocument { .. } | ParseError::NoStream | ParseError::Empty => {
                "action_request_validation_exception"
            }
            ParseError::TooManyDocuments { .. } => return Self::new(&error, 413, "content_too_long_exception"),
            ParseError::StreamName => "invalid_index_name_exception",
            _ => "document_parsing_exception",
        };
        Self::new(&error, 400, kind)
    }
}
