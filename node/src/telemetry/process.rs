//! What the process, and one thread of it, used of its machine, as Linux tells it under `/proc`. Elsewhere nothing is
//! told.

use std::fs::File;
use std::time::{Duration, Instant};

/// Ticks of processor time in a second: a constant of Linux's interface on every architecture this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// What was used since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// In user space and in the kernel together.
    pub(super) cpu: Duration,
    /// Resident memory.
    pub(super) memory_bytes: u64,
}

/// What this process used.
pub(super) fn used() -> Option<Used> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(Used { cpu: cpu(&stat)?, memory_bytes: memory(&status)? })
}

/// The fourteenth and fifteenth fields; the second is a name in brackets that may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, kernel) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(Duration::from_millis(user.checked_add(kernel)?.checked_mul(1_000 / TICKS_PER_SECOND)?))
}

fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// A moment in the life of this thread. Between two of them lies the time that it spent on a processor; where the
/// system does not tell that, the time that went by.
///
/// The system counts up to its last tick, some milliseconds ago: of short stretches each shows nothing or a whole tick,
/// and their sum is right.
pub(crate) struct ThreadTime {
    spent: Option<Duration>,
    at: Instant,
}

impl ThreadTime {
    /// Now.
    pub(crate) fn now() -> Self {
        Self { spent: thread_spent(), at: Instant::now() }
    }

    /// What was spent since; to be asked on the same thread.
    pub(crate) fn elapsed(&self) -> Duration {
        match (self.spent, thread_spent()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.at.elapsed(),
        }
    }

    /// Whether the system tells it.
    #[cfg(test)]
    pub(crate) fn is_told() -> bool {
        thread_spent().is_some()
    }
}

thread_local! {
    /// Open as long as the thread lives: a read costs less than a microsecond, and opening several.
    static SCHEDSTAT: Option<File> = File::open("/proc/thread-self/schedstat").ok();
}

/// What this thread spent on processors since its start.
fn thread_spent() -> Option<Duration> {
    let mut told = [0; 64];
    let read = SCHEDSTAT.try_with(|file| read_at_start(file.as_ref()?, &mut told)).ok()??;
    spent(std::str::from_utf8(told.get(..read)?).ok()?)
}

#[cfg(unix)]
fn read_at_start(file: &File, told: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, told, 0).ok()
}

#[cfg(not(unix))]
const fn read_at_start(_: &File, _: &mut [u8]) -> Option<usize> {
    None
}

/// The first number of a thread's `schedstat`, in nanoseconds.
fn spent(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_fields_are_read_whatever_the_program_is_called() {
        let stat = "7 (a) 9 ) b) S 1 7 7 0 -1 4194304 500 0 0 0 250 31 0 0 20 0 9 0 1 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_millis(2_810)));
        assert_eq!(memory("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t1\n"), Some(2 << 20));
    }

    #[test]
    fn what_cannot_be_read_is_not_told() {
        for stat in ["", "7 (a", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194304 500 0 0 0 x 31"] {
            assert_eq!(cpu(stat), None, "{stat}");
        }
        assert_eq!(cpu(&format!("7 (a) S 1 7 7 0 -1 4194304 500 0 0 0 {} 31", u64::MAX)), None);
        assert_eq!(spent("169641 2452239 2\n"), Some(Duration::from_nanos(169_641)));
        assert_eq!((spent(""), spent("x 1 2")), (None, None));
        assert_eq!(memory("VmRSS: many kB"), None);
        assert_eq!(memory("VmSize: 4 kB"), None);
    }
}
