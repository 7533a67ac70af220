//! The rules of the released table, one by one: closing, release once, late records, changes of policy, erasure, caps.

use std::collections::BTreeMap;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::ids::{
    DictionaryId, FieldId, KThreshold, Level, NodeId, RecordCount, ShardId, TimeRange, Timestamp,
};
use domicile_proto::leaf::LeafWidth;
use domicile_proto::message::answer::{Outcome, RefusalCode};
use domicile_proto::message::question::{Ask, Filter, Literal, TextMatch};
use domicile_proto::metadata::{NumberField, Personal};
use serde_json::json;

use super::model::{MINUTE, asked, name, question};
use super::released_model::{K, Record, Region, cells, event};
use crate::limits::BOOKS;
use crate::policy::{Scope, Suppressed, Suppression};
use crate::segment::specimen::{durable, record, segment};

impl Region {
    fn count(&self, range: (i64, i64), filters: Vec<Filter>) -> Cell {
        match self.aggregate(&question(range, filters, Ask::Count)) {
            Aggregate::Count(count) => count.cell,
            other => panic!("no count: {other:?}"),
        }
    }

    fn levels(&self, range: (i64, i64)) -> BTreeMap<DictionaryId, Cell> {
        match self.aggregate(&question(range, vec![], Ask::Terms(FieldId(0)))) {
            Aggregate::Terms(terms) => terms.cells.into_iter().collect(),
            other => panic!("no terms: {other:?}"),
        }
    }
}

fn people(at: i64, level: usize, subjects: impl IntoIterator<Item = u64>) -> Vec<Record> {
    subjects.into_iter().map(|subject| Record { at, level, service: Some(0), subject: Some(subject) }).collect()
}

fn region_of_people() -> Region {
    Region::new(Personal::Subject(name("user")), K)
}

const HOLE: Cell = Cell { records: RecordCount(0), withheld: 1 };

const fn exactly(records: u64) -> Cell {
    Cell::published(RecordCount(records))
}

#[test]
fn a_cell_is_released_only_after_it_has_closed() {
    let mut region = region_of_people();
    region.ingest(people(10, 0, 0..5));
    for (now, open_from, cell) in [(60, Some(0), HOLE), (119, Some(0), HOLE), (120, None, exactly(5))] {
        region.turn_to(now);
        let question = question((0, 60), vec![], Ask::Count);
        assert_eq!(region.ask(&question).header.open_from.map(|at| at.0), open_from, "at {now}");
        assert_eq!(region.count((0, 60), vec![]), cell, "at {now}");
    }
}

#[test]
fn late_records_wait_until_they_are_a_group_and_are_released_once() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest(people(10, 0, 0..5));
    let count = question((0, 60), vec![], Ask::Count);
    assert!(!region.ask(&count).header.late_withheld);
    region.ingest(people(20, 0, 7..9));
    for _ in 0..2 {
        let answer = region.ask(&count);
        assert!(answer.header.late_withheld);
        assert_eq!(region.count((0, 60), vec![]), exactly(5), "what is released does not change");
        region.restart();
    }
    region.ingest(people(30, 0, 9..10));
    assert_eq!(region.count((0, 60), vec![]), exactly(8));
    assert!(!region.ask(&count).header.late_withheld);
}

#[test]
fn what_was_released_is_the_same_after_a_restart_with_late_records_and_another_k() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest([people(10, 0, 0..5), people(70, 0, 0..4), people(10, 1, 0..4)].concat());
    let before = (region.count((0, 120), vec![]), region.levels((0, 120)));
    region.ingest(people(10, 0, 8..9));
    region.restart();
    assert_eq!((region.count((0, 120), vec![]), region.levels((0, 120))), before);
    region.view.policy.k = std::num::NonZeroU32::new(4).map(KThreshold);
    assert_eq!((region.count((0, 120), vec![]), region.levels((0, 120))), before);
    // Nothing that was not judged before is judged of these cells under the stricter policy.
    let services = question((0, 120), vec![], Ask::Terms(FieldId(1)));
    assert!(cells(&region.aggregate(&services)).iter().all(|cell| *cell == HOLE));
    // A laxer policy does not judge them again either: levels of one minute that were withheld stay so.
    let mut lax = region_of_people();
    lax.turn_to(600);
    lax.view.policy.k = std::num::NonZeroU32::new(5).map(KThreshold);
    lax.ingest([people(10, 0, 0..6), people(10, 1, 0..4)].concat());
    let strict = lax.levels((0, 60));
    lax.view.policy.k = std::num::NonZeroU32::new(3).map(KThreshold);
    assert_eq!(lax.levels((0, 60)), strict);
}

#[test]
fn another_width_never_cuts_across_what_was_released() {
    let mut region = region_of_people();
    region.turn_to(7_200);
    region.ingest([people(10, 0, 0..5), people(70, 0, 0..5), people(400, 0, 0..5)].concat());
    assert_eq!(region.count((0, 60), vec![]), exactly(5));
    region.view.policy.grid = LeafWidth::FiveMinutes;
    // The first five minutes hold a minute that was released: the rest of them stays back. The next are free.
    assert_eq!(region.count((0, 300), vec![]), Cell { records: RecordCount(5), withheld: 1 });
    assert_eq!(region.count((300, 600), vec![]), exactly(5));
    let fine = question((0, 600), vec![], Ask::DateGrid(Grid { first: 0, step: 60, len: 10 }));
    assert_eq!(region.ask(&fine).outcome, Outcome::Refused(RefusalCode::GridTooFine));
    region.view.policy.grid = LeafWidth::Minute;
    assert_eq!(region.count((360, 420), vec![]), HOLE, "a finer grid cannot take a released cell apart");
    assert_eq!(region.count((300, 600), vec![]), exactly(5));
}

#[test]
fn records_that_are_gone_do_not_show_as_a_difference() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest([people(10, 0, 0..5), people(10, 1, 0..6)].concat());
    assert_eq!(region.count((0, 60), vec![]), exactly(11));
    // One subject is erased before anybody asked for levels: then nobody can.
    region.segments = vec![segment(&region.layout, durable(1, 1, region.records.iter().take(10).map(event).collect()))];
    assert!(region.levels((0, 60)).values().all(|cell| *cell == HOLE));
    assert_eq!(region.count((0, 60), vec![]), exactly(11), "what was released stays");
}

#[test]
fn an_erased_subject_stays_in_cells_that_were_released_and_is_in_none_that_comes_after() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest([people(10, 0, 0..6), people(70, 0, 0..6), people(130, 0, 0..3)].concat());
    assert_eq!(region.count((0, 60), vec![]), exactly(6));
    let list = Suppression::default();
    list.add(&Suppressed {
        order: "o".into(),
        tenant: region.view.tenant,
        subjects: vec![0],
        tokens: Vec::new(),
        only: None,
        until: Timestamp(i64::MAX),
        is_purged: false,
    });
    region.segments.iter().for_each(|segment| segment.sift(&list.now(), Scope::Open).unwrap());
    let literal = || Literal::try_from("ok".to_owned()).unwrap();
    let text = || vec![Filter::Text { how: TextMatch::Words, literal: literal(), negated: false }];
    for _ in 0..2 {
        assert_eq!(region.count((0, 60), vec![]), exactly(6), "what was released stays");
        assert!(region.levels((0, 60)).values().all(|cell| *cell == HOLE), "and is not taken apart by the difference");
        assert_eq!(region.count((60, 120), vec![]), exactly(5));
        assert_eq!(region.count((60, 120), text()), exactly(5));
        assert_eq!(region.count((120, 180), vec![]), HOLE, "without the erased one they are too few");
        region.restart();
    }
}

#[test]
fn three_fields_are_too_many_and_two_are_not() {
    let mut region = region_of_people();
    region.view.policy.group_fields.push(name("hidden"));
    region.turn_to(600);
    let level = Filter::Level { levels: vec![Level::Info], negated: false };
    let service = Filter::Value { field: FieldId(1), values: vec![DictionaryId(64)], negated: true };
    let of = |filters: Vec<Filter>| question((0, 60), filters, Ask::Terms(FieldId(2)));
    assert!(matches!(region.ask(&of(vec![level.clone(), level.clone()])).outcome, Outcome::Aggregate(_)));
    let three = region.ask(&of(vec![level, service]));
    assert_eq!(three.outcome, Outcome::Refused(RefusalCode::TooManyFields));
}

#[test]
fn records_count_where_no_subject_is_declared() {
    let mut region = Region::new(Personal::Undeclared, 1);
    region.turn_to(600);
    region.ingest(vec![Record { at: 10, level: 0, service: None, subject: None }; 49]);
    assert_eq!(region.count((0, 60), vec![]), HOLE);
    region.ingest(vec![Record { at: 10, level: 0, service: None, subject: None }]);
    assert_eq!(region.count((0, 60), vec![]), exactly(50));
}

#[test]
fn streams_without_personal_data_have_no_closing_and_no_threshold() {
    let mut region = Region::new(Personal::No, 1);
    region.turn_to(0);
    region.ingest(people(10, 0, 0..1));
    assert_eq!(region.count((0, 60), vec![]), exactly(1));
    assert_eq!(region.ask(&question((0, 60), vec![], Ask::Count)).header.open_from, None);
}

#[test]
fn a_text_question_is_told_sums_of_closed_leaves_and_whom_it_is_about() {
    let mut region = region_of_people();
    region.turn_to(240);
    region.ingest([people(10, 0, 0..5), people(70, 0, 0..2), people(130, 0, 0..5), people(190, 0, 0..5)].concat());
    let text = |word: &str| {
        let literal = Literal::try_from(word.to_owned()).unwrap();
        vec![Filter::Text { how: TextMatch::Words, literal, negated: false }]
    };
    assert_eq!(region.count((0, 60), text("ok")), exactly(5));
    assert_eq!(region.count((60, 120), text("ok")), HOLE);
    let partly = |records| Cell { records: RecordCount(records), withheld: 1 };
    assert_eq!(region.count((0, 180), text("ok")), partly(10), "the total holds nothing of the small minute");
    assert_eq!(region.count((120, 240), text("ok")), partly(5), "the last minute is open");
    assert_eq!(region.count((0, 180), text("nothing")), HOLE);
    let coarse = question((0, 120), text("ok"), Ask::DateGrid(Grid { first: 0, step: 120, len: 1 }));
    let Aggregate::DateGrid(grid) = region.aggregate(&coarse) else { panic!("a grid") };
    assert_eq!(grid.cells, [partly(5)], "nor does a wider cell");
    let whom = |filters| {
        let asked = asked(&question((0, 180), filters, Ask::Count), &region.view, region.policy.clone());
        region.runtime.block_on(region.releases.answer(asked, region.segments.clone())).contributors
    };
    assert!(whom(vec![]).is_none());
    let (all, nobody) = (whom(text("ok")).expect("known"), whom(text("nothing")).expect("known"));
    assert!(all.is_too_near(&nobody, 6) && !all.is_too_near(&nobody, 5), "five people");
}

/// The people of a minute, each with a number of milliseconds.
fn timed(region: &mut Region, numbers: &[(u64, i64)]) {
    let records = numbers.iter().map(|(subject, ms)| {
        record(10_000_000, Some(*subject), json!({"level": "INFO", "message": "ok", "service": "cart", "ms": ms}))
    });
    region.segments = vec![segment(&region.layout, durable(1, 1, records.collect()))];
}

#[test]
fn numbers_are_counted_between_declared_bounds_and_only_there() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.view.fields.push(name("ms"));
    let numbers = |region: &Region| match region.ask(&question((0, 60), vec![], Ask::Numbers(FieldId(3)))).outcome {
        Outcome::Aggregate(Aggregate::FixedHistogram(found)) => Ok((found.bounds, found.cells)),
        Outcome::Refused(code) => Err(code),
        other => panic!("neither counts nor a refusal: {other:?}"),
    };
    assert_eq!(numbers(&region), Err(RefusalCode::FieldNotAllowed));
    let declare = |region: &mut Region, bounds: &[i64]| {
        region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: bounds.to_vec() }];
    };
    declare(&mut region, &[10, 100]);
    // A bound lies inside its cell; the one number above all of them takes the smallest cell with it.
    timed(&mut region, &[(1, -7), (2, 10), (3, 9), (4, 11), (5, 100), (6, 40), (7, 60), (8, 9_000)]);
    let expected = (vec![10, 100], vec![HOLE, exactly(4), HOLE]);
    assert_eq!(numbers(&region), Ok(expected));
    // Other bounds would cut the same records anew: of what was judged nothing more is told.
    declare(&mut region, &[10, 50]);
    assert_eq!(numbers(&region), Ok((vec![10, 50], vec![HOLE; 3])));
    // Together with a level the numbers are a table of two fields.
    declare(&mut region, &[10, 100]);
    let level = vec![Filter::Level { levels: vec![Level::Info], negated: false }];
    let by_level = question((0, 60), level, Ask::Numbers(FieldId(3)));
    assert_eq!(cells(&region.aggregate(&by_level)), [HOLE, exactly(4), HOLE]);
}

#[test]
fn numbers_of_a_stream_without_personal_data_are_counted_as_they_are() {
    let mut region = Region::new(Personal::No, 1);
    region.view.fields.push(name("ms"));
    region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![10, 100] }];
    timed(&mut region, &[(1, 5), (1, 50), (1, 500), (1, 5_000)]);
    let question = question((0, 60), vec![], Ask::Numbers(FieldId(3)));
    assert_eq!(cells(&region.aggregate(&question)), [exactly(1), exactly(1), exactly(2)]);
}

#[test]
fn a_record_of_another_century_costs_one_leaf() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest([people(10, 0, 0..5), people(-2_000_000_000, 0, 0..5)].concat());
    let mut all = question((0, 0), vec![], Ask::Count);
    all.range = TimeRange::ALL;
    let Aggregate::Count(count) = region.aggregate(&all) else { panic!("a count") };
    assert_eq!(count.cell, Cell { records: RecordCount(10), withheld: 1 });
    assert_eq!(region.ask(&all).header.open_from, Some(Timestamp(9 * MINUTE)));
}

#[test]
fn no_more_books_are_kept_in_memory_than_there_may_be_and_one_that_left_is_read_again() {
    let mut region = region_of_people();
    region.turn_to(600);
    region.ingest(people(10, 0, 0..5));
    let shard = |region: &mut Region, number: u64| region.view.shard = Some((ShardId(number), NodeId(1)));
    for number in 1..=BOOKS as u64 + 1 {
        shard(&mut region, number);
        assert_eq!(region.count((0, 60), vec![]), exactly(5));
        assert!(region.releases.books() <= BOOKS, "after {number} streams");
    }
    shard(&mut region, 1);
    region.ingest(people(20, 0, 5..7));
    assert_eq!(region.count((0, 60), vec![]), exactly(5), "what was released once is not measured again");
}
