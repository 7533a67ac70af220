//! `filter_path`: which parts of a response the client wants; of Elasticsearch's API.
//!
//! `a.b` is a path, `*` stands for one key or part of it, `**` for any number of keys, a leading `-` leaves out.

use serde_json::{Map, Value};

/// The parts of a JSON text that a filter names. A text that is no JSON comes back as it is.
pub(crate) fn filtered_text(text: String, filter: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return text };
    filtered(value, filter).to_string()
}

/// The parts of a value that a filter names.
pub(crate) fn filtered(value: Value, filter: &str) -> Value {
    let mut wanted: Vec<Vec<&str>> = Vec::new();
    let mut unwanted: Vec<Vec<&str>> = Vec::new();
    for pattern in filter.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()).take(MAX_PATTERNS) {
        match pattern.strip_prefix('-') {
            Some(pattern) => unwanted.push(pattern.split('.').take(MAX_STEPS).collect()),
            None => wanted.push(pattern.split('.').take(MAX_STEPS).collect()),
        }
    }
    let mut value = value;
    if !unwanted.is_empty() {
        let paths: Vec<&[&str]> = unwanted.iter().map(Vec::as_slice).collect();
        value = without(value, &paths);
    }
    if wanted.is_empty() {
        return value;
    }
    let paths: Vec<&[&str]> = wanted.iter().map(Vec::as_slice).collect();
    only(value, &paths).unwrap_or_else(|| Value::Object(Map::new()))
}

/// What remains of the paths below `key`.
fn below<'p, 's>(paths: &[&'p [&'s str]], key: &str) -> Vec<&'p [&'s str]> {
    let mut rest = Vec::new();
    for path in paths {
        let Some((first, tail)) = path.split_first() else { continue };
        if *first == "**" {
            rest.push(*path);
            if let Some((next, after)) = tail.split_first()
                && matches(next, key)
            {
                rest.push(after);
            }
            if tail.is_empty() {
                rest.push(tail);
            }
        } else if matches(first, key) {
            rest.push(tail);
        }
    }
    rest
}

fn only(value: Value, paths: &[&[&str]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .into_iter()
                .filter_map(|(key, inner)| {
                    let rest = below(paths, &key);
                    if rest.is_empty() { None } else { only(inner, &rest).map(|inner| (key, inner)) }
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => {
            let kept: Vec<Value> = list.into_iter().filter_map(|inner| only(inner, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn without(value: Value, paths: &[&[&str]]) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter_map(|(key, inner)| {
                    let rest = below(paths, &key);
                    if rest.iter().any(|path| path.is_empty()) { None } else { Some((key, without(inner, &rest))) }
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(|inner| without(inner, paths)).collect()),
        other => other,
    }
}

/// Whether a key fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, key: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = key.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// Most patterns that are honoured.
const MAX_PATTERNS: usize = 64;
/// Most steps of one pattern that are honoured.
const MAX_STEPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_filter_keeps_and_leaves_out_what_it_names() {
        let value = || json!({"took":3,"errors":true,"items":[{"create":{"status":201}},{"index":{"status":400,"error":{"type":"t"}}}]});
        for (filter, expected) in [
            ("errors", json!({"errors":true})),
            (
                "errors,items.*.error,items.*.status",
                json!({"errors":true,"items":[{"create":{"status":201}},{"index":{"status":400,"error":{"type":"t"}}}]}),
            ),
            ("items.index.error", json!({"items":[{"index":{"error":{"type":"t"}}}]})),
            ("**.type", json!({"items":[{"index":{"error":{"type":"t"}}}]})),
            ("-items", json!({"took":3,"errors":true})),
            (
                "-items.*.error,-took",
                json!({"errors":true,"items":[{"create":{"status":201}},{"index":{"status":400}}]}),
            ),
            ("nothing", json!({})),
            ("t*k", json!({"took":3})),
        ] {
            assert_eq!(filtered(value(), filter), expected, "{filter}");
        }
    }
}
