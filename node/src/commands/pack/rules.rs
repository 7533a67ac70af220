//! The rules that answers were released by, as a pack holds them: one page for each digest that the entry of an answer names. Each answer is
//! judged by the page of its own entry.
//!
//! What binds a page is not the region's word of today: its digest stands in entries that are in the tree. Beside that one version of the policy
//! has one set of rules for a stream, and that of a stream in which the detectors contradicted an officer's statement; its smallest group and its values are those that the ledger told of, and the rules of the version that the
//! statement is of are those of the statement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domicile_proto::ids::KThreshold;
use domicile_proto::metadata::Personal;
use ring::digest::{SHA256, digest};

use super::answers::{Answers, Held, LEVEL, Lets, Under};
use super::files::{REGIONS, read};
use crate::aggregate::{Rules, RulesDigest};
use crate::present::auditor::{Statement, Stream};

/// Name of a page in a pack.
pub(super) fn place_of(home: &str, rules: &RulesDigest) -> String {
    format!("{REGIONS}/{home}/rules/{}.json", hex::encode(rules))
}

/// A page out of a pack.
pub(super) fn page(dir: &Path, home: &str, rules: &RulesDigest) -> Result<Rules, &'static str> {
    let page = read(dir, &place_of(home, rules)).map_err(|_| "these rules are missing or cannot be read")?;
    Rules::read(&page, rules).ok_or("these are not the rules of which the ledger has the digest")
}

/// Where something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Entry(u64),
    Page(RulesDigest),
}

/// What judging the answers of a ledger came to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) found: Vec<(Where, String)>,
    /// Answers that were judged, by the version of the policy that they name.
    pub(super) answers: BTreeMap<u64, u64>,
}

impl Judged {
    /// How many answers were judged under which versions of the policy.
    pub(super) fn words(&self) -> String {
        let told = self.answers.iter().rev().take(VERSIONS_TOLD);
        let mut words: Vec<String> = told.map(|(version, answers)| format!("{answers} under {version}")).collect();
        let rest: u64 = self.answers.iter().rev().skip(VERSIONS_TOLD).map(|(_, answers)| answers).sum();
        if rest > 0 {
            words.push(format!("{rest} under {} earlier ones", self.answers.len() - VERSIONS_TOLD));
        }
        words.join(", ")
    }
}

/// Versions of the policy that are told one by one, the newest first: what fits on a page.
const VERSIONS_TOLD: usize = 20;

/// Judges the answers of a ledger whose entries name rules, by the pages of them.
pub(super) fn judge(
    answers: &Answers,
    statement: &Statement,
    page: impl Fn(&RulesDigest) -> Result<Rules, &'static str>,
) -> Judged {
    let mut judged = Judged::default();
    let mut last: Option<(RulesDigest, Result<Rules, &'static str>)> = None;
    // The rules of the version before in the same run, of the same stream, as the policy had them.
    let mut before: Option<(Under, u32, Option<RulesDigest>)> = None;
    for (under, held) in &answers.named {
        let Under { run, stream: id, version, rules: digest } = *under;
        before = before.filter(|(before, ..)| (before.run, before.stream) == (run, id));
        // One version after the other mostly has the same.
        let (_, rules) = match last.take() {
            Some(known) if known.0 == digest => last.insert(known),
            _ => last.insert((digest, page(&digest))),
        };
        let of_policy = rules.as_ref().ok().map(|rules| rules.stated().unwrap_or_else(|| rules.clone()));
        let by = of_policy.as_ref().map(Rules::digest);
        if before.is_some_and(|(before, _, was)| before.version == version && (by.is_none() || was != by)) {
            let why = format!("policy version {version} has other rules of stream {} by an entry before", id.0);
            judged.found.push((Where::Entry(held.first), why));
        }
        let (rules, of_policy) = match (&*rules, of_policy) {
            (Ok(rules), Some(of_policy)) => (rules, of_policy),
            (Ok(rules), None) => (rules, rules.clone()),
            (Err(why), _) => {
                let why = format!("{why}: entry {} names them for policy version {version}", held.first);
                judged.found.push((Where::Page(digest), why));
                continue;
            }
        };
        *judged.answers.entry(version).or_default() += held.answers;
        let stream = statement.streams.iter().find(|stream| stream.id == u64::from(id.0));
        let name = stream.map_or_else(|| format!("stream {}", id.0), |stream| format!("stream `{}`", stream.name));
        if *rules.personal() != Personal::No {
            let beyond = held.beyond(&lets(rules, format!("{name}, by the rules of policy version {version}")));
            judged.found.extend(beyond.into_iter().map(|(number, why)| (Where::Entry(number), why)));
        }
        let [k, by_policy] = [rules, &of_policy].map(|rules| rules.numbers_of().0.get());
        judged.found.extend(smaller(held, rules, (version, &name)).map(|(number, why)| (Where::Entry(number), why)));
        let mut say = |why: String| {
            let why =
                format!("the rules of policy version {version} for {name}, which entry {} names: {why}", held.first);
            judged.found.push((Where::Page(digest), why));
        };
        if let Some((before, was, _)) = before.filter(|(_, was, _)| by_policy < *was) {
            let told = answers.lowered.iter().filter(|(in_run, of, from, _)| {
                *in_run == run && *of == id && before.version < *from && *from <= version
            });
            // What was lowered may have been raised again by then, and not further lowered.
            if told.map(|(.., to)| *to).min().is_none_or(|to| by_policy < to) {
                let since = before.version;
                say(format!(
                    "the smallest group is {by_policy}, and {was} in version {since}, and no entry tells that it was lowered so far"
                ));
            }
        }
        before = Some((*under, by_policy, by));
        let floor = match rules.personal() {
            Personal::No => KThreshold::NON_PERSONAL,
            Personal::Subject(_) => KThreshold::FLOOR,
            Personal::Undeclared => KThreshold::RECORDS,
        };
        if k < floor.get() {
            say(format!("a smallest group of {k} is below {}, under which no policy may go", floor.get()));
        }
        for (field, entry) in untold(rules, answers, under) {
            say(format!("the values of field `{field}` are not those that entry {entry} told of"));
        }
        let is_stated = answers.is_now(under) && version == statement.policy_version;
        if let Some(what) = stream.filter(|_| is_stated).and_then(|stream| unlike(&of_policy, statement, stream)) {
            say(format!("{what} in the statement, which is of this version, is another"));
        }
    }
    judged
}

/// What entries say of the smallest group that is another than that of the rules, and answers of records that is less. A cell stays as
/// it was published, by whatever k was then, but never by one below the floor; what is asked for by words is counted when it is asked.
fn smaller<'a>(
    held: &'a Held,
    rules: &Rules,
    (version, name): (u64, &'a str),
) -> impl Iterator<Item = (u64, String)> + use<'a> {
    let (k, is_personal) = (rules.numbers_of().0.get(), *rules.personal() != Personal::No);
    let said = held.k.iter().filter(move |(said, _)| **said != k).map(move |(said, number)| {
        let why = format!(
            "the entry says a smallest group of {said}, and the rules of policy version {version} for {name} have {k}"
        );
        (*number, why)
    });
    let floor = KThreshold::FLOOR.get();
    let least = [floor, k.max(floor)].map(u64::from);
    let told = held.fewest.iter().zip(least).filter(move |_| is_personal).filter_map(move |(fewest, least)| {
        let (records, number) = fewest.filter(|(records, _)| *records < least)?;
        let why = format!("the answer counts {records} records of {name}, and by policy version {version} no cell of fewer than {least} may be told");
        Some((number, why))
    });
    said.chain(told)
}

/// What rules let out.
fn lets(rules: &Rules, of: String) -> Lets<'_> {
    let (_, grid_s, has_words) = rules.numbers_of();
    let named = rules.group_fields().iter();
    Lets {
        of,
        fields: rules.fields().iter().map(|field| field.as_str()).collect(),
        groups: rules.group_fields().iter().map(|(field, _)| field.as_str()).collect(),
        numbers: rules.numbers().iter().map(|number| number.field.as_str()).collect(),
        values: named
            .flat_map(|(field, values)| values.iter().map(|(id, _)| (field.as_str(), u64::from(id.0))))
            .collect(),
        grid_s: u64::from(grid_s),
        has_words,
    }
}

/// Fields of which the ledger told by then that other values may be named, each with that entry. What may be named no more at all is not told
/// of by a digest.
fn untold<'a>(rules: &'a Rules, answers: &Answers, under: &Under) -> Vec<(&'a str, u64)> {
    let named = rules.group_fields().iter().filter(|(field, values)| field.as_str() != LEVEL && !values.is_empty());
    let other = named.filter_map(|(field, values)| {
        let at = |version: u64| (under.run, field.clone(), version);
        let (_, (told, entry)) = answers.approved.range(at(0)..=at(under.version)).next_back()?;
        let listed: String = values.iter().flat_map(|(_, value)| [value.as_str(), "\n"]).collect();
        (digest(&SHA256, listed.as_bytes()).as_ref() != told).then_some((field.as_str(), *entry))
    });
    other.collect()
}

/// What of the rules is another in a statement of the same version.
fn unlike(rules: &Rules, statement: &Statement, stream: &Stream) -> Option<&'static str> {
    let personal = match rules.personal() {
        Personal::Undeclared => "undeclared".to_owned(),
        Personal::Subject(field) => format!("subject {field}"),
        Personal::No => "no".to_owned(),
    };
    let (k, grid_s, has_words) = rules.numbers_of();
    let ours = lets(rules, String::new());
    let stated = |names: &[String], ours: &[&str]| names.iter().map(String::as_str).eq(ours.iter().copied());
    let values = ours.groups.iter().filter(|field| **field != LEVEL).all(|field| {
        let theirs = statement.dictionary.iter().filter(|one| one.field == *field);
        let theirs: BTreeSet<(u64, &str)> = theirs.map(|one| (one.id, one.value.as_str())).collect();
        let named = rules.group_fields().iter().filter(|(name, _)| name.as_str() == *field);
        let ours = named.flat_map(|(_, values)| values.iter().map(|(id, value)| (u64::from(id.0), value.as_str())));
        ours.collect::<BTreeSet<_>>() == theirs
    });
    [
        ("whose data it is", personal == stream.personal),
        ("the smallest group", u64::from(k.get()) == stream.k),
        ("the grid", u64::from(grid_s) == stream.grid_s),
        ("whether words are taken", has_words == stream.has_text_questions),
        ("the list of fields", stated(&stream.fields, &ours.fields)),
        ("the list of fields to group by", stated(&stream.group_fields, &ours.groups)),
        ("the list of numbers", stated(&stream.numbers, &ours.numbers)),
        ("the noise", rules.noise() == stream.noise),
        ("the list of values", values),
    ]
    .into_iter()
    .find_map(|(what, is_same)| (!is_same).then_some(what))
}

#[cfg(test)]
#[path = "rules_test.rs"]
pub(super) mod tests;
