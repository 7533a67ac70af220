//! A region in memory: the disclosure gate of this build over synthetic records, asked as another region asks it.
//!
//! Question -> gate (guard, releases, border) -> the frame that would cross. No disk, no socket, no clock but one that stands,
//! and nobody's record.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::aggregate::sum::SumLayout;
use domicile_proto::border::LiteralDetector;
use domicile_proto::codec;
use domicile_proto::ids::{
    DictionaryId, Epoch, FIRST_APPROVED_ID, FieldId, Level, Name, NodeId, QuestionId, ShardId, StreamId, TenantId,
    TimeRange, Timestamp,
};
use domicile_proto::message::answer::{Answer, AnswerHeader, Outcome};
use domicile_proto::message::question::{Ask, Filter, Literal, Question, TextMatch};
use domicile_proto::metadata::StreamPolicy;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::aggregate::contributors::Contributors;
use crate::aggregate::{Asked, Releases};
use crate::attack::day::{CHATTY, OTHER, Record, SERVICES, amount, message};
use crate::attack::{Abroad, Condition};
use crate::classify::{Classified, Statements, Upheld};
use crate::clock::Clock;
use crate::federate::{Gate, Gated, Guard, Put, Timer};
use crate::index::builder::{Builder, Layout};
use crate::parse::Envelope;
use crate::policy::{Dictionary, Policy, PolicyWatch, StreamView, Suppression};
use crate::query::{Budget, Engine};
use crate::segment::{Segment, SegmentId};
use crate::store::Store;
use crate::tasks::Tasks;
use crate::wal::Durable;

const TENANT: TenantId = TenantId(1);
const STREAM: StreamId = StreamId(1);
const SHARD: ShardId = ShardId(1);
/// Fields by their number in questions.
pub(super) const LEVEL: FieldId = FieldId(0);
pub(super) const SERVICE: FieldId = FieldId(1);
pub(super) const AMOUNT: FieldId = FieldId(2);
/// Some day, and a whole number of five leaves of every width.
const DAY_S: i64 = 99_729 * 18_000;
/// How long a question may take on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(600);
/// What it costs to look for somebody who is there, and for nobody: scripted, and as far apart as fits into one step.
const HIT_TAKES: Duration = Duration::from_micros(9_000);
const MISS_TAKES: Duration = Duration::from_micros(200);

/// Segments that can grow.
pub(super) type Held = Arc<Mutex<Vec<Arc<Segment>>>>;

/// Detectors of literals.
pub(super) type Detector = Arc<dyn LiteralDetector + Send + Sync>;

/// The region.
pub(super) struct Region {
    runtime: Rc<Runtime>,
    gate: Gate,
    timer: Timer,
    view: Arc<StreamView>,
    policy: Arc<Policy>,
    layout: Layout,
    held: Held,
    /// Last place of its records.
    last: u64,
    asked: u128,
    /// Every answer, as it would cross.
    pub(super) frames: Vec<Vec<u8>>,
    /// What this region would write into its own log of questions that failed.
    pub(super) errors: Arc<Mutex<Vec<String>>>,
    /// The other two.
    pub(super) others: Vec<Self>,
}

impl Region {
    /// A region with these records under this policy.
    pub(super) fn new(
        runtime: &Rc<Runtime>,
        rules: &StreamPolicy,
        segments: Vec<Arc<Segment>>,
        detector: &Detector,
    ) -> anyhow::Result<Self> {
        let (clock, timer) = (Clock::standing_at(closed(rules)), Timer::turned());
        let last = segments.iter().map(|segment| segment.last_seq).max().unwrap_or_default();
        let held: Held = Arc::new(Mutex::new(segments));
        let releases = Releases::new(Engine::new()?, Store::in_memory(), clock.clone(), Tasks::default());
        let (errors, detector) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(detector));
        let (shown, noted, turned) = (Arc::clone(&held), Arc::clone(&errors), timer.clone());
        let (rehearsed, store) = (PolicyWatch::new(policy()?), Store::in_memory());
        let statements = Statements::new(store, rehearsed, clock.clone(), Tasks::default())?;
        let gate = Gate::upholding(statements, move |put: Put, stream: Upheld| {
            let (releases, segments, detector) = (releases.clone(), shown.lock().clone(), Arc::clone(&detector));
            let (noted, turned) = (Arc::clone(&noted), turned.clone());
            Box::pin(async move {
                let Put { policy, question, header, deadline, .. } = put;
                let budget = Budget::until(Instant::now() + deadline);
                let asked = Asked { question, stream, policy, detector, header, budget };
                let judged = releases.answer(asked, segments).await;
                let is_hit = judged.contributors.as_ref().is_some_and(|found| *found != Contributors::default());
                turned.turn(if is_hit { HIT_TAKES } else { MISS_TAKES });
                noted.lock().extend(judged.error.map(|error| format!("{error} {error:?}")));
                Gated { answered: judged.answered, contributors: judged.contributors, drawn: judged.drawn }
            })
        });
        let gate = gate.guarded(Guard::of_rehearsal(clock, Tasks::default())).timed(timer.clone());
        let (runtime, layout) = (Rc::clone(runtime), Layout::under(Suppression::default()));
        let view = Arc::new(view(rules)?);
        let policy = Arc::new(policy()?);
        let (frames, others) = (Vec::new(), Vec::new());
        Ok(Self { runtime, gate, timer, view, policy, layout, held, last, asked: 0, frames, errors, others })
    }

    /// Asks, and gives the answer with how long it took by the turned time. `crosses` is false of a question of this region's own.
    pub(super) fn put(
        &mut self,
        range: Range<i64>,
        filters: Vec<Filter>,
        ask: Ask,
        crosses: bool,
    ) -> (Answer, Duration) {
        self.asked += 1;
        let (id, width) = (QuestionId(self.asked), i64::from(self.view.policy.grid.seconds()));
        let at = |leaf: i64| Timestamp((DAY_S + leaf * width) * Timestamp::MICROS);
        let range = TimeRange { from: at(range.start), to: at(range.end) };
        let deadline_ms = u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX);
        let question = Question { id, tenant: TENANT, stream: STREAM, range, filters, ask, deadline_ms };
        let (policy, stream) = (Arc::clone(&self.policy), Arc::clone(&self.view));
        let header = AnswerHeader::new(id, range);
        let put = Put { policy, stream, question, header, deadline: DEADLINE, crosses };
        let arrived = self.timer.now();
        let answered = self.runtime.block_on(self.gate.answer(put));
        let took = self.timer.now().saturating_duration_since(arrived);
        let answer = answered.answer().clone();
        if crosses {
            self.frames.extend(codec::encode(&answer));
        }
        (answer, took)
    }

    /// What is told; nothing where it is a refusal.
    fn told(&mut self, range: Range<i64>, conditions: &[Condition], ask: Ask) -> Option<Aggregate> {
        let filters = conditions.iter().map(filter).collect::<Option<Vec<_>>>()?;
        match self.put(range, filters, ask, true).0.outcome {
            Outcome::Aggregate(aggregate) => Some(aggregate),
            Outcome::Suppressed | Outcome::Refused(_) => None,
        }
    }

    fn grid_of(&self, step: i64, range: &Range<i64>) -> Grid {
        let width = i64::from(self.view.policy.grid.seconds());
        let (step, first) = (step * width, DAY_S + range.start * width);
        let len = u32::try_from((range.end - range.start) * width / step).unwrap_or_default();
        Grid { first: first.div_euclid(step), step: u32::try_from(step).unwrap_or(u32::MAX), len }
    }

    fn name_of(&self, field: &str, id: DictionaryId) -> String {
        let level =
            || Level::ALL.into_iter().find(|level| level.dictionary_id() == id).map(|level| level.as_str().to_owned());
        let service = || SERVICES.get(usize::try_from(id.0 - FIRST_APPROVED_ID.min(id.0)).unwrap_or(usize::MAX));
        let named = if field == "level" { level() } else { service().map(|(name, _)| (*name).to_owned()) };
        named.unwrap_or_else(|| id.0.to_string())
    }

    /// Records that arrive from now on.
    pub(super) fn take_in(&mut self, records: &[Record]) -> anyhow::Result<()> {
        let width = self.view.policy.grid.seconds();
        let segment = segment(&self.layout, records, width, self.last + 1)?;
        self.last = segment.last_seq;
        self.held.lock().push(segment);
        Ok(())
    }
}

impl Abroad for Region {
    fn count(&mut self, range: Range<i64>, conditions: &[Condition]) -> u64 {
        self.told(range, conditions, Ask::Count).as_ref().map_or(0, counted)
    }

    fn grid(&mut self, step: i64, range: Range<i64>, conditions: &[Condition]) -> BTreeMap<i64, u64> {
        let grid = self.grid_of(step, &range);
        let Some(Aggregate::DateGrid(told)) = self.told(range.clone(), conditions, Ask::DateGrid(grid)) else {
            return BTreeMap::new();
        };
        by_leaf(&range, step, &told.cells).collect()
    }

    fn terms(&mut self, field: &'static str, range: Range<i64>) -> BTreeMap<String, u64> {
        let id = if field == "level" { LEVEL } else { SERVICE };
        let Some(Aggregate::Terms(told)) = self.told(range, &[], Ask::Terms(id)) else { return BTreeMap::new() };
        let named = told.cells.iter().map(|(id, cell)| (self.name_of(field, *id), cell.records.0));
        named.chain([(OTHER.to_owned(), told.other.records.0)]).collect()
    }

    fn term_grid(&mut self, range: Range<i64>) -> BTreeMap<(String, i64), u64> {
        let grid = self.grid_of(1, &range);
        let Some(Aggregate::TermGrid(told)) = self.told(range.clone(), &[], Ask::TermGrid(SERVICE, grid)) else {
            return BTreeMap::new();
        };
        let mut cells = BTreeMap::new();
        let rows = told.rows.iter().map(|(id, row)| (self.name_of("service", *id), row));
        for (name, row) in rows.chain([(OTHER.to_owned(), &told.other)]) {
            cells.extend(by_leaf(&range, 1, row).map(|(leaf, records)| ((name.clone(), leaf), records)));
        }
        cells
    }

    fn sum(&mut self, range: Range<i64>) -> u64 {
        let layout = SumLayout { field: AMOUNT, by: None, grid: None };
        match self.told(range, &[], Ask::Sum(layout)) {
            Some(Aggregate::Sum(sum)) => sum.other.first().and_then(|cell| cell.total.try_into().ok()).unwrap_or(0),
            _ => 0,
        }
    }

    fn three_and_two(&mut self, range: Range<i64>) -> (u64, u64) {
        let told = |region: &mut Self| region.told(range.clone(), &[], Ask::Count);
        let others = self.others.iter_mut().filter_map(told).reduce(|a, b| a.clone().merge(b).unwrap_or(a));
        let own = self.told(range.clone(), &[], Ask::Count);
        let two = others.as_ref().map_or(0, counted);
        let three = [others, own].into_iter().flatten().reduce(|a, b| a.clone().merge(b).unwrap_or(a));
        (three.as_ref().map_or(0, counted), two)
    }

    fn said(&mut self, range: Range<i64>, conditions: &[Condition], by_service: bool) -> String {
        let ask = if by_service { Ask::Terms(SERVICE) } else { Ask::Count };
        let filters = conditions.iter().filter_map(filter).collect();
        let (Answer { header, outcome }, took) = self.put(range, filters, ask, true);
        let AnswerHeader { policy, open_from, late_withheld, noise, .. } = header;
        format!("{outcome:?} {policy:?} {} {late_withheld} {noise:?} {took:?}", open_from.is_some())
    }

    fn late(&mut self, leaves: &[i64]) {
        let record = |leaf: &i64| Record {
            leaf: *leaf,
            user: 1_000_000 + leaf.unsigned_abs(),
            service: "checkout",
            level: "INFO",
        };
        let records: Vec<Record> = leaves.iter().map(record).collect();
        // Where they cannot be taken in, nothing changes, and the control tells.
        self.take_in(&records).ok();
    }
}

fn counted(aggregate: &Aggregate) -> u64 {
    if let Aggregate::Count(count) = aggregate { count.cell.records.0 } else { 0 }
}

fn by_leaf<'a>(range: &Range<i64>, step: i64, cells: &'a [Cell]) -> impl Iterator<Item = (i64, u64)> + use<'a> {
    let step = usize::try_from(step).unwrap_or(1).max(1);
    range.clone().step_by(step).zip(cells.iter().map(|cell| cell.records.0))
}

/// A condition in the words that may travel; none where it has no such words.
pub(super) fn filter(condition: &Condition) -> Option<Filter> {
    let (negated, field, value) = match condition {
        Condition::Word(word) => return text(word, false),
        Condition::NotWord(word) => return text(word, true),
        Condition::Is(field, value) => (false, *field, *value),
        Condition::IsNot(field, value) => (true, *field, *value),
    };
    if field == "level" {
        return Some(Filter::Level { levels: vec![Level::recognise(value)?], negated });
    }
    let values = ids().filter(|(_, name)| *name == value).map(|(id, _)| id).collect();
    Some(Filter::Value { field: SERVICE, values, negated })
}

fn text(word: &str, negated: bool) -> Option<Filter> {
    let literal = Literal::try_from(word.to_owned()).ok()?;
    Some(Filter::Text { how: TextMatch::Words, literal, negated })
}

fn ids() -> impl Iterator<Item = (DictionaryId, &'static str)> {
    (FIRST_APPROVED_ID..).map(DictionaryId).zip(SERVICES.iter().map(|(name, _)| *name))
}

/// Long after everything: all leaves are closed.
fn closed(rules: &StreamPolicy) -> Timestamp {
    let end = DAY_S + (CHATTY.end + 10) * i64::from(rules.grid.seconds()) + i64::from(rules.close_after_s);
    Timestamp(end * Timestamp::MICROS)
}

fn view(rules: &StreamPolicy) -> anyhow::Result<StreamView> {
    Ok(StreamView {
        id: STREAM,
        tenant: TENANT,
        name: name("rehearsal")?,
        fields: vec![Name::level(), name("service")?, name("amount")?],
        policy: rules.clone(),
        shard: Some((SHARD, NodeId(1))),
    })
}

fn policy() -> anyhow::Result<Policy> {
    let mut policy = Policy::empty("rehearsal".parse().context("a name of a region")?);
    let approved: BTreeMap<DictionaryId, String> = ids().map(|(id, name)| (id, name.to_owned())).collect();
    let dictionary = Dictionary { texts: approved.clone(), approved };
    policy.dictionaries.insert((TENANT, name("service")?), Arc::new(dictionary));
    Ok(policy)
}

pub(super) fn name(text: &str) -> anyhow::Result<Name> {
    text.parse().ok().context("a name")
}

/// The records of a day as a segment in memory.
pub(super) fn segment(layout: &Layout, records: &[Record], width: u32, first_seq: u64) -> anyhow::Result<Arc<Segment>> {
    let classified = records.iter().enumerate().map(|(place, record)| classified(record, place, width));
    let records = classified.collect::<anyhow::Result<Vec<_>>>()?;
    let mut builder = Builder::in_memory(layout, 0)?;
    let refresh = Duration::from_secs(1);
    builder.add(Durable {
        tenant: TENANT,
        stream: STREAM,
        shard: SHARD,
        epoch: Epoch(1),
        accepted_at: Timestamp(0),
        refresh,
        first_seq,
        records,
    })?;
    let Some(built) = builder.finish()? else { bail!("a day without records") };
    let id = SegmentId(u128::from(first_seq));
    Ok(Arc::new(Segment::open(layout, (id, SHARD), built, None, Timestamp(0))?))
}

/// What a record looks like at home.
pub(super) fn row(record: &Record) -> Value {
    json!({
        "level": record.level, "service": record.service, "amount": amount(record.user), "message": message(record.user),
    })
}

fn classified(record: &Record, place: usize, width: u32) -> anyhow::Result<Classified> {
    let width = i64::from(width);
    let within = i64::try_from(place)?.rem_euclid(width);
    let at = Timestamp((DAY_S + record.leaf * width + within) * Timestamp::MICROS);
    let source: Map<String, Value> = row(record).as_object().cloned().unwrap_or_default();
    let level = Level::recognise(record.level).unwrap_or_default();
    let (envelope, json) = (Envelope::locate(&source), serde_json::to_vec(&source)?);
    Classified::reopened(at, level, None, envelope, Some(record.user), json).context("a record")
}
