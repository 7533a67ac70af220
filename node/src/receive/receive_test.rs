//! The doors, with a line behind them that says what it was given.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use domicile_proto::ids::Timestamp;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::arrival::Posted;
use super::listen::{Listener, Protection};
use super::*;
use crate::clock::Clock;
use crate::limits::{MAX_PACKED_BYTES, PASSED_OVER_BYTES};
use crate::tasks::{Kind, Tasks};

const BUDGET: usize = 1 << 20;

struct Doors {
    router: axum::Router,
    inbox: mpsc::Receiver<Posted>,
    tasks: Tasks,
}

fn doors(queue: usize, deadline: Duration) -> Doors {
    let knock: Knock = Arc::new(|headers: &HeaderMap| match headers.get("authorization") {
        Some(_) => Ok(()),
        None => Err(Failure::new(&ReceiveError::WrongMethod, 401, "security_exception")),
    });
    let (clock, tasks) = (Clock::standing_at(Timestamp(7)), Tasks::default());
    let (inlet, inbox) = Inlet::new(queue, BUDGET, deadline, knock, clock, tasks.clone());
    let router =
        elastic::router(inlet.clone()).merge(native::router(inlet)).layer(axum::middleware::from_fn(elastic::product));
    Doors { router, inbox, tasks }
}

/// A line that takes every line of a body, and says how long the body was.
fn taking(mut inbox: mpsc::Receiver<Posted>, tasks: &Tasks) {
    tasks.spawn(Kind::Timer, async move {
        while let Some(Posted { arrival, reply }) = inbox.recv().await {
            assert!(arrival.room.bytes() >= arrival.body.len(), "the body holds its room");
            let item = Item {
                action: Action::Create,
                index: arrival.target.unwrap_or_default(),
                id: arrival.id,
                outcome: ItemOutcome::Created { seq: arrival.body.len() as u64 },
            };
            let _ = reply.send(Reply::Items { items: vec![item], repeated: false });
        }
    });
}

fn post(path: &str) -> axum::http::request::Builder {
    Request::builder().method("POST").uri(path).header("authorization", "ApiKey x")
}

async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_spelling_of_an_ingest_endpoint_reaches_the_line_and_every_response_names_the_product() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    for (method, path, status) in [
        ("POST", "/_bulk", 200),
        ("PUT", "/_bulk/", 200),
        ("POST", "/_bulk/?pipeline=x&timeout=1m", 200),
        ("POST", "/app/_bulk", 200),
        ("POST", "/app/_bulk/", 200),
        ("POST", "/app/_doc", 201),
        ("PUT", "/app/_doc/7", 201),
        ("PUT", "/app/_create/7", 201),
        ("POST", "/api/v1/ingest/app", 200),
        ("GET", "/app/_bulk", 405),
        ("POST", "/nothing/here", 404),
    ] {
        let request = post(path).method(method).header("content-type", "application/json; charset=utf-8");
        let response = doors.router.clone().oneshot(request.body(Body::from("{}\n")).unwrap()).await.unwrap();
        assert_eq!(response.headers().get("x-elastic-product").unwrap(), "Elasticsearch", "{path}");
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_offered_is_answered_in_the_shape_of_its_door() {
    let doors = doors(4, Duration::from_secs(5));
    for (path, shape) in [
        ("/app/_doc/7", "\"type\":\"illegal_argument_exception\""),
        ("/app/_bulk", "\"type\":\"illegal_argument_exception\""),
        ("/api/v1/ingest/app", "\"action\":\"see the list"),
    ] {
        let request = post(path).method("GET").body(Body::empty()).unwrap();
        let response = doors.router.clone().oneshot(request).await.unwrap();
        assert!(response.headers().get("allow").is_some_and(|methods| methods.to_str().unwrap().contains("POST")));
        let (status, body) = text(response).await;
        assert_eq!(status, 405, "{path}");
        assert!(body.contains("DMC-RECEIVE-13") && body.contains(shape), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_bulk_response_is_compact_and_filtered_where_asked() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let send = async |path: &str| {
        let request = post(path).body(Body::from("12345")).unwrap();
        text(doors.router.clone().oneshot(request).await.unwrap()).await.1
    };
    let body = send("/app/_bulk").await;
    assert!(
        body.starts_with("{\"took\":") && body.contains("\"errors\":false,\"items\":[{\"create\":{\"_index\":\"app\""),
        "{body}"
    );
    assert!(body.ends_with("\"_seq_no\":5,\"_primary_term\":1,\"status\":201}}]}"), "{body}");
    let body = send("/app/_bulk?filter_path=errors%2Citems.*.status").await;
    assert_eq!(body, "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}]}");
}

#[tokio::test]
async fn bodies_are_unpacked_and_bombs_end_at_the_cap() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let plain = b"hello\n".repeat(1_000);
    let zlib = |raw: bool| {
        let mut out = Vec::new();
        if raw {
            flate2::read::DeflateEncoder::new(&plain[..], flate2::Compression::fast()).read_to_end_into(&mut out);
        } else {
            flate2::read::ZlibEncoder::new(&plain[..], flate2::Compression::fast()).read_to_end_into(&mut out);
        }
        out
    };
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let zstd_bomb = zstd::encode_all(&vec![0; 64 << 20][..], 19).unwrap();
    let half = gzip(&plain)[..20].to_vec();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("gzip", gzip(&plain), 200, "\"_seq_no\":6000"),
        ("GZIP", gzip(&plain), 200, "\"_seq_no\":6000"),
        ("zstd", zstd, 200, "\"_seq_no\":6000"),
        ("deflate", zlib(false), 200, "\"_seq_no\":6000"),
        ("deflate", zlib(true), 200, "\"_seq_no\":6000"),
        ("identity", plain.clone(), 200, "\"_seq_no\":6000"),
        ("gzip", bomb, 413, "DMC-RECEIVE-02"),
        ("zstd", zstd_bomb, 413, "DMC-RECEIVE-02"),
        ("gzip", half, 400, "DMC-RECEIVE-03"),
        ("gzip", plain.clone(), 400, "DMC-RECEIVE-03"),
        ("zstd", plain.clone(), 400, "DMC-RECEIVE-03"),
        ("br", plain.clone(), 415, "DMC-RECEIVE-04"),
        ("gzip, gzip", gzip(&gzip(&plain)), 415, "DMC-RECEIVE-04"),
    ];
    for (encoding, body, status, expected) in cases {
        let request = post("/app/_bulk").header("content-encoding", encoding).body(Body::from(body)).unwrap();
        let (found, body) = text(doors.router.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(found.as_u16(), status, "{encoding}: {body}");
        assert!(body.contains(expected), "{encoding}: {body}");
    }
    // All the room came back, or this would not fit.
    let request = post("/app/_bulk").body(Body::from(vec![b'x'; BUDGET])).unwrap();
    assert_eq!(doors.router.clone().oneshot(request).await.unwrap().status(), 200);
}

trait ReadInto {
    fn read_to_end_into(self, out: &mut Vec<u8>);
}

impl<R: std::io::Read> ReadInto for R {
    fn read_to_end_into(mut self, out: &mut Vec<u8>) {
        self.read_to_end(out).unwrap();
    }
}

#[tokio::test]
async fn strangers_are_turned_away_before_their_body_and_full_lines_say_when_to_come_back() {
    let doors = doors(1, Duration::from_secs(60));
    let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let stranger = Request::post("/_bulk").body(endless).unwrap();
    let response = doors.router.clone().oneshot(stranger).await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    assert_eq!(response.status(), 401);

    // One waits in the queue, nobody takes it.
    let first = doors.router.clone().oneshot(post("/a/_bulk").body(Body::from(vec![b'x'; BUDGET / 2])).unwrap());
    let waiting = futures::future::select(Box::pin(first), Box::pin(tokio::task::yield_now()));
    let futures::future::Either::Right((_, first)) = waiting.await else { panic!("nobody replied") };
    let mut first = first;
    assert!(futures::poll!(&mut first).is_pending());
    let second = doors.router.clone().oneshot(post("/a/_bulk").body(Body::from("x")).unwrap()).await.unwrap();
    assert_eq!(second.headers().get("retry-after").unwrap(), "1");
    let (status, body) = text(second).await;
    assert!(
        status == 429 && body.contains("DMC-RECEIVE-08") && body.contains("es_rejected_execution_exception"),
        "{body}"
    );
    let third =
        doors.router.clone().oneshot(post("/a/_bulk").body(Body::from(vec![b'x'; BUDGET])).unwrap()).await.unwrap();
    let (status, body) = text(third).await;
    assert!(status == 429 && body.contains("DMC-RECEIVE-07"), "{body}");
    // The line ends: its outcome is unknown, and nothing hangs.
    drop(doors.inbox);
    assert_eq!(first.await.unwrap().status(), 503);
}

/// A body in pieces of 64 KiB, and how many of them were taken from it.
fn pieces(count: usize) -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&taken);
    let pieces = futures::stream::iter(0..count).map(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::io::Error>(vec![b'x'; 64 << 10])
    });
    (Body::from_stream(pieces), taken)
}

#[tokio::test]
async fn a_sender_for_whom_there_is_no_room_gets_to_read_the_reply() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let send = async |count: usize, request: axum::http::request::Builder| {
        let (body, taken) = pieces(count);
        let response = doors.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        (response.status().as_u16(), taken.load(Ordering::SeqCst))
    };
    // Twice the budget: refused half way, and read to its end, so that the sender is not met by a closed connection.
    let twice = 2 * BUDGET / (64 << 10);
    assert_eq!(send(twice, post("/app/_bulk")).await, (429, twice));
    // Who asks before it sends, and who goes on for ever, is not read any further than that.
    let (status, taken) = send(twice, post("/app/_bulk").header("expect", "100-continue")).await;
    assert!(status == 429 && taken < twice, "{taken} of {twice} were read");
    let (status, taken) = send(usize::MAX, post("/app/_bulk")).await;
    assert!(status == 429 && taken <= (BUDGET + PASSED_OVER_BYTES) / (64 << 10) + 2, "{taken} were read");
    // A stranger's body is not read at all.
    let (status, taken) = send(twice, Request::builder().method("POST").uri("/app/_bulk")).await;
    assert_eq!((status, taken), (401, 0));
}

#[tokio::test]
async fn a_line_that_does_not_reply_is_not_waited_for_for_ever() {
    let doors = doors(1, Duration::from_millis(20));
    let response = doors.router.clone().oneshot(post("/a/_bulk").body(Body::from("x")).unwrap()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn an_unusable_batch_id_or_a_declared_giant_is_refused() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let large = (MAX_PACKED_BYTES + 1).to_string();
    for (name, value, encoding, status) in [
        ("x-domicile-batch", "b".repeat(129), "identity", 400),
        ("content-length", "999999999999".to_owned(), "identity", 413),
        ("content-length", large.clone(), "gzip", 413),
        ("content-length", large, "identity", 200),
    ] {
        let request = post("/a/_bulk").header(name, value).header("content-encoding", encoding);
        let request = request.body(Body::from("x")).unwrap();
        assert_eq!(doors.router.clone().oneshot(request).await.unwrap().status().as_u16(), status, "{name}");
    }
}

#[tokio::test]
async fn a_listener_serves_plain_http_on_loopback_alone_and_ends_when_told() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let refused = Listener::bind(anywhere, Protection::PlainOnLoopback).await;
    assert!(matches!(refused, Err(ReceiveError::Plaintext { .. })));
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Protection::PlainOnLoopback).await.unwrap();
    let addr = listener.addr();
    let again = Listener::bind(addr, Protection::PlainOnLoopback).await;
    assert!(matches!(again, Err(ReceiveError::Bind { .. })));
    let stop = tokio_util::sync::CancellationToken::new();
    listener.serve(doors.router.clone(), &doors.tasks, stop.clone());

    let mut half = tokio::net::TcpStream::connect(addr).await.unwrap();
    half.write_all(b"POST /a/_bulk HTTP/1.1\r\nhost: x\r\nauthorization: x\r\ncontent-length: 10\r\n\r\nhalf")
        .await
        .unwrap();
    drop(half);
    let mut garbage = tokio::net::TcpStream::connect(addr).await.unwrap();
    garbage.write_all(b"\x16\x03\x01\x00\xff\x00\x00\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer).await;

    let mut whole = tokio::net::TcpStream::connect(addr).await.unwrap();
    whole
        .write_all(b"POST /a/_bulk HTTP/1.1\r\nhost: x\r\nauthorization: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = String::new();
    whole.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"_seq_no\":3"), "{answer}");

    let idle = tokio::net::TcpStream::connect(addr).await.unwrap();
    stop.cancel();
    drop(doors.router);
    assert!(doors.tasks.stop(Duration::from_secs(5)).await, "idle connections do not delay the end");
    drop(idle);
}

#[tokio::test]
async fn silent_connections_give_their_places_to_those_who_ask() {
    let doors = doors(4, Duration::from_secs(5));
    taking(doors.inbox, &doors.tasks);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Protection::PlainOnLoopback).await.unwrap();
    let (addr, stop) = (listener.addr(), tokio_util::sync::CancellationToken::new());
    listener.with_places(2).serve(doors.router.clone(), &doors.tasks, stop.clone());
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    for _ in 0..3 {
        let mut whole = tokio::net::TcpStream::connect(addr).await.unwrap();
        whole
            .write_all(b"POST /a/_bulk HTTP/1.1\r\nhost: x\r\nauthorization: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc")
            .await
            .unwrap();
        let mut answer = String::new();
        whole.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut nothing = Vec::new();
    let ended = silent.first_mut().unwrap().read_to_end(&mut nothing).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "the one that was silent longest was ended");
    stop.cancel();
    drop(doors.router);
    assert!(doors.tasks.stop(Duration::from_secs(5)).await);
}
