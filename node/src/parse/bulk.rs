//! Cuts a `_bulk` body into documents: action lines are read, documents are only found.
//!
//! A malformed action fails the whole request, as producers expect; everything else fails its own item.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::document::{self, Document};
use super::errors::ParseError;
use crate::limits::{MAX_ID_BYTES, MAX_RECORD_BYTES};
use crate::receive::Action;

/// The documents of a body; `path_index` is the index of the path.
///
/// # Errors
/// [`ParseError::Action`], [`ParseError::NoDocument`], [`ParseError::TooManyDocuments`] and [`ParseError::Empty`] fail the whole
/// request.
pub(crate) fn frame_bulk(body: &[u8], path_index: Option<&str>) -> Result<Vec<Document>, ParseError> {
    let path_index: Arc<str> = path_index.unwrap_or_default().into();
    let mut documents = Vec::new();
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
        document::push(&mut documents, Document { action, index, id: id.unwrap_or_default(), place })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_DOCUMENTS_PER_REQUEST;
    use crate::parse::frame_lines;

    fn texts<'a>(body: &'a str, documents: &[Document]) -> Vec<Result<&'a str, ParseError>> {
        documents.iter().map(|document| document.place.clone().map(|place| &body[place])).collect()
    }

    #[test]
    fn no_body_of_bulk_or_lines_panics() {
        let body = "{\"create\":{\"_index\":\"a\",\"_id\":\"7\",\"routing\":{\"x\":[1]}}}\r\n{\"m\":1}\n\n{\"delete\":{\"_id\":\"1\"}}\n{\"half";
        let good = vec![body.as_bytes().to_vec(), b"{\"index\":{}}\n{\"m\":\"\xe6\x9d\xb1\"}\n".to_vec()];
        bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
            let bytes = input.bytes(&good);
            for documents in [frame_bulk(&bytes, Some("path")), frame_bulk(&bytes, None), frame_lines(&bytes, "path")] {
                let places = documents.iter().flatten().filter_map(|document| document.place.clone().ok());
                places.for_each(|place| assert!(bytes.get(place).is_some(), "a document lies in its body"));
            }
        });
    }

    #[test]
    fn documents_are_found_with_their_action_index_and_id() {
        let body = "{\"create\":{\"_index\":\"a\",\"_id\":\"7\",\"_type\":\"_doc\",\"pipeline\":null,\"routing\":{\"x\":[1]}}}\r\n{\"m\":1}\r\n\n\
                    { \"index\" : { } }\n{\"m\":2}\n{\"index\":{\"_id\":42}}\n{\"m\":3}\n{\"delete\":{\"_id\":\"1\"}}\n{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{}}\n{\"index\":{}}\n{\"half";
        let documents = frame_bulk(body.as_bytes(), Some("path")).unwrap();
        let unsupported = Err(ParseError::ActionUnsupported);
        assert_eq!(
            texts(body, &documents),
            [Ok("{\"m\":1}"), Ok("{\"m\":2}"), Ok("{\"m\":3}"), unsupported, unsupported, Ok("{\"half")]
        );
        let indexes: Vec<&str> = documents.iter().map(|document| document.index.as_ref()).collect();
        assert_eq!(indexes, ["a", "path", "path", "path", "path", "path"]);
        let ids: Vec<Option<&str>> = documents.iter().map(|document| document.id.as_deref()).collect();
        assert_eq!(ids, [Some("7"), None, Some("42"), Some("1"), Some("1"), None]);
    }

    #[test]
    fn an_equal_action_line_is_the_same_action_even_after_one_with_an_id() {
        let body = "{\"index\":{\"_id\":\"1\"}}\n{}\n{\"index\":{}}\n{}\n{\"index\":{\"_id\":\"1\"}}\n{}\n{\"index\":{}}\n{}\n";
        let documents = frame_bulk(body.as_bytes(), Some("a")).unwrap();
        let ids: Vec<Option<&str>> = documents.iter().map(|document| document.id.as_deref()).collect();
        assert_eq!(ids, [Some("1"), None, Some("1"), None]);
    }

    #[test]
    fn a_malformed_action_fails_the_request_and_a_bad_id_only_its_item() {
        for (body, error) in [
            ("", ParseError::Empty),
            ("\n\n\r\n", ParseError::Empty),
            ("{}\n{}\n", ParseError::Action { line: 1 }),
            ("{\"index\":{}}\n{}\nnonsense\n{}\n", ParseError::Action { line: 3 }),
            ("{\"index\":{}}\n{}\n{\"index\":", ParseError::Action { line: 3 }),
            ("{\"upsert\":{}}\n{}\n", ParseError::Action { line: 1 }),
            ("{\"index\":{},\"create\":{}}\n{}\n", ParseError::Action { line: 1 }),
            ("{\"index\":{\"_index\":5}}\n{}\n", ParseError::Action { line: 1 }),
            ("\u{0}\n", ParseError::Action { line: 1 }),
            ("{\"index\":{}}\n", ParseError::NoDocument { line: 1 }),
            ("{\"index\":{}}", ParseError::NoDocument { line: 1 }),
        ] {
            assert_eq!(frame_bulk(body.as_bytes(), Some("a")).err(), Some(error), "{body:?}");
        }
        let long = format!(
            "{{\"index\":{{\"_id\":\"{}\"}}}}\n{{}}\n{{\"index\":{{\"_id\":\"\"}}}}\n{{}}\n{{\"index\":{{\"_id\":[1]}}}}\n{{}}\n",
            "x".repeat(513)
        );
        let documents = frame_bulk(long.as_bytes(), Some("a")).unwrap();
        assert!(documents.iter().all(|document| document.place == Err(ParseError::Id { limit: MAX_ID_BYTES })));
        let nameless = frame_bulk(b"{\"index\":{}}\n{}\n", None).unwrap();
        assert_eq!(nameless[0].place, Err(ParseError::NoStream));
    }

    #[test]
    fn a_request_holds_so_many_documents_and_not_one_more() {
        let limit = MAX_DOCUMENTS_PER_REQUEST;
        let too_many = Some(ParseError::TooManyDocuments { limit });
        let (lines, deletes) = ("x\n".repeat(limit), "{\"delete\":{}}\n".repeat(limit));
        assert_eq!(frame_bulk(deletes.as_bytes(), Some("a")).unwrap().len(), limit);
        assert_eq!(frame_bulk(format!("{deletes}{{\"delete\":{{}}}}\n").as_bytes(), Some("a")).err(), too_many);
        assert_eq!(frame_lines(lines.as_bytes(), "a").unwrap().len(), limit);
        assert_eq!(frame_lines(format!("{lines}x").as_bytes(), "a").err(), too_many);
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_cutter_panic_or_point_outside(body in proptest::collection::vec(proptest::sample::select(b"{}\n\r\"index:create_d ".to_vec()), 0..200)) {
            for document in frame_bulk(&body, Some("a")).unwrap_or_default() {
                if let Ok(place) = document.place {
                    proptest::prop_assert!(body.get(place).is_some());
                }
            }
        }
    }
}
