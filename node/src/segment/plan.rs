//! Which segments of a shard are merged next: a pure decision over sizes and ages.
//!
//! Only neighbours are merged, so that places and, nearly always, times of the segments of a shard never overlap and the
//! newest records are found without opening the old ones. A record is rewritten about once for each tenfold growth.

use std::ops::Range;
use std::time::Duration;

use domicile_proto::ids::Timestamp;

/// A segment, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: u64,
    pub(crate) docs: u32,
    pub(crate) in_memory: bool,
    /// It lies in the bucket alone, and is never merged.
    pub(crate) is_away: bool,
    pub(crate) built_at: Timestamp,
}

/// Where a merged segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Memory,
    Disk,
}

/// Neighbours to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) pieces: Range<usize>,
    pub(crate) target: Target,
}

/// How pressing it is to get segments out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// There is room.
    None,
    /// Memory is short, or the node is stopping.
    High,
}

/// The next merge of a shard, if any. `pieces` in the order of their places.
pub(crate) fn plan(pieces: &[Piece], now: Timestamp, pressure: Pressure) -> Option<Merge> {
    flush(pieces, now, pressure).or_else(|| grow(pieces, now))
}

/// Whether a segment is never merged again.
pub(crate) fn is_sealed(piece: &Piece, now: Timestamp) -> bool {
    let age = now.0.saturating_sub(piece.built_at.0);
    piece.is_away
        || !piece.in_memory && (piece.bytes >= SEAL_BYTES || piece.docs >= SEAL_DOCS || age >= micros(SEAL_AFTER))
}

/// Neighbours in memory that must become durable.
fn flush(pieces: &[Piece], now: Timestamp, pressure: Pressure) -> Option<Merge> {
    runs(pieces, |piece| piece.in_memory).into_iter().find_map(|run| {
        let members = pieces.get(run.clone())?;
        let bytes: u64 = members.iter().map(|piece| piece.bytes).sum();
        let is_old = members.iter().any(|piece| now.0.saturating_sub(piece.built_at.0) >= micros(FLUSH_AFTER));
        let is_due = pressure == Pressure::High || is_old || bytes >= FLUSH_BYTES;
        is_due.then_some(Merge { pieces: run, target: Target::Disk })
    })
}

/// Neighbours of about one size that have become many.
fn grow(pieces: &[Piece], now: Timestamp) -> Option<Merge> {
    (0..LEVELS).find_map(|most| {
        let fits = |piece: &Piece| level(piece.bytes) <= most && !is_sealed(piece, now);
        runs(pieces, fits).into_iter().find_map(|run| {
            let members = pieces.get(run.clone())?;
            let bytes: u64 = members.iter().map(|piece| piece.bytes).sum();
            let largest = members.iter().map(|piece| piece.bytes).max()?;
            let docs: u64 = members.iter().map(|piece| u64::from(piece.docs)).sum();
            let is_worth_it = members.len() >= FAN_IN && largest <= bytes / 2;
            let is_allowed = docs <= u64::from(u32::MAX / 2);
            let in_memory = members.iter().all(|piece| piece.in_memory) && bytes < FLUSH_BYTES;
            let target = if in_memory { Target::Memory } else { Target::Disk };
            (is_worth_it && is_allowed).then_some(Merge { pieces: run, target })
        })
    })
}

/// Runs of neighbours that all fit.
fn runs(pieces: &[Piece], fits: impl Fn(&Piece) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in pieces.iter().enumerate().filter(|(_, piece)| fits(piece)) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// Sizes a factor of [`FAN_IN`] apart have different levels.
fn level(bytes: u64) -> u32 {
    let mut level = 0;
    let mut most = LEVEL_BYTES;
    while bytes > most && level < LEVELS {
        level += 1;
        most *= FAN_IN as u64;
    }
    level
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Neighbours of a level that are merged: the higher, the less is rewritten and the more segments a search visits.
const FAN_IN: usize = 10;
/// Largest segment of the lowest level, in bytes.
const LEVEL_BYTES: u64 = 256 << 10;
/// Levels: 256 KiB times ten to the fourth is beyond [`SEAL_BYTES`].
const LEVELS: u32 = 5;
/// Neighbours in memory that are due for the disk, in bytes.
const FLUSH_BYTES: u64 = 8 << 20;
/// Longest a record lies in the write-ahead log alone.
const FLUSH_AFTER: Duration = Duration::from_secs(60);
/// A segment of this size is sealed, in bytes: larger ones make merges long and gain little.
const SEAL_BYTES: u64 = 2 << 30;
/// A segment of so many records is sealed.
const SEAL_DOCS: u32 = 20_000_000;
/// A segment of this age is sealed: its day is over.
const SEAL_AFTER: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1 << 20;

    fn disk(bytes: u64) -> Piece {
        Piece { bytes, docs: 1, in_memory: false, is_away: false, built_at: Timestamp(0) }
    }

    fn memory(bytes: u64) -> Piece {
        Piece { in_memory: true, ..disk(bytes) }
    }

    #[test]
    fn segments_are_merged_when_they_are_many_or_due() {
        let soon = Timestamp(1);
        let late = Timestamp(60 * Timestamp::MICROS);
        let next_day = Timestamp(24 * 3_600 * Timestamp::MICROS);
        let merge = |pieces, target| Some(Merge { pieces, target });
        let mixed = [vec![disk(500 * MB)], vec![disk(MB); 10]].concat();
        let uneven = [vec![disk(40 * MB)], vec![memory(1_000); 9]].concat();
        let between = [vec![memory(MB); 2], vec![disk(40 * MB)], vec![memory(MB)]].concat();
        for (name, pieces, now, pressure, expected) in [
            ("nothing", vec![], soon, Pressure::High, None),
            ("few", vec![disk(MB); 9], soon, Pressure::None, None),
            ("many", vec![disk(MB); 10], soon, Pressure::None, merge(0..10, Target::Disk)),
            ("many small", vec![memory(1_000); 10], soon, Pressure::None, merge(0..10, Target::Memory)),
            ("much in memory", vec![memory(MB); 8], soon, Pressure::None, merge(0..8, Target::Disk)),
            ("old in memory", vec![memory(1); 1], late, Pressure::None, merge(0..1, Target::Disk)),
            ("short of memory", vec![memory(1); 2], soon, Pressure::High, merge(0..2, Target::Disk)),
            ("beside a large one", mixed, soon, Pressure::None, merge(1..11, Target::Disk)),
            ("one large, nine tiny", uneven, soon, Pressure::None, None),
            ("memory on both sides", between, soon, Pressure::High, merge(0..2, Target::Disk)),
            ("yesterday's", vec![disk(MB); 10], next_day, Pressure::None, None),
            ("sealed by size", vec![disk(3 << 30); 10], soon, Pressure::None, None),
            ("in the bucket", vec![Piece { is_away: true, ..disk(MB) }; 10], soon, Pressure::High, None),
        ] {
            assert_eq!(plan(&pieces, now, pressure), expected, "{name}");
        }
    }

    proptest! {
        /// Whatever comes, merging ends, and few segments are left.
        #[test]
        fn merging_settles(sizes in proptest::collection::vec(1_u64..20 * MB, 1..200)) {
            let mut pieces: Vec<Piece> = Vec::new();
            let mut rewritten = 0;
            let total: u64 = sizes.iter().sum();
            for bytes in sizes {
                pieces.push(memory(bytes));
                while let Some(Merge { pieces: run, target }) = plan(&pieces, Timestamp(1), Pressure::None) {
                    let bytes = pieces[run.clone()].iter().map(|piece| piece.bytes).sum();
                    rewritten += bytes;
                    let in_memory = target == Target::Memory;
                    pieces.splice(run, [Piece { in_memory, ..disk(bytes) }]);
                }
            }
            prop_assert!(pieces.len() <= 10 * LEVELS as usize);
            prop_assert!(rewritten <= total * u64::from(LEVELS + 1), "{} of {}", rewritten, total);
        }
    }
}
