//! A tap on the link: a UDP relay in front of each region that writes every datagram it passes on into a capture file, as
//! the two ends saw it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

/// A capture in the classic pcap format, of raw IPv4 packets.
pub struct Capture(Mutex<Open>);

/// Largest capture, in bytes: what the independent program still opens within a minute.
const MOST_BYTES: u64 = 64 << 20;

struct Open {
    file: BufWriter<File>,
    packets: u64,
    bytes: u64,
    left_out: u64,
}

impl Capture {
    /// Begins a capture file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Arc<Self>> {
        let mut file = BufWriter::new(File::create(path)?);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(Arc::new(Self(Mutex::new(Open { file, packets: 0, bytes: 24, left_out: 0 }))))
    }

    /// Everything seen so far is in the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> Result<()> {
        Ok(self.0.lock().unwrap().file.flush()?)
    }

    /// Writes a datagram down as an IPv4 packet, the next of the file.
    ///
    /// # Panics
    /// When it is longer than a datagram can be.
    pub fn record(&self, from: SocketAddrV4, to: SocketAddrV4, datagram: &[u8]) {
        let udp = u16::try_from(8 + datagram.len()).expect("a datagram fits");
        let mut packet = Vec::with_capacity(28 + datagram.len());
        packet.extend_from_slice(&[0x45, 0]);
        packet.extend_from_slice(&(udp + 20).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend_from_slice(&from.ip().octets());
        packet.extend_from_slice(&to.ip().octets());
        packet.extend_from_slice(&from.port().to_be_bytes());
        packet.extend_from_slice(&to.port().to_be_bytes());
        packet.extend_from_slice(&udp.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(datagram);
        self.record_packet(&packet);
    }

    /// Writes a whole IPv4 packet down, the next of the file; beyond [`MOST_BYTES`] only its absence, see [`Self::left_out`].
    pub fn record_packet(&self, packet: &[u8]) {
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let mut open = self.0.lock().unwrap();
        if open.bytes + u64::from(length) > MOST_BYTES {
            open.left_out += 1;
            return;
        }
        let number = open.packets;
        open.packets += 1;
        open.bytes += 16 + u64::from(length);
        // Seconds, microseconds, captured and real length. Only the order matters here.
        for word in [u32::try_from(number / 1_000_000).unwrap_or(0), (number % 1_000_000) as u32, length, length] {
            let _ = open.file.write_all(&word.to_le_bytes());
        }
        let _ = open.file.write_all(packet);
    }

    /// Packets that are not in the file because it was full.
    ///
    /// # Panics
    /// When a writer panicked.
    pub fn left_out(&self) -> u64 {
        self.0.lock().unwrap().left_out
    }
}

/// A relay in front of one address; ends when dropped.
pub struct Relay {
    /// Where others send to instead.
    pub address: SocketAddrV4,
    stop: Arc<AtomicBool>,
    blocked: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

const TICK: Duration = Duration::from_millis(20);

impl Relay {
    /// Passes everything between whoever sends here and `target`, and records it.
    ///
    /// # Errors
    /// When no socket is to be had.
    pub fn start(target: SocketAddrV4, capture: Option<Arc<Capture>>) -> Result<Self> {
        let door = UdpSocket::bind("127.0.0.1:0")?;
        door.set_read_timeout(Some(TICK))?;
        let SocketAddr::V4(address) = door.local_addr()? else { anyhow::bail!("an IPv4 socket") };
        let (stop, blocked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (stop, blocked) = (Arc::clone(&stop), Arc::clone(&blocked));
            std::thread::spawn(move || pump(&door, address, target, capture.as_ref(), &stop, &blocked))
        };
        Ok(Self { address, stop, blocked, thread: Some(thread) })
    }

    /// Drops everything from now on, or no longer.
    pub fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One thread takes what comes to the door; for each sender another takes what the target sends back.
fn pump(
    door: &UdpSocket,
    address: SocketAddrV4,
    target: SocketAddrV4,
    capture: Option<&Arc<Capture>>,
    stop: &Arc<AtomicBool>,
    blocked: &Arc<AtomicBool>,
) {
    let mut upstream: HashMap<SocketAddrV4, UdpSocket> = HashMap::new();
    let mut threads = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::SeqCst) {
        let Ok((length, SocketAddr::V4(from))) = door.recv_from(&mut buffer) else { continue };
        if blocked.load(Ordering::SeqCst) {
            continue;
        }
        if let Some(capture) = capture {
            capture.record(from, address, &buffer[..length]);
        }
        let socket = upstream.entry(from).or_insert_with(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.connect(target).expect("a loopback address");
            socket.set_read_timeout(Some(TICK)).expect("a time limit");
            let back = socket.try_clone().expect("a second handle");
            let door = door.try_clone().expect("a second handle");
            let (stop, blocked, capture) = (Arc::clone(stop), Arc::clone(blocked), capture.cloned());
            threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Ordering::SeqCst) {
                    let Ok(length) = back.recv(&mut buffer) else {
                        // A refused datagram comes back at once: do not spin on it.
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    if blocked.load(Ordering::SeqCst) {
                        continue;
                    }
                    if let Some(capture) = &capture {
                        capture.record(address, from, &buffer[..length]);
                    }
                    let _ = door.send_to(&buffer[..length], from);
                }
            }));
            socket
        });
        let _ = socket.send(&buffer[..length]);
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_pass_both_ways_are_captured_and_can_be_blocked() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let SocketAddr::V4(target) = server.local_addr().unwrap() else { panic!("an IPv4 socket") };
        let directory = tempfile::tempdir().unwrap();
        let capture = Capture::create(&directory.path().join("c.pcap")).unwrap();
        let relay = Relay::start(target, Some(Arc::clone(&capture))).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect(relay.address).unwrap();
        let mut buffer = [0; 16];
        client.send(b"question").unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        server.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
        relay.block(true);
        client.send(b"lost").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(server.recv_from(&mut buffer).is_err());
        capture.flush().unwrap();
        let bytes = std::fs::read(directory.path().join("c.pcap")).unwrap();
        let holds = |piece: &[u8]| bytes.windows(piece.len()).any(|window| window == piece);
        assert!(holds(b"question") && holds(b"answer") && !holds(b"lost"));
    }
}
