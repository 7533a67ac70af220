//! Whether the ledgers, the statements and the request of a pack agree: with each other, and with what the reader brought.

use std::collections::BTreeSet;
use std::path::Path;

use domicile_proto::ids::Timestamp;
use ring::digest::{SHA256, digest};

use super::super::answers::Outdated;
use super::super::chapters::erasure_state;
use super::super::compose::{Home, Request, YOUNG, firsts, lineage};
use super::super::files::{REGIONS, REQUEST};
use super::super::lineage::Wrong;
use super::super::open::Trust;
use super::super::orders::{Orders, purged_at};
use super::super::rules::{self, Where};
use super::super::tally::{Shown, instant};
use super::{Outcome, Problem};
use crate::audit::{About, Peer, roots_at};
use crate::present::auditor::StatedErasure;

/// From before the first copy to the last one, at most: a pack that took longer says too little of its end.
pub(super) const COPIED_WITHIN: i64 = 24 * 3_600_000_000;

/// From a time that a node puts on record to that of the entry about it, in microseconds. Source: the workflow of erasures reads its clock for
/// the record, and the ledger reads the same clock for the entry, with nothing between that waits; this is for a machine that held the
/// process up there, or a clock that was set.
const READ_AGAIN_WITHIN: i64 = 5_000_000;

/// Whether an entry has a time that is stated. A crash between entry and record leaves more than one entry.
fn is_among(stated: Timestamp, entries: &BTreeSet<Timestamp>) -> bool {
    let (from, to) = (stated.0.saturating_sub(READ_AGAIN_WITHIN), stated.0.saturating_add(READ_AGAIN_WITHIN));
    entries.range(Timestamp(from)..=Timestamp(to)).next().is_some()
}

/// What a statement says of the time of a step, and its own ledger otherwise.
fn other_time(step: &str, stated: Option<Timestamp>, entry: Option<(u64, Timestamp)>) -> Option<String> {
    let (stated, (number, at)) = (instant(stated?), entry?);
    Some(format!("it is said to be {step} on {stated}, and its ledger says that on {} by entry {number}", instant(at)))
}

/// What the ledger has against the receipt of an erasure: another one than the ledger has the digest of, or a segment that was made anew for
/// it and is named again behind it.
fn came_back(home: &Home, erasure: &StatedErasure) -> Option<String> {
    let receipt = erasure.receipt.as_ref()?;
    let known = home.tally.receipts.get(&erasure.id)?;
    let bytes = serde_json::to_vec(receipt).ok()?;
    let sha256: [u8; 32] = digest(&SHA256, &bytes).as_ref().try_into().ok()?;
    // A purge that was done again has another receipt, and is the one that counts.
    let Some(gone) = known.get(&sha256).copied() else {
        return Some("its receipt is not the one of which the ledger has the digest".to_owned());
    };
    let said: serde_json::Value = serde_json::from_str(receipt.get("receipt")?.as_str()?).ok()?;
    let replaced =
        said.get("segments")?.as_array()?.iter().filter_map(|one| one.get("before")?.get("segment")?.as_str());
    let back =
        replaced.filter_map(|id| Some((id, *home.tally.segments.get(id)?))).find(|(_, number)| *number > gone)?;
    Some(format!("segment {}, which was made anew for it, is there again by entry {}", back.0, back.1))
}

/// Orders that the ledger told of before the pack was begun, as being under way, and that the statement does not have: a node forgets none.
fn left_out(home: &Home, request: &Request) -> Vec<(String, String)> {
    let stated: BTreeSet<&str> = home.statement.erasures.iter().map(|erasure| erasure.id.as_str()).collect();
    let open = home.tally.erasures.iter().filter(|(_, order)| order.purged.is_none());
    let open = open.filter_map(|(id, order)| Some((id.as_str(), order.requested?)));
    let lacking = open.filter(|(id, (_, at))| !stated.contains(id) && request.follows(*at));
    let told = lacking.map(|(id, (number, _))| {
        let place = format!("{REGIONS}/{}/statement.json, erasure {id}", home.place);
        (place, format!("the ledger has this order by entry {number}, and the statement does not"))
    });
    told.collect()
}

impl Outcome {
    /// The copies lie between two moments of one clock, and each region's statement between them: by that clock it is known what a
    /// copy must hold.
    pub(super) fn moments(&mut self, request: &Request) {
        let Request { begun_at, made_at, .. } = *request;
        if begun_at > made_at || made_at.0.saturating_sub(begun_at.0) > COPIED_WITHIN {
            self.fail(0, REQUEST, "the copies were not made within a day, so that nobody knows what they must hold");
        }
        let is_between =
            |at: Timestamp| begun_at.0 <= at.0.saturating_add(YOUNG) && at.0 <= made_at.0.saturating_add(YOUNG);
        let others =
            self.homes.iter().filter(|home| !is_between(home.statement.taken_at)).map(|home| home.place.clone());
        for place in others.collect::<Vec<_>>() {
            let why = "the region stated it more than a minute outside the time in which the pack was made; one of the two clocks is wrong: set it, and make the pack again";
            self.fail(0, format!("{REGIONS}/{place}/statement.json"), why);
        }
    }

    /// What left before the first copy was begun is in every copy, but for the last minute. A region's own word for the time of its
    /// copy would let it leave out what it likes.
    pub(super) fn double_entry(&mut self, request: &Request) {
        let mut found = Vec::new();
        let named: Vec<(&Home, Peer)> =
            self.homes.iter().filter_map(|home| Some((home, Peer::of_log(&home.origin)?))).collect();
        for (home, us) in &named {
            for (sender, them) in named.iter().filter(|(_, them)| them != us) {
                let missing = home.tally.book.missing(us, them, &sender.tally.book);
                let is_old = |at: &Timestamp| request.follows(*at);
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

    /// Roots that one region showed another are those its ledger had at that size; and a ledger that was shown to be longer before
    /// the first copy was begun is not whole here.
    pub(super) fn split_view(&mut self, dir: &Path, request: &Request) {
        let mut found = Vec::new();
        for home in &self.homes {
            let us = Peer::of_log(&home.origin);
            let heads = self.homes.iter().flat_map(|other| {
                let by = us.as_ref().and_then(|us| other.tally.book.known(us));
                other
                    .tally
                    .heads
                    .iter()
                    .filter(move |head| Some(head.by) == by && head.size > 0)
                    .map(move |head| (other, head))
            });
            let (heads, beyond): (Vec<_>, Vec<_>) = heads.partition(|(_, head)| head.size <= home.size);
            // One that is cut off is told of once, by the largest head that was seen.
            let longest =
                beyond.into_iter().filter(|(_, head)| request.follows(head.at)).max_by_key(|(_, head)| head.size);
            if let Some((other, Shown { number, size, .. })) = longest {
                let place = format!("{REGIONS}/{}/log/checkpoint", home.place);
                let why = format!(
                    "its last entries are withheld: it is over {}, and {size} were shown to {} before the pack was begun ({}, entry {number})",
                    home.size,
                    other.name(),
                    other.origin
                );
                found.push((3, place, why));
            }
            let sizes: BTreeSet<u64> = heads.iter().map(|(_, head)| head.size).collect();
            let roots = roots_at(&dir.join(REGIONS).join(&home.place).join("log"), home.size, &sizes);
            for (other, Shown { number, size, root, .. }) in heads {
                if roots.get(size) != Some(root) {
                    let place = format!("{}, entry {number}", other.origin);
                    let why = format!("{} showed another root of its {size} entries than its ledger has", home.name());
                    found.push((10, place, why));
                }
            }
        }
        for (point, place, why) in found {
            self.fail(point, place, &why);
        }
    }

    /// Whom the nodes honour as officers of their regions, held against the keys that the reader brought along.
    pub(super) fn officers(&mut self, trust: &Trust) {
        let mut found = Vec::new();
        for home in &self.homes {
            self.officers.extend(trust.officers.lines(home.name(), home.statement.node, &home.officers));
            if let Err(why) = trust.officers.holds(home.name(), &home.officers) {
                found.push((home.origin.clone(), why));
            }
        }
        let regions: Vec<&str> = self.homes.iter().map(Home::name).collect();
        for region in trust.officers.without(&regions) {
            found.push((
                region.to_string(),
                "you gave a key of its officer, and no ledger of the region is in this pack".to_owned(),
            ));
        }
        for (place, why) in found {
            self.fail(1, place, &why);
        }
    }

    /// What the walks over the ledgers found, each under the check that it is about.
    pub(super) fn findings(&mut self) {
        let found = self.homes.iter().flat_map(|home| home.findings.iter().map(move |finding| (home, finding)));
        let found = found.map(|(home, finding)| {
            let point = match finding.about {
                About::Officer => 1,
                About::End => 2,
                About::Gap => 5,
                About::Clock => 9,
            };
            Problem::new(point, home.origin.clone(), &finding.words)
        });
        let found: Vec<Problem> = found.collect();
        self.problems.extend(found);
    }

    /// The statement may not say of an erasure what the ledger does not; and every node of a region has its orders.
    pub(super) fn clocks(&mut self, request: &Request) {
        let mut found = Vec::new();
        let orders = Orders::of(&self.homes);
        for lacking in orders.lacking(request).iter().filter(|lacking| lacking.doubt.is_none()) {
            let place = format!("{REGIONS}/{}/statement.json, erasure {}", lacking.home.place, lacking.id);
            found.push((place, lacking.words()));
        }
        for home in &self.homes {
            found.extend(left_out(home, request));
            // The statement is younger than the ledger, by as much as the copy of that took.
            let covered = home.tally.newest().max(request.begun_at);
            let latest = request.made_at.0.saturating_add(YOUNG);
            let is_young = |at: Timestamp| at.0.saturating_add(YOUNG) > covered.0 && at.0 <= latest;
            for erasure in &home.statement.erasures {
                let (order, steps) = (home.tally.order(&erasure.id), home.tally.steps.get(&erasure.id));
                let place = format!("{REGIONS}/{}/statement.json, erasure {}", home.place, erasure.id);
                // One node takes an order and tells it to the others of its region.
                let is_told = order.requested.is_some()
                    || orders.is_entered_beside(home, &erasure.id)
                    || is_young(erasure.ordered_at);
                let (hidden, gone) = (erasure.shredded_at, purged_at(erasure));
                let is_shredded =
                    hidden.is_none_or(|at| is_young(at) || steps.is_some_and(|steps| is_among(at, &steps.shredded)));
                let is_purged = erasure.state != "gone"
                    || gone.map_or_else(
                        || order.purged.is_some(),
                        |at| is_young(at) || steps.is_some_and(|steps| is_among(at, &steps.purged)),
                    );
                let hidden = other_time("hidden", hidden.filter(|_| !is_shredded), order.shredded);
                let gone = other_time("gone", gone.filter(|_| !is_purged), order.purged);
                if !is_told || (!is_shredded && hidden.is_none()) || (!is_purged && gone.is_none()) {
                    found.push((place.clone(), "the ledger does not say what the statement says of it".to_owned()));
                }
                found.extend(hidden.into_iter().chain(gone).map(|why| (place.clone(), why)));
                if erasure.state == "gone" && erasure.receipt.is_none() {
                    found.push((place.clone(), "it is said to be gone, and there is no receipt of it".to_owned()));
                }
                let state = erasure_state(erasure, &orders.times(home, erasure), home.statement.taken_at);
                if let Some(late) = state.strip_prefix("ATTENTION: ") {
                    found.push((place.clone(), late.to_owned()));
                }
                found.extend(came_back(home, erasure).map(|why| (place, why)));
            }
        }
        for (place, why) in found {
            self.fail(9, place, &why);
        }
    }

    /// Segments were made of the log and of segments that lay there until then, and what is gone without one that was made of it was to
    /// be deleted. So nothing that an erasure left out comes in again from an older copy.
    pub(super) fn lineage(&mut self, request: &Request) {
        let (mut found, until) = (Vec::new(), Timestamp(request.begun_at.0.saturating_sub(YOUNG)));
        for first in firsts(&self.homes) {
            let (homes, followed) = lineage(&self.homes, first.name(), until);
            let place = |wrong: &Wrong| {
                let origin = homes.get(wrong.ledger).map_or("", |home| home.origin.as_str());
                format!("{origin}, entry {}", wrong.entry)
            };
            found.extend(followed.wrong.iter().map(|wrong| (place(wrong), wrong.why.clone())));
            let doubtful = followed.doubtful.first().map(|one| format!("`{}`: {}", place(one), one.why));
            self.segments.add(&followed, doubtful);
        }
        for (place, why) in found {
            self.fail(9, place, &why);
        }
    }

    /// Answers were released under versions of the policy that the ledger had told of, none of them held what the rules of its own version
    /// or the statement do not let out, and the statement is of no older version than the ledger: that would be a way around the rules.
    pub(super) fn policies(&mut self, dir: &Path, request: &Request) {
        let mut found = Vec::new();
        for home in &self.homes {
            let answers = &home.tally.answers;
            let judged = rules::judge(answers, &home.statement, |digest| rules::page(dir, &home.place, digest));
            if !judged.answers.is_empty() {
                let words = judged.words();
                self.answers
                    .push(format!("answers of {} judged by the rules of their policy version: {words}", home.label()));
            }
            found.extend(judged.found.into_iter().map(|(at, why)| match at {
                Where::Entry(number) => (format!("{}, entry {number}", home.origin), why),
                Where::Page(digest) => (rules::place_of(&home.place, &digest), why),
            }));
            if let Some(number) = answers.unnamed.1 {
                let why = "the answer names no rules, and one before it does".to_owned();
                found.push((format!("{}, entry {number}", home.origin), why));
            }
            if let Some(number) = answers.without_k.1 {
                let why = "the entry says no smallest group, and one before it does".to_owned();
                found.push((format!("{}, entry {number}", home.origin), why));
            }
        }
        for home in &self.homes {
            for (number, asked) in &home.tally.answers.unlike {
                let why = format!(
                    "the answer is of another kind than its question, which is entry {asked}, and was judged by nothing"
                );
                found.push((format!("{}, entry {number}", home.origin), why));
            }
            for Outdated { number, version, newer, told } in &home.tally.answers.outdated {
                let why = format!(
                    "the answer names policy version {version} more than a minute after entry {told} told of version {newer}"
                );
                found.push((format!("{}, entry {number}", home.origin), why));
            }
            for (number, version) in &home.tally.unknown_policies {
                let why = format!("the answer names policy version {version}, which the ledger did not know by then");
                found.push((format!("{}, entry {number}", home.origin), why));
            }
        }
        for home in &self.homes {
            for (number, region) in &home.tally.astray {
                let why = format!("this left for {region}, behind the entry that closed the route there");
                found.push((format!("{}, entry {number}", home.origin), why));
            }
        }
        for home in &self.homes {
            let differ = home.tally.answers.differ(&home.statement).into_iter();
            found.extend(differ.map(|(number, why)| (format!("{}, entry {number}", home.origin), why)));
            // An entry about a version is written before it holds.
            let ((version, number, at), stated) = (home.tally.answers.newest(), home.statement.policy_version);
            if stated < version && request.follows(at) {
                let why =
                    format!("it is of policy version {stated}, and the ledger told of {version} by entry {number}");
                found.push((format!("{REGIONS}/{}/statement.json", home.place), why));
            }
        }
        for (place, why) in found {
            self.fail(6, place, &why);
        }
    }
}
