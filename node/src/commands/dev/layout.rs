//! The directory `dev` works in: certificates, one directory per node, keys of the ready file, the profile, and marks of what
//! has been done.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::{Name, NodeId, Region};
use domicile_proto::link::pki::{CERTIFICATE_VALIDITY, RegionCa};
use domicile_proto::officer::OfficerPublic;
use serde::{Deserialize, Serialize};

use super::super::door::Door;
use super::super::officer::{self, Officer};
use super::super::profile::write_secret;
use super::is_there;
use super::ports::{self, Chosen, Ports};
use super::relay::Relay;
use crate::clock::Clock;
use crate::config::{
    AuditConfig, KeysConfig, LifecycleConfig, LinkSection, ListenersConfig, MetaConfig, NodeConfig, OfficerConfig,
    PlacementConfig, Regions, Seed, SegmentsConfig, StoreSection, TelemetryConfig,
};

/// The regions of `dev`, in the order of their node ids and ports.
const REGIONS: [&str; 3] = ["tokyo", "singapore", "frankfurt"];
/// A file that says: this directory is ours.
const MARK: &str = "this-directory-belongs-to-domicile-dev";
/// What the timing of the group takes for a round trip here, in milliseconds: nothing is far, but a machine that does much else
/// lets a node wait, and a leader that is only late must not be voted out.
const BUSY_MS: u32 = 100;

/// Where everything lies and listens.
pub(super) struct Layout {
    pub(super) data: PathBuf,
    pub(super) regions: Vec<Place>,
    pub(super) keys: Keys,
    /// The emulated network; it ends with this value.
    _relays: Vec<Relay>,
    /// Held while this `dev` runs, so that there is no second one on the same directory.
    _lock: File,
    /// And this, so that another one is not given the same ports.
    _mark: Option<TcpListener>,
}

/// One region.
pub(super) struct Place {
    pub(super) region: Region,
    pub(super) node: NodeId,
    pub(super) ports: Ports,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pki: PathBuf,
}

/// The access keys of each region. Secrets: no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Keys(pub(super) BTreeMap<Region, BTreeMap<String, String>>);

impl Keys {
    /// One key of one region; empty where there is none.
    pub(super) fn of(&self, region: &Region, role: &str) -> &str {
        self.0.get(region).and_then(|keys| keys.get(role)).map_or("", String::as_str)
    }
}

impl Place {
    pub(super) fn es(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.es)
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    pub(super) fn link(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.link))
    }

    /// A door to the region's native API.
    pub(super) fn door(&self, key: &str) -> anyhow::Result<Door> {
        Door::new(Some(self.region.clone()), &self.api(), key, None)
    }

    /// The region's officer.
    pub(super) fn officer(&self) -> anyhow::Result<Officer> {
        Officer::read(&self.region, Some(&self.pki.join("officer.key")))
    }
}

impl Layout {
    /// Makes what is missing, chooses ports, starts the emulated network, and writes the nodes' configurations.
    pub(super) async fn prepare(data: &Path, base: u16, wan: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("`{}` cannot be made", data.display()))?;
        let lock = File::create(data.join(MARK)).with_context(|| format!("`{}` cannot be written", data.display()))?;
        if lock.try_lock().is_err() {
            bail!("another `domicile dev` runs in `{}`; stop it, or choose another `--data DIR`", data.display());
        }
        let Chosen { ports, mark } = ports::choose(base, REGIONS.len())?;
        let mut regions = Vec::new();
        for ((name, ports), node) in REGIONS.iter().zip(ports).zip(1_u64..) {
            let region: Region = name.parse()?;
            let home = data.join("nodes").join(name);
            std::fs::create_dir_all(&home)?;
            let pki = officer::in_directory(&data.join("pki"), &region).with_file_name("");
            let (config, log) = (home.join("node.toml"), home.join("node.log"));
            regions.push(Place { region, node: NodeId(node), ports, config, log, pki });
        }
        let mut layout = Self {
            data: data.to_owned(),
            regions,
            keys: Keys::default(),
            _relays: Vec::new(),
            _lock: lock,
            _mark: mark,
        };
        layout.make_pki()?;
        layout.keys = layout.read_keys()?;
        layout.write_configurations(wan).await?;
        Ok(layout)
    }

    /// The log of a region's node, for messages.
    pub(super) fn log(&self, region: &Region) -> String {
        let place = self.regions.iter().find(|place| place.region == *region);
        place.map_or_else(String::new, |place| place.log.display().to_string())
    }

    /// Whether a step has been done in this directory.
    pub(super) fn has_done(&self, step: &str) -> bool {
        is_there(&self.data.join(format!("{step}.done")))
    }

    /// Notes that a step has been done.
    pub(super) fn note_done(&self, step: &str) -> anyhow::Result<()> {
        write_secret(&self.data.join(format!("{step}.done")), b"done\n")
    }

    fn make_pki(&self) -> anyhow::Result<()> {
        let now = Clock::system().now();
        for place in &self.regions {
            let deployment = deployment()?;
            let ca = if is_there(&place.pki.join("ca.crt")) {
                RegionCa::open(&place.pki, &place.region, &deployment)?
            } else {
                RegionCa::init(&place.pki, &place.region, &deployment, now)?
            };
            let files = ca.node_files(place.node);
            if !is_there(&files.cert) {
                ca.issue_node(place.node, now, CERTIFICATE_VALIDITY)?;
            }
        }
        Ok(())
    }

    fn read_keys(&self) -> anyhow::Result<Keys> {
        let path = self.data.join("keys.json");
        if !is_there(&path) {
            return Ok(Keys::default());
        }
        serde_json::from_slice(&std::fs::read(&path)?)
            .with_context(|| format!("`{}` is damaged; remove everything with `domicile dev --clean`", path.display()))
    }

    /// Keeps keys for the next start.
    pub(super) fn keep_keys(&self, keys: &Keys) -> anyhow::Result<()> {
        write_secret(&self.data.join("keys.json"), &serde_json::to_vec_pretty(keys)?)
    }

    async fn write_configurations(&mut self, wan: bool) -> anyhow::Result<()> {
        let facts = Regions::built_in()?;
        for from in &self.regions {
            let mut via = BTreeMap::new();
            for to in self.regions.iter().filter(|to| to.region != from.region) {
                let mut addr = to.link();
                if wan {
                    let round_trip = facts.round_trip(&from.region, &to.region).unwrap_or(Duration::ZERO);
                    let relay = Relay::start(to.link(), round_trip / 2).await?;
                    addr = relay.addr;
                    self._relays.push(relay);
                }
                via.insert(to.node.to_string(), addr);
            }
            let config = self.configuration(from, via, wan)?;
            write_secret(&from.config, toml::to_string(&config)?.as_bytes())?;
        }
        Ok(())
    }

    fn configuration(&self, place: &Place, via: BTreeMap<String, SocketAddr>, wan: bool) -> anyhow::Result<NodeConfig> {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let public = std::fs::read_to_string(place.pki.join("officer.pub"))?;
        // The first node waits to be told that it is the first; the others join through it.
        let seeds = self.regions.iter().take(1).filter(|first| first.region != place.region);
        let seed = |first: &Place| Seed { node: first.node.0, region: first.region.clone(), addr: first.link() };
        let bundles = self.regions.iter().map(|other| (other.region.clone(), other.pki.join("ca.crt"))).collect();
        Ok(NodeConfig {
            deployment: deployment()?,
            data_dir: self.data.join("nodes").join(place.region.as_str()).join("data"),
            regions_dir: None,
            rules_dir: None,
            listeners: ListenersConfig {
                es: loopback(place.ports.es),
                api: loopback(place.ports.api),
                ..ListenersConfig::default()
            },
            link: LinkSection {
                listen: place.link(),
                advertise: place.link(),
                cert: place.pki.join(format!("node-{}.crt", place.node)),
                key: place.pki.join(format!("node-{}.key", place.node)),
                region_key: Some(place.pki.join("region.key")).filter(|path| is_there(path)),
                bundles,
                via,
            },
            officer: OfficerConfig { public_key: OfficerPublic::try_from(public)? },
            meta: MetaConfig {
                seeds: seeds.map(seed).collect(),
                round_trip_ms: (!wan).then_some(BUSY_MS),
                ..MetaConfig::default()
            },
            keys: KeysConfig::default(),
            store: StoreSection::default(),
            segments: SegmentsConfig::default(),
            lifecycle: LifecycleConfig::default(),
            placement: PlacementConfig::default(),
            audit: AuditConfig::default(),
            telemetry: TelemetryConfig::default(),
        })
    }
}

/// Removes a directory that `dev` has made, and no other.
pub(super) fn remove(data: &Path) -> anyhow::Result<()> {
    if !is_there(data) {
        return Ok(());
    }
    let Ok(lock) = File::open(data.join(MARK)) else {
        bail!("`{}` was not made by `domicile dev` and is left alone", data.display());
    };
    if lock.try_lock().is_err() {
        bail!("a `domicile dev` runs in `{}`; stop it first", data.display());
    }
    std::fs::remove_dir_all(data).with_context(|| format!("`{}` cannot be removed", data.display()))
}

fn deployment() -> anyhow::Result<Name> {
    Ok("domicile".parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_prepared_directory_has_configurations_that_the_node_takes_and_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let officer = {
            let layout = Layout::prepare(&data, 0, true).await.expect("prepared");
            for place in &layout.regions {
                let config = NodeConfig::read(&place.config).expect("right");
                assert_eq!(config.link.detours().len(), 2);
                assert!(config.link.detours().values().all(|addr| *addr != place.link()));
                assert_eq!(config.meta.seeds.len(), usize::from(place.node != NodeId(1)));
            }
            assert!(Layout::prepare(&data, 0, false).await.is_err(), "one at a time");
            assert!(remove(&data).is_err(), "not while it runs");
            std::fs::read(layout.regions[0].pki.join("officer.key")).expect("a key")
        };
        let again = Layout::prepare(&data, 0, false).await.expect("prepared again");
        assert_eq!(std::fs::read(again.regions[0].pki.join("officer.key")).expect("a key"), officer);
        drop(again);
        remove(&data).expect("removed");
        assert!(!is_there(&data));
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("precious"), b"x").expect("written");
        assert!(remove(dir.path()).is_err());
        assert!(is_there(&dir.path().join("precious")));
    }
}
