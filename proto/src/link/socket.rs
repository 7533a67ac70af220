//! The socket under all links, and how QUIC and TLS are set up on it.
//!
//! Who may connect is decided in [`super::trust`], what is done with a connection in [`super::endpoint`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, Runtime,
    TransportConfig, VarInt,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;

use super::endpoint::LinkConfig;
use super::errors::LinkError;
use super::keylog::KeyLogFile;
use super::limits::LinkLimits;
use super::protocol::Protocol;
use super::rotation::Rotating;
use super::trust::{AnyNode, Trust};

/// What an endpoint stands on.
pub(super) struct Ground {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Where the library's own dice begin; `None` outside of simulations.
    pub(super) seed: Option<[u8; 32]>,
}

impl Ground {
    /// A UDP socket of the machine.
    pub(super) fn of_the_machine(listen: SocketAddr) -> io::Result<Self> {
        let runtime = runtime()?;
        Ok(Self { socket: runtime.wrap_udp_socket(UdpSocket::bind(listen)?)?, runtime, seed: None })
    }
}

/// Tokio, and its clock.
pub(super) fn runtime() -> io::Result<Arc<dyn Runtime>> {
    quinn::default_runtime().ok_or_else(|| io::Error::other("there is no Tokio runtime"))
}

/// Opens the endpoint. Stateless resets are keyed by the node's key file, so that a node that was killed and is back tells
/// its peers at once that their old connections are gone (RFC 9000, section 10.3).
pub(super) fn open(server: quinn::ServerConfig, config: &LinkConfig, ground: Ground) -> io::Result<Endpoint> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &std::fs::read(&config.identity.key)?);
    let reset = hmac::sign(&secret, b"domicile link stateless reset 1");
    let mut endpoint = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    endpoint.cid_generator(|| Box::new(RandomIds)).rng_seed(ground.seed);
    Endpoint::new_with_abstract_socket(endpoint, Some(server), ground.socket, ground.runtime)
}

/// Connection ids that any start of the node recognises as possibly its own; the library's own carry a mark of one start,
/// and packets for an earlier one would go unanswered.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        // A machine without random numbers has made no TLS key either, and there is no connection to name.
        let _ = SystemRandom::new().fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// How this node welcomes peers.
pub(super) fn server_config(
    provider: &Arc<CryptoProvider>,
    identity: &Arc<Rotating>,
    trust: &Arc<ArcSwap<Trust>>,
    key_log: Option<&Arc<KeyLogFile>>,
    limits: &LinkLimits,
) -> Result<quinn::ServerConfig, LinkError> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| LinkError::Tls { source })?
        .with_client_cert_verifier(Arc::new(AnyNode(Arc::clone(trust))))
        .with_cert_resolver(Arc::clone(identity) as _);
    tls.alpn_protocols = Protocol::ALL.map(|protocol| protocol.alpn().as_bytes().to_vec()).to_vec();
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    if let Some(key_log) = key_log {
        tls.key_log = Arc::clone(key_log) as _;
    }
    let quic = QuicServerConfig::try_from(tls).map_err(|_| no_initial_suite())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(Arc::new(transport(limits, limits.streams)));
    Ok(config)
}

/// Windows, time-outs and streams of a connection; the peer may have so many `streams` open.
pub(super) fn transport(limits: &LinkLimits, streams: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(limits.idle).unwrap_or_else(|_| VarInt::MAX.into());
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits.keep_alive))
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(limits.stream_window.into())
        .receive_window(limits.window.into())
        .send_window(limits.window.into());
    transport
}

/// The provider lacks what QUIC begins with.
pub(super) fn no_initial_suite() -> LinkError {
    LinkError::Tls { source: rustls::Error::General("the provider has no suite for QUIC".to_owned()) }
}
