//! A door to one region: its public HTTP API, with the key it issued.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use domicile_proto::ids::Region;
use reqwest::header::RETRY_AFTER;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// Longest a command waits for one answer; the server's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How often the same is asked again where a node has no room for it, or cannot do it at present.
const ASKED_AGAIN: usize = 10;
/// The shortest and the longest wait before that, whatever the node says: together no more than five minutes.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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

    /// Whether there is no such thing at the node: one of an earlier build lacks a door.
    pub(super) fn is_unknown(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
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
        self.json(response, path).await
    }

    /// Asks for something that may be asked for twice, and waits and asks again where the node has no room for it or cannot do it at
    /// present: as long as the node says, and a few times. `wait` waits.
    pub(super) async fn patiently(&self, path: &str, wait: &impl AsyncFn(Duration)) -> anyhow::Result<Response> {
        self.again(path, || self.request(Method::GET, path), wait).await
    }

    /// The same with JSON that is sent, for what changes nothing or changes it once.
    pub(super) async fn post_patiently(
        &self,
        path: &str,
        body: &Value,
        wait: &impl AsyncFn(Duration),
    ) -> anyhow::Result<Value> {
        let response = self.again(path, || self.request(Method::POST, path).json(body), wait).await?;
        self.json(response, path).await
    }

    async fn again(
        &self,
        path: &str,
        request: impl Fn() -> RequestBuilder,
        wait: &impl AsyncFn(Duration),
    ) -> anyhow::Result<Response> {
        for _ in 0..ASKED_AGAIN {
            let response = request().send().await.with_context(|| self.unreachable())?;
            match pause(&response) {
                Some(pause) => wait(pause).await,
                None => return self.checked(response, path).await,
            }
        }
        let response = request().send().await.with_context(|| self.unreachable())?;
        let refused = || format!("{} was asked {} times, as it said", self.who(), ASKED_AGAIN + 1);
        self.checked(response, path).await.with_context(refused)
    }

    /// The same, of JSON.
    pub(super) async fn read_patiently(&self, path: &str, wait: &impl AsyncFn(Duration)) -> anyhow::Result<Value> {
        let response = self.patiently(path, wait).await?;
        self.json(response, path).await
    }

    async fn json(&self, response: Response, path: &str) -> anyhow::Result<Value> {
        let said = response.json().await;
        said.with_context(|| format!("{} answered `{path}` with something that is not JSON", self.who()))
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

/// How long to wait before the same is asked again, where that was refused for now alone.
fn pause(response: &Response) -> Option<Duration> {
    let is_passing = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let said = response.headers().get(RETRY_AFTER).and_then(|said| said.to_str().ok()?.trim().parse().ok());
    let (shortest, longest) = WAITS;
    is_passing.then(|| said.map_or(shortest, Duration::from_secs).clamp(shortest, longest))
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
pub(super) mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use axum::Router;
    use axum::extract::{Request, State};
    use axum::response::IntoResponse;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;
    use crate::tasks::{Kind, Tasks};

    /// What a door of the tests says: the status, the header `Retry-After`, the body.
    pub(in super::super) type Said = (u16, Option<&'static str>, Value);

    /// What a door says next, one thing behind the other and the last for ever, and what it was asked.
    #[derive(Clone, Default)]
    pub(in super::super) struct Script {
        next: Arc<Mutex<VecDeque<Said>>>,
        pub(in super::super) asked: Arc<Mutex<Vec<String>>>,
    }

    async fn say(State(script): State<Script>, request: Request) -> impl IntoResponse {
        script.asked.lock().push(request.uri().path().to_owned());
        let mut next = script.next.lock();
        let said = if next.len() > 1 { next.pop_front() } else { next.front().cloned() };
        let (status, after, body) = said.expect("something to say");
        let after = after.map(|after| [("retry-after", after)]);
        (StatusCode::from_u16(status).expect("a status"), after, axum::Json(body)).into_response()
    }

    /// A door over a real connection behind which somebody says this, until the tasks end.
    pub(in super::super) async fn door(tasks: &Tasks, says: impl IntoIterator<Item = Said>) -> (Door, Script) {
        domicile_proto::link::crypto::install_default_provider();
        let script = Script { next: Arc::new(Mutex::new(says.into_iter().collect())), ..Script::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = Router::new().fallback(say).with_state(script.clone());
        tasks.spawn(Kind::Peer, async move { axum::serve(listener, router).await.expect("served") });
        (Door::new(None, &url, "", None).expect("a client"), script)
    }

    #[tokio::test]
    async fn what_is_refused_for_now_is_asked_again_when_the_node_says() {
        let (busy, away) = (json!({"error": "busy"}), json!({"error": "away"}));
        let tasks = Tasks::default();
        let says = [
            (429, Some("7"), busy.clone()),
            (503, None, away.clone()),
            (429, Some("0"), busy.clone()),
            (429, Some("4000"), busy.clone()),
            (429, Some("Sun, 06 Nov 1994 08:49:37 GMT"), busy.clone()),
            (200, None, json!({"it": 1})),
        ];
        let (asked, script) = door(&tasks, says).await;
        let waits = Mutex::new(Vec::new());
        let wait = async |pause: Duration| waits.lock().push(pause.as_secs());
        assert_eq!(asked.read_patiently("/x", &wait).await.expect("in the end")["it"], 1);
        assert_eq!((waits.lock().clone(), script.asked.lock().len()), (vec![7, 1, 1, 30, 1], 6));
        waits.lock().clear();
        let (sent, script) = door(&tasks, [(503, Some("2"), away.clone()), (200, None, json!({"it": 2}))]).await;
        assert_eq!(sent.post_patiently("/x", &json!({}), &wait).await.expect("in the end")["it"], 2);
        assert_eq!((waits.lock().clone(), script.asked.lock().len()), (vec![2], 2));
        // What is refused for good is asked once, and nothing is asked for ever.
        for (status, after, wanted) in [(404, Some("5"), 1), (403, None, 1), (500, None, 1), (503, Some("2"), 11)] {
            waits.lock().clear();
            let (refusing, script) = door(&tasks, [(status, after, away.clone())]).await;
            let refused = refusing.patiently("/x", &wait).await.expect_err("refused");
            let words = format!("{refused:#}");
            assert!(words.contains(&status.to_string()) && words.contains("away"), "{words}");
            assert_eq!(words.contains("asked 11 times"), wanted > 1, "{words}");
            assert_eq!((script.asked.lock().len(), waits.lock().len()), (wanted, wanted - 1), "{status}");
            let refusal = refused.downcast_ref::<Refusal>().expect("a refusal");
            assert_eq!(refusal.is_unknown(), status == 404);
        }
    }

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
