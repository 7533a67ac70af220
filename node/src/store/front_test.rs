//! A front before a real object store, in tests: passes requests on, and lets some of them fail as a bad day does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use parking_lot::Mutex;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Mishap {
    /// It is answered so, and the store never sees it.
    Answered(u16, &'static str),
    /// The store does it, and the answer is lost.
    DoneAndLost(u16),
    /// The connection breaks while the answer is read.
    Torn,
    /// It takes so long.
    Slow(Duration),
    /// What the listing says of this object is missing from the answer.
    Hidden(&'static str),
    /// This header of the request is lost.
    Without(&'static str),
    /// The answer has this header.
    Says(&'static str, &'static str),
}

/// A mishap, to which requests, and how many of them.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) method: &'static str,
    /// What the path and the query have in them.
    pub(super) part: &'static str,
    pub(super) mishap: Mishap,
    pub(super) times: usize,
}

/// The front.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    inner: Arc<Inner>,
    /// Ends with the front.
    _tasks: tokio::task::JoinSet<()>,
}

struct Inner {
    to: String,
    client: reqwest::Client,
    plans: Mutex<Vec<Plan>>,
    seen: Mutex<Vec<String>>,
    /// Whether uploads are turned into those of Google's JSON protocol, the one that its emulator knows.
    is_gcs: bool,
}

impl Front {
    pub(super) async fn before(to: &str, is_gcs: bool) -> Self {
        domicile_proto::link::crypto::install_default_provider();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let (plans, seen) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { to: to.to_owned(), client, plans, seen, is_gcs });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, inner, _tasks: tasks }
    }

    pub(super) fn plan(&self, method: &'static str, part: &'static str, mishap: Mishap, times: usize) {
        self.inner.plans.lock().push(Plan { method, part, mishap, times });
    }

    /// How many planned mishaps have not happened.
    pub(super) fn left(&self) -> usize {
        self.inner.plans.lock().iter().map(|plan| plan.times).sum()
    }

    pub(super) fn forget(&self) {
        self.inner.plans.lock().clear();
    }

    /// Requests since the last call, method and path.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.seen.lock())
    }
}

impl Inner {
    /// Every mishap that is due; those without number last.
    fn due(&self, method: &str, target: &str) -> Vec<Mishap> {
        let mut due = Vec::new();
        for plan in self.plans.lock().iter_mut() {
            if plan.times > 0 && plan.method == method && target.contains(plan.part) {
                plan.times -= 1;
                due.push(plan.mishap.clone());
            }
        }
        due
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut target = parts.uri.path_and_query().unwrap().to_string();
    if inner.is_gcs {
        // Its emulator takes names as they are written.
        target = target.replace("%2D", "-");
    }
    inner.seen.lock().push(format!("{} {target}", parts.method));
    let due = inner.due(parts.method.as_str(), &target);
    for mishap in &due {
        match mishap {
            Mishap::Answered(status, text) => {
                return Response::builder().status(*status).body(Body::from(*text)).unwrap();
            }
            Mishap::Slow(pause) => tokio::time::sleep(*pause).await,
            Mishap::Without(header) => drop(parts.headers.remove(*header)),
            _ => {}
        }
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    parts.headers.remove("content-length");
    let sent = if inner.is_gcs && parts.method == "PUT" {
        json_upload(&inner, &parts, &body)
    } else {
        parts.headers.remove("host");
        let url = format!("{}{target}", inner.to);
        inner.client.request(parts.method.clone(), url).headers(parts.headers).body(body)
    };
    let answer = sent.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        let is_framing = ["transfer-encoding", "connection"].contains(&name.as_str());
        if !is_framing && (parts.method == "HEAD" || name != "content-length") {
            response = response.header(name, value);
        }
    }
    if inner.is_gcs && !answer.headers().contains_key("etag") {
        // The JSON protocol says it in the body.
        response = response.header("etag", "\"1\"");
    }
    let mut content = answer.bytes().await.unwrap();
    for mishap in due {
        match mishap {
            Mishap::DoneAndLost(status) => return Response::builder().status(status).body(Body::empty()).unwrap(),
            Mishap::Torn => return torn(response, &content),
            Mishap::Hidden(object) => content = without(&content, object),
            Mishap::Says(name, value) => {
                response.headers_mut().unwrap().insert(name, value.parse().unwrap());
            }
            _ => {}
        }
    }
    response.body(Body::from(content)).unwrap()
}

/// An upload of the one protocol as the other has it, with the same condition and the same mark.
fn json_upload(inner: &Inner, parts: &axum::http::request::Parts, body: &Bytes) -> reqwest::RequestBuilder {
    // In the JSON protocol the name stands as it is.
    let signs = [("%2D", "-"), ("%2E", "."), ("%2F", "/"), ("%5F", "_")];
    let path = signs.iter().fold(parts.uri.path().to_owned(), |path, (coded, sign)| path.replace(coded, sign));
    let (bucket, object) = path.trim_start_matches('/').split_once('/').unwrap();
    let generation = parts.headers.get("x-goog-if-generation-match").map(|value| value.to_str().unwrap());
    let condition = generation.map(|number| format!("&ifGenerationMatch={number}")).unwrap_or_default();
    let mark = parts.headers.get("x-goog-meta-creation").map(|value| value.to_str().unwrap()).unwrap_or_default();
    let described = serde_json::json!({"name": object, "metadata": {"creation": mark}});
    let head = format!(
        "--b\r\nContent-Type: application/json\r\n\r\n{described}\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    let content = [head.as_bytes(), body, b"\r\n--b--\r\n"].concat();
    let url = format!("{}/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}", inner.to);
    inner.client.post(url).header("content-type", "multipart/related; boundary=b").body(content)
}

/// Half of a body, then nothing.
fn torn(response: axum::http::response::Builder, content: &Bytes) -> Response {
    let half = content.slice(..content.len() / 2);
    let pieces = [Ok(half), Err(std::io::Error::other("torn"))];
    response.header("content-length", content.len()).body(Body::from_stream(futures::stream::iter(pieces))).unwrap()
}

/// A listing without an object.
fn without(listing: &Bytes, object: &str) -> Bytes {
    let text = std::str::from_utf8(listing).unwrap();
    let (head, rest) = text.split_once("<Contents>").unwrap_or((text, ""));
    let kept: String = rest
        .split("<Contents>")
        .map(|part| match part.split_once("</Contents>") {
            Some((entry, after)) if entry.contains(&format!("<Key>{object}</Key>")) => after.to_owned(),
            _ if part.is_empty() => String::new(),
            _ => format!("<Contents>{part}"),
        })
        .collect();
    Bytes::from(format!("{head}{kept}"))
}
