//! `filter_path`: which parts of a response the client wants; of Elasticsearch's API.
//!
//! `a.b` is a path, `*` stands for one key or part of it, `**` for any number of keys, a leading `-` leaves out.

use serde_json::{Map, Value};

use super::glob::fits;

/// The parts of a JSON text that a filter names. A text that is no JSON comes back as it is.
pub(crate) fn filtered_text(text: String, filter: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return text };
    filtered(value, filter).to_string()
}

/// The parts of a value that a filter names.
pub(crate) fn filtered(value: Value, filter: &str) -> Value {
    let mut wanted: Vec<Vec<&str>> = Vec::new();
    let mut unwanted: Vec<Vec<&str>> = Vec::new();
    for pattern in filter.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()) {
        match pattern.strip_prefix('-') {
            Some(pattern) => unwanted.push(steps(pattern)),
            None => wanted.push(steps(pattern)),
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

/// Whether a filter is within bounds. One that is not is refused before any work, and never cut.
pub(crate) fn is_bounded(filter: &str) -> bool {
    filter.len() <= MAX_BYTES && filter.bytes().filter(|byte| matches!(byte, b',' | b'.')).count() < MAX_STEPS
}

/// The steps of a path; `**` twice in a row is no more than once.
fn steps(pattern: &str) -> Vec<&str> {
    let mut steps: Vec<&str> = pattern.split('.').collect();
    steps.dedup_by(|a, b| *a == "**" && *b == "**");
    steps
}

/// What remains of the paths below `key`, each once: there are never more than there are steps.
fn below<'p, 's>(paths: &[&'p [&'s str]], key: &str) -> Vec<&'p [&'s str]> {
    let mut rest = Vec::new();
    for path in paths {
        let Some((first, tail)) = path.split_first() else { continue };
        if *first == "**" {
            rest.push(*path);
            if let Some((next, after)) = tail.split_first()
                && fits(next, key)
            {
                rest.push(after);
            }
            if tail.is_empty() {
                rest.push(tail);
            }
        } else if fits(first, key) {
            rest.push(tail);
        }
    }
    // Remainders are pieces of the same patterns: the same place and length is the same remainder.
    rest.sort_unstable_by_key(|path| (path.as_ptr(), path.len()));
    rest.dedup_by_key(|path| (path.as_ptr(), path.len()));
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

/// Most steps of all patterns together: every key of a response may be held against each of them.
const MAX_STEPS: usize = 256;
/// What a filter may be, in words.
pub(crate) const BOUNDS: &str = "at most 8 KiB with at most 256 steps of paths";
/// Longest filter, in bytes.
const MAX_BYTES: usize = 8 << 10;

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

    #[test]
    fn a_hostile_filter_takes_no_longer_than_its_length() {
        let deep = (0..20).fold(json!(1), |inner, _| json!({"a": inner}));
        let twice = "**.".repeat(100) + "x";
        assert_eq!(filtered(deep.clone(), &twice), json!({}));
        let between = "**.a.".repeat(100) + "x";
        assert_eq!(filtered(deep.clone(), &between), json!({}));
        assert_eq!(filtered(deep.clone(), &("**.".repeat(100) + "a")), deep);
    }

    #[test]
    fn a_filter_of_too_many_steps_or_bytes_is_out_of_bounds() {
        assert!(is_bounded(&"a.".repeat(MAX_STEPS - 1)));
        assert!(!is_bounded(&"a.".repeat(MAX_STEPS)));
        assert!(!is_bounded(&"a".repeat(MAX_BYTES + 1)));
    }
}
