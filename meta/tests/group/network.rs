//! A network in memory whose directions can be cut one by one. Frames pass through their bytes, as on a wire.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domicile_meta::group::Group;
use domicile_meta::transport::{Reply, Transport, TransportError};
use domicile_proto::codec;
use domicile_proto::ids::NodeId;
use domicile_proto::link::identity::PeerId;
use domicile_proto::message::metadata::MetadataFrame;
use domicile_proto::metadata::Row;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// All nodes and the ways between them.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Inner>);

#[derive(Default)]
struct Inner {
    nodes: Mutex<BTreeMap<NodeId, Group>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    snapshots: AtomicUsize,
    tasks: TaskTracker,
}

/// One node's way into the network.
pub(crate) struct Port {
    pub(crate) network: Network,
    pub(crate) own: PeerId,
}

impl Network {
    pub(crate) fn plug_in(&self, group: &Group) {
        self.0.nodes.lock().insert(group.node(), group.clone());
    }

    pub(crate) fn unplug(&self, node: NodeId) {
        self.0.nodes.lock().remove(&node);
    }

    /// Nothing passes from `from` to `to` any more.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.0.cut.lock().insert((NodeId(from), NodeId(to)));
    }

    /// Cuts a node off from all others, both ways.
    pub(crate) fn isolate(&self, node: u64) {
        for other in (1..=9).filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    pub(crate) fn heal(&self) {
        self.0.cut.lock().clear();
    }

    /// Snapshots that were sent.
    pub(crate) fn snapshots(&self) -> usize {
        self.0.snapshots.load(Ordering::Relaxed)
    }

    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.0.cut.lock().contains(&(from, to))
    }
}

impl Port {
    /// Like a packet: lost without a word where the way is cut, there or back. What the other side has begun it ends, also
    /// when nobody waits for it any more.
    async fn exchange<F>(
        &self,
        to: NodeId,
        ttl: Duration,
        ask: impl FnOnce(Group) -> F,
    ) -> Result<MetadataFrame, TransportError>
    where
        F: Future<Output = MetadataFrame> + Send + 'static,
    {
        let answered = timeout(ttl, async {
            if !self.network.passes(self.own.node, to) {
                pending::<()>().await;
            }
            let group = self.network.0.nodes.lock().get(&to).cloned().ok_or(TransportError::Unreachable)?;
            let answer = self.network.0.tasks.spawn(ask(group)).await.map_err(|_| TransportError::Lost)?;
            if !self.network.passes(to, self.own.node) {
                pending::<()>().await;
            }
            Ok(through_bytes(&answer))
        });
        answered.await.unwrap_or(Err(TransportError::Lost))
    }
}

impl Transport for Port {
    fn call(&self, to: NodeId, _: SocketAddr, frame: MetadataFrame, ttl: Duration) -> Reply<'_> {
        let own = self.own.clone();
        let frame = through_bytes(&frame);
        Box::pin(self.exchange(to, ttl, |group| async move { group.serve(frame, &own).await }))
    }

    fn snapshot(&self, to: NodeId, _: SocketAddr, head: MetadataFrame, rows: Vec<Row>, ttl: Duration) -> Reply<'_> {
        let own = self.own.clone();
        let head = through_bytes(&head);
        let rows: Vec<Row> = rows.iter().map(|row| codec::decode(&codec::encode(row).unwrap()).unwrap()).collect();
        self.network.0.snapshots.fetch_add(1, Ordering::Relaxed);
        Box::pin(self.exchange(to, ttl, |group| async move { group.serve_snapshot(head, rows, &own).await }))
    }
}

fn through_bytes(frame: &MetadataFrame) -> MetadataFrame {
    codec::decode(&codec::encode(frame).unwrap()).unwrap()
}
