//! Files of the log: where tiles, bundles and bodies lie (C2SP tlog-tiles) and what their bytes are.
//!
//! `tile/L/N` holds hashes, `tile/entries/N` the commitments (each behind its length in two bytes), `bodies/N` what they commit to.
//! A body can be destroyed: one byte stands in its place, and the tree over the commitments is as it was.

use super::merkle::{Hash, WIDTH, sha256};
use crate::limits::LEDGER_BODY_BYTES;

/// Directory of the log in the directory of a ledger: what may be copied and shown.
pub(super) const LOG: &str = "log";
/// Name of the newest checkpoint in it.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Directory of checkpoints that are kept, each under its size.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// Name of the newest checkpoint that others cosigned, with their lines.
pub(super) const COSIGNED: &str = "cosigned";
/// Name of the file with the keys of those who cosign, one a line.
pub(super) const WITNESSES: &str = "witnesses";
/// Name of the file with the key that checks them.
pub(super) const VERIFIER: &str = "log.vkey";

/// A body follows.
const THERE: u8 = 0x01;
/// The body was destroyed.
pub(super) const DESTROYED: u8 = 0xd6;
/// In a copy: the body is somebody else's and was not given.
pub(super) const WITHHELD: u8 = 0xd7;

/// `N` as directories of a thousand.
fn groups(index: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

fn partial(width: u64) -> String {
    if width == WIDTH { String::new() } else { format!(".p/{width}") }
}

/// Where a tile of hashes lies, `width` of them.
pub(super) fn hashes_path(level: u8, index: u64, width: u64) -> String {
    format!("tile/{level}/{}{}", groups(index), partial(width))
}

/// Where a bundle of commitments lies, `width` of them.
pub(super) fn bundle_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}{}", groups(index), partial(width))
}

/// Where the bodies of a bundle lie. The file grows until the bundle is whole.
pub(super) fn bodies_path(index: u64) -> String {
    format!("bodies/{}", groups(index))
}

/// The bytes of a bundle.
pub(super) fn bundle(commitments: &[Hash]) -> Vec<u8> {
    commitments.iter().flat_map(|commitment| [&[0_u8, 32][..], &commitment[..]].concat()).collect()
}

/// The commitments in the bytes of a bundle.
pub(super) fn commitments(bundle: &[u8]) -> Option<Vec<Hash>> {
    let (entries, rest) = bundle.as_chunks::<34>();
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(|entry| entry.strip_prefix(&[0, 32])?.try_into().ok()).collect()
}

/// What an entry says, and what keeps anybody from guessing it once it is destroyed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) nonce: [u8; 32],
    pub(super) body: Vec<u8>,
}

/// Without the body: a question may hold a literal.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} bytes)", self.body.len())
    }
}

impl Record {
    /// What stands for it in the tree.
    pub(super) fn commitment(&self) -> Hash {
        sha256(&[&self.nonce, &self.body])
    }

    pub(super) fn put(&self, to: &mut Vec<u8>) {
        // A body is bounded by LEDGER_BODY_BYTES, far below 4 GiB.
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        to.push(THERE);
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(&self.nonce);
        to.extend_from_slice(&self.body);
    }
}

/// What stands in the place of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The body.
    Whole(Record),
    /// Nothing any more.
    Destroyed,
    /// In a copy for somebody else, nothing.
    Withheld,
}

/// Takes the next body off the front; `None` where the bytes are none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<Kept> {
    let (kind, rest) = bytes.split_first()?;
    if [DESTROYED, WITHHELD].contains(kind) {
        *bytes = rest;
        return Some(if *kind == DESTROYED { Kept::Destroyed } else { Kept::Withheld });
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (nonce, rest) = rest.split_first_chunk::<32>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (body, rest) = rest.split_at_checked(length)?;
    if *kind != THERE || length > LEDGER_BODY_BYTES {
        return None;
    }
    *bytes = rest;
    Some(Kept::Whole(Record { nonce: *nonce, body: body.to_vec() }))
}

/// Whether the bytes are the beginning of a body that is not whole.
pub(super) fn is_begun(bytes: &[u8]) -> bool {
    let Some((&THERE, rest)) = bytes.split_first() else { return false };
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return true };
    let length = u32::from_be_bytes(*length) as usize;
    length <= LEDGER_BODY_BYTES && rest.len() < 32 + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_format() {
        assert_eq!(hashes_path(0, 1_234_067, WIDTH), "tile/0/x001/x234/067");
        assert_eq!(hashes_path(1, 5, 7), "tile/1/005.p/7");
        assert_eq!(bundle_path(1_000, 255), "tile/entries/x001/000.p/255");
    }

    #[test]
    fn bundles_and_bodies_are_read_as_they_were_written_and_nothing_else_is() {
        let hashes = [[1; 32], [2; 32]];
        assert_eq!(commitments(&bundle(&hashes)), Some(hashes.to_vec()));
        assert_eq!(commitments(&bundle(&hashes)[1..]), None);
        let record = Record { nonce: [7; 32], body: b"body".to_vec() };
        let mut bytes = Vec::new();
        record.put(&mut bytes);
        bytes.push(DESTROYED);
        let mut rest = &bytes[..];
        assert_eq!(take(&mut rest), Some(Kept::Whole(record)));
        assert_eq!(take(&mut rest), Some(Kept::Destroyed));
        assert_eq!(take(&mut rest), None);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(take(&mut &bytes[..cut]), None);
        }
        let mut wide = vec![THERE];
        wide.extend((LEDGER_BODY_BYTES as u32 + 1).to_be_bytes());
        wide.extend(vec![0; LEDGER_BODY_BYTES + 64]);
        assert_eq!(take(&mut &wide[..]), None, "a body has a limit");
    }
}
