//! Which values of a record a field of the policy means: all that a searcher could find under its name. The name may be one key,
//! or be cut at any of its dots into nested ones; lists in between do not matter, nor do small and capital letters.
//!
//! Changes nothing and decides nothing about what becomes of a value.

use std::borrow::Cow;

use domicile_proto::privacy::PersonalClass;
use serde_json::{Map, Value};

/// What is left of the name of a field below some place of a record, with the field's class.
#[derive(Clone, Copy)]
pub(super) struct Rest<'f> {
    path: &'f str,
    class: PersonalClass,
}

impl<'f> Rest<'f> {
    /// Of a field, at the top of a record.
    pub(super) const fn of((path, class): (&'f str, PersonalClass)) -> Self {
        Self { path, class }
    }
}

/// What a key is to the rest of a name.
enum Step<'f> {
    /// The field.
    Here,
    /// A part of the field: `name.first` where `name` is meant, as it would stand in an object under it.
    Part,
    /// On the way to it, with what is still to come.
    Below(&'f str),
    Elsewhere,
}

impl<'f> Step<'f> {
    fn of(path: &'f str, key: &str) -> Self {
        if key.len() == path.len() {
            return if key.eq_ignore_ascii_case(path) { Self::Here } else { Self::Elsewhere };
        }
        if key.len() < path.len() {
            return behind(path, key).map_or(Self::Elsewhere, Self::Below);
        }
        behind(key, path).map_or(Self::Elsewhere, |_| Self::Part)
    }
}

/// What stands in a name behind its beginning and a dot.
fn behind<'a>(name: &'a str, beginning: &str) -> Option<&'a str> {
    let rest = name.get(beginning.len()..)?.strip_prefix('.')?;
    let is_so = name.get(..beginning.len()).is_some_and(|own| own.eq_ignore_ascii_case(beginning));
    is_so.then_some(rest)
}

/// What a key names of the fields.
pub(super) enum Named {
    /// A field of this class.
    Field(PersonalClass),
    /// A part of one: what stands there is not all of it.
    Part(PersonalClass),
}

/// The class of the field that a key names, if it names one. The field itself goes before a part of another one.
pub(super) fn class_of(wanted: &[Rest<'_>], key: &str) -> Option<Named> {
    let mut part = None;
    for rest in wanted {
        match Step::of(rest.path, key) {
            Step::Here => return Some(Named::Field(rest.class)),
            Step::Part => part = part.or(Some(Named::Part(rest.class))),
            Step::Below(_) | Step::Elsewhere => {}
        }
    }
    part
}

/// What is still to be found below a key.
pub(super) fn below<'f>(wanted: &[Rest<'f>], key: &str) -> Vec<Rest<'f>> {
    let step = |rest: &Rest<'f>| match Step::of(rest.path, key) {
        Step::Below(path) => Some(Rest { path, class: rest.class }),
        Step::Here | Step::Part | Step::Elsewhere => None,
    };
    wanted.iter().filter_map(step).collect()
}

/// The text of a value that is taken as a whole: an object as its JSON. `None` where there is nothing in it.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => Cow::Borrowed(text.trim()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Cow::Owned(value.to_string()),
    };
    if text.is_empty() { None } else { Some(text) }
}

/// The texts of all values of a field in a record, each of a list for itself. Parts are none of them: beside what they stand, and in which
/// order, would make many of one.
pub(super) fn texts<'v>(source: &'v Map<String, Value>, field: &str) -> Vec<Cow<'v, str>> {
    let mut found = Vec::new();
    texts_in_object(source, field, &mut found);
    found
}

fn texts_in_object<'v>(object: &'v Map<String, Value>, path: &str, found: &mut Vec<Cow<'v, str>>) {
    for (key, value) in object {
        match Step::of(path, key) {
            Step::Here => texts_of_field(value, found),
            Step::Below(rest) => texts_below(value, rest, found),
            Step::Part | Step::Elsewhere => {}
        }
    }
}

fn texts_below<'v>(value: &'v Value, path: &str, found: &mut Vec<Cow<'v, str>>) {
    match value {
        Value::Object(object) => texts_in_object(object, path, found),
        Value::Array(list) => list.iter().for_each(|value| texts_below(value, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn texts_of_field<'v>(value: &'v Value, found: &mut Vec<Cow<'v, str>>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| texts_of_field(value, found)),
        value => found.extend(text_of(value)),
    }
}
