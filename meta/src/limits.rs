//! Every bound of the metadata group that is not a matter of the protocol: with unit and reason.
//!
//! The bounds of commands and rows are in `domicile_proto::metadata`, those of frames in `domicile_proto::codec`.

use std::time::Duration;

/// Most regions: each is a voter, and a group of more than a few dozen voters does not decide any more.
pub const MAX_REGIONS: usize = 64;
/// Most nodes, so that a membership fits the head of a snapshot (64 KiB at up to 28 bytes a node).
pub const MAX_NODES: usize = 2_000;
/// Most tenants; the state lies in memory on every node.
pub const MAX_TENANTS: usize = 100_000;
/// Most access keys of all regions together; the same reason.
pub const MAX_KEYS: usize = 100_000;
/// Most officer keys of one region whose newest consent is remembered; the one that was silent longest is forgotten beyond,
/// so that nobody can keep a new officer out. A region has one key, and another after each change of it.
pub const MAX_OFFICERS_PER_REGION: usize = 16;
/// Most orders of erasure of one region that are remembered; beyond it the oldest one that is gone is forgotten. Ten days of
/// 1,000 orders; the orders themselves stay in their region, where nothing is forgotten.
pub const MAX_ERASURES_PER_REGION: usize = 10_000;
/// Most rows in one snapshot that is taken from another node: what the bounds above allow, and a large reserve.
pub const MAX_SNAPSHOT_ROWS: u64 = 20_000_000;

/// Commands that wait for the proposer; beyond it callers are told to come back.
pub(crate) const PROPOSALS_WAITING: usize = 1_024;
/// Batches that are on their way to a quorum at the same time: more than one hides the second round trip of a commit.
pub(crate) const BATCHES_UNDER_WAY: usize = 4;
/// Most bytes of commands in one batch; an entry may have 2 MiB in its frame.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// Most bytes of entries in one frame to a follower; the frame may have 4 MiB.
pub(crate) const APPEND_BYTES: usize = 3 << 20;
/// Most entries in one frame to a follower.
pub(crate) const APPEND_ENTRIES: u64 = 300;
/// Jobs that wait for the writer of the log; the consensus library waits for each itself.
pub(crate) const LOG_JOBS_WAITING: usize = 1_024;
/// How long the hint how far the group has committed may stay unflushed.
pub(crate) const COMMITTED_FLUSH: Duration = Duration::from_millis(250);
/// How long the mark of how far the log was written may stay unflushed: after a loss of power a log that went back within
/// this time is not known for it. Shorter costs a flush more for each write of an idle group.
pub(crate) const MARK_FLUSH: Duration = Duration::from_secs(1);
/// Time for one snapshot to reach a follower and be installed.
pub(crate) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest time between two heartbeats.
pub(crate) const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

const _: () = {
    assert!(BATCH_BYTES < APPEND_BYTES);
    assert!(MAX_NODES * 28 < 64 << 10);
};

/// By how much epochs of shards grow at least when a group begins with a backup: more than an old group can have come meanwhile, at
/// one take-over a millisecond for thirty years.
pub const GENERATION_EPOCHS: u64 = 1 << 40;
/// By how much the counters of tenants, streams, shards and dictionary values grow then: more than any deployment makes.
pub const GENERATION_IDS: u32 = 1 << 20;
/// By how much the counter of regions grows then: more than there may be.
pub const GENERATION_REGIONS: u16 = 64;
/// By how much the version of the policy grows then: more changes than an old group can have taken.
pub const GENERATION_POLICIES: u64 = 1 << 32;
