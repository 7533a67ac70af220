//! An S3 server in the process of a test: s3s over a directory. It holds every request against its signature, and it does not say
//! where a bucket lies. It needs no program of the machine, so nothing that stands on it is skipped.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::http::{Method, StatusCode};
use parking_lot::Mutex;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;

/// The server, with an empty bucket.
pub(super) struct Served {
    pub(super) address: String,
    pub(super) known: Known,
    _dir: tempfile::TempDir,
    /// Ends with the server.
    _tasks: tokio::task::JoinSet<()>,
}

/// The one key that opens: its id and its secret.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<(String, String)>>);

impl Known {
    /// From now on this one, and the one before no longer.
    pub(super) fn only(&self, id: &str, secret: &str) {
        *self.0.lock() = (id.to_owned(), secret.to_owned());
    }
}

#[async_trait]
impl S3Auth for Known {
    async fn get_secret_key(&self, id: &str) -> S3Result<SecretKey> {
        let known = self.0.lock().clone();
        if known.0 == id { Ok(known.1.into()) } else { Err(s3_error!(InvalidAccessKeyId)) }
    }
}

struct Inner {
    service: S3Service,
    /// It looks whether an object is there and writes it afterwards: of two creations at once both would win.
    creations: tokio::sync::Mutex<()>,
}

impl Served {
    pub(super) async fn begin(bucket: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(bucket)).unwrap();
        let known = Known::default();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(dir.path()).unwrap());
        builder.set_auth(known.clone());
        let inner = Inner { service: builder.build(), creations: tokio::sync::Mutex::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::new(inner));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, known, _dir: dir, _tasks: tasks }
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let _one = if request.method() == Method::PUT { Some(inner.creations.lock().await) } else { None };
    match inner.service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(Body::empty()).unwrap(),
    }
}
