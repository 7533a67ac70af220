//! Time, as an argument: the only place that asks the machine what time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domicile_proto::ids::Timestamp;

/// A clock that can be handed around: the machine's, or one that a test turns.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Kind);

/// One moment, told twice: by the wall, which somebody may set, and by how long this process has run, which nobody can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// In UTC.
    pub(crate) wall: Timestamp,
    /// Since a moment in this process that stays the same; 0 by a clock that a test turns, for that lets no time go by.
    pub(crate) ran: Duration,
}

#[cfg(test)]
impl From<Timestamp> for Reading {
    /// For tests in which time goes by as the wall says.
    fn from(wall: Timestamp) -> Self {
        Self { wall, ran: Duration::from_micros(u64::try_from(wall.0).unwrap_or_default()) }
    }
}

/// Where [`Reading::ran`] counts from.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How far the clocks of this process are ahead of the machine's, in microseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// When this process first asked.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Has every clock of this process run so much ahead of the machine's from now on. For whole-system tests alone, which put the product
/// into a process of their own: nothing that a node is told by a file, an argument, its environment or a request comes here.
/// Certificates are still judged by the machine's clock.
pub fn run_ahead(by: Duration) {
    AHEAD.store(i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 2), Ordering::SeqCst);
}

#[derive(Clone, Debug)]
enum Kind {
    System,
    #[allow(dead_code, reason = "tests turn the clock")]
    Turned(Arc<Turned>),
}

/// A clock of a test: what it shows, and how much of that somebody set.
#[derive(Debug)]
struct Turned {
    shows: AtomicI64,
    set: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub(crate) const fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands until it is turned.
    #[allow(dead_code, reason = "tests turn the clock")]
    pub(crate) fn standing_at(at: Timestamp) -> Self {
        Self(Kind::Turned(Arc::new(Turned { shows: AtomicI64::new(at.0), set: AtomicI64::new(0) })))
    }

    /// Turns a standing clock: time passes. The machine's clock stays as it is.
    #[allow(dead_code, reason = "tests turn the clock")]
    pub(crate) fn turn_to(&self, at: Timestamp) {
        if let Kind::Turned(turned) = &self.0 {
            turned.shows.store(at.0, Ordering::SeqCst);
        }
    }

    /// Sets a standing clock forward, or back, by so many microseconds: no time passes.
    #[allow(dead_code, reason = "tests set the clock")]
    pub(crate) fn set_by(&self, micros: i64) {
        if let Kind::Turned(turned) = &self.0 {
            turned.shows.fetch_add(micros, Ordering::SeqCst);
            turned.set.fetch_add(micros, Ordering::SeqCst);
        }
    }

    /// Time that passed, in microseconds since some moment: nobody can set it. A machine that sleeps stops it.
    pub(crate) fn steady(&self) -> i64 {
        match &self.0 {
            Kind::System => i64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(i64::MAX),
            Kind::Turned(turned) => turned.shows.load(Ordering::SeqCst) - turned.set.load(Ordering::SeqCst),
        }
    }

    /// Now, in UTC and by how long this process has run.
    pub(crate) fn reading(&self) -> Reading {
        let ran = match &self.0 {
            Kind::System => BEGAN.elapsed(),
            Kind::Turned(_) => Duration::ZERO,
        };
        Reading { wall: self.now(), ran }
    }

    /// Now, in UTC.
    #[allow(clippy::disallowed_methods, reason = "the one place that may ask")]
    pub(crate) fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => {
                let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
                let micros = i64::try_from(micros).unwrap_or(i64::MAX);
                Timestamp(micros.saturating_add(AHEAD.load(Ordering::SeqCst)))
            }
            Kind::Turned(turned) => Timestamp(turned.shows.load(Ordering::SeqCst)),
        }
    }
}
