//! The zone of time stamps that name none: the stream's, else the region's.

use domicile_proto::metadata::StreamPolicy;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A zone.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Always the same distance, in seconds east of UTC.
    Fixed(i32),
    /// With rules: summer time and the like.
    #[allow(dead_code, reason = "zones with rules are parsed; the settings name offsets so far")]
    Rules(TimeZone),
}

impl Zone {
    /// UTC.
    #[allow(dead_code, reason = "tests begin from UTC")]
    pub(crate) const UTC: Self = Self::Fixed(0);

    /// What holds for a stream in a region.
    pub(crate) fn of(policy: &StreamPolicy, region: &Self) -> Self {
        policy.utc_offset_minutes.map_or_else(|| region.clone(), |minutes| Self::Fixed(i32::from(minutes) * 60))
    }

    /// A zone by its IANA name, such as `Asia/Tokyo`.
    #[allow(dead_code, reason = "zones with rules are parsed; the settings name offsets so far")]
    pub(crate) fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self::Rules)
    }

    /// Microseconds since the epoch of a civil time given as if it were UTC. A time that summer time skips is moved forward, one
    /// that it repeats is the first.
    pub(super) fn to_utc(&self, civil_micros: i64) -> i64 {
        match self {
            Self::Fixed(seconds) => civil_micros.saturating_sub(i64::from(*seconds) * 1_000_000),
            Self::Rules(rules) => {
                let zoned = jiff::Timestamp::from_microsecond(civil_micros)
                    .map(|at| -> DateTime { TimeZone::UTC.to_datetime(at) })
                    .and_then(|civil| rules.to_timestamp(civil));
                zoned.map_or(civil_micros, jiff::Timestamp::as_microsecond)
            }
        }
    }
}
