//! One kept connection for each peer and protocol.
//!
//! Callers who need the same connection share one dial, and a caller who gives up does not end it. A dial that failed is
//! repeated in the background, with a pause that doubles and jitter; so is one whose connection ended before the peer ever
//! answered, for in TLS 1.3 a refused certificate shows only then. Whoever asks meanwhile is told at once that the peer is
//! out of reach: only a first dial, and the first after a loss, are worth waiting for. A peer that is heard from is there:
//! its pause ends. A peer that nobody asks for any more is left alone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::Line;
use super::errors::LinkError;
use super::identity::{PeerAddr, PeerId};
use super::limits::LinkLimits;
use super::protocol::Protocol;

type Dialled = Result<Arc<Line>, LinkError>;

/// The kept connections.
#[derive(Default)]
pub(super) struct Pool(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    places: HashMap<(PeerId, Protocol), Place>,
    turns: u64,
}

/// What is kept for one peer and protocol.
struct Place {
    slot: Slot,
    /// Where the peer listens, by the last who asked for it, and when that was.
    addr: SocketAddr,
    wanted: Instant,
}

enum Slot {
    /// Out of reach until the next attempt.
    Down { turn: Turn, failures: u32, due: Instant },
    /// An attempt is under way; all who wait are told.
    Dialling { turn: Turn, failures: u32, is_again: bool, told: watch::Sender<Option<Dialled>> },
    /// There is a connection.
    Up { failures: u32, since: Instant, line: Arc<Line> },
}

/// The right to dial for a place: one task has it, from the first attempt or a loss until there is a connection.
#[derive(Clone)]
pub(super) struct Turn {
    number: u64,
    /// Tells the task that the peer is there, so that it need not wait.
    pub(super) wake: Arc<Notify>,
}

/// What a caller finds.
pub(super) enum Found {
    /// A connection.
    Line(Arc<Line>),
    /// An attempt that is under way, and how long it is worth waiting for.
    Dialling(watch::Receiver<Option<Dialled>>, Duration),
}

/// What the task with the turn does next.
pub(super) enum Step {
    /// Dials.
    Dial(SocketAddr),
    /// Waits, unless it is woken.
    Wait(Duration),
    /// Ends: the turn is over.
    End,
}

impl Pool {
    /// Looks for a connection. With a turn, the caller has to begin a task that takes it.
    pub(super) fn find(
        &self,
        to: &PeerAddr,
        protocol: Protocol,
        limits: &LinkLimits,
    ) -> (Result<Found, LinkError>, Option<Turn>) {
        let now = Instant::now();
        let mut kept = self.kept();
        let key = (to.id.clone(), protocol);
        let has_ended = kept.places.get(&key).is_none_or(|place| match &place.slot {
            Slot::Up { line, .. } => line.connection().close_reason().is_some(),
            Slot::Down { .. } | Slot::Dialling { .. } => false,
        });
        let begun = has_ended.then(|| kept.turn(&key, limits));
        let out_of_reach = |retry_in| Err(LinkError::BackingOff { peer: to.id.clone(), retry_in });
        let turn = begun.as_ref().map(|(turn, _)| turn.clone());
        if let Some((_, slot)) = begun {
            kept.places.insert(key.clone(), Place { slot, addr: to.addr, wanted: now });
        }
        let Some(place) = kept.places.get_mut(&key) else { return (out_of_reach(limits.backoff_first), turn) };
        (place.addr, place.wanted) = (to.addr, now);
        let found = match &place.slot {
            Slot::Up { line, .. } => Ok(Found::Line(Arc::clone(line))),
            Slot::Dialling { failures: 0, is_again, told, .. } => {
                let patience = if *is_again { limits.reconnect } else { limits.handshake.saturating_mul(2) };
                Ok(Found::Dialling(told.subscribe(), patience))
            }
            Slot::Dialling { .. } => out_of_reach(limits.backoff_first),
            Slot::Down { due, .. } => out_of_reach(due.saturating_duration_since(now)),
        };
        (found, turn)
    }

    /// A connection has ended; gives the turn to dial again, if it is the one that is kept.
    pub(super) fn ended(&self, peer: &PeerId, protocol: Protocol, id: usize, limits: &LinkLimits) -> Option<Turn> {
        let mut kept = self.kept();
        let key = (peer.clone(), protocol);
        let place = kept.places.get(&key)?;
        let is_kept = matches!(&place.slot, Slot::Up { line, .. } if line.connection().stable_id() == id);
        let (turn, slot) = is_kept.then(|| kept.turn(&key, limits))?;
        kept.places.get_mut(&key)?.slot = slot;
        Some(turn)
    }

    /// What the task with this turn does now.
    pub(super) fn step(&self, peer: &PeerId, protocol: Protocol, turn: &Turn) -> Step {
        let mut kept = self.kept();
        let Some(place) = kept.places.get_mut(&(peer.clone(), protocol)) else { return Step::End };
        let now = Instant::now();
        match &place.slot {
            Slot::Down { turn: held, due, .. } if held.number == turn.number && *due > now => Step::Wait(*due - now),
            Slot::Down { turn: held, failures, .. } if held.number == turn.number => {
                place.slot = Slot::dialling(turn.clone(), *failures, true);
                Step::Dial(place.addr)
            }
            Slot::Dialling { turn: held, .. } if held.number == turn.number => Step::Dial(place.addr),
            _ => Step::End,
        }
    }

    /// Keeps what became of a dial and tells all who wait; whether the turn is over.
    pub(super) fn keep(
        &self,
        peer: &PeerId,
        protocol: Protocol,
        turn: &Turn,
        dialled: Dialled,
        limits: &LinkLimits,
    ) -> bool {
        let is_there = dialled.is_ok();
        let is_over = self.kept().keep((peer.clone(), protocol), turn, dialled, limits);
        if is_there {
            self.heard_from(peer);
        }
        is_over
    }

    /// The peer is there: whoever dials it need not wait.
    pub(super) fn heard_from(&self, peer: &PeerId) {
        for ((id, _), place) in &mut self.kept().places {
            if id != peer {
                continue;
            }
            match &mut place.slot {
                Slot::Down { turn, .. } => {
                    let turn = turn.clone();
                    turn.wake.notify_one();
                    place.slot = Slot::dialling(turn, 0, true);
                }
                Slot::Dialling { turn, failures, .. } if *failures > 0 => {
                    *failures = 0;
                    turn.wake.notify_one();
                }
                Slot::Dialling { .. } | Slot::Up { .. } => {}
            }
        }
    }

    /// Lets go of all connections; the next callers dial anew, with the certificates of then.
    pub(super) fn retire(&self) {
        self.kept().places.retain(|_, place| matches!(place.slot, Slot::Dialling { .. }));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A new turn for a place without a connection, and what is in the place from now on.
    fn turn(&mut self, key: &(PeerId, Protocol), limits: &LinkLimits) -> (Turn, Slot) {
        self.turns += 1;
        let turn = Turn { number: self.turns, wake: Arc::default() };
        let slot = match self.places.get(key).map(|place| &place.slot) {
            Some(Slot::Up { failures, since, line }) if !line.is_proven() => {
                let failures = failures.saturating_add(1);
                Slot::Down { turn: turn.clone(), failures, due: *since + pause(failures, limits) }
            }
            known => Slot::dialling(turn.clone(), 0, known.is_some()),
        };
        (turn, slot)
    }

    fn keep(&mut self, key: (PeerId, Protocol), turn: &Turn, dialled: Dialled, limits: &LinkLimits) -> bool {
        let Some(place) = self.places.get_mut(&key) else { return true };
        let (failures, told) = match &place.slot {
            Slot::Dialling { turn: held, failures, told, .. } if held.number == turn.number => {
                (*failures, told.clone())
            }
            _ => return true,
        };
        let is_over = match &dialled {
            Ok(line) => {
                place.slot = Slot::Up { failures, since: Instant::now(), line: Arc::clone(line) };
                true
            }
            Err(_) if place.wanted.elapsed() >= limits.forget => {
                self.places.remove(&key);
                true
            }
            Err(_) => {
                let failures = failures.saturating_add(1);
                let due = Instant::now() + pause(failures, limits);
                place.slot = Slot::Down { turn: turn.clone(), failures, due };
                false
            }
        };
        told.send_replace(Some(dialled));
        is_over
    }
}

impl Slot {
    fn dialling(turn: Turn, failures: u32, is_again: bool) -> Self {
        Self::Dialling { turn, failures, is_again, told: watch::Sender::new(None) }
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

    fn slow() -> LinkLimits {
        let hour = Duration::from_secs(3_600);
        LinkLimits { backoff_first: hour, backoff_longest: hour, ..LinkLimits::default() }
    }

    fn to() -> PeerAddr {
        let id = PeerId { region: "tokyo".parse().expect("a name"), node: crate::ids::NodeId(1) };
        PeerAddr { id, addr: "127.0.0.1:1".parse().expect("an address") }
    }

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
    fn callers_share_a_first_dial_and_wait_for_no_later_one_until_the_peer_is_heard_of() {
        let (pool, to, mut limits) = (Pool::default(), to(), slow());
        let query = |limits: &LinkLimits| pool.find(&to, Protocol::Query, limits);
        let (Ok(Found::Dialling(outcome, patience)), Some(turn)) = query(&limits) else { panic!("the first dials") };
        assert!(patience > limits.handshake && outcome.borrow().is_none());
        assert!(matches!(query(&limits), (Ok(Found::Dialling(..)), None)), "the second waits with it");
        assert!(pool.find(&to, Protocol::Raft, &limits).1.is_some(), "protocols are apart");
        let step = || pool.step(&to.id, Protocol::Query, &turn);
        let failed = |limits: &LinkLimits| pool.keep(&to.id, Protocol::Query, &turn, Err(LinkError::Closed), limits);
        let is_backing_off = |limits: &LinkLimits| matches!(query(limits), (Err(LinkError::BackingOff { .. }), None));
        assert!(matches!(step(), Step::Dial(_)));
        assert!(!failed(&limits), "the task goes on");
        assert!(outcome.borrow().is_some(), "who waits is told");
        assert!(is_backing_off(&limits) && matches!(step(), Step::Wait(_)));

        pool.heard_from(&to.id);
        assert!(matches!(query(&limits), (Ok(Found::Dialling(_, patience)), None) if patience == limits.reconnect));
        assert!(matches!(step(), Step::Dial(_)));
        limits.backoff_first = Duration::ZERO;
        assert!(!failed(&limits));
        assert!(matches!(step(), Step::Dial(_)), "the pause is over");
        assert!(is_backing_off(&limits), "an attempt after a failure is not waited for");

        limits.forget = Duration::ZERO;
        assert!(failed(&limits), "nobody wants it any more");
        assert!(matches!(step(), Step::End));
        assert!(query(&limits).1.is_some(), "who asks again begins anew");
    }

    #[test]
    fn an_old_turn_does_nothing_any_more() {
        let (pool, to, limits) = (Pool::default(), to(), slow());
        let (_, first) = pool.find(&to, Protocol::Query, &limits);
        let first = first.expect("the first dials");
        pool.keep(&to.id, Protocol::Query, &first, Err(LinkError::Closed), &limits);
        pool.retire();
        let moved = PeerAddr { addr: "127.0.0.1:2".parse().expect("an address"), ..to.clone() };
        let (_, second) = pool.find(&moved, Protocol::Query, &limits);
        assert!(matches!(pool.step(&to.id, Protocol::Query, &first), Step::End));
        assert!(pool.keep(&to.id, Protocol::Query, &first, Err(LinkError::Closed), &limits));
        let step = pool.step(&to.id, Protocol::Query, &second.expect("a new turn"));
        assert!(matches!(step, Step::Dial(addr) if addr == moved.addr));
    }
}
