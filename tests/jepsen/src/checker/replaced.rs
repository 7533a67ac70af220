//! A machine that is lost for good: whoever came in its place votes, and whoever is lost does not; what the lost one wrote is
//! written by somebody else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Verdict;

/// A machine that was lost, and who came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its region.
    pub region: String,
    /// Number of the node that was on it.
    pub lost: u64,
    /// Number of the node that came in its place.
    pub newcomer: u64,
    /// How many streams of this run the lost one wrote.
    pub wrote: u64,
}

impl Machine {
    /// The lost one, as ledgers name it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.region, self.lost)
    }
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// In the order in which they were lost.
    pub machines: Vec<Machine>,
    /// By node: who votes in the end, as it says.
    pub voters: BTreeMap<String, BTreeSet<u64>>,
    /// By stream of this run: who writes it in the end.
    pub owners: BTreeMap<String, u64>,
    /// Whether the streams of this run lie in what several nodes share.
    pub is_shared: bool,
}

impl Replaced {
    /// The nodes that are gone for good, as ledgers name them.
    pub fn lost(&self) -> BTreeSet<String> {
        self.machines.iter().map(Machine::name).collect()
    }

    /// Whether everybody says that the newcomers vote and the lost ones do not, and, where something is shared, it is known who
    /// writes it and that is no lost one.
    pub fn is_settled(&self) -> bool {
        let is_lost = |owner: &u64| self.machines.iter().any(|machine| machine.lost == *owner);
        let is_handed_on = !self.owners.is_empty() && !self.owners.values().any(is_lost);
        wrong_votes(self).is_empty() && (is_handed_on || !self.is_shared)
    }
}

/// Judges.
pub fn check(found: &Replaced) -> Verdict {
    let mut verdict = Verdict::new("replaced");
    verdict.count("machines lost and replaced", found.machines.len() as u64);
    verdict.count("nodes that say who votes", found.voters.len() as u64);
    let wrote: u64 = found.machines.iter().map(|machine| machine.wrote).sum();
    if found.machines.is_empty() {
        verdict.violation("void: no machine was lost and replaced".to_owned());
    }
    if found.voters.is_empty() {
        verdict.violation("void: nobody says who votes".to_owned());
    }
    wrong_votes(found).into_iter().for_each(|what| verdict.violation(what));
    if found.is_shared {
        verdict.count("streams that a lost node wrote", wrote);
        if wrote == 0 && !found.machines.is_empty() {
            verdict.violation("void: no lost node wrote anything".to_owned());
        }
        if found.owners.is_empty() {
            verdict.violation("void: nobody says who writes".to_owned());
        }
    }
    for (stream, owner) in &found.owners {
        if found.machines.iter().any(|machine| machine.lost == *owner) {
            verdict.violation(format!("`{stream}` lies with node {owner}, whose machine is lost"));
        }
    }
    verdict
}

fn wrong_votes(found: &Replaced) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_lost = |node: u64| found.machines.iter().any(|machine| machine.lost == node);
    for Machine { lost, newcomer, .. } in &found.machines {
        for (node, voters) in &found.voters {
            if voters.contains(lost) {
                wrong.push(format!("`{node}` says that node {lost} votes, whose machine is lost"));
            }
            // One that came and was lost in its turn has its own newcomer.
            if !voters.contains(newcomer) && !is_lost(*newcomer) {
                wrong.push(format!("`{node}` says that newcomer {newcomer} does not vote"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(lost: u64, newcomer: u64, wrote: u64) -> Machine {
        Machine { region: "tokyo".to_owned(), lost, newcomer, wrote }
    }

    fn replaced() -> Replaced {
        let voters = |name: &str| (name.to_owned(), BTreeSet::from([2, 3, 12]));
        Replaced {
            machines: vec![machine(1, 11, 1), machine(11, 12, 0)],
            voters: BTreeMap::from([voters("tokyo"), voters("frankfurt")]),
            owners: BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 12)]),
            is_shared: true,
        }
    }

    fn convicted(change: impl FnOnce(&mut Replaced)) -> Vec<String> {
        let mut found = replaced();
        change(&mut found);
        check(&found).violations
    }

    #[test]
    fn newcomers_that_vote_and_write_are_acquitted() {
        assert_eq!(check(&replaced()).violations, Vec::<String>::new());
        assert_eq!(replaced().lost(), BTreeSet::from(["tokyo/1".to_owned(), "tokyo/11".to_owned()]));
        assert!(replaced().is_settled());
    }

    #[test]
    fn nothing_is_settled_while_somebody_lost_votes_or_writes_or_nobody_says_who_writes() {
        let is_settled = |change: fn(&mut Replaced)| {
            let mut found = replaced();
            change(&mut found);
            found.is_settled()
        };
        assert!(!is_settled(|found| drop(found.voters.insert("tokyo".to_owned(), BTreeSet::from([1, 2, 12])))));
        assert!(!is_settled(|found| found.owners.extend([("a".to_owned(), 11)])));
        assert!(!is_settled(|found| found.owners.clear()));
        assert!(is_settled(|found| (found.is_shared, found.owners) = (false, BTreeMap::new())));
    }

    #[test]
    fn a_newcomer_without_a_vote_and_a_lost_one_with_it_or_with_a_stream_are_convicted() {
        let without = convicted(|found| drop(found.voters.insert("tokyo".to_owned(), BTreeSet::from([2, 3]))));
        assert_eq!(without, ["`tokyo` says that newcomer 12 does not vote"]);
        let with = convicted(|found| drop(found.voters.insert("tokyo".to_owned(), BTreeSet::from([1, 2, 12]))));
        assert_eq!(with, ["`tokyo` says that node 1 votes, whose machine is lost"]);
        let kept = convicted(|found| found.owners.extend([("a".to_owned(), 11)]));
        assert_eq!(kept, ["`a` lies with node 11, whose machine is lost"]);
    }

    #[test]
    fn a_run_in_which_nobody_was_replaced_or_nobody_speaks_is_void() {
        let void = |change: fn(&mut Replaced)| {
            let found = convicted(change);
            assert!(!found.is_empty() && found.iter().all(|what| what.starts_with("void: ")), "{found:?}");
        };
        void(|found| found.machines.clear());
        void(|found| found.voters.clear());
        void(|found| found.owners.clear());
        void(|found| found.machines.iter_mut().for_each(|machine| machine.wrote = 0));
        let alone = |found: &mut Replaced| {
            (found.is_shared, found.owners) = (false, BTreeMap::new());
            found.machines.iter_mut().for_each(|machine| machine.wrote = 0);
        };
        assert!(convicted(alone).is_empty(), "where nothing is shared nothing is handed on");
    }
}
