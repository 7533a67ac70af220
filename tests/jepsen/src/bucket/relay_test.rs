//! Each mishap as a client of the kind that the product has meets it, before a real S3 server; and framings before an echo.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use domicile_tests::cluster::http;
use domicile_tests::cluster::s3::S3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, RetryConfig};

use super::*;
use crate::bucket::s3;

/// A relay before a server, and its door.
fn relay(to: &str) -> (Relay, String) {
    let relay = Relay::before(to.trim_start_matches("http://").parse().unwrap(), 3).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = format!("http://{}", listener.local_addr().unwrap());
    relay.open("tokyo", listener).unwrap();
    (relay, door)
}

fn counted(relay: &Relay, what: &str) -> u64 {
    relay.tally().iter().filter(|(key, _)| key.ends_with(what)).map(|(_, number)| number).sum()
}

/// A client of the kind that the product has, which asks once.
fn client(door: &str) -> impl ObjectStore {
    s3(door).with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() }).build().unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn create(store: &impl ObjectStore, name: &str) -> object_store::Result<()> {
    store.put_opts(&Path::from(name), name.to_owned().into(), PutMode::Create.into()).await.map(drop)
}

#[test]
fn creations_on_a_failing_day_are_refused_cut_off_or_done_in_silence_and_each_is_counted() {
    const OBJECTS: u64 = 32;
    let Some(server) = S3::start().unwrap() else { return };
    let (relay, door) = relay(server.endpoint());
    block_on(async {
        let store = client(&door);
        relay.set(Mood::Failing);
        let mut refused_by_word = 0;
        let mut unsure = Vec::new();
        for number in 0..OBJECTS {
            let name = format!("o{number:02}");
            if let Err(error) = create(&store, &name).await {
                let said = format!("{error:?}");
                refused_by_word += u64::from(said.contains("status: 503") || said.contains("status: 500"));
                unsure.push(name);
            }
        }
        relay.set(Mood::Fair);
        // Of every eight, two are refused, one is cut off and one is done in silence.
        assert_eq!([counted(&relay, ": refused"), counted(&relay, ": cut off")], [8, 4], "{:?}", relay.tally());
        assert_eq!([counted(&relay, ": done in silence"), counted(&relay, CREATED_IN_SILENCE)], [4, 4]);
        assert_eq!((unsure.len(), refused_by_word), (16, 8));
        let mut were_there = 0;
        for name in &unsure {
            match create(&store, name).await {
                Ok(()) => {}
                Err(object_store::Error::AlreadyExists { .. }) => were_there += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(were_there, 4, "what was done in silence was done, and nothing else");
        for number in 0..OBJECTS {
            let name = format!("o{number:02}");
            let found = store.get(&Path::from(name.as_str())).await.unwrap().bytes().await.unwrap();
            assert_eq!(found, name.as_bytes());
        }
    });
    assert!(relay.tally().keys().all(|key| key.starts_with("tokyo: ")));
}

#[test]
fn answers_on_a_slow_day_are_late_and_right() {
    let Some(server) = S3::start().unwrap() else { return };
    let (relay, door) = relay(server.endpoint());
    block_on(async {
        let store = client(&door);
        create(&store, "slow").await.unwrap();
        relay.set(Mood::Slow);
        let begun = Instant::now();
        for _ in 0..6 {
            assert_eq!(store.get(&Path::from("slow")).await.unwrap().bytes().await.unwrap(), b"slow".as_slice());
        }
        let late = counted(&relay, "GET: late");
        assert!(late > 0 && begun.elapsed() >= Duration::from_millis(100 * late), "{late}");
    });
}

/// Answers each request with its own body in chunks, and closes.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let (mut raw, mut buffer) = (Vec::new(), [0; 1024]);
            while !raw.ends_with(b"end") {
                let length = stream.read(&mut buffer).unwrap();
                raw.extend_from_slice(&buffer[..length]);
            }
            let said = String::from_utf8(raw).unwrap();
            assert!(said.contains("Content-Length: 12\r\n") && said.contains("X-Own: 1\r\n"), "{said}");
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunks = "5\r\nfirst\r\n7\r\n, ended\r\n0\r\n\r\n";
            stream.write_all(format!("{head}{chunks}").as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn bodies_cross_in_either_framing_and_a_connection_ends_or_goes_on_as_was_asked() {
    let (_relay, door) = relay(&echo());
    // This client asks for the connection's end, and waits for it.
    let answer = http::request("PUT", &format!("{door}/a"), &[("X-Own", "1")], b"the very end").unwrap();
    assert_eq!((answer.status, answer.text()), (200, "first, ended".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"));
    let mut stream = http::connect(door.trim_start_matches("http://")).unwrap();
    for closes in [false, true] {
        let last = if closes { "Connection: close\r\n" } else { "" };
        let head = format!("PUT /a HTTP/1.1\r\nHost: a\r\nX-Own: 1\r\n{last}Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(format!("{head}4\r\nthe \r\n8\r\nvery end\r\n0\r\n\r\n").as_bytes()).unwrap();
        let (mut raw, mut buffer) = (Vec::new(), [0; 1024]);
        while !raw.ends_with(b"first, ended") {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "closed in the middle");
            raw.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(http::parse(&raw, false).unwrap().header("content-length"), Some("12"));
    }
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "the end that was asked for");
}

#[test]
fn a_relay_that_ends_leaves_no_door_open() {
    let (relay, door) = relay(&echo());
    drop(relay);
    assert!(http::request("GET", &door, &[], &[]).is_err());
}
