//! As root: a network namespace for each region, and one between them that is the world. What a region sends abroad is led
//! through a TUN device to an emulator of our own, which delays, loses, doubles or swallows it, and hands it on.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::relay::Capture;

use super::weather::{REGIONS, Weather};
use super::{Net, Place, Wiring};
use crate::kernel;

/// What the names of namespaces and devices begin with, so that they are found again.
const PREFIX: &str = "dmcj";
/// Port of every link.
const LINK: u16 = 7443;
/// How many networks a process may have at a time.
pub const NETWORKS: usize = 2;

/// Where to write down what leaves a region, if anywhere.
type Tap = Arc<Mutex<Option<Arc<Capture>>>>;

/// Namespaces; they end with this value.
pub struct NetnsNet {
    weather: Arc<Weather>,
    tap: Tap,
    number: u32,
    slot: Slot,
    threads: Vec<JoinHandle<()>>,
}

/// Which of the networks of this process it is.
struct Slot(u32);

/// Those that are in use.
static SLOTS: Mutex<[bool; NETWORKS]> = Mutex::new([false; NETWORKS]);

impl Slot {
    /// The first that is free.
    fn take() -> Result<Self> {
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (0..).zip(slots.iter_mut()).find(|(_, is_taken)| !**is_taken);
        let (number, is_taken) = free.with_context(|| format!("this process has {NETWORKS} networks already"))?;
        *is_taken = true;
        Ok(Self(number))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner)[self.0 as usize] = false;
    }
}

impl NetnsNet {
    /// Makes the namespaces and starts the emulator.
    ///
    /// # Errors
    /// When the machine does not allow it.
    pub fn new(seed: u64) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        sweep();
        let mut net = Self {
            weather: Arc::new(Weather::fair(seed)),
            tap: Tap::default(),
            number: std::process::id(),
            slot: Slot::take()?,
            threads: Vec::new(),
        };
        net.build()?;
        let (ready, told) = channel();
        let (parcels, waiting) = channel();
        let (world, weather, tap) = (net.namespace("w"), Arc::clone(&net.weather), Arc::clone(&net.tap));
        net.threads.push(std::thread::spawn(move || {
            let opened = kernel::tun_in(&world, "tun0").and_then(|tun| Ok((tun.try_clone()?, tun)));
            match opened {
                Ok((reading, writing)) => {
                    let _ = ready.send(Ok(writing));
                    lead(reading, &weather, &tap, &parcels);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        }));
        let tun = told.recv().context("the emulator")??;
        net.threads.push(std::thread::spawn(move || deliver(tun, &waiting)));
        net.lead_through_tun()?;
        Ok(net)
    }

    fn namespace(&self, part: &str) -> String {
        format!("{PREFIX}{}-{}{part}", self.number, self.slot.0)
    }

    /// Our end of the way to a region.
    fn ours(&self, region: usize) -> String {
        format!("{PREFIX}{}{}{region}", self.number % 100_000, self.slot.0)
    }

    /// Two ranges of addresses, this one and the next: between regions and the world, and between regions and us.
    fn octet(&self) -> u32 {
        let each = 2 * NETWORKS as u32;
        64 + self.number % (128 / each) * each + 2 * self.slot.0
    }

    fn build(&self) -> Result<()> {
        let (octet, world) = (self.octet(), self.namespace("w"));
        ip(&format!("netns add {world}"))?;
        ip_in(&world, "link set lo up")?;
        for region in 1..=REGIONS {
            let home = self.namespace(&region.to_string());
            let ours = self.ours(region);
            ip(&format!("netns add {home}"))?;
            ip_in(&home, "link set lo up")?;
            ip(&format!("link add wan netns {home} type veth peer name w{region} netns {world}"))?;
            ip(&format!("link add ctl netns {home} type veth peer name {ours}"))?;
            ip_in(&home, &format!("addr add 10.{octet}.{region}.2/24 dev wan"))?;
            ip_in(&world, &format!("addr add 10.{octet}.{region}.1/24 dev w{region}"))?;
            ip_in(&home, &format!("addr add 10.{}.{region}.2/24 dev ctl", octet + 1))?;
            ip(&format!("addr add 10.{}.{region}.1/24 dev {ours}", octet + 1))?;
            for (namespace, device) in [(&home, "wan"), (&home, "ctl")] {
                ip_in(namespace, &format!("link set {device} up"))?;
            }
            ip_in(&world, &format!("link set w{region} up"))?;
            ip(&format!("link set {ours} up"))?;
            ip_in(&home, &format!("route add 10.{octet}.0.0/16 via 10.{octet}.{region}.1"))?;
        }
        Ok(())
    }

    fn lead_through_tun(&self) -> Result<()> {
        let world = self.namespace("w");
        ip_in(&world, "link set tun0 up")?;
        ip_in(&world, "route add default dev tun0 table 100")?;
        for region in 1..=REGIONS {
            ip_in(&world, &format!("rule add iif w{region} lookup 100"))?;
        }
        let settings = "echo 1 > /proc/sys/net/ipv4/ip_forward; \
                        for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done; \
                        for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 > $f; done";
        let [enter, net] = inside(&world);
        let done = Command::new(enter).args([net.as_str(), "sh", "-c", settings]).status()?;
        ensure!(done.success(), "forwarding in {world}");
        Ok(())
    }
}

impl Net for NetnsNet {
    fn name(&self) -> &'static str {
        "network namespaces"
    }

    fn wire(&mut self, at: usize, places: &[Place]) -> Result<Wiring> {
        let octet = self.octet();
        // Nodes of one region share its namespace and differ in their ports.
        let link = |place: &Place| {
            let is_first = !places.iter().any(|other| other.region == place.region && other.node < place.node);
            let port = if is_first { LINK } else { LINK + u16::try_from(place.node).unwrap_or_default() };
            format!("10.{octet}.{}.2:{port}", place.region + 1).parse::<SocketAddr>()
        };
        let here = places[at];
        let mut wiring = Wiring { link: Some(link(&here)?), ..Wiring::default() };
        for other in places.iter().filter(|other| **other != here) {
            wiring.via.insert(other.node.to_string(), link(other)?);
        }
        wiring.doors = Some(format!("10.{}.{}.2", octet + 1, here.region + 1));
        let home = self.namespace(&(here.region + 1).to_string());
        wiring.prefix = inside(&home).into();
        Ok(wiring)
    }

    fn listen(&self, region: usize) -> Result<TcpListener> {
        kernel::listen_in(self.namespace(&(region + 1).to_string()))
    }

    fn tap(&mut self, capture: Arc<Capture>) {
        *self.tap.lock().unwrap_or_else(PoisonError::into_inner) = Some(capture);
    }

    fn weather(&self) -> &Arc<Weather> {
        &self.weather
    }
}

impl Drop for NetnsNet {
    fn drop(&mut self) {
        // Without the device the emulator's reading ends, and with it the emulator.
        let _ = ip_in(&self.namespace("w"), "link del tun0");
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        // With a namespace its devices go in the kernel's own time, and the next network may have these names.
        for region in 1..=REGIONS {
            let _ = ip(&format!("link del {}", self.ours(region)));
        }
        for part in ["w", "1", "2", "3"] {
            let _ = ip(&format!("netns del {}", self.namespace(part)));
        }
    }
}

/// What runs a command in a namespace. Neither `ip netns exec` nor `ip -n`: those copy the mount table too, and a disk that lost power
/// stays mounted in the copies.
fn inside(namespace: &str) -> [String; 2] {
    ["nsenter".to_owned(), format!("--net=/run/netns/{namespace}")]
}

/// Removes what a run left behind whose process is gone.
fn sweep() {
    for entry in std::fs::read_dir("/var/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).map(str::to_owned);
        if process.is_some_and(|process| std::fs::metadata(format!("/proc/{process}")).is_err()) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(line: &str) -> Result<()> {
    done(Command::new("ip").args(line.split(' ')), line)
}

fn ip_in(namespace: &str, line: &str) -> Result<()> {
    let [enter, net] = inside(namespace);
    done(Command::new(enter).args([net.as_str(), "ip"]).args(line.split(' ')), line)
}

fn done(command: &mut Command, line: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("`ip`")?;
    ensure!(output.status.success(), "`ip {line}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A packet that is on its way.
struct Parcel {
    due: Instant,
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

/// Takes every packet between two regions and decides when, if ever, it arrives.
fn lead(mut tun: File, weather: &Weather, tap: &Tap, parcels: &Sender<Parcel>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length) = tun.read(&mut buffer) {
        let packet = &buffer[..length];
        // IPv4; the third octet of an address is the region.
        let (Some(0x40..=0x4f), true) = (packet.first().copied(), length >= 20) else { continue };
        let (from, to) = (usize::from(packet[14]), usize::from(packet[18]));
        if !(1..=REGIONS).contains(&from) || !(1..=REGIONS).contains(&to) {
            continue;
        }
        if let Some(capture) = &*tap.lock().unwrap_or_else(PoisonError::into_inner) {
            capture.record_packet(packet);
        }
        for late in weather.fate(from - 1, to - 1) {
            let parcel = Parcel { due: Instant::now() + late, bytes: packet.to_vec() };
            if parcels.send(parcel).is_err() {
                return;
            }
        }
    }
}

/// Hands packets on when they are due.
fn deliver(mut tun: File, waiting: &Receiver<Parcel>) {
    let mut late: BinaryHeap<Parcel> = BinaryHeap::new();
    loop {
        let patience =
            late.peek().map_or(Duration::from_secs(1), |next| next.due.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(patience) {
            Ok(parcel) => late.push(parcel),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while late.peek().is_some_and(|next| next.due <= Instant::now()) {
            if let Some(parcel) = late.pop() {
                // A packet that cannot be handed on is a packet lost.
                let _ = tun.write(&parcel.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_between_namespaces_take_the_weather() {
        let net = match NetnsNet::new(1) {
            Ok(net) => net,
            Err(error) if domicile_tests::cluster::require::everything_is_required() => panic!("{error:#}"),
            Err(error) => {
                eprintln!("SKIPPED: network namespaces: {error:#}");
                return;
            }
        };
        let passes = |from: u32, to: u32| {
            let home = net.namespace(&from.to_string());
            let target = format!("10.{}.{to}.2", net.octet());
            let listening = Command::new("ip")
                .args(["netns", "exec", &home, "bash", "-c"])
                .arg(format!("exec 3<>/dev/tcp/{target}/1 2>&1; true"))
                .output()
                .unwrap();
            // Nobody listens: an answer that says so has been there and back.
            String::from_utf8_lossy(&listening.stderr).contains("refused")
        };
        assert!(passes(1, 2), "a packet goes there and its answer comes back");
        assert!(net.weather().arrived() >= 2, "through the emulator");
        let before = net.weather().arrived();
        net.weather().set(0, 2, |way| way.delay_ms = 120);
        let begun = Instant::now();
        assert!(passes(1, 3) && begun.elapsed() >= Duration::from_millis(120));
        assert!(net.weather().arrived() > before);
    }
}
