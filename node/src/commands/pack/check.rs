//! Checks a pack offline: the twelve points, each with its verdict and the reason. Opens files under one directory and nothing
//! else.

mod agree;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use domicile_proto::ids::Timestamp;

use super::super::rehearsal::Evidence;
use super::compose::{FORMAT, Home, Layout, Request, YOUNG, attacked, compose, missing};
use super::files::{ATTACKS, MANIFEST, REGIONS, REQUEST, derived, differences, read, seal_of};
use super::lineage::Followed;
use super::open::{self, Trust};
use super::orders::Orders;
use super::tally::instant;
use super::tool;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Problem {
    /// Which check it fails; 0 is that of the pack itself.
    pub(super) point: u8,
    pub(super) place: String,
    pub(super) why: String,
}

impl Problem {
    pub(super) fn new(point: u8, place: String, why: &str) -> Self {
        Self { point, place, why: why.to_owned() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.place, self.why)
    }
}

/// The outcome of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    Holds,
    Fails,
    /// There is nothing here to check it on.
    NotApplicable,
}

/// One check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Point {
    pub(in super::super) number: u8,
    pub(in super::super) name: &'static str,
    pub(in super::super) verdict: Verdict,
    pub(in super::super) why: String,
}

/// What was found of a pack.
#[derive(Debug, Default)]
pub(in super::super) struct Outcome {
    pub(in super::super) request: Option<Request>,
    pub(super) homes: Vec<Home>,
    /// What the attack suite came to.
    pub(in super::super) evidence: Option<Evidence>,
    pub(in super::super) problems: Vec<Problem>,
    pub(in super::super) points: Vec<Point>,
    /// How many answers were judged under which version of the policy, in lines.
    pub(in super::super) answers: Vec<String>,
    /// What is known of what segments were made of.
    segments: Traced,
    /// Whose orders count here, in lines.
    pub(in super::super) officers: Vec<String>,
}

/// How many segments were followed back to what they were made of.
#[derive(Debug, Default)]
struct Traced {
    segments: u64,
    doubtful: u64,
    /// The first of these.
    first: Option<String>,
    untold: u64,
    partial: u64,
}

impl Traced {
    fn add(&mut self, followed: &Followed, first: Option<String>) {
        self.doubtful += followed.doubtful.len() as u64;
        self.first = self.first.take().or(first);
        self.segments += followed.made.len() as u64;
        self.untold += followed.untold;
        self.partial += followed.partial;
    }
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments, each of what lay there until then", self.segments)?;
        for (count, why) in [
            (self.untold, "say nothing of it, for an earlier build wrote them"),
            (self.partial, "begin in a ledger that is not here"),
        ] {
            if count > 0 {
                write!(f, "; {count} shards {why}")?;
            }
        }
        match &self.first {
            Some(first) => write!(
                f,
                "; ATTENTION: {} entries about segments do not fit, behind manifests that no ledger here tells of, {first}",
                self.doubtful
            ),
            None => Ok(()),
        }
    }
}

/// The checks by number. Source: the design of the ledger; 0 is that of the pack.
const NAMES: [&str; 13] = [
    "the pack is whole: manifest, seals, and a report that follows from the rest",
    "signatures of ledgers, statements and seals",
    "the root follows from every entry and tile",
    "every kept checkpoint is a beginning of the newest",
    "every body is the one in the tree",
    "no entry of the tenant is withheld",
    "every body is of a known type and under a known policy",
    "what arrived in one region left another",
    "bytes in the ledger against bytes on the wire",
    "erasures within their clocks, and no segment out of what was gone",
    "no ledger was shown in two versions",
    "answers that are asked again are the same",
    "programs are those of the release",
];

/// Checks the pack in a directory. `release` is a list of digests as `sha256sum` writes it.
pub(in super::super) fn check(dir: &Path, trust: &Trust, release: Option<&str>) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.whole(dir);
    let Some(request) = outcome.request.clone() else { return outcome.concluded(trust, release) };
    for place in regions(dir) {
        match open::home(dir, &place, &request, trust) {
            Ok(home) => outcome.homes.push(home),
            Err(problem) => outcome.problems.push(problem),
        }
    }
    if outcome.problems.is_empty() {
        outcome.officers(trust);
        outcome.evidence_fits();
        outcome.moments(&request);
        outcome.follows(dir, &request);
        outcome.double_entry(&request);
        outcome.split_view(dir, &request);
        outcome.findings();
        outcome.clocks(&request);
        outcome.lineage(&request);
        outcome.policies(dir, &request);
    }
    if let Some(release) = release {
        outcome.programs(release);
    }
    outcome.concluded(trust, release)
}

/// Places of the nodes in a pack, in order.
pub(in super::super) fn regions(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join(REGIONS)).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Outcome {
    pub(in super::super) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn fail(&mut self, point: u8, place: impl Into<String>, why: &str) {
        self.problems.push(Problem::new(point, place.into(), why));
    }

    /// The manifest, its seals and the request.
    fn whole(&mut self, dir: &Path) {
        let names = regions(dir);
        let seals: Vec<String> = names.iter().map(|name| seal_of(name)).collect();
        if names.is_empty() {
            self.fail(0, REGIONS, "there is no region in this pack");
        }
        let unsealed = names.iter().filter_map(|name| open::sealed(dir, name).err());
        let (of_manifest, of_seals): (Vec<_>, Vec<_>) = unsealed.partition(|problem| problem.place == MANIFEST);
        // A manifest that nobody sealed accuses files that were not changed: it comes first.
        self.problems.extend(of_manifest);
        let manifest = read(dir, MANIFEST).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match manifest.map(|manifest| differences(dir, &manifest, &seals)) {
            None => self.fail(0, MANIFEST, "this file is missing or cannot be read"),
            Some(Err(error)) => self.fail(0, MANIFEST, &format!("{error:#}")),
            Some(Ok(found)) => {
                for (place, why) in found {
                    self.fail(0, place, why);
                }
            }
        }
        self.problems.extend(of_seals);
        if !self.asked(dir) {
            return;
        }
        let evidence = read(dir, ATTACKS).ok().and_then(|bytes| serde_json::from_slice::<Evidence>(&bytes).ok());
        match evidence {
            None => self.fail(0, ATTACKS, "this file is missing, or no evidence that this build knows"),
            some => self.evidence = some,
        }
    }

    /// Reads the request; whether it is of the layout that this build checks. Of another one no check is left out and the rest called
    /// sound: it is refused.
    fn asked(&mut self, dir: &Path) -> bool {
        let bytes = read(dir, REQUEST).unwrap_or_default();
        let layout = serde_json::from_slice::<Layout>(&bytes).ok();
        if let Some(Layout { format, tool: made_by }) = layout.filter(|layout| layout.format != FORMAT) {
            let why = format!(
                "a pack of format {format}, made by `{made_by}`, and `{}` checks format {FORMAT}: nothing was checked but seals and digests; check \
                 it with the program that made it, or have it made again",
                tool()
            );
            self.fail(0, REQUEST, &why);
            return false;
        }
        self.request = serde_json::from_slice(&bytes).ok();
        if self.request.is_none() {
            self.fail(0, REQUEST, "this file is missing, or no request that this build knows");
        }
        self.request.is_some()
    }

    /// The report, written again.
    fn follows(&mut self, dir: &Path, request: &Request) {
        match derived(&compose(request, &self.homes, self.evidence.as_ref())) {
            Err(_) => self.fail(0, "report.json", "the report cannot be written again"),
            Ok(files) => {
                for (name, bytes) in files {
                    if read(dir, &name).ok().as_ref() != Some(&bytes) {
                        self.fail(0, name, "it does not follow from the ledgers and statements in this pack");
                    }
                }
            }
        }
    }

    /// The evidence is about the streams that the regions stated, and judged by the bar of this build.
    fn evidence_fits(&mut self) {
        let Some(evidence) = &self.evidence else { return };
        let bent = evidence
            .is_bent()
            .then_some("another bar stands in it than attacks are judged by, or numbers that cannot be");
        let why = bent.or_else(|| evidence.differs(attacked(&self.homes)));
        if let Some(why) = why {
            self.fail(0, ATTACKS, why);
        }
    }

    /// Who else signed for the ledgers. Only a witness outside the deployment, whose key the reader brought along, makes it
    /// independent: those of one operator can be one person.
    fn cosignatures(&self, trust: &Trust) -> String {
        let total: usize = self.homes.iter().map(|home| home.cosigners.len()).sum();
        let bare = self.homes.iter().filter(|home| home.cosigners.is_empty()).count();
        let bare = if bare == 0 { String::new() } else { format!(", {bare} ledgers with none") };
        format!("{total} cosignatures{bare}; {}", self.badge(trust).1)
    }

    /// How many answers were not held against rules, because nobody knows which, or what was asked.
    fn unjudged(&self) -> String {
        let say = |home: &Home| {
            let answers = &home.tally.answers;
            let reasons = [
                (answers.unnamed.0, "name no rules, and are judged by the statement if they are of its version"),
                (answers.without_k.0, "say no k"),
                (answers.unpaired, "are not judged, for what was asked is not here"),
            ];
            let told = reasons.into_iter().filter(|(count, _)| *count > 0);
            told.map(|(count, why)| format!("; {count} answers of {} {why}", home.label())).collect::<String>()
        };
        self.homes.iter().map(say).collect()
    }

    /// How many orders of erasure are to be looked at, though they prove nothing against a node.
    fn doubtful(&self) -> String {
        let orders = Orders::of(&self.homes);
        let stated = self.homes.iter().flat_map(|home| home.statement.erasures.iter().map(move |one| (home, one)));
        let stated = stated.filter(|(home, erasure)| orders.doubt(home, erasure).is_some()).count();
        let lacking = self.request.as_ref().map_or_else(Vec::new, |request| orders.lacking(request));
        let lacking = lacking.iter().filter(|lacking| lacking.doubt.is_some()).count();
        match stated + lacking {
            0 => String::new(),
            count => format!("; ATTENTION: {count} of them are to be looked at, see csv/erasures.csv"),
        }
    }

    /// Whether every ledger is vouched for from outside, and in words.
    pub(in super::super) fn badge(&self, trust: &Trust) -> (bool, &'static str) {
        let is_vouched = |home: &Home| {
            home.cosigner_keys.iter().any(|key| {
                trust.witnesses.contains(key) && home.outsiders().any(|name| key.starts_with(&format!("{name}+")))
            })
        };
        let named = self.homes.iter().any(|home| home.outsiders().next().is_some());
        match (!self.homes.is_empty() && self.homes.iter().all(is_vouched), named) {
            (true, _) => {
                (true, "INDEPENDENT: a witness outside the deployment, whose key you gave, cosigned every ledger")
            }
            (false, true) => (
                false,
                "not independent: give the key of the witness outside with --witness, and every ledger must have it",
            ),
            (false, false) => (false, "not independent: no witness outside the deployment cosigned"),
        }
    }

    fn programs(&mut self, release: &str) {
        let known: BTreeSet<&str> = release.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let others: Vec<String> = self
            .homes
            .iter()
            .filter(|home| !known.contains(home.statement.build.sha256.as_str()))
            .map(|home| home.place.clone())
            .collect();
        for region in others {
            self.fail(
                12,
                format!("{REGIONS}/{region}/statement.json"),
                "the program that ran is not in the list you gave",
            );
        }
    }

    /// What counters of the wire come to.
    pub(super) fn weighed(&mut self, found: Result<String, Vec<(String, String)>>) {
        let Some(point) = self.points.iter_mut().find(|point| point.number == 8) else { return };
        match found {
            Ok(why) => (point.verdict, point.why) = (Verdict::Holds, why),
            Err(found) => {
                let problems: Vec<Problem> =
                    found.into_iter().map(|(place, why)| Problem::new(8, place, &why)).collect();
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                (point.verdict, point.why) = (Verdict::Fails, first);
                self.problems.extend(problems);
            }
        }
    }

    /// Gives every check its verdict.
    fn concluded(mut self, trust: &Trust, release: Option<&str>) -> Self {
        let is_read = self.request.is_some() && !self.homes.is_empty();
        let count = |of: fn(&Home) -> u64| self.homes.iter().map(of).sum::<u64>();
        let entries = count(|home| home.size);
        let bodies = entries - count(|home| home.withheld + home.destroyed);
        let arrivals = count(|home| home.tally.book.senders().values().sum());
        let alone: u64 = missing(&self.homes).values().map(|absent| absent.arrivals).sum();
        let alone_in_words = if alone == 0 {
            String::new()
        } else {
            format!("; {alone} more came from nodes whose ledger is not here, and are compared with nothing")
        };
        let heads = count(|home| home.tally.heads.len() as u64);
        let erasures = count(|home| home.statement.erasures.len() as u64);
        let begun = self.request.as_ref().map(|request| request.begun_at.0.saturating_sub(YOUNG));
        let until = begun.map_or_else(String::new, |at| {
            format!("what came after {} may lack its counterpart", instant(Timestamp(at)))
        });
        let keys = if trust.keys.is_empty() {
            "the keys were taken from the pack itself; give those you were handed with --key"
        } else {
            "with the keys you gave"
        };
        let reasons: [String; 13] = [
            "every file is as sealed, and the report was written again and compared".to_owned(),
            keys.to_owned(),
            format!("{entries} entries in {} ledgers", self.homes.len()),
            format!("{} checkpoints, {} that you kept", count(|home| home.checkpoints), trust.saved.len()),
            format!("{bodies} bodies"),
            format!(
                "{} entries are of other tenants, {} bodies were destroyed",
                count(|home| home.withheld),
                count(|home| home.destroyed)
            ),
            format!("each in its one form; none has a field for text out of a record{}", self.unjudged()),
            format!("{} arrivals{alone_in_words}; {until}", arrivals - alone),
            "the pack holds no counters of the wire: give them with --flow-logs".to_owned(),
            format!("{erasures} orders{}; {}", self.doubtful(), self.segments),
            format!("{heads} roots that regions showed each other; {}", self.cosignatures(trust)),
            "needs the running regions: ask them with `audit replay PACK`".to_owned(),
            if release.is_some() {
                "each is in the list you gave".to_owned()
            } else {
                "give the list of the release you trust with --release".to_owned()
            },
        ];
        let is_alone = self.homes.iter().filter(|home| home.is_first()).count() < 2;
        for (number, (name, why)) in (0_u8..).zip(NAMES.into_iter().zip(reasons)) {
            let failed: Vec<&Problem> = self.problems.iter().filter(|problem| problem.point == number).collect();
            let is_na = match number {
                0 => false,
                7 | 10 => is_alone,
                8 | 11 => true,
                12 => release.is_none(),
                _ => false,
            };
            let (verdict, why) = match failed.first() {
                Some(first) if failed.len() == 1 => (Verdict::Fails, first.to_string()),
                Some(first) => (Verdict::Fails, format!("{first}, and {} more", failed.len() - 1)),
                None if is_na => (
                    Verdict::NotApplicable,
                    if is_alone && number != 8 && number < 11 { "the pack holds one region".to_owned() } else { why },
                ),
                // A pack that fails earlier is not looked at further.
                None if number > 0 && (!is_read || !self.problems.is_empty() && number > 6) => {
                    (Verdict::NotApplicable, "not reached, for something before it fails".to_owned())
                }
                None => (Verdict::Holds, why),
            };
            self.points.push(Point { number, name, verdict, why });
        }
        self
    }
}

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
