//! Makes a [`Record`] of a [`Document`].

use domicile_proto::ids::Timestamp;
use serde_json::{Map, Value};

use super::bounds::{self, COUNTED_FIRST_BYTES};
use super::document::Document;
use super::errors::ParseError;
use super::level::{self, Before};
use super::record::{Envelope, Record};
use super::text;
use super::timestamp::{self, Context};
use super::zone::Zone;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON object.
    Json,
    /// Any text; an object is read as one.
    Text,
}

/// Parses the documents of one stream and request.
pub(crate) struct Parser {
    zone: Zone,
    received_at: Timestamp,
}

impl Parser {
    /// For a stream whose stamps without a zone lie in `zone`, in a request of this time.
    pub(crate) const fn new(zone: Zone, received_at: Timestamp) -> Self {
        Self { zone, received_at }
    }

    /// The record of a document; `body` is the one the document was found in.
    ///
    /// # Errors
    /// What is wrong with the document. Text is never wrong but for its size: bytes that are no UTF-8 become U+FFFD, while
    /// JSON that is no UTF-8 is refused, for RFC 8259 knows none.
    pub(crate) fn record(&self, form: Form, body: &[u8], document: &Document) -> Result<Record, ParseError> {
        let place = document.place.clone()?;
        let bytes = body.get(place).unwrap_or_default();
        let mut record = match form {
            Form::Json => self.json(bytes)?,
            Form::Text if bytes.trim_ascii_start().first() == Some(&b'{') => match self.json(bytes) {
                Err(ParseError::NotAnObject | ParseError::NotUtf8) => self.text(bytes),
                record => record?,
            },
            Form::Text => self.text(bytes),
        };
        record.id = document.id.clone();
        Ok(record)
    }

    fn json(&self, bytes: &[u8]) -> Result<Record, ParseError> {
        if bytes.len() > COUNTED_FIRST_BYTES {
            bounds::check_bytes(bytes)?;
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ParseError::NotUtf8)?;
        let source: Map<String, Value> = serde_json::from_str(text).map_err(|_| ParseError::NotAnObject)?;
        bounds::check_map(&source)?;
        let envelope = Envelope::locate(&source);
        let context = self.context();
        let message = envelope.message(&source);
        let at = stamped(&source, &context).or_else(|| timestamp::leading(message?, &context).map(|found| found.at));
        let level = level::of_fields(&source).or_else(|| of_message(message?, &context));
        Ok(Record {
            timestamp: at.unwrap_or(self.received_at),
            level: level.unwrap_or_default(),
            id: None,
            envelope,
            source,
        })
    }

    fn text(&self, bytes: &[u8]) -> Record {
        let line = String::from_utf8_lossy(bytes).into_owned();
        let understood = text::understand(line, &self.context());
        Record {
            timestamp: understood.at.unwrap_or(self.received_at),
            level: understood.level.unwrap_or_default(),
            id: None,
            envelope: Envelope::locate(&understood.source),
            source: understood.source,
        }
    }

    const fn context(&self) -> Context<'_> {
        Context { zone: &self.zone, received_at: self.received_at }
    }
}

fn of_message(message: &str, context: &Context<'_>) -> Option<domicile_proto::ids::Level> {
    match timestamp::leading(message, context) {
        Some(found) => level::of_text(message.get(found.end..)?, Before::Stamp),
        None => level::of_text(message, Before::Nothing),
    }
}

/// The time that a record's fields name; of several, the one whose name is the least doubtful.
fn stamped(source: &Map<String, Value>, context: &Context<'_>) -> Option<Timestamp> {
    let mut found: [Option<&Value>; STAMPS.len()] = [None; STAMPS.len()];
    for (key, value) in source {
        if let Some(rank) = STAMPS.iter().position(|name| name == key)
            && let Some(place) = found.get_mut(rank)
        {
            *place = Some(value);
        }
    }
    let of_text = |text: &str| {
        let day = || source.get("date").and_then(Value::as_str).filter(|day| day.len() <= 16);
        timestamp::whole(text, context).or_else(|| timestamp::whole(&format!("{} {text}", day()?), context))
    };
    found.into_iter().flatten().find_map(|value| match value {
        Value::Number(number) => timestamp::number(number),
        Value::String(text) if text.len() <= MAX_STAMP_BYTES => of_text(text),
        _ => None,
    })
}

/// Names under which senders give the time, the least doubtful first.
const STAMPS: [&str; 20] = [
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "datetime",
    "date_time",
    "eventTime",
    "event_time",
    "asctime",
    "logtime",
    "log_time",
    "Timestamp",
    "Time",
    "timeUnixNano",
    "_time",
    "__REALTIME_TIMESTAMP",
    "_SOURCE_REALTIME_TIMESTAMP",
    "date",
    "created_at",
    "createdAt",
];
/// Longest text that may be a stamp, in bytes.
const MAX_STAMP_BYTES: usize = 64;
