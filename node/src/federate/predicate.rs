//! What a question asks, apart from how and when: by this a region knows a repeat from a new question.

use domicile_proto::ids::Timestamp;
use domicile_proto::message::question::Question;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60 * Timestamp::MICROS;

/// A digest of what is asked, so that no literal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Predicate([u8; 16]);

impl Predicate {
    /// Answers over allow-listed fields are parts of one released table, whatever range and grid they are asked on: a
    /// question is its stream, its conditions and its field. A text question is judged as a whole, so its range and its
    /// shape belong to it; of a range that reaches into the present, the part up to `closed_at`.
    pub(super) fn of(question: &Question, closed_at: Timestamp) -> Self {
        let mut conditions: Vec<Vec<u8>> =
            question.filters.iter().map(|filter| serde_json::to_vec(filter).unwrap_or_default()).collect();
        conditions.sort_unstable();
        conditions.dedup();
        let shape = is_text(question).then(|| (closed(question, closed_at), question.ask));
        let fields = (question.ask.field(), question.ask.number());
        let whole = (question.stream, conditions, fields, shape);
        let whole = digest(&SHA256, &serde_json::to_vec(&whole).unwrap_or_default());
        let mut short = [0; 16];
        short.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
        Self(short)
    }
}

/// Whether a question has a condition on text, which no table can answer.
pub(super) fn is_text(question: &Question) -> bool {
    question.filters.iter().any(|filter| filter.literal().is_some())
}

/// First and last whole minute that a question covers.
fn closed(question: &Question, closed_at: Timestamp) -> (i64, i64) {
    let first = -question.range.from.0.saturating_neg().div_euclid(MINUTE);
    (first, question.range.to.0.min(closed_at.0).div_euclid(MINUTE))
}

#[cfg(test)]
mod tests {
    use domicile_proto::aggregate::date_grid::Grid;
    use domicile_proto::ids::{DictionaryId, FieldId, Level, QuestionId, StreamId, TenantId, TimeRange};
    use domicile_proto::message::question::{Ask, Filter, Literal, TextMatch};

    use super::*;

    fn question(filters: Vec<Filter>) -> Question {
        Question {
            id: QuestionId(1),
            tenant: TenantId(1),
            stream: StreamId(1),
            range: TimeRange { from: Timestamp(0), to: Timestamp(10 * MINUTE) },
            filters,
            ask: Ask::Count,
            deadline_ms: 1_000,
        }
    }

    fn level(negated: bool) -> Filter {
        Filter::Level { levels: vec![Level::Error], negated }
    }

    fn text() -> Filter {
        let literal = Literal::try_from("timeout".to_owned()).expect("short");
        Filter::Text { how: TextMatch::Words, literal, negated: false }
    }

    const LATE: Timestamp = Timestamp(1_000 * MINUTE);

    #[test]
    fn range_and_grid_make_no_new_question_of_a_table_and_every_condition_does() {
        let plain = question(vec![level(false)]);
        let same = |other: &Question| Predicate::of(&plain, LATE) == Predicate::of(other, LATE);
        let value = Filter::Value { field: FieldId(1), values: vec![DictionaryId(64)], negated: false };
        assert!(same(&Question { id: QuestionId(2), range: TimeRange::ALL, ..plain.clone() }));
        assert!(same(&Question { ask: Ask::DateGrid(Grid { first: 0, step: 60, len: 5 }), ..plain.clone() }));
        assert!(same(&question(vec![level(false), level(false)])), "said twice is said once");
        assert!(!same(&question(vec![level(true)])));
        assert!(!same(&question(vec![level(false), value.clone()])));
        assert!(!same(&Question { stream: StreamId(2), ..plain.clone() }));
        assert!(!same(&Question { ask: Ask::Terms(FieldId(0)), ..plain.clone() }));
        let (a, b) = (question(vec![level(false), value.clone()]), question(vec![value, level(false)]));
        assert_eq!(Predicate::of(&a, LATE), Predicate::of(&b, LATE), "in any order");
    }

    #[test]
    fn range_and_shape_belong_to_a_text_question_as_far_as_they_are_closed() {
        let asked = |to: i64, now: i64| {
            let range = TimeRange { from: Timestamp(-1), to: Timestamp(to) };
            Predicate::of(&Question { range, ..question(vec![text()]) }, Timestamp(now))
        };
        assert_ne!(asked(9 * MINUTE, LATE.0), asked(10 * MINUTE, LATE.0));
        assert_eq!(asked(10 * MINUTE, LATE.0), asked(10 * MINUTE + 1, LATE.0), "the same whole minutes");
        assert_eq!(asked(i64::MAX, 7 * MINUTE), asked(i64::MAX, 7 * MINUTE + 1));
        assert_ne!(asked(i64::MAX, 7 * MINUTE), asked(i64::MAX, 8 * MINUTE), "a minute closed meanwhile");
        let plain = question(vec![text()]);
        let on_grid = Question { ask: Ask::DateGrid(Grid { first: 0, step: 60, len: 5 }), ..plain.clone() };
        assert_ne!(Predicate::of(&plain, LATE), Predicate::of(&on_grid, LATE));
    }
}
