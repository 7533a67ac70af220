//! Which segments of a shard are merged next: a pure decision over sizes, periods and ages.
//!
//! Only neighbours of one period are merged, so that places and, nearly always, times of the segments of a shard never overlap, the
//! newest records are found without opening the old ones, and what was received on one day goes together. A record is rewritten
//! about once for each tenfold growth, and a small one once more when its period is over.

use std::ops::Range;
use std::time::Duration;

use domicile_proto::ids::Timestamp;

use super::Segment;
use super::roll::{Moment, RollOver, micros};

/// A segment, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: u64,
    pub(crate) docs: u32,
    pub(crate) in_memory: bool,
    /// It lies in the bucket, or is about to be deleted under its id, and is never merged.
    pub(crate) is_away: bool,
    pub(crate) built_at: Timestamp,
    /// In which period its last record was accepted; all of its records were, but for clocks that were put back.
    pub(crate) period: i64,
}

impl Piece {
    /// Of a segment.
    pub(crate) fn of(segment: &Segment, roll: RollOver) -> Self {
        Self {
            bytes: segment.bytes,
            docs: segment.docs,
            in_memory: segment.is_young(),
            is_away: segment.copied.is_some(),
            built_at: segment.built_at,
            period: roll.period(segment.received_until),
        }
    }
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
pub(crate) fn plan(pieces: &[Piece], moment: Moment, pressure: Pressure) -> Option<Merge> {
    flush(pieces, moment, pressure).or_else(|| grow(pieces, moment)).or_else(|| close(pieces, moment))
}

/// Whether nothing that is received later comes into a segment: it is as large as it may be, or its period is over.
pub(crate) fn is_sealed(piece: &Piece, roll: RollOver, now: Timestamp) -> bool {
    piece.is_away || !piece.in_memory && (is_full(piece, roll) || roll.end(piece.period) <= now)
}

const fn is_full(piece: &Piece, roll: RollOver) -> bool {
    piece.bytes >= roll.bytes() || piece.docs >= SEAL_DOCS
}

/// Whether so little fits into a segment that a merge would rewrite it for almost nothing.
fn is_nearly_full(piece: &Piece, roll: RollOver) -> bool {
    piece.bytes >= roll.bytes() / 8 * 7 || piece.docs >= SEAL_DOCS / 8 * 7
}

/// Neighbours in memory that must become durable.
pub(super) fn flush(pieces: &[Piece], moment: Moment, pressure: Pressure) -> Option<Merge> {
    runs(pieces, |piece| piece.in_memory).into_iter().find_map(|run| {
        let members = pieces.get(run.clone())?;
        let bytes: u64 = members.iter().map(|piece| piece.bytes).sum();
        // One that was built later than now was built before the clock was put back, and would wait for it.
        let is_old = |piece: &Piece| {
            piece.built_at > moment.now || moment.now.0.saturating_sub(piece.built_at.0) >= micros(FLUSH_AFTER)
        };
        let is_due = pressure == Pressure::High || members.iter().any(is_old) || bytes >= FLUSH_BYTES;
        is_due.then(|| Merge { pieces: up_to_size(pieces, run, moment.roll), target: Target::Disk })
    })
}

/// Neighbours of about one size that have become many.
fn grow(pieces: &[Piece], moment: Moment) -> Option<Merge> {
    let is_open = |piece: &Piece| {
        !piece.is_away && (piece.in_memory || !is_nearly_full(piece, moment.roll) && !moment.is_over(piece.period))
    };
    (0..LEVELS).find_map(|most| {
        let fits = |piece: &Piece| level(piece.bytes) <= most && is_open(piece);
        runs(pieces, fits).into_iter().filter(|run| run.len() >= FAN_IN).find_map(|run| {
            let run = up_to_size(pieces, run, moment.roll);
            let members = pieces.get(run.clone())?;
            let bytes: u64 = members.iter().map(|piece| piece.bytes).sum();
            let largest = members.iter().map(|piece| piece.bytes).max()?;
            // What is sealed by it is not rewritten again.
            let is_worth_it = members.len() > 1 && (largest <= bytes / 2 || fills(members, moment.roll));
            let in_memory = members.iter().all(|piece| piece.in_memory) && bytes < FLUSH_BYTES;
            let target = if in_memory { Target::Memory } else { Target::Disk };
            is_worth_it.then_some(Merge { pieces: run, target })
        })
    })
}

/// What is left of a period that is over: its small neighbours become one, however few they are.
fn close(pieces: &[Piece], moment: Moment) -> Option<Merge> {
    let is_rest = |piece: &Piece| {
        let is_small = level(piece.bytes) <= REST_LEVEL && !is_full(piece, moment.roll);
        is_small && !piece.is_away && moment.closes(piece.period)
    };
    let runs = runs(pieces, is_rest).into_iter().map(|run| up_to_size(pieces, run, moment.roll));
    runs.into_iter().find(|run| run.len() > 1).map(|pieces| Merge { pieces, target: Target::Disk })
}

/// Runs of neighbours of one period that all fit.
fn runs(pieces: &[Piece], fits: impl Fn(&Piece) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut of = None;
    for (at, piece) in pieces.iter().enumerate().filter(|(_, piece)| fits(piece)) {
        match runs.last_mut() {
            Some(run) if run.end == at && of == Some(piece.period) => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
        of = Some(piece.period);
    }
    runs
}

/// The first of a run that are together as large as a segment may be, and not larger but by one of them.
fn up_to_size(pieces: &[Piece], run: Range<usize>, roll: RollOver) -> Range<usize> {
    let members = pieces.get(run.clone()).unwrap_or_default();
    let filled = (1..members.len()).find(|end| members.get(..*end).is_some_and(|some| fills(some, roll)));
    filled.map_or_else(|| run.clone(), |length| run.start..run.start + length)
}

/// Whether what these become is sealed by its size.
fn fills(members: &[Piece], roll: RollOver) -> bool {
    let bytes: u64 = members.iter().map(|piece| piece.bytes).sum();
    let docs: u64 = members.iter().map(|piece| u64::from(piece.docs)).sum();
    bytes >= roll.bytes() || docs >= u64::from(SEAL_DOCS)
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

/// Neighbours of a level that are merged: the higher, the less is rewritten and the more segments a search visits.
const FAN_IN: usize = 10;
/// Largest segment of the lowest level, in bytes: less than the engine writes for one record. Were small ones of one level, they
/// would wait until they are together as large as the largest of them, by the hundred.
const LEVEL_BYTES: u64 = 2_621;
/// Levels: that times ten to the eighth is beyond the 50 GB of a segment.
const LEVELS: u32 = 9;
/// Up to this level, 25 MiB, segments are a rest: where a period is over they become one, which costs less than what it spares
/// every search after it.
const REST_LEVEL: u32 = 4;
/// Neighbours in memory that are due for the disk, in bytes.
const FLUSH_BYTES: u64 = 8 << 20;
/// Longest a record lies in the write-ahead log alone.
const FLUSH_AFTER: Duration = Duration::from_secs(60);
/// A segment of so many records is sealed: what is hidden, found by id, or made anew in it counts records, not bytes. With less
/// than 2.5 KB stored for each this comes before 50 GB; the engine would take 2 to the 31.
const SEAL_DOCS: u32 = 20_000_000;

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
