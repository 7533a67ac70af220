//! The client's profile: where each region's own endpoint is, and the one access key it issued.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use domicile_proto::ids::Region;
use serde::{Deserialize, Serialize};

use super::door::Door;

/// Addresses and keys of the regions somebody works with. Holds secrets: no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) regions: BTreeMap<Region, Endpoint>,
}

/// One region's own endpoint.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    /// Native API.
    pub(super) api: String,
    /// Elasticsearch API.
    pub(super) es: String,
    /// The access key this region issued.
    pub(super) key: String,
    /// Native APIs of the region's other nodes; an audit pack is made of the ledgers of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) other_nodes: Vec<String>,
    /// Certificate of the authority behind the listeners, PEM, where it is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
}

impl Profile {
    /// Reads the profile that was named, or the first that is there.
    pub(super) fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            return Self::read(path);
        }
        let mut tried = vec![PathBuf::from("domicile-data/profile.toml")];
        if let Some(home) = std::env::var_os("HOME") {
            tried.push(Path::new(&home).join(".config/domicile/profile.toml"));
        }
        for path in &tried {
            if path.try_exists().unwrap_or(false) {
                return Self::read(path);
            }
        }
        let tried: Vec<_> = tried.iter().map(|path| format!("`{}`", path.display())).collect();
        bail!("no client profile at {}; start `domicile dev`, or name one with `--profile FILE`", tried.join(" or "))
    }

    /// Reads one file, which nobody else may read.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("the profile `{}` cannot be read; name one with `--profile FILE`", path.display())
        })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!("the profile `{}` has mode {mode:03o} and holds keys; run `chmod 600` on it", path.display());
            }
        }
        // The message of the parser quotes the line, which may hold a key: it stays here.
        let parsed: Result<Self, _> = toml::from_str(&text);
        let profile = parsed.map_err(|error| {
            let line = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            anyhow::anyhow!(
                "the profile `{}` is not right at line {line}; each region has `api`, `es` and `key`",
                path.display()
            )
        })?;
        if profile.regions.is_empty() {
            bail!("the profile `{}` names no region; add `[regions.NAME]` with `api`, `es` and `key`", path.display());
        }
        Ok(profile)
    }

    /// Writes it for its owner alone.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_secret(path, toml::to_string(self)?.as_bytes())
    }

    /// A door to one region.
    pub(super) fn door(&self, region: &Region) -> anyhow::Result<Door> {
        let endpoint = self.regions.get(region).with_context(|| {
            let known: Vec<_> = self.regions.keys().map(Region::as_str).collect();
            format!("the profile knows no region `{region}`; it knows {}", known.join(", "))
        })?;
        Door::new(Some(region.clone()), &endpoint.api, &endpoint.key, endpoint.ca.as_deref())
    }

    /// Doors to the other nodes of a region that the profile names.
    pub(super) fn doors_beside(&self, region: &Region) -> anyhow::Result<Vec<Door>> {
        let endpoint = self.regions.get(region);
        let doors = endpoint.into_iter().flat_map(|endpoint| {
            let ca = endpoint.ca.as_deref();
            endpoint.other_nodes.iter().map(move |api| Door::new(Some(region.clone()), api, &endpoint.key, ca))
        });
        doors.collect()
    }

    /// A door through which something of this region can be decided: its own where the profile knows it, for its node checks
    /// the officer's consent at once; else any other, so that a region without a key can be given its first.
    pub(super) fn door_for(&self, region: &Region) -> anyhow::Result<Door> {
        self.door_at(self.regions.contains_key(region).then_some(region))
    }

    /// A door to the region that was named, or to the first.
    pub(super) fn door_at(&self, region: Option<&Region>) -> anyhow::Result<Door> {
        match region.or_else(|| self.regions.keys().next()) {
            Some(region) => self.door(region),
            None => bail!("the profile names no region"),
        }
    }

    /// The regions that `all`, or names with commas, mean.
    pub(super) fn select(&self, regions: &str) -> anyhow::Result<Vec<Region>> {
        if matches!(regions, "all" | "*") {
            return Ok(self.regions.keys().cloned().collect());
        }
        regions
            .split(',')
            .map(|name| name.trim().parse().with_context(|| format!("`{}` is no name of a region", name.trim())))
            .collect()
    }
}

/// Writes a file that its owner alone may read: beside its place first, then renamed into it.
pub(super) fn write_secret(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.with_context(|| format!("`{}` cannot be written; check the directory", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let endpoint = |port| Endpoint {
            api: format!("http://127.0.0.1:{port}"),
            es: "http://127.0.0.1:1".to_owned(),
            key: "verysecret".to_owned(),
            other_nodes: Vec::new(),
            ca: None,
        };
        let region = |name: &str| name.parse::<Region>().expect("a name");
        Profile { regions: [(region("tokyo"), endpoint(1)), (region("frankfurt"), endpoint(2))].into() }
    }

    #[test]
    fn a_written_profile_is_read_back_by_its_owner_alone() {
        domicile_proto::link::crypto::install_default_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("profile.toml");
        profile().write(&path).expect("written");
        let read = Profile::read(&path).expect("read");
        assert_eq!(read.select("all").expect("all").len(), 2);
        assert_eq!(read.select("tokyo, singapore").expect("names").len(), 2);
        let singapore: Region = "singapore".parse().expect("a name");
        assert!(read.door(&singapore).is_err());
        assert_eq!(
            read.door_for(&singapore).expect("another region's").region,
            Some("frankfurt".parse().expect("a name"))
        );
        let tokyo: Region = "tokyo".parse().expect("a name");
        assert_eq!(read.door_for(&tokyo).expect("its own").region, Some(tokyo));
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        mode(0o644);
        assert!(Profile::read(&path).err().expect("refused").to_string().contains("chmod 600"));
    }

    #[test]
    fn a_wrong_profile_is_refused_without_showing_a_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("profile.toml");
        write_secret(&path, b"[regions.tokyo]\nkye = \"verysecret\"\n").expect("written");
        let error = Profile::read(&path).err().expect("refused");
        let all = super::super::chain(&error);
        assert!(all.contains("line") && !all.contains("verysecret"), "{all}");
    }
}
