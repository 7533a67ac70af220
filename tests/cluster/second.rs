//! A second node of Tokyo, brought in by hand as the operator's guide says: certificate, configuration, approval, start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};

use super::ready::Doors;
use super::region::Region;
use super::{Cluster, ports};

/// How the second node is called among the nodes that a test starts.
pub const SECOND: &str = "tokyo-4";

/// Node 4 of Tokyo, not started yet. Ports stay the same over restarts.
pub struct Second {
    doors: Doors,
    link: SocketAddr,
}

impl Second {
    /// Makes certificate and configuration.
    ///
    /// # Errors
    /// When a port, a file or `domicile pki` fails.
    pub fn prepare(cluster: &Cluster) -> Result<Self> {
        let (es, api, link) = addresses()?;
        let pki = cluster.data().join("pki");
        let issue = ["pki", "issue", "--region", "tokyo", "--node", "4", "--dir"];
        cluster.command(&[&issue[..], &[&pki.display().to_string()]].concat())?;
        let config = cluster.configuration(SECOND);
        let dir = config.parent().unwrap_or_else(|| cluster.data());
        std::fs::create_dir_all(dir)?;
        let seed = cluster.region("tokyo").doors.link;
        std::fs::write(&config, configuration(&pki, "tokyo", 4, (es, api), link, &seed)?)?;
        let url = |addr: SocketAddr| format!("http://{addr}");
        let metrics = format!("http://{api}/metrics");
        Ok(Self { doors: Doors { es: url(es), api: url(api), metrics, link: link.to_string(), pid: 0 }, link })
    }

    /// Ends `dev`, starts its nodes one by one, and makes the second one with the first one's keys meanwhile; `change` does what else
    /// is to be done while nothing runs.
    ///
    /// # Errors
    /// As [`Self::prepare`] and [`Cluster::split_with`].
    pub fn beside(cluster: &mut Cluster, change: impl FnOnce(&Self, &Cluster) -> Result<()>) -> Result<Self> {
        let mut made = None;
        cluster.split_with(|cluster| {
            let second = Self::prepare(cluster)?;
            second.copy_keys(cluster)?;
            change(made.insert(second), cluster)
        })?;
        made.context("the second node was not made")
    }

    /// Has it approved and starts it, without waiting for it.
    ///
    /// # Errors
    /// As [`Self::approve`] and [`Cluster::launch`].
    pub fn join(&self, cluster: &mut Cluster) -> Result<()> {
        self.approve(cluster)?;
        cluster.launch(SECOND)
    }

    /// Gives it a copy of the first node's keys, which must not be running.
    ///
    /// # Errors
    /// When a file cannot be copied.
    fn copy_keys(&self, cluster: &Cluster) -> Result<()> {
        let keys = |name: &str| cluster.data().join("nodes").join(name).join("data").join("keys");
        std::fs::create_dir_all(keys(SECOND))?;
        for entry in std::fs::read_dir(keys("tokyo"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), keys(SECOND).join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Gives it the same bucket as the first node.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn share_bucket(&self, cluster: &Cluster) -> Result<()> {
        use std::io::Write;
        let objects = cluster.data().join("nodes").join("tokyo").join("data").join("objects");
        let mut config = std::fs::File::options().append(true).open(cluster.configuration(SECOND))?;
        writeln!(config, "[store]\npath = \"{}\"", objects.display())?;
        Ok(())
    }

    /// Deletes its data directory, all but the keys that an operator has in a backup, and its part of the metadata group: a member
    /// that forgot what it said comes back under a new number.
    ///
    /// # Errors
    /// When something cannot be deleted.
    pub fn lose_disk(&self, cluster: &Cluster) -> Result<()> {
        for entry in std::fs::read_dir(cluster.data().join("nodes").join(SECOND).join("data"))? {
            let entry = entry?;
            if entry.file_name() != "keys" && entry.file_name() != "meta" {
                if entry.file_type()?.is_dir() {
                    std::fs::remove_dir_all(entry.path())?;
                } else {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Has Tokyo's officer approve it.
    ///
    /// # Errors
    /// When the command fails.
    pub fn approve(&self, cluster: &Cluster) -> Result<()> {
        let approve = ["node", "join", "--region", "tokyo", "--node", "4", "--addr"];
        cluster.command(&[&approve[..], &[&self.link.to_string()]].concat()).map(drop)
    }

    /// Its doors, with the keys of its region.
    pub fn region(&self, cluster: &Cluster) -> Region {
        Region { doors: self.doors.clone(), ..cluster.region("tokyo") }
    }
}

/// Addresses for one more node: for `es`, `api` and the link. Nobody else has them, also while that node is stopped.
///
/// # Errors
/// When there is no port.
pub fn addresses() -> Result<(SocketAddr, SocketAddr, SocketAddr)> {
    let next = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::one()?)));
    Ok((next()?, next()?, next()?))
}

/// The configuration of one more node of a region, which joins through Tokyo's first.
///
/// # Errors
/// When the officer's key cannot be read.
pub fn configuration(
    pki: &Path,
    region: &str,
    node: u64,
    (es, api): (SocketAddr, SocketAddr),
    link: SocketAddr,
    seed: &str,
) -> Result<String> {
    let pki_of = |region: &str| pki.join(region).display().to_string();
    let own = pki_of(region);
    let officer = std::fs::read_to_string(pki.join(region).join("officer.pub"))?;
    let bundles: Vec<String> =
        super::REGIONS.iter().map(|region| format!("{region} = \"{}/ca.crt\"", pki_of(region))).collect();
    Ok(format!(
        "data_dir = \"data\"\n\
         [listeners]\nes = \"{es}\"\napi = \"{api}\"\n\
         [link]\nlisten = \"{link}\"\nadvertise = \"{link}\"\n\
         cert = \"{own}/node-{node}.crt\"\nkey = \"{own}/node-{node}.key\"\nregion_key = \"{own}/region.key\"\nbundles = {{ {} }}\n\
         [officer]\npublic_key = \"{}\"\n\
         [meta]\nvoter = false\nround_trip_ms = 100\n\
         [[meta.seeds]]\nnode = 1\nregion = \"tokyo\"\naddr = \"{seed}\"\n",
        bundles.join(", "),
        officer.trim()
    ))
}
