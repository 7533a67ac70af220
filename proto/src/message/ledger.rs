//! Ledger heads: what regions tell each other about their ledgers, and what a witness says to it.
//!
//! Numbers and hashes only. The signature of a head is over its checkpoint (C2SP tlog-checkpoint), whose text follows from the
//! name of the ledger, the size and the root; a cosignature is one of C2SP tlog-cosignature over the same text.

use serde::{Deserialize, Serialize};

use crate::ids::{RegionNumber, Timestamp};

/// Head of a region's ledger, signed by the region's ledger key (Ed25519, RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Whose ledger.
    pub region: RegionNumber,
    /// Entries in it.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
    /// When it was signed.
    pub at: Timestamp,
    /// First half of the signature.
    pub signature_r: [u8; 32],
    /// Second half of the signature.
    pub signature_s: [u8; 32],
}

/// Most hashes that show how one head goes on from another: the tree has no more levels than a number has bits.
pub const MAX_PROOF: usize = 64;

/// A hash inside the tree of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHash(pub [u8; 32]);

/// A head that a witness is asked to cosign, and what shows that it goes on from the one it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadOffer {
    /// The head.
    pub head: SignedHead,
    /// Public key of the ledger (Ed25519). A witness believes the first one it hears from a node, and no other afterwards.
    pub key: [u8; 32],
    /// Entries of the head that the witness knows, as the sender believes; 0 where it knows none.
    pub known: u64,
    /// The consistency proof between the two (RFC 9162, section 2.1.4), at most [`MAX_PROOF`] hashes.
    pub proof: Vec<TreeHash>,
}

/// What a witness says to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It has the head durably, and cosigned it.
    Cosigned(Cosignature),
    /// It knows a head of another size than the offer says; offer again with a proof from there.
    Stale {
        /// Entries of the head that it knows.
        known: u64,
    },
    /// The head does not go on from the one it knows. It keeps both as evidence, and does not cosign.
    Forked {
        /// Entries of the head that it knows.
        known: u64,
    },
    /// The head is not signed by the key of this ledger, or the key is not the one the witness heard first.
    NotSigned,
    /// The offer contradicts itself.
    Malformed,
    /// It cannot write now what it would have to remember.
    Unavailable,
}

/// A witness saw a head, and that it goes on from every one it saw before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosignature {
    /// Public key of the witness (Ed25519).
    pub key: [u8; 32],
    /// When, in seconds since 1970 UTC; the signature is over it too.
    pub at: u64,
    /// First half of the signature.
    pub signature_r: [u8; 32],
    /// Second half of the signature.
    pub signature_s: [u8; 32],
}
