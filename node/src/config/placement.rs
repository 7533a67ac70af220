//! The `[placement]` section: whether and when streams move to another node of the region for their load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How streams of durability `bucket` move between the nodes of a region for their load. Nodes of a region should
/// agree: each moves what it has itself, as its own settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlacementConfig {
    /// Whether this node gives streams away for their load. Default false: a stream that moves leaves the sealed
    /// originals of its records with the keyring of the node that sealed them, so that is for an operator to say. What
    /// would move is shown either way.
    pub(crate) enabled: bool,
    /// Seconds between two looks, 1 to 3600; at most one stream moves in each. Default 60: a shipper that follows is
    /// away from its stream for a second or two each time.
    pub(crate) interval_seconds: u32,
    /// Seconds after which a measured load counts half, 1 to 86400. Default 300: of a burst of a minute an eighth
    /// counts, a quarter where nothing was measured before, so that 50 MB at once weigh twelve thousandths of a
    /// processor at most, and move nothing by themselves; a change of the day does. A stream moves at most once in this
    /// time.
    pub(crate) half_life_seconds: u32,
    /// Thousandths of a processor by which two nodes may differ at least without anything moving, 1 to 64000. Default
    /// 100. They may always differ by a fifth of what a node carries on average.
    pub(crate) least_millicores: u32,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self { enabled: false, interval_seconds: 60, half_life_seconds: 300, least_millicores: 100 }
    }
}

impl PlacementConfig {
    /// Pause between two looks.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_seconds))
    }

    /// After how long a measured load counts half.
    pub(crate) fn half_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.half_life_seconds))
    }

    /// The difference that counts as even, in millionths of a processor.
    pub(crate) fn least(&self) -> u64 {
        u64::from(self.least_millicores) * 1_000
    }

    /// The first bound that is broken: its key, what was found, and what is allowed.
    pub(super) fn mistake(&self) -> Option<(&'static str, u64, &'static str)> {
        [
            ("placement.interval_seconds", self.interval_seconds, 1..=3_600, "1 to 3600"),
            ("placement.half_life_seconds", self.half_life_seconds, 1..=86_400, "1 to 86400"),
            ("placement.least_millicores", self.least_millicores, 1..=64_000, "1 to 64000"),
        ]
        .into_iter()
        .find(|(_, found, bounds, _)| !bounds.contains(found))
        .map(|(key, found, _, allowed)| (key, u64::from(found), allowed))
    }
}
