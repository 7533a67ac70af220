//! An answer as it crosses a border: a header of numbers and one aggregate, or a reason out of a closed set.

use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::ids::{PolicyVersion, QuestionId, TimeRange, Timestamp};
use crate::noise::Noise;

/// What one region answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which question, under which policy, over what.
    pub header: AnswerHeader,
    /// What may be told.
    pub outcome: Outcome,
}

/// Which question is answered, under which policy, over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHeader {
    /// The question.
    pub question: QuestionId,
    /// The version of the answering region's policy.
    pub policy: PolicyVersion,
    /// The range that was really covered: the question's, shrunk to the grid.
    pub covered: TimeRange,
    /// From here on cells are still open and the answer is partial.
    pub open_from: Option<Timestamp>,
    /// Whether records came in late and are withheld until there are enough of them.
    pub late_withheld: bool,
    /// Time the region spent, in microseconds.
    pub took_micros: u32,
    /// Size of the answering region's ledger when it answered, in entries.
    pub ledger_size: u64,
    /// Root of the answering region's newest ledger checkpoint; zeros before the first.
    pub ledger_root: [u8; 32],
    /// The noise that its numbers are told with.
    pub noise: Option<Noise>,
}

impl AnswerHeader {
    /// A header of which only the question and its range are known.
    pub const fn new(question: QuestionId, covered: TimeRange) -> Self {
        Self {
            question,
            policy: PolicyVersion(0),
            covered,
            open_from: None,
            late_withheld: false,
            took_micros: 0,
            ledger_size: 0,
            ledger_root: [0; 32],
            noise: None,
        }
    }
}

/// What may be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// An aggregate; its cells say what was withheld.
    Aggregate(Aggregate),
    /// Nothing.
    Suppressed,
    /// The region does not answer such a question.
    Refused(RefusalCode),
}

/// Why a region does not answer: a closed set that tells nothing about any record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The region does not know the tenant or the stream.
    UnknownStream,
    /// A field is not in the allow-list.
    FieldNotAllowed,
    /// The stream lets no text travel.
    TextNotAllowed,
    /// A literal looks like personal data.
    PersonalLiteral,
    /// The question breaks a bound.
    OutOfBounds,
    /// It would cost more than the region allows.
    TooCostly,
    /// The region has too much to do; ask again later.
    Busy,
    /// The deadline passed before an answer was ready.
    Deadline,
    /// The region cannot answer now, through no fault of the question.
    Unavailable,
    /// There is no legal basis for this route.
    NoTransferBasis,
    /// A text question that differs from an earlier one by less than the threshold's subjects. Source: CBAP-1 rule R10.
    Overlap,
    /// The tenant's new questions of this day are spent. Source: CBAP-1 rule R12.
    QuestionsSpent,
    /// The answer would be larger than an answer may be. Source: CBAP-1 rule R12.
    AnswerTooLarge,
    /// The answer would hold more cells than an answer may. Source: CBAP-1 rule R12.
    TooManyCells,
    /// The region's grid of time for the stream is coarser than what was asked for.
    GridTooFine,
    /// The question combines more fields than the region tabulates together.
    TooManyFields,
    /// The region declares other bounds for the numeric field than the asking one.
    OtherBounds,
    /// The privacy budget of a day is spent. Source: CBAP-1 rule R11.
    NoiseSpent,
    /// The stream's numbers are told with noise, and such a question could only be answered without. Source: CBAP-1 rule R11.
    NotWithNoise,
    /// Records of a day of the range lie in the archive and are not searched there.
    Archived,
}

impl RefusalCode {
    /// What a person reads.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::UnknownStream => "the region does not know the stream",
            Self::FieldNotAllowed => {
                "a field of the question is not in the region's allow-list; ask in the region itself"
            }
            Self::TextNotAllowed => "the region takes no text questions for this stream; ask in the region itself",
            Self::PersonalLiteral => "a literal looks like personal data; ask in the region itself",
            Self::OutOfBounds => "the question breaks a bound of the protocol",
            Self::TooCostly => "the question would cost more than the region allows; narrow the range",
            Self::Busy => "the region is busy; ask again later",
            Self::Deadline => "the region could not answer before the deadline",
            Self::Unavailable => "the region cannot answer at present",
            Self::NoTransferBasis => "there is no legal basis for this route in the transfer register",
            Self::Overlap => {
                "the text question differs from an earlier one of this day by fewer subjects than may be told apart; ask in the region itself"
            }
            Self::QuestionsSpent => {
                "the tenant's new questions of this day are spent; repeats are still answered, new ones from 00:00 UTC on"
            }
            Self::AnswerTooLarge => "the answer would be larger than an answer may be; ask for a coarser grid",
            Self::TooManyCells => "the answer would hold more cells than an answer may; ask for a coarser grid",
            Self::GridTooFine => "the region's grid of time for the stream is coarser; ask for wider intervals",
            Self::OtherBounds => "the region declares other bounds for the numeric field; ask in the region itself",
            Self::NoiseSpent => {
                "the tenant's privacy budget of a day in the range is spent; fields that were asked for before are still told"
            }
            Self::NotWithNoise => {
                "the region tells numbers of the stream with noise, and these it could not; ask in the region itself"
            }
            Self::Archived => {
                "records of days in the range lie in the region's archive; narrow the range, or have the region restore them"
            }
            Self::TooManyFields => "the question combines more than two fields; group and filter by fewer of them",
        }
    }
}
