//! Free ports on loopback: the documented ones, or the next free ones, and then it says so.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::bail;

/// From one region to the next.
const STEP: u16 = 100;
/// The documented first port of the Elasticsearch API, and what lies below it.
const ES: u16 = 9200;
const API: u16 = 7280;
const LINK: u16 = 7443;

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

/// Ports for a number of regions from a base on; base 0 lets the kernel choose them all.
pub(super) fn choose(base: u16, regions: usize) -> anyhow::Result<Vec<Ports>> {
    if base != 0 && !(3_000..=65_000).contains(&base) {
        bail!("`--base-port {base}` leaves no room; choose one from 3000 to 65000, or 0 for any free ports");
    }
    let mut taken = BTreeSet::new();
    let mut next = 0_u16;
    let mut chosen = Vec::new();
    for _ in 0..regions {
        let offset =
            |port: u16| if base == 0 { 0 } else { port.wrapping_sub(ES).wrapping_add(base).wrapping_add(next) };
        let es = find("Elasticsearch API", Kind::Tcp, offset(ES), &mut taken)?;
        let api = find("native API", Kind::Tcp, offset(API), &mut taken)?;
        let link = find("link", Kind::Udp, offset(LINK), &mut taken)?;
        chosen.push(Ports { es, api, link });
        next += STEP;
    }
    Ok(chosen)
}

fn find(what: &str, kind: Kind, wanted: u16, taken: &mut BTreeSet<u16>) -> anyhow::Result<u16> {
    let mut port = wanted;
    for _ in 0..STEP {
        let free = free(kind, port).filter(|free| !taken.contains(free));
        if let Some(free) = free {
            if wanted != 0 && free != wanted {
                eprintln!("port {wanted} ({what}) is taken; using {free}");
            }
            taken.insert(free);
            return Ok(free);
        }
        if wanted != 0 {
            port = port.saturating_add(1);
        }
    }
    bail!("no free port for the {what} from {wanted} on; choose another `--base-port`")
}

/// The port, if nobody has it; asked for 0, one that the kernel chose.
fn free(kind: Kind, port: u16) -> Option<u16> {
    let addr = (Ipv4Addr::LOCALHOST, port);
    let bound = match kind {
        Kind::Tcp => TcpListener::bind(addr).and_then(|socket| socket.local_addr()),
        Kind::Udp => UdpSocket::bind(addr).and_then(|socket| socket.local_addr()),
    };
    bound.ok().map(|addr| addr.port())
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
        let chosen = choose(0, 3).expect("ports");
        let all: BTreeSet<u16> = chosen.iter().flat_map(|ports| [ports.es, ports.api, ports.link]).collect();
        assert_eq!(all.len(), 9);
        assert!(choose(80, 3).is_err() && choose(65_500, 3).is_err());
    }
}
