//! Which segments are past their retention: a pure decision over periods, what lies there, and holds.
//!
//! A period counts from receipt, never from the time that a producer wrote into a record. A segment is past it when the last
//! record that can be inside was received that long ago; so nothing goes early, and what shares a segment goes at one midnight, for
//! it came on one day, or within the days of `[segments] roll_days`. A stream that the policy does not know is never planned. Reads and deletes nothing.

use domicile_proto::ids::{Name, ShardId, StreamId, TenantId, Timestamp};

use crate::segment::SegmentId;
use crate::tier::{StreamHold, end_in_archive, end_of};

/// How long the records of a shard are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) tenant: TenantId,
    pub(crate) stream: StreamId,
    pub(crate) name: Name,
    pub(crate) shard: ShardId,
    /// Days since receipt.
    pub(crate) days: u32,
    /// Days in the archive; none where `days` alone end what lies there.
    pub(crate) archive_for: Option<u32>,
}

/// A segment, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lying {
    pub(crate) segment: SegmentId,
    pub(crate) shard: ShardId,
    pub(crate) records: u32,
    pub(crate) bytes: u64,
    /// All that is inside was received before.
    pub(crate) received_until: Timestamp,
    pub(crate) is_durable: bool,
    /// Since when it lies in the archive.
    pub(crate) archived: Option<Timestamp>,
}

/// What is to happen to a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is past its retention.
    Due,
    /// It would be, and a legal hold keeps it.
    Held(Box<str>),
    /// It is kept until then.
    Until(Timestamp),
}

/// A segment with its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) period: Period,
    pub(crate) lying: Lying,
    pub(crate) fate: Fate,
}

/// The fate of every segment of a known shard.
pub(crate) fn plan(periods: &[Period], lying: &[Lying], holds: &[StreamHold], now: Timestamp) -> Vec<Planned> {
    let mut planned = Vec::new();
    for lying in lying {
        let Some(period) = periods.iter().find(|period| period.shard == lying.shard) else { continue };
        let kept = end_of(lying.received_until, period.days);
        let until = lying
            .archived
            .and_then(|since| end_in_archive(since, period.archive_for))
            .map_or(kept, |end| end.min(kept));
        let hold = holds.iter().find(|hold| hold.concerns(period.tenant, period.stream));
        let fate = match hold {
            _ if until > now || !lying.is_durable => Fate::Until(until),
            Some(hold) => Fate::Held(hold.id.clone()),
            None => Fate::Due,
        };
        planned.push(Planned { period: period.clone(), lying: *lying, fate });
    }
    planned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tier::DAY;

    fn period(stream: u32, days: u32) -> Period {
        Period {
            tenant: TenantId(1),
            stream: StreamId(stream),
            name: "app".parse().unwrap(),
            shard: ShardId(u64::from(stream)),
            days,
            archive_for: None,
        }
    }

    fn lying(shard: u64, received_until: i64) -> Lying {
        Lying {
            segment: SegmentId(u128::from(shard)),
            shard: ShardId(shard),
            records: 3,
            bytes: 9,
            received_until: Timestamp(received_until),
            is_durable: true,
            archived: None,
        }
    }

    fn fates(planned: &[Planned]) -> Vec<Fate> {
        planned.iter().map(|one| one.fate.clone()).collect()
    }

    #[test]
    fn each_stream_has_its_own_period_and_the_last_microsecond_of_its_day_is_kept() {
        let periods = [period(1, 30), period(2, 90)];
        let there = [lying(1, 5), lying(2, 5)];
        let end = Timestamp(31 * DAY);
        let early = plan(&periods, &there, &[], Timestamp(end.0 - 1));
        assert_eq!(fates(&early), [Fate::Until(end), Fate::Until(Timestamp(91 * DAY))]);
        let late = plan(&periods, &there, &[], end);
        assert_eq!(fates(&late), [Fate::Due, Fate::Until(Timestamp(91 * DAY))]);
    }

    #[test]
    fn a_hold_wins_over_the_period_and_one_of_another_tenant_or_stream_does_not() {
        let hold = |tenant, streams: Option<Vec<u32>>| StreamHold {
            id: "h".into(),
            tenant: TenantId(tenant),
            streams: streams.map(|streams| streams.into_iter().map(StreamId).collect()),
        };
        let now = Timestamp(100 * DAY);
        let fate = |hold| plan(&[period(1, 30)], &[lying(1, 5)], &[hold], now).remove(0).fate;
        assert_eq!(fate(hold(1, None)), Fate::Held("h".into()));
        assert_eq!(fate(hold(1, Some(vec![2, 1]))), Fate::Held("h".into()));
        assert_eq!(fate(hold(1, Some(vec![2]))), Fate::Due);
        assert_eq!(fate(hold(2, None)), Fate::Due);
    }

    #[test]
    fn what_lies_in_the_archive_ends_with_its_validity_or_with_its_retention_whichever_is_first() {
        let of = |archive_for, since: i64| {
            let period = Period { archive_for, ..period(1, 300) };
            let kept = Lying { archived: Some(Timestamp(since)), ..lying(1, 5) };
            fates(&plan(&[period], &[kept], &[], Timestamp(0))).remove(0)
        };
        assert_eq!(of(Some(180), 30 * DAY), Fate::Until(Timestamp(211 * DAY)));
        assert_eq!(of(Some(180), 200 * DAY), Fate::Until(Timestamp(301 * DAY)), "never longer than its retention");
        assert_eq!(of(None, 30 * DAY), Fate::Until(Timestamp(301 * DAY)));
    }

    #[test]
    fn a_stream_that_nobody_knows_and_a_segment_in_memory_stay() {
        let now = Timestamp(i64::MAX);
        assert!(plan(&[period(1, 1)], &[lying(2, 5)], &[], now).is_empty());
        let young = Lying { is_durable: false, ..lying(1, 5) };
        assert!(matches!(plan(&[period(1, 1)], &[young], &[], now)[0].fate, Fate::Until(_)));
        assert_eq!(end_of(Timestamp(i64::MAX - 1), u32::MAX), Timestamp(i64::MAX), "far away, not long ago");
    }

    proptest! {
        #[test]
        fn nothing_is_due_before_its_period_is_over_and_everything_is_after_it(
            received in 0..i64::MAX / 4, days in 1..70_000_u32, now in 0..i64::MAX / 2,
        ) {
            let planned = plan(&[period(1, days)], &[lying(1, received)], &[], Timestamp(now));
            let left = i128::from(received) + i128::from(days) * i128::from(DAY) - i128::from(now);
            let is_due = planned[0].fate == Fate::Due;
            prop_assert!(!is_due || left < 0, "early");
            prop_assert!(is_due || left > -i128::from(DAY), "more than a day late");
            // Originals lose their keys by days: with the last record of a day goes the day.
            let before = now.saturating_sub(i64::from(days).saturating_mul(DAY)).div_euclid(DAY);
            prop_assert!(!is_due || received.div_euclid(DAY) < before, "its day stays");
        }
    }
}
