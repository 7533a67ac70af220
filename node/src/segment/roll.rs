//! When the segments of a shard roll over: at a size, and at the end of a period of whole days, UTC, of the time of arrival.
//!
//! A shard stays one shard for good, so nothing has to be made ready and nobody has to be asked: see docs/decisions/0052. Pure
//! arithmetic; which segments are merged is decided in `plan`.

use std::time::Duration;

use domicile_proto::ids::{ShardId, Timestamp};

/// When segments roll over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RollOver {
    bytes: u64,
    days: u32,
}

/// Now, as the plan of a shard sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    pub(crate) roll: RollOver,
    /// How long after the end of a period this shard joins what is left of it.
    pub(crate) lag: Duration,
}

impl Default for RollOver {
    fn default() -> Self {
        Self { bytes: 50_000_000_000, days: 1 }
    }
}

impl RollOver {
    /// At so many bytes and after so many days; none of either counts as one.
    pub(crate) fn new(bytes: u64, days: u32) -> Self {
        Self { bytes: bytes.max(1), days: days.max(1) }
    }

    /// Bytes at which a segment is sealed.
    pub(crate) const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The number of the period of a time, counted from 1970.
    pub(crate) fn period(self, at: Timestamp) -> i64 {
        at.0.div_euclid(self.length())
    }

    /// When a period is over: the first midnight, UTC, behind it.
    pub(crate) fn end(self, period: i64) -> Timestamp {
        Timestamp(period.saturating_add(1).saturating_mul(self.length()))
    }

    /// The period in which a shard is for whoever joins rests: another one from the moment it is to join one.
    pub(crate) fn closing(self, shard: ShardId, now: Timestamp) -> i64 {
        self.period(Timestamp(now.0.saturating_sub(micros(self.lag_of(shard)))))
    }

    /// How long a shard waits after the end of a period until it joins what is left of it: less than an hour, and another time for
    /// each, so that a node of many shards has no midnight.
    #[allow(clippy::unused_self, reason = "part of how segments roll over")]
    pub(crate) const fn lag_of(self, shard: ShardId) -> Duration {
        // The odd number nearest to 2 to the 64 over the golden ratio spreads numbers that follow each other.
        let spread = shard.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        Duration::from_secs(spread % LAG_SECONDS)
    }

    fn length(self) -> i64 {
        DAY * i64::from(self.days)
    }
}

impl Moment {
    /// Whether a period is over.
    pub(crate) fn is_over(&self, period: i64) -> bool {
        self.roll.end(period) <= self.now
    }

    /// Whether the rest of a period is to be joined now.
    pub(crate) fn closes(&self, period: i64) -> bool {
        self.roll.end(period).0.saturating_add(micros(self.lag)) <= self.now.0
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A day, in microseconds.
const DAY: i64 = 86_400 * Timestamp::MICROS;
/// The rests of a period are joined within so many seconds behind its end.
const LAG_SECONDS: u64 = 3_600;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_period_ends_at_midnight_and_the_next_one_begins_there() {
        for days in [1_u32, 2, 7] {
            let roll = RollOver::new(1, days);
            for period in [-2, -1, 0, 1, 20_000] {
                let end = roll.end(period);
                assert_eq!(end.0.rem_euclid(DAY), 0);
                assert_eq!((roll.period(Timestamp(end.0 - 1)), roll.period(end)), (period, period + 1));
            }
        }
        assert_eq!(RollOver::new(0, 0), RollOver::new(1, 1));
    }

    #[test]
    fn a_thousand_shards_are_spread_over_the_hour_and_each_looks_once() {
        let roll = RollOver::default();
        let midnight = roll.end(20_000);
        let lags: Vec<_> = (0..1_000).map(|shard| roll.lag_of(ShardId(shard))).collect();
        assert!(lags.iter().all(|lag| lag.as_secs() < LAG_SECONDS));
        let in_a_minute = |minute: u64| lags.iter().filter(|lag| lag.as_secs() / 60 == minute).count();
        let most = (0..60).map(in_a_minute).max();
        assert!(most < Some(40), "{most:?} of 1,000 shards in one minute");
        let shard = ShardId(17);
        let at = |second: i64| Timestamp(midnight.0 + second * Timestamp::MICROS);
        let looked: Vec<i64> = (0..25 * 3_600).step_by(5).map(|second| roll.closing(shard, at(second))).collect();
        assert!(looked.is_sorted() && looked.iter().collect::<BTreeSet<_>>().len() <= 3);
        let moment =
            |after: Duration| Moment { now: Timestamp(midnight.0 + micros(after)), roll, lag: roll.lag_of(shard) };
        assert!(moment(Duration::ZERO).is_over(20_000) && !moment(Duration::ZERO).is_over(20_001));
        assert!(moment(roll.lag_of(shard)).closes(20_000));
        assert_eq!(roll.closing(shard, moment(roll.lag_of(shard)).now), 20_001);
    }
}
