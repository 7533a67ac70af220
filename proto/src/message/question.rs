//! A question as it crosses a border: fields by their place in the allow-list, time on the grid, text only as a bounded
//! literal that policy and detectors have let through (RES-3).

use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::aggregate::date_grid::Grid;
use crate::aggregate::sum::SumLayout;
use crate::ids::{DictionaryId, FieldId, Level, QuestionId, StreamId, TenantId, TimeRange};

/// Most conditions in one question.
pub const MAX_FILTERS: usize = 16;
/// Most values in one condition.
pub const MAX_VALUES: usize = 64;

/// A question to another region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Drawn at random by the asking node.
    pub id: QuestionId,
    /// Whose records.
    pub tenant: TenantId,
    /// Of which stream.
    pub stream: StreamId,
    /// From when to when; the answering region shrinks it to whole minutes.
    pub range: TimeRange,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// What is wanted.
    pub ask: Ask,
    /// How long the asker will wait, in milliseconds from the question's arrival.
    pub deadline_ms: u32,
}

/// What is wanted of the matching records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Their number.
    Count,
    /// Their numbers on a grid of time.
    DateGrid(Grid),
    /// Their numbers by approved value of a field.
    Terms(FieldId),
    /// Their numbers by approved value and time.
    TermGrid(FieldId, Grid),
    /// Their numbers between the declared bounds of a numeric field.
    Numbers(FieldId),
    /// The sums of a numeric field, clamped to its bounds.
    Sum(SumLayout),
    /// Below which declared bound of a numeric field so many thousandths of them lie, for each region by itself.
    Quantile(FieldId, u16),
    /// How many values of a field they have, for each region by itself.
    Distinct(FieldId),
}

impl Ask {
    /// The group field, if there is one.
    pub const fn field(&self) -> Option<FieldId> {
        match self {
            Self::Count | Self::DateGrid(_) | Self::Numbers(_) | Self::Quantile(..) => None,
            Self::Terms(field) | Self::TermGrid(field, _) | Self::Distinct(field) => Some(*field),
            Self::Sum(layout) => layout.by,
        }
    }

    /// The numeric field, if there is one.
    pub const fn number(&self) -> Option<FieldId> {
        match self {
            Self::Numbers(field) | Self::Quantile(field, _) => Some(*field),
            Self::Sum(layout) => Some(layout.field),
            Self::Count | Self::DateGrid(_) | Self::Terms(_) | Self::TermGrid(..) | Self::Distinct(_) => None,
        }
    }

    /// The grid of time, if there is one.
    pub const fn grid(&self) -> Option<Grid> {
        match self {
            Self::Count | Self::Terms(_) | Self::Numbers(_) | Self::Quantile(..) | Self::Distinct(_) => None,
            Self::DateGrid(grid) | Self::TermGrid(_, grid) => Some(*grid),
            Self::Sum(layout) => layout.grid,
        }
    }

    /// Whether the aggregate has the shape that was asked for.
    pub fn is_answered_by(&self, aggregate: &Aggregate) -> bool {
        match (self, aggregate) {
            (Self::Count, Aggregate::Count(_)) => true,
            (Self::DateGrid(grid), Aggregate::DateGrid(found)) => *grid == found.grid,
            (Self::Terms(field), Aggregate::Terms(found)) => *field == found.field,
            (Self::TermGrid(field, grid), Aggregate::TermGrid(found)) => *field == found.field && *grid == found.grid,
            (Self::Numbers(field), Aggregate::FixedHistogram(found)) => *field == found.field,
            (Self::Sum(layout), Aggregate::Sum(found)) => *layout == found.layout,
            (Self::Quantile(field, per_mille), Aggregate::Quantile(found)) => {
                (*field, *per_mille) == (found.field, found.per_mille) && found.regions.len() == 1
            }
            (Self::Distinct(field), Aggregate::DistinctEstimate(found)) => {
                *field == found.field && found.regions.len() == 1
            }
            _ => false,
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// The level is one of these; with `negated`, none of them.
    Level {
        /// The levels.
        levels: Vec<Level>,
        /// Whether records with one of them are left out instead.
        negated: bool,
    },
    /// An allow-listed field has one of these approved values; with `negated`, none of them.
    Value {
        /// The field, by its place in the stream's allow-list.
        field: FieldId,
        /// The values, by dictionary id.
        values: Vec<DictionaryId>,
        /// Whether records with one of them are left out instead.
        negated: bool,
    },
    /// One of the texts of a record, whichever, holds words, a phrase or a word with this beginning.
    Text {
        /// How the literal is matched.
        how: TextMatch,
        /// The literal.
        literal: Literal,
        /// Whether records that match are left out instead.
        negated: bool,
    },
    /// This text of a record holds words, a phrase or a word with this beginning.
    TextIn {
        /// Which text.
        place: TextPlace,
        /// How the literal is matched.
        how: TextMatch,
        /// The literal.
        literal: Literal,
        /// Whether records that match are left out instead.
        negated: bool,
    },
}

impl Filter {
    /// The text the condition carries, if it is one on text.
    pub const fn literal(&self) -> Option<&Literal> {
        match self {
            Self::Level { .. } | Self::Value { .. } => None,
            Self::Text { literal, .. } | Self::TextIn { literal, .. } => Some(literal),
        }
    }
}

/// A text of a record that can be named abroad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextPlace {
    /// The message.
    Message,
    /// The exception, and attributes too long for a column.
    Exception,
}

/// How a literal is matched against a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextMatch {
    /// All of its words occur.
    Words,
    /// Its words occur one after another.
    Phrase,
    /// A word begins with it.
    Prefix,
}

/// A piece of text in a question: at most [`Literal::MAX_BYTES`] bytes. Source of the bound: CBAP-1 rule R10.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Literal(String);

impl Literal {
    /// Longest literal, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Literal {
    type Error = QuestionError;

    fn try_from(text: String) -> Result<Self, QuestionError> {
        if text.is_empty() || text.len() > Self::MAX_BYTES { Err(QuestionError::LiteralLength) } else { Ok(Self(text)) }
    }
}

impl From<Literal> for String {
    fn from(literal: Literal) -> Self {
        literal.0
    }
}

/// Never prints the text: it may be personal until a detector has seen it.
impl std::fmt::Debug for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Literal({} bytes)", self.0.len())
    }
}

/// Why a question may not leave, or is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A field is not in the stream's allow-list.
    #[error("a field of the question is not in the stream's allow-list for other regions; ask in the region itself")]
    FieldNotAllowed,
    /// The stream lets no text travel.
    #[error("the stream's policy lets no text travel to other regions (`text_questions`); ask in the region itself")]
    TextNotAllowed,
    /// A detector found personal data.
    #[error(
        "a literal of the question looks like personal data and does not leave this region; ask in the region itself"
    )]
    PersonalLiteral,
    /// A literal is empty or too long.
    #[error("a literal must have 1 to {} bytes", Literal::MAX_BYTES)]
    LiteralLength,
    /// Too many conditions or values.
    #[error("a question to other regions has at most {MAX_FILTERS} conditions with at most {MAX_VALUES} values each")]
    TooManyConditions,
    /// A quantile of nothing or of everything: that is an end of the data.
    #[error(
        "a quantile lies between 0 and 100 percent, both excluded: the smallest and the largest number do not travel"
    )]
    Quantile,
    /// The grid is off the minute or too long.
    #[error("the grid of time must have whole minutes and at most {} cells", crate::aggregate::MAX_CELLS)]
    Grid,
}

impl Question {
    /// Checks the bounds that hold on both ends.
    ///
    /// # Errors
    /// [`QuestionError`] names the bound.
    pub fn check_bounds(&self) -> Result<(), QuestionError> {
        if self.filters.len() > MAX_FILTERS {
            return Err(QuestionError::TooManyConditions);
        }
        for filter in &self.filters {
            let values = match filter {
                Filter::Level { levels, .. } => levels.len(),
                Filter::Value { values, .. } => values.len(),
                Filter::Text { .. } | Filter::TextIn { .. } => 1,
            };
            if values == 0 || values > MAX_VALUES {
                return Err(QuestionError::TooManyConditions);
            }
        }
        if matches!(self.ask, Ask::Quantile(_, 0 | 1_000..)) {
            return Err(QuestionError::Quantile);
        }
        if self.ask.grid().is_some_and(|grid| !grid.is_well_formed()) {
            return Err(QuestionError::Grid);
        }
        Ok(())
    }
}
