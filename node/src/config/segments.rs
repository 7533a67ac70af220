//! The `[segments]` section: when the segments of a shard roll over.

use serde::{Deserialize, Serialize};

/// When segments roll over, whichever comes first. Nodes of a region may differ: what one has merged the other takes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SegmentsConfig {
    /// Bytes at which a segment is sealed and not merged any more, 1,000,000 to 50,000,000,000; one of 20,000,000 records is sealed
    /// before. Default 50,000,000,000: few large ones are searched faster. A merge needs as much free disk again, and an erasure makes
    /// a whole segment anew: where either hurts, write less.
    pub(crate) roll_bytes: u64,
    /// Days, from midnight to midnight UTC, whose records may lie in one segment, 1 to 7. Default 1: what was received on one day goes on
    /// the day its retention ends. With more, streams of little traffic have fewer segments, and a record stays up to that many
    /// days less one longer than its retention.
    pub(crate) roll_days: u32,
}

impl Default for SegmentsConfig {
    fn default() -> Self {
        Self { roll_bytes: *BYTES.end(), roll_days: *DAYS.start() }
    }
}

impl SegmentsConfig {
    /// The first bound that is broken: its key, what was found, and what is allowed.
    pub(super) fn mistake(&self) -> Option<(&'static str, u64, &'static str)> {
        if !BYTES.contains(&self.roll_bytes) {
            return Some(("segments.roll_bytes", self.roll_bytes, "1000000 to 50000000000"));
        }
        (!DAYS.contains(&self.roll_days)).then(|| ("segments.roll_days", u64::from(self.roll_days), "1 to 7"))
    }
}

const BYTES: std::ops::RangeInclusive<u64> = 1_000_000..=50_000_000_000;
const DAYS: std::ops::RangeInclusive<u32> = 1..=7;
