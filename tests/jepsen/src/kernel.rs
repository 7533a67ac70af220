//! The doors of the kernel that cannot be opened in safe Rust: sudden loss of power for a mounted file system.

#![allow(unsafe_code, reason = "two numbers of ioctl, each with an argument whose size the kernel knows")]

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::ioctl::{Setter, ioctl};

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` have the same number.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// Not even the file system's own journal is flushed.
const WITHOUT_JOURNAL: u32 = 2;

/// Takes the power from a mounted ext4 or XFS: from now on everything answers EIO, and what was not flushed is gone.
///
/// # Errors
/// When it is no such file system, or we may not.
pub(crate) fn cut_power(mount: &Path) -> Result<()> {
    let file = File::open(mount).with_context(|| format!("{}", mount.display()))?;
    // SAFETY: the number takes a pointer to a u32, which `Setter` passes and which outlives the call.
    let done = unsafe { ioctl(&file, Setter::<SHUTDOWN, u32>::new(WITHOUT_JOURNAL)) };
    done.with_context(|| format!("shutting {} down", mount.display()))
}
