//! `POST /api/v1/search`: a question to this region, with rows, or to several, with released numbers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use domicile_proto::aggregate::Aggregate;
use domicile_proto::aggregate::cell::Cell;
use domicile_proto::ids::{Name, Region, TimeRange, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::federate::{Answer, OnMissing, Regions, Standing};
use crate::limits::{FEDERATED_DEADLINE, MAX_HITS};
use crate::present::ask::{Wanted, Whither};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::query::{Filter, SearchRequest, Sort, TrackTotal, human};
use crate::receive::{Failure, native_failure};

/// What may stand in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    stream: Name,
    #[serde(default)]
    query: String,
    #[serde(default)]
    range: Option<Range>,
    #[serde(default)]
    regions: Vec<String>,
    #[serde(default)]
    on_missing: Missing,
    #[serde(default)]
    ask: Option<Value>,
    #[serde(default)]
    size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: jiff::Timestamp,
    to: jiff::Timestamp,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Missing {
    Fail,
    #[default]
    Partial,
}

pub(super) async fn search(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Json<Value>) -> Response {
    match answer(&desk, &headers, body.0).await {
        Ok(body) => Json(body).into_response(),
        Err(failure) => native_failure(&failure),
    }
}

async fn answer(desk: &Arc<Desk>, headers: &HeaderMap, body: Value) -> Result<Value, Failure> {
    let began = Instant::now();
    let who = desk.searcher(headers)?;
    let body: Body = serde_json::from_value(body)
        .map_err(|_| PresentError::Malformed { place: "body", wanted: "an object with `stream` and known keys" })?;
    let filter = match body.query.trim() {
        "" => Filter::All,
        query => human::filter(query, &desk.dates())?,
    };
    let range = body.range.as_ref().map(|range| TimeRange {
        from: Timestamp(range.from.as_microsecond()),
        to: Timestamp(range.to.as_microsecond()),
    });
    let regions = regions_of(&body.regions)?;
    let own = Regions::Only(BTreeSet::from([desk.parts.region.clone()]));
    let mut answer = Map::new();
    if body.size != Some(0) && (body.regions.is_empty() || regions == own) {
        let streams = desk.streams(who.tenant());
        let stream = streams.get(&body.stream).cloned();
        let stream = stream.ok_or_else(|| PresentError::NoIndex { index: body.stream.to_string() })?;
        let request = SearchRequest {
            filter: filter.clone(),
            range: range.unwrap_or(TimeRange::ALL),
            sort: Sort::Newest,
            size: body.size.unwrap_or(50).min(MAX_HITS),
            after: None,
            total: TrackTotal::Exact,
            budget: Desk::budget(None),
        };
        let found = desk.search(&[stream], request, who.rows(), None).await?;
        let hits = found.rows.iter().map(|row| {
            let source: Value = serde_json::from_slice(&row.source).unwrap_or_default();
            json!({ "id": row.id, "source": source, "sort": [row.time.as_millis()] })
        });
        answer.insert("hits".to_owned(), hits.collect());
        if let Some(total) = found.total {
            answer.insert("total".to_owned(), total_of(total.value, total.is_exact));
        }
    } else {
        let timed = match range {
            Some(range) => Filter::every(vec![Filter::Time(range), filter]),
            None => filter,
        };
        let whither = Whither {
            tenant: who.tenant(),
            stream: body.stream,
            regions: if body.regions.is_empty() { own } else { regions },
            on_missing: match body.on_missing {
                Missing::Fail => OnMissing::Fail,
                Missing::Partial => OnMissing::Partial,
            },
            deadline: FEDERATED_DEADLINE,
        };
        let found = desk.ask(&whither, &timed, &wanted(body.ask.as_ref())?).await?;
        let total = found.total();
        answer.insert("question".to_owned(), json!(found.question.to_string()));
        answer.insert("total".to_owned(), total_of(total.value, total.is_exact));
        answer.insert("result".to_owned(), result(&found));
        answer.insert("coverage".to_owned(), coverage(&found));
    }
    answer.insert("took_ms".to_owned(), json!(millis(began.elapsed())));
    Ok(Value::Object(answer))
}

fn total_of(value: u64, is_exact: bool) -> Value {
    json!({ "value": value, "relation": if is_exact { "eq" } else { "gte" } })
}

fn millis(took: std::time::Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn regions_of(named: &[String]) -> Result<Regions, PresentError> {
    if named.iter().any(|name| name == "*") {
        return Ok(Regions::All);
    }
    let region = |name: &String| name.parse::<Region>().map_err(|_| PresentError::NoCluster { cluster: name.clone() });
    named.iter().map(region).collect::<Result<BTreeSet<Region>, _>>().map(Regions::Only)
}

/// `"count"`, `{"histogram": 60}`, `{"terms": "level"}` or `{"terms": "level", "histogram": 60}`.
fn wanted(ask: Option<&Value>) -> Result<Wanted, PresentError> {
    let wrong = || PresentError::Malformed {
        place: "ask",
        wanted: "`count`, or an object with `terms` (a field), `histogram` (seconds), or both",
    };
    let object = match ask {
        None => return Ok(Wanted::Count),
        Some(Value::String(word)) if word == "count" => return Ok(Wanted::Count),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(wrong()),
    };
    let terms = object.get("terms").and_then(Value::as_str).map(str::to_owned);
    let step = object.get("histogram").and_then(Value::as_u64).and_then(|step| u32::try_from(step).ok());
    match (terms, step) {
        (Some(field), Some(step)) => Ok(Wanted::TermsHistogram(field, step)),
        (Some(field), None) => Ok(Wanted::Terms(field)),
        (None, Some(step)) => Ok(Wanted::Histogram(step)),
        (None, None) => Err(wrong()),
    }
}

fn cell(cell: &Cell) -> Value {
    json!({ "count": cell.records.0, "withheld": cell.withheld })
}

fn result(answer: &Answer) -> Value {
    let named = |id, value: Value| json!({ "value": answer.text(id), "cells": value });
    match &answer.aggregate {
        Aggregate::Count(count) => json!({ "count": cell(&count.cell) }),
        Aggregate::DateGrid(grid) => {
            let cells =
                grid.cells.iter().enumerate().map(
                    |(place, found)| json!({ "from": grid.grid.start_of(place).as_millis(), "cell": cell(found) }),
                );
            json!({ "histogram": cells.collect::<Vec<_>>() })
        }
        Aggregate::Terms(terms) => {
            let rows = terms.cells.iter().map(|(id, found)| named(*id, cell(found)));
            json!({ "terms": rows.collect::<Vec<_>>(), "__other__": cell(&terms.other) })
        }
        Aggregate::TermGrid(grid) => {
            let rows = grid.rows.iter().map(|(id, cells)| named(*id, cells.iter().map(cell).collect()));
            json!({
                "from": grid.grid.start_of(0).as_millis(), "step": grid.grid.step,
                "terms": rows.collect::<Vec<_>>(), "__other__": grid.other.iter().map(cell).collect::<Vec<_>>(),
            })
        }
        _ => Value::Null,
    }
}

fn coverage(answer: &Answer) -> Value {
    let regions = answer.coverage.0.iter().map(|said| {
        let mut of = json!({
            "status": said.standing.as_str(),
            "took_ms": millis(said.took),
            "withheld_cells": said.withheld_cells,
        });
        if let (Standing::Refused(code), Value::Object(of)) = (said.standing, &mut of) {
            of.insert("reason".to_owned(), json!(code.explain()));
        }
        (said.region.to_string(), of)
    });
    Value::Object(regions.collect())
}
