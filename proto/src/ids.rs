//! The registry of all ids and small quantities that more than one module needs.
//!
//! Every id is a newtype, so that a tenant can never be passed where a stream is meant. Numeric ids are given out by the
//! metadata group; names are for people. This file decides nothing but what a well-formed id is.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name a person gave to a thing: `[a-z0-9][a-z0-9._-]{0,62}`, at most 63 bytes.
///
/// The only free text besides approved dictionary values that may stand in the metadata group (RES-2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must have at least one character; write 1 to 63 characters of `a-z 0-9 . _ -`")]
    Empty,
    /// More than 63 bytes.
    #[error("a name of {length} bytes is too long; write at most 63")]
    TooLong {
        /// Length that was found, in bytes.
        length: usize,
    },
    /// A character outside the allowed set, or a leading `.`, `_` or `-`.
    #[error(
        "character {position} of the name is not allowed; a name begins with `a-z 0-9` and goes on with `a-z 0-9 . _ -`"
    )]
    Character {
        /// Position of the first offending character, counted from 1.
        position: usize,
    },
}

impl Name {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// The built-in group field of every stream: its values are the levels, known everywhere and personal to nobody.
    pub fn level() -> Self {
        Self("level".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { length: text.len() });
        }
        for (index, c) in text.chars().enumerate() {
            let inner = matches!(c, '.' | '_' | '-') && index > 0;
            if !(c.is_ascii_lowercase() || c.is_ascii_digit() || inner) {
                return Err(NameError::Character { position: index + 1 });
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// A region by name, as its certificate and `regions/*.yaml` call it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Region(pub Name);

impl Region {
    /// The region's name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Region {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

number_ids! {
    /// A node, unique in the deployment and never used again; it stands in the path of the node's SPIFFE id.
    NodeId(u64);
    /// A region by number, as the metadata group gave it out. Only for messages, where no text may stand.
    RegionNumber(u16);
    /// A tenant.
    TenantId(u32);
    /// A stream of one tenant, unique in the deployment.
    StreamId(u32);
    /// A field of a stream's allow-list: its position in the declaration.
    FieldId(u16);
    /// An approved value of a group field in the tenant's dictionary. 0 never stands for a value.
    DictionaryId(u32);
    /// A shard of a stream in one region.
    ShardId(u64);
    /// How often a shard has changed its owner.
    Epoch(u64);
    /// A version of the policy: grows by one with every command that changes what may leave.
    PolicyVersion(u64);
    /// The place of an officer's consent among all it ever gave for its region: each is higher than the one before.
    ConsentSerial(u64);
    /// Records.
    RecordCount(u64);
    /// Distinct subjects.
    SubjectCount(u64);
    /// Bytes.
    ByteCount(u64);
}

/// A question, drawn at random by the node that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionId(pub u128);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An order of erasure, drawn at random by the node that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErasureId(pub u128);

impl fmt::Display for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no id of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an erasure has 32 digits of `0-9 a-f`")]
pub struct ErasureIdError;

impl FromStr for ErasureId {
    type Err = ErasureIdError;

    fn from_str(text: &str) -> Result<Self, ErasureIdError> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(ErasureIdError)
    }
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds in a second.
    pub const MICROS: i64 = 1_000_000;

    /// From whole milliseconds since the epoch; saturates at the ends.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// A half-open range of time `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// First instant inside.
    pub from: Timestamp,
    /// First instant after.
    pub to: Timestamp,
}

impl TimeRange {
    /// Every instant.
    pub const ALL: Self = Self { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) };

    /// Whether `at` lies inside.
    pub const fn contains(&self, at: Timestamp) -> bool {
        self.from.0 <= at.0 && at.0 < self.to.0
    }
}

/// Smallest group that may leave a region, in distinct subjects (or in records, where the stream names no subject).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KThreshold(pub NonZeroU32);

impl KThreshold {
    /// Of streams an officer has declared free of personal data.
    pub const NON_PERSONAL: Self = Self(NonZeroU32::MIN);
    /// Of streams with a subject field. Source: CBAP-1 rule R4.
    pub const SUBJECTS: Self = match NonZeroU32::new(5) {
        Some(k) => Self(k),
        None => Self::NON_PERSONAL,
    };
    /// Of streams that declare neither a subject nor `personal: false`; counted in records. Source: CBAP-1 rule R4.
    pub const RECORDS: Self = match NonZeroU32::new(50) {
        Some(k) => Self(k),
        None => Self::NON_PERSONAL,
    };
    /// Below this no policy for personal data may go. Source: CBAP-1 rule R4.
    pub const FLOOR: Self = match NonZeroU32::new(3) {
        Some(k) => Self(k),
        None => Self::NON_PERSONAL,
    };

    /// The threshold as a plain number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// How bad an event is; the canonical set every spelling is mapped to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Level {
    /// No level was recognised.
    #[default]
    Unknown = 0,
    /// Finer than debugging.
    Trace = 1,
    /// For developers.
    Debug = 2,
    /// Ordinary.
    Info = 3,
    /// Ordinary but worth a look.
    Notice = 4,
    /// Something may be wrong.
    Warn = 5,
    /// Something is wrong.
    Error = 6,
    /// The process or more cannot go on.
    Fatal = 7,
}

impl Level {
    /// All levels in their order.
    pub const ALL: [Self; 8] =
        [Self::Unknown, Self::Trace, Self::Debug, Self::Info, Self::Notice, Self::Warn, Self::Error, Self::Fatal];

    /// The canonical spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// The level a spelling means, in any case; syslog and Java spellings included.
    pub fn recognise(text: &str) -> Option<Self> {
        const SPELLINGS: [(&str, Level); 27] = [
            ("info", Level::Info),
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
            ("fatal", Level::Fatal),
            ("notice", Level::Notice),
            ("critical", Level::Fatal),
            ("crit", Level::Fatal),
            ("severe", Level::Error),
            ("err", Level::Error),
            ("emergency", Level::Fatal),
            ("emerg", Level::Fatal),
            ("alert", Level::Fatal),
            ("panic", Level::Fatal),
            ("failure", Level::Error),
            ("information", Level::Info),
            ("informational", Level::Info),
            ("verbose", Level::Trace),
            ("fine", Level::Debug),
            ("finer", Level::Trace),
            ("finest", Level::Trace),
            ("config", Level::Debug),
            ("dbg", Level::Debug),
            ("wrn", Level::Warn),
            ("unknown", Level::Unknown),
        ];
        SPELLINGS.iter().find(|(spelling, _)| text.eq_ignore_ascii_case(spelling)).map(|(_, level)| *level)
    }

    /// The level with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as u64 == number)
    }

    /// The built-in dictionary id of the level: its number plus one.
    pub const fn dictionary_id(self) -> DictionaryId {
        DictionaryId(self as u32 + 1)
    }
}

/// First dictionary id that the metadata group gives to approved values; the ids below belong to [`Level`].
pub const FIRST_APPROVED_ID: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_their_grammar() {
        for (text, ok) in [
            ("tokyo", true),
            ("a", true),
            ("app-logs_2.x", true),
            ("0day", true),
            ("", false),
            ("-tokyo", false),
            (".hidden", false),
            ("Tokyo", false),
            ("to kyo", false),
            ("東京", false),
        ] {
            assert_eq!(text.parse::<Name>().is_ok(), ok, "{text}");
        }
        assert!("a".repeat(63).parse::<Name>().is_ok());
        assert_eq!("a".repeat(64).parse::<Name>(), Err(NameError::TooLong { length: 64 }));
        assert_eq!("to/kyo".parse::<Name>(), Err(NameError::Character { position: 3 }));
    }

    #[test]
    fn levels_are_recognised_in_any_spelling() {
        for (text, level) in [("ERROR", Level::Error), ("Warning", Level::Warn), ("crit", Level::Fatal)] {
            assert_eq!(Level::recognise(text), Some(level));
        }
        assert_eq!(Level::recognise("loud"), None);
        for level in Level::ALL {
            assert_eq!(Level::recognise(level.as_str()), Some(level));
            assert!(level.dictionary_id().0 > 0 && level.dictionary_id().0 < FIRST_APPROVED_ID);
        }
    }
}
