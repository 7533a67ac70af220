//! Three regions of one node each, or the first of three, as processes of this one: made by `dev` once, then started, killed,
//! stopped and continued one by one, in a network that can be broken.

mod replace;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use domicile_tests::cluster::guard::{self, Guard};
use domicile_tests::cluster::ready::Ready;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::speaker::Speaker;
use domicile_tests::cluster::{READY_WITHIN, REGIONS, STOP_WITHIN, ports, wait_until, with_section};
use object_store::ObjectStore;
use serde_json::Value;

use crate::bucket::{self, Bucket};
use crate::checker::replaced::Machine;
use crate::clocks::{self, Clocks, Pace};
use crate::disk::flushes::{Between, Flush};
use crate::door::{self, Door};
use crate::env::{Net, Place, Wiring};
use crate::trio::{DATA, Extra, MORE, NEWCOMERS, Operator};
use replace::Newcomer;

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
    /// The nodes' clocks, where they have any of their own.
    clocks: Option<Clocks>,
    /// The bucket that Tokyo's nodes share, where it is no directory.
    bucket: Option<Arc<Bucket>>,
    /// Who will come in the place of machines that are lost.
    newcomers: Vec<Newcomer>,
    /// Machines that are lost, and the names of the nodes on them.
    lost: Vec<(String, Machine)>,
    /// Set in the environment of every node.
    pub environment: Vec<(String, String)>,
}

/// What is made beside what `dev` makes, and how its nodes are set.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Whether Tokyo has three nodes with one store.
    pub is_trio: bool,
    /// Sections of every node's configuration.
    pub sections: &'static [(&'static str, &'static str)],
    /// Whether each node has a clock of its own.
    pub has_clocks: bool,
    /// Whether Tokyo's nodes share the bucket of a server, with a relay before it, and no directory: with which seed.
    pub bucket: Option<u64>,
    /// The regions whose voters will be lost, in that order.
    pub losses: Vec<usize>,
    /// What the nodes are told of the longest way between two regions and back.
    pub round_trip: Option<Duration>,
}

/// One node.
struct Node {
    /// How its doors are called.
    name: String,
    /// How it is called itself: otherwise where it came in the place of another one.
    called: String,
    number: u64,
    /// The region it is in.
    place: usize,
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
        shape: Shape,
        prepare: impl FnOnce(&[PathBuf]) -> Result<()>,
    ) -> Result<Self> {
        let more = if shape.is_trio { &MORE[..] } else { &[] };
        let more_names = more.iter().map(|number| format!("tokyo-{number}"));
        let names = REGIONS.iter().map(|region| (*region).to_owned()).chain(more_names);
        let homes: Vec<PathBuf> = names.map(|name| directory.join(DATA).join("nodes").join(name)).collect();
        homes.iter().try_for_each(std::fs::create_dir_all)?;
        prepare(&homes)?;
        let guard = Guard::new();
        let bucket = shape.bucket.map(Bucket::start).transpose()?.map(Arc::new);
        let ready = lay_out(binary, directory, &guard)?;
        let mut nodes: Vec<Node> = (0..)
            .zip(REGIONS)
            .map(|(place, name)| {
                let (region, number) = (Region::new(name, &ready), place as u64 + 1);
                let (name, called) = (name.to_owned(), name.to_owned());
                Node { name, called, number, place, region, prefix: Vec::new(), child: None }
            })
            .collect();
        let operator = Operator::new(binary, directory);
        let tokyo = nodes[0].region.clone();
        let mut extras: Vec<Extra> = Vec::new();
        for number in more {
            extras.push(Extra::make(&operator, &tokyo, *number)?);
        }
        nodes.extend(extras.iter().map(|extra| {
            let (name, region) = (extra.name.clone(), extra.region.clone());
            let called = name.clone();
            Node { name, called, number: extra.number, place: 0, region, prefix: Vec::new(), child: None }
        }));
        let mut coming = Vec::new();
        for (number, place) in (NEWCOMERS..).zip(&shape.losses) {
            coming.push(Extra::make(&operator, &nodes[*place].region, number)?);
        }
        let binary = binary.to_owned();
        let clocks = shape.has_clocks.then(|| Clocks::new(directory)).transpose()?;
        let (directory, newcomers, lost) = (directory.to_owned(), Vec::new(), Vec::new());
        let mut cluster = Self { binary, directory, nodes, guard, net, clocks, bucket, newcomers, lost, environment };
        let links = cluster.wire(&extras, coming, &shape.losses, &operator)?;
        cluster.set_up(&shape)?;
        for at in 0..REGIONS.len() {
            cluster.launch(at)?;
        }
        for at in 0..REGIONS.len() {
            cluster.wait_until_ready(at, READY_WITHIN)?;
        }
        wait_until(READY_WITHIN, || cluster.leader()).context("no leader of the metadata group")?;
        for (at, extra) in (REGIONS.len()..).zip(&extras) {
            extra.approve(&operator, links[at])?;
            cluster.launch(at)?;
            cluster.wait_until_ready(at, READY_WITHIN)?;
        }
        Ok(cluster)
    }

    /// Wires every node into the network; where their links listen now.
    fn wire(
        &mut self,
        extras: &[Extra],
        coming: Vec<Extra>,
        losses: &[usize],
        operator: &Operator,
    ) -> Result<Vec<SocketAddr>> {
        let place = |node: &Node| -> Result<Place> {
            Ok(Place { region: node.place, node: node.number, link: node.region.doors.link.parse()? })
        };
        let mut places: Vec<Place> = self.nodes.iter().map(place).collect::<Result<_>>()?;
        // The ways to whoever will come are there from the beginning.
        let to_come =
            |(region, extra): (&usize, &Extra)| Place { region: *region, node: extra.number, link: extra.link };
        places.extend(losses.iter().zip(&coming).map(to_come));
        let mut links = Vec::new();
        for at in 0..self.nodes.len() {
            let wiring = self.net.wire(at, &places)?;
            let link = wiring.link.unwrap_or(places[at].link);
            links.push(link);
            if let Some(extra) = extras.iter().find(|extra| extra.number == places[at].node) {
                let text = extra.configuration(&self.directory.join(DATA), link, links[0])?;
                std::fs::write(self.configuration(at), text)?;
            }
            rewire(&self.configuration(at), &wiring, places[at].link, &self.key_log(at))?;
            if let Some(host) = &wiring.doors {
                let doors = &mut self.nodes[at].region.doors;
                for door in [&mut doors.es, &mut doors.api] {
                    *door = door.replace("127.0.0.1", host);
                }
                if at < REGIONS.len() {
                    operator.moved(REGIONS[at], host)?;
                }
            }
            self.nodes[at].prefix = wiring.prefix;
        }
        for (at, extra) in (self.nodes.len()..).zip(coming) {
            let wiring = self.net.wire(at, &places)?;
            let (place, link) = (places[at].region, wiring.link.unwrap_or(places[at].link));
            self.newcomers.push(Newcomer { place, extra, wiring, link });
        }
        self.nodes.iter_mut().zip(&links).for_each(|(node, link)| node.region.doors.link = link.to_string());
        Ok(links)
    }

    /// Writes what the shape says into the nodes' configurations.
    fn set_up(&self, shape: &Shape) -> Result<()> {
        for at in 0..self.nodes.len() {
            let path = self.configuration(at);
            let mut text = std::fs::read_to_string(&path)?;
            if shape.is_trio && self.nodes[at].place == 0 {
                text = with_section(&text, "store", &self.store_of(at)?);
            }
            for (section, lines) in shape.sections {
                text = with_section(&text, section, lines);
            }
            if let Some(round_trip) = shape.round_trip {
                text = told_of(&text, round_trip)?;
            }
            std::fs::write(&path, text)?;
        }
        Ok(())
    }

    /// Whether there are nodes that share a store.
    pub fn is_trio(&self) -> bool {
        self.nodes.len() > REGIONS.len()
    }

    /// The lines of the section `[store]` of a node that shares one.
    fn store_of(&self, at: usize) -> Result<String> {
        match &self.bucket {
            Some(bucket) => bucket.settings(self.called(at), self.free_door(at)?, &self.directory),
            None => Ok(format!("path = {:?}", self.directory.join("store").display().to_string())),
        }
    }

    /// A socket that a node reaches and that no node is to listen on: while they are stopped their ports are given away.
    fn free_door(&self, at: usize) -> Result<TcpListener> {
        let texts = (0..self.nodes.len()).map(|at| std::fs::read_to_string(self.configuration(at)));
        let taken = texts.collect::<Result<String, _>>()?;
        let mut held = Vec::new();
        loop {
            let listener = self.net.listen(self.nodes[at].place)?;
            if !taken.contains(&format!("\"{}\"", listener.local_addr()?)) {
                return Ok(listener);
            }
            held.push(listener);
        }
    }

    /// The bucket that Tokyo's nodes share, where it is no directory.
    pub fn bucket(&self) -> Option<Arc<Bucket>> {
        self.bucket.clone()
    }

    /// What lies in what Tokyo's nodes share, whatever stands between it and them.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn objects(&self) -> Result<Arc<dyn ObjectStore>> {
        match &self.bucket {
            Some(bucket) => bucket.objects(),
            None => bucket::directory(&self.directory.join("store")),
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How the doors of a node are called: like its region, where it is the first.
    pub fn name(&self, at: usize) -> &str {
        &self.nodes[at].name
    }

    /// Its number.
    pub fn number(&self, at: usize) -> u64 {
        self.nodes[at].number
    }

    /// How a node is called itself, which is otherwise where it came in the place of another one.
    pub fn called(&self, at: usize) -> &str {
        &self.nodes[at].called
    }

    /// The nodes that share a store, or one in each region.
    pub fn targets(&self) -> Vec<usize> {
        let shared: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].place == 0).collect();
        if shared.len() > 1 { shared } else { (0..self.nodes.len()).collect() }
    }

    /// Runs the operator's commands.
    pub fn operator(&self) -> Operator {
        Operator::new(&self.binary, &self.directory)
    }

    /// The doors and keys of a region.
    pub fn region(&self, region: usize) -> &Region {
        &self.nodes[region].region
    }

    /// The first nodes of all regions.
    pub fn regions(&self) -> Vec<Region> {
        self.nodes.iter().take(REGIONS.len()).map(|node| node.region.clone()).collect()
    }

    /// The nodes that share a store; none where each region has one.
    pub fn sharing(&self) -> Vec<Region> {
        let sharing = if self.is_trio() { self.targets() } else { Vec::new() };
        sharing.into_iter().map(|at| self.nodes[at].region.clone()).collect()
    }

    /// Who speaks for a region.
    ///
    /// # Errors
    /// When its key is not there.
    pub fn speaker(&self, region: &str) -> Result<Speaker> {
        Speaker::of(&self.directory.join(DATA), region)
    }

    /// The directory of a region's node: its configuration, and `data` beside it.
    pub fn home(&self, region: usize) -> PathBuf {
        self.directory.join(DATA).join("nodes").join(self.called(region))
    }

    fn configuration(&self, region: usize) -> PathBuf {
        self.home(region).join("node.toml")
    }

    /// Where a node writes the secrets of its links, so that the capture can be opened.
    pub fn key_log(&self, region: usize) -> PathBuf {
        self.directory.join(format!("{}.keys", self.called(region)))
    }

    /// A node's log. It lies outside of what faults are done to.
    pub fn log(&self, region: usize) -> PathBuf {
        self.directory.join(format!("{}.log", self.called(region)))
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
        if let Some(clocks) = &self.clocks {
            command.envs(clocks.environment(self.name(region))?);
        }
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
            Some(Err(status)) => bail!("`{}` ended with {status}:\n{}", self.name(region), tail(&self.log(region))),
            None => bail!("`{}` is not ready within {within:?}:\n{}", self.name(region), tail(&self.log(region))),
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
        self.forget(child.id());
        gone.with_context(|| format!("`{}` outlived SIGKILL", self.name(region)))?;
        Ok(ran)
    }

    /// Forgets a process that is gone, and takes away what it left outside of its directory.
    fn forget(&self, process: u32) {
        self.guard.forget(process);
        if self.clocks.is_some() {
            Clocks::forget(process);
        }
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
        self.forget(child.id());
        gone.map(|_| ()).with_context(|| format!("`{}` did not end when it was asked", self.name(region)))
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

    /// Sets a node's clock.
    ///
    /// # Errors
    /// When the nodes have none of their own.
    pub fn set_clock(&self, region: usize, pace: Pace) -> Result<()> {
        self.clocks.as_ref().context("no clocks of the nodes' own")?.set(self.name(region), pace)
    }

    /// By how many milliseconds a node says that it is later than it is; nothing where it says nothing.
    pub fn clock_off_ms(&self, region: usize) -> Option<i64> {
        let said = door::json(self.region(region), Door::Native, "admin", "/api/v1/status", &Value::Null, LOOK)?;
        Some(said.1["time_ms"].as_i64()? - clocks::now_ms())
    }

    /// Comes between a node and its kernel; nothing where it does not run.
    ///
    /// # Errors
    /// When we may not.
    pub fn come_between(&self, region: usize, flush: Flush) -> Result<Option<Between>> {
        let Some(child) = &self.nodes[region].child else { return Ok(None) };
        Between::come(child.id(), flush, &self.directory).map(Some)
    }

    /// Whether a process of the region's node is there.
    pub fn runs(&self, region: usize) -> bool {
        self.nodes[region].child.is_some()
    }

    /// The region whose node leads the metadata group, as whoever knows of the latest term says it: a node that was away or cut off
    /// may name one of an earlier term.
    pub fn leader(&self) -> Option<usize> {
        self.said_of_leader().into_iter().flatten().max().map(|(_, leader)| leader)
    }

    /// The same, when every node that runs names it in the same term.
    pub fn leader_of_all(&self) -> Option<usize> {
        let said = self.said_of_leader();
        let first = said.first().copied().flatten()?;
        said.iter().all(|other| *other == Some(first)).then_some(first.1)
    }

    /// What every node that runs says: a term, and the region that leads in it.
    fn said_of_leader(&self) -> Vec<Option<(u64, usize)>> {
        let said = |at| {
            let (_, status) = door::json(self.region(at), Door::Native, "admin", "/api/v1/status", &Value::Null, LOOK)?;
            let (term, name) = (status.pointer("/meta/term")?.as_u64()?, status.pointer("/leader/region")?.as_str()?);
            Some((term, REGIONS.iter().position(|region| *region == name)?))
        };
        (0..self.nodes.len()).filter(|at| self.runs(*at)).map(said).collect()
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
        .arg(directory.join(DATA))
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
    let ready: Ready = serde_json::from_str(&text).context("reading the ready file")?;
    // The nodes go on with the ports of this `dev`.
    let api = &ready.regions.get(REGIONS[0]).context("a known region")?.api;
    ports::keep(api.rsplit(':').next().and_then(|port| port.parse().ok()).context("a port")?)?;
    Ok(ready)
}

/// A configuration that tells its node of another round trip.
fn told_of(text: &str, round_trip: Duration) -> Result<String> {
    let told = text.lines().find(|line| line.starts_with("round_trip_ms = ")).context("no round trip is told")?;
    Ok(text.replace(told, &format!("round_trip_ms = {}", round_trip.as_millis())))
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
        let key = line.split(" = ").next().unwrap_or_default();
        let changed = match (section.as_str(), key) {
            // Written anew below.
            ("[link.via]", _) => continue,
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
    lines.push("[link.via]".to_owned());
    lines.extend(wiring.via.iter().map(|(node, address)| format!("{node} = \"{address}\"")));
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
