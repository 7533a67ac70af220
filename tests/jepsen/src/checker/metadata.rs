//! The metadata group as its clients see it: epochs of shards are linearizable, and names keep their ids.
//!
//! `assign` has the stream as key and the input `{seen}`; the answer is the epoch it led to, or `stale`. Because the owner is
//! the same, an assignment that was made already is confirmed and not made again. `create` has the name as key and gives its
//! id; ids rise with time.

use std::collections::BTreeMap;

use super::Verdict;
use super::linear::{Call, Found, Model, search};
use crate::history::{Kind, Operation};

/// Steps of the search in one key.
const STEPS: u64 = 20_000_000;

/// The epoch of one shard, whose owner stays the same.
struct Shard;

impl Model for Shard {
    type State = u64;
    /// The epoch the caller saw.
    type Input = u64;
    /// The epoch it led to; none where another was faster.
    type Output = Option<u64>;

    fn begin(&self) -> u64 {
        0
    }

    fn step(&self, epoch: &u64, seen: &u64, output: Option<&Option<u64>>) -> Option<u64> {
        let (after, right) = if seen == epoch {
            (seen + 1, Some(seen + 1))
        } else if seen + 1 == *epoch {
            (*epoch, Some(*epoch))
        } else {
            (*epoch, None)
        };
        output.is_none_or(|told| *told == right).then_some(after)
    }
}

/// Judges epochs, key by key.
pub fn check_epochs(operations: &[Operation]) -> Verdict {
    let mut verdict = Verdict::new("linearizable-epochs");
    let mut by_key: BTreeMap<String, Vec<Call<u64, Option<u64>>>> = BTreeMap::new();
    for operation in operations.iter().filter(|one| one.f == "assign" && one.kind != Kind::Fail) {
        let seen = operation.input["seen"].as_u64().unwrap_or_default();
        let output = (operation.kind == Kind::Ok).then(|| operation.output["epoch"].as_u64());
        let call = Call { input: seen, output, began: operation.began, ended: operation.ended };
        by_key.entry(operation.key.to_string()).or_default().push(call);
    }
    for (key, calls) in by_key {
        verdict.count("keys", 1);
        verdict.count("operations", calls.len() as u64);
        match search(&Shard, &calls, STEPS) {
            Found::Linearizable => {}
            Found::Broken { longest } => {
                verdict.violation(format!("{key}: not linearizable; {longest} of {} fit", calls.len()));
            }
            Found::Unknown => {
                verdict.count("unknown", 1);
                verdict.violation(format!("{key}: no verdict on {} operations", calls.len()));
            }
        }
    }
    verdict
}

/// Judges ids: one name, one id; two names, two ids; a name that was made before another was asked for has the lower one.
pub fn check_names(operations: &[Operation]) -> Verdict {
    let mut verdict = Verdict::new("names-and-ids");
    let mut by_name: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for operation in operations.iter().filter(|one| one.f == "create" && one.kind == Kind::Ok) {
        verdict.count("operations", 1);
        let id = operation.output["id"].as_u64().unwrap_or_default();
        let entry = by_name.entry(operation.key.to_string()).or_insert((id, operation.began, operation.ended));
        if entry.0 != id {
            verdict.violation(format!("{} has the ids {} and {id}", operation.key, entry.0));
        }
        entry.2 = entry.2.min(operation.ended);
    }
    // The first attempt may have made the name without a word, so the earliest beginning counts, whatever came of it.
    for operation in operations.iter().filter(|one| one.f == "create") {
        if let Some(entry) = by_name.get_mut(&operation.key.to_string()) {
            entry.1 = entry.1.min(operation.began);
        }
    }
    let mut by_id: Vec<(&String, &(u64, u64, u64))> = by_name.iter().collect();
    by_id.sort_by_key(|(_, (id, ..))| *id);
    for pair in by_id.windows(2) {
        let ((one, (low, ..)), (other, (high, ..))) = (pair[0], pair[1]);
        if low == high {
            verdict.violation(format!("{one} and {other} share the id {low}"));
        }
    }
    // From the highest id down: no name with a higher id may have been finished before this one was first asked for.
    let mut earliest_end = (u64::MAX, "");
    for (name, (id, began, ended)) in by_id.into_iter().rev() {
        if earliest_end.0 < *began {
            verdict.violation(format!("{name} got the id {id}, lower than {}, which was made before", earliest_end.1));
        }
        if *ended < earliest_end.0 {
            earliest_end = (*ended, name);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn operation(f: &str, key: &str, kind: Kind, input: Value, output: Value, began: u64, ended: u64) -> Operation {
        let (key, err) = (json!(key), String::new());
        Operation { f: f.to_owned(), key, region: String::new(), input, output, kind, began, ended, err }
    }

    fn assign(seen: u64, told: Option<u64>, began: u64, ended: u64) -> Operation {
        operation("assign", "s", Kind::Ok, json!({"seen": seen}), json!({"epoch": told}), began, ended)
    }

    fn create(key: &str, id: u64, began: u64, ended: u64) -> Operation {
        operation("create", key, Kind::Ok, Value::Null, json!({"id": id}), began, ended)
    }

    #[test]
    fn right_epochs_are_acquitted() {
        let doubt = operation("assign", "s", Kind::Info, json!({"seen": 1}), Value::Null, 3, u64::MAX);
        let history = [
            assign(0, Some(1), 0, 2),
            assign(0, Some(1), 1, 2),
            doubt,
            assign(0, None, 5, 6),
            assign(2, Some(3), 7, 8),
            assign(9, None, 9, 10),
        ];
        assert_eq!(check_epochs(&history).violations, Vec::<String>::new());
    }

    #[test]
    fn a_lost_epoch_and_a_stale_answer_are_convicted() {
        let went_back = [assign(0, Some(1), 0, 1), assign(1, Some(2), 2, 3), assign(0, Some(1), 4, 5)];
        let stale = [assign(0, Some(1), 0, 1), assign(1, None, 2, 3)];
        let from_nowhere = [assign(3, Some(4), 0, 1)];
        for history in [&went_back[..], &stale, &from_nowhere] {
            assert_eq!(check_epochs(history).violations.len(), 1);
        }
    }

    #[test]
    fn names_with_two_ids_shared_ids_or_ids_out_of_order_are_convicted() {
        let right = [create("a", 1, 0, 5), create("b", 2, 1, 4), create("a", 1, 6, 7), create("c", 3, 8, 9)];
        assert_eq!(check_names(&right).violations, Vec::<String>::new());
        let two = [create("a", 1, 0, 1), create("a", 2, 2, 3)];
        let shared = [create("a", 1, 0, 1), create("b", 1, 2, 3)];
        let order = [create("a", 2, 0, 1), create("b", 1, 2, 3)];
        for history in [&two[..], &shared, &order] {
            assert_eq!(check_names(history).violations.len(), 1);
        }
        let asked_early = operation("create", "b", Kind::Info, Value::Null, Value::Null, 0, u64::MAX);
        let late = [asked_early, create("a", 2, 0, 1), create("b", 1, 2, 3)];
        assert_eq!(check_names(&late).violations, Vec::<String>::new(), "the first attempt may have made it");
    }
}
