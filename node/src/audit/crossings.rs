//! The ledger as the link sees it (LED-1): nothing crosses before its entry is durable.

use domicile_proto::link::crossing::{BoxFuture, Crossing, CrossingLedger, LedgerRefused};
use domicile_proto::link::identity::PeerId;

use super::entry::{Event, Passage, Peer};
use super::errors::LedgerError;
use super::ledger::Ledger;
use crate::errors::Coded;

impl CrossingLedger for Ledger {
    fn departing(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(self.pass(Event::Egress(self.with_inputs(passage(crossing)))))
    }

    fn arrived(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        Box::pin(self.pass(Event::Ingress(passage(crossing))))
    }

    fn metadata_bytes(&self, peer: &PeerId, sent: u64, received: u64) {
        self.count_metadata(peer.into(), sent, received);
    }

    fn turned_away(&self, peer: &PeerId) {
        self.count_turned_away(peer.into());
    }
}

impl Ledger {
    async fn pass(&self, event: Event) -> Result<(), LedgerRefused> {
        // Any other reason was logged where it arose, and stands in the node's status.
        self.record(event).await.map(drop).map_err(|error| {
            if let LedgerError::Shut { to } = &error {
                tracing::info!(%to, code = error.code(), "what was on its way when its route was closed stays here");
            }
            if let LedgerError::Outdated { version } = &error {
                tracing::info!(
                    version = version.0,
                    code = error.code(),
                    "an answer under a policy that is over stays here"
                );
            }
            LedgerRefused
        })
    }
}

impl From<&PeerId> for Peer {
    fn from(peer: &PeerId) -> Self {
        Self { region: peer.region.clone(), node: peer.node }
    }
}

fn passage(crossing: Crossing) -> Passage {
    let Crossing { peer, class, bytes, sha256, body } = crossing;
    Passage { peer: Peer::from(&peer), class, bytes, sha256, body, drawn: None }
}

#[cfg(test)]
mod tests {
    use domicile_proto::border::EgressClass;
    use domicile_proto::ids::{ByteCount, NodeId, Timestamp};

    use super::super::Entries;
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn an_entry_is_readable_on_disk_before_the_link_may_send() {
        let dir = tempfile::tempdir().expect("a directory");
        let tokyo = "tokyo".parse().expect("a name");
        let ledger = Ledger::open(dir.path(), &tokyo, Clock::standing_at(Timestamp(1))).expect("new");
        let peer = PeerId { region: "frankfurt".parse().expect("a name"), node: NodeId(3) };
        let (class, bytes) = (EgressClass::Question, ByteCount(3));
        let crossing = Crossing { peer: peer.clone(), class, bytes, sha256: [7; 32], body: b"abc".to_vec() };
        ledger.departing(crossing.clone()).await.expect("recorded");
        let first = Entries::open(dir.path(), &tokyo).expect("there").next().expect("one").expect("whole").1;
        assert_eq!(first.event, Event::Egress(passage(crossing.clone())));
        ledger.close();
        assert_eq!(ledger.arrived(crossing).await, Err(LedgerRefused), "a closed ledger lets nothing through");
    }
}
