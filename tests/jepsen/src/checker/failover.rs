//! How soon the metadata group decides again when its leader was killed.
//!
//! An election begins at the latest after the longest election time, in which nobody heard of a leader, and one that is split is held
//! once more: twice that time is what may pass in all but one of a hundred cases, from the end of the leader to the first decision
//! that was asked for after it.

use std::time::Duration;

use domicile_meta::raft::Timing;

use super::Verdict;
use super::availability::Fault;
use crate::history::{Kind, Operation};

/// What the group decides.
const DECIDED: [&str; 2] = ["assign", "create"];

/// For regions so far apart. Where none is said it is counted and not judged: a machine that does other things besides holds
/// elections late.
pub fn check(operations: &[Operation], faults: &[Fault], round_trip: Option<Duration>) -> Verdict {
    let mut verdict = Verdict::new("failover");
    let decided = |one: &&Operation| DECIDED.contains(&one.f.as_str()) && one.kind == Kind::Ok;
    let decisions: Vec<&Operation> = operations.iter().filter(decided).collect();
    let mut took = Vec::new();
    for fault in faults.iter().filter(|fault| fault.name == "kill-leader") {
        let after = decisions.iter().filter(|one| one.began >= fault.from).map(|one| one.ended - fault.from).min();
        match after {
            Some(nanos) => took.push(Duration::from_nanos(nanos)),
            None => verdict.count("without a later decision", 1),
        }
    }
    took.sort_unstable();
    let of = |per_cent: usize| took.get((took.len() * per_cent).div_ceil(100).saturating_sub(1)).copied();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    verdict.count("leaders", took.len() as u64);
    for (what, time) in [("p50 ms", of(50)), ("p99 ms", of(99)), ("longest ms", took.last().copied())] {
        verdict.count(what, millis(time.unwrap_or_default()));
    }
    let bound = round_trip.map(|time| Timing::for_round_trip(time).election_max.saturating_mul(2));
    if let (Some(bound), Some(p99)) = (bound, of(99)) {
        verdict.count("bound ms", millis(bound));
        if p99 > bound {
            verdict.violation(format!("99 of 100 leaders were followed within {p99:?}, and not within {bound:?}"));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn assign(began: u64, ended: u64, kind: Kind) -> Operation {
        Operation {
            f: "assign".to_owned(),
            key: Value::Null,
            region: "tokyo".to_owned(),
            input: Value::Null,
            output: Value::Null,
            kind,
            began,
            ended,
            err: String::new(),
        }
    }

    fn killed(from: u64) -> Fault {
        let (name, region) = ("kill-leader".to_owned(), "tokyo".to_owned());
        Fault { name, region, from, until: from + SECOND, bites: 1, is_abroad_only: false }
    }

    #[test]
    fn the_time_runs_from_the_end_of_the_leader_to_the_first_decision_that_was_asked_for_after_it() {
        let history = [
            // Asked for before, and decided by the one that was killed, for all anybody knows.
            assign(9 * SECOND, 10 * SECOND + 1_000, Kind::Ok),
            assign(10 * SECOND + 5, 11 * SECOND, Kind::Fail),
            assign(10 * SECOND + 6, 11 * SECOND + SECOND / 2, Kind::Ok),
            assign(12 * SECOND, 12 * SECOND + 1, Kind::Ok),
        ];
        let told = check(&history, &[killed(10 * SECOND)], Some(Duration::ZERO));
        assert_eq!((told.counts["leaders"], told.counts["p99 ms"], told.counts["bound ms"]), (1, 1_500, 2_400));
        assert!(told.violations.is_empty());
        let never = check(&history, &[killed(20 * SECOND)], Some(Duration::ZERO));
        assert_eq!((never.counts["leaders"], never.counts["without a later decision"]), (0, 1));
    }

    #[test]
    fn elections_that_take_too_long_are_convicted_for_the_distance_that_was_told_and_one_of_a_hundred_is_not() {
        let at = |number: u64| number * 100 * SECOND;
        let faults: Vec<Fault> = (1..=100).map(|number| killed(at(number))).collect();
        let after = |slow: u64| -> Vec<Operation> {
            let took = |number: u64| if number <= slow { 5 * SECOND } else { SECOND };
            (1..=100).map(|number| assign(at(number) + 1, at(number) + took(number), Kind::Ok)).collect()
        };
        assert!(check(&after(1), &faults, Some(Duration::ZERO)).violations.is_empty());
        assert_eq!(check(&after(2), &faults, Some(Duration::ZERO)).violations.len(), 1);
        assert!(check(&after(2), &faults, Some(Duration::from_millis(230))).violations.is_empty());
        assert!(check(&after(100), &faults, None).violations.is_empty(), "only counted");
    }
}
