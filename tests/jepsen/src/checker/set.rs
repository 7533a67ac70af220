//! Exactly once (DUR-1): what was acknowledged is there once and whole, what was refused is not there, what nobody knows is
//! there whole or not at all, and nothing is there that nobody sent. A refused document is named in its answer.
//!
//! `ingest` has the key `[region, stream]`, the input `{batch, documents}` and the output `{accepted, refused}`; the same
//! batch may be tried many times. `read` has the same key and gives `{batch: records}`; there may be several.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Verdict;
use crate::history::{Kind, Operation};

#[derive(Default)]
struct Sent {
    documents: u64,
    accepted: Option<u64>,
    is_doubtful: bool,
}

/// Judges.
pub fn check(operations: &[Operation]) -> Verdict {
    let mut verdict = Verdict::new("exactly-once");
    let mut sent: BTreeMap<String, BTreeMap<String, Sent>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.f == "ingest") {
        let batch = operation.input["batch"].as_str().unwrap_or_default();
        let place = sent.entry(operation.key.to_string()).or_default().entry(batch.to_owned()).or_default();
        place.documents = operation.input["documents"].as_u64().unwrap_or_default();
        match operation.kind {
            Kind::Ok => acknowledge(place, operation, batch, &mut verdict),
            Kind::Fail => {}
            Kind::Info | Kind::Invoke => place.is_doubtful = true,
        }
    }
    for (key, batches) in &sent {
        let is_of = |read: &Operation| {
            let name = read.key.to_string();
            read.f == "read" && read.kind == Kind::Ok && name == *key
        };
        let reads: Vec<&Operation> = operations.iter().filter(|read| is_of(read)).collect();
        if reads.is_empty() {
            verdict.violation(format!("{key}: never read at the end"));
        }
        for read in reads {
            compare(key, batches, &read.output, &mut verdict);
        }
    }
    verdict
}

fn acknowledge(place: &mut Sent, operation: &Operation, batch: &str, verdict: &mut Verdict) {
    let accepted = operation.output["accepted"].as_u64().unwrap_or_default();
    let refused = operation.output["refused"].as_u64().unwrap_or_default();
    verdict.count("acknowledged answers", 1);
    if accepted + refused != place.documents {
        verdict.violation(format!(
            "{} `{batch}`: {} documents were sent and the answer speaks of {accepted} taken and {refused} refused",
            operation.key, place.documents
        ));
    }
    if place.accepted.is_some_and(|before| before != accepted) {
        verdict.violation(format!("{} `{batch}`: acknowledged twice with different numbers", operation.key));
    }
    if place.accepted.is_none() {
        verdict.count("acknowledged batches", 1);
        verdict.count("acknowledged records", accepted);
        verdict.count("refused documents", refused);
    }
    place.accepted = Some(accepted);
}

fn compare(key: &str, batches: &BTreeMap<String, Sent>, read: &Value, verdict: &mut Verdict) {
    verdict.count("reads", 1);
    let found = |batch: &str| read.get(batch).and_then(Value::as_u64).unwrap_or_default();
    for (batch, sent) in batches {
        let there = found(batch);
        match sent.accepted {
            Some(accepted) if there < accepted => {
                verdict.count("lost records", accepted - there);
                verdict.violation(format!("{key} `{batch}`: {accepted} records acknowledged, {there} there"));
            }
            Some(accepted) if there > accepted => {
                verdict.count("doubled records", there - accepted);
                verdict.violation(format!("{key} `{batch}`: {accepted} records acknowledged, {there} there"));
            }
            Some(_) => {}
            None if sent.is_doubtful && there > sent.documents => {
                verdict.count("doubled records", there - sent.documents);
                verdict.violation(format!("{key} `{batch}`: {} records sent, {there} there", sent.documents));
            }
            // Of a batch nobody knows of, some documents may have been refused; more than the planted one is a torn batch.
            None if sent.is_doubtful && there > 0 && there + 1 < sent.documents => {
                verdict.violation(format!("{key} `{batch}`: a torn batch, {there} of {} there", sent.documents));
            }
            None if !sent.is_doubtful && there > 0 => {
                verdict.violation(format!("{key} `{batch}`: refused for certain, and {there} records are there"));
            }
            None => {}
        }
    }
    for (batch, there) in read.as_object().into_iter().flatten() {
        if !batches.contains_key(batch) {
            verdict.violation(format!("{key} `{batch}`: {there} records that nobody sent"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingest(batch: &str, kind: Kind, output: Value) -> Operation {
        let input = json!({"batch": batch, "documents": 20});
        operation("ingest", kind, input, output)
    }

    fn read(output: Value) -> Operation {
        operation("read", Kind::Ok, Value::Null, output)
    }

    fn operation(f: &str, kind: Kind, input: Value, output: Value) -> Operation {
        let (key, region) = (json!(["tokyo", "s"]), "tokyo".to_owned());
        Operation { f: f.to_owned(), key, region, input, output, kind, began: 1, ended: 2, err: String::new() }
    }

    fn acked(batch: &str) -> Operation {
        ingest(batch, Kind::Ok, json!({"accepted": 20, "refused": 0}))
    }

    #[test]
    fn a_history_in_which_all_is_well_is_acquitted() {
        let named = ingest("named", Kind::Ok, json!({"accepted": 19, "refused": 1}));
        let history = [
            ingest("a", Kind::Info, Value::Null),
            acked("a"),
            acked("a"),
            named,
            ingest("doubt", Kind::Info, Value::Null),
            ingest("doubt-there", Kind::Info, Value::Null),
            ingest("never", Kind::Fail, Value::Null),
            read(json!({"a": 20, "named": 19, "doubt-there": 20})),
        ];
        let verdict = check(&history);
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!(verdict.counts["acknowledged batches"], 2);
    }

    #[test]
    fn every_way_to_break_the_promise_is_convicted() {
        let broken: [(&str, Vec<Operation>); 9] = [
            ("lost", vec![acked("a"), read(json!({}))]),
            ("lost in part", vec![acked("a"), read(json!({"a": 19}))]),
            ("doubled", vec![acked("a"), read(json!({"a": 40}))]),
            ("doubled in doubt", vec![ingest("a", Kind::Info, Value::Null), read(json!({"a": 40}))]),
            ("torn", vec![ingest("a", Kind::Info, Value::Null), read(json!({"a": 7}))]),
            ("phantom", vec![acked("a"), read(json!({"a": 20, "b": 20}))]),
            ("failed and there", vec![ingest("a", Kind::Fail, Value::Null), read(json!({"a": 20}))]),
            ("dropped with a 200", {
                vec![ingest("a", Kind::Ok, json!({"accepted": 19, "refused": 0})), read(json!({"a": 19}))]
            }),
            ("never read", vec![acked("a")]),
        ];
        for (what, history) in broken {
            assert_eq!(check(&history).violations.len(), 1, "{what}");
        }
    }

    #[test]
    fn a_record_that_vanishes_between_two_reads_is_convicted() {
        assert_eq!(check(&[acked("a"), read(json!({"a": 20})), read(json!({"a": 0}))]).violations.len(), 1);
    }
}
