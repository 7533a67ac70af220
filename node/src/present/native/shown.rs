//! Answers of regions as JSON: numbers with what was withheld beside them, and what is said of every region.

use std::collections::BTreeMap;
use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::histogram::FixedHistogram;
use domicile_proto::aggregate::sum::{Sum, SumCell};
use domicile_proto::ids::{Name, Region, RegionNumber, Timestamp};
use domicile_proto::noise::{CELLS_PER_SUBJECT, Noise};
use serde_json::{Map, Value, json};

use crate::federate::{Answer, RegionCoverage, Standing};
use crate::present::elastic::metrics::{mean, total_of};
use crate::segment::Unsearched;

/// A number of records, and whether it is all of them.
pub(super) fn total(value: u64, is_exact: bool) -> Value {
    json!({"value": value, "relation": if is_exact { "eq" } else { "gte" }})
}

/// What lies in the archive and was not searched: whose, how much, and how to have it searched.
pub(super) fn unsearched((stream, missing): &(Name, Unsearched)) -> Value {
    json!({
        "stream": stream, "tier": "archive", "segments": missing.segments, "records": missing.records,
        "bytes": missing.bytes, "from": time(missing.oldest), "to": time(missing.newest),
        "reason": "records of the range lie in the archive; `domicile lifecycle restore` has them searched for a while",
    })
}

/// Milliseconds with one digit behind the point.
pub(super) fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn cell(cell: &Cell) -> Value {
    json!({"count": cell.records.0, "withheld": cell.withheld})
}

/// An aggregate, cell by cell; withheld ones are there and say so.
pub(super) fn result(answer: &Answer) -> Value {
    let named = |id, value: Value| json!({"value": answer.text(id), "cells": value});
    match &answer.aggregate {
        Aggregate::Count(count) => json!({"count": cell(&count.cell)}),
        Aggregate::DateGrid(grid) => {
            let from = |place| grid.grid.start_of(place).as_millis();
            let cells = grid.cells.iter().enumerate();
            let cells = cells.map(|(place, found)| json!({"from": from(place), "cell": cell(found)}));
            json!({"step": grid.grid.step, "histogram": cells.collect::<Vec<_>>()})
        }
        Aggregate::Terms(terms) => {
            let rows = terms.cells.iter().map(|(id, found)| named(*id, cell(found)));
            json!({"terms": rows.collect::<Vec<_>>(), "__other__": cell(&terms.other)})
        }
        Aggregate::TermGrid(grid) => {
            let rows = grid.rows.iter().map(|(id, cells)| named(*id, cells.iter().map(cell).collect()));
            json!({
                "from": grid.grid.start_of(0).as_millis(), "step": grid.grid.step,
                "terms": rows.collect::<Vec<_>>(), "__other__": grid.other.iter().map(cell).collect::<Vec<_>>(),
            })
        }
        Aggregate::FixedHistogram(histogram) => numbers(histogram),
        Aggregate::Sum(found) => sums(found, answer),
        Aggregate::Quantile(quantile) => {
            let percent = f64::from(quantile.per_mille) / 10.0;
            let regions = by_region(answer, quantile.regions.iter().map(|(region, value)| (*region, json!(value))));
            json!({"quantile": {"percent": percent, "upto": regions}})
        }
        Aggregate::DistinctEstimate(estimate) => {
            let (at_least, at_most) = estimate.interval();
            let regions = by_region(answer, estimate.regions.iter().map(|(region, value)| (*region, json!(value))));
            json!({"distinct": {"at_least": at_least, "at_most": at_most, "regions": regions}})
        }
    }
}

fn by_region(answer: &Answer, values: impl Iterator<Item = (RegionNumber, Value)>) -> Value {
    values.filter_map(|(region, value)| Some((answer.names.get(&region)?.to_string(), value))).collect()
}

/// A sum with the mean of what it sums up; `null` where nothing is published.
fn sum(cell: &SumCell) -> Value {
    let mean = mean(cell);
    json!({"sum": mean.map(|_| total_of(cell)), "count": cell.records.0, "mean": mean, "withheld": cell.withheld})
}

fn sums(found: &Sum, answer: &Answer) -> Value {
    let row = |cells: &[SumCell]| -> Value {
        match (found.layout.grid, cells) {
            (None, [cell]) => sum(cell),
            _ => cells.iter().map(sum).collect(),
        }
    };
    let mut shown = Map::new();
    if let Some(grid) = found.layout.grid {
        shown.insert("from".to_owned(), json!(grid.start_of(0).as_millis()));
        shown.insert("step".to_owned(), json!(grid.step));
    }
    if found.layout.by.is_some() {
        let rows = found.rows.iter().map(|(id, cells)| json!({"value": answer.text(*id), "cells": row(cells)}));
        shown.insert("terms".to_owned(), rows.collect());
        shown.insert("__other__".to_owned(), row(&found.other));
    } else {
        shown.insert("sum".to_owned(), row(&found.other));
    }
    Value::Object(shown)
}

/// Counts between bounds, and between which of them the usual percentiles of what is published lie.
fn numbers(histogram: &FixedHistogram) -> Value {
    let upto = |place: usize| json!(histogram.bounds.get(place));
    let above = |place: usize| json!(place.checked_sub(1).and_then(|place| histogram.bounds.get(place)));
    let rows = histogram.cells.iter().enumerate();
    let rows = rows.map(|(place, found)| json!({"above": above(place), "upto": upto(place), "cell": cell(found)}));
    let all: u64 = histogram.cells.iter().map(|cell| cell.records.0).sum();
    let lies = |percent: u64| {
        let mut below = 0;
        let place = histogram.cells.iter().position(|cell| {
            below += cell.records.0;
            all > 0 && u128::from(below) * 100 >= u128::from(all) * u128::from(percent)
        });
        (percent.to_string(), place.map_or(Value::Null, |place| json!({"above": above(place), "upto": upto(place)})))
    };
    let percentiles: Map<String, Value> = PERCENTILES.into_iter().map(lies).collect();
    json!({"numbers": rows.collect::<Vec<_>>(), "percentiles": percentiles})
}

/// The percentiles that are shown.
const PERCENTILES: [u64; 3] = [50, 95, 99];

/// What is said of every region, by name.
pub(super) fn coverage(regions: &BTreeMap<Region, RegionCoverage>) -> Value {
    Value::Object(regions.iter().map(|(region, said)| (region.to_string(), of(said))).collect())
}

fn of(said: &RegionCoverage) -> Value {
    let mut of = Map::new();
    let mut put = |key: &str, value: Value| drop(of.insert(key.to_owned(), value));
    put("status", json!(said.standing.as_str()));
    put("took_ms", json!(millis(said.took)));
    put("withheld_cells", json!(said.withheld_cells));
    match said.standing {
        Standing::Refused(code) => {
            put("code", json!(code));
            put("reason", json!(code.explain()));
        }
        Standing::Unreachable => put("reason", json!("the region gave no answer in time")),
        Standing::Suppressed => put("reason", json!("the region answered and may tell nothing")),
        Standing::Partial => put("reason", json!("cells are open or withheld, or values are not known here yet")),
        Standing::Complete => {}
    }
    let ends = said.covered.map(|range| (time(range.from), time(range.to)));
    if let Some((from, to)) = ends.filter(|(from, to)| !(from.is_null() && to.is_null())) {
        put("covered", json!({"from": from, "to": to}));
    }
    if said.late_withheld {
        put("late_withheld", json!(true));
    }
    if let Some(noise) = said.noise {
        put("noise", noise_of(&noise));
    }
    if let Some(from) = said.open_from {
        put("open_from", time(from));
    }
    if let Some(policy) = said.policy {
        put("policy", json!(policy));
    }
    if let Some((size, root)) = said.ledger {
        put("ledger", json!({"size": size, "root": hex::encode(root)}));
    }
    Value::Object(of)
}

/// The noise of a region's numbers: its law, what it costs a subject at most in a day, and how far off a number usually is.
pub(in crate::present) fn noise_of(noise: &Noise) -> Value {
    json!({
        "mechanism": noise.mechanism, "epsilon": f64::from(noise.epsilon) / 1_000.0, "deviation": noise.deviation(),
        "cells_per_subject": CELLS_PER_SUBJECT, "records_per_cell": noise.records,
    })
}

/// A time as people read it; `null` for the ends of time.
fn time(at: Timestamp) -> Value {
    jiff::Timestamp::from_microsecond(at.0).map_or(Value::Null, |at| json!(at.to_string()))
}
