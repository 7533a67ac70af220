//! A search over several regions: a total and aggregations, released by every region, put together; no hit among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::aggregate::date_grid::Grid;
use domicile_proto::aggregate::sum::{Sum, SumCell};
use domicile_proto::ids::{Name, Region};
use serde_json::{Map, Value, json};

use super::clusters::worst;
use super::metrics::{Found, Metric};
use crate::admit::Principal;
use crate::federate::{Answer, OnMissing, RegionCoverage, Regions, Total};
use crate::limits::MAX_AGGREGATIONS;
use crate::present::ask::{Wanted, Whither, chosen};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::query::{Filter, QueryError, dates};
use crate::receive::Failure;

/// Which way an aggregation is nested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nesting {
    Flat,
    TermsOutside(usize),
    TimeOutside(usize),
}

/// One aggregation that travels.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    name: String,
    wanted: Wanted,
    nesting: Nesting,
    inner: Option<String>,
    size: usize,
    buckets: Buckets,
    /// What is shown in each bucket, or instead of buckets where `wanted` is the metric's own question.
    metric: Option<Metric>,
}

impl Plan {
    /// What regions are asked: for the buckets, and for the metric in them.
    fn questions(&self) -> Vec<Wanted> {
        let metric = match (&self.metric, &self.wanted) {
            (Some(metric), Wanted::Histogram(step)) => Some(metric.wanted(None, Some(*step))),
            (Some(metric), Wanted::Terms(field)) => Some(metric.wanted(Some(field.clone()), None)),
            _ => None,
        };
        std::iter::once(self.wanted.clone()).chain(metric).collect()
    }

    /// A metric of all records.
    fn alone(name: &str, metric: Metric) -> Self {
        let (wanted, metric) = (metric.wanted(None, None), Some(metric));
        Self {
            name: name.to_owned(),
            wanted,
            nesting: Nesting::Flat,
            inner: None,
            size: 0,
            buckets: Buckets::Full,
            metric,
        }
    }
}

/// Which cells of time are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buckets {
    /// Those with records.
    Full,
    /// Those from the first to the last with records.
    Between,
    /// All of the range (`extended_bounds`).
    All,
}

/// What all regions together said to one search.
pub(super) struct Federated {
    pub(super) total: Total,
    pub(super) aggregations: Map<String, Value>,
    pub(super) coverage: BTreeMap<Region, RegionCoverage>,
}

impl Desk {
    /// Puts a search to the regions of each stream: one question for the total and one for each aggregation, all at once.
    pub(super) async fn federated(
        &self,
        who: &Principal,
        named: &BTreeMap<Name, BTreeSet<Region>>,
        filter: &Filter,
        plans: &[Plan],
        deadline: Duration,
    ) -> Result<Federated, Failure> {
        let wanted: Vec<Wanted> =
            std::iter::once(Wanted::Count).chain(plans.iter().flat_map(Plan::questions)).collect();
        let asked_by: Vec<usize> = plans
            .iter()
            .enumerate()
            .flat_map(|(place, plan)| plan.questions().into_iter().map(move |_| place))
            .collect();
        // Each is a question of its own to every region.
        if asked_by.len() > MAX_AGGREGATIONS {
            return Err(QueryError::TooManyAggregations.into());
        }
        let mut questions = Vec::new();
        for (stream, regions) in named {
            let whither = Whither {
                asker: who.asker(),
                stream: stream.clone(),
                regions: Regions::Only(regions.clone()),
                on_missing: OnMissing::Partial,
                deadline,
            };
            questions.extend(wanted.iter().map(|wanted| (whither.clone(), wanted.clone())));
        }
        let answers = self.ask(questions, filter).await?;
        let mut total = Total { value: 0, is_exact: true };
        let mut tallies: Vec<Tally> = plans.iter().map(|_| Tally::default()).collect();
        let mut coverage = Vec::new();
        for of_stream in answers.chunks(wanted.len()) {
            let Some((count, rest)) = of_stream.split_first() else { continue };
            let counted = count.total();
            total.value = total.value.saturating_add(counted.value);
            total.is_exact &= counted.is_exact;
            for (answer, plan) in rest.iter().zip(&asked_by) {
                let Some(tally) = tallies.get_mut(*plan) else { continue };
                tally.add(answer);
                tally.range = chosen(filter, &answer.aggregate).or_else(|| tally.range.take());
            }
            coverage.extend(of_stream.iter().flat_map(|answer| answer.coverage.0.iter().cloned()));
        }
        let aggregations = plans.iter().zip(tallies).map(|(plan, mut tally)| {
            let range = tally.range.take();
            let mut shown = tally.present(plan);
            if let (Some(shown), Some(range)) = (shown.as_object_mut(), range) {
                shown.insert("range".to_owned(), range);
            }
            (plan.name.clone(), shown)
        });
        Ok(Federated { total, aggregations: aggregations.collect(), coverage: worst(coverage) })
    }
}

/// Reads the aggregations of a search that goes to other regions.
///
/// # Errors
/// [`PresentError::AggregationStaysHere`] for any that does not travel.
pub(super) fn plans(aggregations: Option<&Value>) -> Result<Vec<Plan>, PresentError> {
    let Some(aggregations) = aggregations.and_then(Value::as_object) else { return Ok(Vec::new()) };
    let plan = |(name, body): (&String, &Value)| {
        let stays = || PresentError::AggregationStaysHere { name: name.chars().take(80).collect() };
        let inner = body.get("aggs").or_else(|| body.get("aggregations")).and_then(Value::as_object);
        match (Metric::read(body)?, inner.filter(|inner| !inner.is_empty())) {
            (Some(metric), None) => Ok(Plan::alone(name, metric)),
            (Some(_), Some(_)) => Err(stays()),
            (None, inner) => {
                let inner = inner.and_then(|inner| inner.values().next()).map(Metric::read).transpose()?.flatten();
                plan(name, body, inner).ok_or_else(stays)
            }
        }
    };
    aggregations.iter().map(plan).collect()
}

fn plan(name: &str, body: &Value, metric: Option<Metric>) -> Option<Plan> {
    let inner = body.get("aggs").or_else(|| body.get("aggregations")).and_then(Value::as_object);
    let inner = match inner.map(|inner| (inner.iter().next(), inner.len())) {
        None | Some((None, _)) => None,
        Some((Some(one), 1)) => Some(one),
        Some(_) => return None,
    };
    let terms = body.get("terms");
    let time = body.get("date_histogram");
    let (inner_terms, inner_time) =
        inner.map_or((None, None), |(_, body)| (body.get("terms"), body.get("date_histogram")));
    let is_deep = inner.is_some_and(|(_, body)| body.get("aggs").or_else(|| body.get("aggregations")).is_some());
    if is_deep || metric.as_ref().is_some_and(|metric| !metric.is_for_buckets()) {
        return None;
    }
    let has_buckets = inner.is_some() && metric.is_none();
    let (wanted, nesting) = match (terms, time, has_buckets, inner_terms, inner_time) {
        (Some(terms), None, false, _, _) => (Wanted::Terms(field(terms)?), Nesting::Flat),
        (None, Some(time), false, _, _) => (Wanted::Histogram(step(time)?), Nesting::Flat),
        (Some(terms), None, true, None, Some(time)) => {
            (Wanted::TermsHistogram(field(terms)?, step(time)?), Nesting::TermsOutside(size(terms)))
        }
        (None, Some(time), true, Some(terms), None) => {
            (Wanted::TermsHistogram(field(terms)?, step(time)?), Nesting::TimeOutside(size(terms)))
        }
        _ => return None,
    };
    let time_body = time.or(inner_time);
    let minimum = time_body.and_then(|time| time.get("min_doc_count")).and_then(Value::as_u64).unwrap_or(0);
    let has_bounds = time_body.is_some_and(|time| time.get("extended_bounds").is_some());
    let buckets = match (minimum, has_bounds) {
        (0, true) => Buckets::All,
        (0, false) => Buckets::Between,
        _ => Buckets::Full,
    };
    let size = terms.or(inner_terms).map_or(10, size);
    let inner = inner.map(|(name, _)| name.clone());
    Some(Plan { name: name.to_owned(), wanted, nesting, inner, size, buckets, metric })
}

fn field(terms: &Value) -> Option<String> {
    terms.get("field").and_then(Value::as_str).map(str::to_owned)
}

fn size(terms: &Value) -> usize {
    terms.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok()).unwrap_or(10)
}

fn step(time: &Value) -> Option<u32> {
    let keys = ["fixed_interval", "calendar_interval", "interval"];
    interval(keys.iter().find_map(|key| time.get(*key))?.as_str()?)
}

/// The width of a cell in seconds; whole minutes alone travel.
pub(in crate::present) fn interval(text: &str) -> Option<u32> {
    let micros = match text {
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => 86_400_000_000,
        other => dates::duration(other)?,
    };
    let step = u32::try_from(micros / 1_000_000).ok()?;
    (micros % 60_000_000 == 0 && (Grid::FINEST_STEP..=Grid::COARSEST_STEP).contains(&step)).then_some(step)
}

/// Published cells of one aggregation over all streams, by text and start of the cell in milliseconds.
#[derive(Debug, Default)]
struct Tally {
    terms: BTreeMap<String, Cell>,
    times: BTreeMap<i64, Cell>,
    both: BTreeMap<String, BTreeMap<i64, Cell>>,
    other: Cell,
    other_times: BTreeMap<i64, Cell>,
    /// What metrics are made of: by text or start of the cell, and of all records.
    sums: BTreeMap<String, SumCell>,
    sum_times: BTreeMap<i64, SumCell>,
    found: Found,
    /// Which range the cells cover, where the search did not say it.
    range: Option<Value>,
}

impl Tally {
    fn add(&mut self, answer: &Answer) {
        match &answer.aggregate {
            Aggregate::Terms(terms) => {
                for (id, cell) in &terms.cells {
                    merge(self.terms.entry(answer.text(*id)).or_default(), *cell);
                }
                merge(&mut self.other, terms.other);
            }
            Aggregate::DateGrid(grid) => row(&mut self.times, &grid.grid, &grid.cells),
            Aggregate::TermGrid(grid) => {
                for (id, cells) in &grid.rows {
                    row(self.both.entry(answer.text(*id)).or_default(), &grid.grid, cells);
                }
                row(&mut self.other_times, &grid.grid, &grid.other);
            }
            Aggregate::Sum(sum) => self.add_sum(answer, sum),
            Aggregate::FixedHistogram(histogram) => self.found.add_histogram(histogram),
            Aggregate::DistinctEstimate(estimate) => self.found.add_distinct(estimate),
            _ => {}
        }
    }

    fn add_sum(&mut self, answer: &Answer, sum: &Sum) {
        for (id, cells) in &sum.rows {
            let into = self.sums.entry(answer.text(*id)).or_default();
            cells.iter().for_each(|cell| *into = into.merge(*cell));
        }
        match sum.layout.grid {
            Some(grid) => {
                for (place, cell) in sum.other.iter().enumerate() {
                    let into = self.sum_times.entry(grid.start_of(place).as_millis()).or_default();
                    *into = into.merge(*cell);
                }
            }
            None => sum.other.iter().for_each(|cell| self.found.sum = self.found.sum.merge(*cell)),
        }
    }

    fn present(self, plan: &Plan) -> Value {
        let inner = plan.inner.as_deref().unwrap_or_default();
        let metric = |bucket: &mut Map<String, Value>, sum: Option<&SumCell>| {
            if let Some(metric) = &plan.metric {
                let found = Found { sum: sum.copied().unwrap_or_default(), ..Found::default() };
                bucket.insert(inner.to_owned(), metric.present(&found));
            }
        };
        match (&plan.wanted, plan.nesting) {
            (Wanted::Sum { .. } | Wanted::Numbers(_) | Wanted::Distinct(_), _) => {
                plan.metric.as_ref().map_or(Value::Null, |metric| metric.present(&self.found))
            }
            (Wanted::Histogram(_), _) => {
                times(&self.times, plan.buckets, |at, bucket| metric(bucket, self.sum_times.get(&at)))
            }
            (Wanted::TermsHistogram(..), Nesting::TimeOutside(size)) => self.time_outside(plan, inner, size),
            (Wanted::TermsHistogram(..), _) => {
                let sums = self.both.iter().map(|(text, cells)| (text.clone(), sum(cells))).collect();
                terms(&sums, sum(&self.other_times), plan.size, |text, bucket| {
                    let cells = self.both.get(text).map(|cells| times(cells, plan.buckets, |_, _| {}));
                    bucket.insert(inner.to_owned(), cells.unwrap_or_default());
                })
            }
            _ => terms(&self.terms, self.other, plan.size, |text, bucket| metric(bucket, self.sums.get(text))),
        }
    }

    fn time_outside(&self, plan: &Plan, inner: &str, size: usize) -> Value {
        let mut outer = self.other_times.clone();
        for (at, cell) in self.both.values().flatten() {
            merge(outer.entry(*at).or_default(), *cell);
        }
        times(&outer, plan.buckets, |at, bucket| {
            let of_time = |cells: &BTreeMap<i64, Cell>| cells.get(&at).copied().unwrap_or(Cell::EMPTY);
            let column = self.both.iter().map(|(text, cells)| (text.clone(), of_time(cells))).collect();
            bucket.insert(inner.to_owned(), terms(&column, of_time(&self.other_times), size, |_, _| {}));
        })
    }
}

fn merge(sum: &mut Cell, cell: Cell) {
    *sum = sum.merge(cell);
}

fn row(into: &mut BTreeMap<i64, Cell>, grid: &Grid, cells: &[Cell]) {
    for (place, cell) in cells.iter().enumerate() {
        merge(into.entry(grid.start_of(place).as_millis()).or_default(), *cell);
    }
}

fn sum(cells: &BTreeMap<i64, Cell>) -> Cell {
    cells.values().fold(Cell::EMPTY, |sum, cell| sum.merge(*cell))
}

fn bucket(key: Value, text: Option<String>, cell: Cell) -> Map<String, Value> {
    let mut bucket = Map::new();
    if let Some(text) = text {
        bucket.insert("key_as_string".to_owned(), Value::String(text));
    }
    bucket.insert("key".to_owned(), key);
    bucket.insert("doc_count".to_owned(), json!(cell.records.0));
    if cell.withheld > 0 {
        bucket.insert("withheld".to_owned(), json!(cell.withheld));
    }
    bucket
}

fn times(cells: &BTreeMap<i64, Cell>, wanted: Buckets, more: impl Fn(i64, &mut Map<String, Value>)) -> Value {
    let is_full = |(_, cell): &(&i64, &Cell)| cell.records.0 > 0;
    let ends = (cells.iter().find(is_full), cells.iter().rfind(is_full));
    let between = |at: &i64| matches!(ends, (Some((first, _)), Some((last, _))) if first <= at && at <= last);
    let shown = cells.iter().filter(|(at, cell)| match wanted {
        Buckets::Full => cell.records.0 > 0,
        Buckets::Between => between(at),
        Buckets::All => true,
    });
    let buckets = shown.map(|(at, cell)| {
        let text = jiff::Timestamp::from_millisecond(*at).map(|at| format!("{at:.3}")).ok();
        let mut bucket = bucket(json!(at), text, *cell);
        more(*at, &mut bucket);
        Value::Object(bucket)
    });
    json!({"buckets": buckets.collect::<Vec<_>>()})
}

fn terms(
    cells: &BTreeMap<String, Cell>,
    other: Cell,
    size: usize,
    more: impl Fn(&str, &mut Map<String, Value>),
) -> Value {
    let mut shown: Vec<(&String, &Cell)> = cells.iter().filter(|(_, cell)| cell.records.0 > 0).collect();
    shown.sort_by(|a, b| b.1.records.cmp(&a.1.records).then_with(|| a.0.cmp(b.0)));
    let beyond: u64 = shown.iter().skip(size).map(|(_, cell)| cell.records.0).sum();
    let withheld: u64 = cells.values().map(|cell| u64::from(cell.withheld)).sum::<u64>() + u64::from(other.withheld);
    let buckets = shown.into_iter().take(size).map(|(text, cell)| {
        let mut bucket = bucket(Value::String(text.clone()), None, *cell);
        more(text, &mut bucket);
        Value::Object(bucket)
    });
    let buckets: Vec<Value> = buckets.collect();
    json!({
        "doc_count_error_upper_bound": 0,
        "sum_other_doc_count": beyond.saturating_add(other.records.0),
        "withheld_cells": withheld,
        "buckets": buckets,
    })
}
