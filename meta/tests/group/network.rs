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
    weather: Mutex<Option<Weather>>,
    snapshots: AtomicUsize,
    tasks: TaskTracker,
}

/// What happens to frames by chance; the dice begin at a seed.
pub(crate) struct Weather {
    pub(crate) dice: Dice,
    /// Most milliseconds on the way, each way.
    pub(crate) late_ms: u64,
    /// Lost, of a thousand.
    pub(crate) lost: u64,
}

/// SplitMix64: a generator whose whole state is its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
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

    /// From now on frames are late and lost by chance.
    pub(crate) fn set_weather(&self, weather: Option<Weather>) {
        *self.0.weather.lock() = weather;
    }

    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.0.cut.lock().contains(&(from, to))
    }

    /// The way of one frame: never to its end where it is cut, or where the frame is lost.
    async fn way(&self, from: NodeId, to: NodeId) {
        let late = self.0.weather.lock().as_mut().map_or(Some(0), |weather| {
            let is_lost = weather.dice.below(1_000) < weather.lost;
            (!is_lost).then(|| weather.dice.below(weather.late_ms + 1))
        });
        match late {
            Some(0) => {}
            Some(late) => tokio::time::sleep(Duration::from_millis(late)).await,
            None => pending::<()>().await,
        }
        if !self.passes(from, to) {
            pending::<()>().await;
        }
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
            self.network.way(self.own.node, to).await;
            let group = self.network.0.nodes.lock().get(&to).cloned().ok_or(TransportError::Unreachable)?;
            let answer = self.network.0.tasks.spawn(ask(group)).await.map_err(|_| TransportError::Lost)?;
            self.network.way(to, self.own.node).await;
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
