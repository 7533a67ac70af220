//! The protocols between nodes; each has its own ALPN name, so that a connection speaks one of them and no other.

use std::fmt;

/// A protocol between nodes. A connection speaks the one its handshake agreed on (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Frames of the metadata group.
    Raft,
    /// Questions and answers.
    Query,
    /// Ledger heads.
    Ledger,
    /// Orders of erasure and rows, between nodes of one region alone.
    Region,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raft, Self::Query, Self::Ledger, Self::Region];

    /// The name in the handshake.
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::Raft => "domicile-raft/1",
            Self::Query => "domicile-query/1",
            Self::Ledger => "domicile-ledger/1",
            Self::Region => "domicile-region/1",
        }
    }

    /// The protocol with this name.
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.alpn().as_bytes() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.alpn())
    }
}
