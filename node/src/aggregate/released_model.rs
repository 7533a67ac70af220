//! The law of the released table: whatever is asked, in whatever order, before and after late records, merges and restarts,
//! every answer is a sum of leaf cells that were judged once.
//!
//! The model below looks at plain lists of records. It shares the judging of one table with the code (its own law is tested
//! in `proto`), and nothing else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::ids::{DictionaryId, KThreshold, Level, Name, RecordCount, Timestamp};
use domicile_proto::leaf::{Counted, LeafCell, Table, Threshold};
use domicile_proto::message::answer::{Answer, Outcome};
use domicile_proto::message::question::{Ask, Filter, Question};
use domicile_proto::metadata::Personal;
use proptest::prelude::*;
use serde_json::json;

use super::ahead::{Ahead, View};
use super::answer::{Asked, Way, way};
use super::model::{LEVELS, SERVICES, asked, asks, filters, name, policy, question, releases, runtime, view};
use super::releases::Releases;
use super::replay::Replayed;
use crate::audit::Drawn;
use crate::clock::Clock;
use crate::index::builder::Layout;
use crate::policy::{Dictionary, Policy, StreamView};
use crate::segment::Segment;
use crate::segment::specimen::{durable, record, segment};
use crate::store::Store;

pub(super) const K: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Record {
    /// In seconds.
    pub(super) at: i64,
    pub(super) level: usize,
    pub(super) service: Option<usize>,
    pub(super) subject: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Ingest(Vec<Record>),
    Turn(i64),
    Ask((i64, i64), Vec<Filter>, Ask),
    Ahead((i64, i64), Vec<Filter>, Ask),
    Restart,
    Merge,
    Approve(u32),
}

/// A region with its bucket, clock and segments; and the plain records beside it.
pub(super) struct Region {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) releases: Releases,
    pub(super) view: StreamView,
    pub(super) policy: Policy,
    pub(super) records: Vec<Record>,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) layout: Layout,
    pub(super) runtime: tokio::runtime::Runtime,
    /// What was asked, what the answer was drawn from, and the answer.
    pub(super) told: RefCell<Vec<(Asked, Drawn, Answer)>>,
}

impl Region {
    pub(super) fn new(personal: Personal, k: u32) -> Self {
        let (clock, store) = (Clock::standing_at(Timestamp(0)), Store::in_memory());
        let mut view = view(personal, Some(k));
        view.policy.text_questions = true;
        Self {
            releases: releases(store.clone(), &clock),
            clock,
            store,
            view,
            policy: policy(3),
            records: Vec::new(),
            segments: Vec::new(),
            layout: Layout::new(),
            runtime: runtime(),
            told: RefCell::default(),
        }
    }

    pub(super) fn turn_to(&self, second: i64) {
        self.clock.turn_to(Timestamp(second * 1_000_000));
    }

    pub(super) fn restart(&mut self) {
        self.releases = releases(self.store.clone(), &self.clock);
    }

    pub(super) fn ingest(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            let first = self.records.len() as u64 + 1;
            let events = records.iter().map(event).collect();
            self.segments.push(segment(&self.layout, durable(1, first, events)));
            self.records.extend(records);
        }
    }

    pub(super) fn merge(&mut self) {
        if !self.records.is_empty() {
            self.segments = vec![segment(&self.layout, durable(1, 1, self.records.iter().map(event).collect()))];
        }
    }

    pub(super) fn approve(&mut self, bits: u32) {
        let texts: BTreeMap<_, _> =
            (64..).map(DictionaryId).zip(SERVICES.iter().take(3).map(|text| (*text).to_owned())).collect();
        let approved = texts.clone().into_iter().filter(|(id, _)| bits >> (id.0 - 64) & 1 == 1).collect();
        let dictionary = Arc::new(Dictionary { texts, approved });
        self.policy.dictionaries.insert((self.view.tenant, name("service")), dictionary);
    }

    pub(super) fn ask(&self, question: &Question) -> Answer {
        let asked = asked(question, &self.view, self.policy.clone());
        let judged = self.runtime.block_on(self.releases.answer(asked.clone(), self.segments.clone()));
        assert!(judged.error.is_none(), "{:?}", judged.error);
        let answer = judged.answered.answer().clone();
        if !matches!(answer.outcome, Outcome::Refused(_)) {
            let drawn = judged.drawn.expect("an answer says what it was drawn from");
            // Without records that are gone or hidden since it cannot be, nor where numbers were drawn by lot.
            let docs: u64 = self.segments.iter().map(|segment| u64::from(segment.docs)).sum();
            let is_there = self.segments.iter().all(|segment| segment.hidden().is_empty());
            if answer.header.noise.is_none() && is_there && docs >= self.records.len() as u64 {
                assert_eq!(self.replay(&asked, drawn, &answer), Replayed::Same, "{answer:?}");
            }
            self.told.borrow_mut().push((asked, drawn, answer.clone()));
        }
        answer
    }

    /// Asks again, over the segments of now.
    pub(super) fn replay(&self, asked: &Asked, drawn: Drawn, answer: &Answer) -> Replayed {
        let again = self.releases.replay(asked.clone(), self.segments.clone(), drawn, answer.clone());
        self.runtime.block_on(again).expect("replayed")
    }

    /// Whether everything that was ever answered is answered again, byte by byte.
    pub(super) fn replays_all(&self) {
        for (asked, drawn, answer) in &*self.told.borrow() {
            assert_eq!(self.replay(asked, *drawn, answer), Replayed::Same, "{answer:?}");
        }
    }

    /// Releases ahead what a question would have released, and tells of which range.
    pub(super) fn ahead(&self, question: &Question) -> Option<(i64, i64)> {
        let asked = asked(question, &self.view, self.policy.clone());
        let Ok(Way::Table(fields)) = way(&asked) else { panic!("a table") };
        let days = Ahead::default().days(&asked, &fields, self.clock.now());
        let seconds = |at: Timestamp| at.0 / 1_000_000;
        let range = Some((seconds(days.last()?.1.from), seconds(days.first()?.1.to)));
        let segments = self.segments.clone();
        let view: View = Box::new(move || Some(segments.clone()));
        self.runtime.block_on(self.releases.release_ahead(&asked, &view, &fields, days)).expect("released");
        range
    }

    pub(super) fn aggregate(&self, question: &Question) -> Aggregate {
        match self.ask(question).outcome {
            Outcome::Aggregate(aggregate) => aggregate,
            other => panic!("no aggregate: {other:?}"),
        }
    }
}

pub(super) fn event(it: &Record) -> crate::classify::Classified {
    let mut event = json!({"level": LEVELS[it.level].as_str(), "message": "ok"});
    if let Some(service) = it.service {
        event.as_object_mut().unwrap().insert("service".to_owned(), json!(SERVICES[service]));
    }
    record(it.at * 1_000_000, it.subject, event)
}

/// What was released so far, by the plain rules.
#[derive(Default)]
struct Model {
    leaves: BTreeMap<i64, Vec<Generation>>,
}

/// Numbers of its records, and the dictionary of services it was judged with.
type Generation = (std::ops::Range<usize>, Option<Vec<u32>>);

const fn threshold() -> Threshold {
    let Some(k) = std::num::NonZeroU32::new(K) else { panic!() };
    Threshold { k: KThreshold(k), counted: Counted::Subjects }
}

/// Where a record stands along a field: an id, another value, or none.
fn slot(it: &Record, field: &Name, services: &[u32]) -> Option<Option<u32>> {
    if *field == Name::level() {
        return Some(Some(LEVELS[it.level].dictionary_id().0));
    }
    it.service.map(|service| Some(64 + service as u32).filter(|id| services.contains(id)))
}

type Key = Vec<Option<Option<u32>>>;

impl Model {
    /// The published cells of a generation.
    fn published(all: &[Record], fields: &[Name], services: &[u32]) -> BTreeMap<Key, u64> {
        let mut lines: Vec<Vec<Option<Option<u32>>>> = Vec::new();
        for field in fields {
            let levels: Vec<u32> = Level::ALL.iter().map(|level| level.dictionary_id().0).collect();
            let ids = if *field == Name::level() { &levels[..] } else { services };
            lines.push(ids.iter().map(|id| Some(Some(*id))).chain([Some(None), None]).collect());
        }
        let mut keys: Vec<Key> = vec![Vec::new()];
        for line in &lines {
            keys = keys.iter().flat_map(|key| line.iter().map(|slot| [key.clone(), vec![*slot]].concat())).collect();
        }
        let mut cells = vec![LeafCell::default(); keys.len()];
        for it in all {
            let key: Key = fields.iter().map(|field| slot(it, field, services)).collect();
            cells[keys.iter().position(|known| *known == key).unwrap()].add(it.subject, &threshold());
        }
        let dims: Vec<usize> = lines.iter().map(Vec::len).collect();
        let table = Table::judge(&dims, &cells, &threshold()).unwrap();
        table.cells().iter().map(|(place, records)| (keys[*place as usize].clone(), *records)).collect()
    }

    fn ask(&mut self, region: &Region, question: &Question, now: i64) -> (Vec<Cell>, Option<i64>, bool) {
        let approved: Vec<u32> =
            region.policy.dictionaries[&(region.view.tenant, name("service"))].approved.keys().map(|id| id.0).collect();
        let closes = (now - 60).div_euclid(60) * 60;
        // Whole minutes, and whole cells where there is a grid.
        let (mut from, mut to) = (question.range.from.0 / 1_000_000, question.range.to.0 / 1_000_000);
        let step = question.ask.grid().map_or(60, |grid| i64::from(grid.step));
        if let Some(grid) = question.ask.grid() {
            (from, to) = ((from + 59).div_euclid(60) * 60, to.div_euclid(60) * 60);
            (from, to) = (from.max(grid.first * step), to.max(from).min((grid.first + i64::from(grid.len)) * step));
        }
        from = (from + step - 1).div_euclid(step) * step;
        to = (to.div_euclid(step) * step).max(from);
        let inside: Vec<i64> = (from / 60..to / 60).map(|leaf| leaf * 60).filter(|leaf| leaf + 60 <= closes).collect();
        let mut late = false;
        for leaf in &inside {
            let generations = self.leaves.entry(*leaf).or_default();
            let after = generations.last().map_or(0, |(range, _)| range.end);
            let waiting: Vec<_> =
                region.records[after..].iter().filter(|it| it.at.div_euclid(60) * 60 == *leaf).collect();
            let subjects: BTreeSet<_> = waiting.iter().filter_map(|it| it.subject).collect();
            if subjects.len() >= K as usize {
                generations.push((after..region.records.len(), None));
            } else {
                late |= !waiting.is_empty() && !generations.is_empty();
            }
        }
        let mut fields = BTreeSet::new();
        fields.extend(question.ask.field().map(|field| region.view.fields[usize::from(field.0)].clone()));
        for filter in &question.filters {
            fields.insert(if let Filter::Value { .. } = filter { name("service") } else { Name::level() });
        }
        let fields: Vec<Name> = fields.into_iter().collect();
        let group = question.ask.field().map(|field| region.view.fields[usize::from(field.0)].clone());
        let rows: Vec<Option<u32>> = match &group {
            None => vec![None],
            Some(group) if *group == Name::level() => {
                Level::ALL.iter().map(|level| Some(level.dictionary_id().0)).chain([None]).collect()
            }
            Some(_) => approved.iter().copied().map(Some).chain([None]).collect(),
        };
        let buckets: Vec<(i64, i64)> = match question.ask.grid() {
            None => vec![(from, to)],
            Some(grid) => {
                (0..i64::from(grid.len)).map(|n| ((grid.first + n) * step, (grid.first + n + 1) * step)).collect()
            }
        };
        let mut cells = Vec::new();
        for row in &rows {
            for (begin, end) in &buckets {
                let (mut sum, mut has_hole) = (0, begin == end);
                for leaf in (begin / 60..end / 60).map(|leaf| leaf * 60) {
                    let generations = self.leaves.get_mut(&leaf).filter(|_| inside.contains(&leaf));
                    let generations = generations.map(|list| &mut list[..]).unwrap_or_default();
                    has_hole |= generations.is_empty();
                    for (range, dictionary) in generations {
                        let all: Vec<Record> = region.records[range.clone()]
                            .iter()
                            .filter(|it| it.at.div_euclid(60) * 60 == leaf)
                            .cloned()
                            .collect();
                        let services = if fields.contains(&name("service")) {
                            dictionary.get_or_insert_with(|| approved.clone()).clone()
                        } else {
                            Vec::new()
                        };
                        let (told, hole) = told(&all, &fields, &services, &approved, question, group.as_ref(), *row);
                        sum += told;
                        has_hole |= hole;
                    }
                }
                cells.push(Cell { records: RecordCount(sum), withheld: u16::from(has_hole) });
            }
        }
        (cells, (to > closes).then_some(closes.max(from)), late)
    }
}

/// What one generation tells of one row, and whether something is missing.
fn told(
    all: &[Record],
    fields: &[Name],
    services: &[u32],
    approved: &[u32],
    question: &Question,
    group: Option<&Name>,
    row: Option<u32>,
) -> (u64, bool) {
    let published = Model::published(all, fields, services);
    let mut lines: Vec<Key> = vec![Vec::new()];
    for field in fields {
        let levels: Vec<u32> = Level::ALL.iter().map(|level| level.dictionary_id().0).collect();
        let ids = if *field == Name::level() { &levels[..] } else { services };
        let line: Vec<_> = ids.iter().map(|id| Some(Some(*id))).chain([Some(None), None]).collect();
        lines = lines.iter().flat_map(|key| line.iter().map(|slot| [key.clone(), vec![*slot]].concat())).collect();
    }
    let (mut sum, mut hole) = (0, false);
    let at = |key: &Key, name: &Name| fields.iter().position(|field| field == name).map(|at| key[at]).unwrap();
    // What was approved after this was judged is among the others, and nobody knows how much of it.
    hole |= group.is_some_and(|group| *group != Name::level()) && row.is_some_and(|id| !services.contains(&id));
    for filter in &question.filters {
        if let Filter::Value { values, .. } = filter {
            hole |= values.iter().any(|id| approved.contains(&id.0) && !services.contains(&id.0));
        }
    }
    for key in &lines {
        let holds = |filter: &Filter| match filter {
            Filter::Level { levels, negated } => {
                let wanted = |id: u32| levels.iter().any(|level| level.dictionary_id().0 == id);
                at(key, &Name::level()).flatten().is_some_and(wanted) != *negated
            }
            Filter::Value { values, negated, .. } => {
                let values: Vec<u32> = values.iter().map(|id| id.0).filter(|id| approved.contains(id)).collect();
                let is_blind = values.iter().any(|id| !services.contains(id));
                match at(key, &name("service")) {
                    Some(Some(id)) => values.contains(&id) != *negated,
                    Some(None) => *negated && !is_blind,
                    None => *negated,
                }
            }
            Filter::Text { .. } | Filter::TextIn { .. } => unreachable!("no text is tabulated"),
        };
        let in_row = match group.map(|group| at(key, group)) {
            None => true,
            Some(None) => false,
            Some(Some(id)) => {
                let known = |id: &u32| group == Some(&Name::level()) || approved.contains(id);
                id.filter(known) == row
            }
        };
        if in_row && question.filters.iter().all(holds) {
            match published.get(key) {
                Some(records) => sum += records,
                None => hole = true,
            }
        }
    }
    (sum, hole)
}

pub(super) fn cells(aggregate: &Aggregate) -> Vec<Cell> {
    match aggregate {
        Aggregate::Count(count) => vec![count.cell],
        Aggregate::DateGrid(grid) => grid.cells.clone(),
        Aggregate::FixedHistogram(histogram) => histogram.cells.clone(),
        Aggregate::Terms(terms) => terms.cells.iter().map(|(_, cell)| *cell).chain([terms.other]).collect(),
        Aggregate::TermGrid(grid) => grid.rows.iter().flat_map(|(_, row)| row).chain(&grid.other).copied().collect(),
        _ => Vec::new(),
    }
}

fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    let one = (
        0..360_i64,
        0..4_usize,
        0..4_usize,
        prop::option::weighted(0.9, 0..4_usize),
        prop::option::weighted(0.95, 0..8_u64),
    );
    let one = one.prop_map(|(at, a, b, service, subject)| Record { at, level: a.min(b), service, subject });
    prop::collection::vec(one, 0..most)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tabulated = filters()
        .prop_map(|filters| filters.into_iter().filter(|filter| filter.literal().is_none()).collect::<Vec<_>>());
    let asked = ((-60..400_i64, -60..600_i64), tabulated, asks()).boxed();
    let ahead = asked.clone().prop_map(|(range, filters, ask)| Step::Ahead(range, filters, ask));
    let ask = asked.prop_map(|(range, filters, ask)| Step::Ask(range, filters, ask));
    let step = prop_oneof![
        3 => records(60).prop_map(Step::Ingest),
        2 => (30..300_i64).prop_map(Step::Turn),
        6 => ask,
        2 => ahead,
        1 => Just(Step::Restart),
        1 => Just(Step::Merge),
        1 => (0..8_u32).prop_map(Step::Approve),
    ];
    prop::collection::vec(step, 4..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_a_sum_of_cells_that_were_released_once(first in records(150), steps in steps()) {
        let mut region = Region::new(Personal::Subject(name("user")), K);
        let mut model = Model::default();
        let mut now = 240;
        region.turn_to(now);
        region.ingest(first);
        for step in steps {
            match step {
                Step::Ingest(records) => region.ingest(records),
                Step::Turn(seconds) => {
                    now += seconds;
                    region.turn_to(now);
                }
                Step::Restart => region.restart(),
                Step::Merge => region.merge(),
                Step::Approve(bits) => region.approve(bits),
                Step::Ahead(range, filters, ask) => {
                    // As if somebody had asked about all closed leaves of these days.
                    let plain = ask.field().map_or(Ask::Count, Ask::Terms);
                    if let Some(all) = region.ahead(&question(range, filters.clone(), ask)) {
                        model.ask(&region, &question(all, filters, plain), now);
                    }
                }
                Step::Ask(range, filters, ask) => {
                    let question = question(range, filters, ask);
                    let answer = region.ask(&question);
                    let Outcome::Aggregate(aggregate) = &answer.outcome else { panic!("an aggregate") };
                    prop_assert!(aggregate.is_well_formed() && ask.is_answered_by(aggregate));
                    let (expected, open_from, late) = model.ask(&region, &question, now);
                    prop_assert_eq!(cells(aggregate), expected);
                    prop_assert_eq!(answer.header.open_from.map(|at| at.0 / 1_000_000), open_from);
                    prop_assert_eq!(answer.header.late_withheld, late);
                    prop_assert_eq!(region.ask(&question), answer, "a repeat is the same");
                }
            }
        }
        region.replays_all();
    }
}
