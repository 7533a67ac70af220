//! Ports of this process on loopback, for nodes that a test starts, stops and starts again.
//!
//! `dev --base-port 0` takes them in the same way: whoever listens on the first port of a block has the block, and all lie below
//! those that the kernel gives to connections, or one would be gone while its node is stopped.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Where blocks are looked for, and how many ports one has.
const QUIET: (u16, u16) = (10_000, 32_000);
const BLOCK: u16 = 20;

/// The block that is used up just now, and what has been given; the sockets are held as long as this process lives.
static HELD: Mutex<Vec<(TcpListener, Vec<u16>)>> = Mutex::new(Vec::new());

/// A port that nobody has, for TCP and for UDP; given once.
///
/// # Errors
/// When none is left.
pub fn one() -> Result<u16> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(port) = held.last_mut().and_then(|(_, left)| left.pop()) {
            return Ok(port);
        }
        held.push(block()?);
    }
}

/// Takes over the block of a port whose `dev` has ended while its nodes go on.
///
/// # Errors
/// When somebody else has it already.
pub fn keep(port: u16) -> Result<()> {
    let from = port.checked_sub(QUIET.0).with_context(|| format!("{port} is of no block"))?;
    let mark = QUIET.0 + from / BLOCK * BLOCK;
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, mark)).with_context(|| format!("the ports from {mark} on"))?;
    HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(0, (socket, Vec::new()));
    Ok(())
}

fn block() -> Result<(TcpListener, Vec<u16>)> {
    let (first, last) = QUIET;
    let (blocks, start) = (u32::from((last - first) / BLOCK), std::process::id());
    let starts = (0..blocks).filter_map(|n| u16::try_from((start % blocks + n) % blocks).ok());
    let mut marks = starts.filter_map(|block| {
        let mark = first + block * BLOCK;
        Some((TcpListener::bind((Ipv4Addr::LOCALHOST, mark)).ok()?, mark))
    });
    let (socket, mark) = marks.next().context("every block of ports is taken")?;
    let is_free = |port: &u16| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    Ok((socket, (mark + 1..mark + BLOCK).filter(is_free).collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_of_a_node_that_is_stopped_is_given_to_nobody_else() {
        // More than one block, and nobody listens on any of them.
        let given: BTreeSet<u16> = (0..2 * BLOCK).map(|_| one().unwrap()).collect();
        assert_eq!(given.len(), usize::from(2 * BLOCK));
        let own = HELD.lock().unwrap().iter().map(|(mark, _)| mark.local_addr().unwrap().port()).collect::<Vec<_>>();
        let (socket, left) = block().unwrap();
        let mark = socket.local_addr().unwrap().port();
        assert!(!own.contains(&mark) && left.iter().all(|port| !given.contains(port)), "{own:?} {mark}");
        // Whoever keeps a block that another one has is told so.
        assert!(keep(mark + 1).is_err());
        drop(socket);
        keep(mark + 1).unwrap();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, mark)).is_err());
    }
}
