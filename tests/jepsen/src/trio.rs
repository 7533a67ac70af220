//! Two more nodes of Tokyo, so that three share its store, and newcomers in the place of machines that are lost: made by hand as
//! the operator's guide says, with the keys of the region's first node. And the operator's commands, which find profile and officer keys beside the deployment.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domicile_tests::cluster::ready::Doors;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::{second, wait_until};

/// The numbers of the nodes that Tokyo has beside its first.
pub const MORE: [u64; 2] = [4, 5];
/// Parts of a node's data directory that it cannot be without.
const KEPT: [&str; 3] = ["keys", "meta", "ledger"];
/// What lies below a deployment's directory.
pub const DATA: &str = "domicile-data";

/// The number of the first newcomer in the place of a machine that is lost; the others follow.
pub const NEWCOMERS: u64 = 11;

/// How long a command of the operator may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// Runs the operator's commands where the deployment lies.
pub struct Operator {
    binary: PathBuf,
    directory: PathBuf,
}

impl Operator {
    /// Of a deployment.
    pub fn new(binary: &Path, directory: &Path) -> Self {
        Self { binary: binary.to_owned(), directory: directory.to_owned() }
    }

    /// Runs one; what it said.
    ///
    /// # Errors
    /// When it fails, or does not end in time.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        // Files, for nobody reads along while it runs.
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        let ended = wait_until(COMMAND_WITHIN, || child.try_wait().transpose()).transpose()?;
        if ended.is_none() {
            child.kill()?;
            child.wait()?;
        }
        let (said, line) = (whole(err)?, arguments.join(" "));
        let status =
            ended.with_context(|| format!("`domicile {line}` did not end within {COMMAND_WITHIN:?}: {said}"))?;
        ensure!(status.success(), "`domicile {line}`: {status}: {said}");
        Ok(whole(out)?.trim().to_owned())
    }

    /// Runs one through a region that is not this one, whose doors are shut: it is left out of the profile.
    ///
    /// # Errors
    /// When it fails.
    pub fn command_without(&self, region: &str, arguments: &[&str]) -> Result<String> {
        let whole = std::fs::read_to_string(self.directory.join(DATA).join("profile.toml"))?;
        let mut is_left_out = false;
        let mut text = String::new();
        for line in whole.lines() {
            if line.starts_with('[') {
                is_left_out = line == format!("[regions.{region}]");
            }
            if !is_left_out {
                text += line;
                text.push('\n');
            }
        }
        let path = self.directory.join(format!("profile-without-{region}.toml"));
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let path = path.display().to_string();
        self.command(&[&["--profile", path.as_str()][..], arguments].concat())
    }

    /// Has the commands find the doors of a region where they are now.
    ///
    /// # Errors
    /// When the profile cannot be written.
    pub fn moved(&self, region: &str, host: &str) -> Result<()> {
        let path = self.directory.join(DATA).join("profile.toml");
        let mut section = String::new();
        let mut text = String::new();
        for line in std::fs::read_to_string(&path)?.lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            }
            let is_of = section == format!("[regions.{region}]");
            text += &if is_of { line.replace("127.0.0.1", host) } else { line.to_owned() };
            text.push('\n');
        }
        // Written in place: nobody else may read it, and that stays so.
        Ok(std::fs::write(&path, text)?)
    }
}

/// What was written into a file.
fn whole(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One more node of a region, before it is wired into a network.
#[derive(Clone)]
pub struct Extra {
    /// How it is called.
    pub name: String,
    /// Its region.
    of: String,
    /// Its number.
    pub number: u64,
    /// Its doors, with the keys of its region.
    pub region: Region,
    /// Where its link listens, unless the network says otherwise.
    pub link: SocketAddr,
    es: SocketAddr,
    api: SocketAddr,
}

impl Extra {
    /// Draws its addresses, has its certificate made, and gives it a copy of the keys of its region's first node, which must not be
    /// running.
    ///
    /// # Errors
    /// When a port, a file or a command fails.
    pub fn make(operator: &Operator, home: &Region, number: u64) -> Result<Self> {
        let data = operator.directory.join(DATA);
        let (es, api, link) = second::addresses()?;
        let (node, pki) = (number.to_string(), data.join("pki").display().to_string());
        operator.command(&["pki", "issue", "--region", &home.name, "--node", &node, "--dir", &pki])?;
        let name = format!("{}-{number}", home.name);
        let keys = |name: &str| data.join("nodes").join(name).join("data/keys");
        std::fs::create_dir_all(keys(&name))?;
        for entry in std::fs::read_dir(keys(&home.name))? {
            let entry = entry?;
            std::fs::copy(entry.path(), keys(&name).join(entry.file_name()))?;
        }
        let url = |addr: SocketAddr| format!("http://{addr}");
        let metrics = format!("http://{api}/metrics");
        let doors = Doors { es: url(es), api: url(api), metrics, link: link.to_string(), pid: 0 };
        let region = Region { name: name.clone(), doors, ..home.clone() };
        Ok(Self { name, of: home.name.clone(), number, region, link, es, api })
    }

    /// The same node behind the doors of another one, which is gone.
    ///
    /// # Errors
    /// When those are no addresses.
    pub fn behind(mut self, doors: &Doors) -> Result<Self> {
        let addr = |url: &str| url.trim_start_matches("http://").parse::<SocketAddr>();
        (self.es, self.api) = (addr(&doors.es)?, addr(&doors.api)?);
        Ok(self)
    }

    /// Its configuration, with its link where the network has it.
    ///
    /// # Errors
    /// When the officer's key cannot be read.
    pub fn configuration(&self, data: &Path, link: SocketAddr, seed: SocketAddr) -> Result<String> {
        let pki = data.join("pki");
        let text = second::configuration(&pki, &self.of, self.number, (self.es, self.api), link, &seed.to_string())?;
        let is_plain = format!("api = \"{}\"\n", self.api);
        Ok(text.replace(&is_plain, &format!("{is_plain}allow_plaintext = false\n")))
    }

    /// The same as a voter, which joins through these: number, region, and where the link listens.
    ///
    /// # Errors
    /// When the officer's key cannot be read.
    pub fn voting(&self, data: &Path, link: SocketAddr, seeds: &[(u64, String, SocketAddr)]) -> Result<String> {
        let text = self.configuration(data, link, link)?.replace("voter = false", "voter = true");
        let (before, _) = text.split_once("[[meta.seeds]]").context("a seed")?;
        let seed = |(node, region, addr): &(u64, String, SocketAddr)| {
            format!("[[meta.seeds]]\nnode = {node}\nregion = \"{region}\"\naddr = \"{addr}\"\n")
        };
        Ok(before.to_owned() + &seeds.iter().map(seed).collect::<String>())
    }

    /// Has Tokyo's officer approve it.
    ///
    /// # Errors
    /// When the command fails.
    pub fn approve(&self, operator: &Operator, link: SocketAddr) -> Result<()> {
        let (node, link) = (self.number.to_string(), link.to_string());
        operator.command(&["node", "join", "--region", "tokyo", "--node", &node, "--addr", &link]).map(drop)
    }
}

/// Deletes a node's data, all but what no bucket gives back: the keys, which an operator has in a backup, and its parts of the
/// metadata group and its ledger, without which a node comes back under another number. How much went.
///
/// # Errors
/// When something cannot be deleted.
pub fn lose_disk(home: &Path) -> Result<u64> {
    let mut gone = 0;
    for entry in std::fs::read_dir(home.join("data"))? {
        let entry = entry?;
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }?;
        gone += 1;
    }
    Ok(gone)
}
