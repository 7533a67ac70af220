//! Takes a record and gives back what may be stored of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domicile_proto::border::LiteralDetector;
use domicile_proto::ids::{Name, TenantId};
use domicile_proto::metadata::Personal;
use domicile_proto::privacy::PersonalClass;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::classified::Classified;
use super::cleaner::Cleaner;
use super::detect::Keys;
use super::named::{self, Rest};
use super::rule_files::{ClassifyError, RuleFiles};
use super::treatment::{Defaults, whole_fields};
use crate::keys::{Bucket, Day, PseudonymKeys, TenantPseudonyms};
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

    /// Treats what is personal in a record of a stream. The subject is read before. `None` where the policy drops the event; an
    /// error where the record names more than one subject, for it is hidden, counted and erased by one.
    pub(crate) fn classify(
        &self,
        mut record: Record,
        stream: &StreamView,
    ) -> Result<Option<Classified>, ClassifyError> {
        let keys = self.keys.tenant(stream.tenant);
        let treatment = self.defaults.of(&stream.policy);
        let wanted: Vec<_> = whole_fields(&stream.policy).map(Rest::of).collect();
        let subject = match &stream.policy.personal {
            Personal::Subject(field) => subject_of(&keys, field, &record.source)?,
            Personal::Undeclared | Personal::No => None,
        };
        let rules = self.rules.of(stream.tenant);
        let bucket = self.day.map(|day| Bucket { tenant: stream.tenant, stream: stream.id, day });
        let finder = treatment.finder(rules.as_deref());
        let mut cleaner = Cleaner::new(&keys, &treatment, finder, subject).meeting(&self.keys, bucket);
        cleaner.map(&mut record.source, "", &wanted);
        if let Some(id) = &record.id
            && let Some(clean) = cleaner.id(id)
        {
            record.id = Some(clean.into());
        }
        if cleaner.drops_event {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        if cleaner.dropped_fields {
            record.envelope = Envelope::locate(&record.source);
        }
        let (originals, found) = (cleaner.originals, cleaner.found);
        Ok(Some(Classified::close(record, subject, originals, found)))
    }

    /// What may be remembered of a batch with a producer's id: keyed hashes of the id and of the body. Either may say whom it is about, and
    /// a hash without a key of one short record could be tried out.
    pub(crate) fn batch(&self, tenant: TenantId, id: &str, body: &[u8]) -> ([u8; 32], [u8; 32]) {
        let hashed = |purpose, bytes: &[u8]| {
            let mut of_tenant = tenant.0.to_be_bytes().to_vec();
            of_tenant.extend_from_slice(bytes);
            self.keys.region_hash(purpose, &of_tenant)
        };
        (hashed("batch", id.as_bytes()), hashed("batch-body", digest(&SHA256, body).as_ref()))
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
        let wanted: Vec<_> = whole_fields(&stream.policy).map(Rest::of).collect();
        if let Some(class) = cleaner.treated_whole(named::class_of(&wanted, field)) {
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

/// The keyed hash of the one subject that a record names, however often it names it.
fn subject_of(
    keys: &TenantPseudonyms,
    field: &Name,
    source: &Map<String, Value>,
) -> Result<Option<u64>, ClassifyError> {
    let mut subject = None;
    for text in named::texts(source, field.as_str()) {
        let hash = keys.subject(field.as_str(), &text);
        if subject.is_some_and(|known| known != hash) {
            return Err(ClassifyError::Subjects { field: field.clone() });
        }
        subject = Some(hash);
    }
    Ok(subject)
}

/// From this many digits on a literal does not travel.
const MOST_DIGITS_ABROAD: usize = 12;

#[cfg(test)]
#[path = "classifier_test.rs"]
mod tests;
