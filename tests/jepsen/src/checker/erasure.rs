//! Erased is erased (ERA-1): once an answer said that somebody is, nothing that begins later shows a record of theirs, at any door,
//! after any fault, from wherever it lies. And nobody else goes with them.
//!
//! `write` has the key `[region, subject]` and the output `{accepted}`. `erase` has the same key, and is `ok` when the region says
//! that it is done. `look` has the key `[region, door]` and gives the records of each subject, or of the one in its input.
//! `census` is the same, of all subjects, when nothing is done any more; there are several.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Verdict;
use crate::history::{Kind, Operation};

type Place = (String, String);

#[derive(Default)]
struct Person {
    accepted: u64,
    is_doubtful: bool,
    /// When an answer first said that they are erased.
    erased: Option<u64>,
    was_asked: bool,
}

/// Judges.
pub fn check(operations: &[Operation]) -> Verdict {
    let mut verdict = Verdict::new("erased-is-erased");
    let people = people(operations, &mut verdict);
    let looks = operations.iter().filter(|one| matches!(one.f.as_str(), "look" | "census") && one.kind == Kind::Ok);
    for look in looks {
        let later = people.iter().filter(|((region, _), person)| {
            *region == look.region && person.erased.is_some_and(|erased| erased <= look.began)
        });
        for ((_, subject), _) in later {
            verdict.count("looks at somebody erased", 1);
            let shown = look.output[subject.as_str()].as_u64().unwrap_or_default();
            if shown > 0 {
                let at = look.began / 1_000_000;
                verdict.violation(format!("{}: {shown} records of `{subject}`, erased, at {at} ms", look.key));
            }
        }
    }
    census(operations, &people, &mut verdict);
    if !verdict.counts.contains_key("looks at somebody erased") {
        verdict.violation("void: nobody who was erased was looked for".to_owned());
    }
    verdict
}

fn people(operations: &[Operation], verdict: &mut Verdict) -> BTreeMap<Place, Person> {
    let mut people: BTreeMap<Place, Person> = BTreeMap::new();
    for operation in operations.iter().filter(|one| matches!(one.f.as_str(), "write" | "erase")) {
        let subject = operation.key[1].as_str().unwrap_or_default().to_owned();
        let person = people.entry((operation.region.clone(), subject)).or_default();
        match (operation.f.as_str(), operation.kind) {
            ("write", Kind::Ok) => {
                person.accepted += operation.output["accepted"].as_u64().unwrap_or_default();
                verdict.count("batches written", 1);
            }
            ("write", Kind::Info | Kind::Invoke) => person.is_doubtful = true,
            ("erase", Kind::Ok) => {
                let first = person.erased.get_or_insert(operation.ended);
                *first = (*first).min(operation.ended);
                person.was_asked = true;
                verdict.count("erased", 1);
            }
            ("erase", Kind::Info | Kind::Invoke) => person.was_asked = true,
            _ => {}
        }
    }
    people
}

/// In the end: who was never to be erased is whole, and who is gone stays so.
fn census(operations: &[Operation], people: &BTreeMap<Place, Person>, verdict: &mut Verdict) {
    let mut gone: BTreeSet<&Place> = BTreeSet::new();
    let mut regions: BTreeSet<&str> = people.keys().map(|(region, _)| region.as_str()).collect();
    for census in operations.iter().filter(|one| one.f == "census" && one.kind == Kind::Ok) {
        regions.remove(census.region.as_str());
        verdict.count("censuses", 1);
        for (place, person) in people.iter().filter(|((region, _), _)| *region == census.region) {
            let shown = census.output.get(place.1.as_str()).and_then(Value::as_u64).unwrap_or_default();
            if person.was_asked {
                if shown == 0 {
                    gone.insert(place);
                } else if gone.contains(place) {
                    verdict
                        .violation(format!("{}: `{}` was gone and is back with {shown} records", census.key, place.1));
                }
            } else if shown < person.accepted || (shown > person.accepted && !person.is_doubtful) {
                let accepted = person.accepted;
                verdict.violation(format!(
                    "{}: `{}` was not to be erased, has {accepted} records and shows {shown}",
                    census.key, place.1
                ));
            } else {
                verdict.count("not erased, and whole", 1);
            }
        }
    }
    for region in regions {
        verdict.violation(format!("`{region}` was not counted in the end"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(f: &str, key: Value, kind: Kind, output: Value, began: u64) -> Operation {
        let (region, err, input) = ("tokyo".to_owned(), String::new(), Value::Null);
        Operation { f: f.to_owned(), key, region, input, output, kind, began, ended: began + 5, err }
    }

    fn write(subject: &str, kind: Kind) -> Operation {
        operation("write", json!(["tokyo", subject]), kind, json!({"accepted": 5}), 1)
    }

    fn erase(subject: &str, kind: Kind) -> Operation {
        operation("erase", json!(["tokyo", subject]), kind, Value::Null, 10)
    }

    fn look(f: &str, output: Value, began: u64) -> Operation {
        operation(f, json!(["tokyo", "groups"]), Kind::Ok, output, began)
    }

    #[test]
    fn who_is_seen_until_the_answer_and_never_after_is_well_erased() {
        let history = [
            write("p1", Kind::Ok),
            write("p2", Kind::Ok),
            write("p3", Kind::Ok),
            write("p4", Kind::Info),
            erase("p1", Kind::Ok),
            erase("p3", Kind::Info),
            look("look", json!({"p1": 5, "p2": 5}), 12),
            look("look", json!({"p2": 5, "p3": 5}), 15),
            look("census", json!({"p2": 5, "p3": 5, "p4": 5}), 30),
            look("census", json!({"p2": 5}), 40),
        ];
        let verdict = check(&history);
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!(verdict.counts["looks at somebody erased"], 3, "of three that began after the answer");
    }

    #[test]
    fn every_way_to_break_the_promise_is_convicted() {
        let broken: [(&str, Vec<Operation>); 6] = [
            ("shown after the answer", vec![look("look", json!({"p1": 1}), 15), look("census", json!({"p2": 5}), 30)]),
            ("shown in the end", vec![look("census", json!({"p1": 5, "p2": 5}), 30)]),
            ("somebody else went too", vec![look("census", json!({}), 30)]),
            ("somebody else went in part", vec![look("census", json!({"p2": 4}), 30)]),
            ("somebody else was doubled", vec![look("census", json!({"p2": 10}), 30)]),
            ("never counted", vec![look("look", json!({}), 15)]),
        ];
        for (what, looks) in broken {
            let history = [vec![write("p1", Kind::Ok), write("p2", Kind::Ok), erase("p1", Kind::Ok)], looks].concat();
            assert_eq!(check(&history).violations.len(), 1, "{what}");
        }
        let back = [
            write("p1", Kind::Ok),
            erase("p1", Kind::Info),
            look("census", json!({}), 30),
            look("census", json!({"p1": 5}), 40),
        ];
        let found = check(&back).violations;
        assert!(found.iter().any(|what| what.contains("is back")), "{found:?}");
        assert!(check(&[]).violations[0].starts_with("void:"));
    }
}
