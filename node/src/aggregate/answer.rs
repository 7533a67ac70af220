//! One question of another region -> what this region releases. Also used for this region's own part of a federated
//! question, so that all parts are made alike.
//!
//! Questions over allow-listed fields are answered from the released table ([`super::judge`], [`super::compose`]). Streams
//! that an officer declared free of personal data are measured as they are, as long as the detectors do not contradict that
//! ([`Upheld`]); a text question has a table of its own ([`super::text`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::aggregate::MAX_CELLS;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::DateGrid;
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::scalars::{DistinctEstimate, Quantile};
use domicile_proto::aggregate::sum::Sum;
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::numbers::{release_distinct, release_quantile, release_sums};
use domicile_proto::border::relayed::Relayed;
use domicile_proto::border::{
    Cells, Counts, LiteralDetector, Measured, Nothing, NumbersShape, Released, ShapeError, TermsShape, VettedQuestion,
    release,
};
use domicile_proto::ids::{DictionaryId, FieldId, Level, Name, RegionNumber, ShardId, TimeRange, Timestamp};
use domicile_proto::leaf::{LeafWidth, MAX_FIELDS, Tally};
use domicile_proto::message::answer::{Answer, AnswerHeader, RefusalCode};
use domicile_proto::message::question::{
    Ask, Filter as Condition, Literal, Question, QuestionError, TextMatch, TextPlace,
};
use domicile_proto::metadata::{Personal, Rows, StreamPolicy};
use domicile_proto::numbers::SumTally;

use super::compose;
use super::{AggregateError, book::FieldSet};
use crate::classify::Upheld;
use crate::policy::Policy;
use crate::query::human::all_texts;
use crate::query::{Budget, Cut, Engine, Filter, Plan, SearchRequest, Slots, Sort, Subjects, TrackTotal, Value};
use crate::segment::Segment;

/// A question with everything it is judged by.
#[derive(Clone)]
pub(crate) struct Asked {
    /// The question, within its bounds.
    pub(crate) question: Question,
    /// The stream, as this region treats it.
    pub(crate) stream: Upheld,
    /// This region's policy.
    pub(crate) policy: Arc<Policy>,
    /// This region's detectors.
    pub(crate) detector: Arc<dyn LiteralDetector + Send + Sync>,
    /// The header with all that this stage does not know: time spent, size and root of the ledger.
    pub(crate) header: AnswerHeader,
    /// How long it may take.
    pub(crate) budget: Budget,
}

/// What is released, by kind.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    /// A count.
    Count(Released<Count>),
    /// Counts on a grid of time.
    DateGrid(Released<DateGrid>),
    /// Counts by approved value.
    Terms(Released<Terms>),
    /// Counts by approved value and time.
    TermGrid(Released<TermGrid>),
    /// Counts between declared bounds.
    Numbers(Released<FixedHistogram>),
    /// Sums.
    Sum(Released<Sum>),
    /// A quantile.
    Quantile(Released<Quantile>),
    /// A number of distinct values.
    Distinct(Released<DistinctEstimate>),
    /// A refusal.
    Nothing(Released<Nothing>),
}

impl Answered {
    /// What another node of the region released.
    pub(crate) fn relayed(relayed: Relayed) -> Self {
        match relayed {
            Relayed::Count(released) => Self::Count(released),
            Relayed::DateGrid(released) => Self::DateGrid(released),
            Relayed::Terms(released) => Self::Terms(released),
            Relayed::TermGrid(released) => Self::TermGrid(released),
            Relayed::Numbers(released) => Self::Numbers(released),
            Relayed::Sum(released) => Self::Sum(released),
            Relayed::Quantile(released) => Self::Quantile(released),
            Relayed::Distinct(released) => Self::Distinct(released),
            Relayed::Nothing(released) => Self::Nothing(released),
        }
    }

    /// A refusal.
    pub(crate) const fn refused(header: AnswerHeader, code: RefusalCode) -> Self {
        Self::Nothing(Released::refused(header, code))
    }

    /// What crosses.
    pub(crate) const fn answer(&self) -> &Answer {
        match self {
            Self::Count(released) => released.answer(),
            Self::DateGrid(released) => released.answer(),
            Self::Terms(released) => released.answer(),
            Self::TermGrid(released) => released.answer(),
            Self::Numbers(released) => released.answer(),
            Self::Sum(released) => released.answer(),
            Self::Quantile(released) => released.answer(),
            Self::Distinct(released) => released.answer(),
            Self::Nothing(released) => released.answer(),
        }
    }

    /// The same answer to a repeat of its question.
    pub(crate) fn repeat(&self, header: &AnswerHeader) -> Self {
        match self {
            Self::Count(released) => Self::Count(released.repeat(header)),
            Self::DateGrid(released) => Self::DateGrid(released.repeat(header)),
            Self::Terms(released) => Self::Terms(released.repeat(header)),
            Self::TermGrid(released) => Self::TermGrid(released.repeat(header)),
            Self::Numbers(released) => Self::Numbers(released.repeat(header)),
            Self::Sum(released) => Self::Sum(released.repeat(header)),
            Self::Quantile(released) => Self::Quantile(released.repeat(header)),
            Self::Distinct(released) => Self::Distinct(released.repeat(header)),
            Self::Nothing(released) => Self::Nothing(released.repeat(header)),
        }
    }
}

/// How a question is answered.
pub(super) enum Way {
    /// Measured for itself, over everything there is.
    Direct,
    /// From leaf cells of its own, which are judged like those of the released table.
    Text,
    /// From the released table of these fields.
    Table(FieldSet),
}

/// The way of a question that this region's policy allows.
///
/// # Errors
/// The refusal that the asking region reads.
pub(super) fn way(asked: &Asked) -> Result<Way, RefusalCode> {
    judge(asked)?;
    if asked.stream.policy.noise.is_some() && !is_noisy(asked) {
        return Err(RefusalCode::NotWithNoise);
    }
    if asked.stream.policy.personal == Personal::No {
        return Ok(Way::Direct);
    }
    let width = asked.stream.policy.grid.seconds();
    if asked.question.ask.grid().is_some_and(|grid| !grid.step.is_multiple_of(width)) {
        return Err(RefusalCode::GridTooFine);
    }
    if asked.question.filters.iter().any(|condition| condition.literal().is_some()) {
        return Ok(Way::Text);
    }
    let fields = compose::fields(asked).ok_or(RefusalCode::FieldNotAllowed)?;
    if fields.len() > MAX_FIELDS { Err(RefusalCode::TooManyFields) } else { Ok(Way::Table(fields)) }
}

/// Whether the question is one whose numbers are moved: sums, texts and streams whose subjects nobody names have no table in
/// which a subject's part is bounded.
fn is_noisy(asked: &Asked) -> bool {
    let is_text = |condition: &Condition| condition.literal().is_some();
    matches!(asked.stream.policy.personal, Personal::Subject(_))
        && !matches!(asked.question.ask, Ask::Sum(_))
        && !asked.question.filters.iter().any(is_text)
}

/// The header of an answer, and the part of its range that is closed by now.
pub(super) fn header(asked: &Asked, now: Option<Timestamp>) -> (AnswerHeader, TimeRange) {
    let policy = &asked.stream.policy;
    let width = if now.is_some() { policy.grid } else { LeafWidth::Minute };
    let covered = covered(&asked.question, width);
    let version = asked.policy.version;
    let header = AnswerHeader { covered, open_from: None, late_withheld: false, policy: version, ..asked.header };
    let Some(now) = now else { return (header, covered) };
    let closes = closes(policy, now);
    let closed = TimeRange { from: covered.from, to: covered.to.min(closes).max(covered.from) };
    let open_from = (covered.to > closes).then(|| closes.max(covered.from));
    (AnswerHeader { open_from, ..header }, closed)
}

/// The range that an answer covers that is made this way.
pub(super) fn covered_by(asked: &Asked, way: &Way) -> TimeRange {
    let is_direct = matches!(way, Way::Direct);
    covered(&asked.question, if is_direct { LeafWidth::Minute } else { asked.stream.policy.grid })
}

/// Up to when the leaves of a stream are closed.
pub(super) fn closes(policy: &StreamPolicy, now: Timestamp) -> Timestamp {
    let micros = i64::from(policy.grid.seconds()) * Timestamp::MICROS;
    let ripe = now.0.saturating_sub(i64::from(policy.close_after_s) * Timestamp::MICROS);
    Timestamp(ripe.div_euclid(micros).saturating_mul(micros))
}

/// The question's range, shrunk to whole leaves and to the grid.
fn covered(question: &Question, width: LeafWidth) -> TimeRange {
    let width = i64::from(width.seconds()) * Timestamp::MICROS;
    let asked = question.range;
    let down = Timestamp(asked.to.0.div_euclid(width).saturating_mul(width));
    let from = Timestamp(next_multiple(asked.from.0, width));
    let whole = TimeRange { from, to: down.max(from) };
    let Some(grid) = question.ask.grid() else { return whole };
    // Cells of the grid that the range covers only in part are left out: a whole cell or nothing.
    let step = i64::from(grid.step) * Timestamp::MICROS;
    let grid = grid.range();
    let inside = TimeRange { from: whole.from.max(grid.from), to: whole.to.min(grid.to) };
    let from = Timestamp(next_multiple(inside.from.0, step));
    let to = Timestamp(inside.to.0.div_euclid(step).saturating_mul(step));
    TimeRange { from, to: to.max(from) }
}

const fn next_multiple(at: i64, step: i64) -> i64 {
    let rest = at.rem_euclid(step);
    if rest == 0 { at } else { at.saturating_add(step - rest) }
}

/// Judges the question by this region's own policy, whatever the asking region let through.
fn judge(asked: &Asked) -> Result<(), RefusalCode> {
    let Asked { question, stream, detector, .. } = asked;
    if stream.tenant != question.tenant || stream.id != question.stream {
        return Err(RefusalCode::UnknownStream);
    }
    VettedQuestion::vet((*question).clone(), &stream.question_rules(), detector.as_ref()).map_err(refusal_of)?;
    let named = question.filters.iter().filter_map(|condition| match condition {
        Condition::Value { field, .. } => Some(*field),
        Condition::Level { .. } | Condition::Text { .. } | Condition::TextIn { .. } => None,
    });
    for field in named.chain(question.ask.field()) {
        stream.field(field).ok_or(RefusalCode::FieldNotAllowed)?;
    }
    if let Some(field) = question.ask.number() {
        stream.number(field).ok_or(RefusalCode::FieldNotAllowed)?;
    }
    Ok(())
}

const fn refusal_of(error: QuestionError) -> RefusalCode {
    match error {
        QuestionError::FieldNotAllowed => RefusalCode::FieldNotAllowed,
        QuestionError::TextNotAllowed => RefusalCode::TextNotAllowed,
        QuestionError::PersonalLiteral => RefusalCode::PersonalLiteral,
        QuestionError::LiteralLength
        | QuestionError::TooManyConditions
        | QuestionError::Quantile
        | QuestionError::Grid => RefusalCode::OutOfBounds,
    }
}

/// Measures the cells of a question for itself. Blocks and computes.
pub(super) fn measure(
    engine: &Engine,
    segments: Vec<Arc<Segment>>,
    asked: &Asked,
    range: TimeRange,
) -> Result<Vec<Measured>, AggregateError> {
    let question = &asked.question;
    let grid = question.ask.grid();
    check_cells(asked)?;
    let plan = Plan {
        grid: grid.map(|grid| Cut {
            start: grid.start_of(0),
            step: i64::from(grid.step) * Timestamp::MICROS,
            len: grid.len as usize,
        }),
        slots: slots(asked),
        subjects: match asked.stream.policy.personal {
            Personal::Subject(_) => Subjects::Distinct,
            Personal::No | Personal::Undeclared => Subjects::Rows,
        },
        cap: asked.policy.release(&asked.stream).k.get(),
    };
    let request = SearchRequest {
        filter: conditions(asked),
        range,
        sort: Sort::Newest,
        size: 0,
        after: None,
        total: TrackTotal::No,
        budget: asked.budget.clone(),
    };
    let hits = engine.search(&request, segments, Rows::None).map_err(AggregateError::Query)?;
    Ok(hits.fold(&plan).map_err(AggregateError::Query)?.measured())
}

/// The group field of a question with a slot for every value that may leave this region, or a number's with one between each
/// two bounds.
pub(super) fn slots(asked: &Asked) -> Option<Slots> {
    if let Some(number) = asked.number() {
        return Some(Slots::between(number.field.as_str(), &number.bounds));
    }
    group_slots(asked)
}

/// The group field of a question with a slot for every value that may leave this region.
pub(super) fn group_slots(asked: &Asked) -> Option<Slots> {
    let (field, values) = approved(asked, asked.question.ask.field()?);
    let len = values.len();
    let known = values.into_values().enumerate().map(|(slot, text)| (text, slot)).collect();
    Some(Slots { field, len, known, bounds: Vec::new() })
}

/// All conditions of a question, as a filter.
pub(super) fn conditions(asked: &Asked) -> Filter {
    Filter::every(asked.question.filters.iter().map(|condition| filter(asked, condition)).collect())
}

/// Whether an answer to the question may hold as many cells as it would.
pub(super) fn check_cells(asked: &Asked) -> Result<(), AggregateError> {
    let ask = asked.question.ask;
    let rows = ask.field().map_or(1, |field| approved(asked, field).1.len() + 1);
    let cells = rows.saturating_mul(ask.grid().map_or(1, |grid| grid.len as usize));
    if cells > MAX_CELLS { Err(AggregateError::TooManyCells) } else { Ok(()) }
}

/// What the cells of an answer are.
pub(super) enum Content {
    /// Measured for the question; the border compares them with k.
    Measured(Vec<Measured>),
    /// Sums of published leaf cells.
    Tallied(Vec<Tally>),
    /// Sums of published sums.
    Summed(Vec<SumTally>),
}

impl Content {
    fn tallies(self, asked: &Asked) -> Vec<Tally> {
        let policy = asked.policy.release(&asked.stream);
        match self {
            Self::Measured(measured) => measured.into_iter().map(|cell| Tally::of_measured(cell, &policy)).collect(),
            Self::Tallied(tallies) => tallies,
            Self::Summed(_) => Vec::new(),
        }
    }
}

/// Puts cells into the shape that was asked for, and through the border.
pub(super) fn put(content: Content, asked: &Asked, header: AnswerHeader) -> Result<Answered, AggregateError> {
    #[cfg(feature = "jepsen-bugs")]
    let header = AnswerHeader { ledger_root: crate::bugs::root(header.ledger_root), ..header };
    let shape = |field| TermsShape { field, values: approved(asked, field).1.into_keys().collect() };
    Ok(match asked.question.ask {
        Ask::Count => Answered::Count(released((), content, asked, header)?),
        Ask::DateGrid(grid) => Answered::DateGrid(released(grid, content, asked, header)?),
        Ask::Terms(field) => Answered::Terms(released(shape(field), content, asked, header)?),
        Ask::TermGrid(field, grid) => Answered::TermGrid(released((shape(field), grid), content, asked, header)?),
        Ask::Numbers(field) => {
            let bounds = asked.number().map(|number| number.bounds.clone()).unwrap_or_default();
            Answered::Numbers(released(NumbersShape { field, bounds }, content, asked, header)?)
        }
        Ask::Sum(layout) => {
            let sums = if let Content::Summed(sums) = content { sums } else { Vec::new() };
            let values = layout.by.map(|field| shape(field).values).unwrap_or_default();
            let policy = asked.policy.release(&asked.stream);
            let released = release_sums(layout, values, &sums, &policy, header);
            Answered::Sum(released.map_err(AggregateError::Shape)?)
        }
        Ask::Quantile(field, per_mille) => {
            let (region, policy) = (asked.region(), asked.policy.release(&asked.stream));
            let bounds = asked.number().map(|number| number.bounds.clone()).unwrap_or_default();
            let cells = content.tallies(asked);
            Answered::Quantile(release_quantile((field, &bounds), per_mille, region, &cells, &policy, header))
        }
        Ask::Distinct(field) => {
            let (region, policy) = (asked.region(), asked.policy.release(&asked.stream));
            let mut cells = content.tallies(asked);
            // All other values are one cell, and no number of values.
            cells.pop();
            Answered::Distinct(release_distinct(field, region, &cells, &policy, header))
        }
    })
}

impl Asked {
    /// The stream's shard here. A stream without one has no records: its shelf is that of no shard, and nothing is ever written
    /// to it.
    pub(super) fn shard(&self) -> ShardId {
        self.stream.shard.map_or(ShardId(0), |(shard, _)| shard)
    }

    /// The number of this region, as far as it knows; whoever asks puts what is answered under the number it knows itself.
    fn region(&self) -> RegionNumber {
        self.policy.regions.get(&self.policy.region).copied().unwrap_or(RegionNumber(0))
    }
}

fn released<A: Counts>(
    shape: A::Shape,
    content: Content,
    asked: &Asked,
    header: AnswerHeader,
) -> Result<Released<A>, AggregateError> {
    let cells: Result<Cells<A>, ShapeError> = match content {
        Content::Measured(measured) => Cells::new(shape, measured),
        Content::Tallied(tallies) => Cells::tallied(shape, tallies),
        Content::Summed(sums) => Err(ShapeError { found: sums.len(), wanted: 0 }),
    };
    Ok(release(cells.map_err(AggregateError::Shape)?, &asked.policy.release(&asked.stream), header))
}

/// The field's name and the values of it that may leave this region, by id. The levels are built in.
fn approved(asked: &Asked, field: FieldId) -> (String, BTreeMap<DictionaryId, String>) {
    let Some(name) = asked.stream.field(field) else { return (String::new(), BTreeMap::new()) };
    let values = if *name == Name::level() {
        Level::ALL.into_iter().map(|level| (level.dictionary_id(), level.as_str().to_owned())).collect()
    } else {
        asked.policy.dictionary(asked.stream.tenant, name).approved.clone()
    };
    (name.as_str().to_owned(), values)
}

/// A condition as a filter. Ids that this region has not approved match nothing.
fn filter(asked: &Asked, condition: &Condition) -> Filter {
    let (filter, negated) = match condition {
        Condition::Level { levels, negated } => {
            let values = levels.iter().map(|level| Value::Text(level.as_str().to_owned())).collect();
            (Filter::Terms { field: "level".to_owned(), values }, *negated)
        }
        Condition::Value { field, values, negated } => {
            let (field, known) = approved(asked, *field);
            let values = values.iter().filter_map(|id| known.get(id)).cloned().map(Value::Text).collect();
            (Filter::Terms { field, values }, *negated)
        }
        Condition::Text { how, literal, negated } => {
            // The same fields as for words without a field at home.
            let clauses = all_texts().into_iter().map(|field| in_text(field, *how, literal));
            (Filter::any(clauses.collect()), *negated)
        }
        Condition::TextIn { place, how, literal, negated } => {
            let field = match place {
                TextPlace::Message => "message",
                TextPlace::Exception => "exception",
            };
            (in_text(field.to_owned(), *how, literal), *negated)
        }
    };
    if negated { filter.negated() } else { filter }
}

fn in_text(field: String, how: TextMatch, literal: &Literal) -> Filter {
    let text = literal.as_str().to_owned();
    match how {
        TextMatch::Words => Filter::Words { field, text, every: true },
        TextMatch::Phrase => Filter::Phrase { field, text, open: false },
        TextMatch::Prefix => Filter::Prefix { field, text },
    }
}
