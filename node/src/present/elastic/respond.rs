//! Responses in Elasticsearch's dress: compact JSON, `filter_path`, errors of its shape.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::present::errors::PresentError;
use crate::receive::filter_path::{BOUNDS, filtered, is_bounded};
use crate::receive::{Failure, elastic_failure};

/// Parameters of a request's query, decoded; the last of a name wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(pub(super) std::collections::BTreeMap<String, String>);

impl Parameters {
    /// A parameter's text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a flag is given and not `false`.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }
}

/// The response of a door.
pub(super) fn reply(result: Result<Value, Failure>, parameters: &Parameters) -> Response {
    let filter = parameters.get("filter_path");
    match result {
        Err(failure) => elastic_failure(&failure),
        Ok(_) if filter.is_some_and(|filter| !is_bounded(filter)) => {
            elastic_failure(&PresentError::Malformed { place: "filter_path", wanted: BOUNDS }.into())
        }
        Ok(value) => {
            let value = match filter {
                Some(filter) => filtered(value, filter),
                None => value,
            };
            json(&value)
        }
    }
}

/// Compact JSON with status 200.
pub(super) fn json(value: &Value) -> Response {
    typed("application/json", value.to_string())
}

/// A table, or its JSON form, as `_cat` gives them.
pub(super) fn table(rows: &[Vec<(&'static str, String)>], parameters: &Parameters) -> Response {
    if parameters.get("format") == Some("json") {
        let objects = rows.iter().map(|row| {
            Value::Object(row.iter().map(|(key, value)| ((*key).to_owned(), Value::String(value.clone()))).collect())
        });
        return json(&Value::Array(objects.collect()));
    }
    let mut text = String::new();
    let line = |cells: Vec<&str>| format!("{}\n", cells.join(" "));
    if parameters.is_set("v")
        && let Some(first) = rows.first()
    {
        text.push_str(&line(first.iter().map(|(key, _)| *key).collect()));
    }
    for row in rows {
        text.push_str(&line(row.iter().map(|(_, value)| value.as_str()).collect()));
    }
    typed("text/plain; charset=UTF-8", text)
}

fn typed(media: &'static str, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media))];
    (StatusCode::OK, headers, body).into_response()
}
