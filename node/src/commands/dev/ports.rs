//! Free ports on loopback: the documented ones, or the next free ones, and then it says so; or some that are nobody's.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, bail};

/// From one region to the next.
const STEP: u16 = 100;
/// The documented first port of the Elasticsearch API, and what lies below it.
const ES: u16 = 9200;
const API: u16 = 7280;
const LINK: u16 = 7443;

/// Where ports that are nobody's are looked for: below those that the kernel gives to every connection that begins (on Linux from 32768
/// on, elsewhere from 49152). Of these, one that is free until its node has started, or while it starts again, could be gone by then.
const QUIET: (u16, u16) = (10_000, 32_000);
/// So many of them belong together; whoever listens on the first has them all.
const BLOCK: u16 = 20;

/// The ports of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) es: u16,
    pub(super) api: u16,
    pub(super) link: u16,
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Udp,
}

/// The ports of all regions.
pub(super) struct Chosen {
    pub(super) ports: Vec<Ports>,
    /// While this lives, nobody else who asks for any free ports is given these.
    pub(super) mark: Option<TcpListener>,
}

/// Ports for a number of regions from a base on; base 0 takes any that are nobody's.
pub(super) fn choose(base: u16, regions: usize) -> anyhow::Result<Chosen> {
    if base == 0 {
        let (first, last) = QUIET;
        let (blocks, start) = (u32::from((last - first) / BLOCK), std::process::id());
        let mut starts = (0..blocks).filter_map(|n| u16::try_from((start % blocks + n) % blocks).ok());
        return starts
            .find_map(|block| of_one_block(first + block * BLOCK, regions))
            .with_context(|| format!("no {} free ports together from {first} to {last}", 3 * regions));
    }
    if !(3_000..=65_000).contains(&base) {
        bail!("`--base-port {base}` leaves no room; choose one from 3000 to 65000, or 0 for any free ports");
    }
    let mut taken = BTreeSet::new();
    let mut next = 0_u16;
    let mut ports = Vec::new();
    for _ in 0..regions {
        let offset = |port: u16| port.wrapping_sub(ES).wrapping_add(base).wrapping_add(next);
        let es = find("Elasticsearch API", Kind::Tcp, offset(ES), &mut taken)?;
        let api = find("native API", Kind::Tcp, offset(API), &mut taken)?;
        let link = find("link", Kind::Udp, offset(LINK), &mut taken)?;
        ports.push(Ports { es, api, link });
        next += STEP;
    }
    Ok(Chosen { ports, mark: None })
}

/// Ports out of a block that nobody has yet.
fn of_one_block(start: u16, regions: usize) -> Option<Chosen> {
    let mark = TcpListener::bind((Ipv4Addr::LOCALHOST, start)).ok()?;
    let mut left = start + 1..start + BLOCK;
    let mut next = |kind| left.find(|port| is_free(kind, *port));
    let ports: Option<Vec<Ports>> = (0..regions)
        .map(|_| Some(Ports { es: next(Kind::Tcp)?, api: next(Kind::Tcp)?, link: next(Kind::Udp)? }))
        .collect();
    Some(Chosen { ports: ports?, mark: Some(mark) })
}

fn find(what: &str, kind: Kind, wanted: u16, taken: &mut BTreeSet<u16>) -> anyhow::Result<u16> {
    let near = (wanted..=u16::MAX).take(usize::from(STEP));
    let Some(free) = near.into_iter().find(|port| !taken.contains(port) && is_free(kind, *port)) else {
        bail!("no free port for the {what} from {wanted} on; choose another `--base-port`");
    };
    if free != wanted {
        eprintln!("port {wanted} ({what}) is taken; using {free}");
    }
    taken.insert(free);
    Ok(free)
}

fn is_free(kind: Kind, port: u16) -> bool {
    let addr = (Ipv4Addr::LOCALHOST, port);
    match kind {
        Kind::Tcp => TcpListener::bind(addr).is_ok(),
        Kind::Udp => UdpSocket::bind(addr).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_stepped_over() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let mut taken = BTreeSet::new();
        let found = find("test", Kind::Tcp, port, &mut taken).expect("another");
        assert_ne!(found, port);
        assert!(taken.contains(&found));
    }

    #[test]
    fn no_port_is_given_twice() {
        let all_of = |chosen: &Chosen| -> BTreeSet<u16> {
            chosen.ports.iter().flat_map(|ports| [ports.es, ports.api, ports.link]).collect()
        };
        // Nobody listens on any of them yet.
        let (one, other) = (choose(0, 3).expect("ports"), choose(0, 3).expect("others"));
        let (one, other) = (all_of(&one), all_of(&other));
        assert_eq!((one.len(), other.len()), (9, 9));
        assert!(one.is_disjoint(&other));
        assert!(choose(0, 7).is_err(), "more than a block holds");
        assert!(choose(80, 3).is_err() && choose(65_500, 3).is_err());
    }

    #[test]
    fn the_kernel_gives_none_of_them_to_a_connection() {
        let chosen = choose(0, 3).expect("ports");
        let given =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_else(|_| "32768".to_owned());
        let first: u16 = given.split_whitespace().next().expect("where they begin").parse().expect("a port");
        // A machine may have been told to give more.
        assert!(first < QUIET.1 || chosen.ports.iter().all(|ports| ports.es.max(ports.api).max(ports.link) < first));
    }
}
