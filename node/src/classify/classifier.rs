//! Takes a record and gives back what may be stored of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::TenantId;
use domicile_proto::metadata::Personal;
use domicile_proto::privacy::PersonalClass;
use serde_json::{Map, Value};

use super::classified::Classified;
use super::cleaner::Cleaner;
use super::detect::Keys;
use super::rule_files::RuleFiles;
use super::treatment::{Defaults, whole_fields};
use crate::keys::{Bucket, Day, PseudonymKeys};
use crate::parse::{Envelope, Record};
use crate::policy::StreamView;

/// The detectors of a region, what it does with what they find, and the keys of its pseudonyms.
#[derive(Clone)]
pub(crate) struct Classifier {
    keys: Arc<PseudonymKeys>,
    defaults: Arc<Defaults>,
    rules: Arc<RuleFiles>,
    dropped: Arc<AtomicU64>,
    /// The day under whose keys values are sealed.
    day: Option<Day>,
}

impl Classifier {
    /// Under the region's keys, with its defaults and the rules of its tenants.
    pub(crate) fn new(keys: Arc<PseudonymKeys>, defaults: Defaults, rules: RuleFiles) -> Self {
        Self { keys, defaults: Arc::new(defaults), rules: Arc::new(rules), dropped: Arc::default(), day: None }
    }

    /// For records that are sealed at once, on this day: of values that are sealed already only their tokens are put in.
    pub(crate) fn on(&self, day: Day) -> Self {
        Self { day: Some(day), ..self.clone() }
    }

    /// Treats what is personal in a record of a stream. The subject is read before. `None` where the policy drops the event.
    pub(crate) fn classify(&self, mut record: Record, stream: &StreamView) -> Option<Classified> {
        let keys = self.keys.tenant(stream.tenant);
        let treatment = self.defaults.of(&stream.policy);
        let whole: Vec<_> = whole_fields(&stream.policy)
            .filter_map(|(field, class)| {
                let text = taken(&mut record.source, field)?;
                Some((field, class, text))
            })
            .collect();
        let subject = match &stream.policy.personal {
            Personal::Subject(field) => whole
                .iter()
                .find(|(named, ..)| *named == field.as_str())
                .map(|(_, _, text)| keys.subject(field.as_str(), text)),
            Personal::Undeclared | Personal::No => None,
        };
        let rules = self.rules.of(stream.tenant);
        let bucket = self.day.map(|day| Bucket { tenant: stream.tenant, stream: stream.id, day });
        let finder = treatment.finder(rules.as_deref());
        let mut cleaner = Cleaner::new(&keys, &treatment, finder, subject).meeting(&self.keys, bucket);
        cleaner.map(&mut record.source, "");
        for (field, class, text) in whole {
            match cleaner.whole(class, &text) {
                Ok(clean) => put(&mut record.source, field, clean),
                Err(_) => drop_at(&mut record.source, field),
            }
        }
        if let Some(id) = &record.id
            && let Some(clean) = cleaner.id(id)
        {
            record.id = Some(clean.into());
        }
        if cleaner.drops_event {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if cleaner.dropped_fields {
            record.envelope = Envelope::locate(&record.source);
        }
        let originals = cleaner.originals;
        Some(Classified::close(record, subject, originals))
    }

    /// How many records were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A text with its personal spans replaced, as it would stand in a record of the stream under a field: how searchers find
    /// a value that they know. `None` where nothing is replaced.
    pub(crate) fn pseudonymise(&self, field: &str, text: &str, stream: &StreamView) -> Option<String> {
        let keys = self.keys.tenant(stream.tenant);
        let treatment = self.defaults.of(&stream.policy);
        let rules = self.rules.of(stream.tenant);
        let mut cleaner = Cleaner::new(&keys, &treatment, treatment.finder(rules.as_deref()), None);
        if let Some((_, class)) = whole_fields(&stream.policy).find(|(whole, _)| whole.eq_ignore_ascii_case(field)) {
            return cleaner.whole(class, text.trim()).ok();
        }
        cleaner.question(text, Keys { nearest: field, outer: "" })
    }

    /// How a value may stand in records of a tenant, whatever its policies do with it now: where detectors find it, and replaced
    /// whole as one of these classes. Records outlive the policy under which they came.
    pub(crate) fn written_ever(&self, value: &str, tenant: TenantId, whole: &[PersonalClass]) -> BTreeSet<String> {
        let (keys, treatment) = (self.keys.tenant(tenant), self.defaults.pseudonymising());
        let rules = self.rules.of(tenant);
        let mut cleaner = Cleaner::new(&keys, &treatment, treatment.finder(rules.as_deref()), None);
        let mut written: BTreeSet<String> = cleaner.question(value, Keys::default()).into_iter().collect();
        for class in whole {
            written.extend(cleaner.whole(*class, value.trim()));
        }
        written
    }
}

impl LiteralDetector for Classifier {
    /// Stricter than what is replaced: a half address or a long number may be personal to somebody who knows the rest.
    fn finds_personal_data(&self, literal: &str) -> bool {
        let with_rules = |rules| self.defaults.finder().with_rules(Some(rules)).strict();
        self.defaults.finds_personal_data(literal)
            || self.rules.all().any(|rules| !with_rules(rules).spans(literal, Keys::default()).is_empty())
    }
}

impl LiteralDetector for Defaults {
    /// By the detectors that are built in, without a tenant's own rules.
    fn finds_personal_data(&self, literal: &str) -> bool {
        let digits = literal.chars().filter(|c| c.is_numeric()).count();
        digits >= MOST_DIGITS_ABROAD
            || literal.contains(['@', '\u{FF20}', '\u{FE6B}'])
            || !self.finder().strict().spans(literal, Keys::default()).is_empty()
    }
}

/// Takes the text of a field that is replaced whole out of a record, where there is anything; an empty text is left.
fn taken(source: &mut Map<String, Value>, field: &str) -> Option<String> {
    let value = find(source, field)?;
    let text = match &*value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(list) if list.is_empty() => return None,
        Value::Array(_) | Value::Object(_) => value.to_string(),
        Value::Null => return None,
    };
    if text.is_empty() {
        return None;
    }
    *value = Value::Null;
    Some(text)
}

fn put(source: &mut Map<String, Value>, field: &str, clean: String) {
    if let Some(value) = find(source, field) {
        *value = Value::String(clean);
    }
}

/// The value of a field: under its name, or down its path; in small or capital letters.
fn find<'a>(source: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Value> {
    let (outer, key) = home(source, field)?;
    outer.get_mut(&key)
}

fn drop_at(source: &mut Map<String, Value>, field: &str) {
    if let Some((outer, key)) = home(source, field) {
        outer.shift_remove(&key);
    }
}

/// The object that holds a field, and the field's key in it.
fn home<'a>(source: &'a mut Map<String, Value>, field: &str) -> Option<(&'a mut Map<String, Value>, String)> {
    if let Some(key) = key_of(source, field) {
        return Some((source, key));
    }
    let (first, rest) = field.split_once('.')?;
    let key = key_of(source, first)?;
    match source.get_mut(&key)? {
        Value::Object(inner) => home(inner, rest),
        _ => None,
    }
}

fn key_of(map: &Map<String, Value>, field: &str) -> Option<String> {
    if map.contains_key(field) {
        return Some(field.to_owned());
    }
    map.keys().find(|key| key.eq_ignore_ascii_case(field)).cloned()
}

/// From this many digits on a literal does not travel.
const MOST_DIGITS_ABROAD: usize = 12;

#[cfg(test)]
#[path = "classifier_test.rs"]
mod tests;
