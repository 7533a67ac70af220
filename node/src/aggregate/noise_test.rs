//! Noise on released cells (CBAP-1 rule R11): drawn once, on a bounded part of each subject, paid for before it is drawn, and
//! never left out where the policy wants it.

use std::collections::BTreeMap;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::ids::{DictionaryId, FieldId, Level, RecordCount};
use domicile_proto::leaf::LeafWidth;
use domicile_proto::message::answer::{Outcome, RefusalCode};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::{NumberField, Personal};
use domicile_proto::noise::{self, Mechanism, Noise};

use super::model::{asked, name, question};
use super::released_model::{K, Record, Region, cells};
use crate::errors::Coded;
use crate::store::Faults;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const NOISE: Noise = Noise { mechanism: Mechanism::Gaussian, epsilon: 1_000, records: 1 };
const HOLE: Cell = Cell { records: RecordCount(0), withheld: 1 };

fn noisy(noise: Noise) -> Region {
    let mut region = Region::new(Personal::Subject(name("user")), K);
    region.view.policy.grid = LeafWidth::Hour;
    region.view.policy.noise = Some(noise);
    region.turn_to(3 * DAY);
    region
}

/// One record of each subject, at the beginning of an hour.
fn people(hour: i64, level: usize, subjects: impl IntoIterator<Item = u64>) -> Vec<Record> {
    let record = |subject| Record { at: hour * HOUR + 5, level, service: Some(0), subject: Some(subject) };
    subjects.into_iter().map(record).collect()
}

/// Subjects that count in an hour.
fn counted(hour: i64, first: u64, many: usize) -> impl Iterator<Item = u64> + Clone {
    (first..).filter(move |subject| noise::counts(*subject, hour * HOUR, 3_600)).take(many)
}

fn hours(from: i64, to: i64, ask: Ask) -> Question {
    question((from * HOUR, to * HOUR), vec![], ask)
}

const fn by_hour(first: i64, len: u32) -> Ask {
    Ask::DateGrid(Grid { first, step: 3_600, len })
}

impl Region {
    fn told(&self, question: &Question) -> Vec<u64> {
        cells(&self.aggregate(question)).iter().map(|cell| cell.records.0).collect()
    }

    /// The refusal, with the code that the operator of the region reads.
    fn refused(&self, question: &Question) -> Option<(RefusalCode, Option<&'static str>)> {
        let asked = asked(question, &self.view, self.policy.clone());
        let judged = self.runtime.block_on(self.releases.answer(asked, self.segments.clone()));
        match judged.answered.answer().outcome {
            Outcome::Refused(code) => Some((code, judged.error.map(|error| error.code()))),
            _ => None,
        }
    }
}

#[test]
fn no_exact_number_is_told_and_the_answer_says_so() {
    for mechanism in [Mechanism::Gaussian, Mechanism::Laplace] {
        let noise = Noise { mechanism, ..NOISE };
        let mut region = noisy(noise);
        region.ingest((0..24).flat_map(|hour| people(hour, 0, counted(hour, 0, 400))).collect());
        let told = region.told(&hours(0, 24, by_hour(0, 24)));
        let far = told.iter().map(|told| told.abs_diff(400)).collect::<Vec<_>>();
        assert!(far.iter().filter(|far| **far > 0).count() > 12, "{told:?}");
        assert!(far.iter().all(|far| *far < 400), "and yet they are near: {told:?}");
        assert_eq!(region.ask(&hours(0, 24, Ask::Count)).header.noise, Some(noise));
        // As far off as the noise says: of 24 draws the mean square is that of the law, or nearly.
        let square = far.iter().map(|far| far * far).sum::<u64>() / 24;
        let wanted = noise.deviation().pow(2);
        assert!((wanted / 8..wanted * 5).contains(&square), "{square} instead of {wanted}");
    }
}

#[test]
fn an_average_of_a_thousand_repeats_is_one_answer() {
    let mut region = noisy(NOISE);
    region.ingest(people(0, 0, counted(0, 0, 100)));
    let count = hours(0, 1, Ask::Count);
    let first = region.ask(&count);
    for turn in 0..1_000 {
        if turn % 250 == 0 {
            region.restart();
        }
        assert_eq!(region.ask(&count), first, "repeat {turn}");
    }
}

#[test]
fn other_grids_and_ranges_over_the_same_hours_are_told_the_same_noise() {
    let mut region = noisy(NOISE);
    region.ingest((0..12).flat_map(|hour| people(hour, 0, counted(hour, 0, 300))).collect());
    let leaves = region.told(&hours(0, 12, by_hour(0, 12)));
    for from in 0..12_usize {
        for to in from + 1..=12 {
            let sum = leaves[from..to].iter().sum::<u64>();
            assert_eq!(region.told(&hours(from as i64, to as i64, Ask::Count)), [sum], "hours {from} to {to}");
        }
    }
    for step in [2, 3, 4, 6] {
        let grid = Ask::DateGrid(Grid { first: 0, step: step * 3_600, len: 12 / step });
        let sums: Vec<u64> = leaves.chunks(step as usize).map(|hours| hours.iter().sum()).collect();
        assert_eq!(region.told(&hours(0, 12, grid)), sums, "in steps of {step} hours");
    }
    // Rising ranges with a negated value are sums of another table, whose cells are as old as the first question.
    let not_error = vec![Filter::Level { levels: vec![Level::Error], negated: true }];
    let told = |region: &Region| region.told(&question((0, 12 * HOUR), not_error.clone(), by_hour(0, 12)));
    let before = told(&region);
    region.restart();
    assert_eq!(told(&region), before);
}

#[test]
fn a_subject_counts_in_sixteen_hours_of_a_day_and_with_one_record_in_each() {
    let mut region = noisy(NOISE);
    let crowd = (0..24).flat_map(|hour| people(hour, 0, 0..600));
    let chatty = (0..24).flat_map(|hour| (0..400).flat_map(move |_| people(hour, 1, [7_777])));
    region.ingest(crowd.chain(chatty).collect());
    let [told] = region.told(&hours(0, 24, Ask::Count))[..] else { panic!("one number") };
    // 601 subjects in 16 of 24 hours; without the bound of the day it were 14,424, and without that of the cell far more. The sum
    // of 24 draws is some 210 off.
    assert!(told.abs_diff(601 * 16) < 1_500, "{told}");
}

#[test]
fn a_subject_counts_in_one_cell_of_an_hour() {
    let mut region = noisy(NOISE);
    let everywhere = (0..24).flat_map(|hour| (0..3).flat_map(move |level| people(hour, level, counted(hour, 0, 900))));
    region.ingest(everywhere.collect());
    let told: u64 = region.told(&hours(0, 24, Ask::Terms(FieldId(0)))).iter().sum();
    // 24 hours of 900 subjects in one of three levels each; 72 draws are 360 off.
    assert!(told.abs_diff(24 * 900) < 3_000, "{told}");
}

#[test]
fn a_day_tells_of_four_tables_and_refuses_the_fifth_also_after_a_restart() {
    let mut region = noisy(NOISE);
    region.view.policy.group_fields.push(name("hidden"));
    region.ingest([people(0, 0, counted(0, 0, 50)), people(25, 0, counted(25, 0, 50))].concat());
    let level = vec![Filter::Level { levels: vec![Level::Info], negated: false }];
    let both = question((0, HOUR), level, Ask::Terms(FieldId(1)));
    let paid = [hours(0, 1, Ask::Terms(FieldId(0))), hours(0, 1, Ask::Terms(FieldId(1))), both];
    let first: Vec<_> = paid.iter().map(|question| region.ask(question)).collect();
    let more = hours(0, 1, Ask::Terms(FieldId(2)));
    for _ in 0..3 {
        assert_eq!(region.refused(&more), Some((RefusalCode::NoiseSpent, Some("DMC-AGGREGATE-08"))));
        assert_eq!(paid.iter().map(|question| region.ask(question)).collect::<Vec<_>>(), first);
        region.restart();
    }
    assert_eq!(
        region.refused(&hours(0, 26, Ask::Terms(FieldId(2)))),
        Some((RefusalCode::NoiseSpent, Some("DMC-AGGREGATE-08")))
    );
    assert_eq!(region.refused(&hours(24, 26, Ask::Terms(FieldId(2)))), None, "the next day has its own");
    // A record that comes later is no way to a second draw either.
    region.ingest(people(0, 0, counted(0, 500, 50)));
    assert_eq!(
        paid.iter().map(|question| region.told(question)).collect::<Vec<_>>(),
        first.iter().map(numbers).collect::<Vec<_>>()
    );
    assert!(region.ask(&paid[0]).header.late_withheld, "and the answer says that it waits");
}

fn numbers(answer: &domicile_proto::message::answer::Answer) -> Vec<u64> {
    match &answer.outcome {
        Outcome::Aggregate(aggregate) => cells(aggregate).iter().map(|cell| cell.records.0).collect(),
        other => panic!("no aggregate: {other:?}"),
    }
}

#[test]
fn whatever_step_fails_the_budget_is_spent_once_and_nothing_exact_is_told() {
    for is_done in [false, true] {
        for after in 0..8 {
            let mut region = noisy(NOISE);
            region.ingest((0..8).flat_map(|hour| people(hour, 0, counted(hour, 0, 300))).collect());
            let level = hours(0, 8, Ask::TermGrid(FieldId(0), Grid { first: 0, step: 3_600, len: 8 }));
            region.store.fail(Faults { after, count: 1, is_done, ..Faults::default() });
            let before = region.refused(&level);
            region.store.fail(Faults::default());
            region.restart();
            let told = region.told(&level);
            assert!(told.iter().filter(|told| **told == 300).count() < 4, "after {after} calls ({before:?}): {told:?}");
            region.restart();
            assert_eq!(region.told(&level), told);
            let charges = region.runtime.block_on(region.store.list("noise")).unwrap().len();
            assert_eq!(charges, 2, "the total and one table, whatever failed after {after} calls");
        }
    }
}

#[test]
fn what_is_withheld_cannot_be_reckoned_from_totals_either() {
    let mut region = noisy(NOISE);
    // Two people made errors, fewer than k: the next smallest level is withheld with them, as without noise.
    region.ingest(
        [people(0, 0, counted(0, 0, 400)), people(0, 1, counted(0, 10_000, 200)), people(0, 2, counted(0, 20_000, 2))]
            .concat(),
    );
    let Aggregate::Terms(terms) = region.aggregate(&hours(0, 1, Ask::Terms(FieldId(0)))) else { panic!("terms") };
    let told: BTreeMap<DictionaryId, Cell> = terms.cells.into_iter().collect();
    let at = |level: Level| told[&level.dictionary_id()];
    assert_eq!((at(Level::Error), at(Level::Warn)), (HOLE, HOLE));
    assert_eq!(at(Level::Info).withheld, 0);
    let [total] = region.told(&hours(0, 1, Ask::Count))[..] else { panic!("one number") };
    assert_ne!(total - at(Level::Info).records.0.min(total), 202, "the rest is 202, and two draws away from it");
}

#[test]
fn what_could_only_be_told_without_noise_is_refused() {
    let mut region = noisy(NOISE);
    region.view.fields.push(name("ms"));
    region.view.policy.numbers = vec![NumberField { field: name("ms"), bounds: vec![10, 100] }];
    region.ingest(people(0, 0, counted(0, 0, 50)));
    let literal = Literal::try_from("ok".to_owned()).unwrap();
    let text = vec![Filter::Text { how: TextMatch::Words, literal, negated: false }];
    let layout = domicile_proto::aggregate::sum::SumLayout { field: FieldId(3), by: None, grid: None };
    let exact = Some((RefusalCode::NotWithNoise, None));
    assert_eq!(region.refused(&question((0, HOUR), text, Ask::Count)), exact);
    assert_eq!(region.refused(&hours(0, 1, Ask::Sum(layout))), exact);
    assert_eq!(region.refused(&hours(0, 1, Ask::Numbers(FieldId(3)))), None);
    for personal in [Personal::No, Personal::Undeclared] {
        region.view.policy.personal = personal;
        assert_eq!(region.refused(&hours(0, 1, Ask::Count)), exact, "nobody knows whose records are whose");
    }
}

#[test]
fn what_was_told_with_noise_is_not_judged_again_without_and_the_other_way() {
    let mut region = noisy(NOISE);
    region.ingest([people(0, 0, counted(0, 0, 100)), people(1, 0, counted(1, 0, 100))].concat());
    let total = region.told(&hours(0, 1, Ask::Count));
    region.view.policy.noise = None;
    let levels = |from| hours(from, from + 1, Ask::Terms(FieldId(0)));
    assert!(cells(&region.aggregate(&levels(0))).iter().all(|cell| *cell == HOLE));
    assert_eq!(region.told(&hours(0, 1, Ask::Count)), total);
    assert_eq!(region.ask(&hours(0, 1, Ask::Count)).header.noise, Some(NOISE), "what it was told with");
    assert_eq!(region.told(&hours(1, 2, Ask::Count)), [100], "an officer has signed that");
    region.view.policy.noise = Some(NOISE);
    assert_eq!(region.told(&hours(1, 2, Ask::Count)), [100]);
    assert!(cells(&region.aggregate(&levels(1))).iter().all(|cell| *cell == HOLE));
}
