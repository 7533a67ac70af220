//! The query DSL of Elasticsearch -> [`Filter`]. What is not known is refused by its name, never passed over in silence.

use std::ops::Bound;

use domicile_proto::ids::{TimeRange, Timestamp};
use serde_json::{Map, Value as Json};

use super::QueryError;
use super::dates::{DateContext, zone_of};
use super::field::Place;
use super::filter::{Filter, Joined, Value};
use super::human;
use crate::limits::MAX_FILTER_DEPTH;

/// Reads the value of `query`.
///
/// # Errors
/// [`QueryError`] names the clause that is not known or not well-formed.
pub(crate) fn filter(query: &Json, dates: &DateContext) -> Result<Filter, QueryError> {
    let filter = Reader { dates, depth: 0 }.clause(query)?;
    filter.check_bounds()?;
    Ok(filter)
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    dates: &'a DateContext,
    depth: usize,
}

impl Reader<'_> {
    fn clause(self, query: &Json) -> Result<Filter, QueryError> {
        if self.depth >= MAX_FILTER_DEPTH {
            return Err(QueryError::TooDeep);
        }
        let inner = Self { depth: self.depth + 1, ..self };
        let (name, body) = single(query, "query", "an object with the name of one clause")?;
        match name {
            "match_all" => Ok(Filter::All),
            "match_none" => Ok(Filter::None),
            "term" => by_field(name, body, |field, value| {
                only(name, value, &["value", "case_insensitive"])?;
                same_case(field, value)?;
                self.term(field, option(value, "value"))
            }),
            "terms" => self.terms(body),
            "match" => by_field(name, body, |field, value| self.words(field, value)),
            "match_phrase" => by_field(name, body, |field, value| self.phrase(field, value, false)),
            "match_phrase_prefix" => by_field(name, body, |field, value| self.phrase(field, value, true)),
            "multi_match" => self.multi_match(body),
            "prefix" => by_field(name, body, |field, value| {
                only(name, value, &["value", "case_insensitive", "rewrite"])?;
                same_case(field, value)?;
                Filter::prefix(field, &text(field, option(value, "value"))?)
            }),
            "wildcard" => by_field(name, body, |field, value| {
                only(name, value, &["value", "wildcard", "case_insensitive", "rewrite"])?;
                same_case(field, value)?;
                let value = value.get("value").or_else(|| value.get("wildcard")).unwrap_or(value);
                wildcard(field, &text(field, value)?)
            }),
            "range" => by_field(name, body, |field, value| self.range(field, value)),
            "exists" => {
                only(name, body, &["field"])?;
                Ok(Filter::Exists { field: required_text(body, "exists", "field")? })
            }
            "ids" => {
                only(name, body, &["values"])?;
                ids(body)
            }
            "bool" => inner.joined(body),
            "constant_score" => {
                only(name, body, &["filter"])?;
                inner.clause(required(body, "constant_score", "filter")?)
            }
            "query_string" | "simple_query_string" => self.query_string(name, body),
            _ => Err(QueryError::unknown("query", name)),
        }
    }

    fn term(self, field: &str, value: &Json) -> Result<Filter, QueryError> {
        if Place::of(field) == Place::Time {
            let stretch = self.stretch(field, value, None)?;
            return Ok(Filter::Time(stretch));
        }
        let value =
            Value::of_json(value).ok_or_else(|| QueryError::malformed(field, "a text, a number or a truth value"))?;
        Ok(Filter::Term { field: field.to_owned(), value })
    }

    fn terms(self, body: &Json) -> Result<Filter, QueryError> {
        let object = body.as_object().ok_or_else(|| QueryError::malformed("terms", "an object"))?;
        let mut fields = object.iter().filter(|(key, _)| !matches!(key.as_str(), "boost" | "_name"));
        let (Some((field, values)), None) = (fields.next(), fields.next()) else {
            return Err(QueryError::malformed("terms", "an object with one field"));
        };
        let values = values.as_array().ok_or_else(|| QueryError::malformed(field.as_str(), "a list of values"))?;
        if Place::of(field) == Place::Time {
            return Ok(Filter::any(values.iter().map(|value| self.term(field, value)).collect::<Result<_, _>>()?));
        }
        let values = values.iter().map(|value| {
            Value::of_json(value).ok_or_else(|| QueryError::malformed(field.as_str(), "a list of texts and numbers"))
        });
        Ok(Filter::Terms { field: field.clone(), values: values.collect::<Result<_, _>>()? })
    }

    fn words(self, field: &str, value: &Json) -> Result<Filter, QueryError> {
        only("match", value, &["query", "operator", "minimum_should_match", "fuzziness", "lenient"])?;
        let every = every_word(value)?;
        if Place::of(field) == Place::Time {
            return self.term(field, option(value, "query"));
        }
        let query = option(value, "query");
        // Numbers and truth values are compared as such where the field holds them.
        if let Some(value @ (Value::Number(_) | Value::Whole(_) | Value::Truth(_))) = Value::of_json(query) {
            return Ok(match Place::of(field) {
                Place::Message | Place::More => Filter::Words { field: field.to_owned(), text: value.text(), every },
                _ => Filter::Term { field: field.to_owned(), value },
            });
        }
        Ok(Filter::Words { field: field.to_owned(), text: text(field, query)?, every })
    }

    fn phrase(self, field: &str, value: &Json, open: bool) -> Result<Filter, QueryError> {
        let known = ["query", "slop"];
        only("match_phrase", value, if open { &["query", "slop", "max_expansions"] } else { &known })?;
        if value.get("slop").is_some_and(|slop| slop.as_u64() != Some(0)) {
            return Err(QueryError::malformed("slop", "0: other distances are not supported"));
        }
        Ok(Filter::Phrase { field: field.to_owned(), text: text(field, option(value, "query"))?, open })
    }

    fn multi_match(self, body: &Json) -> Result<Filter, QueryError> {
        let query = required_text(body, "multi_match", "query")?;
        let known =
            ["query", "fields", "type", "operator", "minimum_should_match", "fuzziness", "lenient", "tie_breaker"];
        only("multi_match", body, &known)?;
        let kind = body.get("type").and_then(Json::as_str).unwrap_or("best_fields");
        if !["best_fields", "most_fields", "phrase", "phrase_prefix"].contains(&kind) {
            let wanted = "`best_fields`, `most_fields`, `phrase` or `phrase_prefix`";
            return Err(QueryError::malformed("multi_match.type", wanted));
        }
        let every = every_word(body)?;
        let clause = |field: &str| match kind {
            "phrase" => Filter::Phrase { field: field.to_owned(), text: query.clone(), open: false },
            "phrase_prefix" => Filter::Phrase { field: field.to_owned(), text: query.clone(), open: true },
            _ => Filter::Words { field: field.to_owned(), text: query.clone(), every },
        };
        Ok(Filter::any(fields_of(body)?.iter().map(|field| clause(field)).collect()))
    }

    fn query_string(self, name: &str, body: &Json) -> Result<Filter, QueryError> {
        only(
            name,
            body,
            &["query", "default_operator", "default_field", "fields", "analyze_wildcard", "lenient", "time_zone"],
        )?;
        let query = required_text(body, name, "query")?;
        let and = match body.get("default_operator").map(|operator| operator.as_str().unwrap_or_default()) {
            None => false,
            Some(operator) if operator.eq_ignore_ascii_case("or") => false,
            Some(operator) if operator.eq_ignore_ascii_case("and") => true,
            Some(_) => return Err(QueryError::malformed("default_operator", "`and` or `or`")),
        };
        let fields = match body.get("default_field") {
            Some(field) => vec![text("default_field", field)?],
            None => fields_of(body)?,
        };
        let dates = match body.get("time_zone").map(|zone| zone.as_str().and_then(zone_of)) {
            None => self.dates.clone(),
            Some(Some(zone)) => DateContext { zone, ..self.dates.clone() },
            Some(None) => return Err(QueryError::malformed("time_zone", "a zone such as `+09:00`")),
        };
        let options = human::Options { fields, every: and, dates };
        human::filter_with(&query, &options)
    }

    fn joined(self, body: &Json) -> Result<Filter, QueryError> {
        let object = body.as_object().ok_or_else(|| QueryError::malformed("bool", "an object"))?;
        let mut joined = Joined::default();
        for (key, value) in object {
            let clauses = || -> Result<Vec<Filter>, QueryError> {
                match value {
                    Json::Array(clauses) => clauses.iter().map(|clause| self.clause(clause)).collect(),
                    one => Ok(vec![self.clause(one)?]),
                }
            };
            match key.as_str() {
                "must" => joined.must = clauses()?,
                "filter" => joined.filter = clauses()?,
                "should" => joined.should = clauses()?,
                "must_not" => joined.must_not = clauses()?,
                "minimum_should_match" => {}
                "boost" | "_name" | "adjust_pure_negative" => {}
                _ => return Err(QueryError::unknown("option of `bool`", key)),
            }
        }
        if let Some(minimum) = object.get("minimum_should_match") {
            joined.minimum_should_match = Some(minimum_of(minimum, joined.should.len())?);
        }
        Ok(Filter::Bool(Box::new(joined)))
    }

    fn range(self, field: &str, body: &Json) -> Result<Filter, QueryError> {
        let object = body.as_object().ok_or_else(|| QueryError::malformed(field, "an object with bounds"))?;
        let flag = |key: &str| object.get(key).and_then(Json::as_bool).unwrap_or(true);
        let mut from = Bound::Unbounded;
        let mut to = Bound::Unbounded;
        for (key, value) in object {
            let bound = (!value.is_null()).then_some(value);
            match (key.as_str(), bound) {
                ("gte", Some(value)) => from = Bound::Included(value),
                ("gt", Some(value)) => from = Bound::Excluded(value),
                ("lte", Some(value)) => to = Bound::Included(value),
                ("lt", Some(value)) => to = Bound::Excluded(value),
                ("from", Some(value)) => {
                    from = if flag("include_lower") { Bound::Included(value) } else { Bound::Excluded(value) };
                }
                ("to", Some(value)) => {
                    to = if flag("include_upper") { Bound::Included(value) } else { Bound::Excluded(value) };
                }
                ("gte" | "gt" | "lte" | "lt" | "from" | "to", None) => {}
                ("include_lower" | "include_upper" | "boost" | "_name" | "format" | "time_zone" | "relation", _) => {}
                _ => return Err(QueryError::unknown("option of `range`", key)),
            }
        }
        if Place::of(field) == Place::Time {
            return self.time_range(field, from, to, object);
        }
        let value = |bound: Bound<&Json>| -> Result<Bound<Value>, QueryError> {
            let read =
                |json: &Json| Value::of_json(json).ok_or_else(|| QueryError::malformed(field, "a text or number"));
            Ok(match bound {
                Bound::Unbounded => Bound::Unbounded,
                Bound::Included(json) => Bound::Included(read(json)?),
                Bound::Excluded(json) => Bound::Excluded(read(json)?),
            })
        };
        Filter::range(field, value(from)?, value(to)?)
    }

    fn time_range(
        self,
        field: &str,
        from: Bound<&Json>,
        to: Bound<&Json>,
        object: &Map<String, Json>,
    ) -> Result<Filter, QueryError> {
        let dates = match object.get("time_zone").and_then(Json::as_str) {
            None => self.dates.clone(),
            Some(zone) => {
                let zone =
                    zone_of(zone).ok_or_else(|| QueryError::malformed("time_zone", "a zone such as `+09:00`"))?;
                DateContext { zone, ..self.dates.clone() }
            }
        };
        let inner = Reader { dates: &dates, ..self };
        let format = object.get("format").and_then(Json::as_str);
        let stretch = |json: &Json| inner.stretch(field, json, format);
        let from = match from {
            Bound::Unbounded => TimeRange::ALL.from,
            Bound::Included(json) => stretch(json)?.from,
            Bound::Excluded(json) => stretch(json)?.to,
        };
        let to = match to {
            Bound::Unbounded => TimeRange::ALL.to,
            Bound::Included(json) => stretch(json)?.to,
            Bound::Excluded(json) => stretch(json)?.from,
        };
        Ok(Filter::Time(TimeRange { from, to: to.max(from) }))
    }

    fn stretch(self, field: &str, json: &Json, format: Option<&str>) -> Result<TimeRange, QueryError> {
        let wrong = || QueryError::malformed(field, "a date, date math such as `now-1h`, or milliseconds since 1970");
        let seconds = format.is_some_and(|format| format.split("||").any(|part| part == "epoch_second"));
        if let Some(number) = json.as_i64().or_else(|| json.as_str().filter(|_| seconds)?.parse().ok()) {
            if seconds {
                let from = Timestamp(number.saturating_mul(Timestamp::MICROS));
                return Ok(TimeRange { from, to: Timestamp(from.0.saturating_add(Timestamp::MICROS)) });
            }
            return Ok(DateContext::of_millis(number));
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a cast of f64 saturates; a date so far away matches nothing"
        )]
        if let Some(number) = json.as_f64() {
            return Ok(DateContext::of_millis(number as i64));
        }
        self.dates.stretch(json.as_str().ok_or_else(wrong)?).ok_or_else(wrong)
    }
}

/// The one entry of an object; boosts and names beside it do not count.
fn single<'a>(json: &'a Json, place: &str, wanted: &'static str) -> Result<(&'a str, &'a Json), QueryError> {
    let object = json.as_object().ok_or_else(|| QueryError::malformed(place, wanted))?;
    let mut entries = object.iter().filter(|(key, _)| !matches!(key.as_str(), "boost" | "_name"));
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => Ok((key, value)),
        _ => Err(QueryError::malformed(place, wanted)),
    }
}

fn by_field(
    name: &str,
    body: &Json,
    read: impl Fn(&str, &Json) -> Result<Filter, QueryError>,
) -> Result<Filter, QueryError> {
    let (field, value) = single(body, name, "an object with one field")?;
    read(field, value)
}

/// `{"value": x}` or plain `x`.
fn option<'a>(json: &'a Json, key: &str) -> &'a Json {
    json.as_object().and_then(|object| object.get(key)).unwrap_or(json)
}

/// Refuses options that are not known, by their names; a boost or a name beside them changes nothing that is found.
fn only(name: &str, body: &Json, known: &[&str]) -> Result<(), QueryError> {
    let known = |key: &str| known.contains(&key) || matches!(key, "boost" | "_name");
    match body.as_object().and_then(|object| object.keys().find(|key| !known(key))) {
        Some(key) => Err(QueryError::unknown("option of a query", &format!("{name}.{key}"))),
        None => Ok(()),
    }
}

/// Words and levels are compared without regard to case; whole values are not.
fn same_case(field: &str, body: &Json) -> Result<(), QueryError> {
    let is_free = matches!(Place::of(field), Place::Message | Place::More | Place::Level);
    match body.get("case_insensitive").map(Json::as_bool) {
        None | Some(Some(false)) => Ok(()),
        Some(Some(true)) if is_free => Ok(()),
        _ => Err(QueryError::malformed("case_insensitive", "`false`: whole values are compared as they are")),
    }
}

/// Whether every word of a text must occur, or one is enough.
fn every_word(body: &Json) -> Result<bool, QueryError> {
    if body.get("fuzziness").is_some_and(|fuzziness| text("fuzziness", fuzziness).ok().as_deref() != Some("0")) {
        return Err(QueryError::malformed("fuzziness", "0: words are compared as they are"));
    }
    let wrong = || QueryError::malformed("operator", "`and` or `or`");
    let every = match body.get("operator").map(|operator| operator.as_str().map(str::to_ascii_lowercase)) {
        None => false,
        Some(operator) => match operator.as_deref() {
            Some("and") => true,
            Some("or") => false,
            _ => return Err(wrong()),
        },
    };
    match body.get("minimum_should_match").map(|minimum| text("minimum_should_match", minimum)).transpose()?.as_deref()
    {
        None | Some("0" | "1" | "0%") => Ok(every),
        Some("100%") => Ok(true),
        Some(_) => Err(QueryError::malformed("minimum_should_match", "`1` or `100%` for words of a text")),
    }
}

fn text(place: &str, json: &Json) -> Result<String, QueryError> {
    Value::of_json(json).map(|value| value.text()).ok_or_else(|| QueryError::malformed(place, "a text"))
}

fn required<'a>(body: &'a Json, name: &str, key: &'static str) -> Result<&'a Json, QueryError> {
    body.get(key).ok_or_else(|| QueryError::malformed(format!("{name}.{key}"), "given"))
}

fn required_text(body: &Json, name: &str, key: &'static str) -> Result<String, QueryError> {
    text(key, required(body, name, key)?)
}

/// Fields of a clause over several of them; weights are dropped, patterns mean all texts.
fn fields_of(body: &Json) -> Result<Vec<String>, QueryError> {
    let Some(fields) = body.get("fields") else { return Ok(human::all_texts()) };
    let fields = fields.as_array().ok_or_else(|| QueryError::malformed("fields", "a list of fields"))?;
    let mut out = Vec::new();
    for field in fields {
        let field = field.as_str().ok_or_else(|| QueryError::malformed("fields", "a list of fields"))?;
        let field = field.split('^').next().unwrap_or_default();
        if field.contains('*') { out.extend(human::all_texts()) } else { out.push(field.to_owned()) }
    }
    Ok(if out.is_empty() { human::all_texts() } else { out })
}

fn ids(body: &Json) -> Result<Filter, QueryError> {
    let wrong = || QueryError::malformed("ids.values", "a list of ids");
    let values = required(body, "ids", "values")?.as_array().ok_or_else(wrong)?;
    let values = values.iter().map(|value| Value::of_json(value).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    Ok(Filter::Terms { field: "_id".to_owned(), values })
}

/// A pattern with at most one `*`, at its end.
pub(super) fn wildcard(field: &str, pattern: &str) -> Result<Filter, QueryError> {
    if pattern == "*" {
        return Ok(Filter::Exists { field: field.to_owned() });
    }
    let (body, open) = pattern.strip_suffix('*').map_or((pattern, false), |body| (body, true));
    if body.contains(['*', '?']) {
        return Err(QueryError::malformed(field, "a pattern with one `*` at its end: no other wildcard is supported"));
    }
    if open { Filter::prefix(field, body) } else { Ok(Filter::term(field, body)) }
}

/// `2`, `-1`, `75%`.
fn minimum_of(json: &Json, clauses: usize) -> Result<usize, QueryError> {
    let wrong = || QueryError::malformed("minimum_should_match", "a number or a percentage");
    let text = text("minimum_should_match", json)?;
    let clauses = i64::try_from(clauses).unwrap_or(i64::MAX);
    let count = match text.strip_suffix('%') {
        Some(percent) => {
            let percent: i64 = percent.parse().map_err(|_| wrong())?;
            clauses.saturating_mul(percent.clamp(-100, 100)) / 100
        }
        None => text.parse().map_err(|_| wrong())?,
    };
    let count = if count < 0 { clauses.saturating_add(count) } else { count };
    Ok(usize::try_from(count.max(0)).unwrap_or(usize::MAX))
}
