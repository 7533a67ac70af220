//! The network the nodes live in: namespaces with a WAN emulator between them where the machine allows it, else relays on
//! loopback. Either way each direction between two regions can be delayed, thinned and cut by itself.

pub mod loopback;
pub mod netns;
pub mod weather;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use domicile_tests::cluster::relay::Capture;
use weather::Weather;

/// Where a node listens and what it dials instead of the others' own addresses.
#[derive(Clone, Debug, Default)]
pub struct Wiring {
    /// By node id.
    pub via: BTreeMap<String, SocketAddr>,
    /// Host on which the doors listen, if not loopback.
    pub doors: Option<String>,
    /// Where the link listens, if not where it did.
    pub link: Option<SocketAddr>,
    /// What is put in front of the node's command line.
    pub prefix: Vec<String>,
}

/// The best network this machine can have, or the one that is named; and what is missing for a better one.
///
/// # Errors
/// When the one that is named cannot be had.
pub fn network(name: &str, seed: u64) -> Result<(Box<dyn Net>, Option<String>)> {
    let loopback = || -> Box<dyn Net> { Box::new(loopback::LoopbackNet::new(seed)) };
    match name {
        "" => match netns::NetnsNet::new(seed) {
            Ok(net) => {
                let net: Box<dyn Net> = Box::new(net);
                Ok((net, None))
            }
            Err(error) => Ok((loopback(), Some(format!("network namespaces: {error:#}; relays on loopback instead")))),
        },
        "netns" => {
            let net: Box<dyn Net> = Box::new(netns::NetnsNet::new(seed)?);
            Ok((net, None))
        }
        "loopback" => Ok((loopback(), None)),
        _ => anyhow::bail!("no network `{name}`; there are netns, loopback"),
    }
}

/// A node that is to be wired in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The region it is in.
    pub region: usize,
    /// Its number.
    pub node: u64,
    /// Where its link listens by itself.
    pub link: SocketAddr,
}

/// A network between regions, numbered in the order of [`domicile_tests::cluster::REGIONS`].
pub trait Net: Send {
    /// What it is called in reports.
    fn name(&self) -> &'static str;
    /// How one of these nodes is wired into it.
    ///
    /// # Errors
    /// When the machine refuses.
    fn wire(&mut self, at: usize, places: &[Place]) -> Result<Wiring>;
    /// A socket on the loopback that the nodes of a region have.
    ///
    /// # Errors
    /// When the machine refuses.
    fn listen(&self, region: usize) -> Result<TcpListener>;
    /// Writes everything that leaves a region from now on into a capture.
    fn tap(&mut self, capture: Arc<Capture>);
    /// What holds between each two regions now.
    fn weather(&self) -> &Arc<Weather>;
}
