//! A signed ledger head: what regions tell each other about their ledgers.

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
