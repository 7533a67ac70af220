//! A relay in front of the S3 server: adds time to every read, and counts requests and what they brought.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

/// In the names of all copies.
const SEGMENTS: &[u8] = b"/segments/";

/// Counted since the beginning.
#[derive(Default)]
struct Seen {
    delay_ms: AtomicU64,
    gets: AtomicU64,
    of_segments: AtomicU64,
    bytes: AtomicU64,
}

/// The relay. Its threads end with the connections, the listening one with the process.
pub(crate) struct Slow {
    endpoint: String,
    seen: Arc<Seen>,
}

impl Slow {
    /// In front of `to`, an address of the form `http://host:port`; without delay at first.
    pub(crate) fn before(to: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let seen: Arc<Seen> = Arc::default();
        let (to, counted) = (to.trim_start_matches("http://").to_owned(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { continue };
                // Without this the kernel's waiting for more is measured, and not the product.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(back), Ok(answers)) = (client.try_clone(), server.try_clone()) else { continue };
                let (asked, told) = (Arc::clone(&counted), Arc::clone(&counted));
                std::thread::spawn(move || pass(client, server, |bytes| ask(&asked, bytes)));
                std::thread::spawn(move || {
                    pass(answers, back, |bytes| {
                        told.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    });
                });
            }
        });
        Ok(Self { endpoint, seen })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Adds so much to every read from now on.
    pub(crate) fn delay(&self, ms: u64) {
        self.seen.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Those of the reads that were of copies of segments.
    pub(crate) fn read_of_segments(&self) -> u64 {
        self.seen.of_segments.load(Ordering::Relaxed)
    }

    /// Reads of an object or a range, and bytes that came back for whatever was asked.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.seen.gets.load(Ordering::Relaxed), self.seen.bytes.load(Ordering::Relaxed))
    }
}

fn ask(seen: &Seen, bytes: &[u8]) {
    if bytes.starts_with(b"GET ") {
        seen.gets.fetch_add(1, Ordering::Relaxed);
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        // A listing is no read of an object: what it asks for stands behind a question mark.
        let path = line.split(|byte| *byte == b'?').next().unwrap_or_default();
        if path.windows(SEGMENTS.len()).any(|at| at == SEGMENTS) {
            seen.of_segments.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(seen.delay_ms.load(Ordering::Relaxed)));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
