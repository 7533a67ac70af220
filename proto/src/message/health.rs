//! Is the peer there, and how far away: the smallest exchange of the query protocol.

use serde::{Deserialize, Serialize};

/// A probe; the peer sends it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Drawn by the sender.
    pub nonce: u64,
}
