//! A record: one event as it was sent, with its time, its level and the places of its envelope fields.

use domicile_proto::ids::{Level, Timestamp};
use serde_json::{Map, Value};

/// Spellings under which senders give the envelope fields, as paths into the record; the first one found wins.
///
/// An envelope field is remembered as its place in these lists, so the lists only ever grow at their ends (the write-ahead
/// log holds the places).
pub(crate) mod spellings {
    pub(crate) const MESSAGE: &[&[&str]] = &[
        &["message"],
        &["msg"],
        &["log"],
        &["body"],
        &["line"],
        &["text"],
        &["short_message"],
        &["event", "original"],
    ];
    pub(crate) const SERVICE: &[&[&str]] = &[
        &["service"],
        &["service", "name"],
        &["service.name"],
        &["app"],
        &["application"],
        &["program"],
        &["logger"],
        &["component"],
    ];
    pub(crate) const HOST: &[&[&str]] =
        &[&["host"], &["host", "name"], &["host.name"], &["hostname"], &["node"], &["server"]];
    pub(crate) const TRACE: &[&[&str]] = &[&["trace_id"], &["traceId"], &["trace", "id"], &["trace.id"], &["traceid"]];
    pub(crate) const EXCEPTION: &[&[&str]] =
        &[&["exception"], &["stack_trace"], &["error", "stack_trace"], &["error.stack_trace"], &["stacktrace"]];
}

/// Where the envelope fields stand in a record: places in [`spellings`], 255 for "not given".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) message: u8,
    pub(crate) service: u8,
    pub(crate) host: u8,
    pub(crate) trace: u8,
    pub(crate) exception: u8,
}

impl Envelope {
    /// Not given.
    pub(crate) const ABSENT: u8 = u8::MAX;

    /// Finds the envelope fields of a record; a field counts only where it is a string.
    pub(crate) fn locate(source: &Map<String, Value>) -> Self {
        let mut places = Self {
            message: Self::ABSENT,
            service: Self::ABSENT,
            host: Self::ABSENT,
            trace: Self::ABSENT,
            exception: Self::ABSENT,
        };
        // One walk over the record's keys: looking each spelling up in each record costs more than parsing it.
        for (key, value) in source {
            if !may_begin(key) {
                continue;
            }
            let found = |paths: &[&[&str]], place: u8| {
                let fits = |path: &[&str]| {
                    path.split_first()
                        .is_some_and(|(first, rest)| first == key && below(value, rest).is_some_and(Value::is_string))
                };
                let place_now = paths.iter().position(|path| fits(path)).and_then(|place| u8::try_from(place).ok());
                place_now.map_or(place, |now| now.min(place))
            };
            places.message = found(spellings::MESSAGE, places.message);
            places.service = found(spellings::SERVICE, places.service);
            places.host = found(spellings::HOST, places.host);
            places.trace = found(spellings::TRACE, places.trace);
            places.exception = found(spellings::EXCEPTION, places.exception);
        }
        places
    }

    /// Paths of the fields that are given; the others are empty.
    pub(crate) fn paths(self) -> [&'static [&'static str]; 5] {
        let path = |paths: &'static [&'static [&'static str]], place: u8| {
            paths.get(usize::from(place)).copied().unwrap_or_default()
        };
        [
            path(spellings::MESSAGE, self.message),
            path(spellings::SERVICE, self.service),
            path(spellings::HOST, self.host),
            path(spellings::TRACE, self.trace),
            path(spellings::EXCEPTION, self.exception),
        ]
    }

    pub(crate) fn message<'a>(&self, source: &'a Map<String, Value>) -> Option<&'a str> {
        text(source, spellings::MESSAGE, self.message)
    }

    pub(crate) fn service<'a>(&self, source: &'a Map<String, Value>) -> Option<&'a str> {
        text(source, spellings::SERVICE, self.service)
    }

    pub(crate) fn host<'a>(&self, source: &'a Map<String, Value>) -> Option<&'a str> {
        text(source, spellings::HOST, self.host)
    }

    pub(crate) fn trace<'a>(&self, source: &'a Map<String, Value>) -> Option<&'a str> {
        text(source, spellings::TRACE, self.trace)
    }

    pub(crate) fn exception<'a>(&self, source: &'a Map<String, Value>) -> Option<&'a str> {
        text(source, spellings::EXCEPTION, self.exception)
    }
}

fn text<'a>(source: &'a Map<String, Value>, paths: &[&[&str]], place: u8) -> Option<&'a str> {
    follow(source, paths.get(usize::from(place))?)?.as_str()
}

fn follow<'a>(source: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    below(source.get(*first)?, rest)
}

fn below<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Whether a spelling of some envelope field begins with this key.
fn may_begin(key: &str) -> bool {
    matches!(
        key,
        "message"
            | "msg"
            | "log"
            | "body"
            | "line"
            | "text"
            | "short_message"
            | "event"
            | "service"
            | "service.name"
            | "app"
            | "application"
            | "program"
            | "logger"
            | "component"
            | "host"
            | "host.name"
            | "hostname"
            | "node"
            | "server"
            | "trace_id"
            | "traceId"
            | "trace"
            | "trace.id"
            | "traceid"
            | "exception"
            | "stack_trace"
            | "error"
            | "error.stack_trace"
            | "stacktrace"
    )
}

/// One event. No `Debug`, no `Serialize`: its content is for the stages to the right alone.
pub(crate) struct Record {
    /// When it happened, in UTC.
    pub(crate) timestamp: Timestamp,
    /// How bad it is.
    pub(crate) level: Level,
    /// The producer's id for it (`_id`), at most 512 bytes.
    pub(crate) id: Option<Box<str>>,
    /// Where its envelope fields stand.
    pub(crate) envelope: Envelope,
    /// The event as it was sent.
    pub(crate) source: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_of_an_envelope_field_is_found_at_its_place() {
        type Place = fn(&Envelope) -> u8;
        let families: [(&[&[&str]], Place); 5] = [
            (spellings::MESSAGE, |envelope| envelope.message),
            (spellings::SERVICE, |envelope| envelope.service),
            (spellings::HOST, |envelope| envelope.host),
            (spellings::TRACE, |envelope| envelope.trace),
            (spellings::EXCEPTION, |envelope| envelope.exception),
        ];
        for (paths, place) in families {
            for (expected, path) in paths.iter().enumerate() {
                let value = path.iter().rev().fold(json!("x"), |inner, key| json!({ *key: inner }));
                let Value::Object(source) = value else { panic!("a path has a key") };
                assert_eq!(usize::from(place(&Envelope::locate(&source))), expected, "{path:?}");
            }
        }
    }

    #[test]
    fn the_first_spelling_wins_wherever_it_stands_and_only_strings_count() {
        let Value::Object(source) = json!({"msg": "b", "log": 1, "message": "a", "host": {"name": "h"}, "trace": 7})
        else {
            panic!("an object")
        };
        let envelope = Envelope::locate(&source);
        assert_eq!(envelope.message(&source), Some("a"));
        assert_eq!(envelope.host(&source), Some("h"));
        assert_eq!(envelope.trace, Envelope::ABSENT);
    }
}
