//! Cuts a `_bulk` body into documents: action lines are read, documents are only found.
//!
//! A malformed action fails the whole request, as producers expect; everything else fails its own item.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::document::Document;
use super::errors::ParseError;
use crate::limits::{MAX_ID_BYTES, MAX_RECORD_BYTES};
use crate::receive::Action;

/// The documents of a body; `path_index` is the index of the path.
///
/// # Errors
/// [`ParseError::Action`], [`ParseError::NoDocument`] and [`ParseError::Empty`] fail the whole request.
pub(crate) fn frame_bulk(body: &[u8], path_index: Option<&str>) -> Result<Vec<Document>, ParseError> {
    let path_index: Arc<str> = path_index.unwrap_or_default().into();
    let mut documents = Vec::with_capacity(body.len() / 512);
    let mut lines = Lines { body, at: 0, number: 0 };
    let mut last: Option<(&[u8], Action, Arc<str>)> = None;
    while let Some(place) = lines.next() {
        let line = slice(body, &place);
        if line.is_empty() {
            continue;
        }
        let number = lines.number;
        let (action, index, id) = match &last {
            Some((bytes, action, index)) if *bytes == line => (*action, Arc::clone(index), Ok(None)),
            _ => {
                let read = read_action(line, number, &path_index)?;
                if matches!(read.2, Ok(None)) {
                    last = Some((line, read.0, Arc::clone(&read.1)));
                }
                read
            }
        };
        let unusable = match (&id, action) {
            (Err(error), _) => Some(*error),
            (Ok(_), Action::Update | Action::Delete) => Some(ParseError::ActionUnsupported),
            (Ok(_), _) if index.is_empty() => Some(ParseError::NoStream),
            (Ok(_), _) => None,
        };
        let place = match action {
            Action::Delete => 0..0,
            _ => lines.next().ok_or(ParseError::NoDocument { line: number })?,
        };
        let place = match unusable {
            Some(error) => Err(error),
            None if place.len() > MAX_RECORD_BYTES => Err(ParseError::TooLarge { limit: MAX_RECORD_BYTES }),
            None => Ok(place),
        };
        documents.push(Document { action, index, id: id.unwrap_or_default(), place });
    }
    if documents.is_empty() { Err(ParseError::Empty) } else { Ok(documents) }
}

type Read = (Action, Arc<str>, Result<Option<Box<str>>, ParseError>);

fn read_action(line: &[u8], number: usize, path_index: &Arc<str>) -> Result<Read, ParseError> {
    let malformed = |_| ParseError::Action { line: number };
    if line.len() > MAX_ACTION_BYTES {
        return Err(ParseError::Action { line: number });
    }
    let line: ActionLine<'_> = serde_json::from_slice(line).map_err(malformed)?;
    let (action, meta) = match line {
        ActionLine::Index(meta) => (Action::Index, meta),
        ActionLine::Create(meta) => (Action::Create, meta),
        ActionLine::Update(meta) => (Action::Update, meta),
        ActionLine::Delete(meta) => (Action::Delete, meta),
    };
    let index = match meta.index {
        Some(index) if !index.is_empty() => index.as_ref().into(),
        _ => Arc::clone(path_index),
    };
    let id = match meta.id {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=MAX_ID_BYTES).contains(&text.len()) => Ok(Some(text.into())),
        Some(Value::Number(number)) => Ok(Some(number.to_string().into())),
        Some(_) => Err(ParseError::Id { limit: MAX_ID_BYTES }),
    };
    Ok((action, index, id))
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionLine<'a> {
    #[serde(borrow)]
    Index(Meta<'a>),
    Create(Meta<'a>),
    Update(Meta<'a>),
    Delete(Meta<'a>),
}

/// What an action says; everything else in it (`_type`, `pipeline`, `routing` ...) is of no meaning here.
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(rename = "_index", borrow, default)]
    index: Option<Cow<'a, str>>,
    #[serde(rename = "_id", default)]
    id: Option<Value>,
}

/// Lines of a body as places; the last one may lack its line feed.
pub(super) struct Lines<'a> {
    pub(super) body: &'a [u8],
    pub(super) at: usize,
    pub(super) number: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let from = self.at;
        self.at += length + 1;
        self.number += 1;
        let line = rest.get(..length).unwrap_or_default();
        let length = if line.last() == Some(&b'\r') { length - 1 } else { length };
        Some(from..from + length)
    }
}

fn slice<'a>(body: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    body.get(place.clone()).unwrap_or_default()
}

/// Longest action line, in bytes: two names, an id and what nobody reads.
const MAX_ACTION_BYTES: usize = 16 << 10;
