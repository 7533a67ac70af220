//! One question of another region -> what this region releases. Also used for this region's own part of a federated
//! question, so that all parts are made alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use domicile_proto::aggregate::MAX_CELLS;
use domicile_proto::aggregate::count::Count;
use domicile_proto::aggregate::date_grid::{DateGrid, Grid};
use domicile_proto::aggregate::term_grid::TermGrid;
use domicile_proto::aggregate::terms::Terms;
use domicile_proto::border::{
    Cells, CrossesBorder, LiteralDetector, Nothing, Released, TermsShape, VettedQuestion, release,
};
use domicile_proto::ids::{DictionaryId, FieldId, Level, TimeRange, Timestamp};
use domicile_proto::message::answer::{Answer, AnswerHeader, RefusalCode};
use domicile_proto::message::question::{Ask, Filter as Condition, Question, QuestionError, TextMatch};
use domicile_proto::metadata::{Personal, Rows};

use super::AggregateError;
use crate::policy::{Policy, StreamView};
use crate::query::human::all_texts;
use crate::query::{Budget, Cut, Engine, Filter, Plan, SearchRequest, Slots, Sort, Subjects, TrackTotal, Value};
use crate::segment::Segment;

/// A question with everything it is judged by.
pub(crate) struct Asked<'a> {
    /// The question, within its bounds.
    pub(crate) question: &'a Question,
    /// The stream, as this region treats it.
    pub(crate) stream: &'a StreamView,
    /// This region's policy.
    pub(crate) policy: &'a Policy,
    /// This region's detectors.
    pub(crate) detector: &'a dyn LiteralDetector,
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
    /// A refusal.
    Nothing(Released<Nothing>),
}

impl Answered {
    /// A refusal.
    pub(crate) const fn refused(header: AnswerHeader, code: RefusalCode) -> Self {
        Self::Nothing(Released::refused(header, code))
    }

    /// What crosses.
    #[allow(dead_code, reason = "the law of merging is tested on it")]
    pub(crate) const fn answer(&self) -> &Answer {
        match self {
            Self::Count(released) => released.answer(),
            Self::DateGrid(released) => released.answer(),
            Self::Terms(released) => released.answer(),
            Self::TermGrid(released) => released.answer(),
            Self::Nothing(released) => released.answer(),
        }
    }
}

/// Answers a question over the segments of this region's shard of the stream.
///
/// Whatever happens there is an answer; where something failed the error comes with it, for this region's own log.
pub(crate) fn answer(
    engine: &Engine,
    segments: Vec<Arc<Segment>>,
    asked: &Asked<'_>,
) -> (Answered, Option<AggregateError>) {
    let release = asked.policy.release(asked.stream);
    let covered = covered(asked.question);
    // `close_after` will set `open_from` where the range reaches into cells that are not closed yet.
    let header = AnswerHeader { covered, open_from: None, policy: release.version, ..asked.header };
    if let Err(code) = judge(asked) {
        return (Answered::refused(header, code), None);
    }
    match measure(engine, segments, asked, header) {
        Ok(answered) => (answered, None),
        Err(error) => (Answered::refused(header, error.refusal()), Some(error)),
    }
}

/// The question's range, shrunk to whole minutes and to the grid.
fn covered(question: &Question) -> TimeRange {
    let minute = i64::from(Grid::FINEST_STEP) * Timestamp::MICROS;
    let asked = question.range;
    let down = Timestamp(asked.to.0.div_euclid(minute).saturating_mul(minute));
    let from = Timestamp(next_multiple(asked.from.0, minute));
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
fn judge(asked: &Asked<'_>) -> Result<(), RefusalCode> {
    let Asked { question, stream, detector, .. } = asked;
    if stream.tenant != question.tenant || stream.id != question.stream {
        return Err(RefusalCode::UnknownStream);
    }
    VettedQuestion::vet((*question).clone(), &stream.question_rules(), *detector).map_err(refusal_of)?;
    let named = question.filters.iter().filter_map(|condition| match condition {
        Condition::Value { field, .. } => Some(*field),
        Condition::Level { .. } | Condition::Text { .. } => None,
    });
    for field in named.chain(question.ask.field()) {
        stream.field(field).ok_or(RefusalCode::FieldNotAllowed)?;
    }
    Ok(())
}

const fn refusal_of(error: QuestionError) -> RefusalCode {
    match error {
        QuestionError::FieldNotAllowed => RefusalCode::FieldNotAllowed,
        QuestionError::TextNotAllowed => RefusalCode::TextNotAllowed,
        QuestionError::PersonalLiteral => RefusalCode::PersonalLiteral,
        QuestionError::LiteralLength | QuestionError::TooManyConditions | QuestionError::Grid => {
            RefusalCode::OutOfBounds
        }
    }
}

fn measure(
    engine: &Engine,
    segments: Vec<Arc<Segment>>,
    asked: &Asked<'_>,
    header: AnswerHeader,
) -> Result<Answered, AggregateError> {
    let question = asked.question;
    let grid = question.ask.grid();
    let values = question.ask.field().map(|field| approved(asked, field));
    let rows = values.as_ref().map_or(1, |(_, values)| values.len() + 1);
    if rows.saturating_mul(grid.map_or(1, |grid| grid.len as usize)) > MAX_CELLS {
        return Err(AggregateError::TooManyCells);
    }
    let slots = values.as_ref().map(|(field, values)| Slots {
        field: field.clone(),
        known: values.values().cloned().enumerate().map(|(slot, text)| (text, slot)).collect(),
        len: values.len(),
    });
    let release_policy = asked.policy.release(asked.stream);
    let plan = Plan {
        grid: grid.map(|grid| Cut {
            start: grid.start_of(0),
            step: i64::from(grid.step) * Timestamp::MICROS,
            len: grid.len as usize,
        }),
        slots,
        subjects: match asked.stream.policy.personal {
            Personal::Subject(_) => Subjects::Distinct,
            Personal::No | Personal::Undeclared => Subjects::Rows,
        },
        cap: release_policy.k.get(),
    };
    let request = SearchRequest {
        filter: Filter::every(question.filters.iter().map(|condition| filter(asked, condition)).collect()),
        range: header.covered,
        sort: Sort::Newest,
        size: 0,
        after: None,
        total: TrackTotal::No,
        budget: asked.budget.clone(),
    };
    let hits = engine.search(&request, segments, Rows::None).map_err(AggregateError::Query)?;
    let measured = hits.fold(&plan).map_err(AggregateError::Query)?.measured();
    let ids = values.map(|(_, values)| values.into_keys().collect()).unwrap_or_default();
    let shape = |field| TermsShape { field, values: ids };
    Ok(match question.ask {
        Ask::Count => Answered::Count(released((), measured, asked, header)?),
        Ask::DateGrid(grid) => Answered::DateGrid(released(grid, measured, asked, header)?),
        Ask::Terms(field) => Answered::Terms(released(shape(field), measured, asked, header)?),
        Ask::TermGrid(field, grid) => Answered::TermGrid(released((shape(field), grid), measured, asked, header)?),
    })
}

fn released<A: CrossesBorder>(
    shape: A::Shape,
    measured: Vec<domicile_proto::border::Measured>,
    asked: &Asked<'_>,
    header: AnswerHeader,
) -> Result<Released<A>, AggregateError> {
    let cells = Cells::<A>::new(shape, measured).map_err(AggregateError::Shape)?;
    Ok(release(cells, &asked.policy.release(asked.stream), header))
}

/// The field's name and the values of it that may leave this region, by id. The levels are built in.
fn approved(asked: &Asked<'_>, field: FieldId) -> (String, BTreeMap<DictionaryId, String>) {
    let Some(name) = asked.stream.field(field) else { return (String::new(), BTreeMap::new()) };
    let values = if name.as_str() == "level" {
        Level::ALL.into_iter().map(|level| (level.dictionary_id(), level.as_str().to_owned())).collect()
    } else {
        asked.policy.dictionary(asked.stream.tenant, name).approved.clone()
    };
    (name.as_str().to_owned(), values)
}

/// A condition as a filter. Ids that this region has not approved match nothing.
fn filter(asked: &Asked<'_>, condition: &Condition) -> Filter {
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
            let clause = |field: String| {
                let text = literal.as_str().to_owned();
                match how {
                    TextMatch::Words => Filter::Words { field, text, every: true },
                    TextMatch::Phrase => Filter::Phrase { field, text, open: false },
                    TextMatch::Prefix => Filter::Prefix { field, text },
                }
            };
            (Filter::any(all_texts().into_iter().map(clause).collect()), *negated)
        }
    };
    if negated { filter.negated() } else { filter }
}
