//! The policy lease: how long this region may answer outward on a policy it can no longer hear change.
//!
//! A revocation reaches a region within the lease or the region stops answering others. Local work never looks here.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Silence of the metadata group after which only the most restrictive view leaves the region. Source: DESIGN, section 5.
pub(crate) const POLICY_LEASE: Duration = Duration::from_secs(30);

/// When the metadata group was last heard, by the machine's steady clock.
#[derive(Debug, Default)]
pub(crate) struct Lease(Mutex<Option<Instant>>);

impl Lease {
    /// The group was heard: a leader is known and its word reaches this node.
    pub(crate) fn heard(&self, at: Instant) {
        *self.0.lock() = Some(at);
    }

    /// Whether the lease is over: the group has not been heard for [`POLICY_LEASE`], or never.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.0.lock().is_none_or(|heard| now.saturating_duration_since(heard) > POLICY_LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_thirty_seconds_after_the_last_word() {
        let start = Instant::now();
        let lease = Lease::default();
        assert!(lease.is_over(start), "a node that never heard the group answers nobody");
        lease.heard(start);
        assert!(!lease.is_over(start + POLICY_LEASE));
        assert!(lease.is_over(start + POLICY_LEASE + Duration::from_millis(1)));
        lease.heard(start + POLICY_LEASE);
        assert!(!lease.is_over(start + POLICY_LEASE + Duration::from_millis(1)));
    }
}
