//! The stored copy of an event: the bytes of the field `doc`.
//!
//! First a byte that says the layout: 1 for JSON alone; 2 for the length of the producer's id as two bytes in little endian, the id,
//! then the JSON. Compresses nothing itself: the document store does that for many records together.

const JSON_ALONE: u8 = 1;
const WITH_ID: u8 = 2;

/// An event as it was stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// The producer's `_id`, where it gave one.
    pub(crate) id: Option<&'a str>,
    /// The event as compact JSON.
    pub(crate) json: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Its bytes.
    pub(crate) fn encode(self) -> Vec<u8> {
        let id = self.id.and_then(|id| u16::try_from(id.len()).ok().map(|length| (length, id)));
        let mut bytes = Vec::with_capacity(3 + id.map_or(0, |(_, id)| id.len()) + self.json.len());
        match id {
            None => bytes.push(JSON_ALONE),
            Some((length, id)) => {
                bytes.push(WITH_ID);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        bytes.extend_from_slice(self.json);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; `None` where the bytes are something else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&JSON_ALONE, json) => Some(Self { id: None, json }),
            (&WITH_ID, rest) => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let (id, json) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
                Some(Self { id: Some(std::str::from_utf8(id).ok()?), json })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_stored_comes_back(id in proptest::option::of(".{0,200}"), json in "\\PC{0,300}") {
            let stored = Stored { id: id.as_deref(), json: json.as_bytes() };
            let bytes = stored.encode();
            prop_assert!(Stored::decode(&bytes) == Some(stored));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Stored::decode(&bytes);
        }
    }

    #[test]
    fn the_layout_on_disk_stays() {
        assert_eq!(Stored { id: None, json: b"{}" }.encode(), [1, b'{', b'}']);
        assert_eq!(Stored { id: Some("a"), json: b"{}" }.encode(), [2, 1, 0, b'a', b'{', b'}']);
        assert!(Stored::decode(&[2, 9, 0, b'a']).is_none());
        assert!(Stored::decode(&[]).is_none());
    }
}
