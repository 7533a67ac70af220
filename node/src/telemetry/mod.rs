//! Beside the line: our own log and metrics. No content of any record, no search text, no subject ever.
//!
//! The log is `tracing` to standard error, as text or JSON. Every metric has its name in [`Metric`] and no other place;
//! labels come from closed sets. Does not decide what is worth saying.

mod flows;
mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Regions, TelemetryConfig};

pub(crate) use flows::{Direction, Flows};
pub(crate) use process::ThreadTime;

/// What the consensus library says at ERROR once a second about a member that is away; `status` and coverage say it too.
const QUIET: &str =
    "openraft::replication=off,openraft::core=error,openraft=error,tantivy=warn,quinn=warn,rustls=error";

/// Begins the log. A second call changes nothing.
pub(crate) fn begin(config: &TelemetryConfig) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter =
        EnvFilter::try_new(format!("{QUIET},{wanted}")).unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Fails only where a log has begun already, as in a test.
    let _ = match config.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Set anew at each scrape.
    Gauge,
    /// Grows since the start; scraped with `_total` at the end of its name.
    Counter,
    /// Counts what lies below bounds; scraped as `_bucket`, `_sum` and `_count`.
    Histogram,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $kind:ident $variant:ident = $name:literal, $help:literal;)*) => {
        /// Every metric of the node: `domicile_<stage>_<noun>_<unit>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Metric {
            $($(#[$doc])* $variant,)*
        }

        impl Metric {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which it is scraped.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }
        }
    };
}

metrics! {
    /// Version of the policy that holds.
    Gauge PolicyVersion = "domicile_policy_version_number", "Version of the policy that holds on this node";
    /// Whether this node leads the metadata group.
    Gauge IsLeader = "domicile_meta_leader_flag", "1 on the node that leads the metadata group";
    /// Index of the last applied entry.
    Gauge MetaApplied = "domicile_meta_applied_index", "Last entry of the metadata log applied here";
    /// Entries in the ledger.
    Gauge LedgerEntries = "domicile_audit_entries_count", "Entries in the ledger of this node";
    /// Entries that another region has cosigned.
    Gauge LedgerCosigned = "domicile_audit_cosigned_count", "Entries under the newest checkpoint of this node's ledger that a witness cosigned since the start";
    /// Witnesses that do not believe this ledger.
    Gauge LedgerAccused = "domicile_audit_accusations_count", "Witnesses that say this node's ledger is an old copy or contradicts itself, or that show another key";
    /// Evidence against other ledgers.
    Gauge LedgerForks = "domicile_audit_forks_count", "Heads of other regions' ledgers that contradict what they showed before, kept as evidence here";
    /// Events that a policy dropped.
    Gauge Dropped = "domicile_classify_dropped_records", "Records dropped before they were stored, as their stream's policy says, since the start";
    /// Statements that do not stand.
    Gauge Contradicted = "domicile_classify_contradicted_streams", "Streams of this node that are stated to hold no personal data and count as undeclared, for its detectors found too much in them or what they found cannot be read";
    /// Shards with something in them.
    Gauge Shards = "domicile_segment_shards_count", "Shards with records on this node";
    /// Segments that can be searched.
    Gauge Segments = "domicile_segment_segments_count", "Segments that can be searched on this node";
    /// Records in them.
    Gauge Records = "domicile_segment_records_count", "Records that can be searched on this node";
    /// Whether accepted records cannot be searched.
    Gauge IsFailed = "domicile_segment_failure_flag", "1 where accepted records of some shard cannot be searched now";
    /// Work on segments and manifests that failed and was put off.
    Gauge Retries = "domicile_segment_retries_count", "Steps of building, merging or publishing that failed and are tried again";
    /// What shards take in.
    Gauge ShardBytes = "domicile_ownership_ingest_bytes", "Bytes of records a second that the shards of this node take in, as placement measures it";
    /// What shards cost.
    Gauge ShardCpu = "domicile_ownership_cpu_millicores", "Thousandths of a processor that building, merging and searching the shards of this node takes, as placement measures it";
    /// Shards given away.
    Gauge ShardsGiven = "domicile_ownership_given_shards", "Shards that this node gave to another one of its region for their load, or because it is drained, since the start";
    /// Whether it is drained.
    Gauge IsDrained = "domicile_ownership_drained_flag", "1 where this node is drained and gets no shard before its next start";
    /// Whether the write-ahead log refuses.
    Gauge IsLogPoisoned = "domicile_wal_poison_flag", "1 where the write-ahead log takes nothing before a restart";
    /// How long the key store has not answered.
    Gauge KeyStoreSilence = "domicile_keys_silence_seconds", "Seconds since the key store last answered this node";
    /// Whether it was silent for too long.
    Gauge AreKeysExpired = "domicile_keys_expired_flag", "1 where nothing personal is sealed or revealed until the key store answers";
    /// How large the keyring is. Not how many values are in it: who may scrape needs no key, and one more would say that a value that
    /// was just sent was never seen before.
    Gauge KeyringBytes = "domicile_keys_file_bytes", "Size of the keyring of this node on its disk, in steps of 16 MiB";
    /// Memory of the process.
    Gauge Memory = "domicile_process_memory_bytes", "Memory that the process holds, where the system tells it";
    /// Time on the processors.
    Counter Cpu = "domicile_process_cpu_seconds", "Time that the process spent on processors, where the system tells it";
    /// Records that were taken.
    Counter Accepted = "domicile_receive_accepted_records", "Records acknowledged to producers, without those that were known before";
    /// Records that were not.
    Counter Refused = "domicile_receive_refused_records", "Records of admitted requests refused to producers";
    /// What was crossing, in frames.
    Counter CrossingFrames = "domicile_link_crossing_frames", "Frames to and from other regions that the ledger has, by peer, kind and direction";
    /// And in bytes.
    Counter CrossingBytes = "domicile_link_crossing_bytes", "Bytes to and from other regions that the ledger has, by peer, kind and direction";
    /// The traffic of the metadata group.
    Counter MetadataBytes = "domicile_link_metadata_bytes", "Bytes of the metadata group to and from nodes of every region, by peer and direction";
    /// When the basis of a route is looked at again.
    Gauge ReviewDue = "domicile_policy_review_due_seconds", "Seconds until the legal basis of a route out of this region has to be looked at again, below zero where that is late, by peer";
    /// Whether something may go to a region.
    Gauge RouteOpen = "domicile_policy_route_open_flag", "1 where what is released here may go to the region, by peer";
    /// How far the peers are.
    Histogram RoundTrips = "domicile_link_round_trip_seconds", "Round trips to peers as the link measures them, looked at every few seconds, by peer";
    /// What other regions were told.
    Counter Cells = "domicile_federate_answered_cells", "Cells of answers to other regions: published whole, or with something withheld, by peer";
}

/// The node's metrics. Clones are the same metrics.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    gauges: Vec<(Metric, Gauge<f64, AtomicU64>)>,
    flows: Flows,
}

impl Metrics {
    /// Registers them all. Labels name the regions that have facts, and no others.
    pub(crate) fn new(regions: &Regions) -> Self {
        let mut registry = Registry::default();
        let mut gauges = Vec::new();
        let is_plain = |metric: &&Metric| metric.kind() == Kind::Gauge && !flows::BY_PEER.contains(*metric);
        for metric in Metric::ALL.iter().filter(is_plain) {
            let gauge = Gauge::default();
            registry.register(metric.name(), metric.help(), gauge.clone());
            gauges.push((*metric, gauge));
        }
        let flows = Flows::registered(&mut registry, regions);
        Self(Arc::new(Inner { registry: Mutex::new(registry), gauges, flows }))
    }

    /// What grows while the node works.
    pub(crate) fn flows(&self) -> &Flows {
        &self.0.flows
    }

    /// Sets one of them.
    pub(crate) fn set(&self, metric: Metric, value: u64) {
        if let Some((_, gauge)) = self.0.gauges.iter().find(|(known, _)| *known == metric) {
            // Precise up to 2^53, which none of them reaches.
            #[allow(clippy::cast_precision_loss, reason = "no value comes near 2^53")]
            gauge.set(value as f64);
        }
    }

    /// All of them in the text format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        if let Some(used) = process::used() {
            self.set(Metric::Memory, used.memory_bytes);
            self.0.flows.spent(used.cpu);
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.0.registry.lock());
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domicile_proto::border::EgressClass;

    use super::*;

    #[test]
    fn no_metric_counts_values() {
        for metric in Metric::ALL {
            let name = metric.name();
            let counts = ["originals", "subjects", "tokens"].iter().any(|of| name.contains(of));
            assert!(!counts, "{name}: whoever scrapes would see whether a value is new");
        }
    }

    #[test]
    fn every_name_has_stage_noun_and_unit_and_is_scraped_once() {
        let metrics = Metrics::new(&Regions::built_in().expect("built in"));
        metrics.set(Metric::Shards, 2);
        // What nobody ever saw has no line.
        let tokyo = "tokyo".parse().expect("a name");
        metrics.flows().crossed(Direction::Out, &tokyo, EgressClass::Question, 1);
        metrics.flows().round_trip(&tokyo, Duration::from_millis(1));
        metrics.flows().route(&tokyo, true, -5);
        let text = metrics.text();
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("domicile_") && name.split('_').count() >= 4, "{name}");
            assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
            let kind = match metric.kind() {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        }
        assert!(text.contains("domicile_segment_shards_count 2"), "{text}");
        assert!(text.contains("domicile_policy_review_due_seconds{peer=\"tokyo\"} -5\n"), "{text}");
    }

    #[test]
    fn what_the_process_used_is_there_and_grows() {
        let metrics = Metrics::new(&Regions::built_in().expect("built in"));
        let value = |text: &str, name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("scraped");
            line.rsplit(' ').next().expect("a value").parse().expect("a number")
        };
        let before = value(&metrics.text(), "domicile_process_cpu_seconds_total");
        // Work until the clock of the process, which ticks a hundred times a second, has gone on.
        while value(&metrics.text(), "domicile_process_cpu_seconds_total") <= before {}
        assert!(value(&metrics.text(), "domicile_process_memory_bytes") > f64::from(1 << 20));
    }
}
