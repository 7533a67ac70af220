//! Disks that can lose power and run full: one file system in a file for each node, mounted over its directory.

pub mod damage;
pub mod flushes;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::kernel;

/// Size of one node's disk, in MiB; XFS takes nothing smaller than 300.
const MIB: u64 = 320;
/// The file that fills a disk.
const BALLAST: &str = "ballast";

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ext4 without the rescue of files that are renamed before they are flushed.
    Ext4,
    /// XFS.
    Xfs,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    const fn options(self) -> &'static str {
        match self {
            Self::Ext4 => "loop,noauto_da_alloc",
            Self::Xfs => "loop",
        }
    }
}

/// One disk for each node; unmounted when dropped.
pub struct Disks {
    images: PathBuf,
    mounts: Vec<PathBuf>,
    format: Format,
}

impl Disks {
    /// Makes disks and mounts them. The images lie in `images`.
    ///
    /// # Errors
    /// When the machine does not allow it.
    pub fn mount(images: &Path, homes: &[PathBuf], format: Format) -> Result<Self> {
        let mut disks = Self { images: images.to_owned(), mounts: Vec::new(), format };
        for (number, home) in homes.iter().enumerate() {
            let image = disks.image(number);
            File::create(&image)?.set_len(MIB << 20)?;
            let make = format!("mkfs.{}", format.name());
            let quiet = if format == Format::Ext4 { "-F" } else { "-f" };
            run(&make, &["-q", quiet, &image.display().to_string()])?;
            disks.attach(number, home)?;
            disks.mounts.push(home.clone());
        }
        Ok(disks)
    }

    fn image(&self, number: usize) -> PathBuf {
        self.images.join(format!("disk-{number}.img"))
    }

    fn attach(&self, number: usize, home: &Path) -> Result<()> {
        let (image, home) = (self.image(number).display().to_string(), home.display().to_string());
        run("mount", &["-t", self.format.name(), "-o", self.format.options(), &image, &home])
    }

    /// Takes the power from a disk. True when the file system is dead indeed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_power(&self, number: usize) -> Result<bool> {
        kernel::cut_power(&self.mounts[number])?;
        Ok(File::create(self.mounts[number].join("is-there-power")).is_err())
    }

    /// Brings a dead disk back, after its node is gone: the journal is replayed.
    ///
    /// # Errors
    /// When something still holds it.
    pub fn remount(&self, number: usize) -> Result<()> {
        let home = &self.mounts[number];
        run("umount", &[&home.display().to_string()])?;
        self.attach(number, home)
    }

    /// Writes everything down, so that a loss of power begins with what is there now.
    ///
    /// # Errors
    /// When a disk refuses.
    pub fn flush(&self) -> Result<()> {
        // Not all there is: another cluster may be about to lose its power.
        self.mounts.iter().try_for_each(|home| run("sync", &["--file-system", &home.display().to_string()]))
    }

    /// Fills a disk to the last byte. True when nothing more fits.
    ///
    /// # Errors
    /// When it fails otherwise.
    pub fn fill(&self, number: usize) -> Result<bool> {
        let mut file = File::create(self.mounts[number].join(BALLAST))?;
        for size in [1 << 20, 4 << 10, 1] {
            let block = vec![0x5a; size];
            loop {
                if let Err(error) = file.write_all(&block) {
                    ensure!(error.kind() == std::io::ErrorKind::StorageFull, "filling the disk: {error}");
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Frees it again.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn empty(&self, number: usize) -> Result<()> {
        Ok(std::fs::remove_file(self.mounts[number].join(BALLAST))?)
    }

    /// What this machine lacks for disks of a format; none when it lacks nothing.
    pub fn missing(format: Format) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some(format!("power loss on {}: not root", format.name()));
        }
        let make = format!("mkfs.{}", format.name());
        let tools = [make.as_str(), "mount", "umount", "losetup"];
        let absent = tools.iter().find(|tool| {
            let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
            !found.is_ok_and(|status| status.success())
        });
        if let Some(tool) = absent {
            return Some(format!("power loss on {}: no `{tool}`", format.name()));
        }
        let images = tempfile::tempdir().ok()?;
        let home = images.path().join("mount");
        std::fs::create_dir(&home).ok()?;
        match Self::mount(images.path(), &[home], format).and_then(|disks| disks.cut_power(0)) {
            Ok(true) => None,
            Ok(false) => Some(format!("power loss on {}: the shutdown does nothing here", format.name())),
            Err(error) => Some(format!("power loss on {}: {error:#}", format.name())),
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for home in &self.mounts {
            let _ = run("umount", &[&home.display().to_string()]);
        }
    }
}

fn run(tool: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output().with_context(|| tool.to_owned())?;
    ensure!(
        output.status.success(),
        "`{tool} {}`: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
