//! `_search`, `_msearch` and `_count`: the body and parameters of a search, and its response.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domicile_proto::ids::{Name, ShardId, TimeRange, Timestamp};
use serde_json::{Map, Value, json};

use super::clusters::{clusters, shards};
use super::names::{Leniency, Targets, resolve};
use super::remote;
use super::respond::Parameters;
use crate::admit::Principal;
use crate::federate::OnMissing;
use crate::limits::{FEDERATED_DEADLINE, MAX_HITS};
use crate::policy::StreamView;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::present::searching::{self, Found};
use crate::query::{After, Budget, Filter, QueryError, Row, SearchRequest, Sort, TrackTotal, dates, elastic, human};
use crate::receive::Failure;
use crate::receive::filter_path::{BOUNDS, filtered, is_bounded};

/// Matches that are counted unless the caller wants more; as Elasticsearch does.
const TRACKED: u64 = 10_000;

/// A search as it was sent.
struct Wanted {
    filter: Filter,
    size: usize,
    from: usize,
    sort: Sort,
    after: Option<After>,
    total: TrackTotal,
    aggregations: Option<Value>,
    source: Source,
    within: Option<Duration>,
    on_missing: OnMissing,
    budget: Budget,
}

impl Wanted {
    /// How long other regions are waited for.
    fn deadline(&self) -> Duration {
        self.budget.deadline.saturating_duration_since(Instant::now()).min(FEDERATED_DEADLINE)
    }
}

/// Which parts of a record are shown.
enum Source {
    All,
    None,
    Parts(String),
}

impl Desk {
    /// Answers one search in Elasticsearch's shape.
    pub(super) async fn elastic_search(
        &self,
        who: &Principal,
        expression: &str,
        body: &Value,
        parameters: &Parameters,
        budget: &Budget,
    ) -> Result<Value, Failure> {
        let began = Instant::now();
        budget.check()?;
        let targets = self.targets(who, expression, parameters)?;
        let mut wanted = self.read(body, parameters)?;
        wanted.budget = budget.share(wanted.within);
        if targets.is_federated(&self.parts.region) {
            return self.search_everywhere(who, &targets, wanted, began, parameters).await;
        }
        let found = self.search_here(who, &targets.here, &wanted, wanted.aggregations.clone(), wanted.total).await?;
        let total = found.total.map(|total| (total.value, total.is_exact));
        let hits = hits(&found.rows, &targets.here, &wanted, None);
        let missing = shards(&found.unsearched);
        Ok(response((began, missing), total, hits, found.aggregations, None, parameters))
    }

    async fn search_everywhere(
        &self,
        who: &Principal,
        targets: &Targets,
        wanted: Wanted,
        began: Instant,
        parameters: &Parameters,
    ) -> Result<Value, Failure> {
        let plans = remote::plans(wanted.aggregations.as_ref())?;
        let deadline = wanted.deadline();
        let _permit = self.permit(who.tenant())?;
        let everywhere = self.federated(who, &targets.named, &wanted.filter, &plans, deadline);
        let here = async {
            if wanted.size == 0 || targets.here.is_empty() {
                return Ok((Vec::new(), Vec::new()));
            }
            let found = self.search_here(who, &targets.here, &wanted, None, TrackTotal::No).await?;
            Ok::<_, Failure>((found.rows, found.unsearched))
        };
        let (everywhere, (rows, unsearched)) = futures::future::try_join(everywhere, here).await?;
        let home = &self.parts.region;
        let prefix = (!targets.has_bare).then(|| home.to_string());
        let hits = hits(&rows, &targets.here, &wanted, prefix.as_deref());
        let clusters = clusters(&everywhere.coverage, &targets.named, home);
        let total = Some((everywhere.total.value, everywhere.total.is_exact));
        let aggregations = (!plans.is_empty()).then_some(Value::Object(everywhere.aggregations));
        Ok(response((began, shards(&unsearched)), total, hits, aggregations, Some(clusters), parameters))
    }

    async fn search_here(
        &self,
        who: &Principal,
        streams: &BTreeMap<Name, Arc<StreamView>>,
        wanted: &Wanted,
        aggregations: Option<Value>,
        total: TrackTotal,
    ) -> Result<Found, Failure> {
        let streams: Vec<Arc<StreamView>> = streams.values().cloned().collect();
        let request = SearchRequest {
            filter: wanted.filter.clone(),
            range: TimeRange::ALL,
            sort: wanted.sort,
            size: wanted.size.saturating_add(wanted.from),
            after: wanted.after,
            total,
            budget: wanted.budget.share(None),
        };
        let on_missing = wanted.on_missing;
        self.search(who, &streams, searching::Wanted { request, aggregations, on_missing }).await
    }

    /// `_count`.
    pub(super) async fn elastic_count(
        &self,
        who: &Principal,
        expression: &str,
        body: &Value,
        parameters: &Parameters,
    ) -> Result<Value, Failure> {
        let targets = self.targets(who, expression, parameters)?;
        let wanted = Wanted { size: 0, total: TrackTotal::Exact, aggregations: None, ..self.read(body, parameters)? };
        if targets.is_federated(&self.parts.region) {
            let deadline = wanted.deadline();
            let _permit = self.permit(who.tenant())?;
            let found = self.federated(who, &targets.named, &wanted.filter, &[], deadline).await?;
            let clusters = clusters(&found.coverage, &targets.named, &self.parts.region);
            let relation = relation(found.total.is_exact);
            return Ok(json!({
                "count": found.total.value, "relation": relation, "_shards": shards(&[]), "_clusters": clusters,
            }));
        }
        let found = self.search_here(who, &targets.here, &wanted, None, TrackTotal::Exact).await?;
        let missing = shards(&found.unsearched);
        Ok(json!({"count": found.total.map_or(0, |total| total.value), "_shards": missing}))
    }

    /// What an index expression means to the holder of a key.
    pub(super) fn targets(
        &self,
        who: &Principal,
        expression: &str,
        parameters: &Parameters,
    ) -> Result<Targets, Failure> {
        let regions: Vec<_> = self.parts.policy.now().regions.keys().cloned().collect();
        let leniency = Leniency { ignore_unavailable: parameters.is_set("ignore_unavailable") };
        Ok(resolve(expression, &self.streams(who.tenant()), &regions, &self.parts.region, leniency)?)
    }

    fn read(&self, body: &Value, parameters: &Parameters) -> Result<Wanted, Failure> {
        let dates = self.dates();
        if !(body.is_object() || body.is_null()) {
            return Err(malformed("body", "a JSON object").into());
        }
        if let Some((name, instead)) = NOT_HERE.iter().find(|(name, _)| body.get(*name).is_some_and(|it| !it.is_null()))
        {
            return Err(PresentError::Unsupported { what: name, instead }.into());
        }
        let mut keys = body.as_object().into_iter().flat_map(Map::keys);
        let is_known = |key: &str| HERE.contains(&key) || NOT_HERE.iter().any(|(name, _)| *name == key);
        if let Some(key) = keys.find(|key| !is_known(key)) {
            return Err(QueryError::unknown("option", key).into());
        }
        let mut filters = Vec::new();
        if let Some(query) = body.get("query") {
            filters.push(elastic::filter(query, &dates)?);
        }
        if let Some(filter) = body.get("post_filter") {
            filters.push(elastic::filter(filter, &dates)?);
        }
        if let Some(text) = parameters.get("q") {
            filters.push(typed(text, parameters, &dates)?);
        }
        let filter = Filter::every(filters);
        let (sort, after) = order(body, parameters, &filter)?;
        let whole = |name: &'static str, otherwise| whole(body, parameters, name, otherwise);
        let (size, from) = (whole("size", 10)?, whole("from", 0)?);
        if size.saturating_add(from) > MAX_HITS {
            return Err(QueryError::TooManyHits.into());
        }
        let aggregations = body.get("aggs").or_else(|| body.get("aggregations")).cloned();
        let source = source(body, parameters)?;
        let total = tracked(body, parameters)?;
        let timeout = body.get("timeout").and_then(Value::as_str).or_else(|| parameters.get("timeout"));
        let within = timeout.and_then(dates::duration).and_then(|micros| u64::try_from(micros).ok());
        let within = within.map(Duration::from_micros);
        let budget = Self::budget(within);
        let is_partial = parameters.get("allow_partial_search_results") != Some("false");
        let on_missing = if is_partial { OnMissing::Partial } else { OnMissing::Fail };
        Ok(Wanted { filter, size, from, sort, after, total, aggregations, source, within, on_missing, budget })
    }
}

/// Parts of a search that are read here, and those that only change how it is shown. Any other is a mistake in typing, and
/// would find everything instead of what was meant.
const HERE: [&str; 25] = [
    "_source",
    "aggregations",
    "aggs",
    "docvalue_fields",
    "explain",
    "ext",
    "fields",
    "from",
    "highlight",
    "pit",
    "post_filter",
    "profile",
    "query",
    "runtime_mappings",
    "script_fields",
    "search_after",
    "seq_no_primary_term",
    "size",
    "sort",
    "stats",
    "stored_fields",
    "timeout",
    "track_scores",
    "track_total_hits",
    "version",
];

/// Parts of a search that would change what is found; what only changes how it is shown is passed over.
const NOT_HERE: [(&str, &str); 9] = [
    ("min_score", "every match is a hit here"),
    ("collapse", "use a `terms` aggregation"),
    ("rescore", "sort by `_score` or the time"),
    ("suggest", "search for the beginning of a word"),
    ("knn", "search for words and values"),
    ("retriever", "use `query`"),
    ("slice", "page on with `search_after`"),
    ("indices_boost", "sort by the time, or ask each index by itself"),
    ("terminate_after", "use `timeout`"),
];

/// The parameter `q`, read as Elasticsearch reads it: one of the words is enough unless `default_operator=AND`.
fn typed(text: &str, parameters: &Parameters, dates: &dates::DateContext) -> Result<Filter, Failure> {
    let every = match parameters.get("default_operator").map(str::to_ascii_lowercase).as_deref() {
        None | Some("or") => false,
        Some("and") => true,
        Some(_) => return Err(malformed("default_operator", "`AND` or `OR`").into()),
    };
    let fields = parameters.get("df").map_or_else(human::all_texts, |field| vec![field.to_owned()]);
    Ok(human::filter_with(text, &human::Options { fields, every, dates: dates.clone() })?)
}

const fn malformed(place: &'static str, wanted: &'static str) -> PresentError {
    PresentError::Malformed { place, wanted }
}

fn whole(body: &Value, parameters: &Parameters, name: &'static str, otherwise: usize) -> Result<usize, PresentError> {
    let wrong = || malformed(name, "a whole number from 0 on");
    match (body.get(name), parameters.get(name)) {
        (Some(value), _) => value.as_u64().and_then(|value| usize::try_from(value).ok()).ok_or_else(wrong),
        (None, Some(text)) => text.parse().map_err(|_| wrong()),
        (None, None) => Ok(otherwise),
    }
}

fn tracked(body: &Value, parameters: &Parameters) -> Result<TrackTotal, PresentError> {
    if parameters.is_set("rest_total_hits_as_int") {
        return Ok(TrackTotal::Exact);
    }
    let parameter = parameters.get("track_total_hits").map(|text| match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        other => other.parse::<u64>().map_or(Value::Null, Value::from),
    });
    match body.get("track_total_hits").or(parameter.as_ref()) {
        None => Ok(TrackTotal::UpTo(TRACKED)),
        Some(Value::Bool(true)) => Ok(TrackTotal::Exact),
        Some(Value::Bool(false)) => Ok(TrackTotal::No),
        Some(value) => {
            let limit = value.as_u64().ok_or_else(|| malformed("track_total_hits", "true, false or a number"))?;
            Ok(TrackTotal::UpTo(limit))
        }
    }
}

/// The order of hits, and where the page begins. Without an order the best match comes first, where there is something to
/// match well.
fn order(body: &Value, parameters: &Parameters, filter: &Filter) -> Result<(Sort, Option<After>), PresentError> {
    let wrong = || malformed("sort", "the time or `_score`, with `asc` or `desc`");
    let default = if *filter == Filter::All { Sort::Newest } else { Sort::Score };
    let parameter = parameters.get("sort").map(|text| {
        let (field, way) = text.split(',').next().unwrap_or_default().split_once(':').unwrap_or((text, "asc"));
        json!({field: way})
    });
    let keys: Vec<Value> = match body.get("sort").or(parameter.as_ref()) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(keys)) => keys.clone(),
        Some(one) => vec![one.clone()],
    };
    let mut sort = None;
    for key in &keys {
        let (field, way) = match key {
            Value::String(field) => (field.as_str(), None),
            Value::Object(object) => {
                object.iter().next().map(|(field, way)| (field.as_str(), Some(way))).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        let way = way.and_then(|way| way.as_str().or_else(|| way.get("order").and_then(Value::as_str)));
        let this = match (field, way) {
            ("_score", _) => Sort::Score,
            // What breaks ties is the same here whatever it is called.
            ("_doc" | "_shard_doc" | "_id" | "_seq_no", _) => continue,
            ("@timestamp" | "timestamp" | "time" | "date", Some("desc")) => Sort::Newest,
            ("@timestamp" | "timestamp" | "time" | "date", _) => Sort::Oldest,
            _ => return Err(wrong()),
        };
        sort.get_or_insert(this);
    }
    let sort = sort.unwrap_or(if keys.is_empty() { default } else { Sort::Newest });
    let after = match body.get("search_after") {
        None | Some(Value::Null) => None,
        Some(after) => {
            Some(read_after(after, sort).ok_or_else(|| malformed("search_after", "the `sort` of the last hit"))?)
        }
    };
    Ok((sort, after))
}

/// A place between hits: `[score?, milliseconds, "micros-shard-seq"?]`, as [`sort_values`] writes it.
fn read_after(after: &Value, sort: Sort) -> Option<After> {
    let mut values = after.as_array()?.iter();
    #[allow(clippy::cast_possible_truncation, reason = "it was an f32 when it was written")]
    let score = if sort == Sort::Score { Some(values.next()?.as_f64()? as f32) } else { None };
    let millis = values.next().and_then(Value::as_i64)?;
    let Some(exact) = values.next().and_then(Value::as_str) else {
        let time = Timestamp::from_millis(millis);
        // Without the exact place the page goes on with the next millisecond.
        let time = if sort == Sort::Oldest { Timestamp(time.0.saturating_add(999)) } else { time };
        return Some(After { score, time, tie: None });
    };
    let mut parts = exact.splitn(3, ':');
    let time = Timestamp(parts.next()?.parse().ok()?);
    let shard = ShardId(parts.next()?.parse().ok()?);
    Some(After { score, time, tie: Some((shard, parts.next()?.parse().ok()?)) })
}

fn sort_values(row: &Row, sort: Sort) -> Value {
    let (shard, seq) = row.tie;
    let exact = format!("{}:{shard}:{seq}", row.time.0);
    match sort {
        Sort::Score => json!([row.score, row.time.as_millis(), exact]),
        Sort::Newest | Sort::Oldest => json!([row.time.as_millis(), exact]),
    }
}

fn source(body: &Value, parameters: &Parameters) -> Result<Source, PresentError> {
    let wrong = || malformed("_source", "true, false, or names of fields");
    let texts = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    };
    let (mut includes, mut excludes) = (Vec::new(), Vec::new());
    match body.get("_source") {
        None | Some(Value::Null | Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Source::None),
        Some(Value::Object(parts)) => {
            for (key, into) in [("includes", &mut includes), ("include", &mut excludes)] {
                if let Some(found) = parts.get(key) {
                    into.extend(texts(found).ok_or_else(wrong)?);
                }
            }
            includes.append(&mut excludes);
            for key in ["excludes", "exclude"] {
                if let Some(found) = parts.get(key) {
                    excludes.extend(texts(found).ok_or_else(wrong)?);
                }
            }
        }
        Some(names) => includes = texts(names).ok_or_else(wrong)?,
    }
    let listed = |name: &str| parameters.get(name).map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
    match parameters.get("_source") {
        Some("false") => return Ok(Source::None),
        None | Some("true" | "") => {}
        Some(_) => includes.extend(listed("_source").unwrap_or_default()),
    }
    includes.extend(listed("_source_includes").unwrap_or_default());
    excludes.extend(listed("_source_excludes").unwrap_or_default());
    if includes.is_empty() && excludes.is_empty() {
        return Ok(Source::All);
    }
    includes.extend(excludes.into_iter().map(|name| format!("-{name}")));
    let parts = includes.join(",");
    if is_bounded(&parts) { Ok(Source::Parts(parts)) } else { Err(malformed("_source", BOUNDS)) }
}

fn hits(
    rows: &[Row],
    streams: &BTreeMap<Name, Arc<StreamView>>,
    wanted: &Wanted,
    prefix: Option<&str>,
) -> (Vec<Value>, Option<f32>) {
    let names: BTreeMap<ShardId, &Name> =
        streams.iter().filter_map(|(name, view)| view.shard.map(|(shard, _)| (shard, name))).collect();
    let is_scored = wanted.sort == Sort::Score;
    let page = rows.iter().skip(wanted.from).take(wanted.size);
    let best = rows.iter().map(|row| row.score).reduce(f32::max).filter(|_| is_scored);
    let hits = page.map(|row| {
        let name = names.get(&row.tie.0).map_or("", |name| name.as_str());
        let mut hit = Map::new();
        let index = prefix.map_or_else(|| name.to_owned(), |region| format!("{region}:{name}"));
        hit.insert("_index".to_owned(), Value::String(index));
        hit.insert("_id".to_owned(), Value::String(row.id.clone()));
        hit.insert("_score".to_owned(), if is_scored { json!(row.score) } else { Value::Null });
        let whole = || serde_json::from_slice::<Value>(&row.source).unwrap_or_default();
        match &wanted.source {
            Source::None => {}
            Source::All => drop(hit.insert("_source".to_owned(), whole())),
            Source::Parts(parts) => drop(hit.insert("_source".to_owned(), filtered(whole(), parts))),
        }
        hit.insert("sort".to_owned(), sort_values(row, wanted.sort));
        Value::Object(hit)
    });
    (hits.collect(), best)
}

const fn relation(is_exact: bool) -> &'static str {
    if is_exact { "eq" } else { "gte" }
}

fn response(
    (began, shards): (Instant, Value),
    total: Option<(u64, bool)>,
    (hits, best): (Vec<Value>, Option<f32>),
    aggregations: Option<Value>,
    clusters: Option<Value>,
    parameters: &Parameters,
) -> Value {
    let mut found = Map::new();
    if let Some((value, is_exact)) = total {
        let total = if parameters.is_set("rest_total_hits_as_int") {
            json!(value)
        } else {
            json!({"value": value, "relation": relation(is_exact)})
        };
        found.insert("total".to_owned(), total);
    }
    found.insert("max_score".to_owned(), json!(best));
    found.insert("hits".to_owned(), Value::Array(hits));
    let mut response = Map::new();
    response.insert("took".to_owned(), json!(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)));
    response.insert("timed_out".to_owned(), Value::Bool(false));
    response.insert("_shards".to_owned(), shards);
    if let Some(clusters) = clusters {
        response.insert("_clusters".to_owned(), clusters);
    }
    response.insert("hits".to_owned(), Value::Object(found));
    if let Some(aggregations) = aggregations {
        response.insert("aggregations".to_owned(), aggregations);
    }
    Value::Object(response)
}
