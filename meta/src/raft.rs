//! The consensus library as the group uses it: its types, and its timing.
//!
//! Timing follows from the largest round trip R between two regions: a heartbeat is the hard limit of every append, so it
//! must exceed a round trip and a flush; an election waits for several lost heartbeats.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domicile_proto::metadata::{Applied, Command};
use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::error::MetaError;
use crate::limits::{APPEND_ENTRIES, MIN_HEARTBEAT, SNAPSHOT_TIMEOUT};
use crate::state::State;

openraft::declare_raft_types!(
    /// The types the consensus library works with.
    pub(crate) Types:
        D = Batch,
        R = Vec<Applied>,
        NodeId = u64,
        Node = Member,
        SnapshotData = State,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// What one entry of the log asks for: commands, applied in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch(pub(crate) Vec<Command>);

/// Where a member's link listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) addr: SocketAddr,
}

impl Default for Member {
    fn default() -> Self {
        Self { addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) }
    }
}

/// How long the members wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats, and for an answer to one.
    pub heartbeat: Duration,
    /// How long after the last word of the leader no member votes for another one.
    pub lease: Duration,
    /// Shortest silence of the leader after which a member stands for election; each has its own, between this and the longest.
    pub election_min: Duration,
    /// Longest.
    pub election_max: Duration,
}

impl Timing {
    /// The timing for a largest round trip.
    pub fn for_round_trip(round_trip: Duration) -> Self {
        let heartbeat = MIN_HEARTBEAT.max(round_trip.saturating_mul(2));
        let [lease, election_min, election_max] = [6, 9, 12].map(|heartbeats| heartbeat.saturating_mul(heartbeats));
        Self { heartbeat, lease, election_min, election_max }
    }
}

/// The library's configuration.
///
/// To the library (openraft 0.9) an election timeout is what passes *after* the lease, which is as long as the longest of them;
/// and a member that saw a longer log than its own waits twice the longest once more.
pub(crate) fn config(timing: Timing, snapshot_every: u64, keep_entries: u64) -> Result<Arc<Config>, MetaError> {
    let config = Config {
        cluster_name: "domicile".to_owned(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min - timing.lease),
        election_timeout_max: millis(timing.lease),
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        max_in_snapshot_log_to_keep: keep_entries,
        max_payload_entries: APPEND_ENTRIES,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| MetaError::Consensus { found: error.to_string() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_follows_the_largest_round_trip() {
        let loopback = Timing::for_round_trip(Duration::ZERO);
        assert_eq!((loopback.heartbeat.as_millis(), loopback.election_max.as_millis()), (100, 1_200));
        let world = Timing::for_round_trip(Duration::from_millis(230));
        assert_eq!((world.heartbeat.as_millis(), world.election_max.as_millis()), (460, 5_520));
        assert!(config(world, 10_000, 1_000).is_ok());
    }

    #[test]
    fn a_member_stands_for_election_between_the_shortest_silence_and_the_longest() {
        for millis in [0, 50, 100, 230, 800] {
            let timing = Timing::for_round_trip(Duration::from_millis(millis));
            let told = config(timing, 10_000, 1_000).unwrap();
            let (min, max) = (told.election_timeout_min, told.election_timeout_max);
            let silence = [max + min, max + max].map(Duration::from_millis);
            assert_eq!(silence, [timing.election_min, timing.election_max]);
        }
    }
}
