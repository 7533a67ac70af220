//! One kept connection for each peer and protocol.
//!
//! Callers who need the same connection share one dial, and a caller who gives up does not end it. A dial that failed is
//! followed by a pause that doubles, with jitter; so is a connection that ended before the peer ever answered, for in TLS
//! 1.3 a refused certificate shows only then. A peer that dials us is there: its pause ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Line;
use super::errors::LinkError;
use super::identity::{PeerAddr, PeerId};
use super::limits::LinkLimits;
use super::protocol::Protocol;

type Dialled = Result<Arc<Line>, LinkError>;

/// The kept connections.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<(PeerId, Protocol), Slot>>);

enum Slot {
    Down { failures: u32, not_before: Option<Instant> },
    Dialling { failures: u32, outcome: watch::Receiver<Option<Dialled>> },
    Up { failures: u32, since: Instant, line: Arc<Line> },
}

/// What a caller finds.
pub(super) enum Found {
    /// A connection.
    Line(Arc<Line>),
    /// A dial that is under way.
    Dialling(watch::Receiver<Option<Dialled>>),
    /// Nothing: this caller is to dial and to tell the others.
    Dial(watch::Sender<Option<Dialled>>, watch::Receiver<Option<Dialled>>),
}

impl Pool {
    /// Looks for a connection.
    pub(super) fn find(&self, to: &PeerAddr, protocol: Protocol, limits: &LinkLimits) -> Result<Found, LinkError> {
        let now = Instant::now();
        let mut slots = self.slots();
        let slot = slots.entry((to.id.clone(), protocol)).or_insert(Slot::Down { failures: 0, not_before: None });
        let (failures, not_before) = match slot {
            Slot::Up { line, .. } if line.connection().close_reason().is_none() => {
                return Ok(Found::Line(Arc::clone(line)));
            }
            Slot::Up { line, .. } if line.is_proven() => (0, None),
            Slot::Up { failures, since, .. } => {
                let failures = failures.saturating_add(1);
                (failures, Some(*since + pause(failures, limits)))
            }
            Slot::Dialling { outcome, failures } => {
                if outcome.has_changed().is_ok() {
                    return Ok(Found::Dialling(outcome.clone()));
                }
                (*failures, None)
            }
            Slot::Down { failures, not_before } => (*failures, *not_before),
        };
        if let Some(due) = not_before
            && now < due
        {
            *slot = Slot::Down { failures, not_before };
            return Err(LinkError::BackingOff { peer: to.id.clone(), retry_in: due - now });
        }
        let (sender, outcome) = watch::channel(None);
        *slot = Slot::Dialling { failures, outcome: outcome.clone() };
        Ok(Found::Dial(sender, outcome))
    }

    /// Keeps what became of a dial.
    pub(super) fn keep(&self, to: &PeerId, protocol: Protocol, dialled: &Dialled, limits: &LinkLimits) {
        let mut slots = self.slots();
        let slot = slots.entry((to.clone(), protocol)).or_insert(Slot::Down { failures: 0, not_before: None });
        let failures = match slot {
            Slot::Down { failures, .. } | Slot::Dialling { failures, .. } | Slot::Up { failures, .. } => *failures,
        };
        *slot = match dialled {
            Ok(line) => Slot::Up { failures, since: Instant::now(), line: Arc::clone(line) },
            Err(_) => {
                let failures = failures.saturating_add(1);
                Slot::Down { failures, not_before: Some(Instant::now() + pause(failures, limits)) }
            }
        };
    }

    /// The peer is there: whoever wants to dial it need not wait.
    pub(super) fn heard_from(&self, peer: &PeerId) {
        for ((id, _), slot) in self.slots().iter_mut() {
            if id == peer
                && let Slot::Down { .. } = slot
            {
                *slot = Slot::Down { failures: 0, not_before: None };
            }
        }
    }

    /// Lets go of all connections; the next callers dial anew, with the certificates of then.
    pub(super) fn retire(&self) {
        self.slots().retain(|_, slot| matches!(slot, Slot::Dialling { .. }));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(PeerId, Protocol), Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failures: doubling, at most the longest, and between half and all of that.
fn pause(failures: u32, limits: &LinkLimits) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = limits.backoff_first.saturating_mul(1 << doublings).min(limits.backoff_longest);
    let mut random = [0_u8; 2];
    // Without random numbers the pause is the shortest of its range; nothing depends on it but fairness.
    let _ = SystemRandom::new().fill(&mut random);
    whole / 2 + (whole / 2).mul_f64(f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let limits = LinkLimits::default();
        for (failures, most) in [(1, 100), (2, 200), (3, 400), (5, 1_600), (6, 2_000), (u32::MAX, 2_000)] {
            let most = Duration::from_millis(most);
            let found = pause(failures, &limits);
            assert!(found >= most / 2 && found <= most, "{failures}: {found:?}");
        }
    }

    #[test]
    fn callers_share_a_dial_and_wait_after_a_failure_until_the_peer_is_heard_of() {
        let limits = LinkLimits { backoff_first: Duration::from_secs(3_600), ..LinkLimits::default() };
        let limits = LinkLimits { backoff_longest: Duration::from_secs(3_600), ..limits };
        let id = PeerId { region: "tokyo".parse().expect("a name"), node: crate::ids::NodeId(1) };
        let to = PeerAddr { id: id.clone(), addr: "127.0.0.1:1".parse().expect("an address") };
        let pool = Pool::default();
        let found = pool.find(&to, Protocol::Query, &limits);
        let Ok(Found::Dial(sender, _outcome)) = found else { panic!("the first caller dials") };
        assert!(matches!(pool.find(&to, Protocol::Query, &limits), Ok(Found::Dialling(_))));
        assert!(matches!(pool.find(&to, Protocol::Raft, &limits), Ok(Found::Dial(..))), "protocols are apart");
        pool.keep(&id, Protocol::Query, &Err(LinkError::Closed), &limits);
        drop(sender);
        assert!(matches!(pool.find(&to, Protocol::Query, &limits), Err(LinkError::BackingOff { .. })));
        pool.heard_from(&id);
        assert!(matches!(pool.find(&to, Protocol::Query, &limits), Ok(Found::Dial(..))));
    }
}
