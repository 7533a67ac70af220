//! Three regions as real processes, started by `domicile dev` or one by one from the configurations it wrote.

pub mod canary;
pub mod decrypt;
pub mod fenced;
pub mod fixture;
pub mod guard;
pub mod http;
pub mod loghub;
pub mod logs;
pub mod moved;
pub mod ports;
pub mod ready;
pub mod region;
pub mod relay;
pub mod require;
pub mod s3;
pub mod second;
pub mod speaker;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use guard::Guard;
use ready::Ready;
use region::Region;

/// The regions `dev` starts, in the order of their ports.
pub const REGIONS: [&str; 3] = ["tokyo", "singapore", "frankfurt"];

/// How long three regions may take until they answer a federated question. The product promises 10 s; a machine that builds
/// other things meanwhile gets more, and the promise itself is measured where nothing else runs.
pub const READY_WITHIN: Duration = Duration::from_secs(300);
/// How long everything may take to stop after being asked.
pub const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a node may take to stop that serves on for a while first.
pub const LEFT_WITHIN: Duration = Duration::from_secs(40);

/// Three regions, ended by id when this is dropped.
pub struct Cluster {
    binary: PathBuf,
    data: PathBuf,
    ready: Ready,
    dev: Option<Child>,
    nodes: Vec<(String, Child)>,
    guard: Guard,
    directory: TempDir,
}

impl Cluster {
    /// Starts `domicile dev` without samples and waits until it says it is ready.
    ///
    /// # Errors
    /// When it ends early or is not ready in time; the end of its log is in the message.
    pub fn start(binary: &str, more: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("domicile-test-").tempdir()?;
        Self::start_in(directory, binary, more)
    }

    /// Stops everything and starts `dev` again on what it left behind; how long it took to be ready.
    ///
    /// # Errors
    /// When it does not stop or start in time.
    pub fn start_again(mut self, more: &[&str]) -> Result<(Self, Duration)> {
        if !self.stop(STOP_WITHIN) {
            bail!("`dev` did not stop within {STOP_WITHIN:?} of SIGINT");
        }
        self.guard.forget_all();
        let binary = self.binary.display().to_string();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir()?);
        let begun = Instant::now();
        let again = Self::start_in(directory, &binary, more)?;
        Ok((again, begun.elapsed()))
    }

    fn start_in(directory: TempDir, binary: &str, more: &[&str]) -> Result<Self> {
        let data = directory.path().join("domicile-data");
        let ready_file = directory.path().join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let log = directory.path().join("dev.log");
        let mut dev = Command::new(binary)
            .args(["dev", "--no-samples", "--data"])
            .arg(&data)
            .args(["--base-port", "0", "--ready-file"])
            .arg(&ready_file)
            .args(more)
            .env(moved::CLOCK, moved::file_in(directory.path()))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("starting {binary}"))?;
        let guard = Guard::new();
        guard.add(dev.id());
        let ready = match wait_for_ready(&ready_file, &mut dev) {
            Ok(ready) => ready,
            Err(error) => {
                stop_gently(&mut dev, STOP_WITHIN);
                bail!("{error:#}; end of its log:\n{}", tail(&log));
            }
        };
        ready.regions.values().for_each(|region| guard.add(region.pid));
        let binary = PathBuf::from(binary);
        Ok(Self { binary, data, ready, dev: Some(dev), nodes: Vec::new(), guard, directory })
    }

    /// The doors and keys of one region.
    pub fn region(&self, name: &str) -> Region {
        Region::new(name, &self.ready)
    }

    /// The doors and keys of all regions.
    pub fn regions(&self) -> Vec<Region> {
        REGIONS.iter().map(|name| self.region(name)).collect()
    }

    /// Runs one of the operator's commands beside the data of `dev`, whose profile and officer keys it finds by itself.
    ///
    /// # Errors
    /// When it fails; what it said is in the message.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .current_dir(self.directory.path())
            .env(moved::CLOCK, moved::file_in(self.directory.path()))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`domicile {}`: {}: {told}{said}", arguments.join(" "), output.status);
        Ok(told.trim().to_owned())
    }

    /// Sets the clocks of the nodes that this test started, and of commands, to a time, in seconds since 1970, UTC; they go on from there. Returns
    /// when all of them are there. Clocks only go forward here.
    ///
    /// # Errors
    /// When a node does not follow in time, or the time lies behind the machine's.
    pub fn set_clock(&self, to: u64) -> Result<()> {
        let ahead = to.checked_sub(moved::machine_now(&self.data)?).context("a time to come")?;
        let pids: Vec<u32> = self.nodes.iter().map(|(_, child)| child.id()).collect();
        moved::turn(&moved::file_in(self.directory.path()), ahead, &pids)
    }

    /// Where everything lies.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The configuration a region's node is started with.
    pub fn configuration(&self, region: &str) -> PathBuf {
        self.data.join("nodes").join(region).join("node.toml")
    }

    /// Gives a section of a node's configuration these lines, in the place of those it has.
    ///
    /// # Errors
    /// When the configuration cannot be read or written.
    pub fn set(&self, node: &str, section: &str, lines: &str) -> Result<()> {
        let path = self.configuration(node);
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(path, with_section(&text, section, lines))?;
        Ok(())
    }

    /// Ends `dev` and starts its three nodes as children of this test, so that each can be killed and started by itself.
    ///
    /// # Errors
    /// When `dev` does not stop, or a node does not come up.
    pub fn split(&mut self) -> Result<()> {
        self.split_with(|_| Ok(()))
    }

    /// The same, with something done to the configurations while nothing runs.
    ///
    /// # Errors
    /// When `dev` does not stop, the change fails, or a node does not come up.
    pub fn split_with(&mut self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let mut dev = self.dev.take().context("`dev` is not running")?;
        if !stop_gently(&mut dev, STOP_WITHIN) {
            bail!("`dev` did not stop within {STOP_WITHIN:?} of SIGINT");
        }
        self.guard.forget_all();
        let api = &self.ready.regions.get(REGIONS[0]).context("a known region")?.api;
        ports::keep(api.rsplit(':').next().and_then(|port| port.parse().ok()).context("a port")?)?;
        change(self)?;
        for name in REGIONS {
            self.launch(name)?;
        }
        for name in REGIONS {
            self.wait_until_answering(name, READY_WITHIN)?;
        }
        Ok(())
    }

    /// Kills one region's node with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill(&mut self, region: &str) -> Result<()> {
        if let Some(at) = self.nodes.iter().position(|(name, _)| name == region) {
            let (_, mut child) = self.nodes.swap_remove(at);
            child.kill()?;
            child.wait()?;
            self.guard.forget(child.id());
            return Ok(());
        }
        let pid = self.ready.regions.get(region).context("a known region")?.pid;
        guard::signal("KILL", pid);
        wait_until(Duration::from_secs(10), || (!guard::is_alive(pid)).then_some(()))
            .context("the node outlived SIGKILL")
    }

    /// Sends a signal to a node that this test started: `STOP` and `CONT` pause it and let it go on.
    ///
    /// # Errors
    /// When this test started no such node.
    pub fn signal(&self, node: &str, signal: &str) -> Result<()> {
        let (_, child) = self.nodes.iter().find(|(name, _)| name == node).context("a node of this test")?;
        guard::signal(signal, child.id());
        Ok(())
    }

    /// Ends one region's node as an operator would, so that what is in memory becomes durable.
    ///
    /// # Errors
    /// When there is no such process of this test, or it does not stop in time.
    pub fn end(&mut self, region: &str) -> Result<()> {
        let at = self.nodes.iter().position(|(name, _)| name == region).context("a node of this test")?;
        let (_, mut child) = self.nodes.swap_remove(at);
        anyhow::ensure!(stop_gently(&mut child, STOP_WITHIN), "the node did not stop within {STOP_WITHIN:?}");
        self.guard.forget(child.id());
        Ok(())
    }

    /// Ends one node as a supervisor does, with SIGTERM: it says that it is not ready, serves on for a while, and stops.
    ///
    /// # Errors
    /// When there is no such process of this test, it does not stop in time, or it ends with a failure.
    pub fn terminate(&mut self, node: &str) -> Result<()> {
        let at = self.nodes.iter().position(|(name, _)| name == node).context("a node of this test")?;
        let (_, mut child) = self.nodes.swap_remove(at);
        guard::signal("TERM", child.id());
        anyhow::ensure!(wait_for_end(&mut child, LEFT_WITHIN), "the node did not stop within {LEFT_WITHIN:?}");
        self.guard.forget(child.id());
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "the node ended with {status}; end of its log:\n{}", tail(&self.log(node)));
        Ok(())
    }

    /// Starts one region's node from its configuration, after [`Self::split`] or [`Self::kill`], and waits for it.
    ///
    /// # Errors
    /// When it does not come up in time; the end of its log is in the message.
    pub fn restart(&mut self, region: &str) -> Result<()> {
        self.launch(region)?;
        self.wait_until_answering(region, READY_WITHIN)
    }

    /// Starts one region's node without waiting for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch(&mut self, region: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(region))?;
        let child = Command::new(&self.binary)
            .args(["node", "--config"])
            .arg(self.configuration(region))
            .env(moved::CLOCK, moved::file_in(self.directory.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.guard.add(child.id());
        self.nodes.push((region.to_owned(), child));
        Ok(())
    }

    /// The process of a node that this test started.
    ///
    /// # Errors
    /// When this test started no such node.
    pub fn pid(&self, node: &str) -> Result<u32> {
        let (_, child) = self.nodes.iter().find(|(name, _)| name == node).context("a node of this test")?;
        Ok(child.id())
    }

    /// Waits until a region's node says that it takes and answers.
    ///
    /// # Errors
    /// When it ends or the time is over.
    pub fn wait_until_answering(&mut self, region: &str, within: Duration) -> Result<()> {
        let doors = self.region(region);
        self.wait_for(region, within, || doors.is_ready())
    }

    /// Waits until something holds of a node that this test started.
    ///
    /// # Errors
    /// When the node ends or the time is over; the end of its log is in the message.
    pub fn wait_for(&mut self, node: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
        let log = self.log(node);
        let found = wait_until(within, || {
            let ended = self
                .nodes
                .iter_mut()
                .find(|(name, _)| name == node)
                .and_then(|(_, child)| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Some(Err(status));
            }
            holds().then_some(Ok(()))
        });
        match found {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("`{node}` ended with {status}; end of its log:\n{}", tail(&log)),
            None => bail!("`{node}` does not answer within {within:?}; end of its log:\n{}", tail(&log)),
        }
    }

    /// Where the nodes this test started write their log.
    pub fn log(&self, region: &str) -> PathBuf {
        self.data.join(format!("{region}.test.log"))
    }

    /// Asks everything to end and reports whether it did so in time.
    pub fn stop(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut all = true;
        if let Some(mut dev) = self.dev.take() {
            all &= stop_gently(&mut dev, within);
        }
        for (_, child) in &self.nodes {
            guard::signal("INT", child.id());
        }
        for (_, mut child) in self.nodes.drain(..) {
            all &= wait_for_end(&mut child, deadline.saturating_duration_since(Instant::now()));
        }
        all
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("end of the log of `dev`:\n{}", tail(&self.directory.path().join("dev.log")));
            let listed = std::fs::read_dir(&self.data).into_iter().flatten().flatten().map(|entry| entry.path());
            let of_nodes = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(".test.log"));
            listed.filter(of_nodes).for_each(|log| eprintln!("end of {}:\n{}", log.display(), tail(&log)));
        }
        self.stop(STOP_WITHIN);
        self.guard.end_all();
    }
}

fn wait_for_ready(file: &Path, dev: &mut Child) -> Result<Ready> {
    let found = wait_until(READY_WITHIN, || {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Some(serde_json::from_str::<Ready>(&text).context("reading the ready file"));
        }
        match dev.try_wait() {
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("`dev` ended with {status} before it was ready"))),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        }
    });
    found.with_context(|| format!("`dev` was not ready within {READY_WITHIN:?}"))?
}

/// Asks a process to end as Ctrl-C does; after the time is over, ends it. Whether it ended by itself.
fn stop_gently(child: &mut Child, within: Duration) -> bool {
    guard::signal("INT", child.id());
    wait_for_end(child, within)
}

fn wait_for_end(child: &mut Child, within: Duration) -> bool {
    let ended = wait_until(within, || child.try_wait().ok().flatten()).is_some();
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

/// Asks again and again until there is an answer or the time is over.
pub fn wait_until<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A configuration whose section has these lines, in the place of those it had.
pub fn with_section(text: &str, section: &str, lines: &str) -> String {
    let from = text.find(&format!("[{section}]\n")).unwrap_or(text.len());
    let to = text.get(from + 1..).and_then(|rest| rest.find("\n[")).map_or(text.len(), |end| from + 1 + end + 1);
    let (before, after) = (text.get(..from).unwrap_or_default(), text.get(to..).unwrap_or_default());
    format!("{before}[{section}]\n{lines}\n{after}")
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
