//! The body of `POST /api/v1/search`, read.

use std::collections::BTreeSet;
use std::time::Duration;

use domicile_proto::ids::{Name, Region, TimeRange, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::federate::{OnMissing, Regions};
use crate::limits::{FEDERATED_DEADLINE, MAX_HITS};
use crate::present::ask::Wanted;
use crate::present::elastic::metrics::per_mille;
use crate::present::elastic::remote::interval;
use crate::present::errors::PresentError;
use crate::query::dates::{self, DateContext};
use crate::query::{Filter, Sort, elastic, human};
use crate::receive::Failure;

/// What may stand in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    stream: String,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    filter: Option<Value>,
    #[serde(default)]
    range: Option<Range>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    last: Option<String>,
    #[serde(default)]
    regions: Vec<String>,
    #[serde(default)]
    on_missing: Missing,
    #[serde(default)]
    ask: Option<Value>,
    #[serde(default)]
    aggregations: Option<Value>,
    #[serde(default)]
    size: Option<usize>,
    #[serde(default)]
    sort: Order,
    #[serde(default)]
    deadline_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: String,
    to: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Missing {
    Fail,
    #[default]
    Partial,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Newest,
    Oldest,
    Score,
}

/// A search, read.
pub(super) struct Asked {
    pub(super) stream: Name,
    pub(super) filter: Filter,
    /// `None` where no region is named: this one alone is meant.
    pub(super) regions: Option<Regions>,
    pub(super) on_missing: OnMissing,
    /// What `ask` wants; its answer is `result`.
    pub(super) ask: Option<Wanted>,
    /// What `aggregations` wants, by name.
    pub(super) aggregations: Vec<(String, Wanted)>,
    pub(super) size: Option<usize>,
    pub(super) sort: Sort,
    pub(super) deadline: Duration,
}

impl Asked {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, with the part that is wrong.
    pub(super) fn read(body: Value, now: &DateContext) -> Result<Self, Failure> {
        let body: Body = serde_json::from_value(body)
            .map_err(|_| malformed("body", "an object with `stream`, and otherwise only keys of the API document"))?;
        let stream = body.stream.parse().map_err(|_| malformed("stream", "the name of a stream"))?;
        if body.size.is_some_and(|size| size > MAX_HITS) {
            return Err(crate::query::QueryError::TooManyHits.into());
        }
        let deadline = body.deadline_ms.map_or(FEDERATED_DEADLINE, Duration::from_millis).min(FEDERATED_DEADLINE);
        Ok(Self {
            stream,
            filter: filter(&body, now)?,
            regions: regions(&body.regions)?,
            on_missing: match body.on_missing {
                Missing::Fail => OnMissing::Fail,
                Missing::Partial => OnMissing::Partial,
            },
            ask: body.ask.as_ref().map(ask).transpose()?,
            aggregations: body.aggregations.as_ref().map(aggregations).transpose()?.unwrap_or_default(),
            size: body.size,
            sort: match body.sort {
                Order::Newest => Sort::Newest,
                Order::Oldest => Sort::Oldest,
                Order::Score => Sort::Score,
            },
            deadline,
        })
    }
}

const fn malformed(place: &'static str, wanted: &'static str) -> PresentError {
    PresentError::Malformed { place, wanted }
}

fn filter(body: &Body, now: &DateContext) -> Result<Filter, Failure> {
    let mut filters = Vec::new();
    if let Some(range) = range(body, now)? {
        filters.push(Filter::Time(range));
    }
    if let Some(query) = body.query.as_deref().map(str::trim).filter(|query| !query.is_empty()) {
        filters.push(human::filter(query, now)?);
    }
    if let Some(filter) = &body.filter {
        filters.push(elastic::filter(filter, now)?);
    }
    Ok(Filter::every(filters))
}

fn range(body: &Body, now: &DateContext) -> Result<Option<TimeRange>, PresentError> {
    if let Some(last) = &body.last {
        let wrong = || malformed("last", "a length of time such as `15m`, `1h` or `7d`");
        let back = dates::duration(last).filter(|back| *back > 0).ok_or_else(wrong)?;
        let to = Timestamp(now.now.0.saturating_add(1));
        return Ok(Some(TimeRange { from: Timestamp(now.now.0.saturating_sub(back)), to }));
    }
    let (from, to) = match &body.range {
        Some(range) => (Some(&range.from), Some(&range.to)),
        None => (body.from.as_ref(), body.to.as_ref()),
    };
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let at = |text: Option<&String>, otherwise: Timestamp| {
        let found = text.map_or(Some(otherwise), |text| now.stretch(text).map(|stretch| stretch.from));
        found.ok_or_else(|| malformed("range", "dates, as `2026-11-20T10:00:00Z` or `now-1h`"))
    };
    let from = at(from, TimeRange::ALL.from)?;
    Ok(Some(TimeRange { from, to: at(to, TimeRange::ALL.to)?.max(from) }))
}

fn regions(named: &[String]) -> Result<Option<Regions>, PresentError> {
    if named.is_empty() {
        return Ok(None);
    }
    if named.iter().any(|name| name == "*") {
        return Ok(Some(Regions::All));
    }
    let wrong = |name: &String| PresentError::NoCluster { cluster: name.chars().take(80).collect() };
    let region = |name: &String| name.parse::<Region>().map_err(|_| wrong(name));
    named.iter().map(region).collect::<Result<BTreeSet<Region>, _>>().map(|only| Some(Regions::Only(only)))
}

/// `"count"`, `{"histogram": 60}`, `{"terms": "level"}`, `{"terms": "level", "histogram": 60}`, `{"numbers": "ms"}`,
/// `{"sum": "ms"}` with or without `terms` and `histogram`, `{"quantile": "ms", "percent": 95}` or `{"distinct": "service"}`.
fn ask(ask: &Value) -> Result<Wanted, PresentError> {
    let wrong = || {
        malformed(
            "ask",
            "`count`, or an object with `terms` (a field), `histogram` (a width), both of them, `sum` (a numeric field) with them or alone, `numbers` (a numeric field), `quantile` (a numeric field) with `percent`, or `distinct` (a field)",
        )
    };
    let object = match ask {
        Value::String(word) if word == "count" => return Ok(Wanted::Count),
        Value::Object(object) => object,
        _ => return Err(wrong()),
    };
    if let (Some(numbers), 1) = (object.get("numbers"), object.len()) {
        return text(numbers, "field").map(Wanted::Numbers).ok_or_else(wrong);
    }
    if let (Some(distinct), 1) = (object.get("distinct"), object.len()) {
        return text(distinct, "field").map(Wanted::Distinct).ok_or_else(wrong);
    }
    if let (Some(field), Some(percent), 2) = (object.get("quantile"), object.get("percent"), object.len()) {
        return quantile(text(field, "field"), Some(percent)).ok_or_else(wrong);
    }
    if object.keys().any(|key| !["terms", "histogram", "sum"].contains(&key.as_str())) {
        return Err(wrong());
    }
    let terms = object.get("terms").map(|terms| text(terms, "field").ok_or_else(wrong)).transpose()?;
    let step = object.get("histogram").map(|histogram| step(histogram).ok_or_else(wrong)).transpose()?;
    match object.get("sum") {
        None => both(terms, step).ok_or_else(wrong),
        Some(sum) => Ok(Wanted::Sum { field: text(sum, "field").ok_or_else(wrong)?, by: terms, step }),
    }
}

/// A quantile in thousandths of a percentage between 0 and 100.
fn quantile(field: Option<String>, percent: Option<&Value>) -> Option<Wanted> {
    percent.and_then(Value::as_f64).and_then(per_mille).and_then(|per_mille| Some(Wanted::Quantile(field?, per_mille)))
}

/// `{"count": {}}`, `{"histogram": {"interval": "1m"}}`, `{"terms": {"field": "level"}}`,
/// `{"numbers": {"field": "ms"}}`, `{"sum": {"field": "ms", "by": "level", "interval": "1m"}}`,
/// `{"quantile": {"field": "ms", "percent": 95}}`, `{"distinct": {"field": "level"}}`, `{"terms_histogram": {"field": "level", "interval": "1m"}}`; several beside each other, each answered under its kind.
fn aggregations(wanted: &Value) -> Result<Vec<(String, Wanted)>, PresentError> {
    let wrong = || {
        malformed(
            "aggregations",
            "an object with `count`, `histogram` {interval}, `terms` {field}, `numbers` {field}, `sum` {field, by, interval}, `quantile` {field, percent}, `distinct` {field} or `terms_histogram` {field, interval}",
        )
    };
    let read = |(kind, body): (&String, &Value)| {
        let wanted = match kind.as_str() {
            "count" => Some(Wanted::Count),
            "histogram" => step(body).map(Wanted::Histogram),
            "terms" => text(body, "field").map(Wanted::Terms),
            "numbers" => text(body, "field").map(Wanted::Numbers),
            "distinct" => text(body, "field").map(Wanted::Distinct),
            "quantile" => quantile(text(body, "field"), body.get("percent")),
            "sum" => sum(body),
            "terms_histogram" => both(text(body, "field"), step(body)),
            _ => None,
        };
        wanted.map(|wanted| (kind.clone(), wanted)).ok_or_else(wrong)
    };
    wanted.as_object().ok_or_else(wrong)?.iter().map(read).collect()
}

/// A sum; what is named beside the field must be well-formed.
fn sum(body: &Value) -> Option<Wanted> {
    let by = match body.get("by") {
        None => None,
        Some(by) => Some(by.as_str()?.to_owned()),
    };
    let step = match body.get("interval") {
        None => None,
        Some(interval) => Some(step(interval)?),
    };
    Some(Wanted::Sum { field: text(body, "field")?, by, step })
}

fn both(terms: Option<String>, step: Option<u32>) -> Option<Wanted> {
    Some(match (terms, step) {
        (Some(field), Some(step)) => Wanted::TermsHistogram(field, step),
        (Some(field), None) => Wanted::Terms(field),
        (None, Some(step)) => Wanted::Histogram(step),
        (None, None) => return None,
    })
}

/// A text, or the one under a key of an object.
fn text(value: &Value, key: &str) -> Option<String> {
    value.as_str().or_else(|| value.get(key)?.as_str()).map(str::to_owned)
}

/// A width in seconds, or as people write it.
fn step(value: &Value) -> Option<u32> {
    let value = value.get("interval").unwrap_or(value);
    match value {
        Value::Number(seconds) => interval(&format!("{}s", seconds.as_u64()?)),
        Value::String(text) => interval(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Input, cases};

    #[test]
    fn no_search_of_the_api_panics() {
        let good: Vec<Vec<u8>> = [
            r#"{"stream":"orders","query":"level:ERROR -host:a*","range":{"from":"now-1h","to":"2026-11-20T00:03:00Z"},"regions":["*"],"on_missing":"fail","ask":{"terms":"level","histogram":60},"size":20,"sort":"oldest","deadline_ms":500}"#,
            r#"{"stream":"orders","last":"15m","filter":{"term":{"level":"INFO"}},"aggregations":{"count":{},"sum":{"field":"ms","by":"level","interval":"1m"},"quantile":{"field":"ms","percent":99.9},"terms_histogram":{"field":"level","interval":"1m"}}}"#,
            r#"{"stream":"orders","regions":["tokyo"],"ask":{"quantile":"ms","percent":95}}"#,
        ]
        .map(|body| body.as_bytes().to_vec())
        .into();
        let now = DateContext::utc(Timestamp(1_795_132_800_000_000));
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok().map(|body| Asked::read(body, &now).is_ok());
        assert!(good.iter().all(|body| read(body) == Some(true)));
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            let _ = read(&input.bytes(&good));
        });
    }
}
