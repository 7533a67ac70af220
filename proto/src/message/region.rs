//! What nodes of one region tell each other about erasures, legal holds, the records of a person, searches of a node's neighbours,
//! batches for streams of other nodes, questions behind the gate for them, what they hold, and how much their shards ask of them. It
//! never crosses a border (RES-1).
//!
//! An order holds keyed hashes and pseudonym tokens of a person, never a value. Only [`crate::link::neighbour::Neighbour`] sends
//! it, over a protocol on which no node of another region is listened to. The metadata group knows of an order what
//! [`crate::metadata::ErasureRow`] says, and nothing of this. Records go the same way, as the query stage of a node writes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ErasureId, Name, ShardId, StreamId, TenantId, Timestamp};
use crate::message::batch::{BatchFates, NotTaken, RecordBatch};
use crate::message::gated::GatedQuestion;
use crate::metadata::Rows;

/// Most orders in one message; with [`MAX_TERMS`] and [`MAX_STREAMS`] it fits its frame.
pub const MAX_ORDERS: usize = 32;
/// Most orders asked after in one message.
pub const MAX_ASKED: usize = 1_024;
/// Most subjects, and most tokens, of one order.
pub const MAX_TERMS: usize = 1_024;
/// Most holds in one message.
pub const MAX_HOLDS: usize = 32;
/// Most shards whose loads one message tells; with 32 bytes each it fits its frame.
pub const MAX_LOADS: usize = 65_536;
/// Most streams of one order.
pub const MAX_STREAMS: usize = crate::metadata::MAX_STREAMS_PER_TENANT;

/// Largest search that one node puts to another, in bytes: a body of 8 MiB, and what stands around its values.
pub const MAX_SEARCH: usize = 12 << 20;

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

/// Whose records are wanted, of which streams. `Debug` says the tenant and nothing of whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRows {
    /// Whose records.
    pub tenant: TenantId,
    /// Keyed hashes of subjects.
    pub subjects: Vec<u64>,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// Streams that the node holds.
    pub streams: Vec<StreamId>,
}

impl PersonRows {
    /// Whether every list is within its bound.
    pub fn is_bounded(&self) -> bool {
        let is_few = |len: usize, most: usize| len <= most;
        is_few(self.subjects.len(), MAX_TERMS)
            && is_few(self.tokens.len(), MAX_TERMS)
            && is_few(self.streams.len(), MAX_STREAMS)
    }
}

impl fmt::Debug for PersonRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonRows").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Records of this region, in the codec of the query stage. `Debug` says how many bytes and shows none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowBytes(pub Vec<u8>);

impl fmt::Debug for RowBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBytes").field("bytes", &self.0.len()).finish()
    }
}

/// What is searched for, in the codec of the query stage. `Debug` says how many bytes and shows none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SearchBytes(pub Vec<u8>);

impl fmt::Debug for SearchBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchBytes").field("bytes", &self.0.len()).finish()
    }
}

/// For whom rows are searched or records brought: the holder of an access key of this region, as the node at whose door they stand knows them. The node
/// that answers looks the key up itself, and shows no more than both allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The public name of the key.
    pub key: Name,
    /// Whose records it opens.
    pub tenant: TenantId,
    /// Which rows it may see.
    pub rows: Rows,
}

/// A search of rows that the node which is asked holds. It answers with its own alone, and passes nothing on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSearch {
    /// For whom.
    pub asker: Asker,
    /// Streams that the node writes.
    pub streams: Vec<StreamId>,
    /// How long is waited for the answer, in milliseconds.
    pub wait_ms: u32,
    /// What is searched for.
    pub wanted: SearchBytes,
}

impl RowSearch {
    /// Whether everything is within its bound.
    pub fn is_bounded(&self) -> bool {
        self.streams.len() <= MAX_STREAMS && self.wanted.0.len() <= MAX_SEARCH
    }
}

/// Why a node does not answer a search of a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotSearched {
    /// It does not know the key, or not as one that may search these records.
    Stranger,
    /// It does not write this stream.
    NotMine(StreamId),
    /// Accepted records of this shard cannot be searched there right now.
    NotWhole(ShardId),
    /// It does not know every erasure of the region: this one, where it is known which.
    Unaware(Option<ErasureId>),
    /// It runs as many searches as it may.
    Busy,
    /// The search would cost more than one may.
    Costly,
    /// The searches of the node hold as much memory as they may together.
    Crowded,
    /// The time was up.
    Late,
    /// The records of the page are too large together.
    PageTooLarge,
    /// The last word of a phrase begins too many words.
    TooManyBeginnings,
    /// The values of this field, shortened, are kept without their order.
    Apart(SearchBytes),
    /// It looks for what seems personal, and the key may not.
    Personal,
    /// It is wanted whole, and so many segments and records of this stream lie in the archive.
    Archived(StreamId, u64, u64),
    /// A segment lies in the bucket, and the bucket does not answer.
    Away,
    /// A segment could not be read.
    Broken,
    /// What is searched for does not read there.
    Unread,
    /// It has too many clauses once its values are tokens.
    TooManyClauses,
    /// It is nested too deep once its values are tokens.
    TooDeep,
}

/// Why a node does not give the records of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotGiven {
    /// Its hashes and tokens are made under other keys: it cannot know whom they mean.
    OtherKeys,
    /// It does not know every erasure of the region.
    Unaware,
    /// Not everything that it accepted can be searched there, or it does not hold one of the streams.
    NotWhole,
    /// There are more than one export holds.
    TooMany,
    /// They could not be read.
    Failed,
}

/// How one node is with one order, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which order.
    pub id: ErasureId,
    /// When it was given.
    pub ordered_at: Timestamp,
    /// How far.
    pub stand: NodeStand,
    /// Records that were hidden there.
    pub hidden: u64,
    /// Originals that were destroyed there.
    pub originals: u64,
    /// How much of it is done there.
    pub percent: u8,
    /// When it is gone there, as far as can be said; none where it is.
    pub gone_in_seconds: Option<u64>,
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
    /// How it is with one order of a tenant or with all of them, in rising order of their ids, after this one.
    Standings(TenantId, Option<ErasureId>, Option<ErasureId>),
    /// Records of a person, hashes and tokens made under these keys. Answered piece by piece.
    Rows(KeysMark, PersonRows),
    /// To make segments anew now for what is shredded, without waiting for the window.
    Purge,
    /// To search rows that it holds. Answered piece by piece.
    Search(RowSearch),
    /// To make searchable what it accepted into these streams.
    Refresh(Vec<StreamId>),
    /// How much its shards ask of it, and whether it is drained.
    Loads,
    /// To take records into streams that it writes.
    Batch(RecordBatch),
    /// To judge a question about a stream that it writes. Answered with an `Answer`, and with what that was drawn from.
    Gated(GatedQuestion),
    /// How much these streams hold that it writes, for whoever may search them.
    Holdings(Asker, Vec<StreamId>),
}

/// How much a stream holds, as far as it is searched. Numbers alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Records.
    pub records: u64,
    /// Bytes of their segments.
    pub bytes: u64,
    /// Times of the first and the last record, those in the archive among them.
    pub ends: Option<(Timestamp, Timestamp)>,
}

/// How much one shard asked of the node that says so, of late: means over a time that fades. Numbers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLoad {
    /// Which.
    pub shard: ShardId,
    /// Bytes of records that it took in, a second.
    pub bytes_per_second: u64,
    /// Time of processors for building, merging and searching it, in microseconds a second: a million is one processor.
    pub cpu_micros_per_second: u64,
    /// For how many seconds that has been measured there.
    pub measured_seconds: u64,
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
    /// How it is with the orders; and whether there are no more.
    Standings(Vec<Standing>, bool),
    /// A piece of the records; another piece or one of the next two follows.
    Rows(RowBytes),
    /// So many records went before, and they are all.
    RowsEnd(u64),
    /// The records are not given; what went before is not all.
    NotGiven(NotGiven),
    /// It is begun.
    Begun,
    /// The search is not answered; what went before is not all.
    NotSearched(NotSearched),
    /// What was accepted is searchable.
    Refreshed,
    /// Whether the node is drained and is to get nothing, and how much each shard asks of it, or asked of it until it left.
    Loads(bool, Vec<ShardLoad>),
    /// What became of each record of a batch.
    Fates(BatchFates),
    /// Nothing of the batch is taken.
    NotTaken(NotTaken),
    /// How much the streams hold, in the order they were asked for.
    Holdings(Vec<Holding>),
}
