//! What can go wrong on a link; every code has a page under `docs/errors`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::crossing::LedgerRefused;
use super::identity::{IdentityError, PeerId};
use super::protocol::Protocol;
use super::trust::TrustError;
use crate::border::ReceivedError;
use crate::codec::CodecError;
use crate::ids::Region;

/// What went wrong on a link. Cloned where several callers waited for one dial.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The socket cannot be opened.
    #[error("the link cannot listen on UDP {addr}; choose another `listen` or end what uses the port")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be opened; check the path and who may read it")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A file holds no certificate or key.
    #[error("`{path}` holds no PEM of the kind that is wanted there; write it anew with `domicile pki issue`")]
    Pem {
        /// Which.
        path: PathBuf,
    },
    /// The own certificate names nobody.
    #[error("the certificate `{path}` cannot be this node's; issue one with `domicile pki issue`")]
    Identity {
        /// Which.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// Certificate and key do not belong together, or the library takes neither.
    #[error("the certificate `{path}` and its key do not belong together; replace both at once")]
    Key {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// No CA bundle for the node's own region.
    #[error("there is no CA bundle for `{region}`; add one under `bundles`")]
    NoBundle {
        /// The region.
        region: Region,
    },
    /// A replaced certificate names another node.
    #[error("the new certificate names {now}, this is {was}; a node cannot become another while it runs")]
    IdentityChanged {
        /// Who the node is.
        was: PeerId,
        /// Whom the new certificate names.
        now: PeerId,
    },
    /// The TLS library refuses what it was set up with.
    #[error("TLS cannot be set up")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
    /// The peer is not the one that was meant, or nobody vouches for it.
    #[error("{peer} does not answer at {addr}: somebody else does")]
    Untrusted {
        /// Who was meant.
        peer: PeerId,
        /// Where.
        addr: SocketAddr,
        /// What is wrong with the one who answers.
        source: Box<TrustError>,
    },
    /// The peer is out of reach or refuses us.
    #[error("no connection to {peer} at {addr}; check that it runs, that UDP passes and that it trusts our CA")]
    Connect {
        /// Who was meant.
        peer: PeerId,
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: Box<quinn::ConnectionError>,
    },
    /// The address cannot be dialled at all.
    #[error("{addr} of {peer} cannot be dialled; correct the address")]
    Address {
        /// Who was meant.
        peer: PeerId,
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: quinn::ConnectError,
    },
    /// The handshake took too long.
    #[error("{peer} at {addr} did not finish the handshake within {limit:?}")]
    HandshakeTimeout {
        /// Who was meant.
        peer: PeerId,
        /// Where.
        addr: SocketAddr,
        /// The limit.
        limit: Duration,
    },
    /// The last dial failed a moment ago.
    #[error("{peer} was out of reach a moment ago; the next attempt is due in {retry_in:?}")]
    BackingOff {
        /// Who.
        peer: PeerId,
        /// When to try again.
        retry_in: Duration,
    },
    /// The connection ended.
    #[error("the connection to {peer} ended")]
    Lost {
        /// Who.
        peer: PeerId,
        /// Why.
        source: Box<quinn::ConnectionError>,
    },
    /// The peer gave up one stream.
    #[error("{peer} gave up the exchange: {reason}")]
    GivenUp {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: GivenUp,
    },
    /// What the peer sent is no message.
    #[error("{peer} sent no message of ours")]
    Codec {
        /// Who.
        peer: PeerId,
        /// Why.
        source: CodecError,
    },
    /// A message that has no place on this connection.
    #[error("a message of the {message} protocol has no place on a connection with {peer} that speaks {spoken}")]
    WrongProtocol {
        /// Who.
        peer: PeerId,
        /// What the message belongs to.
        message: Protocol,
        /// What the connection speaks.
        spoken: Protocol,
    },
    /// Asked on an accepted connection, or listened on a dialled one.
    #[error("only the node that dialled {peer} may begin an exchange on this connection")]
    WrongDirection {
        /// Who.
        peer: PeerId,
    },
    /// What stays in the region was about to be said to another one, or came from one.
    #[error("{peer} is of another region, and what concerns erasures is said to nodes of this one alone")]
    Home {
        /// Who.
        peer: PeerId,
    },
    /// The ledger did not take the crossing, so nothing crossed.
    #[error("nothing crossed to or from {peer}: the ledger did not take it")]
    Ledger {
        /// Who.
        peer: PeerId,
        /// Why.
        source: LedgerRefused,
    },
    /// No answer in time.
    #[error("{peer} did not answer within {deadline:?}")]
    Deadline {
        /// Who.
        peer: PeerId,
        /// The deadline.
        deadline: Duration,
    },
    /// An answer that decodes and is not taken.
    #[error("the answer of {peer} is not taken")]
    Answer {
        /// Who.
        peer: PeerId,
        /// Why.
        source: ReceivedError,
    },
    /// An answer to something that was not asked on this connection.
    #[error("the answer does not belong to the question {peer} asked on this connection")]
    OtherQuestion {
        /// Who.
        peer: PeerId,
    },
    /// The peer ended the exchange without an answer.
    #[error("{peer} ended the exchange without an answer")]
    NoReply {
        /// Who.
        peer: PeerId,
    },
    /// An earlier send on this stream was dropped halfway.
    #[error("an earlier message to {peer} was given up halfway; the stream is reset, open a new one")]
    Interrupted {
        /// Who.
        peer: PeerId,
    },
    /// The link was closed.
    #[error("the link of this node is closed")]
    Closed,
    /// Anybody on the machine can read a private key.
    #[error("the key `{path}` has mode {mode:03o} and everybody on this machine can read it; run `chmod 600` on it")]
    KeyMode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key log cannot be written.
    #[error("the TLS key log `{path}` cannot be opened; correct `audit.tls_keylog` or remove it")]
    KeyLog {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
}

impl LinkError {
    /// The stable code; `docs/errors/<code>.md` explains it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "DMC-LINK-01",
            Self::File { .. } => "DMC-LINK-02",
            Self::Pem { .. } => "DMC-LINK-03",
            Self::Identity { .. } => "DMC-LINK-04",
            Self::Key { .. } => "DMC-LINK-05",
            Self::NoBundle { .. } => "DMC-LINK-06",
            Self::IdentityChanged { .. } => "DMC-LINK-07",
            Self::Tls { .. } => "DMC-LINK-08",
            Self::Untrusted { .. } => "DMC-LINK-09",
            Self::Connect { .. } => "DMC-LINK-10",
            Self::Address { .. } => "DMC-LINK-11",
            Self::HandshakeTimeout { .. } => "DMC-LINK-12",
            Self::BackingOff { .. } => "DMC-LINK-13",
            Self::Lost { .. } => "DMC-LINK-14",
            Self::GivenUp { reason: GivenUp::TooMany, .. } => "DMC-LINK-29",
            Self::GivenUp { .. } => "DMC-LINK-15",
            Self::Codec { .. } => "DMC-LINK-16",
            Self::WrongProtocol { .. } => "DMC-LINK-17",
            Self::WrongDirection { .. } => "DMC-LINK-18",
            Self::Ledger { .. } => "DMC-LINK-19",
            Self::Deadline { .. } => "DMC-LINK-20",
            Self::Answer { .. } => "DMC-LINK-21",
            Self::OtherQuestion { .. } => "DMC-LINK-22",
            Self::NoReply { .. } => "DMC-LINK-23",
            Self::Interrupted { .. } => "DMC-LINK-24",
            Self::Closed => "DMC-LINK-25",
            Self::KeyLog { .. } => "DMC-LINK-26",
            Self::KeyMode { .. } => "DMC-LINK-27",
            Self::Home { .. } => "DMC-LINK-28",
        }
    }

    /// Whether the peer is out of reach as far as this node can tell: no connection, rather than a bad exchange on one.
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Untrusted { .. }
                | Self::Connect { .. }
                | Self::Address { .. }
                | Self::HandshakeTimeout { .. }
                | Self::BackingOff { .. }
                | Self::Lost { .. }
                | Self::Closed
        )
    }
}

/// Why one side gave up a stream; travels as the error code of the reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// The sender was dropped before it was done.
    #[error("the other side stopped before it was done")]
    Dropped,
    /// What arrived was no message of ours.
    #[error("it could not read what it was sent")]
    Malformed,
    /// The ledger did not take the crossing.
    #[error("its ledger did not take the crossing")]
    Ledger,
    /// The message has no place on this connection.
    #[error("the message has no place on a connection of this protocol")]
    Protocol,
    /// The next piece did not come in time.
    #[error("it waited too long for the rest of the message")]
    TooSlow,
    /// The region begins more than is let in.
    #[error("it takes no more questions of this region for now; ask less often")]
    TooMany,
    /// A code this version does not know.
    #[error("code {0}")]
    Other(u64),
}

impl GivenUp {
    /// The reason as the error code of a stream.
    pub(super) const fn wire(self) -> u32 {
        match self {
            Self::Dropped => 0,
            Self::Malformed => 1,
            Self::Ledger => 2,
            Self::Protocol => 3,
            Self::TooSlow => 4,
            Self::TooMany => 5,
            Self::Other(_) => 6,
        }
    }

    /// The reason behind an error code.
    pub(super) const fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::Dropped,
            1 => Self::Malformed,
            2 => Self::Ledger,
            3 => Self::Protocol,
            4 => Self::TooSlow,
            5 => Self::TooMany,
            other => Self::Other(other),
        }
    }
}
