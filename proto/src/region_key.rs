//! The region's key: with it the region's own nodes say who writes its shards and how far its ledger has come (RES-4).
//!
//! One Ed25519 key per region, on all of its nodes and nowhere else. Its public half becomes known to the metadata group
//! with the officer's consent ([`crate::metadata::Change::SetRegionKey`]). What is said with it widens nothing; that is the
//! officer's alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{Epoch, NodeId, Region, StreamId};
use crate::message::ledger::SignedHead;
use crate::metadata::Command;
use crate::officer::OfficerSignature;
use crate::signing::{self, Halves, Pair};

/// What a node of the region says with the region's key: the signature in its two halves.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionWord {
    r: [u8; 32],
    s: [u8; 32],
}

impl fmt::Debug for RegionWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegionWord({}…)", hex::encode(self.r.get(..4).unwrap_or_default()))
    }
}

/// A region's key, as the metadata group has taken it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionKeyRow {
    /// The region.
    pub region: Region,
    /// The key its nodes speak with.
    pub key: RegionPublic,
    /// The officer's consent.
    pub signature: Option<OfficerSignature>,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegionKeyError {
    /// Not an Ed25519 key, PKCS#8 in hexadecimal digits.
    #[error("the region's key is not an Ed25519 key, PKCS#8 in hexadecimal digits; make one with `domicile pki init`")]
    Malformed,
    /// The machine gives no random numbers.
    #[error("the machine gave no random numbers")]
    Random,
    /// Not 64 hexadecimal digits.
    #[error("a region's public key has 64 hexadecimal digits")]
    Public,
}

/// A region's private key.
pub struct RegionKey(Pair);

impl RegionKey {
    /// Draws a new key; gives its PKCS#8 form as a line of hexadecimal digits, for a file with mode 0600 or a store of
    /// secrets that takes text alone.
    ///
    /// # Errors
    /// [`RegionKeyError::Random`].
    pub fn generate() -> Result<String, RegionKeyError> {
        Pair::generate().map(|bytes| format!("{}\n", hex::encode(bytes))).ok_or(RegionKeyError::Random)
    }

    /// Reads the digits.
    ///
    /// # Errors
    /// [`RegionKeyError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, RegionKeyError> {
        let bytes = hex::decode(text.trim()).map_err(|_| RegionKeyError::Malformed)?;
        Pair::from_pkcs8(&bytes).map(Self).ok_or(RegionKeyError::Malformed)
    }

    /// The public half.
    pub fn public(&self) -> RegionPublic {
        RegionPublic(self.0.public())
    }

    /// Says who writes the stream's shard in the region from now on; `seen` is the epoch before.
    pub fn assign(&self, stream: StreamId, region: Region, owner: NodeId, seen: Epoch) -> Command {
        let (r, s) = self.0.sign(&assignment(stream, &region, owner, seen));
        Command::AssignShard { stream, region, owner, seen, word: Some(RegionWord { r, s }) }
    }

    /// The head with the region's signature, in place of whatever stood there.
    pub fn sign_head(&self, head: SignedHead) -> SignedHead {
        let (signature_r, signature_s) = self.0.sign(&head_bytes(&head));
        SignedHead { signature_r, signature_s, ..head }
    }
}

/// A region's public key: 64 hexadecimal digits in a file.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionPublic([u8; 32]);

impl RegionPublic {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`RegionKeyError::Public`].
    pub fn from_hex(text: &str) -> Result<Self, RegionKeyError> {
        signing::public_from_hex(text).map(Self).ok_or(RegionKeyError::Public)
    }

    /// The 64 digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Whether the region says that this node writes the stream's shard there after the epoch `seen`.
    pub fn assigns(&self, stream: StreamId, region: &Region, owner: NodeId, seen: Epoch, word: &RegionWord) -> bool {
        self.said(&assignment(stream, region, owner, seen), &(word.r, word.s))
    }

    /// Whether the region signed the head.
    pub fn signed(&self, head: &SignedHead) -> bool {
        self.said(&head_bytes(head), &(head.signature_r, head.signature_s))
    }

    fn said(&self, message: &[u8], halves: &Halves) -> bool {
        signing::holds(&self.0, message, halves)
    }
}

impl fmt::Debug for RegionPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn assignment(stream: StreamId, region: &Region, owner: NodeId, seen: Epoch) -> Vec<u8> {
    let mut message = b"domicile shard assignment 1\0".to_vec();
    message.extend(codec::canonical(&(stream, region, owner, seen)));
    message
}

fn head_bytes(head: &SignedHead) -> Vec<u8> {
    let mut message = b"domicile ledger head 1\0".to_vec();
    message.extend(codec::canonical(&(head.region, head.size, head.root, head.at)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RegionNumber, Timestamp};

    fn key() -> RegionKey {
        RegionKey::from_text(&RegionKey::generate().expect("random")).expect("just made")
    }

    #[test]
    fn a_word_holds_for_one_owner_of_one_shard_after_one_epoch() {
        let (ours, theirs) = (key(), key());
        let tokyo: Region = "tokyo".parse().expect("a name");
        let command = ours.assign(StreamId(1), tokyo.clone(), NodeId(2), Epoch(3));
        let Command::AssignShard { word: Some(word), .. } = command else { panic!("no word: {command:?}") };
        let (public, other) = (ours.public(), "frankfurt".parse().expect("a name"));
        assert!(public.assigns(StreamId(1), &tokyo, NodeId(2), Epoch(3), &word));
        assert!(!theirs.public().assigns(StreamId(1), &tokyo, NodeId(2), Epoch(3), &word));
        assert!(!public.assigns(StreamId(2), &tokyo, NodeId(2), Epoch(3), &word));
        assert!(!public.assigns(StreamId(1), &other, NodeId(2), Epoch(3), &word));
        assert!(!public.assigns(StreamId(1), &tokyo, NodeId(1), Epoch(3), &word));
        assert!(!public.assigns(StreamId(1), &tokyo, NodeId(2), Epoch(4), &word));
        assert!(!public.assigns(StreamId(1), &tokyo, NodeId(2), Epoch(3), &RegionWord { r: word.s, s: word.r }));
    }

    #[test]
    fn a_head_is_signed_whole_and_a_key_is_read_as_it_was_written() {
        let ours = key();
        let (region, at) = (RegionNumber(1), Timestamp(5));
        let bare = SignedHead { region, size: 3, root: [1; 32], at, signature_r: [0; 32], signature_s: [0; 32] };
        let head = ours.sign_head(bare);
        let public = RegionPublic::from_hex(&format!("{}\n", ours.public().to_hex())).expect("hex");
        assert!(public.signed(&head) && !public.signed(&bare) && !key().public().signed(&head));
        for changed in [
            SignedHead { region: RegionNumber(2), ..head },
            SignedHead { size: 4, ..head },
            SignedHead { root: [2; 32], ..head },
            SignedHead { at: Timestamp(6), ..head },
        ] {
            assert!(!public.signed(&changed), "{changed:?}");
        }
        assert_eq!(RegionPublic::from_hex("zz"), Err(RegionKeyError::Public));
        for text in ["", "zz", "5a5a", &ours.public().to_hex()] {
            assert!(RegionKey::from_text(text).is_err(), "{text}");
        }
    }
}
