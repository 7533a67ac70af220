//! A door to one region: its public HTTP API, with the key it issued.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use domicile_proto::ids::Region;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// Longest a command waits for one answer; the server's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// What a node said instead of doing it.
#[derive(Debug, thiserror::Error)]
#[error("{who} answered `{path}` with {status}: {words}")]
pub(super) struct Refusal {
    who: String,
    path: String,
    status: StatusCode,
    words: String,
}

impl Refusal {
    /// What a node would say that refuses with a status.
    #[cfg(test)]
    pub(super) fn of(status: StatusCode) -> Self {
        Self { who: String::new(), path: String::new(), status, words: String::new() }
    }

    /// Whether the node would have done it and could not, or not in time: the same may be asked again.
    pub(super) fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// One region's public API. Holds a key: no `Debug`.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) region: Option<Region>,
    pub(super) url: String,
    key: String,
    client: Client,
}

impl Door {
    /// A door under an address, opened with a key; an empty key sends none.
    pub(super) fn new(region: Option<Region>, url: &str, key: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = Client::builder().connect_timeout(CONNECT).timeout(PATIENCE).no_proxy();
        if let Some(path) = ca {
            let pem = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            let certificate = Certificate::from_pem(&pem)
                .with_context(|| format!("`{}` is no certificate in PEM form", path.display()))?;
            builder = builder.tls_certs_merge([certificate]);
        }
        let client = builder.build().context("the HTTP client did not start")?;
        Ok(Self { region, url: url.trim_end_matches('/').to_owned(), key: key.to_owned(), client })
    }

    /// A request with the key on it.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    /// Asks and reads JSON.
    pub(super) async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path), path).await
    }

    /// Sends JSON and reads JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::POST, path).json(body), path).await
    }

    async fn answer(&self, request: RequestBuilder, path: &str) -> anyhow::Result<Value> {
        let response = request.send().await.with_context(|| self.unreachable())?;
        let response = self.checked(response, path).await?;
        response
            .json()
            .await
            .with_context(|| format!("{} answered `{path}` with something that is not JSON", self.who()))
    }

    /// Whether the response is a success; else its own words.
    pub(super) async fn checked(&self, response: Response, path: &str) -> anyhow::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let words = serde_json::from_str::<Value>(&text).ok().and_then(|body| reason(&body)).unwrap_or(text);
        let words = words.chars().take(500).collect::<String>();
        Err(Refusal { who: self.who(), path: path.to_owned(), status, words }.into())
    }

    /// What is said where nobody answers.
    pub(super) fn unreachable(&self) -> String {
        let place = self.region.as_ref().map_or_else(String::new, |region| format!("region `{region}` at "));
        format!("{place}{} does not answer; is its node running, and is the address right?", self.url)
    }

    fn who(&self) -> String {
        self.region.as_ref().map_or_else(|| self.url.clone(), |region| format!("region `{region}`"))
    }
}

/// The words in an error body of either API, with what to do and its code where there are such.
fn reason(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let words = error.as_str().or_else(|| text("message")).or_else(|| text("reason"))?;
    let words = text("action").map_or_else(|| words.to_owned(), |action| format!("{words}; {action}"));
    let code = text("code").or_else(|| body.get("code").and_then(Value::as_str));
    Some(code.map_or_else(|| words.clone(), |code| format!("{words} ({code})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_of_an_error_are_found_in_either_form() {
        for (body, wanted) in [
            (json!({"error": {"code": "DMC-ADMIT-01", "message": "no such key"}}), Some("no such key (DMC-ADMIT-01)")),
            (
                json!({"error": {"code": "DMC-FEDERATE-02", "message": "there is no region", "action": "known are two"}}),
                Some("there is no region; known are two (DMC-FEDERATE-02)"),
            ),
            (json!({"error": {"type": "x", "reason": "bad"}, "status": 400}), Some("bad")),
            (json!({"error": "plain"}), Some("plain")),
            (json!({"status": 400}), None),
        ] {
            assert_eq!(reason(&body).as_deref(), wanted);
        }
    }
}
