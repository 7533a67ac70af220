//! The border: the only way out of a region, for answers and for questions.
//!
//! An answer leaves as [`Released`], which only [`release`] (and the two constructors without any data) can make; `release`
//! takes [`Cells`], each with its count of distinct subjects, and compares them with k itself (RES-1, PRI-2). A question
//! leaves as [`VettedQuestion`], which only [`VettedQuestion::vet`] can make (RES-3). What arrives from another region is
//! [`Received`] or [`ReceivedQuestion`] and can never be sent on; what another node of the same region released is
//! [`relayed::Relayed`], which only the link makes, of what a neighbour said. Nothing here knows a record, a socket or a clock.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::aggregate::cell::Cell;
use crate::aggregate::count::Count;
use crate::aggregate::date_grid::DateGrid;
use crate::aggregate::histogram::FixedHistogram;
use crate::aggregate::scalars::{DistinctEstimate, Quantile};
use crate::aggregate::sum::Sum;
use crate::aggregate::term_grid::TermGrid;
use crate::aggregate::terms::Terms;
use crate::aggregate::{Aggregate, MAX_CELLS};
use crate::ids::{DictionaryId, FieldId, KThreshold, PolicyVersion, QuestionId, RecordCount, SubjectCount};
use crate::leaf::Tally;
use crate::message::answer::{Answer, AnswerHeader, Outcome, RefusalCode};
use crate::message::question::{Filter, Literal, Question, QuestionError};

pub mod numbers;
pub mod relayed;
mod shapes;

mod sealed {
    use crate::aggregate::Aggregate;
    use crate::aggregate::cell::Cell;

    /// What only the border can do: open an aggregate for the wire.
    pub trait Sealed: Sized {
        /// As it stands in a message.
        fn into_aggregate(self) -> Aggregate;
    }

    /// What only the border can do: assemble an aggregate out of judged cells.
    pub trait Poured: Sealed {
        /// The layout the cells are poured into.
        type Shape;
        /// Number of cells the layout wants.
        fn len(shape: &Self::Shape) -> usize;
        /// Puts judged cells into their places; there are exactly `len` of them.
        fn assemble(shape: Self::Shape, cells: Vec<Cell>) -> Self;
    }
}

/// What class of thing crosses; the ledger and the transfer register use these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EgressClass {
    /// A released count.
    Count,
    /// A released grid of time.
    DateGrid,
    /// Released counts by approved value.
    Terms,
    /// Released counts by approved value and time.
    TermGrid,
    /// Released counts between declared bounds.
    Histogram,
    /// Released sums between declared bounds.
    Sum,
    /// A quantile, as the bound below which a share lies.
    Quantile,
    /// A rounded number of distinct values.
    DistinctEstimate,
    /// A refusal or a suppressed answer: an enum without data.
    Refusal,
    /// A vetted question.
    Question,
    /// A frame of the metadata group.
    Metadata,
    /// A signed ledger head.
    LedgerHead,
}

/// Shapes whose values may cross a border once released: a closed set, sealed.
pub trait CrossesBorder: sealed::Sealed {
    /// The class the ledger records.
    const CLASS: EgressClass;
}

/// Shapes whose cells are counts.
pub trait Counts: CrossesBorder + sealed::Poured {}

impl<A: CrossesBorder + sealed::Poured> Counts for A {}

/// What a region measured for one cell, before anything is decided about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Records in the cell.
    pub records: RecordCount,
    /// Distinct subjects in the cell; the records themselves where the stream names no subject.
    pub subjects: SubjectCount,
}

/// Unreleased cells of one answer. Cannot be serialised and does not cross.
pub struct Cells<A: Counts> {
    shape: A::Shape,
    content: Content,
}

/// Where the cells of an answer come from.
enum Content {
    /// Measured for this answer, to be compared with k.
    Measured(Vec<Measured>),
    /// Sums of leaf cells that were judged before.
    Tallied(Vec<Tally>),
}

/// The layout of [`Terms`]: the field and every approved value of it, in rising order of the ids.
///
/// The layout comes from the dictionary, never from the data, so that a missing value cannot be told from a rare one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermsShape {
    /// The group field.
    pub field: FieldId,
    /// Every approved value.
    pub values: Vec<DictionaryId>,
}

/// The layout of [`FixedHistogram`]: the field and its declared bounds, in rising order.
pub struct NumbersShape {
    /// The numeric field.
    pub field: FieldId,
    /// One fewer than there are cells.
    pub bounds: Vec<i64>,
}

/// The number of cells does not fit the shape, or breaks the cap of [`MAX_CELLS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} cells were measured where the shape wants {wanted} and an answer may hold {MAX_CELLS}")]
pub struct ShapeError {
    /// Cells that were given.
    pub found: usize,
    /// Cells that the shape wants.
    pub wanted: usize,
}

impl<A: Counts> Cells<A> {
    /// Cells for a shape, in the shape's order; the cells of [`Terms`] are the values' and then `other`, those of
    /// [`TermGrid`] the rows of the values one after another and then the row of `other`.
    ///
    /// # Errors
    /// [`ShapeError`] where the number of cells is not the shape's or beyond the cap.
    pub fn new(shape: A::Shape, measured: Vec<Measured>) -> Result<Self, ShapeError> {
        fits::<A>(&shape, measured.len())?;
        Ok(Self { shape, content: Content::Measured(measured) })
    }

    /// Cells that are sums of published leaf cells, in the order of [`Cells::new`]. They were compared with k when their
    /// leaves were judged, see [`crate::leaf`].
    ///
    /// # Errors
    /// As [`Cells::new`].
    pub fn tallied(shape: A::Shape, tallies: Vec<Tally>) -> Result<Self, ShapeError> {
        fits::<A>(&shape, tallies.len())?;
        Ok(Self { shape, content: Content::Tallied(tallies) })
    }
}

fn fits<A: Counts>(shape: &A::Shape, found: usize) -> Result<(), ShapeError> {
    let wanted = <A as sealed::Poured>::len(shape);
    if found == wanted && found <= MAX_CELLS { Ok(()) } else { Err(ShapeError { found, wanted }) }
}

/// What a region's policy says about one answer, at one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleasePolicy {
    /// Smallest group, see [`KThreshold`].
    pub k: KThreshold,
    /// The version of the policy that said so.
    pub version: PolicyVersion,
}

impl ReleasePolicy {
    /// Judges one cell: published from k subjects on. Where k is 1 (an officer's `personal: false`) an empty cell is
    /// published as zero; everywhere else nothing and too little look the same (CBAP-1 rule R5).
    const fn judge(&self, cell: Measured) -> Cell {
        let k = self.k.get();
        if k == 1 || cell.subjects.0 >= k as u64 { Cell::published(cell.records) } else { Cell::WITHHELD }
    }
}

/// An answer that may leave the region. Made by [`release`], [`Released::refused`] and [`Released::suppressed`] alone; at another
/// node of the region than the one that released it, [`relayed::Relayed`] holds the same.
///
/// There is no `Deserialize` and no public constructor: what another region said can never be passed on as released.
#[derive(Clone, Debug)]
pub struct Released<A: CrossesBorder> {
    answer: Answer,
    shape: PhantomData<fn() -> A>,
}

impl Tally {
    /// A measured cell as if it were a sum of published ones, where a stream is declared free of personal data (k is 1); of
    /// any other stream it is a hole.
    pub fn of_measured(cell: Measured, policy: &ReleasePolicy) -> Self {
        if policy.k.get() == 1 {
            return Self::measured(cell.records.0);
        }
        let mut hole = Self::default();
        hole.leave_hole();
        hole
    }
}

/// A sum of published leaf cells as it stands in an answer: with what is published, and a mark where something is not.
fn tallied(tally: &Tally) -> Cell {
    Cell { records: tally.records(), withheld: u16::from(!tally.is_whole()) }
}

/// Releases cells under a policy: every measured cell below the threshold is withheld; tallied ones were judged before.
pub fn release<A: Counts>(cells: Cells<A>, policy: &ReleasePolicy, header: AnswerHeader) -> Released<A> {
    let judged = match cells.content {
        Content::Measured(measured) => measured.into_iter().map(|cell| policy.judge(cell)).collect(),
        Content::Tallied(tallies) => tallies.iter().map(tallied).collect(),
    };
    released(<A as sealed::Poured>::assemble(cells.shape, judged), policy, header)
}

fn released<A: CrossesBorder>(aggregate: A, policy: &ReleasePolicy, header: AnswerHeader) -> Released<A> {
    let (header, aggregate) = (AnswerHeader { policy: policy.version, ..header }, aggregate.into_aggregate());
    Released { answer: Answer { header, outcome: Outcome::Aggregate(aggregate) }, shape: PhantomData }
}

/// The shape of an answer without any data: a refusal, or everything suppressed.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

impl Released<Nothing> {
    /// A refusal: the reason is one of a closed set and tells nothing about any record.
    pub const fn refused(header: AnswerHeader, code: RefusalCode) -> Self {
        Self { answer: Answer { header, outcome: Outcome::Refused(code) }, shape: PhantomData }
    }

    /// An answer of which nothing may be told.
    pub const fn suppressed(header: AnswerHeader) -> Self {
        Self { answer: Answer { header, outcome: Outcome::Suppressed }, shape: PhantomData }
    }
}

impl<A: CrossesBorder> Released<A> {
    /// What crosses, to be read by the ledger and to be merged at home.
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// The same answer to a repeat of its question: the question's id and the head of the ledger are those of `header`, all
    /// else stays as it was released.
    #[must_use]
    pub fn repeat(&self, header: &AnswerHeader) -> Self {
        let AnswerHeader { question, ledger_size, ledger_root, .. } = *header;
        let header = AnswerHeader { question, ledger_size, ledger_root, ..self.answer.header };
        Self { answer: Answer { header, outcome: self.answer.outcome.clone() }, shape: PhantomData }
    }
}

/// An answer that came from another region: well-formed and fitting its question, and never to be sent on.
#[derive(Clone, Debug)]
pub struct Received {
    answer: Answer,
}

/// Why an answer that decoded is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceivedError {
    /// It answers another question.
    #[error("the peer answered another question")]
    OtherQuestion,
    /// Its shape is not the one that was asked for, or its parts do not fit each other.
    #[error("the peer answered in a shape that was not asked for")]
    OtherShape,
}

impl Received {
    /// Checks an answer from the wire against the question that was sent.
    ///
    /// # Errors
    /// [`ReceivedError`] where id or shape are not the question's: a malicious peer gets no further.
    pub fn check(answer: Answer, question: &VettedQuestion) -> Result<Self, ReceivedError> {
        Self::fits(&answer, &question.0)?;
        Ok(Self { answer })
    }

    /// Whether it is an answer to this question.
    fn fits(answer: &Answer, question: &Question) -> Result<(), ReceivedError> {
        if answer.header.question != question.id {
            return Err(ReceivedError::OtherQuestion);
        }
        let fits = match &answer.outcome {
            Outcome::Suppressed | Outcome::Refused(_) => true,
            Outcome::Aggregate(aggregate) => aggregate.is_well_formed() && question.ask.is_answered_by(aggregate),
        };
        if fits { Ok(()) } else { Err(ReceivedError::OtherShape) }
    }

    /// What arrived.
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }
}

/// Finds personal data in a literal; implemented by the node's detectors.
pub trait LiteralDetector {
    /// Whether the text holds, or may hold, personal data.
    fn finds_personal_data(&self, literal: &str) -> bool;
}

/// What a stream lets questions name abroad; from the policy of the metadata group.
#[derive(Clone, Copy, Debug)]
pub struct QuestionRules {
    /// Number of fields in the allow-list; [`FieldId`]s lie below it.
    pub fields: u16,
    /// Whether text literals may travel at all.
    pub text_questions: bool,
}

/// A question that may leave the asking region (RES-3). Made by [`VettedQuestion::vet`] alone.
#[derive(Clone, Debug)]
pub struct VettedQuestion(Question);

impl VettedQuestion {
    /// Checks every field against the allow-list and every literal against policy and detectors.
    ///
    /// # Errors
    /// [`QuestionError`] names the rule that was broken and what to do instead.
    pub fn vet(
        question: Question,
        rules: &QuestionRules,
        detector: &dyn LiteralDetector,
    ) -> Result<Self, QuestionError> {
        question.check_bounds()?;
        let known = |field: FieldId| field.0 < rules.fields;
        if question.ask.field().or_else(|| question.ask.number()).is_some_and(|field| !known(field)) {
            return Err(QuestionError::FieldNotAllowed);
        }
        for filter in &question.filters {
            if matches!(filter, Filter::Value { field, .. } if !known(*field)) {
                return Err(QuestionError::FieldNotAllowed);
            }
            if let Some(literal) = filter.literal() {
                vet_literal(literal, rules, detector)?;
            }
        }
        Ok(Self(question))
    }

    /// The question's id.
    pub const fn id(&self) -> QuestionId {
        self.0.id
    }

    /// The question, to be read.
    pub const fn question(&self) -> &Question {
        &self.0
    }
}

fn vet_literal(literal: &Literal, rules: &QuestionRules, detector: &dyn LiteralDetector) -> Result<(), QuestionError> {
    if !rules.text_questions {
        return Err(QuestionError::TextNotAllowed);
    }
    if is_pseudonym(literal.as_str()) || detector.finds_personal_data(literal.as_str()) {
        return Err(QuestionError::PersonalLiteral);
    }
    Ok(())
}

/// Whether a literal holds the token that stands for somebody in a region's records, or a piece of one: it names a person as
/// well as the original does, to everybody who has seen both.
fn is_pseudonym(literal: &str) -> bool {
    let is_token = |word: &str| {
        let is_base32 = |byte: u8| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte);
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.bytes().all(is_base32) && (word.len() == TOKEN_LENGTH || (word.len() >= TOKEN_PIECE && digits >= 2))
    };
    literal.contains(['\u{2039}', '\u{203A}']) || literal.split(|c: char| !c.is_alphanumeric()).any(is_token)
}

/// Characters of a pseudonym's token.
const TOKEN_LENGTH: usize = 26;
/// Shortest piece of letters and digits that is taken for one of a token: 60 bits name one person among all there are.
const TOKEN_PIECE: usize = 12;

/// A question that came from another region: within its bounds, not yet vetted by this region.
#[derive(Clone, Debug)]
pub struct ReceivedQuestion(Question);

impl ReceivedQuestion {
    /// Takes a decoded question.
    ///
    /// # Errors
    /// [`QuestionError`] where a bound is broken.
    pub fn check(question: Question) -> Result<Self, QuestionError> {
        question.check_bounds()?;
        Ok(Self(question))
    }

    /// The question, to be answered under this region's own policy.
    pub const fn question(&self) -> &Question {
        &self.0
    }
}

macro_rules! crosses {
    ($($shape:ident => $class:ident),* $(,)?) => {
        $(impl CrossesBorder for $shape {
            const CLASS: EgressClass = EgressClass::$class;
        })*

        impl EgressClass {
            /// The class of an answer by what is in it: the one under which it left.
            pub const fn of(answer: &Answer) -> Self {
                match &answer.outcome {
                    Outcome::Suppressed | Outcome::Refused(_) => Nothing::CLASS,
                    Outcome::Aggregate(aggregate) => match aggregate {
                        $(Aggregate::$shape(_) => $shape::CLASS,)*
                    },
                }
            }
        }
    };
}

crosses!(
    Count => Count, DateGrid => DateGrid, Terms => Terms, TermGrid => TermGrid, FixedHistogram => Histogram,
    Sum => Sum, Quantile => Quantile, DistinctEstimate => DistinctEstimate,
);

impl CrossesBorder for Nothing {
    const CLASS: EgressClass = EgressClass::Refusal;
}
