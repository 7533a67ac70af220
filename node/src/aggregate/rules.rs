//! The rules that decide what an answer holds, kept in the region's bucket under their digest before the first answer that is
//! drawn by them leaves. An entry of the ledger names the digest; whoever asks the answer again finds the rules of then.
//!
//! A page of rules is created if absent and never changed. It says what a region lets out and nothing of a record. What the rules
//! decide is not decided here.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use domicile_proto::ids::{DictionaryId, KThreshold, Name, ShardId};
use domicile_proto::leaf::LeafWidth;
use domicile_proto::metadata::{NumberField, Personal, StreamPolicy};
use domicile_proto::noise::Noise;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::AggregateError;
use super::answer::Asked;
use super::releases::Releases;
use crate::audit::Drawn;
use crate::classify::Upheld;
use crate::limits::RULES_KNOWN;
use crate::policy::{Dictionary, Policy, StreamView};
use crate::store::{Store, StoreError};

/// SHA-256 of rules.
pub(crate) type RulesDigest = [u8; 32];

/// A page of rules. What changes no answer is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    version: u32,
    personal: Personal,
    /// The smallest group that held.
    k: KThreshold,
    grid: LeafWidth,
    text_questions: bool,
    /// Every field that any region ever allowed, in the order of their ids.
    fields: Vec<Name>,
    /// Those this region allows, each with the values that may be named.
    group_fields: Vec<(Name, Vec<(DictionaryId, String)>)>,
    numbers: Vec<NumberField>,
    noise: Option<Noise>,
    /// The smallest group that an officer's statement had, where the detectors contradicted it: that nobody is in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stated: Option<KThreshold>,
}

const VERSION: u32 = 1;
const PREFIX: &str = "rules";

impl Rules {
    /// Those of a stream by a policy.
    fn of(of: &Policy, stream: &Upheld) -> Self {
        let policy = &stream.policy;
        let named = |field: &Name| {
            let dictionary = of.dictionary(stream.tenant, field);
            (field.clone(), dictionary.approved.iter().map(|(id, value)| (*id, value.clone())).collect())
        };
        Self {
            version: VERSION,
            personal: policy.personal.clone(),
            k: policy.threshold(),
            grid: policy.grid,
            text_questions: policy.text_questions,
            fields: stream.fields.clone(),
            group_fields: policy.group_fields.iter().map(named).collect(),
            numbers: policy.numbers.clone(),
            noise: policy.noise,
            stated: stream.stated(),
        }
    }

    /// The rules of the statement that the detectors contradicted: what the policy said. `None` of rules under which none was.
    pub(crate) fn stated(&self) -> Option<Self> {
        let k = self.stated?;
        Some(Self { personal: Personal::No, k, stated: None, ..self.clone() })
    }

    /// Reads a page: `None` where it is none in its one form, or holds other rules than those of the digest.
    pub(crate) fn read(page: &[u8], digest: &RulesDigest) -> Option<Self> {
        let read: Self = serde_json::from_slice(page).ok()?;
        let is_one = read.stated.is_none() || read.personal == Personal::Undeclared;
        let is_it = read.version == VERSION && is_one && read.digest() == *digest;
        (is_it && serde_json::to_vec(&read).is_ok_and(|again| again == page)).then_some(read)
    }

    /// Whose data it was.
    pub(crate) const fn personal(&self) -> &Personal {
        &self.personal
    }

    /// The smallest group, the width of a cell in seconds, and whether texts were answered.
    pub(crate) const fn numbers_of(&self) -> (KThreshold, u32, bool) {
        (self.k, self.grid.seconds(), self.text_questions)
    }

    /// Every field that any region had allowed, in the order of their ids.
    pub(crate) fn fields(&self) -> &[Name] {
        &self.fields
    }

    /// Those that this region allowed, each with the values that might be named.
    pub(crate) fn group_fields(&self) -> &[(Name, Vec<(DictionaryId, String)>)] {
        &self.group_fields
    }

    /// Numbers that it allowed.
    pub(crate) fn numbers(&self) -> &[NumberField] {
        &self.numbers
    }

    /// The noise that was wanted.
    pub(crate) const fn noise(&self) -> Option<Noise> {
        self.noise
    }

    /// What stands for them in the ledger.
    pub(crate) fn digest(&self) -> RulesDigest {
        let head = Head {
            personal: &self.personal,
            numbers_of: [self.k.get(), self.grid.seconds(), u32::from(self.text_questions)],
            fields: &self.fields,
            numbers: &self.numbers,
            noise: self.noise,
            stated: self.stated,
        };
        let groups = self.group_fields.iter();
        head.digest(groups.map(|(field, values)| (field, values.iter().map(|(id, value)| (*id, value.as_str())))))
    }

    /// The same question, judged by these rules; all else is as it is now.
    pub(super) fn over(&self, asked: &Asked) -> Asked {
        let stream = StreamView {
            fields: self.fields.clone(),
            policy: StreamPolicy {
                personal: self.personal.clone(),
                k: Some(self.k),
                grid: self.grid,
                text_questions: self.text_questions,
                group_fields: self.group_fields.iter().map(|(field, _)| field.clone()).collect(),
                numbers: self.numbers.clone(),
                noise: self.noise,
                ..asked.stream.policy.clone()
            },
            ..(*asked.stream).clone()
        };
        let mut policy = Policy { dictionaries: BTreeMap::new(), ..(*asked.policy).clone() };
        for (field, values) in &self.group_fields {
            let approved: BTreeMap<DictionaryId, String> = values.iter().cloned().collect();
            let dictionary = Dictionary { texts: approved.clone(), approved };
            policy.dictionaries.insert((stream.tenant, field.clone()), Arc::new(dictionary));
        }
        let stream = Upheld::of_then(Arc::new(stream), self.stated);
        Asked { stream, policy: Arc::new(policy), ..asked.clone() }
    }
}

impl Asked {
    /// SHA-256 of the rules that decide what an answer holds. What changes no answer is not among them.
    pub(crate) fn rules(&self) -> RulesDigest {
        let policy = &self.stream.policy;
        let head = Head {
            personal: &policy.personal,
            numbers_of: [policy.threshold().get(), policy.grid.seconds(), u32::from(policy.text_questions)],
            fields: &self.stream.fields,
            numbers: &policy.numbers,
            noise: policy.noise,
            stated: self.stream.stated(),
        };
        let of = |field| (field, self.policy.dictionary(self.stream.tenant, field));
        let dictionaries: Vec<(&Name, Arc<Dictionary>)> = policy.group_fields.iter().map(of).collect();
        head.digest(
            dictionaries.iter().map(|(field, dictionary)| {
                (*field, dictionary.approved.iter().map(|(id, value)| (*id, value.as_str())))
            }),
        )
    }
}

/// Rules without the values that may be named.
struct Head<'a> {
    personal: &'a Personal,
    /// The smallest group, the width of a cell, and whether texts are answered.
    numbers_of: [u32; 3],
    fields: &'a [Name],
    numbers: &'a [NumberField],
    noise: Option<Noise>,
    stated: Option<KThreshold>,
}

impl<'a> Head<'a> {
    fn digest<V>(&self, groups: impl Iterator<Item = (&'a Name, V)>) -> RulesDigest
    where
        V: Iterator<Item = (DictionaryId, &'a str)>,
    {
        let mut context = Context::new(&SHA256);
        let mut add = |text: &str| {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        add(match self.personal {
            Personal::Subject(field) => field.as_str(),
            Personal::No => "-",
            Personal::Undeclared => "?",
        });
        self.numbers_of.iter().for_each(|number| add(&number.to_string()));
        self.fields.iter().for_each(|field| add(field.as_str()));
        add("");
        for (field, values) in groups {
            add(field.as_str());
            for (id, value) in values {
                add(&id.0.to_string());
                add(value);
            }
        }
        add("");
        for number in self.numbers {
            add(number.field.as_str());
            number.bounds.iter().for_each(|bound| add(&bound.to_string()));
        }
        // Without noise nothing stands here, as in entries of before there was any.
        if let Some(noise) = self.noise {
            add("");
            add(noise.mechanism.as_str());
            for number in [noise.epsilon, noise.records] {
                add(&number.to_string());
            }
        }
        // Nor of a statement that nothing contradicted.
        if let Some(k) = self.stated {
            add("");
            add("contradicted");
            add(&k.get().to_string());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

/// The pages of all rules of this node's streams.
#[derive(Default)]
pub(super) struct RuleBook {
    /// Those that are known to be there.
    kept: Mutex<HashSet<(ShardId, RulesDigest)>>,
}

impl RuleBook {
    /// Keeps the rules that a question is judged by, where they are not kept yet.
    ///
    /// # Errors
    /// [`AggregateError::Journal`] where the bucket does not take them.
    pub(super) async fn keep(&self, store: &Store, asked: &Asked) -> Result<(), AggregateError> {
        let (shard, digest) = (asked.shard(), asked.rules());
        if self.kept.lock().contains(&(shard, digest)) {
            return Ok(());
        }
        let name = name(shard, &digest);
        let page = serde_json::to_vec(&Rules::of(&asked.policy, &asked.stream));
        let page = page.map_err(|_| AggregateError::Damaged { object: name.clone() })?;
        match store.create(&name, Bytes::from(page)).await {
            Ok(()) | Err(StoreError::AlreadyThere { .. }) => {}
            Err(error) => return Err(AggregateError::Journal(error)),
        }
        let mut kept = self.kept.lock();
        if kept.len() >= RULES_KNOWN {
            kept.clear();
        }
        kept.insert((shard, digest));
        Ok(())
    }

    /// The rules that an answer was drawn by; `None` where they were not kept.
    ///
    /// # Errors
    /// [`AggregateError::Journal`] where the bucket cannot be read, [`AggregateError::Damaged`] where they are others.
    pub(super) async fn of_then(store: &Store, drawn: &Drawn) -> Result<Option<Rules>, AggregateError> {
        let name = name(drawn.shard, &drawn.rules);
        let page = match store.read(&name).await {
            Err(StoreError::Missing { .. }) => return Ok(None),
            page => page.map_err(AggregateError::Journal)?,
        };
        let rules = serde_json::from_slice::<Rules>(&page).ok();
        let rules = rules.filter(|rules| rules.version == VERSION && rules.digest() == drawn.rules);
        rules.map(Some).ok_or(AggregateError::Damaged { object: name })
    }
}

impl Releases {
    /// The page of rules of a shard under a digest, for whoever audits; those that hold now where it was not kept.
    ///
    /// # Errors
    /// [`AggregateError::Journal`] where the bucket cannot be read.
    pub(crate) async fn page_of_rules(
        &self,
        (shard, digest): (ShardId, RulesDigest),
        policy: &Policy,
        streams: impl IntoIterator<Item = Arc<StreamView>>,
    ) -> Result<Option<Bytes>, AggregateError> {
        match self.store.read(&name(shard, &digest)).await {
            Ok(page) => return Ok(Some(page)),
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(AggregateError::Journal(error)),
        }
        let forms = |stream: Arc<StreamView>| [Upheld::contradicted(&stream), Upheld::of_then(stream, None)];
        let now = streams.into_iter().flat_map(forms).map(|stream| Rules::of(policy, &stream));
        let now = now.into_iter().find(|rules| rules.digest() == digest);
        Ok(now.and_then(|rules| serde_json::to_vec(&rules).ok()).map(Bytes::from))
    }
}

fn name(shard: ShardId, digest: &RulesDigest) -> String {
    format!("{PREFIX}/{:016x}/{}", shard.0, hex::encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};

    #[test]
    fn no_page_of_rules_panics() {
        let field = || "level".parse::<Name>().unwrap();
        let rules = Rules {
            version: VERSION,
            personal: Personal::Subject("user".parse().unwrap()),
            k: KThreshold::SUBJECTS,
            grid: LeafWidth::Minute,
            text_questions: true,
            fields: vec![field()],
            group_fields: vec![(
                field(),
                vec![(DictionaryId(1), "ERROR".to_owned()), (DictionaryId(2), "INFO".to_owned())],
            )],
            numbers: vec![NumberField { field: "ms".parse().unwrap(), bounds: vec![-5, 10, 1_000] }],
            noise: None,
            stated: None,
        };
        let good = vec![serde_json::to_vec(&rules).unwrap()];
        assert_eq!(Rules::read(&good[0], &rules.digest()), Some(rules.clone()));
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let page = input.bytes(&good);
            assert_eq!(Rules::read(&page, &rules.digest()).is_some(), page == good[0], "a digest is of one page");
            if let Ok(read) = serde_json::from_slice::<Rules>(&page) {
                let again = serde_json::to_vec(&read).unwrap();
                assert_eq!(serde_json::from_slice::<Rules>(&again).unwrap().digest(), read.digest());
            }
        });
    }
}
