//! A document: one event as a place in a body, with what its request says about it. Not looked into yet.

use std::ops::Range;
use std::sync::Arc;

use super::errors::ParseError;
use crate::limits::MAX_DOCUMENTS_PER_REQUEST;
use crate::receive::Action;

/// One event of a body.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) action: Action,
    /// The index as it was written; shared by all documents that name the same.
    pub(crate) index: Arc<str>,
    /// The producer's id.
    pub(crate) id: Option<Box<str>>,
    /// Where its bytes stand in the body, or why they need not be looked at.
    pub(crate) place: Result<Range<usize>, ParseError>,
}

/// One document more, up to the limit of a request.
pub(super) fn push(documents: &mut Vec<Document>, next: Document) -> Result<(), ParseError> {
    if documents.len() >= MAX_DOCUMENTS_PER_REQUEST {
        return Err(ParseError::TooManyDocuments { limit: MAX_DOCUMENTS_PER_REQUEST });
    }
    documents.push(next);
    Ok(())
}
