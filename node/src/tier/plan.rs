//! Where every segment should lie, and why: a pure decision over ages, what lies there, holds and room on the disk.
//!
//! An age counts from receipt and never from the time that a producer wrote: a segment is as old as the last record that can be
//! inside, so nothing moves early. A legal hold keeps a segment: it is never deleted, and may lie in the bucket,
//! where it is searched as before. What hides erased records stays until it was made anew. Reads and moves nothing.

use std::collections::BTreeMap;

use domicile_proto::ids::{Name, ShardId, StreamId, TenantId, Timestamp};

use crate::segment::SegmentId;

/// When the records of a shard reach which tier, in days since receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) tenant: TenantId,
    pub(crate) stream: StreamId,
    pub(crate) name: Name,
    pub(crate) shard: ShardId,
    pub(crate) warm_after: u32,
    pub(crate) cold_after: u32,
    /// Since receipt; one that would be deleted by then never comes there.
    pub(crate) archive_after: u32,
    /// Days in the archive; none means until `delete_after`.
    pub(crate) archive_for: Option<u32>,
    pub(crate) delete_after: u32,
}

impl Rule {
    /// No tier before an earlier one.
    fn in_order(&self) -> (u32, u32, u32) {
        let cold = self.cold_after.max(self.warm_after);
        (self.warm_after, cold, self.archive_after.max(cold))
    }
}

/// A hold on everything of some streams.
#[derive(Clone, Debug)]
pub(crate) struct StreamHold {
    pub(crate) id: Box<str>,
    pub(crate) tenant: TenantId,
    /// None means all of the tenant.
    pub(crate) streams: Option<Vec<StreamId>>,
}

impl StreamHold {
    /// Whether a stream of a tenant is held.
    pub(crate) fn concerns(&self, tenant: TenantId, stream: StreamId) -> bool {
        self.tenant == tenant && self.streams.as_ref().is_none_or(|streams| streams.contains(&stream))
    }
}

/// Where a segment lies, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// On the disk, and may still be merged.
    Hot,
    /// On the disk, and nothing of its day is left to merge it with.
    Warm,
    /// In the bucket alone.
    Cold,
    /// In the archive; a copy may lie in the bucket for a while.
    Archived,
}

impl Place {
    /// As it is told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Archived => "archived",
        }
    }
}

/// What the archive says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InArchive {
    pub(crate) since: Timestamp,
    /// Until when somebody wants a copy of it searched.
    pub(crate) wanted_until: Option<Timestamp>,
    /// Whether there is one.
    pub(crate) is_restored: bool,
}

/// A durable segment, as far as the plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lying {
    pub(crate) segment: SegmentId,
    pub(crate) shard: ShardId,
    pub(crate) records: u32,
    pub(crate) bytes: u64,
    /// All that is inside was received before.
    pub(crate) received_until: Timestamp,
    /// First place in the shard.
    pub(crate) first_seq: u64,
    pub(crate) place: Place,
    /// Whether it hides records that were erased and are not gone yet.
    pub(crate) is_hiding: bool,
    /// Of one in the archive.
    pub(crate) archive: Option<InArchive>,
}

/// Room for segments on this node's disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Above it, the oldest go to the bucket.
    pub(crate) mark: u64,
    /// Down to this.
    pub(crate) down_to: u64,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// It becomes read-only, merged with the others of its day.
    Warm,
    /// It is copied into the bucket, and its files leave the disk.
    Cool,
    /// It is copied into the archive, and is searched no more.
    Archive,
    /// A copy of it comes back from the archive and is searched.
    Restore,
    /// Its copy goes; it stays in the archive.
    LetGo,
    /// It is deleted for good. Retention does this, with evidence of its own.
    Delete,
}

impl Action {
    /// As it is told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cool => "cold",
            Self::Archive => "archive",
            Self::Restore => "restored",
            Self::LetGo => "archived",
            Self::Delete => "delete",
        }
    }
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was received so many days ago, and the policy says this.
    Age { days: u32, after: u32 },
    /// It came into the archive so many days ago, and is kept there for this many.
    Validity { days: u32, after: u32 },
    /// Somebody wants a copy of it until then.
    Wanted { until: Timestamp },
    /// Nobody wants its copy any more.
    Expired,
    /// The disk holds so many bytes of segments, and may hold this many.
    Watermark { used: u64, mark: u64 },
    /// It would be, and a legal hold keeps it.
    Held(Box<str>),
    /// It would be, and erased records go first.
    Erasing,
}

/// A segment that should lie elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) lying: Lying,
    pub(crate) tenant: TenantId,
    pub(crate) name: Name,
    pub(crate) action: Action,
    pub(crate) why: Why,
}

impl Move {
    /// Whether something is to be done, and not only told of.
    pub(crate) const fn is_due(&self) -> bool {
        !matches!(self.why, Why::Held(_) | Why::Erasing)
    }
}

/// What should happen to which segment, the oldest first. A stream that the policy does not know is never planned. The order of
/// the arguments means nothing.
pub(crate) fn plan(
    rules: &[Rule],
    lying: &[Lying],
    holds: &[StreamHold],
    room: Option<Room>,
    now: Timestamp,
) -> Vec<Move> {
    let by_shard: BTreeMap<ShardId, &Rule> = rules.iter().map(|rule| (rule.shard, rule)).collect();
    let known = lying.iter().filter_map(|lying| Some((lying, *by_shard.get(&lying.shard)?)));
    let mut moves: Vec<Move> = known.filter_map(|(lying, rule)| of_age(rule, lying, holds, now)).collect();
    if let Some(room) = room {
        below_the_mark(&by_shard, lying, room, &mut moves);
    }
    moves.sort_by_key(|one| age_order(&one.lying));
    moves
}

/// When a period that began at a moment is over: at the first midnight after so many days, since originals lose their keys
/// by whole days and go together with their records.
pub(crate) fn end_of(from: Timestamp, days: u32) -> Timestamp {
    let end = from.0.saturating_add(i64::from(days).saturating_mul(DAY));
    Timestamp(end.div_euclid(DAY).saturating_add(1).saturating_mul(DAY))
}

/// A day, in microseconds.
pub(crate) const DAY: i64 = 86_400 * Timestamp::MICROS;

/// When the time of a segment in the archive is over; none where its retention alone ends it.
pub(crate) fn end_in_archive(since: Timestamp, archive_for: Option<u32>) -> Option<Timestamp> {
    archive_for.map(|days| end_of(since, days))
}

/// The furthest move that the age of a segment, or somebody's wish, asks for.
fn of_age(rule: &Rule, lying: &Lying, holds: &[StreamHold], now: Timestamp) -> Option<Move> {
    let held = holds.iter().find(|hold| hold.concerns(rule.tenant, rule.stream)).map(|hold| hold.id.clone());
    let mut kept = None;
    for (action, why) in steps(rule, lying, now) {
        // What is held stays, and stays where it can be searched.
        let is_held = matches!(action, Action::Delete | Action::Archive);
        let why = match &held {
            Some(hold) if is_held => Why::Held(hold.clone()),
            _ if lying.is_hiding && matches!(action, Action::Archive | Action::Cool | Action::Warm) => Why::Erasing,
            _ => why,
        };
        let one = Move { lying: *lying, tenant: rule.tenant, name: rule.name.clone(), action, why };
        if one.is_due() {
            return Some(one);
        }
        // A step that is held is told of, where no lesser one is due.
        kept = kept.or(Some(one));
    }
    kept
}

/// What would be due if nothing held it, the furthest first.
fn steps(rule: &Rule, lying: &Lying, now: Timestamp) -> Vec<(Action, Why)> {
    let days = days_since(lying.received_until, now);
    let (warm, cold, archive) = rule.in_order();
    let age = |after| Why::Age { days, after };
    let mut steps = Vec::new();
    if end_of(lying.received_until, rule.delete_after) <= now {
        steps.push((Action::Delete, age(rule.delete_after)));
    }
    if let Some(InArchive { since, wanted_until, is_restored }) = lying.archive {
        if end_in_archive(since, rule.archive_for).is_some_and(|end| end <= now) {
            let after = rule.archive_for.unwrap_or_default();
            steps.push((Action::Delete, Why::Validity { days: days_since(since, now), after }));
        }
        match wanted_until.filter(|until| *until > now) {
            Some(until) if !is_restored => steps.push((Action::Restore, Why::Wanted { until })),
            None if is_restored => steps.push((Action::LetGo, Why::Expired)),
            _ => {}
        }
        return steps;
    }
    // From the disk it goes to the bucket first.
    if lying.place == Place::Cold && days >= archive && archive < rule.delete_after {
        steps.push((Action::Archive, age(archive)));
    }
    if lying.place < Place::Cold && days >= cold {
        steps.push((Action::Cool, age(cold)));
    }
    if lying.place < Place::Warm && days >= warm {
        steps.push((Action::Warm, age(warm)));
    }
    steps
}

/// More room: the oldest segments of the disk, until what is left is not above the mark. What goes anyway counts as gone.
fn below_the_mark(rules: &BTreeMap<ShardId, &Rule>, lying: &[Lying], room: Room, moves: &mut Vec<Move>) {
    let on_disk = |lying: &&Lying| lying.place < Place::Cold;
    let used: u64 = lying.iter().filter(on_disk).map(|lying| lying.bytes).sum();
    let goes = |lying: &Lying, moves: &[Move]| {
        moves.iter().any(|one| one.lying.segment == lying.segment && one.is_due() && one.action > Action::Warm)
    };
    let mut left = used;
    for gone in lying.iter().filter(on_disk).filter(|lying| goes(lying, moves)) {
        left = left.saturating_sub(gone.bytes);
    }
    if left <= room.mark {
        return;
    }
    let mut oldest: Vec<&Lying> = lying.iter().filter(on_disk).filter(|lying| !goes(lying, moves)).collect();
    oldest.sort_by_key(|lying| age_order(lying));
    for lying in oldest {
        if left <= room.down_to.min(room.mark) {
            break;
        }
        let Some(rule) = rules.get(&lying.shard).filter(|_| !lying.is_hiding) else { continue };
        left = left.saturating_sub(lying.bytes);
        moves.retain(|one| one.lying.segment != lying.segment);
        let why = Why::Watermark { used, mark: room.mark };
        let (tenant, name) = (rule.tenant, rule.name.clone());
        moves.push(Move { lying: *lying, tenant, name, action: Action::Cool, why });
    }
}

fn days_since(from: Timestamp, now: Timestamp) -> u32 {
    u32::try_from(now.0.saturating_sub(from.0).max(0) / DAY).unwrap_or(u32::MAX)
}

const fn age_order(lying: &Lying) -> (i64, ShardId, u64, SegmentId) {
    (lying.received_until.0, lying.shard, lying.first_seq, lying.segment)
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
