//! The ledgers of other regions: this node's witness serves those that dial in, and this node's own ledger is taken around.

use std::sync::Arc;

use domicile_proto::link::connection::{Inbound, Peer as Connected};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::identity::{PeerAddr, PeerId};
use domicile_proto::link::protocol::Protocol;
use domicile_proto::message::ledger::{HeadOffer, Verdict};
use tokio_util::sync::CancellationToken;

use crate::audit::{Ask, Cosigning, Peer, Witness};
use crate::limits::WITNESS_EVERY;
use crate::policy::{Policy, PolicyWatch};
use crate::tasks::Tasks;

/// Lets the witness look at every head that a peer offers, until the connection ends. The link has written each to this region's own
/// ledger before it arrives here, and writes what is said to it before it leaves.
pub(super) async fn serve(peer: Connected, witness: Arc<Witness>, tasks: Tasks) {
    let token = tasks.token().clone();
    while let Some(Ok(begun)) = token.run_until_cancelled(peer.next()).await {
        let Inbound::LedgerHead(offer, reply) = begun else { continue };
        let (witness, node) = (Arc::clone(&witness), Peer::from(peer.id()));
        let judged = tasks.blocking(move || witness.consider(&node, &offer));
        let verdict = judged.await.unwrap_or(Verdict::Unavailable);
        if let Err(error) = peer.cosign(reply, &verdict).await {
            tracing::debug!(peer = %peer.id(), %error, "what the witness said did not arrive");
        }
    }
}

/// Takes the newest checkpoint around until the token is cancelled.
pub(super) async fn go_around(cosigning: Arc<Cosigning>, policy: PolicyWatch, token: CancellationToken) {
    while token.run_until_cancelled(tokio::time::sleep(WITNESS_EVERY)).await.is_some() {
        let now = policy.now();
        let Some(us) = now.regions.get(&now.region) else { continue };
        if let Some(Err(error)) = token.run_until_cancelled(cosigning.round(*us, &chosen(&now))).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint could be taken to the witnesses");
        }
    }
}

/// Of each other region the node with the lowest number: always the same one, for a witness knows what it has seen itself.
fn chosen(policy: &Policy) -> Vec<Peer> {
    let mut chosen: Vec<Peer> = Vec::new();
    for row in policy.nodes.values().filter(|row| row.region != policy.region) {
        if !chosen.iter().any(|peer| peer.region == row.region) {
            chosen.push(Peer { region: row.region.clone(), node: row.node });
        }
    }
    chosen
}

/// Asks witnesses over the link, at the addresses of the policy.
pub(super) fn over(link: Link, policy: PolicyWatch) -> Box<Ask> {
    Box::new(move |peer: Peer, offer: HeadOffer| {
        let (link, policy) = (link.clone(), policy.clone());
        Box::pin(async move {
            let addr = policy.now().nodes.get(&peer.node).map(|row| row.addr)?;
            let to = PeerAddr { id: PeerId { region: peer.region, node: peer.node }, addr };
            let asked = async { link.peer(&to, Protocol::Ledger).await?.ledger_head(&offer).await };
            asked.await.inspect_err(|error| tracing::debug!(peer = %to.id, %error, "a witness gave no answer")).ok()
        })
    })
}
