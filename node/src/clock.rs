//! Time, as an argument: the only place that asks the machine what time it is.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domicile_proto::ids::Timestamp;

/// A clock that can be handed around: the machine's, or one that a test turns.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Kind);

/// One moment, told twice: by the wall, which somebody may set, and by how long this process has run, which nobody can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// In UTC.
    pub(crate) wall: Timestamp,
    /// Since a moment in this process that stays the same.
    pub(crate) ran: Duration,
}

#[cfg(test)]
impl From<Timestamp> for Reading {
    /// For tests in which time goes by as the wall says.
    fn from(wall: Timestamp) -> Self {
        Self { wall, ran: Duration::from_micros(u64::try_from(wall.0).unwrap_or_default()) }
    }
}

/// From when on [`Clock::steady`] counts.
static BEGUN: LazyLock<Duration> = LazyLock::new(since_boot);

/// Two readings of one clock that are no further apart leave no room for anything between them.
const AT_ONCE: Duration = Duration::from_millis(100);

/// How far the clocks of this process are ahead of the machine's, in microseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

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

/// What a test turns.
#[derive(Debug, Default)]
struct Turned {
    micros: AtomicI64,
    /// In microseconds.
    steady: AtomicU64,
}

impl Clock {
    /// The machine's clock.
    pub(crate) const fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands until it is turned.
    #[allow(dead_code, reason = "tests turn the clock")]
    pub(crate) fn standing_at(at: Timestamp) -> Self {
        Self(Kind::Turned(Arc::new(Turned { micros: AtomicI64::new(at.0), ..Turned::default() })))
    }

    /// Sets a standing clock, as somebody sets a wrong one: no time passes. The machine's clock stays as it is.
    #[allow(dead_code, reason = "tests turn the clock")]
    pub(crate) fn turn_to(&self, at: Timestamp) {
        if let Kind::Turned(turned) = &self.0 {
            turned.micros.store(at.0, Ordering::SeqCst);
        }
    }

    /// Has so much time pass for a standing clock.
    #[allow(dead_code, reason = "tests turn the clock")]
    pub(crate) fn pass(&self, by: Duration) {
        if let Kind::Turned(turned) = &self.0 {
            turned.micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
            turned.steady.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }

    /// How much time has passed since some moment of this process, whatever [`Clock::now`] was set to meanwhile: for whatever must
    /// not come early or late by a clock that jumps. Two of them can be compared, within one process. While a machine sleeps it
    /// goes on (on Linux); while somebody outside has stopped a virtual one, nothing in it knows.
    pub(crate) fn steady(&self) -> Duration {
        match &self.0 {
            Kind::System => since_boot().saturating_sub(*BEGUN),
            Kind::Turned(turned) => Duration::from_micros(turned.steady.load(Ordering::SeqCst)),
        }
    }

    /// Now, in UTC and by how long this process has run. Both are read at one moment: what was interrupted in between is read again, else a
    /// process that was stopped there would think that its clock was set.
    pub(crate) fn reading(&self) -> Reading {
        loop {
            let (before, wall, ran) = (self.steady(), self.now(), self.steady());
            if ran.saturating_sub(before) < AT_ONCE {
                return Reading { wall, ran };
            }
        }
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
            Kind::Turned(turned) => Timestamp(turned.micros.load(Ordering::SeqCst)),
        }
    }
}

/// Since the machine was started, asleep or not.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Since the process first asked; what the machine slept is not in it.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}
