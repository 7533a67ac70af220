//! A front before a real object store, in tests: passes requests on, and lets some of them fail as a bad day does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use parking_lot::Mutex;

use super::bench_test::AZURITE_SECRET;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Mishap {
    /// It is answered so, and the store never sees it.
    Answered(u16, &'static str),
    /// The store does it, and the answer is lost.
    DoneAndLost(u16),
    /// The connection breaks while the answer is read.
    Torn,
    /// The connection breaks before the store sees it.
    CutBefore,
    /// The store does it, and the connection breaks before a byte of the answer.
    CutAfter,
    /// It takes so long.
    Slow(Duration),
    /// What the listing says of this object is missing from the answer.
    Hidden(&'static str),
    /// This header of the request is lost.
    Without(&'static str),
    /// The answer has this header.
    Says(&'static str, &'static str),
}

/// As often as there are requests.
pub(super) const ALWAYS: usize = usize::MAX;

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
    shown: Mutex<String>,
    /// Whether uploads are turned into those of Google's JSON protocol, the one that its emulator knows.
    is_gcs: bool,
    /// Whose bearer alone comes in. Neither emulator holds bearers against anything: the front does it for them.
    opens_to: Mutex<Option<String>>,
}

impl Front {
    pub(super) async fn before(to: &str, is_gcs: bool) -> Self {
        domicile_proto::link::crypto::install_default_provider();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let (plans, seen) = (Mutex::default(), Mutex::default());
        let (shown, opens_to) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner { to: to.to_owned(), client, plans, seen, shown, is_gcs, opens_to });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&inner)));
        Self { address, inner, _tasks: tasks }
    }

    pub(super) fn plan(&self, method: &'static str, part: &'static str, mishap: Mishap, times: usize) {
        self.inner.plans.lock().push(Plan { method, part, mishap, times });
    }

    /// How many planned mishaps have not happened.
    pub(super) fn left(&self) -> usize {
        self.inner.plans.lock().iter().filter(|plan| plan.times != ALWAYS).map(|plan| plan.times).sum()
    }

    /// From now on to this bearer alone.
    pub(super) fn opens_to(&self, bearer: &str) {
        *self.inner.opens_to.lock() = Some(bearer.to_owned());
    }

    pub(super) fn forget(&self) {
        self.inner.plans.lock().clear();
    }

    /// How the last request authorised itself.
    pub(super) fn shown(&self) -> String {
        self.inner.shown.lock().clone()
    }

    /// Requests since the last call, method and path.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.seen.lock())
    }
}

impl Inner {
    /// Keeps how a request authorises itself.
    fn look(&self, headers: &axum::http::HeaderMap) {
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        shown.clone_into(&mut self.shown.lock());
    }

    /// Every mishap that is due; those without number last.
    fn due(&self, method: &str, target: &str) -> Vec<Mishap> {
        let mut due = Vec::new();
        for plan in self.plans.lock().iter_mut() {
            if plan.times > 0 && plan.method == method && target.contains(plan.part) {
                plan.times -= usize::from(plan.times != ALWAYS);
                due.push(plan.mishap.clone());
            }
        }
        due
    }
}

async fn serve(listener: tokio::net::TcpListener, inner: Arc<Inner>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let inner = Arc::clone(&inner);
        connections.spawn(async move {
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                pass(Arc::clone(&inner), request.map(Body::new))
            });
            // Ends in an error where it was to break.
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await);
        });
    }
}

/// An error breaks the connection.
async fn pass(inner: Arc<Inner>, request: Request) -> Result<Response, std::io::Error> {
    let cut = || std::io::Error::other("cut");
    let (mut parts, body) = request.into_parts();
    let mut target = parts.uri.path_and_query().unwrap().to_string();
    if inner.is_gcs {
        // Its emulator takes names as they are written, and asks by what name it was called.
        target = target.replace("%2D", "-");
        parts.headers.remove("host");
    }
    inner.seen.lock().push(format!("{} {target}", parts.method));
    inner.look(&parts.headers);
    let named = if inner.is_gcs { plain(&target) } else { target.clone() };
    let due = inner.due(parts.method.as_str(), &named);
    for mishap in &due {
        match mishap {
            Mishap::Answered(status, text) => {
                return Ok(Response::builder().status(*status).body(Body::from(*text)).unwrap());
            }
            Mishap::CutBefore => return Err(cut()),
            Mishap::Slow(pause) => tokio::time::sleep(*pause).await,
            Mishap::Without(header) => drop(parts.headers.remove(*header)),
            _ => {}
        }
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    parts.headers.remove("content-length");
    let bearer = inner.opens_to.lock().clone();
    if let Some(bearer) = bearer {
        let shown = parts.headers.remove("authorization");
        if shown.is_none_or(|shown| shown != format!("Bearer {bearer}").as_str()) {
            return Ok(Response::builder().status(401).body(Body::empty()).unwrap());
        }
        if !inner.is_gcs {
            sign(&mut parts, &format!("{}{target}", inner.to), body.len());
        }
    }
    let sent = if inner.is_gcs && parts.method == "PUT" {
        json_upload(&inner, &parts, &body)
    } else {
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
            Mishap::DoneAndLost(status) => {
                return Ok(Response::builder().status(status).body(Body::empty()).unwrap());
            }
            Mishap::CutAfter => return Err(cut()),
            Mishap::Torn => return Ok(torn(response, &content)),
            Mishap::Hidden(object) => content = without(&content, object),
            Mishap::Says(name, value) => {
                response.headers_mut().unwrap().insert(name, value.parse().unwrap());
            }
            _ => {}
        }
    }
    Ok(response.body(Body::from(content)).unwrap())
}

/// Signs a request with the key of Azurite's account: it takes no bearer without TLS.
fn sign(parts: &mut axum::http::request::Parts, url: &str, length: usize) {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = url.parse().unwrap();
    *request.headers_mut() = parts.headers.clone();
    if length > 0 {
        request.headers_mut().insert("content-length", length.into());
    }
    let key = AzureCredential::AccessKey(AzureAccessKey::try_new(AZURITE_SECRET).unwrap());
    AzureAuthorizer::new(&key, "devstoreaccount1").try_authorize(&mut request).unwrap();
    parts.headers = request.headers().clone();
    parts.headers.remove("content-length");
}

/// Names as people write them, which Google's client codes sign by sign.
fn plain(target: &str) -> String {
    let signs = [("%2D", "-"), ("%2E", "."), ("%2F", "/"), ("%5F", "_")];
    signs.iter().fold(target.to_owned(), |target, (coded, sign)| target.replace(coded, sign))
}

/// An upload of the one protocol as the other has it, with the same condition and the same mark.
fn json_upload(inner: &Inner, parts: &axum::http::request::Parts, body: &Bytes) -> reqwest::RequestBuilder {
    // In the JSON protocol the name stands as it is.
    let path = plain(parts.uri.path());
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

/// A listing without an object; each provider calls its parts by other names.
fn without(listing: &Bytes, object: &str) -> Bytes {
    let text = std::str::from_utf8(listing).unwrap();
    let (part, name) = if text.contains("<Blobs>") { ("Blob", "Name") } else { ("Contents", "Key") };
    let (open, close, wanted) = (format!("<{part}>"), format!("</{part}>"), format!("<{name}>{object}</{name}>"));
    let (head, rest) = text.split_once(&open).unwrap_or((text, ""));
    let kept: String = rest
        .split(&open)
        .map(|part| match part.split_once(&close) {
            Some((entry, after)) if entry.contains(&wanted) => after.to_owned(),
            _ if part.is_empty() => String::new(),
            _ => format!("{open}{part}"),
        })
        .collect();
    Bytes::from(format!("{head}{kept}"))
}
