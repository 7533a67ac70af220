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
        let at = understood.at.unwrap_or(self.received_at);
        // Clients of an event expect its time in it. What the line itself says stands in the message.
        let stamp = timestamp::written(at).map(|text| ("@timestamp".to_owned(), Value::String(text)));
        let source: Map<String, Value> = stamp.into_iter().chain(understood.source).collect();
        Record {
            timestamp: at,
            level: understood.level.unwrap_or_default(),
            id: None,
            envelope: Envelope::locate(&source),
            source,
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

#[cfg(test)]
mod tests {
    use domicile_proto::ids::Level;

    use super::*;
    use crate::limits::{MAX_RECORD_BYTES, MAX_RECORD_DEPTH, MAX_RECORD_KEYS, MAX_RECORD_VALUES};
    use crate::parse::{frame_lines, frame_single};
    use crate::receive::Action;

    const NOW: Timestamp = Timestamp(1_795_176_000_000_000);

    fn parse(form: Form, body: &[u8]) -> Result<Record, ParseError> {
        let documents = frame_single(body, "a", Action::Index, None).unwrap();
        Parser::new(Zone::UTC, NOW).record(form, body, &documents[0])
    }

    fn error(body: &[u8]) -> Option<ParseError> {
        parse(Form::Json, body).err()
    }

    #[test]
    fn the_time_comes_from_the_least_doubtful_field_else_the_message_else_the_receipt() {
        for (body, expected) in [
            (r#"{"time":"2020-01-01T00:00:00Z","@timestamp":"2021-01-01T00:00:00Z"}"#, "2021-01-01T00:00:00Z"),
            (r#"{"@timestamp":"soon","ts":1763632800}"#, "2025-11-20T10:00:00Z"),
            (r#"{"date":"2026-11-20","time":"10:00:00"}"#, "2026-11-20T10:00:00Z"),
            (r#"{"message":"2026-11-19 10:00:00 INFO x"}"#, "2026-11-19T10:00:00Z"),
            (r#"{"message":"no time"}"#, "2026-11-20T12:00:00Z"),
            (r#"{"timestamp":{"a":1}}"#, "2026-11-20T12:00:00Z"),
            (r#"{"timestamp":null}"#, "2026-11-20T12:00:00Z"),
        ] {
            let record = parse(Form::Json, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
            let expected = expected.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            assert_eq!(record.timestamp.0, expected, "{body}");
        }
        let huge = format!("{{\"timestamp\":\"{}\"}}", "2".repeat(1 << 20));
        assert_eq!(parse(Form::Json, huge.as_bytes()).map(|record| record.timestamp).ok(), Some(NOW));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[1]", "1", "\"x\"", "null", "{", "{\"a\":1} {}", "{\"a\":}", "{'a':1}", "\u{feff}{}x"] {
            assert_eq!(error(body.as_bytes()), Some(ParseError::NotAnObject), "{body}");
        }
        assert_eq!(error(b"{\"a\":\"\xff\"}"), Some(ParseError::NotUtf8));
        assert_eq!(error(br#"{"a":"\ud800"}"#), Some(ParseError::NotAnObject));
    }

    #[test]
    fn bombs_are_refused_before_they_are_parsed() {
        let limit = MAX_RECORD_DEPTH;
        for depth in [21, 127, 5_000, 1_000_000] {
            let body = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
            let found = error(body.as_bytes());
            assert!(matches!(found, Some(ParseError::TooDeep { .. } | ParseError::NotAnObject)), "{depth}");
            assert!(depth < 40_000 || found == Some(ParseError::TooDeep { limit }));
        }
        let within = format!("{{\"a\":{}1{}}}", "[".repeat(limit - 1), "]".repeat(limit - 1));
        assert_eq!(error(within.as_bytes()), None);
        let keys = |count: usize| (0..count).map(|k| format!("\"k{k}\":1")).collect::<Vec<_>>().join(",");
        assert_eq!(error(format!("{{{}}}", keys(MAX_RECORD_KEYS)).as_bytes()), None);
        let limit = MAX_RECORD_KEYS;
        assert_eq!(error(format!("{{{}}}", keys(limit + 1)).as_bytes()), Some(ParseError::TooManyKeys { limit }));
        assert_eq!(error(format!("{{{}}}", keys(500_000)).as_bytes()), Some(ParseError::TooManyKeys { limit }));
        let limit = MAX_RECORD_VALUES;
        for count in [limit + 1, 2_000_000] {
            let list = format!("{{\"a\":[{}0]}}", "0,".repeat(count));
            assert_eq!(error(list.as_bytes()), Some(ParseError::TooManyValues { limit }));
        }
    }

    #[test]
    fn a_line_of_five_megabytes_is_taken_and_one_above_the_limit_is_refused() {
        // Signs inside a text are no structure.
        let body = format!("{{\"message\":\"{}\"}}", "[{,:\\\"".repeat(1_000_000));
        assert!(body.len() > 5 << 20);
        assert_eq!(error(body.as_bytes()), None);
        let body = vec![b'x'; MAX_RECORD_BYTES + 1];
        assert_eq!(parse(Form::Text, &body).err(), Some(ParseError::TooLarge { limit: MAX_RECORD_BYTES }));
        assert!(parse(Form::Text, &body[1..]).is_ok());
    }

    #[test]
    fn text_lines_keep_what_is_no_utf_8_visible_and_objects_among_them_are_objects() {
        let body = b"2026-11-20 10:00:00 ERROR caf\xe9\n\n  \n{\"level\":\"warn\",\"n\":1}\n{half\n";
        let documents = frame_lines(body, "a").unwrap();
        let parser = Parser::new(Zone::UTC, NOW);
        let records: Vec<Record> =
            documents.iter().map(|document| parser.record(Form::Text, body, document).ok().unwrap()).collect();
        let levels: Vec<Level> = records.iter().map(|record| record.level).collect();
        assert_eq!(levels, [Level::Error, Level::Warn, Level::Unknown]);
        assert_eq!(records[0].envelope.message(&records[0].source), Some("2026-11-20 10:00:00 ERROR caf\u{fffd}"));
        assert_eq!(records[0].source.get("@timestamp"), Some(&Value::from("2026-11-20T10:00:00.000Z")));
        assert_eq!(records[2].source.get("@timestamp"), Some(&Value::from("2026-11-20T12:00:00.000Z")), "the receipt");
        assert_eq!(records[1].source.get("@timestamp"), None, "an object is kept as it was sent");
        assert_eq!(records[1].source.get("n"), Some(&Value::from(1)));
        assert_eq!(records[2].envelope.message(&records[2].source), Some("{half"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..200)) {
            let documents = frame_lines(&bytes, "a").unwrap_or_default();
            for document in &documents {
                let parser = Parser::new(Zone::UTC, NOW);
                let _ = parser.record(Form::Json, &bytes, document);
                proptest::prop_assert!(parser.record(Form::Text, &bytes, document).is_ok());
            }
        }
    }
}
