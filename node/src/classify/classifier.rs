//! Walks a record and replaces what is personal in it by pseudonym tokens.

use std::cell::RefCell;
use std::sync::Arc;

use domicile_proto::border::LiteralDetector;
use domicile_proto::metadata::Personal;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::card;
use super::classified::Classified;
use super::scan::{self, Class, Span};
use crate::keys::{Original, PseudonymKeys, TenantPseudonyms};
use crate::parse::Record;
use crate::policy::StreamView;

/// The detectors of a region with the keys of its pseudonyms.
#[derive(Clone)]
pub(crate) struct Classifier {
    keys: Arc<PseudonymKeys>,
}

impl Classifier {
    /// Under the region's keys.
    pub(crate) const fn new(keys: Arc<PseudonymKeys>) -> Self {
        Self { keys }
    }

    /// Replaces what is personal in a record of a stream. The subject is read before.
    pub(crate) fn classify(&self, record: Record, stream: &StreamView) -> Classified {
        let keys = self.keys.tenant(stream.tenant);
        let mut record = record;
        let subject = match &stream.policy.personal {
            Personal::Subject(field) => {
                subject_of(&record.source, field.as_str()).map(|value| keys.subject(field.as_str(), &value))
            }
            Personal::Undeclared | Personal::No => None,
        };
        let cleaner = Cleaner { keys: &keys, with_ip: stream.policy.redact_ip, subject, originals: RefCell::default() };
        cleaner.map(&mut record.source);
        if let Some(id) = &record.id
            && let Some(clean) = cleaner.text(id)
        {
            record.id = Some(clean.into());
        }
        Classified::close(record, subject, cleaner.originals.into_inner())
    }

    /// A text with its personal spans replaced, as it would stand in a record of the stream: how searchers find a value that
    /// they know. `None` where nothing is replaced.
    pub(crate) fn pseudonymise(&self, text: &str, stream: &StreamView) -> Option<String> {
        let keys = self.keys.tenant(stream.tenant);
        let originals = RefCell::default();
        Cleaner { keys: &keys, with_ip: stream.policy.redact_ip, subject: None, originals }.text(text)
    }
}

impl LiteralDetector for Classifier {
    /// Stricter than what is replaced: a half address or a long number may be personal to somebody who knows the rest.
    fn finds_personal_data(&self, literal: &str) -> bool {
        let digits = literal.chars().filter(|c| c.is_numeric()).count();
        digits >= MOST_DIGITS_ABROAD || literal.contains(['@', '\u{FF20}']) || !scan::spans(literal, true).is_empty()
    }
}

/// The text under which a subject is counted; a number or a truth value as it is written.
fn subject_of(source: &Map<String, Value>, field: &str) -> Option<String> {
    let value = source.get(field).or_else(|| {
        let mut keys = field.split('.');
        let first = source.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    })?;
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

struct Cleaner<'a> {
    keys: &'a TenantPseudonyms,
    with_ip: bool,
    subject: Option<u64>,
    originals: RefCell<Vec<Original>>,
}

impl Cleaner<'_> {
    fn map(&self, map: &mut Map<String, Value>) {
        map.values_mut().for_each(|value| self.value(value));
        if map.keys().any(|key| !scan::spans(key, self.with_ip).is_empty()) {
            let old = std::mem::take(map);
            for (key, value) in old {
                let mut clean = self.text(&key).unwrap_or(key);
                while map.contains_key(&clean) {
                    clean.push('~');
                }
                map.insert(clean, value);
            }
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Value::Object(map) => self.map(map),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value)),
            Value::Number(number) => {
                let digits: Vec<u8> = number.as_u64().map(digits_of).unwrap_or_default();
                if card::is_card(&digits) {
                    let value_text = number.to_string();
                    *value = Value::String(self.replace(Class::Card, &value_text, &value_text));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The text with tokens, if anything in it is personal.
    fn text(&self, text: &str) -> Option<String> {
        let spans = scan::spans(text, self.with_ip);
        if spans.is_empty() {
            return None;
        }
        let mut clean = String::with_capacity(text.len() + spans.len() * 24);
        let mut from = 0;
        for Span { class, from: begin, to, value } in spans {
            clean.push_str(text.get(from..begin).unwrap_or_default());
            clean.push_str(&self.replace(class, &value, text.get(begin..to).unwrap_or_default()));
            from = to;
        }
        clean.push_str(text.get(from..).unwrap_or_default());
        Some(clean)
    }

    /// The token of a value; the value as it stood is kept for sealing.
    fn replace(&self, class: Class, value: &str, original: &str) -> String {
        let token = self.token(class, value);
        let text = Zeroizing::new(original.to_owned());
        self.originals.borrow_mut().push(Original { token: token.as_str().into(), subject: self.subject, text });
        token
    }

    /// `‹class:` and 26 characters of base32 `›`.
    fn token(&self, class: Class, value: &str) -> String {
        let hash = u128::from_be_bytes(self.keys.token(class.as_str(), value));
        let mut token = String::with_capacity(40);
        token.push('\u{2039}');
        token.push_str(class.as_str());
        token.push(':');
        for place in 0..26_u32 {
            // 26 characters of 5 bits hold 130: the two missing ones are zeros at the end.
            let shifted = if place < 25 { hash >> (123 - 5 * place) } else { hash << 2 };
            let symbol = usize::try_from(shifted & 31).unwrap_or(0);
            token.push(char::from(BASE32.get(symbol).copied().unwrap_or(b'a')));
        }
        token.push('\u{203A}');
        token
    }
}

fn digits_of(number: u64) -> Vec<u8> {
    if number < 1_000_000_000_000 {
        return Vec::new();
    }
    number.to_string().bytes().map(|byte| byte - b'0').collect()
}

/// RFC 4648 section 6, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// From this many digits on a literal does not travel.
const MOST_DIGITS_ABROAD: usize = 12;

#[cfg(test)]
#[path = "classifier_test.rs"]
mod tests;
