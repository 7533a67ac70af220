//! `_clusters`: what a cross-cluster answer says of every region, in the words Elasticsearch's tools know, with what only
//! Domicile knows beside them.

use std::collections::{BTreeMap, BTreeSet};

use domicile_proto::ids::{Name, Region, TimeRange, Timestamp};
use serde_json::{Map, Value, json};

use crate::federate::{RegionCoverage, Standing};
use crate::present::native::shown::noise_of;
use crate::present::searching::archived;
use crate::segment::Unsearched;

/// `_shards` of a search here: what lies in the archive was not searched, and stands among the failures.
pub(super) fn shards(unsearched: &[(Name, Unsearched)]) -> Value {
    let failures: Vec<Value> = unsearched
        .iter()
        .map(|missing| {
            let reason = archived(missing).to_string();
            json!({"shard": 0, "index": missing.0, "node": null, "reason": {"type": "archived", "reason": reason}})
        })
        .collect();
    let failed = failures.len();
    let mut shards = json!({"total": 1 + failed, "successful": 1, "skipped": 0, "failed": failed});
    if let Some(shards) = shards.as_object_mut().filter(|_| failed > 0) {
        shards.insert("failures".to_owned(), Value::Array(failures));
    }
    shards
}

/// What several questions of one search say of the same region: the worst of it.
pub(in crate::present) fn worst(parts: impl IntoIterator<Item = RegionCoverage>) -> BTreeMap<Region, RegionCoverage> {
    let mut all: BTreeMap<Region, RegionCoverage> = BTreeMap::new();
    for part in parts {
        match all.get_mut(&part.region) {
            None => {
                all.insert(part.region.clone(), part);
            }
            Some(known) => {
                known.took = known.took.max(part.took);
                known.withheld_cells += part.withheld_cells;
                known.open_from = known.open_from.into_iter().chain(part.open_from).min();
                known.covered = common(known.covered, part.covered);
                known.late_withheld |= part.late_withheld;
                known.noise = known.noise.or(part.noise);
                known.standing = both(known.standing, part.standing);
            }
        }
    }
    all
}

/// The time that both answers are about: an aggregation on a grid may be about less than the total beside it.
fn common(a: Option<TimeRange>, b: Option<TimeRange>) -> Option<TimeRange> {
    match (a, b) {
        (Some(a), Some(b)) => Some(TimeRange { from: a.from.max(b.from), to: a.to.min(b.to) }),
        (a, b) => a.or(b),
    }
}

/// What is missing outweighs everything; a region that may tell nothing to one question and something to another is partial.
const fn both(a: Standing, b: Standing) -> Standing {
    match (a, b) {
        (Standing::Unreachable, _) | (_, Standing::Unreachable) => Standing::Unreachable,
        (Standing::Refused(code), _) | (_, Standing::Refused(code)) => Standing::Refused(code),
        (Standing::Complete, Standing::Complete) => Standing::Complete,
        (Standing::Suppressed, Standing::Suppressed) => Standing::Suppressed,
        _ => Standing::Partial,
    }
}

/// The `_clusters` object. `asked` says which streams each region was asked for; `gives_rows` is the region whose hits stand
/// in the answer.
pub(super) fn clusters(
    coverage: &BTreeMap<Region, RegionCoverage>,
    asked: &BTreeMap<Name, BTreeSet<Region>>,
    gives_rows: &Region,
) -> Value {
    let count = |wanted: &str| coverage.values().filter(|part| status(part, gives_rows) == wanted).count();
    let details: Map<String, Value> =
        coverage.values().map(|part| (part.region.to_string(), detail(part, asked, gives_rows))).collect();
    json!({
        "total": coverage.len(),
        "successful": count("successful"),
        "skipped": count("skipped"),
        "running": 0,
        "partial": count("partial"),
        "failed": 0,
        "details": details,
    })
}

/// Hits of another region never come, so such a region is at best `partial`.
fn status(part: &RegionCoverage, gives_rows: &Region) -> &'static str {
    match part.standing {
        Standing::Unreachable | Standing::Refused(_) => "skipped",
        Standing::Complete if part.region == *gives_rows && part.withheld_cells == 0 => "successful",
        Standing::Complete | Standing::Partial | Standing::Suppressed => "partial",
    }
}

fn detail(part: &RegionCoverage, asked: &BTreeMap<Name, BTreeSet<Region>>, gives_rows: &Region) -> Value {
    let of_it = asked.iter().filter(|(_, regions)| regions.contains(&part.region));
    let indices: Vec<&str> = of_it.map(|(name, _)| name.as_str()).collect();
    let is_gone = part.standing.is_missing();
    let reason = match part.standing {
        Standing::Unreachable => Some(("connect_transport_exception", "the region gave no answer in time")),
        Standing::Refused(code) => Some(("residency_policy", code.explain())),
        Standing::Suppressed => Some(("residency_policy", "the region answered and may tell nothing")),
        Standing::Partial => Some(("partial_answer", "cells are open or withheld, or values are not known here yet")),
        Standing::Complete if part.region != *gives_rows => {
            Some(("residency_policy", "rows do not leave their region; totals and aggregations do"))
        }
        Standing::Complete => None,
    };
    let failures: Vec<Value> = reason
        .map(|(kind, reason)| json!({"shard": -1, "index": null, "reason": {"type": kind, "reason": reason}}))
        .into_iter()
        .collect();
    json!({
        "status": status(part, gives_rows),
        "indices": indices.join(","),
        "took": millis(part),
        "timed_out": part.standing == Standing::Unreachable,
        "_shards": {
            "total": 1, "successful": u8::from(!is_gone), "skipped": 0, "failed": u8::from(is_gone),
        },
        "failures": failures,
        "residency": {
            "coverage": part.standing.as_str(),
            "rows_withheld": part.region != *gives_rows,
            "withheld_cells": part.withheld_cells,
            "covered": part.covered.and_then(ends),
            "open_from": part.open_from.map(|at| at.as_millis()),
            "late_withheld": part.late_withheld,
            "noise": part.noise.as_ref().map(noise_of),
        },
    })
}

/// Both ends in milliseconds; none where the answer is about all time.
fn ends(covered: TimeRange) -> Option<Value> {
    let end = |at: Timestamp, open: Timestamp| (at != open).then(|| at.as_millis());
    let (from, to) = (end(covered.from, TimeRange::ALL.from), end(covered.to, TimeRange::ALL.to));
    (from.is_some() || to.is_some()).then(|| json!({"from": from, "to": to}))
}

fn millis(part: &RegionCoverage) -> u64 {
    u64::try_from(part.took.as_millis()).unwrap_or(u64::MAX)
}
