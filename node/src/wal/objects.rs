//! The objects of the log in the region's store: their names and their bytes.
//!
//! Each node has one row of objects, `wal/<node>/<number>`, created in the order of their numbers and never overwritten. An object
//! holds what one group of batches wrote, of any of the node's shards, as one frame of the log. Or it is a seal: another node
//! took that number, and says with it which shards it writes from now on. What ids an object held is kept in `seen/<node>/<number>`
//! when it goes. Does not speak to the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use domicile_proto::ids::{Epoch, NodeId, ShardId, Timestamp};

use super::frame::{self, Entry, Found, Reader, Written};

/// Above the objects of all logs.
pub(super) const LOGS: &str = "wal";
/// Above the ids of all logs.
pub(super) const SEEN: &str = "seen";
const OBJECT_MAGIC: [u8; 8] = *b"DMCWOBJ1";
const SEAL_MAGIC: [u8; 8] = *b"DMCSEAL1";

/// What an object says.
pub(super) enum Said<'a> {
    /// Batches, accepted at this time.
    Batches(Timestamp, Vec<Entry<Written<'a>>>),
    /// Which shards another node writes, from which epoch on.
    Seal(BTreeMap<ShardId, Epoch>),
}

/// Above the objects of a node's log.
pub(super) fn log_of(node: NodeId) -> String {
    format!("{LOGS}/{:016x}", node.0)
}

/// The name of an object of a log.
pub(super) fn name(node: NodeId, number: u64) -> String {
    format!("{}/{number:016x}", log_of(node))
}

/// Above the ids of a node's log.
pub(super) fn seen_of(node: NodeId) -> String {
    format!("{SEEN}/{:016x}", node.0)
}

/// The name of the ids of the objects up to a number.
pub(super) fn seen_name(node: NodeId, number: u64) -> String {
    format!("{}/{number:016x}", seen_of(node))
}

/// Node and number of an object below [`LOGS`] or [`SEEN`].
pub(super) fn place_of(above: &str, object: &str) -> Option<(NodeId, u64)> {
    let (node, number) = object.strip_prefix(above)?.strip_prefix('/')?.split_once('/')?;
    let digits = |text: &str| u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    Some((NodeId(digits(node)?), digits(number)?))
}

/// The bytes of an object that holds these batches, each as [`frame::put_entry`] wrote it. `None` where they are too many.
pub(super) fn object<'a>(number: u64, at: Timestamp, batches: impl Iterator<Item = &'a [u8]>) -> Option<Bytes> {
    let mut bytes = OBJECT_MAGIC.to_vec();
    let batches: Vec<&[u8]> = batches.collect();
    bytes.reserve(64 + batches.iter().map(|batch| batch.len()).sum::<usize>());
    let start = frame::begin_frame(&mut bytes, at, u32::try_from(batches.len()).ok()?);
    batches.iter().for_each(|batch| bytes.extend_from_slice(batch));
    frame::end_frame(&mut bytes, start, number)?;
    Some(Bytes::from(bytes))
}

/// The bytes of a seal.
pub(super) fn seal(shards: &BTreeMap<ShardId, Epoch>) -> Bytes {
    let mut rest = Vec::with_capacity(16 * shards.len());
    for (shard, epoch) in shards {
        rest.extend_from_slice(&shard.0.to_le_bytes());
        rest.extend_from_slice(&epoch.0.to_le_bytes());
    }
    let mut bytes = SEAL_MAGIC.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    bytes.append(&mut rest);
    Bytes::from(bytes)
}

/// Reads an object of this number. `None` where it is damaged or of another build.
pub(super) fn read(bytes: &[u8], number: u64) -> Option<Said<'_>> {
    let mut reader = Reader(bytes);
    match reader.array::<8>()? {
        OBJECT_MAGIC => match frame::frame_at(bytes, OBJECT_MAGIC.len()) {
            Found::Frame { number: found, body, next } if found == number && next == bytes.len() => {
                frame::read_body(body).map(|(at, entries)| Said::Batches(at, entries))
            }
            _ => None,
        },
        SEAL_MAGIC => {
            let is_whole = reader.u32()? == crc32fast::hash(reader.0);
            let mut shards = BTreeMap::new();
            while is_whole && !reader.0.is_empty() {
                shards.insert(ShardId(reader.u64()?), Epoch(reader.u64()?));
            }
            is_whole.then_some(Said::Seal(shards))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_nothing_else_is_taken_for_one() {
        let object = name(NodeId(3), 0x1f);
        assert_eq!(object, "wal/0000000000000003/000000000000001f");
        assert_eq!(place_of(LOGS, &object), Some((NodeId(3), 0x1f)));
        assert_eq!(place_of(SEEN, &seen_name(NodeId(4), 9)), Some((NodeId(4), 9)));
        for other in ["wal/3/1", "wal/0000000000000003", "seen/0000000000000003/000000000000001f", "walls/x/y"] {
            assert_eq!(place_of(LOGS, other), None, "{other}");
        }
    }

    #[test]
    fn a_seal_and_an_empty_object_are_read_back_and_no_altered_byte_is() {
        let shards = BTreeMap::from([(ShardId(7), Epoch(2)), (ShardId(9), Epoch(5))]);
        let sealed = seal(&shards);
        assert!(matches!(read(&sealed, 4), Some(Said::Seal(found)) if found == shards));
        let empty = object(4, Timestamp(8), std::iter::empty()).unwrap();
        assert!(matches!(read(&empty, 4), Some(Said::Batches(Timestamp(8), found)) if found.is_empty()));
        assert!(read(&empty, 5).is_none(), "an object stands for its own number alone");
        for whole in [sealed, empty] {
            for at in 0..whole.len() {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 0x04;
                assert!(read(&bytes, 4).is_none(), "byte {at} went unnoticed");
                assert!(read(&whole[..at], 4).is_none(), "cut at {at}");
            }
        }
    }
}
