//! Checks a pack offline: the twelve points, each with its verdict and the reason. Opens files under one directory and nothing
//! else.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use domicile_proto::ids::Timestamp;

use super::super::rehearsal::Evidence;
use super::compose::{Home, Request, attacked, compose, of_region};
use super::files::{ATTACKS, MANIFEST, REGIONS, REQUEST, derived, differences, read, seal_of};
use super::open::{self, Trust};
use super::tool;
use crate::audit::{Peer, roots_at};

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
    /// What the attack suite came to; packs of earlier builds have none.
    pub(in super::super) evidence: Option<Evidence>,
    pub(in super::super) problems: Vec<Problem>,
    pub(in super::super) points: Vec<Point>,
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
    "erasures within their clocks",
    "no ledger was shown in two versions",
    "answers that are asked again are the same",
    "programs are those of the release",
];

/// Clocks of two regions may differ by so much, and a copy of one ledger is older than that of another.
const YOUNG: i64 = 60_000_000;

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
        outcome.evidence_fits();
        outcome.follows(dir, &request);
        outcome.double_entry();
        outcome.split_view(dir);
        outcome.clocks(&request);
        outcome.policies();
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
        let request = read(dir, REQUEST).ok().and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok());
        match request {
            None => self.fail(0, REQUEST, "this file is missing, or no request that this build knows"),
            some => self.request = some,
        }
        let evidence = read(dir, ATTACKS).ok().map(|bytes| serde_json::from_slice::<Evidence>(&bytes).ok());
        match (evidence, self.is_ours()) {
            (Some(Some(evidence)), _) => self.evidence = Some(evidence),
            (_, true) => self.fail(0, ATTACKS, "this file is missing, or no evidence that this build knows"),
            (_, false) => {}
        }
    }

    /// Whether this very build wrote the report.
    fn is_ours(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.tool == tool())
    }

    /// The report, written again.
    fn follows(&mut self, dir: &Path, request: &Request) {
        if request.tool != tool() {
            return;
        }
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
        let is_ours = self.is_ours();
        let why = bent.or_else(|| is_ours.then(|| evidence.differs(attacked(&self.homes))).flatten());
        if let Some(why) = why {
            self.fail(0, ATTACKS, why);
        }
    }

    fn double_entry(&mut self) {
        let mut found = Vec::new();
        let named: Vec<(&Home, Peer)> =
            self.homes.iter().filter_map(|home| Some((home, Peer::of_log(&home.origin)?))).collect();
        for (home, us) in &named {
            for (sender, them) in named.iter().filter(|(_, them)| them != us) {
                let missing = home.tally.book.missing(us, them, &sender.tally.book);
                let is_old = |at: &Timestamp| at.0 + YOUNG <= sender.statement.taken_at.0;
                found.extend(missing.into_iter().filter(|(_, at)| is_old(at)).map(|(number, _)| {
                    let place = format!("{}, entry {number}", home.origin);
                    (place, format!("this arrived from {}, whose ledger does not know that it left", them.region))
                }));
            }
        }
        for (place, why) in found {
            self.fail(7, place, &why);
        }
    }

    /// Roots that one region showed another are those its ledger had at that size.
    fn split_view(&mut self, dir: &Path) {
        let mut found = Vec::new();
        for home in &self.homes {
            let heads = self.homes.iter().flat_map(|other| other.tally.heads.iter().map(move |head| (other, head)));
            let heads = heads.filter(|(_, (_, region, node, size, _))| {
                region == home.name() && *node == home.statement.node && *size > 0 && *size <= home.size
            });
            let heads: Vec<_> = heads.collect();
            let sizes: BTreeSet<u64> = heads.iter().map(|(_, (_, _, _, size, _))| *size).collect();
            let roots = roots_at(&dir.join(REGIONS).join(&home.place).join("log"), home.size, &sizes);
            for (other, (number, _, _, size, root)) in heads {
                if roots.get(size) != Some(root) {
                    let place = format!("{}, entry {number}", other.origin);
                    let why = format!("{} showed another root of its {size} entries than its ledger has", home.name());
                    found.push((place, why));
                }
            }
        }
        for (place, why) in found {
            self.fail(10, place, &why);
        }
    }

    /// The statement may not say of an erasure what the ledger does not.
    fn clocks(&mut self, request: &Request) {
        let mut found = Vec::new();
        for home in &self.homes {
            found.extend(home.findings.iter().map(|finding| (home.origin.clone(), finding.clone())));
            for erasure in &home.statement.erasures {
                let mut order = home.tally.erasures.get(&erasure.id).copied().unwrap_or_default();
                // One node takes an order and tells it to the others of its region.
                let beside =
                    of_region(&self.homes, home.name()).filter_map(|other| other.tally.erasures.get(&erasure.id));
                order.requested = order.requested.or_else(|| beside.filter_map(|other| other.requested).next());
                let place = format!("{REGIONS}/{}/statement.json, erasure {}", home.place, erasure.id);
                let is_young = erasure.ordered_at.0 + YOUNG > home.tally.newest().0.max(request.made_at.0);
                let is_told = order.requested.is_some() || is_young;
                let is_shredded = erasure.shredded_at.is_none() || order.shredded.is_some() || is_young;
                // What is called gone was purged by the ledger, unless that was the very last thing it wrote.
                let is_purged = erasure.state != "gone" || order.purged.is_some();
                if !(is_told && is_shredded && is_purged) {
                    found.push((place.clone(), "the ledger does not say what the statement says of it".to_owned()));
                }
                let state = super::chapters::erasure_state(erasure, Timestamp(home.statement.taken_at.0));
                if let Some(late) = state.strip_prefix("ATTENTION: ") {
                    found.push((place, late.to_owned()));
                }
            }
        }
        for (place, why) in found {
            self.fail(9, place, &why);
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

    fn policies(&mut self) {
        let mut found = Vec::new();
        for home in &self.homes {
            for (number, version) in &home.tally.unknown_policies {
                let why = format!("the answer names policy version {version}, which the ledger did not know by then");
                found.push((format!("{}, entry {number}", home.origin), why));
            }
        }
        for home in &self.homes {
            for (number, region) in &home.tally.astray {
                let why = format!("this left for {region}, more than a second after the route there was closed");
                found.push((format!("{}, entry {number}", home.origin), why));
            }
        }
        for (place, why) in found {
            self.fail(6, place, &why);
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
        let is_ours = self.is_ours();
        let count = |of: fn(&Home) -> u64| self.homes.iter().map(of).sum::<u64>();
        let entries = count(|home| home.size);
        let bodies = entries - count(|home| home.withheld + home.destroyed);
        let matched = count(|home| home.tally.book.arrivals());
        let heads = count(|home| home.tally.heads.len() as u64);
        let erasures = count(|home| home.statement.erasures.len() as u64);
        let keys = if trust.keys.is_empty() {
            "the keys were taken from the pack itself; give those you were handed with --key"
        } else {
            "with the keys you gave"
        };
        let reasons: [String; 13] = [
            if is_ours {
                "every file is as sealed, and the report was written again and compared".to_owned()
            } else {
                "every file is as sealed; the report was written by another build and not written again".to_owned()
            },
            keys.to_owned(),
            format!("{entries} entries in {} ledgers", self.homes.len()),
            format!("{} checkpoints, {} that you kept", count(|home| home.checkpoints), trust.saved.len()),
            format!("{bodies} bodies"),
            format!(
                "{} entries are of other tenants, {} bodies were destroyed",
                count(|home| home.withheld),
                count(|home| home.destroyed)
            ),
            "each in its one form; none has a field for text out of a record".to_owned(),
            format!("{matched} arrivals"),
            "the pack holds no counters of the wire: give them with --flow-logs".to_owned(),
            format!("{erasures} orders"),
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
