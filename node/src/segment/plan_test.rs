//! The plan of merges: by example, and its laws over anything that may come.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const MB: u64 = 1 << 20;
const DAY: i64 = 86_400 * Timestamp::MICROS;

fn disk(bytes: u64) -> Piece {
    Piece { bytes, docs: 1, in_memory: false, is_away: false, built_at: Timestamp(0), period: 0 }
}

fn memory(bytes: u64) -> Piece {
    Piece { in_memory: true, ..disk(bytes) }
}

fn at(now: i64, bytes: u64) -> Moment {
    Moment { now: Timestamp(now), roll: RollOver::new(bytes, 1), lag: Duration::from_secs(600) }
}

fn usual(now: i64) -> Moment {
    Moment { roll: RollOver::default(), ..at(now, 1) }
}

#[test]
fn segments_are_merged_when_they_are_many_or_due() {
    let soon = usual(1);
    let late = usual(60 * Timestamp::MICROS);
    let next_day = usual(DAY);
    let closing = usual(DAY + 600 * Timestamp::MICROS);
    let small = at(1, 25 * MB);
    let merge = |pieces, target| Some(Merge { pieces, target });
    let mixed = [vec![disk(500 * MB)], vec![disk(MB); 10]].concat();
    let uneven = [vec![disk(40 * MB)], vec![memory(1_000); 9]].concat();
    let between = [vec![memory(MB); 2], vec![disk(40 * MB)], vec![memory(MB)]].concat();
    let of_next = |piece: Piece| Piece { period: 1, ..piece };
    let two_days = [vec![disk(MB); 6], vec![of_next(disk(MB)); 6]].concat();
    let two_young = [vec![memory(MB); 2], vec![of_next(memory(MB)); 3]].concat();
    let rest = [vec![disk(MB); 2], vec![disk(500 * MB)], vec![disk(2 * MB); 3], vec![of_next(disk(MB)); 3]].concat();
    let from_later = Piece { built_at: Timestamp(2), ..memory(1) };
    let rich = Piece { docs: SEAL_DOCS / 2, ..disk(MB) };
    let nearly_full = [vec![disk(25 * MB - 50_000)], vec![disk(12_000); 9]].concat();
    let nearly_rich = [vec![Piece { docs: SEAL_DOCS - 5, ..rich }], vec![disk(12_000); 9]].concat();
    let beside_full = [vec![disk(25 * MB - 50_000)], vec![disk(12_000); 10]].concat();
    let half_full = [vec![disk(20 * MB)], vec![disk(MB); 9]].concat();
    for (name, pieces, moment, pressure, expected) in [
        ("nothing", vec![], soon, Pressure::High, None),
        ("few", vec![disk(MB); 9], soon, Pressure::None, None),
        ("many", vec![disk(MB); 10], soon, Pressure::None, merge(0..10, Target::Disk)),
        ("many small", vec![memory(1_000); 10], soon, Pressure::None, merge(0..10, Target::Memory)),
        ("much in memory", vec![memory(MB); 8], soon, Pressure::None, merge(0..8, Target::Disk)),
        ("old in memory", vec![memory(1); 1], late, Pressure::None, merge(0..1, Target::Disk)),
        (
            "in memory, from before the clock was put back",
            vec![from_later],
            soon,
            Pressure::None,
            merge(0..1, Target::Disk),
        ),
        ("short of memory", vec![memory(1); 2], soon, Pressure::High, merge(0..2, Target::Disk)),
        ("beside a large one", mixed, soon, Pressure::None, merge(1..11, Target::Disk)),
        ("one large, nine tiny", uneven, soon, Pressure::None, None),
        ("memory on both sides", between, soon, Pressure::High, merge(0..2, Target::Disk)),
        ("sealed by size", vec![disk(50_000_000_000); 10], soon, Pressure::None, None),
        ("sealed by records", vec![Piece { docs: SEAL_DOCS, ..rich }; 10], soon, Pressure::None, None),
        ("as large as one may be", vec![disk(10 * MB); 10], small, Pressure::None, merge(0..3, Target::Disk)),
        ("as many records", vec![rich; 10], soon, Pressure::None, merge(0..2, Target::Disk)),
        ("nine tiny ones would seal one that is nearly full", nearly_full, small, Pressure::None, None),
        ("the same by records", nearly_rich, small, Pressure::None, None),
        ("ten beside it go together", beside_full, small, Pressure::None, merge(1..11, Target::Disk)),
        ("what is worth it is sealed", half_full, small, Pressure::None, merge(0..6, Target::Disk)),
        ("in the bucket", vec![Piece { is_away: true, ..disk(MB) }; 10], closing, Pressure::High, None),
        ("of two days", two_days.clone(), soon, Pressure::None, None),
        ("in memory, of two days", two_young, soon, Pressure::High, merge(0..2, Target::Disk)),
        ("yesterday's, right after midnight", vec![disk(MB); 10], next_day, Pressure::None, None),
        ("yesterday's, a while later", two_days, closing, Pressure::None, merge(0..6, Target::Disk)),
        ("one is no rest", vec![disk(MB)], closing, Pressure::None, None),
        ("a large one among yesterday's", rest, closing, Pressure::None, merge(0..2, Target::Disk)),
    ] {
        assert_eq!(plan(&pieces, moment, pressure), expected, "{name}");
    }
}

#[test]
fn a_segment_is_sealed_by_its_size_its_records_or_its_midnight_and_never_in_memory() {
    let roll = RollOver::new(10 * MB, 1);
    for (name, piece, now, expected) in [
        ("small", disk(MB), DAY - 1, false),
        ("large", disk(10 * MB), 1, true),
        ("of many records", Piece { docs: SEAL_DOCS, ..disk(MB) }, 1, true),
        ("of yesterday", disk(MB), DAY, true),
        ("in memory", memory(20 * MB), 3 * DAY, false),
        ("in the bucket", Piece { is_away: true, ..disk(MB) }, 1, true),
    ] {
        assert_eq!(is_sealed(&piece, roll, Timestamp(now)), expected, "{name}");
    }
}

/// Pieces that know what they were made of.
#[derive(Clone, Debug)]
struct Made {
    piece: Piece,
    periods: BTreeSet<i64>,
}

/// Carries out what is planned until nothing is. `Err` where a merge breaks what holds for all of them.
fn settle(all: &mut Vec<Made>, moment: Moment, rewritten: &mut u64) -> Result<(), TestCaseError> {
    let roll = moment.roll;
    loop {
        let pieces: Vec<Piece> = all.iter().map(|made| made.piece).collect();
        let Some(Merge { pieces: run, target }) = plan(&pieces, moment, Pressure::None) else { return Ok(()) };
        let parts = &all[run.clone()];
        let bytes: u64 = parts.iter().map(|made| made.piece.bytes).sum();
        let docs: u32 = parts.iter().map(|made| made.piece.docs).sum();
        let periods: BTreeSet<i64> = parts.iter().flat_map(|made| made.periods.clone()).collect();
        prop_assert_eq!(periods.len(), 1, "of two periods");
        let last = parts[parts.len() - 1].piece;
        let is_small = parts.len() == 1 || (bytes - last.bytes < roll.bytes() && docs - last.docs < SEAL_DOCS);
        prop_assert!(is_small, "{} bytes of {} and more than one member above", bytes, roll.bytes());
        *rewritten += bytes;
        let (in_memory, period) = (target == Target::Memory, last.period);
        let built_at = parts.iter().map(|made| made.piece.built_at).min().unwrap();
        let piece = Piece { bytes, docs, in_memory, is_away: false, built_at, period };
        all.splice(run, [Made { piece, periods }]);
    }
}

proptest! {
    /// Whatever comes, merging ends, and few segments are left.
    #[test]
    fn merging_settles(sizes in proptest::collection::vec(1_u64..20 * MB, 1..200)) {
        let (mut all, mut rewritten) = (Vec::new(), 0);
        let total: u64 = sizes.iter().sum();
        for bytes in sizes {
            all.push(Made { piece: memory(bytes), periods: [0].into() });
            settle(&mut all, usual(1), &mut rewritten)?;
        }
        prop_assert!(all.len() <= FAN_IN * LEVELS as usize);
        prop_assert!(rewritten <= total * u64::from(LEVELS + 1), "{} of {}", rewritten, total);
    }

    /// Over days of any traffic no segment has records of two periods or is larger than it may be by more than one member, a period
    /// never has many, and one that is over has few.
    #[test]
    fn periods_stay_apart_and_small(
        arrivals in proptest::collection::vec((1_u64..4 * MB, 1_u32..3_000_000, 1_i64..3 * 3_600), 1..300),
        roll_mb in 2_u64..200,
        days in 1_u32..4,
    ) {
        let roll = RollOver::new(roll_mb * MB, days);
        let lag = Duration::from_secs(600);
        let (mut all, mut rewritten, mut now) = (Vec::new(), 0, 0);
        for (bytes, docs, pause) in arrivals {
            now += pause * Timestamp::MICROS;
            let period = roll.period(Timestamp(now));
            let piece = Piece { bytes, docs, built_at: Timestamp(now), period, ..memory(1) };
            all.push(Made { piece, periods: [period].into() });
            settle(&mut all, Moment { now: Timestamp(now), roll, lag }, &mut rewritten)?;
        }
        now += DAY * i64::from(days) + 3_600 * Timestamp::MICROS;
        settle(&mut all, Moment { now: Timestamp(now), roll, lag }, &mut rewritten)?;
        for period in all.iter().map(|made| made.piece.period).collect::<BTreeSet<_>>() {
            let of: Vec<Piece> = all.iter().map(|made| made.piece).filter(|piece| piece.period == period).collect();
            let is_large = |piece: &&Piece| is_full(piece, roll) || level(piece.bytes) > REST_LEVEL;
            let large = of.iter().filter(is_large).count();
            prop_assert!(of.len() <= 2 * large + 1, "{} segments, {} of them large", of.len(), large);
            let full = of.iter().filter(|piece| is_full(piece, roll)).count();
            let resting = of.iter().filter(|piece| is_nearly_full(piece, roll)).count();
            let others = of.iter().filter(|piece| is_large(piece) && !is_nearly_full(piece, roll)).count();
            let most = (resting + 1) * FAN_IN * LEVELS as usize;
            prop_assert!(others <= most, "{} large and not nearly full beside {}", others, resting);
            let (bytes, docs) = of.iter().fold((0, 0_u64), |sum, one| (sum.0 + one.bytes, sum.1 + u64::from(one.docs)));
            let needed = bytes / roll.bytes() + docs / u64::from(SEAL_DOCS);
            prop_assert!(full as u64 <= needed, "{} full ones of {} needed", full, needed);
            prop_assert!(of.iter().all(|piece| !piece.in_memory));
        }
    }

    /// A shard with a record a minute has a handful of segments on its day, and one when it is over.
    #[test]
    fn a_day_of_little_traffic_becomes_one_segment(bytes in 500_u64..17_000, docs in 1_u32..50) {
        let roll = RollOver::default();
        let lag = Duration::from_secs(600);
        let (mut all, mut rewritten, mut most) = (Vec::new(), 0, 0);
        for minute in 0..1_440 {
            let now = Timestamp(minute * 60 * Timestamp::MICROS);
            let piece = Piece { bytes, docs, built_at: now, ..memory(1) };
            all.push(Made { piece, periods: [0].into() });
            let later = Timestamp(now.0 + 59 * Timestamp::MICROS);
            settle(&mut all, Moment { now: later, roll, lag }, &mut rewritten)?;
            most = most.max(all.len());
        }
        prop_assert!(most <= 5 * FAN_IN, "{}", most);
        settle(&mut all, Moment { now: Timestamp(DAY + 600 * Timestamp::MICROS), roll, lag }, &mut rewritten)?;
        prop_assert_eq!(all.len(), 1);
    }
}
