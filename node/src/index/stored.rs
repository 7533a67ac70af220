//! The stored copy of an event: the bytes of the field `doc`.
//!
//! First a byte that says the layout, then, where the producer gave an id, its length as two bytes in little endian and the
//! id itself, then the JSON. Where the JSON begins with the event's time, written as this node writes it, that beginning is
//! left out: the column `ts` holds it. So is a pseudonym token that is the whole value of an entry: it stands in the column
//! of that attribute, and its letters are the one thing that no compression makes smaller. Compresses nothing itself: the
//! document store does that for many records together.

use std::borrow::Cow;

use domicile_proto::ids::Timestamp;

use super::token;
use crate::parse::written;

/// The JSON, and nothing else.
const PLAIN: u8 = 1;
/// Added to the layout where an id stands before the JSON.
const WITH_ID: u8 = 1;
/// Added where the JSON lacks its first entry, the time under this name.
const STAMPS: [(u8, &str); 2] = [(4, "@timestamp"), (8, "timestamp")];

/// Added where tokens are left out of the JSON: their number and the keys of their entries, each behind its length, follow.
const WITH_TOKENS: u8 = 16;
/// Most tokens that are left out of one event.
const MAX_TOKENS: usize = 16;
/// Longest key of an entry whose token is left out, in bytes.
const MAX_KEY_BYTES: usize = 64;
/// What stands where a token was left out.
const GAP: &str = "\u{2039}\u{203A}";

/// An event as it was stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// The producer's `_id`, where it gave one.
    pub(crate) id: Option<&'a str>,
    /// The event as compact JSON.
    pub(crate) json: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// The bytes of an event that happened at `at`. `values` are entries at its top whose values are columns of their own.
    pub(crate) fn encode(id: Option<&str>, json: &[u8], at: Timestamp, values: &[(&str, &str)]) -> Vec<u8> {
        let id = id.and_then(|id| u16::try_from(id.len()).ok().map(|length| (length, id)));
        let (stamp, json) = without_stamp(json, at).unwrap_or((0, json));
        let gaps = gaps(json, values);
        let stamp = if gaps.is_empty() { stamp } else { stamp + WITH_TOKENS };
        let mut bytes = Vec::with_capacity(3 + id.map_or(0, |(_, id)| id.len()) + json.len());
        match id {
            None => bytes.push(PLAIN + stamp),
            Some((length, id)) => {
                bytes.push(PLAIN + WITH_ID + stamp);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        if let Some(count) = u8::try_from(gaps.len()).ok().filter(|count| *count > 0) {
            bytes.push(count);
            for Gap { key, .. } in &gaps {
                bytes.push(u8::try_from(key.len()).unwrap_or(0));
                bytes.extend_from_slice(key.as_bytes());
            }
        }
        let mut from = 0;
        for gap in gaps {
            bytes.extend_from_slice(json.get(from..gap.from).unwrap_or_default());
            bytes.extend_from_slice(GAP.as_bytes());
            from = gap.to;
        }
        bytes.extend_from_slice(json.get(from..).unwrap_or_default());
        bytes
    }

    /// Reads what [`Self::encode`] wrote of an event of the same time; `value` gives what the column of an attribute holds of
    /// it. `None` where the bytes are something else.
    pub(crate) fn decode(bytes: &'a [u8], at: Timestamp, value: impl FnMut(&str) -> Option<String>) -> Option<Self> {
        let (&layout, rest) = bytes.split_first()?;
        let stamp = STAMPS.iter().find(|(bit, _)| layout & bit != 0);
        let tokens = layout & WITH_TOKENS;
        let (id, json) = match layout - tokens - stamp.map_or(0, |(bit, _)| *bit) {
            PLAIN => (None, rest),
            2 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let (id, json) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                (Some(std::str::from_utf8(id).ok()?), json)
            }
            _ => return None,
        };
        let json = if tokens == 0 { Cow::Borrowed(json) } else { Cow::Owned(with_tokens(json, value)?) };
        let json = match stamp {
            None => json,
            Some((_, name)) => Cow::Owned([beginning(name, at)?.as_bytes(), &json].concat()),
        };
        Some(Self { id, json })
    }
}

/// What of the JSON is stored, and which stamp it lacks.
fn without_stamp(json: &[u8], at: Timestamp) -> Option<(u8, &[u8])> {
    let (bit, name) = STAMPS.iter().find(|(_, name)| {
        let rest = json.strip_prefix(b"{\"").and_then(|json| json.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\":\""))
    })?;
    Some((*bit, json.strip_prefix(beginning(name, at)?.as_bytes())?))
}

/// A token that is left out of the JSON, and the key of its entry.
struct Gap<'k> {
    key: &'k str,
    from: usize,
    to: usize,
}

/// The tokens that are left out of the JSON, in its order.
fn gaps<'k>(json: &[u8], values: &[(&'k str, &str)]) -> Vec<Gap<'k>> {
    let is_plain = |key: &str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !key.is_empty();
    let tokens = values.iter().filter(|(key, value)| {
        token::at_start(value) == Some(value.len()) && is_plain(key) && key.len() <= MAX_KEY_BYTES
    });
    let mut tokens = tokens.take(MAX_TOKENS).peekable();
    if tokens.peek().is_none() || holds_gap(json) {
        return Vec::new();
    }
    // An entry of the same key further in may come first: it has the same value then, so either may be left out.
    let gap = |(key, token): &(&'k str, &str)| {
        place_of(json, key, token).map(|from| Gap { key, from, to: from + token.len() })
    };
    let mut gaps: Vec<Gap<'k>> = tokens.filter_map(gap).collect();
    gaps.sort_unstable_by_key(|gap| gap.from);
    gaps
}

/// Whether [`GAP`] stands anywhere. Few signs of a log begin with its first byte, so a search for that one is all that most cost.
fn holds_gap(json: &[u8]) -> bool {
    let first = GAP.as_bytes().first().copied().unwrap_or_default();
    memchr::memchr_iter(first, json).any(|at| json.get(at..).is_some_and(|rest| rest.starts_with(GAP.as_bytes())))
}

/// Fills the [`gaps`] again.
fn with_tokens(bytes: &[u8], mut value: impl FnMut(&str) -> Option<String>) -> Option<Vec<u8>> {
    let (&count, mut rest) = bytes.split_first()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (&length, behind) = rest.split_first()?;
        let (key, behind) = behind.split_at_checked(usize::from(length))?;
        keys.push(std::str::from_utf8(key).ok()?);
        rest = behind;
    }
    let mut json = rest.to_vec();
    for key in keys {
        let token = value(key)?;
        let at = place_of(&json, key, GAP)?;
        json.splice(at..at + GAP.len(), token.bytes());
    }
    Some(json)
}

/// The first place where `text` is the text of a key in compact JSON. Inside of a text quotation marks would have backslashes, so
/// an entry is found nowhere else.
fn place_of(json: &[u8], key: &str, text: &str) -> Option<usize> {
    let is_entry = |at: &usize| {
        let (Some(before), Some(after)) = (json.get(..*at), json.get(*at..)) else { return false };
        let ends = after.strip_prefix(text.as_bytes()).is_some_and(|after| after.first() == Some(&b'"'));
        let head = before.strip_suffix(b"\":\"").and_then(|head| head.strip_suffix(key.as_bytes()));
        ends && head.is_some_and(|head| head.last() == Some(&b'"'))
    };
    memchr::memchr_iter(*text.as_bytes().first()?, json).find(is_entry)
}

/// How an event begins whose first entry is its time.
fn beginning(name: &str, at: Timestamp) -> Option<String> {
    Some(format!("{{\"{name}\":\"{}\"", written(at)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp(1_767_225_600_117_000);

    const TOKENS: [&str; 2] = ["‹ip:abcdefghijklmnopqrstuvwx27›", "‹email:27abcdefghijklmnopqrstuvwx›"];

    fn nothing(_: &str) -> Option<String> {
        None
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(
            id in proptest::option::of(".{0,200}"),
            json in "(\\{\"@?timestamp\":\"2026-01-01T00:00:00\\.117(000)?Z\"[,}]?)?\\PC{0,300}",
            micros in 0..3_i64,
        ) {
            let at = Timestamp(AT.0 + micros);
            let bytes = Stored::encode(id.as_deref(), json.as_bytes(), at, &[]);
            let stored = Stored::decode(&bytes, at, nothing);
            let whole = stored == Some(Stored { id: id.as_deref(), json: json.as_bytes().into() });
            prop_assert!(whole);
        }

        #[test]
        fn events_with_tokens_come_back_from_their_columns(
            entries in proptest::collection::btree_map("[a-c_]{1,2}", 0..5_usize, 0..6),
            inner in proptest::collection::btree_map("[a-c_]{1,2}", 0..5_usize, 0..3),
            text in "[‹›\":{},a-c\\\\]{0,12}",
        ) {
            let value = |kind: &usize| match kind {
                0 | 1 => serde_json::json!(TOKENS[*kind]),
                2 => serde_json::json!(text),
                3 => serde_json::json!(inner.iter().map(|(k, v)| (k.clone(), TOKENS[v % 2])).collect::<std::collections::BTreeMap<_, _>>()),
                _ => serde_json::json!(7),
            };
            let event: serde_json::Map<_, _> = entries.iter().map(|(key, kind)| (key.clone(), value(kind))).collect();
            let json = serde_json::to_vec(&event).unwrap();
            let values: Vec<(&str, &str)> =
                event.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
            let bytes = Stored::encode(None, &json, AT, &values);
            let column = |key: &str| event.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            let stored = Stored::decode(&bytes, AT, column);
            prop_assert!(stored.is_some_and(|stored| stored.json == json));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Stored::decode(&bytes, AT, |_| Some(String::new()));
        }
    }

    #[test]
    fn no_stored_event_panics() {
        let json = format!("{{\"ip\":\"{}\",\"n\":1,\"timestamp\":\"2026-01-01T00:00:00.117Z\"}}", TOKENS[0]);
        let good = vec![
            Stored::encode(Some("id"), json.as_bytes(), AT, &[("ip", TOKENS[0]), ("n", "1")]),
            Stored::encode(None, b"{}", AT, &[]),
        ];
        bolero::check!().with_iterations(crate::fuzz::cases()).with_type::<crate::fuzz::Input>().for_each(|input| {
            let bytes = input.bytes(&good);
            let _ = Stored::decode(&bytes, AT, |name| (name == "ip").then(|| TOKENS[0].to_owned()));
        });
    }

    #[test]
    fn the_layout_on_disk_stays() {
        assert_eq!(Stored::encode(None, b"{}", AT, &[]), [1, b'{', b'}']);
        assert_eq!(Stored::encode(Some("a"), b"{}", AT, &[]), [2, 1, 0, b'a', b'{', b'}']);
        for (layout, id, name, stamp) in [
            (5, None, "@timestamp", "2026-01-01T00:00:00.117Z"),
            (9, None, "timestamp", "2026-01-01T00:00:00.117Z"),
            (6, Some(""), "@timestamp", "2026-01-01T00:00:00.117Z"),
            (1, None, "timestamp", "2026-01-01T00:00:00.118Z"),
            (1, None, "time", "2026-01-01T00:00:00.117Z"),
        ] {
            let json = format!("{{\"{name}\":\"{stamp}\"}}");
            let bytes = Stored::encode(id, json.as_bytes(), AT, &[]);
            assert_eq!((bytes[0], bytes.len() < 6), (layout, layout != 1), "{json}");
        }
        let json = format!("{{\"ip\":\"{}\",\"n\":1}}", TOKENS[0]);
        let bytes = Stored::encode(None, json.as_bytes(), AT, &[("ip", TOKENS[0]), ("n", "1")]);
        assert_eq!(bytes, "\u{11}\u{1}\u{2}ip{\"ip\":\"‹›\",\"n\":1}".as_bytes());
        assert!(Stored::decode(&bytes, AT, nothing).is_none(), "without its column it is not whole");
        // A sender's own gap further in would be filled in the place of the right one.
        let json = format!("{{\"b\":{{\"ip\":\"‹›\"}},\"ip\":\"{}\"}}", TOKENS[0]);
        let bytes = Stored::encode(None, json.as_bytes(), AT, &[("ip", TOKENS[0])]);
        let stored = Stored::decode(&bytes, AT, |_| Some(TOKENS[0].to_owned()));
        assert!(stored.is_some_and(|stored| stored.json == json.as_bytes()), "a gap of the sender's own");
        for bytes in [&[2, 9, 0, b'a'][..], &[], &[0], &[12], &[4]] {
            assert!(Stored::decode(bytes, AT, nothing).is_none());
        }
    }
}
