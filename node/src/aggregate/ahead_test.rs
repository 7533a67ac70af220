//! What is released ahead is what would be released anyway, and neither too early nor twice. That answers do not change by it is
//! the law in `released_model`.

use domicile_proto::ids::Timestamp;
use domicile_proto::message::question::Ask;
use domicile_proto::metadata::Personal;

use super::super::answer::{Way, way};
use super::super::model::{asked, name, question};
use super::super::released_model::{K, Record, Region, cells};
use super::*;

const HOUR: i64 = 3_600;

fn region() -> Region {
    let mut region = Region::new(Personal::Subject(name("user")), K);
    let at = |hour: i64| {
        (0..5).map(move |subject| Record { at: hour * HOUR, level: 0, service: None, subject: Some(subject) })
    };
    region.ingest((0..24).flat_map(at).collect());
    region.turn_to(23 * HOUR + 30);
    region
}

impl Region {
    fn entries(&self) -> usize {
        self.runtime.block_on(self.store.list("released")).expect("a list").len()
    }

    fn count_of(&self, hour: i64) -> u64 {
        let aggregate = self.aggregate(&question((hour * HOUR, (hour + 1) * HOUR), vec![], Ask::Count));
        cells(&aggregate).iter().map(|cell| cell.records.0).sum()
    }
}

#[test]
fn an_hour_that_was_released_ahead_is_answered_without_another_entry_even_after_a_restart() {
    let mut region = region();
    assert_eq!(region.count_of(0), 5);
    assert_eq!(region.entries(), 1);
    assert_eq!(region.ahead(&question((0, HOUR), vec![], Ask::Count)), Some((0, 23 * HOUR - 60)));
    assert_eq!(region.entries(), 2);
    for hour in 0..23 {
        assert_eq!(region.count_of(hour), 5);
        region.restart();
    }
    assert_eq!(region.entries(), 2, "everything was there already");
}

#[test]
fn an_open_cell_is_not_released_ahead() {
    let mut region = region();
    region.ahead(&question((0, HOUR), vec![], Ask::Count));
    let late = (5..10).map(|subject| Record { at: 23 * HOUR, level: 0, service: None, subject: Some(subject) });
    region.ingest(late.collect());
    region.turn_to(24 * HOUR + 60);
    // All ten are one cell: none of them was judged while it was open.
    let minute = question((23 * HOUR, 23 * HOUR + 60), vec![], Ask::Count);
    assert_eq!(cells(&region.aggregate(&minute)).first().map(|cell| cell.records.0), Some(10));
    assert!(!region.ask(&minute).header.late_withheld);
}

#[test]
fn a_day_is_gone_through_again_only_when_more_of_it_has_closed() {
    let region = region();
    let asked = asked(&question((0, 30 * HOUR), vec![], Ask::Count), &region.view, region.policy.clone());
    let Ok(Way::Table(fields)) = way(&asked) else { panic!("a table") };
    let ahead = Ahead::default();
    let at = |second: i64| Timestamp(second * Timestamp::MICROS);
    let days = |ahead: &Ahead, now: i64| ahead.days(&asked, &fields, at(now));
    let first = days(&ahead, 23 * HOUR);
    assert_eq!(first.len(), 1);
    for (page, closed) in first {
        ahead.note(page, closed.to);
    }
    assert!(days(&ahead, 23 * HOUR + 59).is_empty());
    assert_eq!(days(&ahead, 23 * HOUR + 60).len(), 1);
    assert_eq!(days(&ahead, 26 * HOUR).len(), 2, "a day that has ended and one that has begun");
    let far = TimeRange { from: at(-1_000 * 24 * HOUR), to: at(1_000 * 24 * HOUR) };
    let mut all = asked.clone();
    all.question.range = far;
    let found = ahead.days(&all, &fields, at(26 * HOUR));
    assert_eq!(found.len() as i64, DAYS_AHEAD, "the limit, and the last days of it");
    assert!(found.iter().all(|(_, closed)| closed.to <= at(26 * HOUR)));
}

#[test]
fn what_is_known_of_days_has_a_bound() {
    let (region, ahead) = (region(), Ahead::default());
    let fields = FieldSet::new();
    for day in 0..=TABLES_AHEAD as i64 {
        ahead.note((ShardId(1), fields.clone(), day, region.policy.version), Timestamp(day));
        assert!(ahead.upto.lock().len() <= TABLES_AHEAD);
    }
    assert!(ahead.upto.lock().len() < TABLES_AHEAD, "the limit was reached");
}

#[test]
fn a_book_that_is_half_full_is_filled_by_questions_alone() {
    let mut book = super::super::book::Book::with_room(2);
    assert!(book.has_room_ahead());
    let cut = super::super::book::CutRow {
        start: 0,
        width: 60,
        after: 0,
        upto: 5,
        records: 5,
        k: domicile_proto::ids::KThreshold(std::num::NonZeroU32::MIN),
        by_records: false,
        journal: 0,
        noisy: None,
    };
    let entry = super::super::book::Entry { version: 1, cuts: vec![cut], ..Default::default() };
    book.apply(&entry).expect("it follows");
    assert!(!book.has_room_ahead());
}
