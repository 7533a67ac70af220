//! Frames: the only user of bincode.
//!
//! Every message, on the wire or on a disk, is a frame: magic, kind, version, length, checksum, body. The length is checked
//! against the message's own limit before anything is allocated; bytes after the body are refused; a truncated stream is
//! never taken for a whole message. bincode 1.3.3 is unmaintained and pinned exactly: it stands behind this file alone, and
//! golden bytes of every message watch that nothing moves.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::answer::Answer;
use crate::message::gated::DrawnFrom;
use crate::message::health::Probe;
use crate::message::ledger::{HeadOffer, MAX_PROOF, SignedHead, Verdict};
use crate::message::metadata::{Entry, MetadataFrame, SnapshotHead, Vote};
use crate::message::question::Question;
use crate::message::region::{RegionAsk, RegionReply};
use crate::metadata::Row;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"DMCL";
/// Bytes before the body: magic 4, kind 1, version 1, length 4, CRC-32 of the body 4.
pub const HEADER_BYTES: usize = 14;

/// A message that may stand in a frame. Implemented here alone, for a closed set.
pub trait Message: Serialize + DeserializeOwned + sealed::Sealed {
    /// Its number in the frame's header.
    const KIND: u8;
    /// The version of its layout; another version is another type.
    const VERSION: u8;
    /// Largest body, in bytes.
    const MAX_BYTES: usize;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! messages {
    ($($type:ty = $kind:literal, version $version:literal, at most $max:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Message for $type {
            const KIND: u8 = $kind;
            const VERSION: u8 = $version;
            const MAX_BYTES: usize = $max;
        }
    )*};
}

messages! {
    Question = 1, version 2, at most 16 << 10;
    Answer = 2, version 2, at most 64 << 10;
    Probe = 3, version 1, at most 16;
    SignedHead = 4, version 1, at most 256;
    MetadataFrame = 5, version 2, at most 4 << 20;
    Entry = 6, version 2, at most 2 << 20;
    Vote = 7, version 1, at most 64;
    SnapshotHead = 8, version 1, at most 64 << 10;
    Row = 9, version 2, at most 256 << 10;
    RegionAsk = 10, version 1, at most 16 << 20;
    RegionReply = 11, version 1, at most 16 << 20;
    HeadOffer = 12, version 1, at most 256 + 64 + 32 * MAX_PROOF;
    Verdict = 13, version 1, at most 128;
    DrawnFrom = 14, version 1, at most 128;
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the header or the length says.
    #[error("the frame ends after {found} of {wanted} bytes")]
    Truncated {
        /// Bytes that are there.
        found: usize,
        /// Bytes that should be.
        wanted: usize,
    },
    /// Not our magic.
    #[error("the frame does not begin with `DMCL`; the peer does not speak this protocol")]
    Magic,
    /// Another message than the one expected.
    #[error("the frame is of kind {found}, expected {wanted}")]
    Kind {
        /// Kind that was found.
        found: u8,
        /// Kind that was expected.
        wanted: u8,
    },
    /// A version this build does not know.
    #[error("the frame has version {found}, this build reads version {wanted}; upgrade the older node")]
    Version {
        /// Version that was found.
        found: u8,
        /// Version that is read.
        wanted: u8,
    },
    /// Longer than the message may be.
    #[error("the frame's body has {found} bytes, the limit of its kind is {limit}")]
    TooLarge {
        /// Length that was announced or produced.
        found: usize,
        /// Limit of the kind.
        limit: usize,
    },
    /// The checksum does not fit the body.
    #[error("the checksum of the frame does not fit its body")]
    Checksum,
    /// Bytes after the frame.
    #[error("{extra} bytes follow the frame")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The body is not such a message.
    #[error("the body of the frame is not a message of kind {kind}")]
    Body {
        /// The kind that was expected.
        kind: u8,
    },
}

/// A checked header: what follows it, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Kind of the message.
    pub kind: u8,
    /// Version of its layout.
    pub version: u8,
    /// Length of the body, in bytes.
    pub length: usize,
    /// CRC-32 of the body.
    pub checksum: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] or [`CodecError::Magic`].
    pub fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(CodecError::Truncated { found: bytes.len(), wanted: HEADER_BYTES });
        };
        let [m0, m1, m2, m3, kind, version, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(CodecError::Magic);
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Ok(Self { kind, version, length, checksum: u32::from_be_bytes([c0, c1, c2, c3]) })
    }

    /// Checks that a body of `M` follows and how long it is, before anything is allocated for it.
    ///
    /// # Errors
    /// [`CodecError::Kind`], [`CodecError::Version`] or [`CodecError::TooLarge`].
    pub const fn expect<M: Message>(&self) -> Result<usize, CodecError> {
        if self.kind != M::KIND {
            return Err(CodecError::Kind { found: self.kind, wanted: M::KIND });
        }
        if self.version != M::VERSION {
            return Err(CodecError::Version { found: self.version, wanted: M::VERSION });
        }
        if self.length > M::MAX_BYTES {
            return Err(CodecError::TooLarge { found: self.length, limit: M::MAX_BYTES });
        }
        Ok(self.length)
    }
}

/// Encodes a message into a frame.
///
/// # Errors
/// [`CodecError::TooLarge`] where the message breaks its own limit.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, CodecError> {
    let body = canonical(message);
    if body.len() > M::MAX_BYTES {
        return Err(CodecError::TooLarge { found: body.len(), limit: M::MAX_BYTES });
    }
    let length =
        u32::try_from(body.len()).map_err(|_| CodecError::TooLarge { found: body.len(), limit: M::MAX_BYTES })?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[M::KIND, M::VERSION]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Decodes a frame that must be `M` and nothing more.
///
/// # Errors
/// [`CodecError`] says what is wrong; never panics, never allocates more than the message's limit allows.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, CodecError> {
    let header = Header::read(frame)?;
    let length = header.expect::<M>()?;
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    if body.len() < length {
        return Err(CodecError::Truncated { found: frame.len(), wanted: HEADER_BYTES + length });
    }
    if body.len() > length {
        return Err(CodecError::Trailing { extra: body.len() - length });
    }
    if crc32fast::hash(body) != header.checksum {
        return Err(CodecError::Checksum);
    }
    options(M::MAX_BYTES).deserialize(body).map_err(|_| CodecError::Body { kind: M::KIND })
}

/// The one byte form of a value, to be signed or hashed.
pub(crate) fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising plain data into memory fails for no type of this crate: none has a sequence of unknown length.
    bincode::DefaultOptions::new().serialize(value).unwrap_or_default()
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new().with_limit(limit as u64).reject_trailing_bytes()
}
