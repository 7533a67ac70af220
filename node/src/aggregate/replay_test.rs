//! Answers that are asked again: the same whatever came later, and other ones where a number was changed anywhere.

use std::collections::BTreeSet;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::ids::{FieldId, KThreshold, Timestamp};
use domicile_proto::message::answer::{Answer, Outcome};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::{NumberField, Personal};
use domicile_proto::noise::{Mechanism, Noise};
use serde_json::Value;

use super::answer::Asked;
use super::model::{asked, name, question};
use super::released_model::{K, Record, Region};
use super::replay::Replayed;
use crate::classify::Upheld;
use crate::policy::{Scope, Suppressed, Suppression};

fn people(at: i64, subjects: impl IntoIterator<Item = u64>) -> Vec<Record> {
    subjects.into_iter().map(|subject| Record { at, level: 0, service: Some(0), subject: Some(subject) }).collect()
}

fn region(personal: Personal) -> Region {
    let mut region = Region::new(personal, K);
    region.turn_to(600);
    region.ingest([people(10, 0..5), people(70, 0..4), people(130, 0..9)].concat());
    region
}

fn of_people() -> Region {
    region(Personal::Subject(name("user")))
}

/// The last answer with one record more in its first cell.
fn with_one_more(answer: &Answer) -> Answer {
    let mut changed = answer.clone();
    match &mut changed.outcome {
        Outcome::Aggregate(Aggregate::Count(count)) => count.cell.records.0 += 1,
        Outcome::Aggregate(Aggregate::Terms(terms)) => terms.cells[0].1.records.0 += 1,
        other => panic!("no such answer is changed here: {other:?}"),
    }
    changed
}

/// Changes the release journal where it lies, as somebody would who has the disk.
fn alter(region: &mut Region, change: impl Fn(&mut Value)) {
    region.runtime.block_on(async {
        let listed = region.store.list("released").await.unwrap();
        for (object, _) in listed {
            let mut entry: Value = serde_json::from_slice(&region.store.read(&object).await.unwrap()).unwrap();
            change(&mut entry);
            region.store.delete(&object).await.unwrap();
            region.store.create(&object, serde_json::to_vec(&entry).unwrap().into()).await.unwrap();
        }
    });
    region.restart();
}

#[test]
fn what_came_later_changes_nothing_of_what_was_answered() {
    let literal = Literal::try_from("ok".to_owned()).unwrap();
    let text = vec![Filter::Text { how: TextMatch::Words, literal, negated: false }];
    for personal in [Personal::Subject(name("user")), Personal::No] {
        let mut region = region(personal);
        for ask in [Ask::Count, Ask::Terms(FieldId(0)), Ask::Terms(FieldId(1)), Ask::Distinct(FieldId(1))] {
            region.ask(&question((0, 180), vec![], ask));
            region.ask(&question((0, 180), text.clone(), ask));
        }
        region.ingest([people(20, 20..22), people(75, 30..40)].concat());
        region.replays_all();
        region.ask(&question((0, 180), vec![], Ask::Count));
        region.merge();
        region.ingest(people(20, 50..60));
        region.ask(&question((0, 180), vec![], Ask::Terms(FieldId(0))));
        region.turn_to(6_000);
        region.restart();
        region.replays_all();
    }
}

#[test]
fn an_answer_with_a_changed_number_is_another_one_and_nothing_explains_it() {
    for personal in [Personal::Subject(name("user")), Personal::No] {
        let region = region(personal.clone());
        for ask in [Ask::Count, Ask::Terms(FieldId(0))] {
            region.ask(&question((0, 180), vec![], ask));
        }
        for (asked, drawn, answer) in &*region.told.borrow() {
            let found = region.replay(asked, *drawn, &with_one_more(answer));
            // Where cells were judged the records are counted apart from the answer; else the answer alone says how many.
            let missing = Some(u64::from(personal == Personal::No));
            assert_eq!(found, Replayed::Differs { missing, has_more: false });
        }
    }
}

#[test]
fn numbers_that_were_changed_in_the_journal_are_not_believed() {
    let levels = question((0, 180), vec![], Ask::Terms(FieldId(0)));
    let count = question((0, 180), vec![], Ask::Count);
    let lie = |change: &dyn Fn(&mut Value), asked_for: &Question| {
        let mut region = of_people();
        region.ask(asked_for);
        alter(&mut region, change);
        let (asked, drawn, honest) = region.told.borrow()[0].clone();
        let told = region.runtime.block_on(region.releases.answer(asked.clone(), region.segments.clone()));
        let told = told.answered.answer().clone();
        assert_ne!(told.outcome, honest.outcome, "the change reaches the answer");
        region.replay(&asked, drawn, &told)
    };
    let cell = |entry: &mut Value| {
        for cell in entry["tables"].as_array_mut().unwrap().iter_mut().map(|row| &mut row["cells"][0][1]) {
            *cell = (cell.as_u64().unwrap() + 7).into();
        }
    };
    assert_eq!(lie(&cell, &levels), Replayed::Differs { missing: Some(0), has_more: false });
    let more = |entry: &mut Value| entry["cuts"][0]["records"] = 12.into();
    assert_eq!(
        lie(&more, &count),
        Replayed::Differs { missing: Some(7), has_more: false },
        "five are there, not twelve"
    );
    let fewer = |entry: &mut Value| entry["cuts"][0]["records"] = 3.into();
    assert_eq!(lie(&fewer, &count), Replayed::Differs { missing: Some(0), has_more: true });
}

#[test]
fn a_person_who_was_erased_is_missing_by_number() {
    let region = of_people();
    region.ask(&question((0, 60), vec![], Ask::Count));
    region.ask(&question((60, 120), vec![], Ask::Terms(FieldId(0))));
    region.replays_all();
    let list = Suppression::default();
    list.add(&Suppressed {
        order: "o".into(),
        tenant: region.view.tenant,
        subjects: vec![4],
        tokens: Vec::new(),
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    });
    region.segments.iter().for_each(|segment| segment.sift(&list.now(), Scope::Open).unwrap());
    let told = region.told.borrow();
    let replayed = |place: usize| region.replay(&told[place].0, told[place].1, &told[place].2);
    assert_eq!(replayed(0), Replayed::Differs { missing: Some(1), has_more: false });
    let lie = with_one_more(&told[0].2);
    let replayed_lie = region.replay(&told[0].0, told[0].1, &lie);
    assert_eq!(replayed_lie, Replayed::Differs { missing: Some(1), has_more: true }, "an erasure excuses no lie");
    assert_eq!(replayed(1), Replayed::Same, "nobody of that minute was erased");
}

#[test]
fn records_that_were_deleted_at_the_end_of_retention_are_missing_by_number() {
    for personal in [Personal::Subject(name("user")), Personal::No] {
        let mut region = region(personal);
        region.ask(&question((0, 180), vec![], Ask::Count));
        region.segments.clear();
        let told = region.told.borrow();
        let found = region.replay(&told[0].0, told[0].1, &told[0].2);
        assert_eq!(found, Replayed::Differs { missing: Some(18), has_more: false });
    }
}

#[test]
fn the_rules_are_those_that_change_an_answer_and_no_others() {
    let region = of_people();
    let question = question((0, 60), vec![], Ask::Count);
    let rules = |change: &dyn Fn(&mut Region)| {
        let mut region = of_people();
        change(&mut region);
        asked(&question, &region.view, region.policy.clone()).rules()
    };
    let own = asked(&question, &region.view, region.policy.clone()).rules();
    assert_eq!(rules(&|region| region.view.policy.retention_days = std::num::NonZeroU16::new(3)), own);
    assert_eq!(rules(&|region| region.view.policy.refresh_ms = 30_000), own);
    let changes: [&dyn Fn(&mut Region); 6] = [
        &|region| region.view.policy.k = std::num::NonZeroU32::new(9).map(KThreshold),
        &|region| region.view.policy.personal = Personal::No,
        &|region| region.view.policy.grid = domicile_proto::leaf::LeafWidth::Hour,
        &|region| region.view.policy.text_questions = false,
        &|region| region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![1] }],
        &|region| region.approve(1),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_ne!(rules(change), own, "change {place}");
    }
}

#[test]
fn noise_is_one_of_the_rules_that_an_answer_was_drawn_by() {
    let region = of_people();
    let rules = |noise: Option<Noise>| {
        let mut view = region.view.clone();
        view.policy.noise = noise;
        asked(&question((0, 180), vec![], Ask::Count), &view, region.policy.clone()).rules()
    };
    let noise = Noise { mechanism: Mechanism::Gaussian, epsilon: 1_000, records: 1 };
    let all = [None, Some(noise), Some(Noise { epsilon: 999, ..noise }), Some(Noise { records: 2, ..noise })];
    let distinct: BTreeSet<[u8; 32]> = all.into_iter().map(rules).collect();
    assert_eq!(distinct.len(), all.len());
}

/// Asks everything again that was told, as the region treats the stream now.
fn again(region: &Region) -> Vec<Replayed> {
    let told = region.told.borrow();
    let now = |was: &Question| asked(was, &region.view, region.policy.clone());
    told.iter().map(|(was, drawn, answer)| region.replay(&now(&was.question), *drawn, answer)).collect()
}

/// Every kind of question, told under rules that do not hold any more.
fn under_earlier_rules(personal: Personal) -> Region {
    let mut region = region(personal);
    region.approve(1);
    let literal = Literal::try_from("ok".to_owned()).unwrap();
    let text = vec![Filter::Text { how: TextMatch::Words, literal, negated: false }];
    for ask in [Ask::Count, Ask::Terms(FieldId(0)), Ask::Terms(FieldId(1))] {
        region.ask(&question((0, 180), vec![], ask));
        region.ask(&question((0, 180), text.clone(), ask));
    }
    region.approve(0);
    region.view.policy.k = std::num::NonZeroU32::new(9).map(KThreshold);
    region.view.policy.grid = domicile_proto::leaf::LeafWidth::Hour;
    region.view.policy.group_fields.clear();
    region.view.policy.text_questions = false;
    region.restart();
    region
}

#[test]
fn an_answer_is_asked_again_by_the_rules_of_then_whatever_holds_now() {
    for personal in [Personal::Subject(name("user")), Personal::No] {
        let region = under_earlier_rules(personal);
        assert_eq!(again(&region), vec![Replayed::Same; 6]);
        region.told.borrow_mut().iter_mut().for_each(|(_, _, answer)| *answer = with_one_more(answer));
        for found in again(&region) {
            assert!(matches!(found, Replayed::Differs { .. }), "other rules excuse no lie: {found:?}");
        }
    }
}

#[test]
fn what_the_detectors_contradict_is_told_as_where_nothing_is_stated_and_asked_again_as_that() {
    let mut region = Region::new(Personal::No, 1);
    region.turn_to(0);
    region.ingest([people(20, 0..60), people(80, 0..3)].concat());
    region.turn_to(6_000);
    let told = |range: (i64, i64), stands: bool| {
        let stated = asked(&question(range, vec![], Ask::Count), &region.view, region.policy.clone());
        let stream = if stands { stated.stream.clone() } else { Upheld::contradicted(&region.view) };
        let now = Asked { stream, ..stated.clone() };
        let judged = region.runtime.block_on(region.releases.answer(now, region.segments.clone()));
        let (answer, drawn) = (judged.answered.answer().clone(), judged.drawn.expect("from something"));
        // Whoever asks again does so by the policy, which goes on stating it.
        assert_eq!(region.replay(&stated, drawn, &answer), Replayed::Same, "{answer:?}");
        (answer.outcome, drawn)
    };
    for range in [(0, 60), (60, 120)] {
        let ((open, by), (fallen, by_others)) = (told(range, true), told(range, false));
        assert_ne!(by.rules, by_others.rules);
        assert_eq!((by.k, by_others.k), (Some(KThreshold::NON_PERSONAL), Some(KThreshold::RECORDS)));
        let records = |outcome: &Outcome| match outcome {
            Outcome::Aggregate(Aggregate::Count(count)) => count.cell.records.0,
            _ => 0,
        };
        let wanted = if range.0 == 0 { (60, 60) } else { (3, 0) };
        assert_eq!((records(&open), records(&fallen)), wanted, "{fallen:?}");
    }
}

#[test]
fn without_the_rules_of_then_nobody_can_say_and_changed_ones_are_damage() {
    let region = under_earlier_rules(Personal::Subject(name("user")));
    let pages = region.runtime.block_on(region.store.list("rules")).unwrap();
    assert_eq!(pages.len(), 1, "one page for one set of rules, however often it was asked by them");
    let page = pages[0].0.clone();
    let whole = region.runtime.block_on(region.store.read(&page)).unwrap();
    region.runtime.block_on(region.store.delete(&page)).unwrap();
    assert!(again(&region).contains(&Replayed::OtherRules));
    let text = String::from_utf8(whole.to_vec()).unwrap();
    let changed = text.replace(&format!("\"k\":{K}"), "\"k\":1");
    assert_ne!(text, changed, "{text}");
    region.runtime.block_on(region.store.create(&page, changed.into())).unwrap();
    let told = region.told.borrow();
    let (was, drawn, answer) = &told[0];
    let now = asked(&was.question, &region.view, region.policy.clone());
    let found = region.releases.replay(now, region.segments.clone(), *drawn, answer.clone());
    let error = region.runtime.block_on(found).expect_err("its digest is another");
    assert!(matches!(error, super::AggregateError::Damaged { ref object } if *object == page), "{error}");
}
