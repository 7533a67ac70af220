//! What the process used of its machine, as Linux tells it under `/proc/self`. Elsewhere nothing is told.

use std::time::Duration;

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
        assert_eq!(memory("VmRSS: many kB"), None);
        assert_eq!(memory("VmSize: 4 kB"), None);
    }
}
