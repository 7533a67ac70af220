//! The bytes of an entry in the file, and the chain of hashes through all of them.
//!
//! `DMLG` · version 2 · length of the body (u32, big-endian) · CRC-32 of what follows · hash of all before (32) · body: a group of
//! entries, each as length (u32, big-endian) and bytes. In version 1 the body is one entry.
//! The hash of an entry is SHA-256 over the hash before it and the body; that of no entries is SHA-256 over a fixed prefix
//! and the region's name. A change of any byte changes every hash after it.

use domicile_proto::ids::Region;
use ring::digest::{Context, SHA256};

/// First bytes of every frame.
pub(super) const MAGIC: [u8; 4] = *b"DMLG";
/// The layout that is written: a group of entries, as they were flushed together.
pub(super) const VERSION: u8 = 2;
/// The layout of earlier builds, which is read on: the body is one entry.
const SINGLE: u8 = 1;
/// Bytes before the body.
pub(super) const HEAD_BYTES: usize = 4 + 1 + 4 + 4 + 32;
/// Largest entry, in bytes: the largest frame of a question or an answer in base64, and what surrounds it.
pub(super) const MAX_BODY_BYTES: usize = 128 << 10;
/// A group of this size takes no further entry, in bytes: what a start reads at once.
pub(super) const FULL_GROUP_BYTES: usize = 1 << 20;
/// Largest body of a frame, in bytes.
pub(super) const MAX_GROUP_BYTES: usize = FULL_GROUP_BYTES + LENGTH_BYTES + MAX_BODY_BYTES;
/// Bytes before each entry of a group.
const LENGTH_BYTES: usize = 4;

/// Where the chain stands: how many entries, and the hash of all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Entries.
    pub(crate) size: u64,
    /// Hash of all of them.
    pub(crate) root: [u8; 32],
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Head({}, {})", self.size, hex::encode(self.root))
    }
}

impl Head {
    /// The head of a region's ledger without entries.
    pub(super) fn empty(region: &Region) -> Self {
        Self { size: 0, root: sha256(&[b"domicile ledger 1\0", region.as_str().as_bytes()]) }
    }

    /// The head after one more entry.
    pub(super) fn after(self, body: &[u8]) -> Self {
        Self { size: self.size + 1, root: sha256(&[&self.root, body]) }
    }
}

/// Adds an entry to the body of a group.
pub(super) fn put(group: &mut Vec<u8>, entry: &[u8]) {
    // An entry is bounded by MAX_BODY_BYTES, far below 4 GiB.
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    group.extend_from_slice(&length.to_be_bytes());
    group.extend_from_slice(entry);
}

/// The bytes of a group that follows `head`. One checksum stands over all of it: pages reach a disk in any order, and an entry
/// with a checksum of its own behind one that was lost would look like damage.
pub(super) fn write(head: Head, group: &[u8]) -> Vec<u8> {
    frame(VERSION, head, group)
}

/// The bytes of an entry as earlier builds wrote it.
#[cfg(test)]
pub(super) fn write_single(head: Head, entry: &[u8]) -> Vec<u8> {
    frame(SINGLE, head, entry)
}

fn frame(version: u8, head: Head, body: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(HEAD_BYTES + body.len());
    // The body is bounded by MAX_GROUP_BYTES, far below 4 GiB.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&MAGIC);
    to.push(version);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&checksum(&head.root, body).to_be_bytes());
    to.extend_from_slice(&head.root);
    to.extend_from_slice(body);
    to
}

/// The entries of a group; `None` where its lengths are wrong.
fn entries(mut group: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !group.is_empty() {
        let (length, rest) = group.split_first_chunk::<LENGTH_BYTES>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        entries.push(entry);
        group = rest;
    }
    (!entries.is_empty()).then_some(entries)
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole frame that follows the head.
    Whole {
        /// Its entries, one at least.
        entries: Vec<&'a [u8]>,
        /// Its size in the file.
        length: usize,
    },
    /// Less than a whole frame.
    Cut,
    /// Not a frame of ours, or one that was altered.
    Damaged,
    /// A whole frame that follows another head.
    Unchained,
    /// A frame of a newer layout.
    Newer,
}

/// Reads the frame at the beginning of `bytes`, which must follow `head`.
pub(super) fn read<'a>(head: &Head, bytes: &'a [u8]) -> Found<'a> {
    let Some((top, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        let known = bytes.len().min(MAGIC.len());
        return if bytes.get(..known) == MAGIC.get(..known) { Found::Cut } else { Found::Damaged };
    };
    let [m0, m1, m2, m3, version, l0, l1, l2, l3, c0, c1, c2, c3, previous @ ..] = top;
    if [*m0, *m1, *m2, *m3] != MAGIC {
        return Found::Damaged;
    }
    let most = match *version {
        SINGLE => MAX_BODY_BYTES,
        VERSION => MAX_GROUP_BYTES,
        0 => return Found::Damaged,
        _ => return Found::Newer,
    };
    let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
    if length > most {
        return Found::Damaged;
    }
    let Some(body) = rest.get(..length) else { return Found::Cut };
    if checksum(previous, body) != u32::from_be_bytes([*c0, *c1, *c2, *c3]) {
        return Found::Damaged;
    }
    if *previous != head.root {
        return Found::Unchained;
    }
    let entries = if *version == SINGLE { Some(vec![body]) } else { entries(body) };
    entries.map_or(Found::Damaged, |entries| Found::Whole { entries, length: HEAD_BYTES + length })
}

/// Whether a whole frame of any chain begins anywhere in `bytes`.
pub(super) fn holds_a_frame(bytes: &[u8]) -> bool {
    let nowhere = Head { size: 0, root: [0; 32] };
    memchr::memmem::find_iter(bytes, &MAGIC).any(|at| {
        let found = read(&nowhere, bytes.get(at..).unwrap_or_default());
        matches!(found, Found::Whole { .. } | Found::Unchained)
    })
}

fn checksum(previous: &[u8; 32], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(previous);
    hasher.update(body);
    hasher.finalize()
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
