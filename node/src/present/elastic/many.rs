//! `_msearch`: several searches in one request, each with its own answer or its own error.

use serde_json::{Value, json};

use super::respond::Parameters;
use crate::admit::Principal;
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::receive::{Failure, elastic_error};

/// Most searches in one request: a dashboard has dozens of panels.
const MAX_SEARCHES: usize = 200;

impl Desk {
    /// Answers lines of header and body, two for each search, one after the other.
    pub(super) async fn elastic_searches(
        &self,
        who: &Principal,
        expression: &str,
        body: &[u8],
        parameters: &Parameters,
    ) -> Result<Value, Failure> {
        let began = std::time::Instant::now();
        // One time and one room for all: two hundred searches in one request are no more than one.
        let budget = Self::budget(None);
        let mut responses = Vec::new();
        for (header, body) in pairs(body)? {
            let mut parameters = parameters.clone();
            for flag in ["ignore_unavailable", "rest_total_hits_as_int"] {
                if header.get(flag).and_then(Value::as_bool) == Some(true) {
                    parameters.0.insert(flag.to_owned(), "true".to_owned());
                }
            }
            parameters.0.remove("filter_path");
            let index = index_of(&header).unwrap_or_else(|| expression.to_owned());
            responses.push(match self.elastic_search(who, &index, &body, &parameters, &budget).await {
                Ok(Value::Object(mut response)) => {
                    response.insert("status".to_owned(), json!(200));
                    Value::Object(response)
                }
                Ok(other) => other,
                Err(failure) => elastic_error(&failure),
            });
        }
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(json!({"took": took, "responses": responses}))
    }
}

fn pairs(body: &[u8]) -> Result<Vec<(Value, Value)>, Failure> {
    let wrong = |wanted| Failure::from(PresentError::Malformed { place: "body", wanted });
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.collect::<Vec<_>>();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if lines.len() > 2 * MAX_SEARCHES {
        return Err(wrong("at most 200 searches"));
    }
    let (pairs, []) = lines.as_chunks::<2>() else {
        return Err(wrong("two lines for each search, a header and a body"));
    };
    let read = |line: &[u8]| match line {
        [] => Ok(Value::Null),
        line => serde_json::from_slice(line).map_err(|_| wrong("one JSON object a line")),
    };
    pairs.iter().map(|[header, body]| Ok((read(header)?, read(body)?))).collect()
}

fn index_of(header: &Value) -> Option<String> {
    match header.get("index")? {
        Value::String(index) => Some(index.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        _ => None,
    }
}
