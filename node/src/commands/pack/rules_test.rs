//! Answers judged by the rules that their entries name, and rules that somebody forged.

use std::fs;

use domicile_proto::ids::{Name, NodeId, PolicyVersion, StreamId, TenantId, Timestamp};
use domicile_proto::message::question::{Filter, Literal, TextMatch};
use serde_json::{Value, json};

use super::super::answers::tests::{MINUTE, asked, by, changed, counted, honoured, statement, under};
use super::*;
use crate::audit::{Entry, Event};

/// Rules by which `shop` may group and only its value 64 be named, as the statement of version 3 has them, with something changed.
fn rules(change: Value) -> Rules {
    let mut rules = json!({"version": 1, "personal": {"Subject": "uid"}, "k": 5, "grid": "FiveMinutes", "text_questions": false,
        "fields": ["level", "shop", "price"], "group_fields": [["shop", [[64, "a"]]]], "numbers": [], "noise": null});
    for (key, value) in change.as_object().cloned().unwrap_or_default() {
        rules[key] = value;
    }
    serde_json::from_value(rules).expect("rules")
}

/// Those of before: everything may group, three values be named, on a grid of minutes.
pub(in super::super) fn wide() -> Rules {
    let groups = json!([["shop", [[64, "a"], [65, "b"]]], ["price", [[70, "1"]]]]);
    rules(json!({"group_fields": groups, "grid": "Minute"}))
}

fn started() -> Event {
    Event::NodeStarted { node: NodeId(1), binary: [0; 32], config: [0; 32], sbom: None }
}

/// What was found of these entries, judged with these rules at hand and by the statement of version 3.
fn judged(known: &[Rules], events: Vec<Event>) -> Judged {
    judged_by(&statement(), known, events)
}

fn judged_by(statement: &Statement, known: &[Rules], events: Vec<Event>) -> Judged {
    let mut answers = Answers::default();
    for (number, event) in (1..).zip(events) {
        answers.take(number, &Entry::specimen(Timestamp(1), None, event));
    }
    let page = |digest: &RulesDigest| known.iter().find(|rules| rules.digest() == *digest).cloned().ok_or("missing");
    judge(&answers, statement, page)
}

fn whys(judged: &Judged) -> Vec<&str> {
    judged.found.iter().map(|(_, why)| why.as_str()).collect()
}

#[test]
fn an_answer_is_judged_by_the_rules_of_its_own_version_whatever_holds_since() {
    let (now, then) = (rules(json!({})), wide());
    let known = [now.clone(), then.clone()];
    let told = |second: &Rules| {
        let first = by(&then, asked(2, &[70], 9 * MINUTE, 2));
        let second = by(second, asked(1, &[65], 10 * MINUTE, 3));
        [vec![changed(2)], first, vec![changed(3)], by(&now, asked(1, &[64], 10 * MINUTE, 3)), second].concat()
    };
    let held = judged(&known, told(&now));
    let [(Where::Entry(8), why)] = &held.found[..] else { panic!("{:?}", held.found) };
    assert!(why.contains("names value 65 of field 1, which was not approved"), "{why}");
    assert!(why.ends_with("of stream `shop`, by the rules of policy version 3"), "{why}");
    assert_eq!((held.answers.clone(), held.words()), ([(2, 1), (3, 2)].into(), "2 under 3, 1 under 2".to_owned()));
    // The rules of before excuse nothing now: two sets under one version, of which one is not that of the statement.
    let lied = judged(&known, told(&then));
    assert!(whys(&lied).iter().any(|why| why.contains("policy version 3 has other rules of stream 1")), "{lied:?}");
    assert!(whys(&lied).iter().any(|why| why.contains("the grid in the statement")), "{lied:?}");
    // And each of what was let out then is an offence by rules that do not.
    for (answer, wanted) in [
        (asked(2, &[], 10 * MINUTE, 2), "by field 2, which the policy of its time does not let out"),
        (asked(1, &[65], 10 * MINUTE, 2), "names value 65"),
        (asked(1, &[64], 9 * MINUTE, 2), "does not lie on the grid of 300 s"),
    ] {
        let events = |rules: &Rules| [vec![changed(2)], by(rules, answer.clone()), vec![changed(3)]].concat();
        assert_eq!(whys(&judged(&known, events(&then))), [""; 0], "{wanted}");
        let found = judged(&known, events(&now));
        assert!(found.found.len() == 1 && found.found[0].0 == Where::Entry(3), "{found:?}");
        assert!(whys(&found)[0].contains(wanted) && whys(&found)[0].ends_with("version 2"), "{found:?}");
    }
}

#[test]
fn rules_that_are_missing_are_a_finding_for_each_version_that_names_them() {
    let then = wide();
    let events =
        [2, 3].map(|version| [vec![changed(version)], by(&then, asked(1, &[64], 10 * MINUTE, version))].concat());
    let found = judged(&[], events.concat());
    assert_eq!(found.found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [Where::Page(then.digest()); 2]);
    assert_eq!(whys(&found)[0], "missing: entry 3 names them for policy version 2");
    assert!(found.answers.is_empty(), "nothing was judged");
}

#[test]
fn every_changed_byte_of_a_page_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (rules, place) = (wide(), "tokyo");
    let file = dir.path().join(place_of(place, &rules.digest()));
    let whole = serde_json::to_vec(&rules).expect("plain");
    assert!(page(dir.path(), place, &rules.digest()).expect_err("nothing is there").contains("missing"));
    fs::create_dir_all(file.parent().expect("inside")).expect("made");
    fs::write(&file, &whole).expect("written");
    assert_eq!(page(dir.path(), place, &rules.digest()), Ok(rules.clone()));
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            fs::write(&file, changed).expect("written");
            assert!(page(dir.path(), place, &rules.digest()).is_err(), "byte {at}, bit {bit}");
        }
    }
    fs::write(&file, [&whole[..], b"\n"].concat()).expect("written");
    assert!(page(dir.path(), place, &rules.digest()).is_err(), "one form");
}

#[test]
fn one_version_has_one_set_of_rules_until_a_start_an_officer_or_a_backup_brings_others() {
    let (one, two) = (rules(json!({})), wide());
    let answer = |rules: &Rules| by(rules, asked(1, &[64], 10 * MINUTE, 2));
    for (between, is_found) in [
        (vec![], true),
        (vec![changed(3)], true),
        (vec![started()], false),
        (vec![honoured("bb")], false),
        (vec![changed(1), changed(2)], false),
    ] {
        let events = [vec![honoured("aa"), changed(2)], answer(&one), between.clone(), answer(&two), vec![changed(4)]];
        let found = judged(&[one.clone(), two.clone()], events.concat());
        let is_told = whys(&found).iter().any(|why| why.contains("policy version 2 has other rules"));
        assert_eq!((is_told, found.found.len()), (is_found, usize::from(is_found)), "{between:?}: {found:?}");
    }
}

#[test]
fn a_smaller_group_is_told_of_in_the_ledger_or_found() {
    let lowered_to = |to: u32, policy| {
        let (from, to) = (rules(json!({"k": 20})).numbers_of().0, rules(json!({"k": to})).numbers_of().0);
        Event::ThresholdLowered { stream: StreamId(1), from, to, policy: PolicyVersion(policy) }
    };
    let lowered = |policy| lowered_to(5, policy);
    let unstated = Statement { policy_version: 9, ..statement() };
    let (high, low) = (rules(json!({"k": 20})), rules(json!({})));
    for (before, after, between, wanted) in [
        (&high, &low, vec![changed(3)], 1),
        (&high, &low, vec![changed(3), lowered(3)], 0),
        // Lowered, and not so far.
        (&high, &low, vec![changed(3), lowered_to(19, 3)], 1),
        (&high, &low, vec![lowered_to(4, 3), changed(3)], 0),
        // That was lowered before, and raised since.
        (&high, &low, vec![lowered(2), changed(3)], 1),
        (&high, &low, vec![started(), changed(3)], 0),
        (&low, &high, vec![changed(3)], 0),
    ] {
        let first = by(before, asked(1, &[64], 10 * MINUTE, 2));
        let second = by(after, asked(1, &[64], 10 * MINUTE, 3));
        let events = [vec![changed(2)], first, between, second].concat();
        let found = judged_by(&unstated, &[high.clone(), low.clone()], events);
        assert_eq!(found.found.len(), wanted, "{found:?}");
        assert!(
            whys(&found).iter().all(|why| why.contains("the smallest group is 5, and 20 in version 2")),
            "{found:?}"
        );
    }
}

#[test]
fn a_statement_that_detectors_contradicted_is_no_other_policy_and_lowers_nothing() {
    let unstated = Statement { policy_version: 9, ..statement() };
    let stated = rules(json!({"personal": "No", "k": 1}));
    let fallen = |of: u32| rules(json!({"personal": "Undeclared", "k": 50, "stated": of}));
    let undeclared = rules(json!({"personal": "Undeclared", "k": 50}));
    assert_eq!(fallen(1).stated(), Some(stated.clone()));
    assert_eq!((stated.stated(), undeclared.stated()), (None, None));
    let wide = by(&stated, asked(1, &[64], 10 * MINUTE, 2));
    for (second, third, wanted) in [
        (fallen(1), stated.clone(), vec![]),
        (fallen(1), fallen(1), vec![]),
        // Nothing tells why it is another one, nor of the smaller group behind it.
        (undeclared.clone(), undeclared.clone(), vec!["other rules"]),
        (fallen(2), fallen(2), vec!["other rules", "no entry tells"]),
        (fallen(1), rules(json!({"personal": "No", "k": 1, "grid": "Minute"})), vec![]),
    ] {
        let known = [stated.clone(), second.clone(), third.clone()];
        let [second, third] =
            [(&second, 2), (&third, 3)].map(|(rules, at)| by(rules, asked(1, &[64], 10 * MINUTE, at)));
        let events = [vec![changed(2)], wide.clone(), second, vec![changed(3)], third].concat();
        let found = judged_by(&unstated, &known, events);
        assert_eq!(found.found.len(), wanted.len(), "{found:?}");
        assert!(whys(&found).iter().zip(wanted).all(|(why, wanted)| why.contains(wanted)), "{found:?}");
    }
    // A page can be contradicted in this one way only.
    let forged = rules(json!({"stated": 1}));
    assert_eq!(Rules::read(&serde_json::to_vec(&forged).expect("plain"), &forged.digest()), None);
}

#[test]
fn the_values_are_those_that_the_ledger_told_of() {
    let told = |listed: &str, policy| {
        let mut approved = [0; 32];
        approved.copy_from_slice(digest(&SHA256, listed.as_bytes()).as_ref());
        let (tenant, field): (_, Name) = (TenantId(1), "shop".parse().expect("a name"));
        Event::ValuesApproved { tenant, field, added: 1, removed: 0, approved, policy: PolicyVersion(policy) }
    };
    let wide = rules(json!({"group_fields": [["shop", [[64, "a"], [65, "b"]]]]}));
    let none = rules(json!({"group_fields": [["shop", []]]}));
    for (rules, before, wanted) in [
        (&wide, vec![told("a\nb\n", 2)], 0),
        (&wide, vec![told("a\n", 2)], 1),
        (&wide, vec![told("a\nb\n", 1), told("a\n", 2)], 1),
        // Of a version after it, or before a start that tells nothing of values.
        (&wide, vec![told("a\nb\n", 1), told("a\n", 3)], 0),
        (&wide, vec![told("a\n", 2), started()], 0),
        (&none, vec![told("a\n", 2)], 0),
    ] {
        let answer = by(rules, asked(0, &[], 10 * MINUTE, 2));
        let found =
            judged(std::slice::from_ref(rules), [vec![changed(2)], before.clone(), answer, vec![changed(4)]].concat());
        assert_eq!(found.found.len(), wanted, "{before:?}: {found:?}");
        assert!(whys(&found).iter().all(|why| why.contains("the values of field `shop`")), "{found:?}");
    }
}

#[test]
fn rules_of_the_version_of_the_statement_are_those_of_the_statement() {
    for (change, wanted) in [
        (json!({}), None),
        (json!({"k": 4}), Some("the smallest group")),
        (json!({"personal": {"Subject": "sid"}}), Some("whose data it is")),
        (json!({"personal": "No"}), Some("whose data it is")),
        (json!({"grid": "Minute"}), Some("the grid")),
        (json!({"text_questions": true}), Some("whether words are taken")),
        (json!({"fields": ["level", "shop"]}), Some("the list of fields")),
        (json!({"group_fields": []}), Some("the list of fields to group by")),
        (json!({"numbers": [{"field": "price", "bounds": [1]}]}), Some("the list of numbers")),
        (json!({"group_fields": [["shop", [[64, "a"], [65, "b"]]]]}), Some("the list of values")),
    ] {
        let rules = rules(change.clone());
        let answer = by(&rules, asked(0, &[], 10 * MINUTE, 3));
        let found = judged(std::slice::from_ref(&rules), [vec![changed(3)], answer.clone()].concat());
        match wanted {
            None => assert_eq!(found.found, []),
            Some(wanted) => {
                assert!(
                    found.found.len() == 1 && whys(&found)[0].contains(&format!("{wanted} in the statement")),
                    "{found:?}"
                );
            }
        }
        // Of another version, or told anew since, the statement says nothing.
        let later = Statement { policy_version: 4, ..statement() };
        assert_eq!(
            judged_by(&later, std::slice::from_ref(&rules), [vec![changed(3)], answer.clone()].concat()).found,
            []
        );
        assert_eq!(judged(&[rules], [vec![changed(3)], answer, vec![started()]].concat()).found, []);
    }
}

#[test]
fn an_answer_that_names_no_rules_is_counted_and_found_behind_one_that_does() {
    let (then, plain) = (wide(), || asked(1, &[64], 10 * MINUTE, 2).to_vec());
    for (events, wanted) in [
        ([plain(), by(&then, asked(1, &[64], 10 * MINUTE, 2))].concat(), (1, None)),
        ([by(&then, asked(1, &[64], 10 * MINUTE, 2)), plain()].concat(), (1, Some(4))),
    ] {
        let mut answers = Answers::default();
        for (number, event) in (1..).zip(events) {
            answers.take(number, &Entry::specimen(Timestamp(1), None, event));
        }
        assert_eq!(answers.unnamed, wanted);
        assert_eq!(answers.pages().into_keys().collect::<Vec<_>>(), [then.digest()]);
    }
}

#[test]
fn an_entry_says_no_smaller_group_than_its_rules_and_nothing_below_is_told() {
    let k = |k: u32| rules(json!({"k": k})).numbers_of().0;
    let rules = rules(json!({"k": 20, "text_questions": true}));
    let word = Literal::try_from("timeout".to_owned()).expect("short");
    let word = Filter::Text { how: TextMatch::Words, literal: word, negated: false };
    for (said, filters, records, wanted) in [
        (Some(k(20)), vec![], 9, None),
        (Some(k(21)), vec![], 3, Some("the entry says a smallest group of 21")),
        (None, vec![], 9, None),
        (Some(k(19)), vec![], 9, Some("the entry says a smallest group of 19")),
        (
            Some(k(20)),
            vec![],
            2,
            Some("the answer counts 2 records of stream `shop`, and by policy version 2 no cell of fewer than 3"),
        ),
        // Nothing is told where there are none.
        (Some(k(20)), vec![], 0, None),
        (Some(k(20)), vec![word.clone()], 20, None),
        (Some(k(20)), vec![word.clone()], 19, Some("no cell of fewer than 20 may be told")),
    ] {
        let answer = under(&rules, said, counted((1, &[64], &filters), 10 * MINUTE, 2, records));
        let found = judged(std::slice::from_ref(&rules), [vec![changed(2)], answer, vec![changed(3)]].concat());
        assert_eq!(found.found.len(), usize::from(wanted.is_some()), "{said:?} {records}: {found:?}");
        assert!(wanted.is_none_or(|wanted| whys(&found)[0].contains(wanted)), "{found:?}");
    }
}

#[test]
fn no_rules_have_a_smaller_group_than_a_policy_may_have() {
    for (change, is_found) in [
        (json!({"k": 3}), false),
        (json!({"k": 2}), true),
        (json!({"k": 50, "personal": "Undeclared"}), false),
        (json!({"k": 49, "personal": "Undeclared"}), true),
        (json!({"k": 1, "personal": "No"}), false),
    ] {
        let rules = rules(change.clone());
        let answer = by(&rules, counted((1, &[64], &[]), 10 * MINUTE, 2, 9));
        let found = judged(std::slice::from_ref(&rules), [vec![changed(2)], answer, vec![changed(3)]].concat());
        assert_eq!(found.found.len(), usize::from(is_found), "{change}: {found:?}");
        assert!(whys(&found).iter().all(|why| why.contains("under which no policy may go")), "{found:?}");
    }
}

#[test]
fn an_entry_without_a_smallest_group_is_counted_and_found_behind_one_that_says_it() {
    let then = wide();
    let k = then.numbers_of().0;
    let one = |k| under(&then, k, asked(1, &[64], 10 * MINUTE, 2));
    for (events, wanted) in
        [([one(None), one(Some(k))].concat(), (1, None)), ([one(Some(k)), one(None)].concat(), (1, Some(4)))]
    {
        let mut answers = Answers::default();
        for (number, event) in (1..).zip(events) {
            answers.take(number, &Entry::specimen(Timestamp(1), None, event));
        }
        assert_eq!(answers.without_k, wanted);
    }
}

#[test]
fn many_versions_are_told_on_one_page() {
    let judged = Judged { answers: (1..=30).map(|version| (version, 2)).collect(), ..Judged::default() };
    let words = judged.words();
    assert!(
        words.starts_with("2 under 30, 2 under 29, ") && words.ends_with(", 2 under 11, 20 under 10 earlier ones"),
        "{words}"
    );
}
