//! A search of this region -> the words in which other regions may be asked. What has no such words is refused, never
//! shortened or widened: abroad a question counts what it counts at home.

use domicile_proto::ids::{DictionaryId, FieldId, Level, TimeRange};
use domicile_proto::message::question::{Filter as Condition, Literal, TextMatch, TextPlace};

use crate::index::words::words_of;
use crate::policy::{Policy, StreamView};
use crate::query::{Filter, Joined, Place, Value};

/// The search cannot be put into words that may travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untranslatable {
    /// A field is not in the allow-list of this region's policy for the stream.
    #[error("a field of the search is not among the stream's group fields; ask in that region itself")]
    Field,
    /// A value is in nobody's dictionary.
    #[error("a value of the search is not an approved one; ask in that region itself")]
    Value,
    /// A clause of a kind that does not travel.
    #[error(
        "the search has a clause that does not travel (only time, level, approved values as a whole, and words of the message or of exceptions do); ask in that region itself"
    )]
    Clause,
}

/// The time every match lies in, and the conditions that say the same as the filter.
pub(crate) fn translate(
    filter: &Filter,
    stream: &StreamView,
    policy: &Policy,
) -> Result<(TimeRange, Vec<Condition>), Untranslatable> {
    let (range, rest) = filter.clone().split_time();
    let mut conditions = Vec::new();
    Words { stream, policy }.every(&rest, &mut conditions)?;
    Ok((range, conditions))
}

struct Words<'a> {
    stream: &'a StreamView,
    policy: &'a Policy,
}

impl Words<'_> {
    /// Conditions that all hold where the filter does.
    fn every(&self, filter: &Filter, out: &mut Vec<Condition>) -> Result<(), Untranslatable> {
        match filter {
            Filter::All => Ok(()),
            Filter::Bool(joined) => self.joined(joined, out),
            leaf => {
                out.push(self.leaf(leaf)?);
                Ok(())
            }
        }
    }

    fn joined(&self, joined: &Joined, out: &mut Vec<Condition>) -> Result<(), Untranslatable> {
        for clause in joined.must.iter().chain(&joined.filter) {
            self.every(clause, out)?;
        }
        for clause in &joined.must_not {
            out.push(negated(self.one(clause)?)?);
        }
        let is_optional = !joined.must.is_empty() || !joined.filter.is_empty();
        let default = usize::from(!is_optional && !joined.should.is_empty());
        match joined.minimum_should_match.unwrap_or(default) {
            0 => Ok(()),
            1 => {
                let any: Result<Vec<Condition>, _> = joined.should.iter().map(|clause| self.one(clause)).collect();
                out.push(any_of(any?)?);
                Ok(())
            }
            all if all == joined.should.len() => joined.should.iter().try_for_each(|clause| self.every(clause, out)),
            _ => Err(Untranslatable::Clause),
        }
    }

    /// The one condition that says what the clause does.
    fn one(&self, clause: &Filter) -> Result<Condition, Untranslatable> {
        let mut conditions = Vec::new();
        self.every(clause, &mut conditions)?;
        match (conditions.pop(), conditions.pop()) {
            (Some(condition), None) => Ok(condition),
            _ => Err(Untranslatable::Clause),
        }
    }

    fn leaf(&self, leaf: &Filter) -> Result<Condition, Untranslatable> {
        match leaf {
            Filter::Term { field, value } => self.values(field, std::slice::from_ref(value)),
            Filter::Terms { field, values } => self.values(field, values),
            Filter::Words { field, text, every } => match text_place(field) {
                // One of several words has no words of its own.
                Some(_) if !every && words_of(text).len() > 1 => Err(Untranslatable::Clause),
                Some(place) => literal(place, TextMatch::Words, text),
                None => self.whole(field, text),
            },
            Filter::Phrase { field, text, open: false } => match text_place(field) {
                Some(place) => literal(place, TextMatch::Phrase, text),
                None => self.whole(field, text),
            },
            Filter::Phrase { field, text, open: true } | Filter::Prefix { field, text } => match text_place(field) {
                Some(place) if text.split_whitespace().nth(1).is_none() => literal(place, TextMatch::Prefix, text),
                _ => Err(Untranslatable::Clause),
            },
            _ => Err(Untranslatable::Clause),
        }
    }

    /// Words of a field whose values are looked for as a whole; of any other field they would match a part of a value at home.
    fn whole(&self, field: &str, text: &str) -> Result<Condition, Untranslatable> {
        match Place::of(field) {
            Place::Level | Place::Service(_) | Place::Host(_) => self.values(field, &[Value::Text(text.to_owned())]),
            _ if group_field(self.stream, field).is_none() => Err(Untranslatable::Field),
            _ => Err(Untranslatable::Clause),
        }
    }

    fn values(&self, field: &str, values: &[Value]) -> Result<Condition, Untranslatable> {
        let field = plain(field);
        if is_level(field) {
            let levels = values.iter().map(|value| Level::recognise(&value.text()).ok_or(Untranslatable::Value));
            return Ok(Condition::Level { levels: levels.collect::<Result<_, _>>()?, negated: false });
        }
        if let Some(place) = text_place(field) {
            // A value of a text is its words in a row.
            return match values {
                [one] => literal(place, TextMatch::Phrase, &one.text()),
                _ => Err(Untranslatable::Clause),
            };
        }
        let id = group_field(self.stream, field).ok_or(Untranslatable::Field)?;
        let ids = values.iter().map(|value| self.id(id, &value.text()).ok_or(Untranslatable::Value));
        Ok(Condition::Value { field: id, values: ids.collect::<Result<_, _>>()?, negated: false })
    }

    fn id(&self, field: FieldId, text: &str) -> Option<DictionaryId> {
        let name = self.stream.fields.get(usize::from(field.0))?;
        let dictionary = self.policy.dictionary(self.stream.tenant, name);
        dictionary.texts.iter().find(|(_, known)| *known == text).map(|(id, _)| *id)
    }
}

/// The id of a group field under any spelling of it.
pub(crate) fn group_field(stream: &StreamView, field: &str) -> Option<FieldId> {
    let field = plain(field);
    stream.allowed(if is_level(field) { "level" } else { field })
}

fn plain(field: &str) -> &str {
    field.strip_suffix(".keyword").or_else(|| field.strip_suffix(".raw")).unwrap_or(field)
}

fn is_level(field: &str) -> bool {
    matches!(field, "level" | "severity" | "log.level")
}

/// Which text a field is, if it is one.
fn text_place(field: &str) -> Option<TextPlace> {
    match Place::of(field) {
        Place::Message => Some(TextPlace::Message),
        Place::More => Some(TextPlace::Exception),
        _ => None,
    }
}

fn literal(place: TextPlace, how: TextMatch, text: &str) -> Result<Condition, Untranslatable> {
    let literal = Literal::try_from(text.to_owned()).map_err(|_| Untranslatable::Clause)?;
    Ok(Condition::TextIn { place, how, literal, negated: false })
}

fn negated(condition: Condition) -> Result<Condition, Untranslatable> {
    Ok(match condition {
        Condition::Level { levels, negated } => Condition::Level { levels, negated: !negated },
        Condition::Value { field, values, negated } => Condition::Value { field, values, negated: !negated },
        Condition::Text { how, literal, negated } => Condition::Text { how, literal, negated: !negated },
        Condition::TextIn { place, how, literal, negated } => {
            Condition::TextIn { place, how, literal, negated: !negated }
        }
    })
}

/// One condition for several of which one must hold: values of the same field, or the same literal in several texts.
fn any_of(conditions: Vec<Condition>) -> Result<Condition, Untranslatable> {
    let mut conditions = conditions.into_iter();
    let mut sum = conditions.next().ok_or(Untranslatable::Clause)?;
    for next in conditions {
        match (&mut sum, next) {
            (Condition::Level { levels, negated: false }, Condition::Level { levels: more, negated: false }) => {
                levels.extend(more);
            }
            (
                Condition::Value { field, values, negated: false },
                Condition::Value { field: other, values: more, negated: false },
            ) if *field == other => values.extend(more),
            (sum, next) if *sum == next => {}
            (sum, next) => match (in_any_text(sum), in_any_text(&next)) {
                // There are two texts, so either of two different ones is any.
                (Some(here), Some(there)) if here == there => *sum = here,
                _ => return Err(Untranslatable::Clause),
            },
        }
    }
    Ok(sum)
}

/// The same condition on any text.
fn in_any_text(condition: &Condition) -> Option<Condition> {
    match condition {
        Condition::Text { how, literal, negated: false } | Condition::TextIn { how, literal, negated: false, .. } => {
            Some(Condition::Text { how: *how, literal: literal.clone(), negated: false })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use domicile_proto::ids::{Name, StreamId, TenantId, Timestamp};
    use domicile_proto::metadata::StreamPolicy;

    use super::*;
    use crate::policy::Dictionary;

    fn world() -> (StreamView, Policy) {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let mut policy = Policy::empty("tokyo".parse().expect("a name"));
        let texts = BTreeMap::from([(DictionaryId(64), "pay".to_owned()), (DictionaryId(65), "web".to_owned())]);
        let dictionary = Dictionary { approved: texts.clone(), texts };
        policy.dictionaries.insert((TenantId(1), name("service")), Arc::new(dictionary));
        let stream = StreamView {
            id: StreamId(1),
            tenant: TenantId(1),
            name: name("app"),
            fields: vec![name("service"), name("hidden")],
            policy: StreamPolicy { group_fields: vec![name("service")], ..StreamPolicy::default() },
            shard: None,
        };
        (stream, policy)
    }

    fn check(filter: &Filter) -> Result<Vec<Condition>, Untranslatable> {
        let (stream, policy) = world();
        translate(filter, &stream, &policy).map(|(_, conditions)| conditions)
    }

    fn words(field: &str, text: &str) -> Filter {
        Filter::Words { field: field.to_owned(), text: text.to_owned(), every: true }
    }

    fn in_message(how: TextMatch, text: &str) -> Condition {
        literal(TextPlace::Message, how, text).expect("short")
    }

    #[test]
    fn says_the_same_in_words_that_may_travel() {
        let levels = |levels: &[Level], negated| Condition::Level { levels: levels.to_vec(), negated };
        let service = |ids: &[u32]| Condition::Value {
            field: FieldId(0),
            values: ids.iter().copied().map(DictionaryId).collect(),
            negated: false,
        };
        for (filter, expected) in [
            (Filter::All, vec![]),
            (Filter::term("level.keyword", "error"), vec![levels(&[Level::Error], false)]),
            (Filter::term("level", "INFO").negated(), vec![levels(&[Level::Info], true)]),
            (
                Filter::any(vec![Filter::term("level", "WARN"), Filter::term("level", "ERROR")]),
                vec![levels(&[Level::Warn, Level::Error], false)],
            ),
            (
                Filter::any(vec![words("message", "time"), words("exception", "time")]),
                vec![in_any_text(&in_message(TextMatch::Words, "time")).expect("a text")],
            ),
            (
                Filter::any(vec![words("msg", "time"), words("message", "time")]),
                vec![in_message(TextMatch::Words, "time")],
            ),
            (words("stack_trace", "a b"), vec![literal(TextPlace::Exception, TextMatch::Words, "a b").expect("short")]),
            (Filter::term("message", "a b"), vec![in_message(TextMatch::Phrase, "a b")]),
            (
                Filter::every(vec![Filter::term("service", "pay"), words("message", "time out")]),
                vec![service(&[64]), in_message(TextMatch::Words, "time out")],
            ),
        ] {
            assert_eq!(check(&filter), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_said_is_never_shortened() {
        let some_words =
            |text: &str| Filter::Words { field: "message".to_owned(), text: text.to_owned(), every: false };
        let time = [words("message", "time"), words("exception", "time")];
        for (filter, error) in [
            (Filter::term("hidden", "x"), Untranslatable::Field),
            (Filter::term("user", "hanako"), Untranslatable::Field),
            (Filter::term("service", "unheard"), Untranslatable::Value),
            (Filter::term("level", "loud"), Untranslatable::Value),
            (Filter::Exists { field: "service".to_owned() }, Untranslatable::Clause),
            (Filter::None, Untranslatable::Clause),
            (some_words("a b"), Untranslatable::Clause),
            (some_words("a-b"), Untranslatable::Clause),
            (Filter::any(vec![words("message", "time"), words("exception", "out")]), Untranslatable::Clause),
            (Filter::any(time.map(Filter::negated).to_vec()), Untranslatable::Clause),
            (Filter::any(vec![Filter::term("level", "WARN"), Filter::term("service", "pay")]), Untranslatable::Clause),
            (
                Filter::every(vec![Filter::term("level", "WARN"), Filter::term("service", "pay")]).negated(),
                Untranslatable::Clause,
            ),
        ] {
            assert_eq!(check(&filter), Err(error));
        }
    }

    #[test]
    fn the_time_is_taken_out() {
        let (stream, policy) = world();
        let range = TimeRange { from: Timestamp(1), to: Timestamp(9) };
        let filter = Filter::every(vec![Filter::Time(range), Filter::term("level", "INFO")]);
        let (found, conditions) = translate(&filter, &stream, &policy).expect("it travels");
        assert_eq!((found, conditions.len()), (range, 1));
        assert_eq!(translate(&Filter::Time(range).negated(), &stream, &policy), Err(Untranslatable::Clause));
    }
}
