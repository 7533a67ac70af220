//! Cuts a body of lines into documents, and takes a body of one document whole.

use std::sync::Arc;

use super::bulk::Lines;
use super::document::{self, Document};
use super::errors::ParseError;
use crate::limits::{MAX_ID_BYTES, MAX_RECORD_BYTES};
use crate::receive::Action;

/// One document a line; lines without any character are none.
///
/// # Errors
/// [`ParseError::Empty`] and [`ParseError::TooManyDocuments`].
pub(crate) fn frame_lines(body: &[u8], index: &str) -> Result<Vec<Document>, ParseError> {
    let index: Arc<str> = index.into();
    let mut documents = Vec::new();
    let lines = Lines { body, at: 0, number: 0 };
    for place in lines.filter(|place| !body.get(place.clone()).unwrap_or_default().trim_ascii().is_empty()) {
        let place = bounded(place);
        let next = Document { action: Action::Index, index: Arc::clone(&index), id: None, place };
        document::push(&mut documents, next)?;
    }
    if documents.is_empty() { Err(ParseError::Empty) } else { Ok(documents) }
}

/// The whole body as one document.
///
/// # Errors
/// [`ParseError::Empty`].
pub(crate) fn frame_single(
    body: &[u8],
    index: &str,
    action: Action,
    id: Option<&str>,
) -> Result<Vec<Document>, ParseError> {
    if body.trim_ascii().is_empty() {
        return Err(ParseError::Empty);
    }
    let usable = id.is_none_or(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
    let place = if usable { bounded(0..body.len()) } else { Err(ParseError::Id { limit: MAX_ID_BYTES }) };
    Ok(vec![Document { action, index: index.into(), id: id.map(Into::into), place }])
}

fn bounded(place: std::ops::Range<usize>) -> Result<std::ops::Range<usize>, ParseError> {
    if place.len() > MAX_RECORD_BYTES { Err(ParseError::TooLarge { limit: MAX_RECORD_BYTES }) } else { Ok(place) }
}
