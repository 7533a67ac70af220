//! The `[keys]` section: where the root of the region's keys lies.

use std::path::PathBuf;

use domicile_proto::ids::Name;
use serde::{Deserialize, Serialize};

/// Where the root of the region's keys lies. It never leaves the region, so must its store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeysConfig {
    /// Which kind of store. Default `local`, for development: whoever has the disk has the root.
    pub(crate) store: StoreKind,
    /// The file of a `local` root, mode 0600. Default: `keys/root.key` in the data directory. On another disk than the data a
    /// stolen data disk opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// Vault or OpenBao; needed where `store = "transit"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transit: Option<TransitConfig>,
    /// A PKCS#11 module; needed where `store = "pkcs11"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pkcs11: Option<Pkcs11Config>,
}

/// A kind of key store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    /// A file.
    #[default]
    Local,
    /// The Transit engine of Vault or OpenBao.
    Transit,
    /// A PKCS#11 module.
    Pkcs11,
}

/// The Transit engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransitConfig {
    /// Address, `https://…`; plain HTTP only on loopback. No default.
    pub(crate) address: String,
    /// Where the engine is mounted. Default `transit`.
    #[serde(default = "default_mount")]
    pub(crate) mount: String,
    /// The key, of this node alone: older versions are destroyed as the node's keyring no longer needs them. No default.
    pub(crate) key: Name,
    /// File with the token, mode 0600; read at each request. No default.
    pub(crate) token_file: PathBuf,
    /// Certificates of the server's authority, PEM. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Namespace. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
}

/// A PKCS#11 module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pkcs11Config {
    /// The module, a shared library. No default.
    pub(crate) module: PathBuf,
    /// Label of the token. No default.
    pub(crate) token: String,
    /// Label of the key, of this node alone. No default.
    pub(crate) key: Name,
    /// File with the user's PIN, mode 0600. No default.
    pub(crate) pin_file: PathBuf,
}

fn default_mount() -> String {
    "transit".to_owned()
}

impl KeysConfig {
    /// Every path in it.
    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths: Vec<&mut PathBuf> = self.path.iter_mut().collect();
        if let Some(transit) = &mut self.transit {
            paths.push(&mut transit.token_file);
            paths.extend(transit.ca.as_mut());
        }
        if let Some(pkcs11) = &mut self.pkcs11 {
            paths.extend([&mut pkcs11.module, &mut pkcs11.pin_file]);
        }
        paths
    }

    /// The key that is missing or wrong, if there is one, and what should stand there.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let is_safe = |address: &str| {
            let host = address.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
            host.is_none_or(|host| ["127.0.0.1", "[::1]"].iter().any(|own| is_host(host, own)))
        };
        let is_url = |address: &str| address.starts_with("https://") || address.starts_with("http://");
        match (self.store, &self.transit, &self.pkcs11) {
            (StoreKind::Transit, None, _) => Some(("keys.transit", "a section with `address`, `key` and `token_file`")),
            (StoreKind::Pkcs11, _, None) => {
                Some(("keys.pkcs11", "a section with `module`, `token`, `key` and `pin_file`"))
            }
            (_, Some(transit), _) if !is_url(&transit.address) || !is_safe(&transit.address) => {
                Some(("keys.transit.address", "an `https://` address, or `http://` on loopback"))
            }
            _ => None,
        }
    }
}

pub(super) fn is_host(found: &str, own: &str) -> bool {
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    found.strip_prefix(own).is_some_and(|port| port.is_empty() || is_port(port))
}
