//! LED-1 over all regions: what arrived in one of them left another, by both ledgers, however often a node was killed or cut off
//! meanwhile. An entry of something that never arrived is allowed; something that arrived without an entry is not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Verdict;

/// The node of a ledger, as `region/node`.
pub type Node = String;

/// A message in a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// Number of the entry.
    pub number: u64,
    /// Whether it left; else it arrived.
    pub left: bool,
    /// The node at the other end.
    pub peer: Node,
    /// SHA-256 of the frame, which is what names a message.
    pub sha256: String,
}

/// What crossed, by the ledger of each node.
pub type Crossings = BTreeMap<Node, Vec<Crossing>>;

/// Matches what arrived against what left, message by message and as often. What came from a node that was lost with its ledger, and
/// from no other without one, need not be in what that node had signed, for its end is gone. What had arrived at such a node by what
/// it had signed left another one, as everywhere.
pub fn check(ledgers: &Crossings, lost: &BTreeSet<Node>, signed: &Crossings) -> Verdict {
    let mut verdict = Verdict::new("double-entry");
    let mut left: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (node, crossings) in ledgers {
        for crossing in crossings.iter().filter(|crossing| crossing.left) {
            *left.entry((node, &crossing.peer, &crossing.sha256)).or_default() += 1;
            verdict.count("messages that left", 1);
        }
    }
    let mut signed_left: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (node, crossings) in signed {
        for crossing in crossings.iter().filter(|crossing| crossing.left) {
            *signed_left.entry((node, &crossing.peer, &crossing.sha256)).or_default() += 1;
        }
    }
    for (node, crossings) in ledgers.iter().chain(signed) {
        let is_lost = !ledgers.contains_key(node);
        for crossing in crossings.iter().filter(|crossing| !crossing.left) {
            if lost.contains(&crossing.peer) && !ledgers.contains_key(&crossing.peer) {
                verdict.count("messages that arrived from lost machines", 1);
                let known = (crossing.peer.as_str(), node.as_str(), crossing.sha256.as_str());
                if let Some(often) = signed_left.get_mut(&known).filter(|often| **often > 0) {
                    *often -= 1;
                    verdict.count("messages that arrived from lost machines, which had signed for them", 1);
                }
                continue;
            }
            verdict.count(if is_lost { "messages that arrived at lost machines" } else { "messages that arrived" }, 1);
            if !ledgers.contains_key(&crossing.peer) {
                verdict.violation(format!(
                    "entry {} of {node} came from {}, whose ledger is not here",
                    crossing.number, crossing.peer
                ));
                continue;
            }
            match left.get_mut(&(crossing.peer.as_str(), node.as_str(), crossing.sha256.as_str())) {
                Some(often) if *often > 0 => *often -= 1,
                _ => verdict.violation(format!(
                    "entry {} of {node} arrived from {}, whose ledger does not know that it left",
                    crossing.number, crossing.peer
                )),
            }
        }
    }
    verdict.count("messages that left and never arrived", left.values().sum());
    if verdict.counts.get("messages that arrived").is_none_or(|arrived| *arrived == 0) {
        verdict.violation("void: nothing crossed, so nothing was judged".to_owned());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(number: u64, left: bool, peer: &str, sha256: &str) -> Crossing {
        Crossing { number, left, peer: peer.to_owned(), sha256: sha256.to_owned() }
    }

    fn ledgers(tokyo: Vec<Crossing>, frankfurt: Vec<Crossing>) -> BTreeMap<Node, Vec<Crossing>> {
        [("tokyo/1".to_owned(), tokyo), ("frankfurt/3".to_owned(), frankfurt)].into()
    }

    #[test]
    fn what_left_and_arrived_or_was_lost_on_the_way_is_acquitted() {
        let tokyo = vec![crossing(1, true, "frankfurt/3", "a"), crossing(2, true, "frankfurt/3", "lost")];
        let frankfurt = vec![crossing(1, false, "tokyo/1", "a")];
        let verdict = check(&ledgers(tokyo, frankfurt), &BTreeSet::new(), &Crossings::new());
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!(verdict.counts["messages that left and never arrived"], 1);
    }

    #[test]
    fn a_message_without_an_entry_a_second_arrival_and_an_unknown_sender_are_convicted() {
        let told = |tokyo, frankfurt| check(&ledgers(tokyo, frankfurt), &BTreeSet::new(), &Crossings::new()).violations;
        let once = || vec![crossing(1, true, "frankfurt/3", "a")];
        let arrived = |peer: &str, sha256: &str| crossing(5, false, peer, sha256);
        assert!(told(once(), vec![arrived("tokyo/1", "b")])[0].contains("entry 5 of frankfurt/3"));
        assert_eq!(told(once(), vec![arrived("tokyo/1", "a"), arrived("tokyo/1", "a")]).len(), 1, "once is not twice");
        assert_eq!(told(vec![crossing(1, true, "singapore/2", "a")], vec![arrived("tokyo/1", "a")]).len(), 1);
        assert!(told(once(), vec![arrived("singapore/2", "a")])[0].contains("not here"));
        assert!(told(once(), vec![])[0].starts_with("void:"));
    }

    #[test]
    fn what_came_from_a_lost_machine_is_counted_and_everything_else_is_judged() {
        let crossed = || {
            let arrived = vec![
                crossing(1, false, "singapore/2", "x"),
                crossing(2, false, "tokyo/1", "a"),
                crossing(3, false, "tokyo/1", "b"),
            ];
            ledgers(vec![crossing(1, true, "frankfurt/3", "a")], arrived)
        };
        let lost = BTreeSet::from(["singapore/2".to_owned()]);
        let verdict = check(&crossed(), &lost, &Crossings::new());
        assert_eq!(verdict.violations.len(), 1, "{:?}", verdict.violations);
        assert!(verdict.violations[0].contains("entry 3 of frankfurt/3"));
        assert_eq!(verdict.counts["messages that arrived from lost machines"], 1);
        assert_eq!(
            check(&crossed(), &BTreeSet::new(), &Crossings::new()).violations.len(),
            2,
            "nobody said that it was lost"
        );
        // A ledger that is here is matched, whoever says that it was lost.
        let here = BTreeSet::from(["singapore/2".to_owned(), "tokyo/1".to_owned()]);
        assert_eq!(check(&crossed(), &here, &Crossings::new()).violations.len(), 1);
        let nothing_else = ledgers(vec![], vec![crossing(1, false, "singapore/2", "x")]);
        assert!(check(&nothing_else, &lost, &Crossings::new()).violations[0].starts_with("void:"));
    }

    #[test]
    fn what_a_lost_machine_had_signed_for_is_matched_and_its_end_is_not_asked_for() {
        let arrived = vec![crossing(1, false, "singapore/2", "x"), crossing(2, false, "singapore/2", "behind the end")];
        let here = ledgers(vec![crossing(1, true, "singapore/2", "a"), crossing(2, true, "frankfurt/3", "b")], arrived);
        let lost = BTreeSet::from(["singapore/2".to_owned()]);
        let signed = |sha256: &str| {
            let entries = vec![crossing(4, false, "tokyo/1", sha256), crossing(5, true, "frankfurt/3", "x")];
            Crossings::from([("singapore/2".to_owned(), entries)])
        };
        let verdict = check(&here, &lost, &signed("a"));
        assert!(verdict.violations.iter().all(|what| what.starts_with("void:")), "{:?}", verdict.violations);
        assert_eq!(verdict.counts["messages that arrived from lost machines"], 2);
        assert_eq!(verdict.counts["messages that arrived from lost machines, which had signed for them"], 1);
        assert_eq!(verdict.counts["messages that arrived at lost machines"], 1);
        let stray = check(&here, &lost, &signed("never sent")).violations;
        assert!(stray.iter().any(|what| what.contains("entry 4 of singapore/2 arrived from tokyo/1")), "{stray:?}");
    }
}
