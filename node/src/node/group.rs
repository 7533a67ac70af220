//! Other nodes: who dials in is led to what it speaks, and this node finds its way into the metadata group.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domicile_meta::error::MetaError;
use domicile_meta::group::Group;
use domicile_meta::link_transport;
use domicile_proto::ids::{NodeId, Region, ShardId};
use domicile_proto::link::connection::{Inbound, Peer};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::identity::PeerId;
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::region::RegionAsk;
use domicile_proto::metadata::Row;
use tokio_util::sync::CancellationToken;

use super::ingest::Line;
use super::witnesses;
use crate::audit::Witness;
use crate::config::{MetaConfig, Seed};
use crate::erase::{Erasure, GroupView};
use crate::federate::{Answerer, Owner};
use crate::present::Desk;
use crate::tasks::{Kind, Tasks};

/// Longest wait for one attempt to join.
const JOIN: Duration = Duration::from_secs(15);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// A seed as the link knows it.
pub(super) fn seed(seed: &Seed) -> PeerId {
    PeerId { region: seed.region.clone(), node: NodeId(seed.node) }
}

/// Joins the group through the seeds, and tries until it is done; an officer may still have to approve this node.
pub(super) async fn join(group: Group, config: MetaConfig, token: CancellationToken) {
    let seeds: Vec<(NodeId, SocketAddr)> = config.seeds.iter().map(|seed| (NodeId(seed.node), seed.addr)).collect();
    if seeds.is_empty() {
        return;
    }
    let mut is_told = false;
    loop {
        let joined = token.run_until_cancelled(group.join(&seeds, config.voter, JOIN)).await;
        match joined {
            None => return,
            Some(Ok(())) => {
                tracing::info!("a member of the metadata group");
                return;
            }
            Some(Err(error @ MetaError::Refused { .. })) if !is_told => {
                is_told = true;
                tracing::info!(%error, "not yet a member of the metadata group; `domicile node join` approves it");
            }
            Some(Err(error)) => tracing::debug!(%error, "not yet a member of the metadata group"),
        }
        if token.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// What the group says of this region's erasures.
pub(super) fn erasures(group: Group, region: Region) -> GroupView {
    GroupView { rows: Arc::new(move || group.local().0.erasures_of(&region).cloned().collect()) }
}

/// The nodes of a region, as this node's copy of the group's state has them.
pub(super) fn nodes_of(group: &Group, region: &Region) -> Vec<NodeId> {
    let (state, _) = group.local();
    state.nodes().filter(|row| row.region == *region).map(|row| row.node).collect()
}

/// Who writes each shard of a region, as this node's copy of the group's state has it.
pub(super) fn owners(group: &Group, region: &Region) -> BTreeMap<ShardId, NodeId> {
    let (state, _) = group.local();
    let rows = state.rows().filter_map(|row| match row {
        Row::Shard(row) if row.region == *region => Some((row.id, row.owner)),
        _ => None,
    });
    rows.collect()
}

/// Who answers peers.
pub(super) struct Hosts {
    pub(super) group: Group,
    pub(super) answerer: Arc<Answerer>,
    pub(super) owner: Arc<Owner>,
    pub(super) erasure: Arc<Erasure>,
    pub(super) desk: Arc<Desk>,
    pub(super) line: Arc<Line>,
    pub(super) witness: Arc<Witness>,
}

/// Leads every peer that dials in to what its connection speaks, until the link closes.
pub(super) async fn welcome(link: Link, hosts: Hosts, tasks: Tasks) {
    let Hosts { group, answerer, owner, erasure, desk, line, witness } = hosts;
    let token = tasks.token().clone();
    while let Some(Some(accepted)) = token.run_until_cancelled(link.accept()).await {
        let served = tasks.clone();
        match accepted.protocol {
            Protocol::Raft => tasks.spawn(Kind::Peer, serve_metadata(accepted.peer, group.clone(), served)),
            Protocol::Query => tasks.spawn(Kind::Peer, Arc::clone(&answerer).serve(accepted.peer, served)),
            Protocol::Region => {
                let region = AtHome {
                    owner: Arc::clone(&owner),
                    erasure: Arc::clone(&erasure),
                    desk: Arc::clone(&desk),
                    line: Arc::clone(&line),
                };
                tasks.spawn(Kind::Peer, serve_region(accepted.peer, region, served));
            }
            Protocol::Ledger => tasks.spawn(Kind::Peer, witnesses::serve(accepted.peer, Arc::clone(&witness), served)),
        }
    }
}

/// Who answers nodes of this region.
#[derive(Clone)]
struct AtHome {
    owner: Arc<Owner>,
    erasure: Arc<Erasure>,
    desk: Arc<Desk>,
    line: Arc<Line>,
}

/// Answers what a node of this region asks until the connection ends; the link listens to no other one here.
async fn serve_region(peer: Peer, hosts: AtHome, tasks: Tasks) {
    let Peer::Neighbour(neighbour) = peer else { return };
    let token = tasks.token().clone();
    while let Some(Ok(begun)) = token.run_until_cancelled(neighbour.next()).await {
        // The link speaks one protocol per connection; anything else is dropped, which resets its stream.
        let Inbound::Region(ask, to) = begun else { continue };
        let (AtHome { owner, erasure, desk, line }, neighbour) = (hosts.clone(), neighbour.clone());
        tasks.spawn(Kind::Peer, async move {
            match ask {
                RegionAsk::Batch(batch) => line.answer(&neighbour, batch, to).await,
                RegionAsk::Gated(asked) => owner.answer(&neighbour, asked, to).await,
                RegionAsk::Search(_) | RegionAsk::Refresh(_) | RegionAsk::Holdings(..) => {
                    desk.answer(&neighbour, ask, to).await
                }
                ask => erasure.answer(&neighbour, ask, to).await,
            }
        });
    }
}

/// Answers the exchanges of the metadata group that a peer begins, each on its own.
async fn serve_metadata(peer: Peer, group: Group, tasks: Tasks) {
    let token = tasks.token().clone();
    while let Some(Ok(begun)) = token.run_until_cancelled(peer.next()).await {
        let Inbound::Metadata(stream) = begun else { continue };
        let group = group.clone();
        tasks.spawn(Kind::Peer, async move {
            if let Err(error) = link_transport::serve(&group, stream).await {
                tracing::debug!(%error, "an exchange of the metadata group broke off");
            }
        });
    }
}
