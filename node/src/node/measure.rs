//! Measures what passes over the link: crossings, once the ledger has them, and how far the peers are. Judges nothing.

use std::sync::Arc;

use domicile_proto::link::crossing::{BoxFuture, Crossing, CrossingLedger, LedgerRefused};
use domicile_proto::link::endpoint::Link;
use domicile_proto::link::identity::PeerId;
use tokio_util::sync::CancellationToken;

use crate::limits::ROUND_TRIP_LOOK;
use crate::policy::PolicyWatch;
use crate::telemetry::{Direction, Metrics};

/// A ledger whose entries are counted: what it refuses is none.
pub(super) struct Counted<L> {
    pub(super) ledger: Arc<L>,
    pub(super) metrics: Metrics,
}

impl<L: CrossingLedger> CrossingLedger for Counted<L> {
    fn departing(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        let (peer, class, bytes) = (crossing.peer.region.clone(), crossing.class, crossing.bytes.0);
        Box::pin(async move {
            self.ledger.departing(crossing).await?;
            self.metrics.flows().crossed(Direction::Out, &peer, class, bytes);
            Ok(())
        })
    }

    fn arrived(&self, crossing: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
        let (peer, class, bytes) = (crossing.peer.region.clone(), crossing.class, crossing.bytes.0);
        Box::pin(async move {
            self.ledger.arrived(crossing).await?;
            self.metrics.flows().crossed(Direction::In, &peer, class, bytes);
            Ok(())
        })
    }

    fn metadata_bytes(&self, peer: &PeerId, sent: u64, received: u64) {
        self.ledger.metadata_bytes(peer, sent, received);
        self.metrics.flows().metadata(&peer.region, sent, received);
    }

    fn turned_away(&self, peer: &PeerId) {
        self.ledger.turned_away(peer);
    }
}

/// Looks every few seconds how far each connected node is.
pub(super) async fn round_trips(
    us: PeerId,
    link: Link,
    policy: PolicyWatch,
    metrics: Metrics,
    token: CancellationToken,
) {
    let mut looks = tokio::time::interval(ROUND_TRIP_LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = looks.tick() => {}
        }
        for row in policy.now().nodes.values().filter(|row| row.node != us.node) {
            if let Some(took) = link.round_trip(row.node) {
                metrics.flows().round_trip(&row.region, took);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domicile_proto::border::EgressClass;
    use domicile_proto::ids::{ByteCount, NodeId};

    use super::*;
    use crate::config::Regions;

    struct Ledger(Result<(), LedgerRefused>);

    impl CrossingLedger for Ledger {
        fn departing(&self, _: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
            Box::pin(async { self.0 })
        }

        fn arrived(&self, _: Crossing) -> BoxFuture<'_, Result<(), LedgerRefused>> {
            Box::pin(async { self.0 })
        }

        fn metadata_bytes(&self, _: &PeerId, _: u64, _: u64) {}

        fn turned_away(&self, _: &PeerId) {}
    }

    async fn scraped(answer: Result<(), LedgerRefused>) -> String {
        let metrics = Metrics::new(&Regions::built_in().expect("built in"));
        let counted = Counted { ledger: Arc::new(Ledger(answer)), metrics: metrics.clone() };
        let peer = PeerId { region: "tokyo".parse().expect("a name"), node: NodeId(1) };
        let (class, bytes) = (EgressClass::Question, ByteCount(7));
        let crossing = Crossing { peer, class, bytes, sha256: [0; 32], body: b"secret!".to_vec() };
        assert_eq!(counted.departing(crossing.clone()).await, answer);
        assert_eq!(counted.arrived(crossing).await, answer);
        metrics.text()
    }

    #[tokio::test]
    async fn what_the_ledger_took_is_counted_and_what_it_refused_is_not() {
        let bytes = |direction| {
            format!(r#"domicile_link_crossing_bytes_total{{peer="tokyo",kind="question",direction="{direction}"}} 7"#)
        };
        let taken = scraped(Ok(())).await;
        assert!(taken.contains(&bytes("in")) && taken.contains(&bytes("out")), "{taken}");
        let refused = scraped(Err(LedgerRefused)).await;
        assert!(!refused.contains("kind="), "{refused}");
        assert!(!taken.contains("secret"));
    }
}
