//! What the region's bucket and a node's disk are told of an officer's statement: names, which say everything.

use domicile_proto::ids::ShardId;

use super::tally::{Counts, Mark, WEEK, Writer};
use crate::keys::Day;

/// Something that ends a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// On this day there came too much, and for its week that holds.
    Arrived(Day),
    /// Questions about these days are answered without the statement, for ever.
    Of(Mark),
}

impl Word {
    /// Whether it is a mark of a day.
    pub(super) fn marks(&self, day: Day) -> bool {
        matches!(self, Self::Of((first, last)) if *first <= day && day <= *last)
    }
}

/// What the name of an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What a run of a node had counted of a day.
    Counted(Day, Writer, Counts),
    /// A mark.
    Of(Mark),
}

/// Below which everything of a shard lies.
fn place(shard: ShardId) -> String {
    format!("{PREFIX}/{:016x}", shard.0)
}

/// Where is listed what is to be known today: the marks, and the counts of a week, and of a day more for a clock that is ahead.
pub(super) fn places(shard: ShardId, today: Day) -> Vec<String> {
    let place = place(shard);
    let days = today.0.saturating_sub(WEEK - 1)..=today.0.saturating_add(1);
    days.map(|day| format!("{place}/{day:06}")).chain([format!("{place}/{MARKS}")]).collect()
}

/// The name of a mark.
pub(super) fn mark_name(shard: ShardId, (first, last): Mark) -> String {
    format!("{}/{MARKS}/{:06}-{:06}", place(shard), first.0, last.0)
}

/// The name of what was counted.
pub(super) fn name(shard: ShardId, day: Day, writer: Writer, counts: Counts) -> String {
    let Counts { classified, found, contradicts } = counts;
    let word = if contradicts { CONTRADICTS } else { COUNTS };
    format!("{}/{:06}/{:016x}-{classified}-{found}-{word}", place(shard), day.0, writer.0)
}

/// What the name of an object says; `None` where it is none of ours.
pub(super) fn name_read(shard: ShardId, name: &str) -> Option<Said> {
    let (day, said) = name.strip_prefix(&place(shard))?.strip_prefix('/')?.split_once('/')?;
    if day == MARKS {
        return Some(Said::Of(mark_read(said)?));
    }
    let mut parts = said.split('-');
    let writer = Writer(u64::from_str_radix(parts.next()?, 16).ok()?);
    let (classified, found) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let contradicts = match parts.next()? {
        CONTRADICTS => true,
        COUNTS => false,
        _ => return None,
    };
    let counts = Counts { classified, found, contradicts };
    parts.next().is_none().then_some(Said::Counted(Day(day.parse().ok()?), writer, counts))
}

fn mark_read(said: &str) -> Option<Mark> {
    let (first, last) = said.split_once('-')?;
    Some((Day(first.parse().ok()?), Day(last.parse().ok()?)))
}

/// The name of a note on a disk.
pub(super) fn note_name(shard: ShardId, word: Word) -> String {
    match word {
        Word::Arrived(day) => format!("{:016x}-{:06}", shard.0, day.0),
        Word::Of((first, last)) => format!("{:016x}-{:06}-{:06}", shard.0, first.0, last.0),
    }
}

/// What a note says; `None` where it is none.
pub(super) fn note_read(name: &str) -> Option<(ShardId, Word)> {
    let (shard, said) = name.split_once('-')?;
    let word = if said.contains('-') { Word::Of(mark_read(said)?) } else { Word::Arrived(Day(said.parse().ok()?)) };
    Some((ShardId(u64::from_str_radix(shard, 16).ok()?), word))
}

pub(super) const PREFIX: &str = "stated";
const MARKS: &str = "of";
const CONTRADICTS: &str = "contradicts";
const COUNTS: &str = "counts";
