//! Sums, quantiles and distinct numbers, rule by rule: clamped, nobody's own, released once.

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::aggregate::sum::{SumCell, SumLayout};
use domicile_proto::codec;
use domicile_proto::ids::{FieldId, Level, RecordCount};
use domicile_proto::message::answer::{Outcome, RefusalCode};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::{NumberField, Personal};
use serde_json::json;

use super::model::{name, question};
use super::released_model::{K, Region};
use crate::segment::specimen::{durable, record, segment};

const MS: FieldId = FieldId(3);
const HOLE: SumCell = SumCell { records: RecordCount(0), total: 0, withheld: 1 };

const fn exactly(records: u64, total: i128) -> SumCell {
    SumCell { records: RecordCount(records), total, withheld: 0 }
}

const fn sum(by: Option<FieldId>, grid: Option<Grid>) -> Ask {
    Ask::Sum(SumLayout { field: MS, by, grid })
}

fn region(personal: Personal) -> Region {
    let mut region = Region::new(personal, K);
    region.turn_to(600);
    region.view.fields.push(name("ms"));
    region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![10, 100] }];
    region
}

fn people() -> Region {
    region(Personal::Subject(name("user")))
}

/// A record of a second, a level and a subject with a number of milliseconds.
type Timed<'a> = (i64, &'a str, u64, f64);

fn ingest(region: &mut Region, first: u64, records: &[Timed<'_>]) {
    let events = records.iter().map(|(at, level, subject, ms)| {
        record(at * 1_000_000, Some(*subject), json!({"level": level, "message": "ok", "service": "cart", "ms": ms}))
    });
    region.segments.push(segment(&region.layout, durable(1, first, events.collect())));
}

fn told(region: &Region, question: &Question) -> (Vec<Vec<SumCell>>, Vec<SumCell>) {
    match region.aggregate(question) {
        Aggregate::Sum(sum) => (sum.rows.into_iter().map(|(_, row)| row).collect(), sum.other),
        other => panic!("no sums: {other:?}"),
    }
}

fn total(region: &Region) -> SumCell {
    told(region, &question((0, 60), vec![], sum(None, None))).1[0]
}

#[test]
fn a_sum_is_clamped_to_its_bounds_and_told_of_enough_people() {
    let mut region = people();
    ingest(&mut region, 1, &[(1, "INFO", 1, 20.4), (2, "INFO", 2, 30.4), (3, "INFO", 3, 1e300), (4, "INFO", 4, -7.0)]);
    // 20.4 + 30.4 + 100 + 0: fractions count until the end.
    assert_eq!(total(&region), exactly(4, 151));
    let mut few = people();
    ingest(&mut few, 1, &[(1, "INFO", 1, 20.0), (2, "INFO", 2, 30.0), (3, "INFO", 2, 30.0)]);
    assert_eq!(total(&few), HOLE);
}

#[test]
fn a_sum_that_is_mostly_one_persons_is_withheld() {
    // (1,85): 100 of 115 are one person's.
    let mut dominated = people();
    ingest(&mut dominated, 1, &[(1, "INFO", 1, 100.0), (2, "INFO", 2, 5.0), (3, "INFO", 3, 5.0), (4, "INFO", 4, 5.0)]);
    assert_eq!(total(&dominated), HOLE);
    // The p%-rule: whoever is the second reckons the first to within 4 of 50.
    let mut reckoned = people();
    ingest(&mut reckoned, 1, &[(1, "INFO", 1, 50.0), (2, "INFO", 2, 50.0), (3, "INFO", 3, 2.0), (4, "INFO", 4, 2.0)]);
    assert_eq!(total(&reckoned), HOLE);
    let mut shared = people();
    ingest(&mut shared, 1, &[(1, "INFO", 1, 50.0), (2, "INFO", 2, 50.0), (3, "INFO", 3, 4.0), (4, "INFO", 4, 4.0)]);
    assert_eq!(total(&shared), exactly(4, 108));
}

#[test]
fn what_is_withheld_of_the_sums_by_value_is_nobodys_either() {
    let mut region = people();
    let mut records = Vec::new();
    for subject in 1..=4 {
        records.extend([(1, "INFO", subject, 40.0), (2, "WARN", subject, 30.0)]);
    }
    records.extend((1..=3).map(|subject| (3, "ERROR", subject, 20.0)));
    // One person's level: withheld, and with it the smallest of the others, or the total would give it away.
    records.push((4, "FATAL", 9, 90.0));
    ingest(&mut region, 1, &records);
    assert_eq!(total(&region), exactly(12, 430));
    let by_level = question((0, 60), vec![], sum(Some(FieldId(0)), None));
    let (rows, _) = told(&region, &by_level);
    let sums: Vec<i128> = rows.iter().flatten().filter(|cell| cell.withheld == 0).map(|cell| cell.total).collect();
    assert_eq!(sums, [160, 120], "{rows:?}");
    let only = |level| vec![Filter::Level { levels: vec![level], negated: false }];
    let of = |level| told(&region, &question((0, 60), only(level), sum(None, None))).1[0];
    assert_eq!((of(Level::Info), of(Level::Fatal), of(Level::Error)), (exactly(4, 160), HOLE, HOLE));
}

#[test]
fn a_sum_is_released_once_also_over_a_restart_and_late_records_follow() {
    let mut region = people();
    ingest(&mut region, 1, &[(1, "INFO", 1, 20.0), (2, "INFO", 2, 30.0), (3, "INFO", 3, 40.0)]);
    let by_minute = question((0, 180), vec![], sum(None, Some(Grid { first: 0, step: 60, len: 3 })));
    let first = told(&region, &by_minute);
    assert_eq!(first.1, [exactly(3, 90), HOLE, HOLE]);
    ingest(&mut region, 4, &[(4, "INFO", 4, 50.0), (5, "INFO", 5, 60.0)]);
    region.restart();
    assert_eq!(told(&region, &by_minute), first, "two late people wait");
    ingest(&mut region, 6, &[(6, "INFO", 6, 40.0)]);
    assert_eq!(told(&region, &by_minute).1, [exactly(6, 240), HOLE, HOLE]);
    // Other bounds clamp otherwise: of what was judged nothing more is told.
    region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![10, 50] }];
    assert_eq!(told(&region, &by_minute).1, [HOLE, HOLE, HOLE]);
}

#[test]
fn a_text_question_has_sums_of_its_own_leaves() {
    let mut region = people();
    ingest(&mut region, 1, &[(1, "INFO", 1, 20.0), (2, "INFO", 2, 30.0), (3, "INFO", 3, 40.0), (61, "INFO", 1, 9.0)]);
    let literal = |word: &str| Literal::try_from(word.to_owned()).unwrap();
    let text = |word| vec![Filter::Text { how: TextMatch::Words, literal: literal(word), negated: false }];
    let cell = |word| told(&region, &question((0, 60), text(word), sum(None, None))).1[0];
    assert_eq!((cell("ok"), cell("nothing")), (exactly(3, 90), HOLE));
    let (rows, other) = told(&region, &question((0, 120), text("ok"), sum(Some(FieldId(0)), None)));
    let of_info = rows.iter().flatten().filter(|cell| cell.records.0 > 0).collect::<Vec<_>>();
    assert_eq!(of_info, [&SumCell { withheld: 1, ..exactly(3, 90) }], "the second minute is one person's");
    assert_eq!(other, [HOLE]);
}

#[test]
fn a_stream_without_personal_data_is_added_up_as_it_is() {
    let mut region = Region::new(Personal::No, 1);
    region.view.fields.push(name("ms"));
    region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![10, 100] }];
    ingest(&mut region, 1, &[(1, "INFO", 1, 500.0), (61, "WARN", 1, 7.0), (62, "INFO", 1, 8.0)]);
    let grid = Grid { first: 0, step: 60, len: 3 };
    let by_minute = told(&region, &question((0, 180), vec![], sum(None, Some(grid))));
    assert_eq!(by_minute.1, [exactly(1, 100), exactly(2, 15), exactly(0, 0)]);
    let (rows, _) = told(&region, &question((0, 180), vec![], sum(Some(FieldId(0)), None)));
    assert!(rows.contains(&vec![exactly(2, 108)]) && rows.contains(&vec![exactly(1, 7)]), "{rows:?}");
    let scalar = |ask| region.aggregate(&question((0, 180), vec![], ask));
    assert!(
        matches!(scalar(Ask::Distinct(FieldId(0))), Aggregate::DistinctEstimate(found) if found.regions[0].1 == Some(2))
    );
    assert!(matches!(scalar(Ask::Quantile(MS, 500)), Aggregate::Quantile(found) if found.regions[0].1 == Some(10)));
}

#[test]
fn a_quantile_is_told_with_twice_the_threshold_on_each_side() {
    let quantile = |lower: u64, upper: u64| {
        let mut region = people();
        let slow = (0..upper).map(|subject| (2, "INFO", 100 + subject, 50.0));
        let records: Vec<_> = (0..lower).map(|subject| (1, "INFO", subject, 5.0)).chain(slow).collect();
        ingest(&mut region, 1, &records);
        match region.aggregate(&question((0, 60), vec![], Ask::Quantile(MS, 500))) {
            Aggregate::Quantile(found) => found.regions[0].1,
            other => panic!("no quantile: {other:?}"),
        }
    };
    let twice = u64::from(2 * K);
    assert_eq!(quantile(twice, twice), Some(10), "half of the numbers lie up to the first bound");
    assert_eq!(quantile(twice, twice - 1), None);
    assert_eq!(quantile(twice - 1, twice - 1), None);
    let ends = question((0, 60), vec![], Ask::Quantile(MS, 1_000));
    assert_eq!(
        people().ask(&ends).outcome,
        Outcome::Refused(RefusalCode::OutOfBounds),
        "the largest number is one record's"
    );
}

#[test]
fn distinct_values_are_counted_from_twenty_people_on_and_only_those_that_are_told() {
    let distinct = |most: u64| {
        let mut region = people();
        let mut records: Vec<_> = (0..most).map(|subject| (1, "INFO", subject, 5.0)).collect();
        records.extend((0..most.min(5)).map(|subject| (2, "WARN", subject, 5.0)));
        records.extend((0..5).map(|subject| (3, "ERROR", subject, 5.0)));
        records.push((4, "FATAL", 1, 5.0));
        ingest(&mut region, 1, &records);
        match region.aggregate(&question((0, 60), vec![], Ask::Distinct(FieldId(0)))) {
            Aggregate::DistinctEstimate(found) => found.regions[0].1,
            other => panic!("no number: {other:?}"),
        }
    };
    // FATAL is one person's; a level of five goes with it.
    assert_eq!((distinct(19), distinct(20)), (None, Some(2)));
}

#[test]
fn a_thousand_repeats_are_the_same_to_the_byte() {
    let mut region = people();
    let records: Vec<_> = (0..40).map(|subject| (1 + subject as i64 % 50, "INFO", subject, subject as f64)).collect();
    ingest(&mut region, 1, &records);
    for ask in
        [Ask::Count, Ask::Terms(FieldId(0)), Ask::Numbers(MS), sum(Some(FieldId(0)), None), Ask::Quantile(MS, 500)]
    {
        let question = question((0, 60), vec![], ask);
        let bytes = || codec::encode(&region.ask(&question)).unwrap();
        let first = bytes();
        for repeat in 0..1_000 {
            assert_eq!(bytes(), first, "repeat {repeat} of {ask:?}");
        }
    }
}
