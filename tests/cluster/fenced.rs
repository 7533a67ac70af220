//! One owner in an epoch (OWN-1), as the logs in the store show it and as the nodes of a region say it.
//!
//! A seal in a node's log says from which epoch on another node writes some shards: behind it nothing of an earlier epoch may come but
//! copies of what stood in another log before, as a node makes them that takes a shard over. An object of a log is created where none
//! is, never changed, and they go oldest first; the newest of a log stays.

use std::collections::{BTreeMap, BTreeSet};

use super::logs::{Logs, Part, Said, Written};

/// What was found in logs.
#[derive(Debug, Default)]
pub struct Found {
    /// Seals.
    pub seals: u64,
    /// Batches, copies among them.
    pub batches: u64,
    /// What must not be; empty where all is well.
    pub violations: Vec<String>,
}

/// Judges logs by themselves: nobody writes behind a seal, no place of a log holds two objects, no place of a shard two batches, and
/// nothing is lost.
#[must_use]
pub fn check(logs: &Logs) -> Found {
    let mut found = Found::default();
    objects(logs, &mut found);
    behind_seals(&logs.written, &mut found);
    places_in_logs(&logs.written, &mut found);
    found
}

/// One object at a place, and none lost: neither the newest, for a log that lost it would go on under its number, nor one with batches
/// above another one with batches that is there.
fn objects(logs: &Logs, found: &mut Found) {
    let Logs { written, left } = logs;
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, object) in written.iter().enumerate() {
        let Written { node, number, .. } = object;
        let known = newest.entry(*node).or_default();
        *known = (*known).max(*number);
        let before = at.checked_sub(1).and_then(|before| written.get(before));
        if before.is_some_and(|before| (before.node, before.number) == (*node, *number)) {
            found.violations.push(format!("object {number} of the log of node {node} was two different ones"));
        }
    }
    for (node, number) in newest {
        if left.range((node, number)..=(node, u64::MAX)).next().is_none() {
            found
                .violations
                .push(format!("object {number} of the log of node {node} is lost, and nothing newer is there"));
        }
    }
    // A seal may stay behind what went.
    let batches = written.iter().filter(|object| matches!(object.said, Said::Batches(_)));
    let batches: BTreeSet<(u64, u64)> = batches.map(|object| (object.node, object.number)).collect();
    let mut oldest: BTreeMap<u64, u64> = BTreeMap::new();
    for (node, number) in batches.intersection(left) {
        oldest.entry(*node).or_insert(*number);
    }
    for (node, number) in batches.difference(left) {
        let newer = left.range((*node, *number)..=(*node, u64::MAX)).next();
        if newer.is_some() && oldest.get(node).is_some_and(|oldest| oldest < number) {
            found
                .violations
                .push(format!("object {number} of the log of node {node} is lost, and an older one is there"));
        }
    }
}

fn parts(written: &[Written]) -> impl Iterator<Item = (&Written, &Part)> {
    written.iter().flat_map(|object| {
        let parts = if let Said::Batches(parts) = &object.said { parts.as_slice() } else { &[] };
        parts.iter().map(move |part| (object, part))
    })
}

fn behind_seals(written: &[Written], found: &mut Found) {
    let mut logs: BTreeMap<&Part, BTreeSet<u64>> = BTreeMap::new();
    for (object, part) in parts(written) {
        logs.entry(part).or_default().insert(object.node);
    }
    let mut sealed: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for object in written {
        match &object.said {
            Said::Seal(shards) => {
                found.seals += 1;
                for (shard, epoch) in shards {
                    let known = sealed.entry((object.node, *shard)).or_default();
                    *known = (*known).max(*epoch);
                }
            }
            Said::Batches(parts) => {
                for part in parts {
                    found.batches += 1;
                    let from = sealed.get(&(object.node, part.shard)).copied().unwrap_or_default();
                    if part.epoch < from && logs[part].len() == 1 {
                        found.violations.push(format!(
                            "node {} wrote `{}` of shard {} in epoch {} into object {}, behind the seal of epoch {from}",
                            object.node, part.batch, part.shard, part.epoch, object.number
                        ));
                    }
                }
            }
        }
    }
}

/// No place of a shard lies in two batches, whoever wrote them.
fn places_in_logs(written: &[Written], found: &mut Found) {
    let batches: BTreeSet<&Part> = parts(written).map(|(_, part)| part).filter(|part| part.records > 0).collect();
    let mut by_place: Vec<&Part> = batches.into_iter().collect();
    by_place.sort_by_key(|part| (part.shard, part.first));
    for pair in by_place.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        if one.shard == other.shard && other.first < one.first + one.records {
            found.violations.push(format!(
                "place {} of shard {} was given twice: to `{}` in epoch {} and to `{}` in epoch {}",
                other.first, one.shard, one.batch, one.epoch, other.batch, other.epoch
            ));
        }
    }
}

/// Who has which shard in which epoch, as nodes say it.
#[derive(Debug, Default)]
pub struct Told {
    owners: BTreeMap<(u64, u64), BTreeSet<u64>>,
    newest: BTreeMap<(String, u64), u64>,
    violations: Vec<String>,
}

impl Told {
    /// A node said who has a shard; `asked` names one life of that node, in which it may never go back.
    pub fn note(&mut self, asked: &str, shard: u64, owner: u64, epoch: u64) {
        self.owners.entry((shard, epoch)).or_default().insert(owner);
        let known = self.newest.entry((asked.to_owned(), shard)).or_default();
        if *known > epoch {
            let what = format!("{asked} said that shard {shard} is in epoch {epoch}, after it had said {known}");
            self.violations.push(what);
        }
        *known = (*known).max(epoch);
    }

    /// How many epochs were told of.
    #[must_use]
    pub fn epochs(&self) -> usize {
        self.owners.len()
    }
}

/// Judges logs and what nodes said: each epoch of a shard has one node that writes it, the one that was told; later places are in
/// later epochs; and the log of each owner is closed for the epoch in which another one goes on.
#[must_use]
pub fn owners(logs: &Logs, told: &Told) -> Vec<String> {
    let mut violations = told.violations.clone();
    for ((shard, epoch), owners) in told.owners.iter().filter(|(_, owners)| owners.len() > 1) {
        violations.push(format!("shard {shard} was said to have the owners {owners:?} in epoch {epoch}"));
    }
    let mut lie: BTreeMap<&Part, BTreeSet<u64>> = BTreeMap::new();
    for (object, part) in parts(&logs.written) {
        lie.entry(part).or_default().insert(object.node);
    }
    let mut writers: BTreeMap<(u64, u64), BTreeSet<u64>> = BTreeMap::new();
    for (part, nodes) in &lie {
        let shared = writers.entry((part.shard, part.epoch)).or_insert_with(|| nodes.clone());
        shared.retain(|node| nodes.contains(node));
    }
    // Who wrote in an epoch has all of it in its log; who copied may have all of it as well.
    let mut wrote: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for ((shard, epoch), nodes) in writers {
        let said = told.owners.get(&(shard, epoch)).and_then(|owners| owners.first().copied());
        if nodes.is_empty() {
            violations.push(format!("shard {shard} was written by more than one node in epoch {epoch}"));
        } else if let Some(owner) = said.filter(|owner| !nodes.contains(owner)) {
            violations.push(format!("epoch {epoch} of shard {shard} is node {owner}'s, and {nodes:?} wrote in it"));
        } else if let Some(writer) = said.or_else(|| nodes.first().copied().filter(|_| nodes.len() == 1)) {
            wrote.insert((shard, epoch), writer);
        }
    }
    violations.extend(in_order(lie.keys().copied()));
    violations.extend(closed(&logs.written, &wrote));
    violations
}

/// Places of a shard that come later are in the same epoch or in a later one.
fn in_order<'a>(batches: impl Iterator<Item = &'a Part>) -> Vec<String> {
    let mut in_order: Vec<&Part> = batches.collect();
    in_order.sort_by_key(|part| (part.shard, part.first, part.epoch));
    let back = in_order.windows(2).filter(|pair| pair[0].shard == pair[1].shard && pair[0].epoch > pair[1].epoch);
    let said = |pair: &[&Part]| {
        let (one, other) = (pair[0], pair[1]);
        let Part { shard, first, epoch, .. } = other;
        format!(
            "place {first} of shard {shard} is of epoch {epoch}, and place {} before it of epoch {}",
            one.first, one.epoch
        )
    };
    back.map(said).collect()
}

/// Whoever wrote before another one has a seal of that one's epoch, or of one between, in its log.
fn closed(written: &[Written], wrote: &BTreeMap<(u64, u64), u64>) -> Vec<String> {
    let mut seals: BTreeSet<(u64, u64, u64)> = BTreeSet::new();
    for object in written {
        if let Said::Seal(shards) = &object.said {
            seals.extend(shards.iter().map(|(shard, epoch)| (object.node, *shard, *epoch)));
        }
    }
    let in_order: Vec<_> = wrote.iter().collect();
    let mut open = Vec::new();
    for pair in in_order.windows(2) {
        let [((shard, before), old), ((same, epoch), new)] = pair else { continue };
        if shard != same || old == new {
            continue;
        }
        if seals.range((**old, *shard, before + 1)..=(**old, *shard, *epoch)).next().is_none() {
            open.push(format!(
                "node {new} wrote shard {shard} in epoch {epoch}, and the log of node {old}, which had epoch {before}, was not closed"
            ));
        }
    }
    open
}

/// Each batch under an id lies at one place of its shard, whatever became of it.
#[must_use]
pub fn doubled(logs: &Logs) -> Vec<String> {
    let mut places: BTreeMap<(u64, &str), BTreeSet<u64>> = BTreeMap::new();
    for (_, part) in parts(&logs.written).filter(|(_, part)| !part.batch.is_empty()) {
        places.entry((part.shard, part.batch.as_str())).or_default().insert(part.first);
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|((shard, batch), places)| format!("`{batch}` lies at the places {places:?} of shard {shard}")).collect()
}

/// By shard: how many places were seen in batches, and how many between them were not, from the first place on.
#[must_use]
pub fn places(logs: &Logs) -> BTreeMap<u64, (u64, u64)> {
    let mut ends: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    for (_, part) in parts(&logs.written) {
        ends.entry(part.shard).or_default().insert(part.first, part.first + part.records);
    }
    let count = |batches: BTreeMap<u64, u64>| {
        let (mut next, mut seen) = (1, 0);
        for (first, end) in batches {
            seen += end.saturating_sub(first.max(next));
            next = next.max(end);
        }
        (seen, next - 1 - seen)
    };
    ends.into_iter().map(|(shard, batches)| (shard, count(batches))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(epoch: u64, first: u64, batch: &str) -> Part {
        Part { shard: 7, epoch, first, records: 10, batch: batch.to_owned() }
    }

    fn object(node: u64, number: u64, parts: &[Part]) -> Written {
        Written { node, number, said: Said::Batches(parts.to_vec()) }
    }

    fn seal(node: u64, number: u64, epoch: u64) -> Written {
        Written { node, number, said: Said::Seal(BTreeMap::from([(7, epoch)])) }
    }

    fn logs(written: &[Written]) -> Logs {
        let left = written.iter().map(|object| (object.node, object.number)).collect();
        Logs { written: written.to_vec(), left }
    }

    /// Node 4 wrote, node 5 took it over and copied, node 6 after it.
    fn moved() -> Vec<Written> {
        vec![
            object(4, 1, &[part(1, 1, "a"), part(1, 11, "b")]),
            seal(4, 2, 2),
            object(5, 1, &[part(1, 11, "b"), part(2, 21, "c")]),
            seal(5, 2, 3),
            object(6, 1, &[part(2, 21, "c"), part(3, 31, "d")]),
        ]
    }

    fn told(said: &[(u64, u64)]) -> Told {
        let mut told = Told::default();
        said.iter().for_each(|(epoch, owner)| told.note("a node", 7, *owner, *epoch));
        told
    }

    fn convicted(written: &[Written], said: &[(u64, u64)]) -> Vec<String> {
        owners(&logs(written), &told(said))
    }

    #[test]
    fn owners_that_follow_each_other_are_acquitted() {
        let none = Vec::<String>::new();
        assert_eq!(check(&logs(&moved())).violations, none);
        for said in [&[][..], &[(1, 4), (2, 5), (3, 6)], &[(1, 4), (3, 6), (3, 6)]] {
            assert_eq!(convicted(&moved(), said), none);
        }
        assert_eq!(doubled(&logs(&moved())), none);
        assert_eq!(places(&logs(&moved())), BTreeMap::from([(7, (40, 0))]));
    }

    #[test]
    fn two_nodes_that_write_in_one_epoch_are_convicted() {
        // Each has something that the other has not, in the epoch of one of them.
        let mut doubled = moved();
        doubled.push(object(4, 3, &[part(2, 41, "e")]));
        let found = convicted(&doubled, &[(1, 4), (2, 5), (3, 6)]);
        assert!(found.iter().any(|what| what.contains("written by more than one node in epoch 2")), "{found:?}");
        let said = convicted(&moved(), &[(1, 4), (2, 5), (2, 6)]);
        assert_eq!(said, ["shard 7 was said to have the owners {5, 6} in epoch 2"]);
    }

    #[test]
    fn a_writer_that_is_not_the_owner_that_was_told_is_convicted() {
        let found = convicted(&moved(), &[(1, 4), (2, 5), (3, 4)]);
        assert_eq!(found, ["epoch 3 of shard 7 is node 4's, and {6} wrote in it"]);
    }

    #[test]
    fn a_log_that_nobody_closed_is_convicted() {
        let open: Vec<Written> = moved().into_iter().filter(|object| (object.node, object.number) != (5, 2)).collect();
        let found = convicted(&open, &[(1, 4), (2, 5), (3, 6)]);
        assert!(
            found.len() == 1 && found[0].contains("the log of node 5, which had epoch 2, was not closed"),
            "{found:?}"
        );
    }

    #[test]
    fn an_epoch_that_goes_back_is_convicted_in_places_and_in_what_is_told() {
        let mut back = moved();
        back.push(object(4, 3, &[part(1, 41, "late")]));
        let found = convicted(&back, &[]);
        assert_eq!(found, ["place 41 of shard 7 is of epoch 1, and place 31 before it of epoch 3"]);
        assert_eq!(check(&logs(&back)).violations.len(), 1, "and it lies behind a seal");
        let found = convicted(&moved(), &[(2, 5), (1, 4)]);
        assert_eq!(found, ["a node said that shard 7 is in epoch 1, after it had said 2"]);
        let mut others = Told::default();
        others.note("one", 7, 5, 2);
        others.note("another", 7, 4, 1);
        assert_eq!(owners(&logs(&moved()), &others), Vec::<String>::new(), "another one may not know yet");
    }

    #[test]
    fn a_batch_at_two_places_and_a_place_that_was_not_seen_are_told() {
        let mut twice = moved();
        twice.push(object(6, 2, &[part(3, 51, "a")]));
        assert_eq!(doubled(&logs(&twice)), ["`a` lies at the places {1, 51} of shard 7"]);
        assert_eq!(places(&logs(&twice)), BTreeMap::from([(7, (50, 10))]));
    }
}
