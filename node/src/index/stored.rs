//! The stored copy of an event: the bytes of the field `doc`.
//!
//! First a byte that says the layout, then, where the producer gave an id, its length as two bytes in little endian and the
//! id itself, then the JSON. Where the JSON begins with the event's time, written as this node writes it, that beginning is
//! left out: the column `ts` holds it. Compresses nothing itself: the document store does that for many records together.

use std::borrow::Cow;

use domicile_proto::ids::Timestamp;

use crate::parse::written;

/// The JSON, and nothing else.
const PLAIN: u8 = 1;
/// Added to the layout where an id stands before the JSON.
const WITH_ID: u8 = 1;
/// Added where the JSON lacks its first entry, the time under this name.
const STAMPS: [(u8, &str); 2] = [(4, "@timestamp"), (8, "timestamp")];

/// An event as it was stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// The producer's `_id`, where it gave one.
    pub(crate) id: Option<&'a str>,
    /// The event as compact JSON.
    pub(crate) json: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// The bytes of an event that happened at `at`.
    pub(crate) fn encode(id: Option<&str>, json: &[u8], at: Timestamp) -> Vec<u8> {
        let id = id.and_then(|id| u16::try_from(id.len()).ok().map(|length| (length, id)));
        let (stamp, json) = without_stamp(json, at).unwrap_or((0, json));
        let mut bytes = Vec::with_capacity(3 + id.map_or(0, |(_, id)| id.len()) + json.len());
        match id {
            None => bytes.push(PLAIN + stamp),
            Some((length, id)) => {
                bytes.push(PLAIN + WITH_ID + stamp);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        bytes.extend_from_slice(json);
        bytes
    }

    /// Reads what [`Self::encode`] wrote of an event of the same time; `None` where the bytes are something else.
    pub(crate) fn decode(bytes: &'a [u8], at: Timestamp) -> Option<Self> {
        let (&layout, rest) = bytes.split_first()?;
        let stamp = STAMPS.iter().find(|(bit, _)| layout & bit != 0);
        let (id, json) = match layout - stamp.map_or(0, |(bit, _)| *bit) {
            PLAIN => (None, rest),
            2 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let (id, json) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                (Some(std::str::from_utf8(id).ok()?), json)
            }
            _ => return None,
        };
        let json = match stamp {
            None => Cow::Borrowed(json),
            Some((_, name)) => Cow::Owned([beginning(name, at)?.as_bytes(), json].concat()),
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

/// How an event begins whose first entry is its time.
fn beginning(name: &str, at: Timestamp) -> Option<String> {
    Some(format!("{{\"{name}\":\"{}\"", written(at)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp(1_767_225_600_117_000);

    proptest! {
        #[test]
        fn what_is_stored_comes_back(
            id in proptest::option::of(".{0,200}"),
            json in "(\\{\"@?timestamp\":\"2026-01-01T00:00:00\\.117(000)?Z\"[,}]?)?\\PC{0,300}",
            micros in 0..3_i64,
        ) {
            let at = Timestamp(AT.0 + micros);
            let bytes = Stored::encode(id.as_deref(), json.as_bytes(), at);
            let stored = Stored::decode(&bytes, at);
            let whole = stored == Some(Stored { id: id.as_deref(), json: json.as_bytes().into() });
            prop_assert!(whole);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Stored::decode(&bytes, AT);
        }
    }

    #[test]
    fn the_layout_on_disk_stays() {
        assert_eq!(Stored::encode(None, b"{}", AT), [1, b'{', b'}']);
        assert_eq!(Stored::encode(Some("a"), b"{}", AT), [2, 1, 0, b'a', b'{', b'}']);
        for (layout, id, name, stamp) in [
            (5, None, "@timestamp", "2026-01-01T00:00:00.117Z"),
            (9, None, "timestamp", "2026-01-01T00:00:00.117Z"),
            (6, Some(""), "@timestamp", "2026-01-01T00:00:00.117Z"),
            (1, None, "timestamp", "2026-01-01T00:00:00.118Z"),
            (1, None, "time", "2026-01-01T00:00:00.117Z"),
        ] {
            let json = format!("{{\"{name}\":\"{stamp}\"}}");
            let bytes = Stored::encode(id, json.as_bytes(), AT);
            assert_eq!((bytes[0], bytes.len() < 6), (layout, layout != 1), "{json}");
        }
        for bytes in [&[2, 9, 0, b'a'][..], &[], &[0], &[12], &[4]] {
            assert!(Stored::decode(bytes, AT).is_none());
        }
    }
}
