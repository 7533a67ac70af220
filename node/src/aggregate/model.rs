//! The law of questions that are measured for themselves: what regions release and merge equals what a plain look at all
//! records gives, withheld cells and all. Of streams with personal data these are the text questions; what others are told
//! is the released table's, see `released_test`.
//!
//! The model below shares nothing with the code it judges but the message types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{
    DictionaryId, FieldId, KThreshold, Level, Name, NodeId, QuestionId, RecordCount, ShardId, StreamId, TenantId,
    TimeRange, Timestamp,
};
use domicile_proto::message::answer::{AnswerHeader, Outcome, RefusalCode};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch, TextPlace};
use domicile_proto::metadata::{Personal, StreamPolicy};
use proptest::prelude::*;
use serde_json::json;

use super::releases::{Judged, Releases};
use super::{Answered, Asked};
use crate::classify::Upheld;
use crate::clock::Clock;
use crate::index::builder::Layout;
use crate::policy::{Dictionary, Policy, StreamView};
use crate::query::{Budget, Engine};
use crate::segment::Segment;
use crate::segment::specimen::{durable, record, segment};
use crate::store::Store;
use crate::tasks::Tasks;

pub(super) const MINUTE: i64 = 60_000_000;
pub(super) const SERVICES: [&str; 4] = ["cart", "checkout", "billing", "secret"];
pub(super) const LEVELS: [Level; 4] = [Level::Info, Level::Warn, Level::Error, Level::Debug];
const WORDS: [&str; 3] = ["timeout", "connect", "ok"];

#[derive(Clone, Debug)]
struct Sketch {
    region: usize,
    /// In seconds.
    at: i64,
    level: usize,
    service: Option<usize>,
    subject: Option<u64>,
    word: usize,
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let one = (
        0..3_usize,
        0..600_i64,
        0..4_usize,
        prop::option::weighted(0.9, 0..4_usize),
        prop::option::weighted(0.9, 0..9_u64),
        0..3_usize,
    )
        .prop_map(|(region, at, level, service, subject, word)| Sketch {
            region,
            at,
            level,
            service,
            subject,
            word,
        });
    prop::collection::vec(one, 0..150)
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn view(personal: Personal, k: Option<u32>) -> StreamView {
    let k = k.and_then(std::num::NonZeroU32::new).map(KThreshold);
    let group_fields = vec![name("level"), name("service")];
    let policy = StreamPolicy { personal, k, group_fields, text_questions: true, ..StreamPolicy::default() };
    let fields = vec![name("level"), name("service"), name("hidden")];
    StreamView {
        id: StreamId(4),
        tenant: TenantId(3),
        name: name("app"),
        fields,
        policy,
        shard: Some((ShardId(1), NodeId(1))),
    }
}

/// Every region has approved other values: region `n` all known services but the one with its number.
pub(super) fn policy(region: usize) -> Policy {
    let all: BTreeMap<DictionaryId, String> =
        (64..).map(DictionaryId).zip(SERVICES.iter().take(3).map(|&service| service.to_owned())).collect();
    let approved =
        all.iter().filter(|(id, _)| id.0 as usize != 64 + region).map(|(id, text)| (*id, text.clone())).collect();
    let mut policy = Policy::empty("tokyo".parse().unwrap());
    policy.dictionaries.insert((TenantId(3), name("service")), Arc::new(Dictionary { texts: all, approved }));
    policy
}

pub(super) struct Words;

impl LiteralDetector for Words {
    fn finds_personal_data(&self, literal: &str) -> bool {
        literal.contains('@')
    }
}

fn segments(sketches: &[Sketch], region: usize) -> Vec<Arc<Segment>> {
    let layout = Layout::new();
    let records: Vec<_> = sketches.iter().filter(|sketch| sketch.region == region).collect();
    let mut first = 1;
    let mut built = Vec::new();
    for part in records.chunks(40) {
        let events = part.iter().map(|sketch| {
            let mut event = json!({"level": LEVELS[sketch.level].as_str(), "message": WORDS[sketch.word]});
            if let Some(service) = sketch.service {
                event.as_object_mut().unwrap().insert("service".to_owned(), json!(SERVICES[service]));
            }
            record(sketch.at * 1_000_000, sketch.subject, event)
        });
        built.push(segment(&layout, durable(region as u64, first, events.collect())));
        first += part.len() as u64;
    }
    built
}

pub(super) fn question(range: (i64, i64), filters: Vec<Filter>, ask: Ask) -> Question {
    let range = TimeRange { from: Timestamp(range.0 * 1_000_000), to: Timestamp(range.1 * 1_000_000) };
    let (tenant, stream) = (TenantId(3), StreamId(4));
    Question { id: QuestionId(9), tenant, stream, range, filters, ask, deadline_ms: 10_000 }
}

/// Releases of a region that begins here, long after everything.
pub(super) fn releases(store: Store, clock: &Clock) -> Releases {
    Releases::new(Engine::new().unwrap(), store, clock.clone(), Tasks::default())
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

pub(super) fn asked(question: &Question, view: &StreamView, policy: Policy) -> Asked {
    Asked {
        question: question.clone(),
        stream: Upheld::of_then(Arc::new(view.clone()), None),
        policy: Arc::new(policy),
        detector: Arc::new(Words),
        header: AnswerHeader::new(question.id, question.range),
        budget: Budget::until(Instant::now() + Duration::from_secs(60)),
    }
}

fn judged(
    question: &Question,
    view: &StreamView,
    region: usize,
    segments: Vec<Arc<Segment>>,
    budget: Option<Budget>,
) -> Judged {
    let clock = Clock::standing_at(Timestamp(1_000 * MINUTE));
    let mut asked = asked(question, view, policy(region));
    asked.budget = budget.unwrap_or(asked.budget);
    runtime().block_on(releases(Store::in_memory(), &clock).answer(asked, segments))
}

fn ask_region(question: &Question, view: &StreamView, region: usize, segments: Vec<Arc<Segment>>) -> Answered {
    let judged = judged(question, view, region, segments, None);
    assert!(judged.error.is_none(), "{:?}", judged.error);
    judged.answered
}

/// What the regions should tell together, reckoned from the records.
fn model(sketches: &[Sketch], question: &Question, personal: &Personal, k: u32) -> Option<Aggregate> {
    // Whole minutes, and whole cells where there is a grid.
    let (mut from, mut to) = (question.range.from.0, question.range.to.0);
    let step = question.ask.grid().map_or(MINUTE, |grid| i64::from(grid.step) * 1_000_000);
    for width in [MINUTE, step] {
        from = (from + width - 1).div_euclid(width) * width;
        to = to.div_euclid(width) * width;
    }
    let mut merged: Option<Aggregate> = None;
    for region in 0..3 {
        let approves = |service: usize| service < 3 && service != region;
        let passes = |sketch: &&Sketch| {
            let at = sketch.at * 1_000_000;
            let passes = |filter: &Filter| match filter {
                Filter::Level { levels, negated } => levels.contains(&LEVELS[sketch.level]) != *negated,
                Filter::Value { values, negated, .. } => {
                    let has =
                        |service: usize| approves(service) && values.iter().any(|id| id.0 as usize == 64 + service);
                    sketch.service.is_some_and(has) != *negated
                }
                Filter::Text { literal, how, negated } => holds(WORDS[sketch.word], literal, *how) != *negated,
                Filter::TextIn { place: TextPlace::Message, literal, how, negated } => {
                    holds(WORDS[sketch.word], literal, *how) != *negated
                }
                // No event of these has one.
                Filter::TextIn { place: TextPlace::Exception, negated, .. } => *negated,
            };
            sketch.region == region && from <= at && at < to && question.filters.iter().all(passes)
        };
        let mine: Vec<&Sketch> = sketches.iter().filter(passes).collect();
        let cell = |matches: &dyn Fn(&Sketch) -> bool| {
            let inside: Vec<&&Sketch> = mine.iter().filter(|sketch| matches(sketch)).collect();
            let subjects = match personal {
                Personal::Subject(_) => {
                    inside.iter().filter_map(|sketch| sketch.subject).collect::<BTreeSet<_>>().len()
                }
                _ => inside.len(),
            };
            let told = k == 1 || subjects >= k as usize;
            if told { Cell::published(RecordCount(inside.len() as u64)) } else { Cell::WITHHELD }
        };
        let in_cell = |sketch: &Sketch, grid: Grid, place: u32| {
            sketch.at.div_euclid(i64::from(grid.step)) == grid.first + i64::from(place)
        };
        let row = |grid: Grid, matches: &dyn Fn(&Sketch) -> bool| -> Vec<Cell> {
            (0..grid.len)
                .map(|place| cell(&|sketch: &Sketch| matches(sketch) && in_cell(sketch, grid, place)))
                .collect()
        };
        type Matches = Box<dyn Fn(&Sketch) -> bool>;
        let values = |field: FieldId| -> (Vec<(DictionaryId, Matches)>, Matches) {
            if field == FieldId(0) {
                let one = |level: Level| -> Matches { Box::new(move |sketch| LEVELS[sketch.level] == level) };
                let levels = Level::ALL.into_iter().map(|level| (level.dictionary_id(), one(level)));
                return (levels.collect(), Box::new(|_| false));
            }
            let one = |service: usize| -> Matches { Box::new(move |sketch| sketch.service == Some(service)) };
            let known = (0..3).filter(|service| *service != region);
            let known = known.map(|service| (DictionaryId(64 + service as u32), one(service)));
            (known.collect(), Box::new(move |sketch| sketch.service.is_some_and(|s| s >= 3 || s == region)))
        };
        let own = match question.ask {
            Ask::Count => Aggregate::Count(Count { cell: cell(&|_| true) }),
            Ask::DateGrid(grid) => Aggregate::DateGrid(DateGrid { grid, cells: row(grid, &|_| true) }),
            Ask::Terms(field) => {
                let (known, other) = values(field);
                let cells = known.iter().map(|(id, matches)| (*id, cell(matches))).collect();
                Aggregate::Terms(Terms { field, cells, other: cell(&other) })
            }
            Ask::TermGrid(field, grid) => {
                let (known, other) = values(field);
                let rows = known.iter().map(|(id, matches)| (*id, row(grid, matches))).collect();
                Aggregate::TermGrid(TermGrid { field, grid, rows, other: row(grid, &other) })
            }
            Ask::Numbers(_) | Ask::Sum(_) | Ask::Quantile(..) | Ask::Distinct(_) => unreachable!("`asks` has none"),
        };
        merged = Some(match merged {
            None => own,
            Some(before) => before.merge(own).unwrap(),
        });
    }
    merged
}

fn holds(word: &str, literal: &Literal, how: TextMatch) -> bool {
    match how {
        TextMatch::Prefix => word.starts_with(literal.as_str()),
        TextMatch::Words | TextMatch::Phrase => word == literal.as_str(),
    }
}

pub(super) fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let level = (prop::collection::vec(prop::sample::select(LEVELS.to_vec()), 1..3), any::<bool>())
        .prop_map(|(levels, negated)| Filter::Level { levels, negated });
    let value = (prop::collection::vec(60..68_u32, 1..4), any::<bool>()).prop_map(|(ids, negated)| Filter::Value {
        field: FieldId(1),
        values: ids.into_iter().map(DictionaryId).collect(),
        negated,
    });
    let text = (prop::sample::select(vec!["timeout", "con", "ok", "none"]), 0..3_usize, 0..3_usize, any::<bool>())
        .prop_map(|(word, how, place, negated)| {
            let how = [TextMatch::Words, TextMatch::Phrase, TextMatch::Prefix][how];
            let literal = Literal::try_from(word.to_owned()).unwrap();
            match [None, Some(TextPlace::Message), Some(TextPlace::Exception)][place] {
                None => Filter::Text { how, literal, negated },
                Some(place) => Filter::TextIn { place, how, literal, negated },
            }
        });
    prop::collection::vec(prop_oneof![level, value, text], 0..3)
}

pub(super) fn asks() -> impl Strategy<Value = Ask> {
    let grid = (0..9_i64, 1..3_u32, 1..12_u32).prop_map(|(first, step, len)| Grid { first, step: step * 60, len });
    (0..4, grid, 0..2_u16).prop_map(|(kind, grid, field)| match kind {
        0 => Ask::Count,
        1 => Ask::DateGrid(grid),
        2 => Ask::Terms(FieldId(field)),
        _ => Ask::TermGrid(FieldId(field), grid),
    })
}

fn personals() -> impl Strategy<Value = (Personal, Option<u32>, u32)> {
    prop_oneof![Just((Personal::No, None, 1)), Just((Personal::No, Some(4), 4)),]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_regions_release_and_merge_is_what_the_records_say(
        sketches in sketches(),
        range in (-100..700_i64, -100..700_i64),
        filters in filters(),
        ask in asks(),
        (personal, k, threshold) in personals(),
    ) {
        let view = view(personal.clone(), k);
        let question = question(range, filters, ask);
        let mut merged: Option<Aggregate> = None;
        for region in 0..3 {
            let answered = ask_region(&question, &view, region, segments(&sketches, region));
            let Outcome::Aggregate(own) = &answered.answer().outcome else { panic!("an aggregate") };
            prop_assert!(own.is_well_formed() && ask.is_answered_by(own));
            merged = Some(match merged {
                None => own.clone(),
                Some(before) => before.merge(own.clone()).unwrap(),
            });
        }
        prop_assert_eq!(merged, model(&sketches, &question, &personal, threshold));
    }

    /// A text question about persons: each cell is the sum of its leaves that at least k of them fill, and is exact only
    /// where every leaf is one; a value's cell holds no leaf that fewer fill.
    #[test]
    fn what_a_text_question_tells_is_sums_of_leaves_that_are_full(
        sketches in sketches(),
        range in (0..300_i64, 300..700_i64),
        ask in asks(),
        negated in any::<bool>(),
    ) {
        const K: usize = 3;
        let view = view(Personal::Subject(name("user")), Some(K as u32));
        let literal = Literal::try_from("timeout".to_owned()).unwrap();
        let question = question(range, vec![Filter::Text { how: TextMatch::Words, literal, negated }], ask);
        let answered = ask_region(&question, &view, 0, segments(&sketches, 0));
        let covered = answered.answer().header.covered;
        let Outcome::Aggregate(own) = &answered.answer().outcome else { panic!("an aggregate") };
        let full = |from: i64, to: i64, value: &dyn Fn(&Sketch) -> bool| {
            let leaf = |start: i64| {
                let at = start..start + 60;
                let holds = |sketch: &&Sketch| {
                    let matches = (WORDS[sketch.word] == "timeout") != negated;
                    sketch.region == 0 && at.contains(&sketch.at) && matches && value(sketch)
                };
                let found: Vec<&Sketch> = sketches.iter().filter(holds).collect();
                let subjects = found.iter().filter_map(|sketch| sketch.subject).collect::<BTreeSet<_>>().len();
                (subjects >= K).then_some(found.len() as u64)
            };
            let leaves: Vec<Option<u64>> = (from..to).step_by(60).map(leaf).collect();
            (leaves.iter().flatten().sum::<u64>(), !leaves.is_empty() && leaves.iter().all(Option::is_some))
        };
        let (from, to) = (covered.from.0 / 1_000_000, covered.to.0 / 1_000_000);
        let cell_of = |grid: Grid, place: usize| {
            let start = grid.start_of(place).0 / 1_000_000;
            let inside = from <= start && start + i64::from(grid.step) <= to;
            if inside { (start, start + i64::from(grid.step)) } else { (start, start) }
        };
        let level = |id: DictionaryId| move |sketch: &Sketch| LEVELS[sketch.level].dictionary_id() == id;
        match own {
            Aggregate::Count(count) => {
                let (records, is_whole) = full(from, to, &|_| true);
                prop_assert_eq!((count.cell.records.0, count.cell.is_exact()), (records, is_whole));
            }
            Aggregate::DateGrid(grid) => {
                for (place, cell) in grid.cells.iter().enumerate() {
                    let (from, to) = cell_of(grid.grid, place);
                    let (records, is_whole) = full(from, to, &|_| true);
                    prop_assert_eq!((cell.records.0, cell.is_exact()), (records, is_whole), "cell {}", place);
                }
            }
            Aggregate::Terms(terms) if terms.field == FieldId(0) => {
                for (id, cell) in &terms.cells {
                    let (records, is_whole) = full(from, to, &level(*id));
                    prop_assert!(cell.records.0 <= records && (is_whole || !cell.is_exact()));
                }
            }
            Aggregate::TermGrid(grid) if grid.field == FieldId(0) => {
                for (id, row) in &grid.rows {
                    for (place, cell) in row.iter().enumerate() {
                        let (from, to) = cell_of(grid.grid, place);
                        let (records, is_whole) = full(from, to, &level(*id));
                        prop_assert!(cell.records.0 <= records && (is_whole || !cell.is_exact()));
                    }
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_the_policy_does_not_allow_is_refused_here_too() {
    let text = |literal: &str| Filter::Text {
        how: TextMatch::Words,
        literal: Literal::try_from(literal.to_owned()).unwrap(),
        negated: false,
    };
    let long = Grid { first: 0, step: 60, len: 5_000 };
    let value = |field| Filter::Value { field: FieldId(field), values: vec![DictionaryId(64)], negated: false };
    let open = view(Personal::No, None);
    let mut silent = open.clone();
    silent.policy.text_questions = false;
    let mut elsewhere = question((0, 60), vec![], Ask::Count);
    elsewhere.stream = StreamId(5);
    for (question, view, code) in [
        (question((0, 60), vec![], Ask::Terms(FieldId(2))), &open, RefusalCode::FieldNotAllowed),
        (question((0, 60), vec![], Ask::Terms(FieldId(9))), &open, RefusalCode::FieldNotAllowed),
        (question((0, 60), vec![value(2)], Ask::Count), &open, RefusalCode::FieldNotAllowed),
        (question((0, 60), vec![text("ok")], Ask::Count), &silent, RefusalCode::TextNotAllowed),
        (question((0, 60), vec![text("a@b.c")], Ask::Count), &open, RefusalCode::PersonalLiteral),
        (elsewhere, &open, RefusalCode::UnknownStream),
    ] {
        let answered = ask_region(&question, view, 0, vec![]);
        assert_eq!(answered.answer().outcome, Outcome::Refused(code));
        assert_eq!(answered.answer().header.question, QuestionId(9));
    }
    let many = question((0, 60), vec![], Ask::TermGrid(FieldId(0), long));
    let refused = judged(&many, &open, 0, vec![], None);
    assert_eq!(refused.answered.answer().outcome, Outcome::Refused(RefusalCode::TooManyCells));
    assert!(refused.error.is_some());
    let one = [Sketch { region: 0, at: 1, level: 0, service: None, subject: None, word: 0 }];
    let count = question((0, 60), vec![], Ask::Count);
    for stream in [&open, &view(Personal::Undeclared, None)] {
        let late = judged(&count, stream, 0, segments(&one, 0), Some(Budget::until(Instant::now())));
        assert_eq!(late.answered.answer().outcome, Outcome::Refused(RefusalCode::Deadline));
        assert!(late.error.is_some());
    }
}

#[test]
fn an_answer_says_what_it_covers_and_under_which_policy() {
    let view = view(Personal::No, None);
    let covered = |range, ask| {
        let answered = ask_region(&question(range, vec![], ask), &view, 0, vec![]);
        let covered = answered.answer().header.covered;
        (covered.from.0 / 1_000_000, covered.to.0 / 1_000_000)
    };
    assert_eq!(covered((1, 299), Ask::Count), (60, 240));
    assert_eq!(covered((61, 62), Ask::Count).0, covered((61, 62), Ask::Count).1);
    let grid = Grid { first: 1, step: 120, len: 9 };
    assert_eq!(covered((0, 599), Ask::DateGrid(grid)), (120, 480));
    assert_eq!(covered((130, 599), Ask::DateGrid(grid)), (240, 480));
}
