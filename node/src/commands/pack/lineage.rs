//! What segments were made of, by the entries about them: whether each came from the log of its shard or from segments that were there
//! until then, and whether each that went went into another one or was deleted for good.
//!
//! An entry is written before the manifest that it speaks of, so the last manifest before a node stops, or before another node writes
//! the shard, may never have come to be. Both are thought through then, and what follows says which it was. Opens no segment: that the
//! entries are true is for `audit replay` and `audit scan`.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::ShardId;

use crate::audit::{Entry, Event};

/// Ways that what happened may have gone, at most, that are thought through at once. Each start of a node adds one, until the next
/// entry that fits one of them alone.
const WORLDS: usize = 16;

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
}

/// What one manifest changed.
#[derive(Clone, Debug)]
struct Group {
    manifest: u64,
    /// Whose ledger says so, and in which run of the node.
    ledger: usize,
    run: u64,
    came: Vec<Came>,
    /// Segments that went, each with its entry.
    went: Vec<(u64, Box<str>)>,
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
                self.change(*shard, *manifest, |group| group.came.push(came));
            }
            Event::SegmentDeleted { shard, manifest, segment } => {
                self.change(*shard, *manifest, |group| group.went.push((entry, segment.clone())));
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
    fn change(&mut self, shard: ShardId, manifest: u64, change: impl FnOnce(&mut Group)) {
        let (run, groups) = (self.run, self.shards.entry(shard).or_default());
        let mut group = Group { manifest, ledger: 0, run, came: Vec::new(), went: Vec::new() };
        while let Some(last) = groups.pop_if(|last| last.manifest >= manifest) {
            if (last.manifest, last.run) == (manifest, run) {
                group = last;
            }
        }
        change(&mut group);
        groups.push(group);
    }
}

/// One way that it may have gone.
#[derive(Clone, Debug, Default)]
struct World {
    /// Manifests that never came to be.
    void: BTreeSet<usize>,
    has_begun: bool,
    is_partial: bool,
    lies: Vec<Lies>,
    /// Last place of the log that a segment holds.
    upto: u64,
    /// Places of the log that no segment ever held.
    gaps: u64,
    wrong: Vec<Wrong>,
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
    fn score(&self) -> (usize, u64, usize) {
        (self.wrong.len(), self.gaps, self.void.len())
    }

    fn apply(&mut self, group: &Group) -> Step {
        let mut step = Step::default();
        let wrong = |entry: u64, why: String| Wrong { ledger: group.ledger, entry, why };
        if !self.has_begun {
            let first = group.came.iter().filter_map(|came| Some(came.places?[0])).min();
            (self.has_begun, self.is_partial) = (true, first != Some(1) || !group.went.is_empty());
            self.upto = first.map_or(0, |first| first.saturating_sub(1));
        }
        let (mut gone, mut is_unknown): (Vec<(u64, Lies)>, bool) = (Vec::new(), false);
        for (entry, id) in &group.went {
            match self.lies.iter().position(|lies| lies.segment == *id) {
                Some(at) => gone.push((*entry, self.lies.swap_remove(at))),
                None if self.is_partial => is_unknown = true,
                None => {
                    self.wrong.push(wrong(*entry, format!("segment {id} goes, and no entry says that it was there")))
                }
            }
        }
        let mut new: Vec<Lies> = Vec::new();
        for came in &group.came {
            let Some([first, last]) = came.places else { continue };
            let id = &came.segment;
            let lies = Lies { segment: id.clone(), first, last, records: came.records };
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
            let held: u64 = inside.iter().map(|lies| lies.records).sum();
            let begins = first.max(self.upto.saturating_add(1));
            let of_the_log = last.saturating_add(1).saturating_sub(begins);
            let most = held.saturating_add(of_the_log);
            let records = came.records;
            let why = if first > last {
                Some(format!("segment {id} ends at place {last}, before it begins"))
            } else if let Some(over) = self.lies.iter().chain(&new).find(|other| meets(other)) {
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
            self.wrong.extend(why.map(|why| wrong(came.entry, why)));
            if of_the_log > 0 {
                self.gaps += begins - self.upto.saturating_add(1);
            }
            if held > came.records {
                step.shrunk.push(came.entry);
            }
            let of = inside.iter().map(|lies| lies.segment.clone()).collect();
            let made = Made { ledger: group.ledger, entry: came.entry, of, of_the_log: of_the_log > 0 };
            step.made.push((id.clone(), made));
            new.push(lies);
        }
        let is_inside = |one: &Lies| new.iter().any(|other| other.first <= one.first && one.last <= other.last);
        let vanished = gone.iter().filter(|(_, lies)| !is_inside(lies));
        step.vanished = vanished.map(|(entry, lies)| (*entry, lies.records)).collect();
        self.upto = new.iter().map(|lies| lies.last).fold(self.upto, u64::max);
        self.lies.extend(new);
        self.lies.sort_unstable_by_key(|lies| lies.first);
        step
    }
}

/// What all ledgers say of the manifests of a shard, in the order of these.
fn in_order(ledgers: &[&Lineage], shard: ShardId) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (ledger, lineage) in ledgers.iter().enumerate() {
        let own = lineage.shards.get(&shard).into_iter().flatten();
        groups.extend(own.map(|group| Group { ledger, ..group.clone() }));
    }
    groups.sort_by_key(|group| group.manifest);
    groups
}

/// The likeliest way that the manifests of a shard went: of those of one number one came to be, or none where the node started again
/// behind it, or another one went on.
fn likeliest(groups: &[Group]) -> World {
    let (mut worlds, mut number) = (vec![World::default()], 0);
    for slot in groups.chunk_by(|one, next| one.manifest == next.manifest) {
        let next = groups.get(number + slot.len());
        let goes_on = |group: &Group| next.is_none_or(|next| (next.ledger, next.run) == (group.ledger, group.run));
        let is_doubtful = !slot.iter().all(goes_on);
        let numbers = number..number + slot.len();
        number = numbers.end;
        if let ([group], [world], false) = (slot, worlds.as_mut_slice(), is_doubtful) {
            world.apply(group);
            continue;
        }
        let mut after = Vec::new();
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

/// What the ledgers of a region's nodes say of its segments. `is_whole` where every node of it is among them; `has_orders` where any
/// erasure was ordered there.
pub(super) fn follow(ledgers: &[&Lineage], is_whole: bool, has_orders: bool) -> Followed {
    let shards: BTreeSet<ShardId> = ledgers.iter().flat_map(|lineage| lineage.shards.keys().copied()).collect();
    let (mut followed, mut vanished, mut shrunk) = (Followed::default(), Vec::new(), None);
    for shard in shards {
        let groups = in_order(ledgers, shard);
        if groups.iter().any(|group| group.came.iter().any(|came| came.places.is_none())) {
            followed.untold += 1;
            continue;
        }
        let void = likeliest(&groups).void;
        let is_lossy = ledgers.iter().any(|lineage| lineage.lossy.contains(&shard));
        let mut world = World::default();
        for (_, group) in groups.iter().enumerate().filter(|(number, _)| !void.contains(number)) {
            let step = world.apply(group);
            followed.made.extend(step.made);
            let gone = step.vanished.into_iter().filter(|_| !is_lossy);
            vanished.extend(gone.map(|(entry, records)| (group.ledger, entry, records)));
            shrunk = shrunk.or_else(|| step.shrunk.first().map(|entry| (group.ledger, *entry)));
        }
        followed.partial += u64::from(world.is_partial);
        followed.wrong.extend(world.wrong);
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
    let due =
        due.values().fold((0, 0), |sum: (u64, u64), one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)));
    let (segments, records) = (vanished.len() as u64, vanished.iter().map(|(_, _, records)| records).sum::<u64>());
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
    let followed = follow(&[&lineage], true, has_orders);
    assert_eq!(followed.untold, 0, "every segment says between which places it lies");
    followed.wrong.into_iter().map(|wrong| format!("entry {}: {}", wrong.entry, wrong.why)).collect()
}

#[cfg(test)]
#[path = "lineage_test.rs"]
mod tests;
