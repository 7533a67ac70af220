//! Counters and histograms that grow while the node works. Their labels come from closed sets: the regions that have facts, the
//! classes of what may cross, two directions. What bears another name is counted under `other`, so that no peer, no tenant and no
//! record can make a series.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domicile_proto::border::EgressClass;
use domicile_proto::ids::Region;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Metric;
use crate::config::Regions;

/// Bounds of round trips in seconds: within a machine, between zones, and the 70 to 230 ms between continents.
const ROUND_TRIP_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0];

/// What a region is called that has no facts here.
const OTHER: &str = "other";

/// Which way something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To this region.
    In,
    /// From this region.
    Out,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::In, Self::Out];

    const fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    peer: String,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Crossing {
    peer: String,
    kind: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cells {
    peer: String,
    standing: &'static str,
}

/// What grows.
pub(crate) struct Flows {
    known: BTreeSet<Region>,
    cpu: Counter<f64, AtomicU64>,
    accepted: Counter,
    refused: Counter,
    crossing_frames: Family<Crossing, Counter>,
    crossing_bytes: Family<Crossing, Counter>,
    metadata_bytes: Family<Way, Counter>,
    round_trips: Family<Peer, Histogram, fn() -> Histogram>,
    cells: Family<Cells, Counter>,
    review_due: Family<Peer, Gauge>,
    route_open: Family<Peer, Gauge>,
}

/// The gauges that are kept here, for they have labels.
pub(super) const BY_PEER: [Metric; 2] = [Metric::ReviewDue, Metric::RouteOpen];

impl Flows {
    /// Registers them, each region with what can be said of every one, so that a rate has a beginning.
    pub(super) fn registered(registry: &mut Registry, regions: &Regions) -> Self {
        let flows = Self {
            known: regions.iter().map(|facts| facts.name.clone()).collect(),
            cpu: Counter::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            crossing_frames: Family::default(),
            crossing_bytes: Family::default(),
            metadata_bytes: Family::default(),
            round_trips: Family::new_with_constructor(|| Histogram::new(ROUND_TRIP_BOUNDS)),
            cells: Family::default(),
            review_due: Family::default(),
            route_open: Family::default(),
        };
        register(registry, Metric::Cpu, &flows.cpu);
        register(registry, Metric::Accepted, &flows.accepted);
        register(registry, Metric::Refused, &flows.refused);
        register(registry, Metric::CrossingFrames, &flows.crossing_frames);
        register(registry, Metric::CrossingBytes, &flows.crossing_bytes);
        register(registry, Metric::MetadataBytes, &flows.metadata_bytes);
        register(registry, Metric::RoundTrips, &flows.round_trips);
        register(registry, Metric::Cells, &flows.cells);
        register(registry, Metric::ReviewDue, &flows.review_due);
        register(registry, Metric::RouteOpen, &flows.route_open);
        for region in &flows.known {
            flows.answered(region, 0, 0);
            flows.metadata(region, 0, 0);
        }
        flows
    }

    /// Something crossed a border; its entry is in the ledger.
    pub(crate) fn crossed(&self, direction: Direction, peer: &Region, class: EgressClass, bytes: u64) {
        let crossing = Crossing { peer: self.named(peer), kind: word(class), direction: direction.word() };
        self.crossing_frames.get_or_create(&crossing).inc();
        self.crossing_bytes.get_or_create(&crossing).inc_by(bytes);
    }

    /// Traffic of the metadata group with a node of any region.
    pub(crate) fn metadata(&self, peer: &Region, sent: u64, received: u64) {
        for direction in Direction::BOTH {
            let bytes = if direction == Direction::Out { sent } else { received };
            let way = Way { peer: self.named(peer), direction: direction.word() };
            self.metadata_bytes.get_or_create(&way).inc_by(bytes);
        }
    }

    /// How far a peer is now.
    pub(crate) fn round_trip(&self, peer: &Region, took: Duration) {
        self.round_trips.get_or_create(&Peer { peer: self.named(peer) }).observe(took.as_secs_f64());
    }

    /// Another region was answered: so many cells were told whole, from so many something was withheld.
    pub(crate) fn answered(&self, peer: &Region, whole: u64, withheld: u64) {
        for (standing, cells) in [("whole", whole), ("withheld", withheld)] {
            self.cells.get_or_create(&Cells { peer: self.named(peer), standing }).inc_by(cells);
        }
    }

    /// How a route out of this region is: whether anything may go there, and how long until its basis is looked at again.
    pub(crate) fn route(&self, to: &Region, is_open: bool, review_due_seconds: i64) {
        let peer = Peer { peer: self.named(to) };
        self.review_due.get_or_create(&peer).set(review_due_seconds);
        self.route_open.get_or_create(&peer).set(i64::from(is_open));
    }

    /// Producers were told so of their records.
    pub(crate) fn taken(&self, accepted: u64, refused: u64) {
        self.accepted.inc_by(accepted);
        self.refused.inc_by(refused);
    }

    /// The process has spent so much since its start.
    pub(super) fn spent(&self, cpu: Duration) {
        // A sum that the system keeps, hence stored and not added.
        self.cpu.inner().store(cpu.as_secs_f64().to_bits(), Ordering::Relaxed);
    }

    fn named(&self, peer: &Region) -> String {
        if self.known.contains(peer) { peer.to_string() } else { OTHER.to_owned() }
    }
}

fn register(registry: &mut Registry, metric: Metric, flow: &(impl prometheus_client::registry::Metric + Clone)) {
    registry.register(metric.name(), metric.help(), flow.clone());
}

/// The word for a class, as a label.
const fn word(class: EgressClass) -> &'static str {
    match class {
        EgressClass::Count => "count",
        EgressClass::DateGrid => "date_grid",
        EgressClass::Terms => "terms",
        EgressClass::TermGrid => "term_grid",
        EgressClass::Histogram => "histogram",
        EgressClass::Sum => "sum",
        EgressClass::Quantile => "quantile",
        EgressClass::DistinctEstimate => "distinct_estimate",
        EgressClass::Refusal => "refusal",
        EgressClass::Question => "question",
        EgressClass::Metadata => "metadata",
        EgressClass::LedgerHead => "ledger_head",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a name")
    }

    fn metrics() -> Metrics {
        Metrics::new(&Regions::built_in().expect("built in"))
    }

    #[test]
    fn what_crosses_is_counted_by_peer_kind_and_direction() {
        let metrics = metrics();
        metrics.flows().crossed(Direction::Out, &region("tokyo"), EgressClass::Count, 120);
        metrics.flows().crossed(Direction::Out, &region("tokyo"), EgressClass::Count, 3);
        metrics.flows().crossed(Direction::In, &region("tokyo"), EgressClass::Question, 50);
        metrics.flows().metadata(&region("singapore"), 7, 9);
        let text = metrics.text();
        for line in [
            r#"domicile_link_crossing_frames_total{peer="tokyo",kind="count",direction="out"} 2"#,
            r#"domicile_link_crossing_bytes_total{peer="tokyo",kind="count",direction="out"} 123"#,
            r#"domicile_link_crossing_bytes_total{peer="tokyo",kind="question",direction="in"} 50"#,
            r#"domicile_link_metadata_bytes_total{peer="singapore",direction="out"} 7"#,
            r#"domicile_link_metadata_bytes_total{peer="singapore",direction="in"} 9"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_round_trip_lies_in_the_bucket_of_its_length() {
        let metrics = metrics();
        metrics.flows().round_trip(&region("frankfurt"), Duration::from_millis(230));
        let text = metrics.text();
        let bucket =
            |bound: &str| format!(r#"domicile_link_round_trip_seconds_bucket{{le="{bound}",peer="frankfurt"}}"#);
        assert!(text.contains(&format!("{} 0", bucket("0.2"))), "{text}");
        assert!(text.contains(&format!("{} 1", bucket("0.25"))), "{text}");
    }

    #[test]
    fn regions_nobody_knows_make_no_series_of_their_own() {
        let metrics = metrics();
        let lines = |metrics: &Metrics| metrics.text().lines().count();
        let say = |name: &str| {
            let peer = region(name);
            metrics.flows().crossed(Direction::In, &peer, EgressClass::Question, 1);
            metrics.flows().metadata(&peer, 1, 1);
            metrics.flows().round_trip(&peer, Duration::from_millis(1));
            metrics.flows().answered(&peer, 1, 1);
        };
        say("atlantis");
        let after_one = lines(&metrics);
        (0..1_000).for_each(|number| say(&format!("atlantis-{number}")));
        assert_eq!(lines(&metrics), after_one);
        assert!(!metrics.text().contains("atlantis"));
        assert!(
            metrics
                .text()
                .contains(r#"domicile_link_crossing_frames_total{peer="other",kind="question",direction="in"} 1001"#)
        );
    }

    #[test]
    fn every_region_can_be_rated_before_anything_happened() {
        let text = metrics().text();
        for peer in ["frankfurt", "singapore", "tokyo"] {
            for standing in ["whole", "withheld"] {
                let line =
                    format!(r#"domicile_federate_answered_cells_total{{peer="{peer}",standing="{standing}"}} 0"#);
                assert!(text.contains(&line), "{line}");
            }
        }
    }
}
