//! Three regions of one node each, as processes of this one: made by `dev` once, then started, killed, stopped and continued
//! one by one, in a network that can be broken.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use domicile_tests::cluster::guard::{self, Guard};
use domicile_tests::cluster::ready::Ready;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::speaker::Speaker;
use domicile_tests::cluster::{READY_WITHIN, REGIONS, STOP_WITHIN, wait_until};
use serde_json::Value;

use crate::door::{self, Door};
use crate::env::{Net, Wiring};

/// How long a node may take to be gone after SIGKILL.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Patience of a look at a node's state.
const LOOK: Duration = Duration::from_secs(1);

/// The cluster; everything it started ends with it.
pub struct Cluster {
    binary: PathBuf,
    directory: PathBuf,
    nodes: Vec<Node>,
    guard: Guard,
    /// The network between the regions.
    pub net: Box<dyn Net>,
    /// Set in the environment of every node.
    pub environment: Vec<(String, String)>,
}

/// One region's node.
struct Node {
    region: Region,
    prefix: Vec<String>,
    child: Option<Child>,
}

impl Cluster {
    /// Makes a deployment in `directory` with `dev`, ends `dev`, wires the nodes into the network and starts them.
    /// `prepare` is called before anything is written, with the directories the nodes will have.
    ///
    /// # Errors
    /// When something does not start; the end of its log is in the message.
    pub fn start(
        binary: &Path,
        directory: &Path,
        net: Box<dyn Net>,
        environment: Vec<(String, String)>,
        prepare: impl FnOnce(&[PathBuf]) -> Result<()>,
    ) -> Result<Self> {
        let homes: Vec<PathBuf> = REGIONS.iter().map(|region| directory.join("data/nodes").join(region)).collect();
        homes.iter().try_for_each(std::fs::create_dir_all)?;
        prepare(&homes)?;
        let guard = Guard::new();
        let ready = lay_out(binary, directory, &guard)?;
        let nodes = REGIONS
            .iter()
            .map(|name| Node { region: Region::new(name, &ready), prefix: Vec::new(), child: None })
            .collect();
        let binary = binary.to_owned();
        let mut cluster = Self { binary, directory: directory.to_owned(), nodes, guard, net, environment };
        cluster.wire()?;
        for region in 0..REGIONS.len() {
            cluster.launch(region)?;
        }
        for region in 0..REGIONS.len() {
            cluster.wait_until_ready(region, READY_WITHIN)?;
        }
        wait_until(READY_WITHIN, || cluster.leader()).context("no leader of the metadata group")?;
        Ok(cluster)
    }

    fn wire(&mut self) -> Result<()> {
        let own: Result<Vec<SocketAddr>, _> = self.nodes.iter().map(|node| node.region.doors.link.parse()).collect();
        let own = own?;
        for region in 0..self.nodes.len() {
            let wiring = self.net.wire(region, &own)?;
            rewire(&self.configuration(region), &wiring, own[region], &self.key_log(region))?;
            if let Some(host) = &wiring.doors {
                let doors = &mut self.nodes[region].region.doors;
                for door in [&mut doors.es, &mut doors.api] {
                    *door = door.replace("127.0.0.1", host);
                }
            }
            self.nodes[region].prefix = wiring.prefix;
        }
        Ok(())
    }

    /// The doors and keys of a region.
    pub fn region(&self, region: usize) -> &Region {
        &self.nodes[region].region
    }

    /// All of them.
    pub fn regions(&self) -> Vec<Region> {
        self.nodes.iter().map(|node| node.region.clone()).collect()
    }

    /// Who speaks for a region.
    ///
    /// # Errors
    /// When its key is not there.
    pub fn speaker(&self, region: &str) -> Result<Speaker> {
        Speaker::of(&self.directory.join("data"), region)
    }

    /// The directory of a region's node: its configuration, and `data` beside it.
    pub fn home(&self, region: usize) -> PathBuf {
        self.directory.join("data/nodes").join(REGIONS[region])
    }

    fn configuration(&self, region: usize) -> PathBuf {
        self.home(region).join("node.toml")
    }

    /// Where a node writes the secrets of its links, so that the capture can be opened.
    pub fn key_log(&self, region: usize) -> PathBuf {
        self.directory.join(format!("{}.keys", REGIONS[region]))
    }

    /// A node's log. It lies outside of what faults are done to.
    pub fn log(&self, region: usize) -> PathBuf {
        self.directory.join(format!("{}.log", REGIONS[region]))
    }

    /// Starts a node without waiting for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch(&mut self, region: usize) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(region))?;
        let mut line = self.nodes[region].prefix.clone();
        line.push(self.binary.display().to_string());
        let mut command = Command::new(&line[0]);
        let child = command
            .args(&line[1..])
            .args(["node", "--config"])
            .arg(self.configuration(region))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", line[0]))?;
        self.guard.add(child.id());
        self.nodes[region].child = Some(child);
        Ok(())
    }

    /// Waits until a node says that it takes and answers.
    ///
    /// # Errors
    /// When it ends or the time is over.
    pub fn wait_until_ready(&mut self, region: usize, within: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let found = wait_until(within, || match self.ended(region) {
            Some(status) => Some(Err(status)),
            None => self.is_ready(region).then_some(Ok(())),
        });
        match found {
            Some(Ok(())) => Ok(begun.elapsed()),
            Some(Err(status)) => bail!("`{}` ended with {status}:\n{}", REGIONS[region], tail(&self.log(region))),
            None => bail!("`{}` is not ready within {within:?}:\n{}", REGIONS[region], tail(&self.log(region))),
        }
    }

    /// Whether a node ended by itself.
    pub fn ended(&mut self, region: usize) -> Option<ExitStatus> {
        self.nodes[region].child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Whether a node says that it takes and answers.
    pub fn is_ready(&self, region: usize) -> bool {
        let looked = door::json(self.region(region), Door::Native, "search", "/readyz", &Value::Null, LOOK);
        looked.is_some_and(|(status, _)| status == 200)
    }

    /// Kills a node with SIGKILL and waits until it is gone. Whether it ran until then.
    ///
    /// # Errors
    /// When it outlives that.
    pub fn kill(&mut self, region: usize) -> Result<bool> {
        let Some(mut child) = self.nodes[region].child.take() else { return Ok(false) };
        let ran = child.try_wait()?.is_none();
        child.kill()?;
        let gone = wait_until(GONE_WITHIN, || child.try_wait().ok().flatten());
        self.guard.forget(child.id());
        gone.with_context(|| format!("`{}` outlived SIGKILL", REGIONS[region]))?;
        Ok(ran)
    }

    /// Asks a node to end and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self, region: usize) -> Result<()> {
        let Some(mut child) = self.nodes[region].child.take() else { return Ok(()) };
        guard::signal("INT", child.id());
        let gone = wait_until(STOP_WITHIN, || child.try_wait().ok().flatten());
        if gone.is_none() {
            child.kill()?;
            child.wait()?;
        }
        self.guard.forget(child.id());
        gone.map(|_| ()).with_context(|| format!("`{}` did not end when it was asked", REGIONS[region]))
    }

    /// Stops a node in its tracks with SIGSTOP, or lets it go on. Whether the kernel says that it is so.
    pub fn pause(&mut self, region: usize, is_paused: bool) -> bool {
        let Some(child) = &self.nodes[region].child else { return false };
        guard::signal(if is_paused { "STOP" } else { "CONT" }, child.id());
        let tasks = format!("/proc/{}/task", child.id());
        // Every thread: one that is still inside the kernel may yet answer somebody.
        wait_until(LOOK, || {
            let states = thread_states(Path::new(&tasks));
            (!states.is_empty() && states.iter().all(|state| (*state == 'T') == is_paused)).then_some(())
        })
        .is_some()
    }

    /// Whether a process of the region's node is there.
    pub fn runs(&self, region: usize) -> bool {
        self.nodes[region].child.is_some()
    }

    /// The region whose node leads the metadata group, as any of them says it.
    pub fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find_map(|at| {
            let (_, status) = door::json(self.region(at), Door::Native, "admin", "/api/v1/status", &Value::Null, LOOK)?;
            let name = status.pointer("/leader/region")?.as_str()?.to_owned();
            REGIONS.iter().position(|region| *region == name)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for region in 0..self.nodes.len() {
            if self.runs(region) {
                self.pause(region, false);
            }
            let _ = self.stop(region);
        }
        self.guard.end_all();
    }
}

/// What the kernel says of each thread of a process: `T` where it is stopped.
fn thread_states(tasks: &Path) -> Vec<char> {
    let threads = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    stats.filter_map(|stat| stat.rsplit(')').next()?.trim_start().chars().next()).collect()
}

/// Runs `dev` until it is ready, and ends it; what it left is a whole deployment.
fn lay_out(binary: &Path, directory: &Path, guard: &Guard) -> Result<Ready> {
    let (ready_file, log) = (directory.join("ready.json"), directory.join("dev.log"));
    let mut dev = Command::new(binary)
        .args(["dev", "--no-samples", "--base-port", "0", "--data"])
        .arg(directory.join("data"))
        .arg("--ready-file")
        .arg(&ready_file)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    guard.add(dev.id());
    let text = wait_until(READY_WITHIN, || match dev.try_wait() {
        Ok(Some(_)) => Some(None),
        _ => std::fs::read_to_string(&ready_file).ok().filter(|text| !text.is_empty()).map(Some),
    });
    guard::signal("INT", dev.id());
    let ended = wait_until(STOP_WITHIN, || dev.try_wait().ok().flatten());
    if ended.is_none() {
        dev.kill()?;
        dev.wait()?;
    }
    guard.forget(dev.id());
    let text = text.flatten().with_context(|| format!("`dev` was not ready:\n{}", tail(&log)))?;
    serde_json::from_str(&text).context("reading the ready file")
}

/// Writes a node's place in the network into its configuration.
fn rewire(configuration: &Path, wiring: &Wiring, own: SocketAddr, key_log: &Path) -> Result<()> {
    let text = std::fs::read_to_string(configuration)?;
    let mut lines: Vec<String> = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let key = line.split(" = ").next().unwrap_or_default().trim_matches('"');
        let changed = match (section.as_str(), key) {
            ("[link.via]", node) if wiring.via.contains_key(node) => format!("{node} = \"{}\"", wiring.via[node]),
            ("[listeners]", "es" | "api") => {
                wiring.doors.as_ref().map_or_else(|| line.to_owned(), |host| line.replace("127.0.0.1", host))
            }
            ("[listeners]", "allow_plaintext") => format!("allow_plaintext = {}", wiring.doors.is_some()),
            ("[link]", "listen") => {
                wiring.link.map_or_else(|| line.to_owned(), |link| line.replace(&own.to_string(), &link.to_string()))
            }
            _ => line.to_owned(),
        };
        lines.push(changed);
    }
    anyhow::ensure!(
        wiring.via.values().all(|address| lines.iter().any(|line| line.contains(&address.to_string()))),
        "{} does not dial every other node",
        configuration.display()
    );
    let secrets = format!("tls_keylog = {key_log:?}");
    match lines.iter().position(|line| line == "[audit]") {
        Some(at) => lines.insert(at + 1, secrets),
        None => lines.extend(["[audit]".to_owned(), secrets]),
    }
    std::fs::write(configuration, lines.join("\n") + "\n")?;
    Ok(())
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
