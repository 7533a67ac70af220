//! The doors of the kernel that cannot be opened in safe Rust: sudden loss of power for a mounted file system, and a network
//! device whose other end is this process. And what else is done inside a namespace.

#![allow(unsafe_code, reason = "two numbers of ioctl, each with an argument whose size the kernel knows")]

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::ioctl::{Setter, Updater, ioctl};
use rustix::thread::LinkNameSpaceType;

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

/// `TUNSETIFF`.
const TUN_SET: rustix::ioctl::Opcode = 0x4004_54ca;
/// Whole IP packets, and nothing in front of them.
const TUN_PLAIN: u16 = 0x1001;

/// Goes into a namespace. The calling thread stays there.
fn enter(namespace: &str) -> Result<()> {
    let door = File::open(format!("/var/run/netns/{namespace}")).with_context(|| namespace.to_owned())?;
    Ok(rustix::thread::move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// A socket that listens on the loopback of a namespace, whoever takes from it.
///
/// # Errors
/// When there is no such namespace, or we may not.
pub(crate) fn listen_in(namespace: String) -> Result<TcpListener> {
    let listening = std::thread::spawn(move || -> Result<TcpListener> {
        enter(&namespace)?;
        Ok(TcpListener::bind("127.0.0.1:0")?)
    });
    listening.join().map_err(|_| anyhow::anyhow!("a thread in a namespace"))?
}

/// Opens a TUN device in a namespace. The calling thread stays in that namespace.
///
/// # Errors
/// When there is no such namespace, or we may not.
pub(crate) fn tun_in(namespace: &str, name: &str) -> Result<File> {
    enter(namespace)?;
    let tun = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    request.iter_mut().skip(16).zip(TUN_PLAIN.to_ne_bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: the number takes a pointer to a `struct ifreq` of 40 bytes and writes into it; `Updater` passes ours.
    let done = unsafe { ioctl(&tun, Updater::<'_, TUN_SET, [u8; 40]>::new(&mut request)) };
    done.with_context(|| format!("the device {name}"))?;
    Ok(tun)
}
