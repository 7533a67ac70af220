//! The node's end of all links: one socket, who is let in, who is dialled, and with which certificates.
//!
//! TLS 1.3 only, both sides with certificates, no resumption and no 0-RTT: every handshake checks the peer anew, and nothing
//! can be replayed (RFC 8446, section 8).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{Connection, Endpoint, Incoming, VarInt};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connection::{Line, Peer};
use super::crossing::{CrossingLedger, Standing};
use super::crypto;
use super::errors::LinkError;
use super::identity::{PeerAddr, PeerId};
use super::keylog::KeyLogFile;
use super::limits::LinkLimits;
use super::pool::{Found, Pool, Step, Turn};
use super::protocol::Protocol;
use super::rotation::{IdentityFiles, Rotating};
use super::socket::{self, Ground};
use super::trust::{OneNode, Trust};
use super::turnstile::Turnstiles;
use crate::ids::{Name, NodeId, Region};

/// What a link needs to know.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where to listen, UDP. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The deployment; the end of every trust domain.
    pub deployment: Name,
    /// This node's certificate and key.
    pub identity: IdentityFiles,
    /// The CA certificates of every region, this one's included.
    pub bundles: Vec<(Region, PathBuf)>,
    /// Where TLS keys are written for an auditor; `None` almost always.
    pub tls_keylog: Option<PathBuf>,
    /// Addresses that are dialled instead of the nodes' own, to put something between: an emulated network.
    pub via: BTreeMap<NodeId, SocketAddr>,
    /// Bounds.
    pub limits: LinkLimits,
}

/// A peer that has dialled this node. It begins, this node answers; to begin something oneself there is [`Link::peer`].
#[derive(Debug)]
pub struct Accepted {
    /// The peer; what it begins comes from [`Peer::next`].
    pub peer: Peer,
    /// What the connection speaks.
    pub protocol: Protocol,
    /// Where it came from.
    pub remote: SocketAddr,
}

/// The node's end of all links. Clones are the same link; it closes with the last one.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    accepted: Arc<AsyncMutex<mpsc::Receiver<Accepted>>>,
    _last: Arc<DropGuard>,
}

struct Shared {
    us: PeerId,
    config: LinkConfig,
    limits: Arc<LinkLimits>,
    local: SocketAddr,
    provider: Arc<CryptoProvider>,
    identity: Arc<Rotating>,
    trust: Arc<ArcSwap<Trust>>,
    key_log: Option<Arc<KeyLogFile>>,
    endpoint: Endpoint,
    ledger: Arc<dyn CrossingLedger>,
    turnstiles: Arc<Turnstiles>,
    pool: Pool,
    live: Mutex<Live>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Every connection of the moment, and the generation of certificates it was made under.
#[derive(Default)]
struct Live {
    generation: u64,
    connections: HashMap<usize, (Connection, PeerId, u64)>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} at {})", self.shared.us, self.shared.local)
    }
}

impl Link {
    /// Reads the certificates and opens the socket. Call it inside a Tokio runtime.
    ///
    /// # Errors
    /// [`LinkError`] names the file or setting that is wrong.
    pub fn bind(config: LinkConfig, ledger: Arc<dyn CrossingLedger>) -> Result<Self, LinkError> {
        Self::on(Ground::of_the_machine, config, ledger)
    }

    /// The one way to a link, whatever its endpoint stands on.
    pub(super) fn on(
        ground: impl FnOnce(SocketAddr) -> io::Result<Ground>,
        config: LinkConfig,
        ledger: Arc<dyn CrossingLedger>,
    ) -> Result<Self, LinkError> {
        let provider = crypto::provider();
        let certified = config.identity.read(&provider)?;
        let us = config.identity.identity(&certified, &config.deployment)?;
        let trust = Trust::read(&config.deployment, &config.bundles, &provider)?;
        if !trust.knows(&us.region) {
            return Err(LinkError::NoBundle { region: us.region });
        }
        trust.warn_unless_vouched(&certified);
        let key_log = config.tls_keylog.as_deref().map(KeyLogFile::open).transpose()?.map(Arc::new);
        let identity = Arc::new(Rotating::new(certified));
        let trust = Arc::new(ArcSwap::from_pointee(trust));
        let server = socket::server_config(&provider, &identity, &trust, key_log.as_ref(), &config.limits)?;
        let bind_error = |source| LinkError::Bind { addr: config.listen, source: Arc::new(source) };
        let endpoint = ground(config.listen).and_then(|ground| socket::open(server, &config, ground));
        let endpoint = endpoint.map_err(bind_error)?;
        let local = endpoint.local_addr().map_err(bind_error)?;
        let limits = Arc::new(config.limits.clone());
        let stop = CancellationToken::new();
        let (sender, accepted) = mpsc::channel(limits.waiting);
        let shared = Arc::new(Shared {
            us,
            local,
            provider,
            identity,
            trust,
            key_log,
            endpoint,
            ledger,
            turnstiles: Arc::new(Turnstiles::new(&limits)),
            pool: Pool::default(),
            live: Mutex::default(),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            connections: Arc::new(Semaphore::new(limits.connections)),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            limits,
            config,
        });
        shared.tasks.spawn(Arc::clone(&shared).listen(sender));
        Ok(Self { shared, accepted: Arc::new(AsyncMutex::new(accepted)), _last: Arc::new(stop.drop_guard()) })
    }

    /// Who this node is, by its certificate.
    pub fn identity(&self) -> &PeerId {
        &self.shared.us
    }

    /// Where the link listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Whether TLS keys are being written to a file.
    pub fn has_tls_keylog(&self) -> bool {
        self.shared.key_log.is_some()
    }

    /// The kept connection with a peer, or a new one. Callers share one dial. From a failed one on, whoever asks is told so at
    /// once, and attempts go on in the background until there is a connection again.
    ///
    /// # Errors
    /// [`LinkError::is_unreachable`] holds for all of them. A peer that refuses our certificate shows itself only on the
    /// first exchange.
    pub async fn peer(&self, to: &PeerAddr, protocol: Protocol) -> Result<Peer, LinkError> {
        if self.shared.stop.is_cancelled() {
            return Err(LinkError::Closed);
        }
        let limits = &self.shared.limits;
        let (found, turn) = self.shared.pool.find(to, protocol, limits);
        if let Some(turn) = turn {
            self.shared.tasks.spawn(Arc::clone(&self.shared).keep_dialling(to.id.clone(), protocol, turn));
        }
        let (mut outcome, patience) = match found? {
            Found::Line(line) => return Ok(Peer::of(line)),
            Found::Dialling(outcome, patience) => (outcome, patience),
        };
        let dialled = match tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await {
            Ok(dialled) => dialled.map_err(|_| LinkError::Closed)?.clone(),
            Err(_) => Some(Err(LinkError::BackingOff { peer: to.id.clone(), retry_in: limits.backoff_first })),
        };
        dialled.unwrap_or(Err(LinkError::Closed)).map(Peer::of)
    }

    /// The next peer that has dialled this node and finished its handshake; `None` once the link is closed. A slow
    /// handshake holds up no other.
    pub async fn accept(&self) -> Option<Accepted> {
        self.accepted.lock().await.recv().await
    }

    /// Reads certificates, key and bundles again: all of them or none. New handshakes use the new ones; connections with
    /// regions that are no longer trusted end now, all others after [`LinkLimits::rotation_grace`].
    ///
    /// # Errors
    /// [`LinkError`] names the file that is wrong; the old ones stay in use.
    pub fn reload(&self) -> Result<(), LinkError> {
        let Shared { config, provider, us, .. } = &*self.shared;
        let certified = config.identity.read(provider)?;
        let now = config.identity.identity(&certified, &config.deployment)?;
        if now != *us {
            return Err(LinkError::IdentityChanged { was: us.clone(), now });
        }
        let trust = Trust::read(&config.deployment, &config.bundles, provider)?;
        if !trust.knows(&us.region) {
            return Err(LinkError::NoBundle { region: us.region.clone() });
        }
        trust.warn_unless_vouched(&certified);
        self.shared.identity.replace(certified);
        self.shared.trust.store(Arc::new(trust));
        self.shared.retire_connections();
        Ok(())
    }

    /// Ends all connections with a reason the peers see, and waits until they have been told.
    pub async fn close(&self, reason: &'static str) {
        self.shared.stop.cancel();
        self.shared.endpoint.close(VarInt::from_u32(0), reason.as_bytes());
        self.shared.tasks.close();
        let told = async {
            self.shared.endpoint.wait_idle().await;
            self.shared.tasks.wait().await;
        };
        if tokio::time::timeout(self.shared.limits.close, told).await.is_err() {
            tracing::debug!("not every peer heard that the link closes");
        }
    }

    /// Smoothed round-trip time to a node, where there is a connection.
    pub fn round_trip(&self, node: NodeId) -> Option<Duration> {
        let live = self.shared.live();
        let of_node = live.connections.values().filter(|(_, peer, _)| peer.node == node);
        of_node.map(|(connection, ..)| connection.rtt()).min()
    }
}

impl Shared {
    async fn listen(self: Arc<Self>, ready: mpsc::Sender<Accepted>) {
        loop {
            let incoming = tokio::select! {
                () = self.stop.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let is_busy = self.handshakes.available_permits() <= self.limits.handshakes / 2;
            if is_busy && !incoming.remote_address_validated() && incoming.may_retry() {
                // Fails only where no retry is possible, which was asked above.
                let _ = incoming.retry();
                continue;
            }
            let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            self.tasks.spawn(Arc::clone(&self).welcome(incoming, ready.clone(), permit));
        }
        // Also where the last handle was dropped without closing.
        self.endpoint.close(VarInt::from_u32(0), b"closed");
    }

    async fn welcome(
        self: Arc<Self>,
        incoming: Incoming,
        ready: mpsc::Sender<Accepted>,
        _permit: OwnedSemaphorePermit,
    ) {
        let remote = incoming.remote_address();
        let handshake = async { incoming.accept()?.await };
        let connection = match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::warn!(%remote, error = &error as &dyn std::error::Error, "a handshake was refused");
                return;
            }
            Err(_) => {
                tracing::warn!(%remote, limit = ?self.limits.handshake, "a handshake took too long");
                return;
            }
        };
        let (Some(peer), Some(protocol)) =
            (identity_of(&connection, &self.config.deployment), protocol_of(&connection))
        else {
            connection.close(VarInt::from_u32(1), b"no identity");
            return;
        };
        let Some(place) = self.place_for(&peer) else {
            tracing::warn!(%peer, "a connection was refused: there are too many");
            connection.close(VarInt::from_u32(2), b"too many connections");
            return;
        };
        self.pool.heard_from(&peer);
        self.tasks.spawn(Arc::clone(&self).watch(connection.clone(), peer.clone(), Watched::Accepted(place)));
        let standing = self.standing(peer, protocol);
        let line = Line::accepted(connection, standing, Arc::clone(&self.limits), &self.tasks);
        let accepted = Accepted { peer: Peer::of(line), protocol, remote };
        tokio::select! {
            () = self.stop.cancelled() => {}
            // Fails only where the link is gone, and the connection with it.
            _ = ready.send(accepted) => {}
        }
    }

    fn standing(&self, peer: PeerId, protocol: Protocol) -> Standing {
        Standing::new(&self.us, peer, protocol, Arc::clone(&self.ledger), Arc::clone(&self.turnstiles))
    }

    /// A place among the accepted connections, if there is one left for the peer's region.
    fn place_for(&self, peer: &PeerId) -> Option<OwnedSemaphorePermit> {
        let of_region = self.live().connections.values().filter(|(_, other, _)| other.region == peer.region).count();
        let is_full = of_region >= self.limits.connections_of_region;
        if is_full { None } else { Arc::clone(&self.connections).try_acquire_owned().ok() }
    }

    /// Dials a peer until there is a connection, or nobody wants one any more.
    async fn keep_dialling(self: Arc<Self>, peer: PeerId, protocol: Protocol, turn: Turn) {
        loop {
            let addr = match self.pool.step(&peer, protocol, &turn) {
                Step::End => return,
                Step::Dial(addr) => addr,
                Step::Wait(pause) => {
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = turn.wake.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    continue;
                }
            };
            let to = PeerAddr { id: peer.clone(), addr };
            let dialled = tokio::select! {
                () = self.stop.cancelled() => Err(LinkError::Closed),
                // What was sent before the peer was there is lost, and would be sent again late.
                () = turn.wake.notified() => continue,
                dialled = self.dial(&to, protocol) => dialled,
            };
            if self.pool.keep(&peer, protocol, &turn, dialled, &self.limits) || self.stop.is_cancelled() {
                return;
            }
        }
    }

    async fn dial(self: &Arc<Self>, to: &PeerAddr, protocol: Protocol) -> Result<Arc<Line>, LinkError> {
        let addr = self.config.via.get(&to.id.node).copied().unwrap_or(to.addr);
        let peer = || to.id.clone();
        let verifier = Arc::new(OneNode::new(Arc::clone(&self.trust), to.id.clone()));
        let config = self.client_config(Arc::clone(&verifier), protocol)?;
        let connecting = self
            .endpoint
            .connect_with(config, addr, UNUSED_SERVER_NAME)
            .map_err(|source| LinkError::Address { peer: peer(), addr, source })?;
        let limit = self.limits.handshake;
        let connection = match tokio::time::timeout(limit, connecting).await {
            Err(_) => return Err(LinkError::HandshakeTimeout { peer: peer(), addr, limit }),
            Ok(Err(source)) => {
                return Err(match verifier.refusal() {
                    Some(source) => LinkError::Untrusted { peer: peer(), addr, source: Box::new(source) },
                    None => LinkError::Connect { peer: peer(), addr, source: Box::new(source) },
                });
            }
            Ok(Ok(connection)) => connection,
        };
        // The other of a pair of assertions: the handshake has checked the same.
        if identity_of(&connection, &self.config.deployment).as_ref() != Some(&to.id)
            || protocol_of(&connection) != Some(protocol)
        {
            connection.close(VarInt::from_u32(1), b"not the one that was meant");
            let source = Box::new(quinn::ConnectionError::LocallyClosed);
            return Err(LinkError::Connect { peer: peer(), addr, source });
        }
        self.tasks.spawn(Arc::clone(self).watch(connection.clone(), to.id.clone(), Watched::Dialled(protocol)));
        let standing = self.standing(to.id.clone(), protocol);
        Ok(Line::dialled(connection, standing, Arc::clone(&self.limits)))
    }

    /// Keeps a connection in sight until it ends; so long an accepted one holds its place, and a dialled one that was still
    /// wanted is dialled again.
    fn watch(
        self: Arc<Self>,
        connection: Connection,
        peer: PeerId,
        watched: Watched,
    ) -> impl Future<Output = ()> + Send {
        let id = connection.stable_id();
        {
            // At once, not when the task first runs: whoever looks at the connections next must see this one.
            let mut live = self.live();
            let generation = live.generation;
            live.connections.insert(id, (connection.clone(), peer.clone(), generation));
        }
        async move {
            connection.closed().await;
            self.live().connections.remove(&id);
            let protocol = match watched {
                Watched::Accepted(place) => return drop(place),
                Watched::Dialled(protocol) => protocol,
            };
            if self.stop.is_cancelled() {
                return;
            }
            if let Some(turn) = self.pool.ended(&peer, protocol, id, &self.limits) {
                let again = Arc::clone(&self);
                self.tasks.spawn(again.keep_dialling(peer, protocol, turn));
            }
        }
    }

    fn retire_connections(self: &Arc<Self>) {
        self.pool.retire();
        let trust = self.trust.load_full();
        let current = {
            let mut live = self.live();
            live.generation += 1;
            for (connection, peer, _) in live.connections.values().filter(|(_, peer, _)| !trust.knows(&peer.region)) {
                tracing::info!(%peer, "a connection ends: its region is no longer trusted");
                connection.close(VarInt::from_u32(1), b"no longer trusted");
            }
            live.generation
        };
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep(shared.limits.rotation_grace) => {}
            }
            for (connection, _, made) in shared.live().connections.values() {
                if *made < current {
                    connection.close(VarInt::from_u32(0), b"certificates were replaced");
                }
            }
        });
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client_config(&self, verifier: Arc<OneNode>, protocol: Protocol) -> Result<quinn::ClientConfig, LinkError> {
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| LinkError::Tls { source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.identity) as _);
        tls.alpn_protocols = vec![protocol.alpn().as_bytes().to_vec()];
        tls.enable_early_data = false;
        tls.enable_sni = false;
        tls.resumption = Resumption::disabled();
        if let Some(key_log) = &self.key_log {
            tls.key_log = Arc::clone(key_log) as _;
        }
        let quic = QuicClientConfig::try_from(tls).map_err(|_| socket::no_initial_suite())?;
        let mut config = quinn::ClientConfig::new(Arc::new(quic));
        // Who was dialled begins nothing.
        config.transport_config(Arc::new(socket::transport(&self.limits, 0)));
        Ok(config)
    }
}

/// What ends with a connection.
enum Watched {
    /// Its place among the accepted ones.
    Accepted(OwnedSemaphorePermit),
    /// What it was dialled for.
    Dialled(Protocol),
}

/// QUIC wants a name to dial; nobody reads it, for the SPIFFE id takes its place.
const UNUSED_SERVER_NAME: &str = "node.domicile.internal";

fn identity_of(connection: &Connection, deployment: &Name) -> Option<PeerId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PeerId::of_certificate(chain.first()?, deployment).ok()
}

fn protocol_of(connection: &Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Protocol::from_alpn(&data.protocol?)
}
