//! One owner in an epoch (OWN-1): whoever was deposed writes nothing more that counts, and no place of a shard is given twice.
//!
//! Judges what the nodes wrote into the store's logs, object by object, and what producers were told. A seal in a node's log says
//! from which epoch on another node writes some shards: behind it nothing of an earlier epoch may come but copies of what stood
//! in another log before, as a node makes them that takes a shard over. `ingest` answers with the places its records were
//! given, from the first to the last. An object of a log is created where none is, never changed, and they go oldest first; the newest of
//! a log stays.

use std::collections::BTreeMap;

use domicile_tests::cluster::fenced;

use super::Verdict;
use crate::history::{Kind, Operation};
use crate::store_log::Logs;

/// Judges.
pub fn check(operations: &[Operation], logs: &Logs) -> Verdict {
    let mut verdict = Verdict::new("fencing");
    let found = fenced::check(logs);
    verdict.count("seals", found.seals);
    verdict.count("batches in logs", found.batches);
    found.violations.into_iter().for_each(|violation| verdict.violation(violation));
    places_told(operations, &mut verdict);
    if found.batches == 0 {
        verdict.violation("void: no batch was seen in any log".to_owned());
    }
    verdict
}

/// No two batches were told the same place.
fn places_told(operations: &[Operation], verdict: &mut Verdict) {
    let mut told: BTreeMap<String, BTreeMap<(u64, u64), &str>> = BTreeMap::new();
    let acknowledged = operations.iter().filter(|one| one.f == "ingest" && one.kind == Kind::Ok);
    for operation in acknowledged {
        let place = |at: usize| operation.output["places"][at].as_u64();
        let (Some(first), Some(last)) = (place(0), place(1)) else { continue };
        verdict.count("places told", last + 1 - first);
        let batch = operation.input["batch"].as_str().unwrap_or_default();
        let known = told.entry(operation.key.to_string()).or_default().insert((first, last), batch);
        if let Some(other) = known.filter(|other| *other != batch) {
            verdict.violation(format!("{}: `{other}` and `{batch}` were told the same places", operation.key));
        }
    }
    for (key, ranges) in &told {
        let ranges: Vec<_> = ranges.iter().collect();
        for pair in ranges.windows(2) {
            let (((_, last), one), ((first, _), other)) = (pair[0], pair[1]);
            if first <= last && one != other {
                verdict.violation(format!("{key}: `{one}` and `{other}` were told the same places"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store_log::{Part, Said, Written};

    fn part(epoch: u64, first: u64, batch: &str) -> Part {
        Part { shard: 7, epoch, first, records: 10, batch: batch.to_owned() }
    }

    fn object(node: u64, number: u64, parts: &[Part]) -> Written {
        Written { node, number, said: Said::Batches(parts.to_vec()) }
    }

    fn seal(node: u64, number: u64, epoch: u64) -> Written {
        Written { node, number, said: Said::Seal(BTreeMap::from([(7, epoch)])) }
    }

    fn told(batch: &str, first: u64, last: u64) -> Operation {
        Operation {
            f: "ingest".to_owned(),
            key: json!(["tokyo", "s"]),
            region: "tokyo".to_owned(),
            input: json!({"batch": batch}),
            output: json!({"places": [first, last]}),
            kind: Kind::Ok,
            began: 1,
            ended: 2,
            err: String::new(),
        }
    }

    /// Which are all there.
    fn logs(written: &[Written]) -> Logs {
        let left = written.iter().map(|object| (object.node, object.number)).collect();
        Logs { written: written.to_vec(), left }
    }

    fn convicted(operations: &[Operation], written: &[Written]) -> usize {
        check(operations, &logs(written)).violations.len()
    }

    #[test]
    fn a_take_over_with_its_copies_is_acquitted() {
        let written = [
            object(4, 1, &[part(1, 1, "a"), part(1, 11, "b")]),
            seal(4, 2, 2),
            object(5, 1, &[part(1, 11, "b"), part(2, 21, "c")]),
            // The first one again, which copies what the second one took, and goes on in a third epoch.
            seal(5, 2, 3),
            object(4, 3, &[part(2, 21, "c"), part(3, 31, "d")]),
            // A third, which was sealed before it ever wrote, copies from both.
            seal(6, 1, 4),
            object(6, 2, &[part(3, 31, "d"), part(5, 41, "e")]),
        ];
        let operations = [told("a", 1, 10), told("b", 11, 20), told("b", 11, 20), told("c", 21, 30)];
        let verdict = check(&operations, &logs(&written));
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!((verdict.counts["seals"], verdict.counts["batches in logs"]), (3, 8));
    }

    #[test]
    fn a_deposed_owner_that_writes_on_is_convicted() {
        let deposed = [object(4, 1, &[part(1, 1, "a")]), seal(4, 2, 2), object(4, 3, &[part(1, 11, "late")])];
        assert_eq!(convicted(&[], &deposed), 1);
        let clash = [deposed.as_slice(), &[object(5, 1, &[part(2, 11, "b")])]].concat();
        assert_eq!(convicted(&[], &clash), 2, "and the place it took was given again");
    }

    #[test]
    fn one_place_for_two_batches_is_convicted() {
        let written = [object(4, 1, &[part(1, 1, "a")]), object(5, 1, &[part(2, 6, "b")])];
        assert_eq!(convicted(&[], &written), 1);
        let one = [object(4, 1, &[part(1, 1, "a")])];
        assert_eq!(convicted(&[told("a", 1, 10), told("b", 1, 10)], &one), 1);
        assert_eq!(convicted(&[told("a", 1, 10), told("b", 5, 14)], &one), 1);
        assert_eq!(convicted(&[told("a", 1, 10), told("a", 1, 10)], &one), 0, "told again");
    }

    #[test]
    fn a_place_that_held_two_objects_and_a_log_that_lost_its_newest_are_convicted() {
        let twice = [object(4, 1, &[part(1, 1, "a")]), object(4, 1, &[part(1, 1, "a"), part(1, 11, "b")])];
        assert_eq!(convicted(&[], &twice), 1);
        let written = [object(4, 1, &[part(1, 1, "a")]), object(4, 2, &[part(1, 11, "b")])];
        let with = |left: &[(u64, u64)]| {
            let left = left.iter().copied().collect();
            check(&[], &Logs { written: written.to_vec(), left }).violations.len()
        };
        assert_eq!([with(&[(4, 3)]), with(&[(4, 2)]), with(&[(4, 1)]), with(&[]), with(&[(5, 2)])], [0, 0, 1, 1, 1]);
    }

    #[test]
    fn a_log_that_lost_one_in_the_middle_is_convicted_and_one_that_went_from_its_beginning_is_not() {
        let written = [
            seal(4, 1, 2),
            object(4, 2, &[part(2, 1, "a")]),
            object(4, 3, &[part(2, 11, "b")]),
            seal(4, 4, 1),
            object(4, 5, &[part(2, 21, "c")]),
            object(4, 6, &[part(2, 31, "d")]),
            // What of another log is there says nothing of this one.
            object(5, 9, &[part(2, 41, "e")]),
        ];
        let lost = |left: &[u64]| {
            let left = left.iter().map(|number| (4, *number)).chain([(5, 9)]).collect();
            check(&[], &Logs { written: written.to_vec(), left }).violations
        };
        for whole in [&[1, 2, 3, 4, 5, 6][..], &[1, 3, 4, 5, 6], &[3, 5, 6], &[1, 4, 6], &[6], &[1, 4, 5, 6], &[1, 7]] {
            assert_eq!(lost(whole), Vec::<String>::new(), "{whole:?}");
        }
        for (left, gone) in [(&[1, 2, 4, 5, 6][..], 3), (&[3, 4, 6], 5), (&[1, 2, 3, 6], 5)] {
            let wanted = format!("object {gone} of the log of node 4 is lost, and an older one is there");
            assert_eq!(lost(left), [wanted], "{left:?}");
        }
        assert_eq!(lost(&[1, 2, 6]).len(), 2);
        assert_eq!(lost(&[1, 2, 3, 5]).len(), 1, "the newest is lost, and said to be so once");
    }

    #[test]
    fn a_run_in_which_nobody_saw_a_log_is_void() {
        let nothing = Operation { output: Value::Null, ..told("a", 1, 1) };
        assert!(check(&[nothing], &Logs::default()).violations[0].starts_with("void:"));
    }
}
