//! A record as the index takes it in: fields that borrow from the record, so that nothing is copied but the stored bytes.

use std::{fmt, iter, slice};

use serde_json::{Map, Number, Value as Json, map};
use tantivy::schema::Field;
use tantivy::schema::document::{Document, ReferenceValue, ReferenceValueLeaf, Value};

use super::schema::{Fields, MAX_COLUMN_BYTES, NOT_ATTRIBUTES, PRODUCER_ID, TRACE_ID, id_hash, looks_like_id};
use super::stored::Stored;
use crate::classify::Classified;
use crate::parse::Envelope;

/// One record on its way into a segment.
pub(super) struct Entry {
    fields: Places,
    record: Classified,
    seq: u64,
    trace: Option<u64>,
    ids: Vec<u64>,
    /// Attributes too long for a column.
    more: Vec<Box<str>>,
    stored: Vec<u8>,
}

impl Entry {
    pub(super) fn new(fields: &Fields, seq: u64, record: Classified) -> Self {
        let trace = record.envelope().trace(record.source()).map(|trace| id_hash(TRACE_ID, trace));
        let mut ids: Vec<u64> = record.id().map(|id| id_hash(PRODUCER_ID, id)).into_iter().collect();
        let mut more = Vec::new();
        let mut path = String::new();
        let mut columns = Vec::new();
        for (key, value) in Attributes::of(record.source(), *record.envelope()) {
            if let Item::Json(Json::String(text)) = &value
                && text.len() <= MAX_COLUMN_BYTES
            {
                columns.push((key, text.as_str()));
            }
            path.clear();
            path.push_str(key);
            set_apart(value, &mut path, &mut ids, &mut more);
        }
        let stored = Stored::encode(record.id(), record.json(), record.timestamp(), &columns);
        Self { fields: Places::of(fields), record, seq, trace, ids, more, stored }
    }
}

/// Collects what does not become a column: ids as hashes, long texts as words.
fn set_apart(item: Item<'_>, path: &mut String, ids: &mut Vec<u64>, more: &mut Vec<Box<str>>) {
    match item {
        Item::Json(Json::String(text)) if looks_like_id(text) => ids.push(id_hash(path, text)),
        Item::Json(Json::String(text)) if text.len() > MAX_COLUMN_BYTES => more.push(text.as_str().into()),
        Item::Json(Json::Array(items)) => items.iter().for_each(|item| set_apart(Item::Json(item), path, ids, more)),
        Item::Json(Json::Object(object)) => set_apart(Item::Attributes(Attributes::whole(object)), path, ids, more),
        Item::Attributes(attributes) => {
            let length = path.len();
            for (key, value) in attributes {
                path.push('.');
                path.push_str(key);
                set_apart(value, path, ids, more);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// [`Fields`] without the schema, small enough to copy.
#[derive(Clone, Copy)]
struct Places {
    ts: Field,
    seq: Field,
    level: Field,
    service: Field,
    host: Field,
    trace: Field,
    ids: Field,
    subject: Field,
    message: Field,
    more: Field,
    attributes: Field,
    doc: Field,
}

impl Places {
    const fn of(fields: &Fields) -> Self {
        Self {
            ts: fields.ts,
            seq: fields.seq,
            level: fields.level,
            service: fields.service,
            host: fields.host,
            trace: fields.trace,
            ids: fields.ids,
            subject: fields.subject,
            message: fields.message,
            more: fields.more,
            attributes: fields.attributes,
            doc: fields.doc,
        }
    }
}

impl Document for Entry {
    type Value<'a> = Item<'a>;
    type FieldsValuesIter<'a> = Box<dyn Iterator<Item = (Field, Item<'a>)> + 'a>;

    fn iter_fields_and_values(&self) -> Self::FieldsValuesIter<'_> {
        let Self { fields, record, .. } = self;
        let (source, envelope) = (record.source(), record.envelope());
        let one_each = [
            Some((fields.ts, Item::Signed(record.timestamp().0))),
            Some((fields.seq, Item::Unsigned(self.seq))),
            Some((fields.level, Item::Unsigned(record.level() as u64))),
            envelope.service(source).map(|text| (fields.service, Item::Text(text))),
            envelope.host(source).map(|text| (fields.host, Item::Text(text))),
            self.trace.map(|trace| (fields.trace, Item::Unsigned(trace))),
            record.subject().map(|subject| (fields.subject, Item::Unsigned(subject))),
            envelope.message(source).map(|text| (fields.message, Item::Text(text))),
            envelope.exception(source).map(|text| (fields.more, Item::Text(text))),
            Some((fields.attributes, Item::Attributes(Attributes::of(source, *envelope)))),
            Some((fields.doc, Item::Bytes(&self.stored))),
        ];
        let ids = self.ids.iter().map(|id| (fields.ids, Item::Unsigned(*id)));
        let more = self.more.iter().map(|text| (fields.more, Item::Text(text)));
        Box::new(one_each.into_iter().flatten().chain(ids).chain(more))
    }
}

/// A value of a field.
#[derive(Clone)]
pub(super) enum Item<'a> {
    Signed(i64),
    Unsigned(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Attributes(Attributes<'a>),
    Json(&'a Json),
}

/// Says nothing of the content.
impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Item")
    }
}

impl<'a> Value<'a> for Item<'a> {
    type ArrayIter = iter::Map<slice::Iter<'a, Json>, fn(&'a Json) -> Self>;
    type ObjectIter = Attributes<'a>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        let leaf = match self {
            Self::Signed(number) => ReferenceValueLeaf::I64(*number),
            Self::Unsigned(number) => ReferenceValueLeaf::U64(*number),
            Self::Text(text) => ReferenceValueLeaf::Str(text),
            Self::Bytes(bytes) => ReferenceValueLeaf::Bytes(bytes),
            Self::Attributes(attributes) => return ReferenceValue::Object(attributes.clone()),
            Self::Json(Json::Object(object)) => return ReferenceValue::Object(Attributes::whole(object)),
            Self::Json(Json::Array(items)) => {
                return ReferenceValue::Array(items.iter().map(Self::Json as fn(&'a Json) -> Self));
            }
            Self::Json(Json::Bool(truth)) => ReferenceValueLeaf::Bool(*truth),
            Self::Json(Json::Number(number)) => number_leaf(number),
            Self::Json(Json::String(text)) if text.len() <= MAX_COLUMN_BYTES && !looks_like_id(text) => {
                ReferenceValueLeaf::Str(text)
            }
            // Its value stands elsewhere: the column says that there is one.
            Self::Json(Json::String(_)) => ReferenceValueLeaf::Date(tantivy::DateTime::from_timestamp_secs(0)),
            Self::Json(_) => ReferenceValueLeaf::Null,
        };
        ReferenceValue::Leaf(leaf)
    }
}

fn number_leaf(number: &Number) -> ReferenceValueLeaf<'static> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(signed), ..) => ReferenceValueLeaf::I64(signed),
        (_, Some(unsigned), _) => ReferenceValueLeaf::U64(unsigned),
        (_, _, Some(float)) => ReferenceValueLeaf::F64(float),
        _ => ReferenceValueLeaf::Null,
    }
}

/// The attributes of an event or of an object in it, without the paths that other fields hold.
#[derive(Clone)]
pub(super) struct Attributes<'a> {
    entries: map::Iter<'a>,
    /// Paths to leave out, from here on.
    left_out: [Path; 5],
    is_top: bool,
}

type Path = &'static [&'static str];

impl<'a> Attributes<'a> {
    fn of(source: &'a Map<String, Json>, envelope: Envelope) -> Self {
        Self { entries: source.iter(), left_out: envelope.paths(), is_top: true }
    }

    fn whole(object: &'a Map<String, Json>) -> Self {
        Self { entries: object.iter(), left_out: [&[]; 5], is_top: false }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, value) = self.entries.next()?;
            if self.is_top && NOT_ATTRIBUTES.contains(&key.as_str()) {
                continue;
            }
            let mut below: [Path; 5] = [&[]; 5];
            let mut is_left_out = false;
            for (path, below) in self.left_out.iter().zip(&mut below) {
                match path.split_first() {
                    Some((first, rest)) if *first == key.as_str() => {
                        is_left_out |= rest.is_empty();
                        *below = rest;
                    }
                    _ => {}
                }
            }
            match value {
                _ if is_left_out => {}
                Json::Object(object) if below.iter().any(|path| !path.is_empty()) => {
                    let inner = Self { entries: object.iter(), left_out: below, is_top: false };
                    return Some((key, Item::Attributes(inner)));
                }
                value => return Some((key, Item::Json(value))),
            }
        }
    }
}
