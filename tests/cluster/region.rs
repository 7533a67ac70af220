//! One region as its users see it: addresses, keys, and the few requests every test makes.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::http::{self, Response};
use super::ready::{Doors, Ready};

/// A region's doors and keys.
#[derive(Clone)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub doors: Doors,
    /// Its keys by role.
    pub keys: BTreeMap<String, String>,
}

/// Counts by level and by minute (microseconds since 1970, UTC), and in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All records.
    pub total: u64,
    /// By level.
    pub levels: BTreeMap<String, u64>,
    /// By beginning of the minute, in milliseconds since 1970.
    pub minutes: BTreeMap<i64, u64>,
}

impl Region {
    /// Out of the ready file.
    pub fn new(name: &str, ready: &Ready) -> Self {
        Self { name: name.to_owned(), doors: ready.regions[name].clone(), keys: ready.keys[name].clone() }
    }

    /// The header that carries a role's key.
    pub fn authorization(&self, role: &str) -> String {
        format!("Bearer {}", self.keys[role])
    }

    /// A JSON request to the Elasticsearch door with a role's key.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn es(&self, role: &str, method: &str, path: &str, body: &Value) -> Result<Response> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let key = self.authorization(role);
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        http::request(method, &format!("{}{path}", self.doors.es), &headers, &body)
    }

    /// A JSON request to the native door with a role's key.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn api(&self, role: &str, method: &str, path: &str, body: &Value) -> Result<Response> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let key = self.authorization(role);
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        http::request(method, &format!("{}{path}", self.doors.api), &headers, &body)
    }

    /// Lines of JSON to the Elasticsearch door with a role's key, as `_msearch` wants them; the answer.
    ///
    /// # Panics
    /// When the connection fails, or the answer is no JSON.
    #[track_caller]
    pub fn es_lines(&self, role: &str, path: &str, lines: &str) -> Value {
        let key = self.authorization(role);
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/x-ndjson")];
        http::request("POST", &format!("{}{path}", self.doors.es), &headers, lines.as_bytes()).unwrap().json()
    }

    /// The node of the region that writes a stream, as far as this one knows.
    pub fn writer(&self, stream: &str) -> Option<u64> {
        let listed = self.api("search", "GET", "/api/v1/streams", &Value::Null).ok()?.json();
        listed["streams"].as_array()?.iter().find(|one| one["name"] == stream)?["owner"].as_u64()
    }

    /// Sends an NDJSON body of actions to `_bulk`, with more headers.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn bulk(&self, stream: &str, body: &[u8], more: &[(&str, &str)]) -> Result<Response> {
        let key = self.authorization("ingest");
        let mut headers = vec![("Authorization", key.as_str()), ("Content-Type", "application/x-ndjson")];
        headers.extend_from_slice(more);
        http::request("POST", &format!("{}/{stream}/_bulk", self.doors.es), &headers, body)
    }

    /// Makes what was taken searchable.
    ///
    /// # Panics
    /// When the region refuses.
    #[track_caller]
    pub fn refresh(&self, stream: &str) {
        let answer = self.es("ingest", "POST", &format!("/{stream}/_refresh"), &Value::Null).unwrap();
        assert_eq!(answer.status, 200, "{}: refresh: {}", self.name, answer.text());
    }

    /// Whether the region says that it takes and answers.
    pub fn is_ready(&self) -> bool {
        http::request("GET", &format!("{}/readyz", self.doors.api), &[], &[]).is_ok_and(|answer| answer.status == 200)
    }

    /// Number of records of a stream at this region's own door.
    ///
    /// # Errors
    /// When the connection fails or the region refuses.
    pub fn count(&self, stream: &str) -> Result<u64> {
        let answer = self.es("search", "POST", &format!("/{stream}/_count"), &json!({"query": {"match_all": {}}}))?;
        anyhow::ensure!(answer.status == 200, "{}: count: {} {}", self.name, answer.status, answer.text());
        answer.json()["count"].as_u64().ok_or_else(|| anyhow::anyhow!("no count in {}", answer.text()))
    }

    /// Counts of a stream at this region's own door, all of them from one question.
    ///
    /// # Panics
    /// When the region refuses or answers in another shape.
    #[track_caller]
    pub fn counts(&self, stream: &str) -> Counts {
        let answer = self.es("search", "POST", &format!("/{stream}/_search"), &counting()).unwrap();
        assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
        read_counts(&answer.json())
    }

    /// What this region answers when it is asked for several regions in Elasticsearch's cross-cluster form.
    ///
    /// # Panics
    /// When it refuses.
    #[track_caller]
    pub fn federated(&self, regions: &[&str], stream: &str, body: &Value) -> Value {
        let names: Vec<String> = regions.iter().map(|region| format!("{region}:{stream}")).collect();
        let answer = self.es("search", "POST", &format!("/{}/_search", names.join(",")), body).unwrap();
        assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
        answer.json()
    }
}

/// The question that gives [`Counts`].
pub fn counting() -> Value {
    json!({
        "size": 0,
        "track_total_hits": true,
        "query": {"match_all": {}},
        "aggs": {
            "levels": {"terms": {"field": "level", "size": 20}},
            "minutes": {"date_histogram": {"field": "timestamp", "fixed_interval": "1m", "min_doc_count": 1}}
        }
    })
}

/// Reads an answer to [`counting`]; empty cells of the histogram are left out.
///
/// # Panics
/// When it has another shape.
#[track_caller]
pub fn read_counts(answer: &Value) -> Counts {
    let buckets = |name: &str| answer["aggregations"][name]["buckets"].as_array().cloned().unwrap_or_default();
    let count = |bucket: &Value| bucket["doc_count"].as_u64().expect("a doc_count");
    Counts {
        total: answer["hits"]["total"]["value"].as_u64().unwrap_or_else(|| panic!("no total in {answer}")),
        levels: buckets("levels")
            .iter()
            .map(|bucket| (bucket["key"].as_str().expect("a text key").to_owned(), count(bucket)))
            .collect(),
        minutes: buckets("minutes")
            .iter()
            .map(|bucket| (bucket["key"].as_i64().expect("a time key"), count(bucket)))
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}
