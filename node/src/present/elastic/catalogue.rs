//! Mappings, settings and field capabilities of streams. The layout is fixed and unknown fields are kept, so a mapping says
//! what tools may rely on: the envelope, and the stream's group fields.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::Name;
use serde_json::{Map, Value, json};

use super::names::parts;
use crate::policy::StreamView;
use crate::present::errors::PresentError;
use crate::receive::glob::fits;

/// Fields every stream has, with their types.
const ENVELOPE: [(&str, &str); 8] = [
    ("@timestamp", "date"),
    ("timestamp", "date"),
    ("level", "keyword"),
    ("service", "keyword"),
    ("host", "keyword"),
    ("trace_id", "keyword"),
    ("message", "text"),
    ("exception", "text"),
];

fn fields(view: &StreamView) -> BTreeMap<String, &'static str> {
    let mut fields: BTreeMap<String, &'static str> =
        ENVELOPE.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    for field in &view.policy.group_fields {
        fields.entry(field.to_string()).or_insert("keyword");
    }
    fields
}

/// `GET /{index}/_mapping`.
pub(super) fn mappings(streams: &BTreeMap<Name, Arc<StreamView>>) -> Value {
    let one = |view: &StreamView| {
        let properties: Map<String, Value> = fields(view)
            .into_iter()
            .map(|(name, kind)| {
                let mut about = json!({"type": kind});
                if kind != "date"
                    && let Some(about) = about.as_object_mut()
                {
                    about.insert("fields".to_owned(), json!({"keyword": {"type": "keyword", "ignore_above": 256}}));
                }
                (name, about)
            })
            .collect();
        json!({"mappings": {"dynamic": "true", "properties": properties}})
    };
    Value::Object(streams.iter().map(|(name, view)| (name.to_string(), one(view))).collect())
}

/// `GET /{index}/_settings`.
pub(super) fn settings(streams: &BTreeMap<Name, Arc<StreamView>>) -> Value {
    let one = |name: &Name, view: &StreamView| {
        json!({"settings": {"index": {
            "provided_name": name.as_str(),
            "number_of_shards": "1",
            "number_of_replicas": "0",
            "refresh_interval": format!("{}ms", view.policy.refresh_ms),
            "uuid": format!("stream-{}", view.id),
        }}})
    };
    Value::Object(streams.iter().map(|(name, view)| (name.to_string(), one(name, view))).collect())
}

/// `GET /{index}`.
pub(super) fn index(streams: &BTreeMap<Name, Arc<StreamView>>) -> Value {
    let (mappings, settings) = (mappings(streams), settings(streams));
    let one = |name: &Name| {
        let part = |from: &Value, key: &str| from.get(name.as_str()).and_then(|found| found.get(key)).cloned();
        json!({"aliases": {}, "mappings": part(&mappings, "mappings"), "settings": part(&settings, "settings")})
    };
    Value::Object(streams.keys().map(|name| (name.to_string(), one(name))).collect())
}

/// `GET /{index}/_field_caps?fields=…`.
///
/// # Errors
/// Beyond the bounds of [`parts`].
pub(super) fn capabilities(streams: &BTreeMap<Name, Arc<StreamView>>, wanted: &str) -> Result<Value, PresentError> {
    let patterns = parts(wanted)?;
    let mut all: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for view in streams.values() {
        for (name, kind) in fields(view) {
            all.entry(name).or_default().insert(kind);
        }
    }
    let about = |kinds: BTreeSet<&'static str>| {
        let one = |kind: &'static str| {
            let about = json!({
                "type": kind, "metadata_field": false, "searchable": true, "aggregatable": kind != "text",
            });
            (kind.to_owned(), about)
        };
        Value::Object(kinds.into_iter().map(one).collect())
    };
    let fields: Map<String, Value> = all
        .into_iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| fits(pattern, name)))
        .map(|(name, kinds)| (name, about(kinds)))
        .collect();
    let indices: Vec<&str> = streams.keys().map(Name::as_str).collect();
    Ok(json!({"indices": indices, "fields": fields}))
}
