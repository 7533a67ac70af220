//! Accepts connections of one address and serves a router on them: TLS where there is a certificate, plain HTTP on loopback
//! alone or where the configuration says so. Slow clients, too many clients and stopping are handled here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::errors::ReceiveError;
use super::patience::{Activity, Open, Patient, first_bytes};
use crate::limits::{CONNECTIONS_AT_ONCE, FIRST_BYTES_DEADLINE, HANDSHAKE_DEADLINE, HEADER_DEADLINE, WRITE_SILENCE};
use crate::tasks::{Kind, Tasks};

/// A connection that bytes can be read from and written to, whatever protects it.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Turns a TCP connection into a TLS one.
pub(crate) type Secure = Arc<dyn Fn(TcpStream) -> Handshake + Send + Sync>;

/// How a listener protects its connections.
#[derive(Clone)]
pub(crate) enum Protection {
    /// TLS.
    Tls(Secure),
    /// Plain HTTP, on loopback alone.
    PlainOnLoopback,
    /// Plain HTTP anywhere, by explicit configuration; logged.
    PlainAnywhere,
}

/// A bound address that is not served yet.
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    protection: Protection,
    places: usize,
}

impl Listener {
    /// Binds an address; port 0 is one of the kernel's choice.
    ///
    /// # Errors
    /// Plain HTTP outside loopback that nobody allowed, or an address that cannot be bound.
    pub(crate) async fn bind(addr: SocketAddr, protection: Protection) -> Result<Self, ReceiveError> {
        match &protection {
            Protection::PlainOnLoopback if !addr.ip().is_loopback() => return Err(ReceiveError::Plaintext { addr }),
            Protection::PlainAnywhere if !addr.ip().is_loopback() => {
                tracing::warn!(%addr, "serving plain HTTP outside loopback, as `allow_plaintext` says");
            }
            _ => {}
        }
        let socket = TcpListener::bind(addr).await.map_err(|source| ReceiveError::Bind { addr, source })?;
        let addr = socket.local_addr().map_err(|source| ReceiveError::Bind { addr, source })?;
        Ok(Self { socket, addr, protection, places: CONNECTIONS_AT_ONCE })
    }

    /// The address with its real port.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves a router until `stop`: then no new connection is taken, and open ones finish the request they are in.
    pub(crate) fn serve(self, router: Router, tasks: &Tasks, stop: CancellationToken) {
        let connections = tasks.clone();
        tasks.spawn(Kind::Listener, self.accept(router, connections, stop));
    }

    /// With fewer places, so that a test fills them.
    #[cfg(test)]
    pub(crate) const fn with_places(mut self, places: usize) -> Self {
        self.places = places;
        self
    }

    async fn accept(self, router: Router, tasks: Tasks, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.places));
        let (open, began) = (Arc::new(Open::default()), Instant::now());
        let mut numbers = 0..u64::MAX;
        loop {
            let next = async {
                let accepted = self.socket.accept().await;
                if places.available_permits() == 0 {
                    open.end_most_silent();
                }
                Some((Arc::clone(&places).acquire_owned().await.ok()?, accepted))
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                Some(next) = next => next,
                else => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: taking a breath lets others finish.
                    tracing::warn!(addr = %self.addr, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (activity, end) = (Activity::of(began), CancellationToken::new());
            let Some(number) = numbers.next() else { return };
            open.enter(number, Arc::clone(&activity), end.clone());
            let (router, protection, stop, open) =
                (router.clone(), self.protection.clone(), stop.clone(), Arc::clone(&open));
            tasks.spawn(Kind::Connection, async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = connection(stream, protection, router, activity, stop) => {}
                }
                open.leave(number);
                drop(place);
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    protection: Protection,
    router: Router,
    activity: Arc<Activity>,
    stop: CancellationToken,
) {
    let mut wire: Box<dyn Wire> = match protection {
        Protection::PlainOnLoopback | Protection::PlainAnywhere => Box::new(stream),
        Protection::Tls(secure) => match tokio::time::timeout(HANDSHAKE_DEADLINE, secure(stream)).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a client did not finish its handshake");
                return;
            }
            Err(_) => return,
        },
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE).max_headers(MAX_HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS).keep_alive_interval(HEADER_DEADLINE);
    let first = tokio::select! {
        () = stop.cancelled() => return,
        first = first_bytes(&mut wire, FIRST_BYTES_DEADLINE) => first,
    };
    let Some(first) = first else { return };
    let runs = Arc::clone(&activity);
    let service = tower::service_fn(move |request| {
        let (running, answer) = (runs.run(), router.clone().oneshot(request));
        async move {
            let answer = answer.await;
            drop(running);
            answer
        }
    });
    let wire = Patient::new(wire, first, activity, WRITE_SILENCE);
    let serving = builder.serve_connection(TokioIo::new(wire), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}

/// Most headers of one request.
const MAX_HEADERS: usize = 100;
/// Most requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
/// How long accepting rests after a failure.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
