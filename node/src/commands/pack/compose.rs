//! Writes the report from what the regions stated and what their ledgers come to. The same input gives the same report, so that
//! whoever checks a pack can write it again and compare.

use std::collections::BTreeMap;

use domicile_proto::ids::Timestamp;
use domicile_proto::officer::OfficerPublic;
use serde::{Deserialize, Serialize};

use super::super::rehearsal::{Evidence, Rules};
use super::chapters;
use super::files::BESIDE;
use super::lineage::{Followed, Lineage, follow};
use super::orders::Orders;
use super::paper::Paper;
use super::tally::{Period, Tally, Way, day, instant};
use crate::audit::Finding;
use crate::present::auditor::Statement;

/// The layout of packs that is written and checked: which files there are, what each of them says, and which attacks the evidence is of.
/// Another one has another number, so that whoever checks a pack knows whether every check can be made of it.
pub(super) const FORMAT: u32 = 3;

/// Of any pack: its layout, and which program made it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Layout {
    /// Packs of the first one do not say it.
    #[serde(default = "first")]
    pub(super) format: u32,
    #[serde(default)]
    pub(super) tool: String,
}

const fn first() -> u32 {
    1
}

/// Clocks of two regions, and that of whoever makes a pack, may differ by so much, and a checkpoint follows what it is over.
pub(super) const YOUNG: i64 = 60_000_000;

/// What a pack was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The layout of the pack; always [`FORMAT`].
    pub(super) format: u32,
    /// Which program wrote the report, for people: nothing is checked less where it is another one.
    pub(super) tool: String,
    pub(super) tenant: String,
    pub(super) from: Timestamp,
    /// Exclusive.
    pub(super) to: Timestamp,
    /// Before the first ledger was copied, by the clock of whoever made the pack: what happened before it is in every copy, however
    /// long the copies took and whatever the regions say of their own time.
    pub(super) begun_at: Timestamp,
    /// When the last copy was there.
    pub(super) made_at: Timestamp,
}

impl Request {
    pub(super) const fn period(&self) -> Period {
        Period { from: self.from, to: self.to }
    }

    /// Whether something that happened at a moment, by the clock of a region, is in every copy.
    pub(super) const fn follows(&self, at: Timestamp) -> bool {
        at.0.saturating_add(YOUNG) <= self.begun_at.0
    }
}

/// One node: what it stated, and its ledger. The first of a region stands for it where all nodes say the same.
#[derive(Debug)]
pub(super) struct Home {
    /// Its place in the pack.
    pub(super) place: String,
    pub(super) statement: Statement,
    pub(super) tally: Tally,
    /// Name of the log, entries under its newest checkpoint, their root.
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: String,
    /// Entries of other tenants, of which only the commitments are there; and those destroyed.
    pub(super) withheld: u64,
    pub(super) destroyed: u64,
    pub(super) checkpoints: u64,
    /// Whom the node honoured as its region's officer: from which entry on.
    pub(super) officers: Vec<(u64, OfficerPublic)>,
    /// What the entries say against the region.
    pub(super) findings: Vec<Finding>,
    /// Entries under the newest checkpoint that others cosigned; who they are, and their keys.
    pub(super) cosigned: u64,
    pub(super) cosigners: Vec<String>,
    pub(super) cosigner_keys: Vec<String>,
}

impl Home {
    pub(super) fn name(&self) -> &str {
        &self.statement.region
    }

    /// Whether it is the first node of its region here, and says what all of them say.
    pub(super) fn is_first(&self) -> bool {
        !self.place.contains(BESIDE)
    }

    /// Its region, and its number where it is a further node of it.
    pub(super) fn label(&self) -> String {
        if self.is_first() { self.name().to_owned() } else { format!("{}, node {}", self.name(), self.statement.node) }
    }

    /// The witnesses among the cosigners that are no node of this deployment.
    pub(super) fn outsiders(&self) -> impl Iterator<Item = &String> {
        let ours = format!("witness.{}/", self.statement.deployment);
        self.cosigners.iter().filter(move |name| !name.starts_with(&ours))
    }

    /// Messages and bytes that went one way, to or from one region or all.
    pub(super) fn crossed(&self, way: Way, other: Option<&str>) -> (u64, u64) {
        let own = self.tally.crossings.iter();
        let own = own.filter(|((_, on, region, _), _)| *on == way && other.is_none_or(|other| other == region));
        own.fold((0, 0), |sum, (_, (messages, bytes))| (sum.0 + messages, sum.1 + bytes))
    }
}

/// The first node of each region.
pub(super) fn firsts(homes: &[Home]) -> impl Iterator<Item = &Home> {
    homes.iter().filter(|home| home.is_first())
}

/// All nodes of a region.
pub(super) fn of_region<'a>(homes: &'a [Home], region: &'a str) -> impl Iterator<Item = &'a Home> {
    homes.iter().filter(move |home| home.name() == region)
}

/// What the ledgers of a region say of its segments up to a moment, and whose ledgers these are.
pub(super) fn lineage<'a>(homes: &'a [Home], region: &'a str, until: Timestamp) -> (Vec<&'a Home>, Followed) {
    let beside: Vec<&Home> = of_region(homes, region).collect();
    let ledgers: Vec<&Lineage> = beside.iter().map(|home| &home.tally.lineage).collect();
    let is_whole = missing(homes).keys().all(|(of, _)| of != region);
    let has_orders = |home: &&Home| !home.tally.erasures.is_empty() || !home.statement.erasures.is_empty();
    let followed = follow(&ledgers, until, is_whole, beside.iter().any(has_orders));
    (beside, followed)
}

/// The rules of every stream, with the region and the stream that has them.
pub(super) fn attacked(homes: &[Home]) -> Vec<(String, Rules)> {
    let stated = firsts(homes).flat_map(|home| home.statement.streams.iter().map(move |stream| (home, stream)));
    stated.map(|(home, stream)| (format!("{}/{}", home.name(), stream.name), Rules::stated(stream))).collect()
}

/// A node whose ledger is not in the pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Absent {
    /// Whether it is a node of the deployment still.
    pub(super) is_member: bool,
    /// How many messages arrived from it that are compared with nothing, therefore.
    pub(super) arrivals: u64,
}

/// The nodes whose ledger is not in the pack, by region and number: those of the deployment, and others from which something arrived.
pub(super) fn missing(homes: &[Home]) -> BTreeMap<(String, u64), Absent> {
    let mut absent: BTreeMap<(String, u64), Absent> = BTreeMap::new();
    for node in homes.iter().flat_map(|home| &home.statement.nodes) {
        absent.entry((node.region.clone(), node.node)).or_default().is_member = true;
    }
    for (peer, arrivals) in homes.iter().flat_map(|home| home.tally.book.senders()) {
        absent.entry((peer.region.to_string(), peer.node.0)).or_default().arrivals += arrivals;
    }
    absent.retain(|(region, node), _| {
        !homes.iter().any(|home| home.name() == region.as_str() && home.statement.node == *node)
    });
    absent
}

/// The report. Homes stand in the order of their places.
pub(super) fn compose(request: &Request, homes: &[Home], evidence: Option<&Evidence>) -> Paper {
    let title = format!("Audit pack of tenant `{}`", request.tenant);
    Paper {
        title,
        lead: lead(request, homes, evidence),
        sections: vec![
            chapters::summary(homes),
            chapters::processing(homes),
            chapters::flows(homes),
            chapters::register(request, homes),
            chapters::crossings(homes),
            chapters::policy(homes),
            chapters::erasure(request, homes),
            chapters::access(homes),
            chapters::retention(request, homes),
            chapters::keys(homes),
            chapters::places(homes),
            chapters::nodes(homes),
            chapters::ledgers(homes),
            chapters::breaches(request, homes),
            chapters::attacks(homes, evidence),
            chapters::limits(homes),
            chapters::how_to_check(),
        ],
    }
}

fn lead(request: &Request, homes: &[Home], evidence: Option<&Evidence>) -> Vec<String> {
    let (messages, bytes) = homes.iter().fold((0, 0), |sum, home| {
        let (messages, bytes) = home.crossed(Way::Left, None);
        (sum.0 + messages, sum.1 + bytes)
    });
    let records: u64 = homes.iter().flat_map(|home| &home.statement.streams).map(|stream| stream.records).sum();
    let attention = attention(request, homes, evidence);
    let mut lead = vec![
        format!(
            "From {} up to, not including, {}. Made on {}.",
            day(request.from),
            day(request.to),
            instant(request.made_at)
        ),
        format!(
            "{} regions hold {records} records of this tenant. In this time {messages} messages ({bytes} bytes) about it left a region: questions, \
             and answers that are numbers. No message can hold a record or a piece of one: the types that may cross have no field for text \
             out of a record.",
            firsts(homes).count()
        ),
    ];
    lead.push(match attention.len() {
        0 => "Nothing in this report needs attention.".to_owned(),
        1 => format!("One thing needs attention: {}.", attention.join("; ")),
        count => format!("{count} things need attention: {}.", attention.join("; ")),
    });
    lead
}

/// What a reader must not overlook, each with how often.
pub(super) fn attention(request: &Request, homes: &[Home], evidence: Option<&Evidence>) -> Vec<String> {
    let mut found: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let late = ("erasure beyond its clock (section 7)", "erasures beyond their clock (section 7)");
    let doubtful = ("erasure that is to be looked at (section 7)", "erasures that are to be looked at (section 7)");
    let orders = Orders::of(homes);
    for lacking in orders.lacking(request) {
        *found.entry(if lacking.doubt.is_some() { doubtful } else { late }).or_default() += 1;
    }
    for home in homes {
        for way in home.statement.transfers.iter().filter(|_| home.is_first()) {
            if chapters::transfer_state(way, request.made_at).starts_with("ATTENTION") {
                *found
                    .entry((
                        "route without a signed and reviewed legal basis (section 4)",
                        "routes without a signed and reviewed legal basis (section 4)",
                    ))
                    .or_default() += 1;
            }
        }
        for erasure in &home.statement.erasures {
            let times = orders.times(home, erasure);
            if chapters::erasure_state(erasure, &times, request.made_at).starts_with("ATTENTION") {
                *found.entry(late).or_default() += 1;
            } else if orders.doubt(home, erasure).is_some() {
                *found.entry(doubtful).or_default() += 1;
            }
        }
        for stream in &home.statement.streams {
            if chapters::retention_state(stream, request.made_at).starts_with("ATTENTION") {
                *found
                    .entry((
                        "stream with records beyond its retention (section 9)",
                        "streams with records beyond their retention (section 9)",
                    ))
                    .or_default() += 1;
            }
        }
        let lowered = home.tally.policy.iter().filter(|line| line.what.starts_with("ATTENTION")).count() as u64;
        if lowered > 0 {
            *found.entry(("lowered threshold (section 6)", "lowered thresholds (section 6)")).or_default() += lowered;
        }
        if !home.findings.is_empty() {
            *found
                .entry(("finding of the ledgers (section 13)", "findings of the ledgers (section 13)"))
                .or_default() += home.findings.len() as u64;
        }
    }
    let missing = missing(homes).values().filter(|absent| absent.is_member).count() as u64;
    if missing > 0 {
        found.insert(
            (
                "node whose ledger is not in this pack (section 13)",
                "nodes whose ledger is not in this pack (section 13)",
            ),
            missing,
        );
    }
    let late = chapters::late_clocks(request, homes);
    if late > 0 {
        found.insert(
            ("clock of a breach that ran out (section 14)", "clocks of breaches that ran out (section 14)"),
            late,
        );
    }
    let noteworthy = chapters::noteworthy(homes, evidence);
    let of_attacks = [
        (noteworthy.succeeded, "attack that succeeded (section 15)", "attacks that succeeded (section 15)"),
        (
            noteworthy.blind,
            "attack that could prove nothing (section 15)",
            "attacks that could prove nothing (section 15)",
        ),
        (
            noteworthy.left_out,
            "stream whose rules were not attacked (section 15)",
            "streams whose rules were not attacked (section 15)",
        ),
        (
            u64::from(noteworthy.is_other),
            "attack suite that another program than the nodes' ran (section 15)",
            "attack suites that other programs than the nodes' ran (section 15)",
        ),
    ];
    found
        .extend(of_attacks.into_iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| ((one, many), count)));
    let told = |((one, many), count)| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    found.into_iter().map(told).collect()
}
