//! A node's own settings: TOML, one struct per section. Relative paths are meant from the file's directory.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domicile_proto::ids::{Name, NodeId, Region};
use domicile_proto::officer::OfficerPublic;
use domicile_proto::region_key::RegionKey;
use serde::{Deserialize, Serialize};

use super::errors::ConfigError;
use super::keys::KeysConfig;
use super::placement::PlacementConfig;
use super::region::Regions;
use super::segments::SegmentsConfig;
use super::store::StoreSection;
use crate::audit::Outside;

/// A node's settings. Its region and id are not among them: its certificate says them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// Name of the deployment, the end of every trust domain; a name. Default `domicile`. All nodes must agree.
    #[serde(default = "default_deployment")]
    pub(crate) deployment: Name,
    /// Directory of everything this node keeps: log, segments, ledger, metadata. No default. One node, one directory.
    pub(crate) data_dir: PathBuf,
    /// Directory of region facts that takes the place of the built-in ones, `*.yaml`. Default: the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regions_dir: Option<PathBuf>,
    /// Directory of the tenants' own detection rules, `<tenant>.toml`; read at start. Default: none. Each rule costs a pass
    /// over every text of its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rules_dir: Option<PathBuf>,
    /// Where clients talk to the node.
    #[serde(default)]
    pub(crate) listeners: ListenersConfig,
    /// Where other nodes talk to it, and how they know each other.
    pub(crate) link: LinkSection,
    /// Whose consent this region's nodes honour.
    pub(crate) officer: OfficerConfig,
    /// The metadata group.
    #[serde(default)]
    pub(crate) meta: MetaConfig,
    /// Where the root of the region's keys lies.
    #[serde(default)]
    pub(crate) keys: KeysConfig,
    /// Where the region's objects lie.
    #[serde(default)]
    pub(crate) store: StoreSection,
    /// When segments roll over.
    #[serde(default)]
    pub(crate) segments: SegmentsConfig,
    /// How segments move.
    #[serde(default)]
    pub(crate) lifecycle: LifecycleConfig,
    /// Whether and when streams move to another node of the region for their load.
    #[serde(default)]
    pub(crate) placement: PlacementConfig,
    /// The ledger.
    #[serde(default)]
    pub(crate) audit: AuditConfig,
    /// The node's own log.
    #[serde(default)]
    pub(crate) telemetry: TelemetryConfig,
}

/// How segments move from the disk into the bucket. When they do is policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LifecycleConfig {
    /// Bytes of segments that this node's disk may hold; above it the oldest go to the bucket, whatever their age. Default: none,
    /// age alone moves them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_mark_bytes: Option<u64>,
    /// Bytes that are left when they have gone. Default: nine tenths of `disk_mark_bytes`, so that not every minute begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_down_to_bytes: Option<u64>,
    /// Bytes a second that are copied out, of all moves together. Default 50,000,000: a slow disk still serves searches.
    pub(crate) move_bytes_per_second: u64,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self { disk_mark_bytes: None, disk_down_to_bytes: None, move_bytes_per_second: 50_000_000 }
    }
}

/// Listeners for clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListenersConfig {
    /// Elasticsearch API, address and TCP port. Default `127.0.0.1:9200`; port 0 lets the kernel choose.
    pub(crate) es: SocketAddr,
    /// Native API, `/metrics`, `/healthz`, `/readyz`; address and TCP port. Default `127.0.0.1:7280`.
    pub(crate) api: SocketAddr,
    /// Seconds for which the node says at `/readyz` that it is not ready, and serves on, before it stops at SIGTERM; 0 to 300. More than
    /// a load balancer takes to notice. Default 5.
    pub(crate) farewell_seconds: u16,
    /// Serves plain HTTP on addresses that are not loopback. Default false; when true, keys and records pass in the clear
    /// unless something in front of the node speaks TLS, and the log says so at start.
    pub(crate) allow_plaintext: bool,
    /// Certificate and key of both listeners, PEM. Default: none, plain HTTP on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
}

impl Default for ListenersConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let farewell_seconds = DEFAULT_FAREWELL;
        Self { es: loopback(9200), api: loopback(7280), farewell_seconds, allow_plaintext: false, tls: None }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Certificate chain, PEM. No default.
    pub(crate) cert: PathBuf,
    /// Private key, PEM, mode 0600. No default.
    pub(crate) key: PathBuf,
}

/// The link to other nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkSection {
    /// Where to listen, address and UDP port. Default `0.0.0.0:7443`.
    #[serde(default = "default_link_listen")]
    pub(crate) listen: SocketAddr,
    /// Where other nodes reach this one, address and UDP port. No default: it stands in the metadata group.
    pub(crate) advertise: SocketAddr,
    /// The node's certificate, PEM, with exactly one SPIFFE id, which says its region and its number. No default.
    pub(crate) cert: PathBuf,
    /// Its private key, PEM, mode 0600. No default.
    pub(crate) key: PathBuf,
    /// The region's key, hexadecimal, mode 0600: the same on all nodes of the region. Without it the node begins no stream.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region_key: Option<PathBuf>,
    /// By region, the certificates of its CA, PEM; this region's included. A region without an entry is not talked to.
    pub(crate) bundles: BTreeMap<Region, PathBuf>,
    /// By node id, an address that is dialled instead of the node's own, to put an emulated network between. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) via: BTreeMap<String, SocketAddr>,
}

impl LinkSection {
    /// The detours by node.
    pub(crate) fn detours(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.via.iter().filter_map(|(node, addr)| Some((NodeId(node.parse().ok()?), *addr))).collect()
    }
}

/// The officer of this region.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfficerConfig {
    /// The officer's public key, 64 hexadecimal digits (Ed25519). No default. Widening commands of this region that it has
    /// not signed are ignored by this node.
    pub(crate) public_key: OfficerPublic,
}

/// The node's part in the metadata group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetaConfig {
    /// Nodes to join the group through. Default: none, for the node on which `cluster init` is run.
    pub(crate) seeds: Vec<Seed>,
    /// Whether this node votes for its region; one node of a region does. Default true. Others follow and read.
    pub(crate) voter: bool,
    /// Largest round trip between two regions, in milliseconds, 0 to 5000; heartbeats and elections follow from it. Default:
    /// the largest in the region facts. All nodes must agree; raising it makes a failed leader be noticed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip_ms: Option<u32>,
}

impl Default for MetaConfig {
    fn default() -> Self {
        Self { seeds: Vec::new(), voter: true, round_trip_ms: None }
    }
}

/// Another node of the group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seed {
    /// Its number, as in its certificate.
    pub(crate) node: u64,
    /// Its region, as in its certificate.
    pub(crate) region: Region,
    /// Where its link listens, address and UDP port.
    pub(crate) addr: SocketAddr,
}

/// The ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditConfig {
    /// File to which the session secrets of the link are written, so that an auditor can read a capture. Default: none. Whoever
    /// has the file and a capture reads the traffic between regions; the log and `status` say that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_keylog: Option<PathBuf>,
    /// Witnesses outside the deployment that cosign this node's checkpoints, beside one of each other region. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) witnesses: Vec<WitnessConfig>,
}

/// A witness outside the deployment, which takes checkpoints as C2SP tlog-witness says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WitnessConfig {
    /// Its submission prefix, to which `/add-checkpoint` is added; http or https. No default. It learns how many entries the ledger
    /// has and when it grows, and nothing else.
    pub(crate) url: String,
    /// Its key, `name+id+key`, of kind 4 (timestamped Ed25519 cosignatures). No default.
    pub(crate) key: String,
}

/// The node's own log, to standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryConfig {
    /// What is logged: a level, or `module=level` pairs with commas. Default `info`. `RUST_LOG` takes its place.
    pub(crate) filter: String,
    /// `text` for people, `json` for machines. Default `text`.
    pub(crate) format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The form of the node's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl NodeConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the key, and says what to write.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::File { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        let base = std::path::absolute(path).map_err(failed)?;
        config.resolve(base.parent().unwrap_or_else(|| Path::new("/")));
        config.check(path)?;
        Ok(config)
    }

    /// Facts about regions: from `regions_dir`, or the built-in ones.
    ///
    /// # Errors
    /// [`ConfigError`] names the file that is wrong.
    pub(crate) fn regions(&self) -> Result<Regions, ConfigError> {
        self.regions_dir.as_deref().map_or_else(Regions::built_in, Regions::read)
    }

    /// The round trip the timing of the metadata group follows from.
    pub(crate) fn round_trip(&self, regions: &Regions) -> Duration {
        let stated = self.meta.round_trip_ms.map(|millis| Duration::from_millis(u64::from(millis)));
        stated.unwrap_or_else(|| regions.largest_round_trip())
    }

    /// The key this node speaks for its region with.
    ///
    /// # Errors
    /// [`ConfigError::RegionKey`] where the file is not readable, or no such key.
    pub(crate) fn region_key(&self) -> Result<Option<RegionKey>, ConfigError> {
        let Some(path) = &self.link.region_key else { return Ok(None) };
        let text = for_few(path).and_then(|()| std::fs::read_to_string(path));
        let read = text.and_then(|text| RegionKey::from_text(&text).map_err(io::Error::other));
        read.map(Some).map_err(|source| ConfigError::RegionKey { path: path.clone(), source })
    }

    fn resolve(&mut self, base: &Path) {
        let mut paths = vec![&mut self.data_dir, &mut self.link.cert, &mut self.link.key];
        paths.extend(self.link.bundles.values_mut());
        paths.extend(self.link.region_key.as_mut());
        paths.extend(self.regions_dir.as_mut());
        paths.extend(self.rules_dir.as_mut());
        paths.extend(self.audit.tls_keylog.as_mut());
        paths.extend(self.keys.paths());
        paths.extend(self.store.paths());
        if let Some(tls) = &mut self.listeners.tls {
            paths.extend([&mut tls.cert, &mut tls.key]);
        }
        for path in paths {
            *path = base.join(&*path);
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let ListenersConfig { es, api, farewell_seconds, allow_plaintext, tls } = &self.listeners;
        if *farewell_seconds > LONGEST_FAREWELL {
            let (path, found) = (path.to_owned(), u64::from(*farewell_seconds));
            return Err(ConfigError::Bound { path, key: "listeners.farewell_seconds", found, allowed: "0 to 300" });
        }
        for (key, addr) in [("es", es), ("api", api)] {
            if tls.is_none() && !allow_plaintext && !addr.ip().is_loopback() {
                return Err(ConfigError::Plaintext { key, addr: *addr });
            }
        }
        if self.link.advertise.ip().is_unspecified() || self.link.advertise.port() == 0 {
            return Err(ConfigError::Advertise { addr: self.link.advertise });
        }
        if let Some((key, wanted)) = self.keys.mistake() {
            return Err(ConfigError::KeyStore { path: path.to_owned(), key, wanted });
        }
        if let Some((key, wanted)) = self.store.mistake() {
            return Err(ConfigError::Store { path: path.to_owned(), key, wanted });
        }
        if let Some((number, problem)) = super::buckets::mistake(&self.store, &self.data_dir.join("objects")) {
            return Err(ConfigError::Buckets { path: path.to_owned(), number, problem });
        }
        if let Some((key, found, allowed)) = self.segments.mistake().or_else(|| self.placement.mistake()) {
            return Err(ConfigError::Bound { path: path.to_owned(), key, found, allowed });
        }
        let is_right = |one: &WitnessConfig| {
            let has_scheme = one.url.starts_with("http://") || one.url.starts_with("https://");
            has_scheme && Outside::new(&one.url, &one.key).is_some()
        };
        if let Some(at) = self.audit.witnesses.iter().position(|one| !is_right(one)) {
            return Err(ConfigError::Witness { path: path.to_owned(), number: at + 1 });
        }
        let round_trip = self.meta.round_trip_ms.unwrap_or_default();
        if round_trip > 5_000 {
            let (path, found) = (path.to_owned(), u64::from(round_trip));
            return Err(ConfigError::Bound { path, key: "meta.round_trip_ms", found, allowed: "0 to 5000" });
        }
        Ok(())
    }
}

/// A load balancer that looks every two seconds has noticed by then, twice.
const DEFAULT_FAREWELL: u16 = 5;
/// Supervisors kill whoever takes longer.
const LONGEST_FAREWELL: u16 = 300;

/// A secret that everybody on the machine can read is none; a group may be how it reaches the node.
fn for_few(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path)?.permissions()) & 0o007 != 0 {
        return Err(io::Error::other("everybody on this machine can read it; run `chmod 600` on it"));
    }
    Ok(())
}

fn default_deployment() -> Name {
    // The name is a constant of this file and well-formed; a test reads a configuration without the key.
    #[allow(clippy::unwrap_used, reason = "a constant, and a test runs through here")]
    "domicile".parse().unwrap()
}

const fn default_link_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 7443)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::errors::Coded;
    use crate::fuzz::{Input, cases};

    const LEAST: &str = r#"
data_dir = "data"
[link]
advertise = "192.0.2.1:7443"
cert = "pki/node.crt"
key = "pki/node.key"
bundles = { tokyo = "pki/tokyo.crt" }
[officer]
public_key = "0000000000000000000000000000000000000000000000000000000000000000"
"#;

    fn read(text: &str) -> Result<NodeConfig, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).expect("written");
        NodeConfig::read(&path)
    }

    #[test]
    fn the_least_configuration_has_every_default() {
        let config = read(LEAST).expect("enough");
        assert_eq!(config.deployment.as_str(), "domicile");
        assert_eq!(config.link.listen.port(), 7443);
        assert_eq!(config.listeners.es.to_string(), "127.0.0.1:9200");
        assert_eq!(config.listeners.api.to_string(), "127.0.0.1:7280");
        assert_eq!((config.segments.roll_bytes, config.segments.roll_days), (50_000_000_000, 1));
        assert!(!config.placement.enabled, "an operator says that streams move");
        assert!(config.meta.voter && config.meta.seeds.is_empty() && config.audit.tls_keylog.is_none());
        assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"), "from the file's directory");
        assert!(config.link.bundles.values().all(|path| path.is_absolute()));
        assert_eq!(config.round_trip(&config.regions().expect("built in")), Duration::from_millis(230));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = toml::to_string(&read(LEAST).expect("enough")).expect("TOML");
        let again = toml::to_string(&read(&text).expect("the same")).expect("TOML");
        assert_eq!(text, again);
    }

    #[test]
    fn no_configuration_panics() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.toml");
        let all = toml::to_string(&read(LEAST).expect("enough")).expect("TOML");
        let good = vec![LEAST.as_bytes().to_vec(), all.into_bytes()];
        bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
            std::fs::write(&path, input.bytes(&good)).expect("written");
            match NodeConfig::read(&path) {
                Ok(config) => assert!(config.data_dir.is_absolute()),
                Err(error) => assert!(error.code().starts_with("DMC-CONFIG-"), "{error}"),
            }
        });
    }

    #[test]
    fn the_configuration_in_the_guide_is_right() {
        let guide = include_str!("../../../docs/guide/operator.md");
        let lines = guide.lines().map(str::trim).skip_while(|line| !line.starts_with("data_dir"));
        let text: String = lines.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
        let config =
            read(&text.replace("the 64 figures in pki/singapore/officer.pub", &"0".repeat(64))).expect("right");
        assert_eq!((config.link.bundles.len(), config.meta.seeds.len()), (3, 1));
        assert!(config.listeners.tls.is_some(), "off loopback, clients are spoken to in TLS");
    }

    #[test]
    fn a_key_of_a_region_is_read_from_beside_the_configuration_or_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.toml");
        let named = LEAST.replace("[officer]", "region_key = \"region.key\"\n[officer]");
        std::fs::write(&path, named).expect("written");
        let config = NodeConfig::read(&path).expect("right");
        let missing = config.region_key().err().expect("not there");
        assert!(missing.code() == "DMC-CONFIG-10" && missing.to_string().contains("region.key"), "{missing}");
        let file = dir.path().join("region.key");
        let write = |text: &str, mode: u32| {
            std::fs::write(&file, text).expect("written");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("changed");
        };
        let key = RegionKey::generate().expect("random");
        for (text, mode) in [("5a5a", 0o600), (key.as_str(), 0o644)] {
            write(text, mode);
            assert_eq!(config.region_key().err().map(|error| error.code()), Some("DMC-CONFIG-10"), "{mode:o}");
        }
        write(&key, 0o600);
        assert!(config.region_key().expect("a key").is_some());
        assert!(read(LEAST).expect("enough").region_key().expect("none is named").is_none());
    }

    #[test]
    fn each_mistake_names_its_key_and_its_code() {
        let with = |more: &str| format!("{LEAST}\n{more}");
        let transit = |address: &str| {
            format!(
                "[keys]\nstore = \"transit\"\n[keys.transit]\naddress = \"{address}\"\nkey = \"k\"\ntoken_file = \"t\""
            )
        };
        let witness = "[[audit.witnesses]]\nurl = \"https://w.example\"\n";
        for (text, code, named) in [
            (LEAST.replace("data_dir", "datadir"), "DMC-CONFIG-02", "datadir"),
            (LEAST.replace("data_dir = \"data\"", ""), "DMC-CONFIG-02", "data_dir"),
            (LEAST.replace("tokyo", "To/kyo"), "DMC-CONFIG-02", "name"),
            (LEAST.replace("0000\"", "\""), "DMC-CONFIG-02", "64 hexadecimal"),
            (LEAST.replace("192.0.2.1:7443", "192.0.2.1"), "DMC-CONFIG-02", "advertise"),
            (LEAST.replace("192.0.2.1", "0.0.0.0"), "DMC-CONFIG-07", "link.advertise"),
            (with("[listeners]\nes = \"192.0.2.1:9200\""), "DMC-CONFIG-06", "listeners.es"),
            (with("[listeners]\nport = 9200"), "DMC-CONFIG-02", "port"),
            (with("[meta]\nround_trip_ms = 60000"), "DMC-CONFIG-08", "meta.round_trip_ms"),
            (with("[segments]\nroll_bytes = 999999"), "DMC-CONFIG-08", "segments.roll_bytes"),
            (with("[segments]\nroll_bytes = 50000000001"), "DMC-CONFIG-08", "segments.roll_bytes"),
            (with("[segments]\nroll_days = 0"), "DMC-CONFIG-08", "segments.roll_days"),
            (with("[segments]\nroll_days = 8"), "DMC-CONFIG-08", "segments.roll_days"),
            (with("[listeners]\nfarewell_seconds = 301"), "DMC-CONFIG-08", "listeners.farewell_seconds"),
            (with("[placement]\ninterval_seconds = 0"), "DMC-CONFIG-08", "placement.interval_seconds"),
            (with("[placement]\nhalf_life_seconds = 86401"), "DMC-CONFIG-08", "placement.half_life_seconds"),
            (with("[placement]\nleast_millicores = 0"), "DMC-CONFIG-08", "placement.least_millicores"),
            (with("[placement]\nby = \"count\""), "DMC-CONFIG-02", "by"),
            (with("[segments]\nroll_hours = 1"), "DMC-CONFIG-02", "roll_hours"),
            (with("[telemetry]\nformat = \"xml\""), "DMC-CONFIG-02", "xml"),
            (with(&format!("{witness}key = \"w.example+00000000+BA==\"")), "DMC-CONFIG-12", "audit.witnesses"),
            (with(&format!("{witness}name = \"w\"")), "DMC-CONFIG-02", "name"),
            ("not toml".to_owned(), "DMC-CONFIG-02", "not toml"),
            (with("[keys]\nstore = \"transit\""), "DMC-CONFIG-09", "keys.transit"),
            (with("[keys]\nstore = \"pkcs11\""), "DMC-CONFIG-09", "keys.pkcs11"),
            (with("[store]\nkind = \"s3\""), "DMC-CONFIG-11", "store.bucket"),
            (with("[store]\nsecret = \"s3\""), "DMC-CONFIG-02", "secret"),
            (with(&transit("http://192.0.2.9:8200")), "DMC-CONFIG-09", "keys.transit.address"),
            (with(&transit("http://127.0.0.1:80@192.0.2.9")), "DMC-CONFIG-09", "keys.transit.address"),
            (with(&transit("http://127.0.0.1.example.com")), "DMC-CONFIG-09", "keys.transit.address"),
        ] {
            let error = read(&text).expect_err(named);
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert_eq!(error.code(), code, "{error} {source}");
            assert!(error.to_string().contains(named) || source.contains(named), "{named}: {error} {source}");
        }
        let missing = NodeConfig::read(Path::new("/nowhere/node.toml")).expect_err("there is none");
        assert_eq!(missing.code(), "DMC-CONFIG-01");
        assert!(read(&with(&transit("http://127.0.0.1:8200"))).is_ok());
        assert!(read(&with(&transit("https://vault.example.com"))).is_ok());
        for at_the_bound in ["roll_bytes = 1000000\nroll_days = 7", "roll_bytes = 50000000000\nroll_days = 1"] {
            assert!(read(&with(&format!("[segments]\n{at_the_bound}"))).is_ok(), "{at_the_bound}");
        }
        assert!(read(&with("[listeners]\nes = \"192.0.2.1:9200\"\nallow_plaintext = true")).is_ok());
    }
}
