//! What segments were made of, by the entries about them: whether each came from the log of its shard or from segments that were there
//! until then, and whether each that went went into another one or was deleted for good.
//!
//! An entry is written before the manifest that it speaks of, so the last manifest before a node stops, or before another node writes
//! the shard, may never have come to be. Both are thought through then, and what follows says which it was. And a manifest may have come to
//! be of which no ledger here tells: another node made it whose ledger is lost, or the disk of the ledger was full. Its number is missing then,
//! and what does not fit behind it is told to be looked at, and is not wrong. Opens no segment: that the entries are true is for `audit
//! replay` and `audit scan`.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::{ShardId, Timestamp};

use crate::audit::{Entry, Event};

/// Ways that what happened may have gone, at most, that are thought through at once. Each start of a node doubles them, until the
/// next entry that fits one of two alone.
const WORLDS: usize = 64;

/// What one ledger says of segments.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    shards: BTreeMap<ShardId, Vec<Group>>,
    /// Starts of the node until now.
    run: u64,
    /// Segments and records that were to be deleted at the end of their retention, by deletion.
    due: BTreeMap<Box<str>, (u64, u64)>,
    /// Shards that were taken over with a loss.
    lossy: BTreeSet<ShardId>,
    /// Whether an entry said between which places a segment lies, and the first behind it that did not.
    is_told: bool,
    fell_silent: Option<u64>,
}

/// What one manifest changed.
#[derive(Clone, Debug, Default)]
struct Group {
    manifest: u64,
    /// Whose ledger says so, and in which run of the node.
    ledger: usize,
    run: u64,
    /// When, by the newest of its entries.
    at: Timestamp,
    /// Whether the same run told of a later one, and so knew that it had come to be.
    is_sure: bool,
    came: Vec<Came>,
    /// Segments that went, each with its entry.
    went: Vec<(u64, Box<str>)>,
    /// Segments that went to the archive.
    archived: Vec<Box<str>>,
}

#[derive(Clone, Debug)]
struct Came {
    entry: u64,
    segment: Box<str>,
    records: u64,
    places: Option<[u64; 2]>,
}

/// A segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lies {
    segment: Box<str>,
    first: u64,
    last: u64,
    records: u64,
    /// Whether it was in the archive: its neighbours may have become one across it.
    was_archived: bool,
}

/// Something that cannot be: whose ledger, which entry, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) ledger: usize,
    pub(super) entry: u64,
    pub(super) why: String,
}

/// What a segment was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) ledger: usize,
    pub(super) entry: u64,
    /// Segments that were there until then.
    pub(super) of: Vec<Box<str>>,
    /// Whether records came from the log as well.
    pub(super) of_the_log: bool,
}

/// What the entries of a region come to.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) wrong: Vec<Wrong>,
    /// Every segment that came, with what it was made of.
    pub(super) made: BTreeMap<Box<str>, Made>,
    /// What does not fit, behind a manifest of which no ledger here tells.
    pub(super) doubtful: Vec<Wrong>,
    /// Shards of which entries do not say what was made of what, for an earlier build wrote them.
    pub(super) untold: u64,
    /// Shards of which the beginning is in no ledger here.
    pub(super) partial: u64,
}

impl Lineage {
    /// One more entry.
    pub(super) fn take(&mut self, entry: u64, told: &Entry) {
        match &told.event {
            Event::NodeStarted { .. } => self.run += 1,
            Event::SegmentPublished { shard, manifest, segment, records, places, .. } => {
                let came = Came { entry, segment: segment.clone(), records: *records, places: *places };
                if places.is_none() && self.is_told {
                    self.fell_silent.get_or_insert(entry);
                }
                self.is_told |= places.is_some();
                self.change(*shard, *manifest, told.at, |group| group.came.push(came));
            }
            Event::SegmentDeleted { shard, manifest, segment } => {
                self.change(*shard, *manifest, told.at, |group| group.went.push((entry, segment.clone())));
            }
            Event::SegmentMoved { shard, manifest, segment, to, .. } if &**to == "archive" => {
                self.change(*shard, *manifest, told.at, |group| group.archived.push(segment.clone()));
            }
            Event::RetentionBegun { deletion, segments, records, .. } => {
                let due = self.due.entry(deletion.clone()).or_default();
                *due = (due.0.max(*segments), due.1.max(*records));
            }
            Event::ShardAdopted { shard, lost, .. } if *lost > 0 => {
                self.lossy.insert(*shard);
            }
            _ => {}
        }
    }

    /// Adds to what is known of a manifest. Told of again after a start, it and what followed never came to be the first time.
    fn change(&mut self, shard: ShardId, manifest: u64, at: Timestamp, change: impl FnOnce(&mut Group)) {
        let (run, groups) = (self.run, self.shards.entry(shard).or_default());
        let mut group = Group { manifest, run, at, ..Group::default() };
        while let Some(last) = groups.pop_if(|last| last.manifest >= manifest) {
            if (last.manifest, last.run) == (manifest, run) {
                group = last;
            }
        }
        group.at = group.at.max(at);
        change(&mut group);
        if let Some(before) = groups.last_mut() {
            before.is_sure |= before.run == run;
        }
        groups.push(group);
    }
}

/// One way that it may have gone.
#[derive(Clone, Debug, Default)]
struct World {
    /// Manifests that never came to be.
    void: BTreeSet<usize>,
    /// The number of the last one that did.
    before: Option<u64>,
    is_partial: bool,
    /// Whether a number is missing before, so that a manifest may have come to be of which nobody tells.
    may_lack: bool,
    lies: Vec<Lies>,
    /// Last place of the log that a segment holds.
    upto: u64,
    /// Places of the log that no segment ever held.
    gaps: u64,
    wrong: Vec<Wrong>,
    /// What would be wrong if every manifest were told of.
    doubtful: Vec<Wrong>,
}

/// What one manifest did, in one world.
#[derive(Default)]
struct Step {
    made: Vec<(Box<str>, Made)>,
    /// Segments of which nothing was made: entry, records.
    vanished: Vec<(u64, u64)>,
    /// Entries that left records out of what they were made of.
    shrunk: Vec<u64>,
}

impl World {
    /// The less is wrong the likelier it is; and a log has no gaps.
    fn score(&self) -> (usize, usize, u64, usize) {
        (self.wrong.len(), self.doubtful.len(), self.gaps, self.void.len())
    }

    /// What does not fit.
    fn tell(&mut self, wrong: Wrong) {
        if self.may_lack { self.doubtful.push(wrong) } else { self.wrong.push(wrong) }
    }

    /// Whether a manifest may have come to be between the last one and this.
    fn begin(&mut self, group: &Group) {
        match self.before.replace(group.manifest) {
            None => {
                let first = group.came.iter().filter_map(|came| Some(came.places?[0])).min();
                self.is_partial = first != Some(1) || !group.went.is_empty();
                self.upto = first.map_or(0, |first| first.saturating_sub(1));
            }
            Some(before) => self.may_lack |= group.manifest != before.saturating_add(1),
        }
    }

    fn apply(&mut self, group: &Group) -> Step {
        let mut step = Step::default();
        self.begin(group);
        let wrong = |entry: u64, why: String| Wrong { ledger: group.ledger, entry, why };
        let (mut gone, mut is_unknown): (Vec<(u64, Lies)>, bool) = (Vec::new(), false);
        for (entry, id) in &group.went {
            match self.lies.iter().position(|lies| lies.segment == *id) {
                Some(at) => gone.push((*entry, self.lies.swap_remove(at))),
                None => {
                    is_unknown = true;
                    if !self.is_partial {
                        self.tell(wrong(*entry, format!("segment {id} goes, and no entry says that it was there")));
                    }
                }
            }
        }
        let mut new: Vec<Lies> = Vec::new();
        let mut came: Vec<(&Came, [u64; 2])> =
            group.came.iter().filter_map(|came| Some((came, came.places?))).collect();
        came.sort_by_key(|(_, places)| *places);
        for (came, [first, last]) in came {
            let (id, records) = (&came.segment, came.records);
            let lies = Lies { segment: id.clone(), first, last, records, was_archived: false };
            // Told of twice: the manifest came to be, and the one after a crash named it again.
            if self.lies.contains(&lies) {
                continue;
            }
            let meets = |other: &Lies| first <= other.last && other.first <= last;
            let (inside, cut): (Vec<&Lies>, Vec<&Lies>) = gone
                .iter()
                .map(|(_, lies)| lies)
                .filter(|lies| meets(lies))
                .partition(|lies| first <= lies.first && lies.last <= last);
            let held = inside.iter().fold(0, |sum: u64, lies| sum.saturating_add(lies.records));
            let begins = first.max(self.upto.saturating_add(1));
            let of_the_log = last.saturating_add(1).saturating_sub(begins);
            let most = held.saturating_add(of_the_log);
            let over = self.lies.iter().chain(&new).find(|other| meets(other) && !other.was_archived);
            let why = if first > last {
                Some(format!("segment {id} ends at place {last}, before it begins"))
            } else if let Some(over) = over {
                Some(format!("segment {id} has places {first} to {last}, where segment {} still lies", over.segment))
            } else if let Some(cut) = cut.first() {
                Some(format!("segment {id} was made of a part of segment {}, and the rest is nowhere", cut.segment))
            } else if is_unknown || records <= most {
                None
            } else if most == 0 {
                Some(format!(
                    "segment {id} has {records} records of places {first} to {last}, where nothing lay any more"
                ))
            } else {
                Some(format!("segment {id} has {records} records, and what it was made of had {most}"))
            };
            if of_the_log > 0 {
                self.gaps = self.gaps.saturating_add(begins - self.upto.saturating_add(1));
                self.upto = last;
            }
            if held > records {
                step.shrunk.push(came.entry);
            }
            let of = inside.iter().map(|lies| lies.segment.clone()).collect();
            step.made
                .push((id.clone(), Made { ledger: group.ledger, entry: came.entry, of, of_the_log: of_the_log > 0 }));
            if let Some(why) = why {
                self.tell(wrong(came.entry, why));
                // Of what it lies over one thing is told, and not again with every segment that is made of both.
                self.lies.retain(|other| !meets(other) || other.was_archived);
            }
            new.push(lies);
        }
        let is_inside = |one: &Lies| new.iter().any(|other| other.first <= one.first && one.last <= other.last);
        let vanished = gone.iter().filter(|(_, lies)| !is_inside(lies));
        step.vanished = vanished.map(|(entry, lies)| (*entry, lies.records)).collect();
        self.lies.extend(new);
        self.lies.sort_unstable_by_key(|lies| lies.first);
        for lies in self.lies.iter_mut().filter(|lies| group.archived.contains(&lies.segment)) {
            lies.was_archived = true;
        }
        step
    }
}

/// What all ledgers say of the manifests of a shard, in the order of these.
fn in_order(ledgers: &[&Lineage], shard: ShardId, until: Timestamp) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (ledger, lineage) in ledgers.iter().enumerate() {
        let own = lineage.shards.get(&shard).into_iter().flatten();
        groups.extend(own.map(|group| Group { ledger, ..group.clone() }));
    }
    groups.sort_by_key(|group| group.manifest);
    // What is younger than the first copy may be in one ledger and not in another one.
    let whole = groups.iter().take_while(|group| group.at <= until).count();
    groups.truncate(whole);
    groups
}

/// The likeliest way that the manifests of a shard went: of those of one number one came to be, or none where the node started again
/// behind it, or another one went on.
fn likeliest(groups: &[Group]) -> World {
    let (mut worlds, mut number) = (vec![World::default()], 0);
    for slot in groups.chunk_by(|one, next| one.manifest == next.manifest) {
        let next = groups.get(number + slot.len());
        let is_certain = |group: &Group| {
            group.is_sure || next.is_none_or(|next| (next.ledger, next.run) == (group.ledger, group.run))
        };
        let is_doubtful = !slot.iter().all(is_certain);
        let numbers = number..number + slot.len();
        number = numbers.end;
        let mut after = Vec::new();
        if let ([group], false) = (slot, is_doubtful) {
            for world in &mut worlds {
                world.apply(group);
            }
            after = std::mem::take(&mut worlds);
        }
        for world in worlds {
            let ways = numbers.clone().zip(slot).map(Some).chain(is_doubtful.then_some(None));
            after.extend(ways.map(|way| {
                let mut world = world.clone();
                let came_to_be = way.map(|(number, _)| number);
                world.void.extend(numbers.clone().filter(|number| Some(*number) != came_to_be));
                if let Some((_, group)) = way {
                    world.apply(group);
                }
                world
            }));
        }
        after.sort_by_key(World::score);
        // What fits worse than another way is not how it went.
        let fits = |world: &World| (world.wrong.len(), world.doubtful.len(), world.gaps);
        let best = after.first().map(fits);
        after.retain(|world| Some(fits(world)) == best);
        worlds = Vec::new();
        for world in after {
            let is_same = |other: &World| (other.upto, &other.lies) == (world.upto, &world.lies);
            if worlds.len() < WORLDS && !worlds.iter().any(is_same) {
                worlds.push(world);
            }
        }
    }
    worlds.into_iter().min_by_key(World::score).unwrap_or_default()
}

/// What the ledgers of a region's nodes say of its segments up to a moment. `is_whole` where every node of it is among them; `has_orders`
/// where any erasure was ordered there.
pub(super) fn follow(ledgers: &[&Lineage], until: Timestamp, is_whole: bool, has_orders: bool) -> Followed {
    let shards: BTreeSet<ShardId> = ledgers.iter().flat_map(|lineage| lineage.shards.keys().copied()).collect();
    let (mut followed, mut vanished, mut shrunk) = (Followed::default(), Vec::new(), None);
    for (ledger, entry) in ledgers.iter().enumerate().filter_map(|(ledger, one)| Some((ledger, one.fell_silent?))) {
        let why = "it does not say between which places the segment lies, and one before it does".to_owned();
        followed.wrong.push(Wrong { ledger, entry, why });
    }
    for shard in shards {
        let groups = in_order(ledgers, shard, until);
        if groups.iter().any(|group| group.came.iter().any(|came| came.places.is_none())) {
            followed.untold += 1;
            continue;
        }
        let void = likeliest(&groups).void;
        let is_lossy = ledgers.iter().any(|lineage| lineage.lossy.contains(&shard));
        let mut world = World::default();
        let real: Vec<&Group> =
            groups.iter().enumerate().filter(|(number, _)| !void.contains(number)).map(|(_, group)| group).collect();
        for (number, group) in real.iter().enumerate() {
            let step = world.apply(group);
            followed.made.extend(step.made);
            // Of what was told in part, before the node stopped, nobody knows the rest.
            let goes_on = |next: &&Group| (next.ledger, next.run) == (group.ledger, group.run);
            if !is_lossy && real.get(number + 1).is_none_or(goes_on) {
                vanished.extend(step.vanished.into_iter().map(|(entry, records)| (group.ledger, entry, records)));
            }
            shrunk = shrunk.or_else(|| step.shrunk.first().map(|entry| (group.ledger, *entry)));
        }
        followed.partial += u64::from(world.is_partial);
        followed.wrong.extend(world.wrong);
        followed.doubtful.extend(world.doubtful);
    }
    if let Some((ledger, entry)) = shrunk.filter(|_| is_whole && !has_orders) {
        let why = "it has fewer records than what it was made of, and nobody was erased".to_owned();
        followed.wrong.push(Wrong { ledger, entry, why });
    }
    let mut due: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (deletion, (segments, records)) in ledgers.iter().flat_map(|lineage| &lineage.due) {
        let most = due.entry(deletion).or_default();
        *most = (most.0.max(*segments), most.1.max(*records));
    }
    let add = |sum: (u64, u64), one: (u64, u64)| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1));
    let due = due.into_values().fold((0, 0), add);
    let (segments, records) = vanished.iter().map(|(_, _, records)| (1, *records)).fold((0, 0), add);
    if let Some((ledger, entry, _)) = vanished.last().filter(|_| is_whole && (segments > due.0 || records > due.1)) {
        let why = format!(
            "with this {segments} segments with {records} records went for good, and {} with {} were to go at the end of their retention",
            due.0, due.1
        );
        followed.wrong.push(Wrong { ledger: *ledger, entry: *entry, why });
    }
    followed
}

/// What is wrong with the segments of a node's ledger; for tests of what writes it.
#[cfg(test)]
pub(crate) fn wrong_in(entries: &[Entry]) -> Vec<String> {
    let mut lineage = Lineage::default();
    (1..).zip(entries).for_each(|(number, entry)| lineage.take(number, entry));
    let has_orders = entries.iter().any(|entry| matches!(entry.event, Event::ErasureRequested { .. }));
    let followed = follow(&[&lineage], Timestamp(i64::MAX), true, has_orders);
    assert_eq!(followed.untold, 0, "every segment says between which places it lies");
    let told = followed.wrong.into_iter().chain(followed.doubtful);
    told.map(|wrong| format!("entry {}: {}", wrong.entry, wrong.why)).collect()
}

#[cfg(test)]
#[path = "lineage_test.rs"]
mod tests;
