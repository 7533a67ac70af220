//! Wall clocks of nodes that can be set, each by itself, while the nodes run: libfaketime, told by a file. The steady clock, by
//! which nodes wait and measure, is left alone, as it is on a machine whose clock somebody sets.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

/// The library for programs with threads, below a directory of libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Where the library keeps what threads and children of a process have in common: a piece of memory and what guards it, both named by
/// the process.
const SHARED: &str = "/dev/shm";

/// How a clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As the machine's.
    Right,
    /// So many seconds ahead of it, or behind.
    Off(i64),
    /// Twice as fast.
    Double,
}

/// One clock for each node.
pub struct Clocks {
    library: PathBuf,
    directory: PathBuf,
}

impl Clocks {
    /// Clocks that are all right; what tells them otherwise lies in `directory`.
    ///
    /// # Errors
    /// When the library is not there.
    pub fn new(directory: &Path) -> Result<Self> {
        let library = library().context("no libfaketime")?;
        Ok(Self { library, directory: directory.to_owned() })
    }

    fn file(&self, node: &str) -> PathBuf {
        self.directory.join(format!("{node}.clock"))
    }

    /// What a node is started with.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn environment(&self, node: &str) -> Result<Vec<(&'static str, PathBuf)>> {
        let file = self.file(node);
        if !file.is_file() {
            self.set(node, Pace::Right)?;
        }
        Ok(vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ])
    }

    /// Sets a node's clock; it looks once a second.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn set(&self, node: &str, pace: Pace) -> Result<()> {
        let told = match pace {
            // The pace goes on as it was where none is named.
            Pace::Right => "+0 x1".to_owned(),
            Pace::Off(seconds) => format!("{seconds:+} x1"),
            Pace::Double => "+0 x2".to_owned(),
        };
        // Renamed into its place: nobody reads half of it.
        let (file, draft) = (self.file(node), self.directory.join(format!("{node}.clock.new")));
        std::fs::write(&draft, told + "\n")?;
        Ok(std::fs::rename(draft, file)?)
    }

    fn shared(process: u32) -> [PathBuf; 2] {
        [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")]
            .map(|name| Path::new(SHARED).join(name))
    }

    /// Takes away what the library kept for a process that is gone: one that is killed leaves it behind, and another one that is given
    /// its number later would find it. Where the process went in peace it is gone already.
    pub fn forget(process: u32) {
        Self::shared(process).iter().for_each(|left| drop(std::fs::remove_file(left)));
    }

    /// What this machine lacks; none where it lacks nothing.
    pub fn missing() -> Option<String> {
        library().is_none().then(|| "clocks that are set: no libfaketime".to_owned())
    }
}

/// What the machine's own clock says, in Unix milliseconds.
pub fn now_ms() -> i64 {
    UNIX_EPOCH.elapsed().map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Where the library lies: with the others of the machine's own kind.
fn library() -> Option<PathBuf> {
    let kinds = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = kinds.chain(["/usr/lib".into(), "/usr/local/lib".into()]);
    places.map(|place| place.join(LIBRARY)).find(|library| library.is_file())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use domicile_tests::cluster::{READY_WITHIN, require, wait_until};

    use super::*;

    fn seconds_of(clocks: &Clocks, node: &str) -> i64 {
        let asked = Command::new("date").arg("+%s").envs(clocks.environment(node).unwrap()).output().unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap()
    }

    /// Clocks in a directory of their own; none where this machine has not got what they need.
    fn clocks() -> Option<(tempfile::TempDir, Clocks)> {
        if let Some(lack) = Clocks::missing() {
            require::missing(&lack);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let clocks = Clocks::new(directory.path()).unwrap();
        Some((directory, clocks))
    }

    #[test]
    fn each_node_has_a_clock_of_its_own() {
        let Some((_directory, clocks)) = clocks() else { return };
        let now = || now_ms() / 1_000;
        assert!((seconds_of(&clocks, "tokyo") - now()).abs() <= 1);
        clocks.set("tokyo", Pace::Off(-7_000)).unwrap();
        clocks.set("singapore", Pace::Off(7_000)).unwrap();
        assert!((seconds_of(&clocks, "tokyo") + 7_000 - now()).abs() <= 1);
        assert!((seconds_of(&clocks, "singapore") - 7_000 - now()).abs() <= 1);
        assert!((seconds_of(&clocks, "frankfurt") - now()).abs() <= 1);
    }

    #[test]
    fn nothing_is_left_of_the_clock_of_a_process_that_was_killed() {
        let Some((_directory, clocks)) = clocks() else { return };
        let mut sleeper = Command::new("sleep").arg("600").envs(clocks.environment("tokyo").unwrap()).spawn().unwrap();
        let shared = Clocks::shared(sleeper.id());
        let are_there = || shared.iter().all(|file| file.is_file());
        let came = wait_until(READY_WITHIN, || are_there().then_some(()));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(came.is_some() && are_there(), "a process that is killed leaves them behind");
        Clocks::forget(sleeper.id());
        assert!(shared.iter().all(|file| !file.is_file()));
    }
}
