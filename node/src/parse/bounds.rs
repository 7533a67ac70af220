//! The bounds of one document: bytes, keys, depth, values. Large ones are checked before they are parsed, for a parsed form
//! takes many times its bytes.

use serde_json::{Map, Value};

use super::errors::ParseError;
use crate::limits::{MAX_RECORD_DEPTH, MAX_RECORD_KEYS, MAX_RECORD_VALUES};

/// Whether the bytes of a large document promise a parsed form within bounds. Malformed JSON is left to the parser.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), ParseError> {
    let mut depth = 0_usize;
    let mut keys = 0_usize;
    let mut values = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' => keys += 1,
            b',' => values += 1,
            _ => {}
        }
        check(depth, keys, values)?;
        at += 1;
    }
    Ok(())
}

/// Place of the quote that ends a string.
fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(rest) = bytes.get(at..) {
        match memchr::memchr2(b'"', b'\\', rest) {
            None => return bytes.len(),
            Some(next) if rest.get(next) == Some(&b'"') => return at + next,
            Some(next) => at += next + 2,
        }
    }
    bytes.len()
}

/// Whether a parsed document is within bounds.
pub(super) fn check_map(map: &Map<String, Value>) -> Result<(), ParseError> {
    let mut counted = Counted::default();
    counted.map(map, 1)
}

#[derive(Default)]
struct Counted {
    keys: usize,
    values: usize,
}

impl Counted {
    fn map(&mut self, map: &Map<String, Value>, depth: usize) -> Result<(), ParseError> {
        self.keys += map.len();
        check(depth, self.keys, self.values)?;
        map.values().filter(|value| is_nested(value)).try_for_each(|value| self.value(value, depth + 1))
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), ParseError> {
        match value {
            Value::Object(map) => self.map(map, depth),
            Value::Array(list) => {
                self.values += list.len();
                check(depth, self.keys, self.values)?;
                list.iter().filter(|value| is_nested(value)).try_for_each(|value| self.value(value, depth + 1))
            }
            _ => Ok(()),
        }
    }
}

const fn is_nested(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Array(_))
}

const fn check(depth: usize, keys: usize, values: usize) -> Result<(), ParseError> {
    if depth > MAX_RECORD_DEPTH {
        return Err(ParseError::TooDeep { limit: MAX_RECORD_DEPTH });
    }
    if keys > MAX_RECORD_KEYS {
        return Err(ParseError::TooManyKeys { limit: MAX_RECORD_KEYS });
    }
    if values > MAX_RECORD_VALUES {
        return Err(ParseError::TooManyValues { limit: MAX_RECORD_VALUES });
    }
    Ok(())
}

/// From this size on a document is counted before it is parsed, in bytes: below, even the worst parsed form is small.
pub(super) const COUNTED_FIRST_BYTES: usize = 64 << 10;
