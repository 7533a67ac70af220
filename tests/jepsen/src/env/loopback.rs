//! Without root: a UDP relay on loopback for each ordered pair of regions. A node dials the relay, and what comes back on that
//! connection takes the weather of the other direction.

use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use domicile_tests::cluster::relay::Capture;

use super::weather::Weather;
use super::{Net, Place, Wiring};

/// How often a thread that hears nothing looks whether it should end.
const TICK: Duration = Duration::from_millis(50);

/// Relays on loopback; they end with this value.
pub struct LoopbackNet {
    weather: Arc<Weather>,
    stop: Arc<AtomicBool>,
    parcels: Option<Sender<Parcel>>,
    tap: Option<Arc<Capture>>,
    threads: Vec<JoinHandle<()>>,
}

impl LoopbackNet {
    /// A network without relays yet.
    pub fn new(seed: u64) -> Self {
        let (parcels, waiting) = channel();
        let threads = vec![std::thread::spawn(move || deliver(&waiting))];
        let (weather, stop) = (Arc::new(Weather::fair(seed)), Arc::default());
        Self { weather, stop, parcels: Some(parcels), tap: None, threads }
    }

    fn relay(&mut self, from: usize, to: usize, target: SocketAddr) -> Result<SocketAddr> {
        let door = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
        door.set_read_timeout(Some(TICK))?;
        let address = door.local_addr()?;
        let post = Post {
            weather: Arc::clone(&self.weather),
            parcels: self.parcels.clone().expect("a running network"),
            stop: Arc::clone(&self.stop),
            tap: self.tap.clone(),
        };
        self.threads.push(std::thread::spawn(move || forward(&door, from, to, target, &post)));
        Ok(address)
    }
}

impl Net for LoopbackNet {
    fn name(&self) -> &'static str {
        "loopback relays"
    }

    fn wire(&mut self, at: usize, places: &[Place]) -> Result<Wiring> {
        let (here, mut wiring) = (places[at], Wiring::default());
        for other in places.iter().filter(|other| other.region != here.region) {
            wiring.via.insert(other.node.to_string(), self.relay(here.region, other.region, other.link)?);
        }
        Ok(wiring)
    }

    fn listen(&self, _: usize) -> Result<TcpListener> {
        Ok(TcpListener::bind("127.0.0.1:0")?)
    }

    fn tap(&mut self, capture: Arc<Capture>) {
        self.tap = Some(capture);
    }

    fn weather(&self) -> &Arc<Weather> {
        &self.weather
    }
}

impl Drop for LoopbackNet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.parcels = None;
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

#[derive(Clone)]
struct Post {
    weather: Arc<Weather>,
    parcels: Sender<Parcel>,
    stop: Arc<AtomicBool>,
    tap: Option<Arc<Capture>>,
}

impl Post {
    /// Writes a datagram down, if somebody listens.
    fn record(&self, from: Option<SocketAddr>, to: Option<SocketAddr>, bytes: &[u8]) {
        if let (Some(capture), Some(SocketAddr::V4(from)), Some(SocketAddr::V4(to))) = (&self.tap, from, to) {
            capture.record(from, to, bytes);
        }
    }

    fn send(&self, from: usize, to: usize, by: &Arc<UdpSocket>, address: Option<SocketAddr>, bytes: &[u8]) {
        for late in self.weather.fate(from, to) {
            if late.is_zero() {
                dispatch(by, address, bytes);
            } else {
                let due = Instant::now() + late;
                let _ = self.parcels.send(Parcel { due, by: Arc::clone(by), address, bytes: bytes.to_vec() });
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn dispatch(by: &UdpSocket, address: Option<SocketAddr>, bytes: &[u8]) {
    // A datagram that cannot be sent is a datagram lost.
    let _ = address.map_or_else(|| by.send(bytes), |address| by.send_to(bytes, address));
}

/// What comes to the door goes to the target; for each sender a socket of its own takes what comes back.
fn forward(door: &Arc<UdpSocket>, from: usize, to: usize, target: SocketAddr, post: &Post) {
    let mut upstream: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut threads = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !post.is_over() {
        let Ok((length, sender)) = door.recv_from(&mut buffer) else { continue };
        let socket = upstream.entry(sender).or_insert_with(|| {
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
            socket.connect(target).expect("a loopback address");
            socket.set_read_timeout(Some(TICK)).expect("a time limit");
            let (back, door, post) = (Arc::clone(&socket), Arc::clone(door), post.clone());
            threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !post.is_over() {
                    match back.recv(&mut buffer) {
                        Ok(length) => {
                            post.record(door.local_addr().ok(), Some(sender), &buffer[..length]);
                            post.send(to, from, &door, Some(sender), &buffer[..length]);
                        }
                        // A refused datagram comes back at once: do not spin on it.
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            }));
            socket
        });
        post.record(Some(sender), door.local_addr().ok(), &buffer[..length]);
        post.send(from, to, socket, None, &buffer[..length]);
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// A datagram that is late.
struct Parcel {
    due: Instant,
    by: Arc<UdpSocket>,
    address: Option<SocketAddr>,
    bytes: Vec<u8>,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Parcel {}
impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

/// Sends what is late when it is due.
fn deliver(waiting: &Receiver<Parcel>) {
    let mut late: BinaryHeap<Parcel> = BinaryHeap::new();
    loop {
        let patience = late.peek().map_or(TICK, |next| next.due.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(patience) {
            Ok(parcel) => late.push(parcel),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while late.peek().is_some_and(|next| next.due <= Instant::now()) {
            if let Some(parcel) = late.pop() {
                dispatch(&parcel.by, parcel.address, &parcel.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_is_cut_and_delayed_by_itself() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let other: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut net = LoopbackNet::new(1);
        let place = |(region, link)| Place { region, node: region as u64 + 1, link };
        let places = [other, server.local_addr().unwrap(), other];
        let places: Vec<Place> = (0..).zip(places).map(place).collect();
        let wiring = net.wire(0, &places).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.connect(wiring.via["2"]).unwrap();
        let mut buffer = [0; 16];
        client.send(b"there").unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        net.weather().set(1, 0, |way| way.is_cut = true);
        server.send_to(b"back", from).unwrap();
        assert!(client.recv(&mut buffer).is_err(), "the way back is cut");
        client.send(b"there").unwrap();
        assert!(server.recv_from(&mut buffer).is_ok(), "and the way there is not");
        net.weather().set_all(super::super::weather::Way { delay_ms: 80, ..Default::default() });
        let begun = Instant::now();
        client.send(b"there").unwrap();
        server.recv_from(&mut buffer).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(80));
    }
}
