//! The group's frames over the link: one exchange for each request, a stream of its own for each snapshot.
//!
//! Every dial demands the certificate of one node of one region, and every answer is given to the node and region of the
//! caller's certificate; regions of nodes come from the group's own state, and from the seeds until there is one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domicile_proto::codec;
use domicile_proto::ids::{NodeId, Region};
use domicile_proto::link::connection::Peer;
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::errors::LinkError;
use domicile_proto::link::identity::{PeerAddr, PeerId};
use domicile_proto::link::metadata_stream::MetadataStream;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::metadata::{MAX_ROWS_PER_FRAME, MetadataFrame, Unavailable};
use domicile_proto::metadata::Row;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::group::Group;
use crate::limits::{APPEND_BYTES, SNAPSHOT_TIMEOUT};
use crate::state::State;
use crate::transport::{Reply, Transport, TransportError};

/// A [`Transport`] over a link. Clones are the same transport.
#[derive(Clone)]
pub struct LinkTransport(Arc<Inner>);

struct Inner {
    link: Link,
    seeds: RwLock<BTreeMap<NodeId, Region>>,
    state: OnceLock<watch::Receiver<Arc<State>>>,
}

impl LinkTransport {
    /// Over `link`; `seeds` are the nodes whose regions are known from the configuration.
    pub fn new(link: Link, seeds: impl IntoIterator<Item = PeerId>) -> Self {
        let seeds = seeds.into_iter().map(|seed| (seed.node, seed.region)).collect();
        Self(Arc::new(Inner { link, seeds: RwLock::new(seeds), state: OnceLock::new() }))
    }

    /// Adds a node whose region is known from elsewhere than the group.
    pub fn learn(&self, seed: PeerId) {
        self.0.seeds.write().insert(seed.node, seed.region);
    }

    /// From now on the regions of nodes are those of the group's state. Call it once, after [`Group::start`].
    pub fn follow(&self, state: watch::Receiver<Arc<State>>) {
        if self.0.state.set(state).is_err() {
            tracing::debug!("the transport follows a group already");
        }
    }

    fn region_of(&self, node: NodeId) -> Option<Region> {
        let approved = self.0.state.get().and_then(|state| state.borrow().node(node).map(|row| row.region.clone()));
        approved.or_else(|| self.0.seeds.read().get(&node).cloned())
    }

    async fn peer(&self, node: NodeId, addr: SocketAddr) -> Result<Peer, TransportError> {
        let region = self.region_of(node).ok_or(TransportError::Unreachable)?;
        let to = PeerAddr { id: PeerId { region, node }, addr };
        self.0.link.peer(&to, Protocol::Raft).await.map_err(|error| {
            tracing::debug!(%error, "a member of the metadata group is out of reach");
            TransportError::Unreachable
        })
    }
}

impl Transport for LinkTransport {
    fn call(&self, to: NodeId, addr: SocketAddr, frame: MetadataFrame, ttl: Duration) -> Reply<'_> {
        Box::pin(within(ttl, async move {
            let peer = self.peer(to, addr).await?;
            peer.metadata_call(&frame).await.map_err(lost)
        }))
    }

    fn snapshot(&self, to: NodeId, addr: SocketAddr, head: MetadataFrame, rows: Vec<Row>, ttl: Duration) -> Reply<'_> {
        Box::pin(within(ttl, async move {
            let peer = self.peer(to, addr).await?;
            send_snapshot(&peer, head, rows).await.map_err(lost)
        }))
    }
}

/// Answers one exchange that another node began; call it for each [`domicile_proto::link::connection::Inbound::Metadata`].
///
/// # Errors
/// [`LinkError`] where the exchange broke off; the stream is reset then.
pub async fn serve(group: &Group, mut stream: MetadataStream) -> Result<(), LinkError> {
    let from = stream.peer().clone();
    let first = stream.recv().await?.ok_or_else(|| LinkError::NoReply { peer: from.clone() })?;
    let answer = match first {
        MetadataFrame::Snapshot { vote, head } => {
            let wanted = head.rows;
            let received = timeout(SNAPSHOT_TIMEOUT, receive_rows(&mut stream, wanted)).await;
            match received.unwrap_or(Ok(None))? {
                Some(rows) => group.serve_snapshot(MetadataFrame::Snapshot { vote, head }, rows, &from).await,
                None => MetadataFrame::Unavailable(Unavailable::Refused),
            }
        }
        frame => group.serve(frame, &from).await,
    };
    stream.send(&answer).await?;
    stream.finish()
}

async fn send_snapshot(peer: &Peer, head: MetadataFrame, rows: Vec<Row>) -> Result<MetadataFrame, LinkError> {
    let mut stream = peer.metadata_stream().await?;
    stream.send(&head).await?;
    for frame in row_frames(rows) {
        stream.send(&frame).await?;
    }
    stream.finish()?;
    stream.only().await
}

/// The rows up to the end of the stream; `None` where they are not as many as announced, or not rows.
async fn receive_rows(stream: &mut MetadataStream, wanted: u64) -> Result<Option<Vec<Row>>, LinkError> {
    let mut rows: Vec<Row> = Vec::new();
    while let Some(frame) = stream.recv().await? {
        let MetadataFrame::Rows(more) = frame else { return Ok(None) };
        rows.extend(more);
        if rows.len() as u64 > wanted {
            return Ok(None);
        }
    }
    Ok((rows.len() as u64 == wanted).then_some(rows))
}

/// The rows in frames that keep both bounds, of rows and of bytes.
fn row_frames(rows: Vec<Row>) -> impl Iterator<Item = MetadataFrame> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut frame = vec![rows.next()?];
        let mut bytes = size(frame.first());
        while frame.len() < MAX_ROWS_PER_FRAME {
            bytes += size(rows.peek());
            if bytes > APPEND_BYTES {
                break;
            }
            let Some(row) = rows.next() else { break };
            frame.push(row);
        }
        Some(MetadataFrame::Rows(frame))
    })
}

fn size(row: Option<&Row>) -> usize {
    row.and_then(|row| codec::encode(row).ok()).map_or(0, |frame| frame.len())
}

async fn within(
    ttl: Duration,
    answer: impl Future<Output = Result<MetadataFrame, TransportError>>,
) -> Result<MetadataFrame, TransportError> {
    timeout(ttl, answer).await.unwrap_or(Err(TransportError::Lost))
}

fn lost(error: LinkError) -> TransportError {
    tracing::debug!(%error, "an exchange of the metadata group broke off");
    TransportError::Lost
}
