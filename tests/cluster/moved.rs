//! A moved clock: the processes of a test follow a file that says how many seconds they are ahead of the machine.
//!
//! What waits and what measures a duration is not moved, nor is what judges certificates: as on a machine whose clock is set forward.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::wait_until;

/// The environment variable that names the file. The product does not know it: the binary of the tests does.
pub const CLOCK: &str = "DOMICILE_TEST_CLOCK";
/// A day, in seconds.
pub const DAY: u64 = 86_400;

/// The file below a directory of a test.
pub(super) fn file_in(directory: &Path) -> PathBuf {
    directory.join("clock")
}

/// Has the processes be ahead by so many seconds; returns when all of them are.
pub(super) fn turn(file: &Path, seconds: u64, pids: &[u32]) -> Result<()> {
    let text = seconds.to_string();
    let new = file.with_extension("new");
    std::fs::write(&new, &text)?;
    std::fs::rename(new, file)?;
    let has_turned = |pid: &u32| {
        let told = std::fs::read_to_string(format!("{}.{pid}", file.display()));
        told.is_ok_and(|told| told == text)
    };
    let all = wait_until(Duration::from_secs(30), || pids.iter().all(has_turned).then_some(()));
    all.with_context(|| format!("not all of {pids:?} took {seconds} s from {}", file.display()))
}

/// Now, in seconds since 1970, by the machine's clock: the file system says so.
///
/// # Errors
/// When the file cannot be written.
pub fn machine_now(directory: &Path) -> Result<u64> {
    let file = directory.join("now");
    std::fs::write(&file, "")?;
    Ok(std::fs::metadata(file)?.modified()?.duration_since(UNIX_EPOCH)?.as_secs())
}
