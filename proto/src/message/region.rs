//! What nodes of one region tell each other about erasures and legal holds. It never crosses a border (RES-1).
//!
//! An order holds keyed hashes and pseudonym tokens of a person, never a value. Only [`crate::link::neighbour::Neighbour`] sends
//! it, over a protocol on which no node of another region is listened to. The metadata group knows of an order what
//! [`crate::metadata::ErasureRow`] says, and nothing of this.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ErasureId, ShardId, StreamId, TenantId, Timestamp};

/// Most orders in one message; with [`MAX_TERMS`] and [`MAX_STREAMS`] it fits its frame.
pub const MAX_ORDERS: usize = 32;
/// Most orders asked after in one message.
pub const MAX_ASKED: usize = 1_024;
/// Most subjects, and most tokens, of one order.
pub const MAX_TERMS: usize = 1_024;
/// Most holds in one message.
pub const MAX_HOLDS: usize = 32;
/// Most streams of one order.
pub const MAX_STREAMS: usize = crate::metadata::MAX_STREAMS_PER_TENANT;

/// A pseudonym token of this region, as it stands in records: at most 144 bytes. No `Display`, and `Debug` shows no letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(Box<str>);

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has 1 to 144 bytes")]
pub struct TokenError;

impl Token {
    /// Longest token, in bytes: 64 of the class and 64 of the word, with colon and marks.
    pub const MAX_BYTES: usize = 144;

    /// As it stands in records.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        if (1..=Self::MAX_BYTES).contains(&text.len()) { Ok(Self(text.into())) } else { Err(TokenError) }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0.into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// An order of erasure, whole. `Debug` says which one it is and nothing of whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureOrder {
    /// Which.
    pub id: ErasureId,
    /// Whose records.
    pub tenant: TenantId,
    /// Keyed hashes of subjects.
    pub subjects: Vec<u64>,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// Only these streams, with the shards they had; none means all of the tenant.
    pub only: Option<Vec<(StreamId, Option<ShardId>)>>,
    /// When it was given.
    pub at: Timestamp,
    /// Until when records that come back are kept out.
    pub until: Timestamp,
    /// Random; what makes the commitment say nothing.
    pub salt: [u8; 32],
}

impl ErasureOrder {
    /// Whether every list is within its bound.
    pub fn is_bounded(&self) -> bool {
        let streams = self.only.as_ref().map_or(0, Vec::len);
        self.subjects.len() <= MAX_TERMS && self.tokens.len() <= MAX_TERMS && streams <= MAX_STREAMS
    }
}

impl fmt::Debug for ErasureOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasureOrder").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A legal hold, whole. `Debug` says which one it is and nothing of whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHold {
    /// Which.
    pub id: ErasureId,
    /// Whose records.
    pub tenant: TenantId,
    /// Keyed hashes of subjects.
    pub subjects: Vec<u64>,
    /// Tokens; without any and without subjects, everybody in the streams is meant.
    pub tokens: Vec<Token>,
    /// Only these streams, with the shards they had; none means all of the tenant.
    pub only: Option<Vec<(StreamId, Option<ShardId>)>>,
    /// When it was set.
    pub at: Timestamp,
    /// When it was released; for good.
    pub released: Option<Timestamp>,
}

impl LegalHold {
    /// Whether every list is within its bound.
    pub fn is_bounded(&self) -> bool {
        let streams = self.only.as_ref().map_or(0, Vec::len);
        self.subjects.len() <= MAX_TERMS && self.tokens.len() <= MAX_TERMS && streams <= MAX_STREAMS
    }
}

impl fmt::Debug for LegalHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegalHold").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Under which keys the hashes and tokens of a message were made: a keyed hash of nothing, equal where the keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeysMark(pub [u8; 8]);

/// What a node of the region is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegionAsk {
    /// To take these orders, made under these keys.
    Take(KeysMark, Vec<ErasureOrder>),
    /// How these orders stand there.
    How(Vec<ErasureId>),
    /// Every order it has, in rising order of their ids, after this one.
    List(Option<ErasureId>),
    /// To stand by these legal holds and releases, made under these keys.
    Hold(KeysMark, Vec<LegalHold>),
    /// Every hold and release it has, in rising order of their ids, after this one.
    Holds(Option<ErasureId>),
}

/// How an order stands at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeStand {
    /// The node does not have it.
    Unknown,
    /// The node's tokens are made under other keys: it cannot know whom the order means.
    OtherKeys,
    /// A legal hold of that node stands against it.
    Held,
    /// The node could not make it durable, and is asked again.
    Failed,
    /// It is durable there.
    Ordered,
    /// Nobody can find or read there what it means.
    Shredded(Timestamp),
    /// It is physically gone there; when it was shredded, and the SHA-256 of the node's signed receipt.
    Gone(Timestamp, [u8; 32]),
}

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegionReply {
    /// How the orders stand, in the order they were asked for.
    Stands(Vec<NodeStand>),
    /// Orders of the list, made under these keys; and whether there are no more.
    Listed(KeysMark, Vec<ErasureOrder>, bool),
    /// Whether each hold is durable there, in the order they were told.
    Held(Vec<bool>),
    /// Holds and releases of the list, made under these keys; and whether there are no more.
    Holds(KeysMark, Vec<LegalHold>, bool),
}
