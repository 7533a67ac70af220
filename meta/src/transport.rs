//! What the group needs of a network: one request and its answer, and one snapshot and its answer.
//!
//! The sender's node id reaches the other side from the certificate of the connection, never from a frame.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use domicile_proto::ids::NodeId;
use domicile_proto::message::metadata::MetadataFrame;
use domicile_proto::metadata::Row;

/// An answer that is on its way.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<MetadataFrame, TransportError>> + Send + 'a>>;

/// How frames reach other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends `frame` to node `to` at `addr`; gives its answer, or an error after `ttl` at the latest.
    fn call(&self, to: NodeId, addr: SocketAddr, frame: MetadataFrame, ttl: Duration) -> Reply<'_>;

    /// Sends the head of a snapshot and its rows on a stream of their own; gives the answer to the whole.
    ///
    /// The other side hands head and rows to [`crate::group::Group::serve_snapshot`].
    fn snapshot(&self, to: NodeId, addr: SocketAddr, head: MetadataFrame, rows: Vec<Row>, ttl: Duration) -> Reply<'_>;
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The node cannot be reached; it has certainly not seen the frame.
    #[error("the node cannot be reached")]
    Unreachable,
    /// No answer in time, or the connection broke: the node may have acted on the frame.
    #[error("no answer came")]
    Lost,
    /// The answer is not what was asked for.
    #[error("the answer is not one to this request")]
    Unexpected,
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
