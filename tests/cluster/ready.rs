//! The ready file of `domicile dev`: where the doors are and which keys open them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What `dev` writes when all three regions answer a federated question.
#[derive(Clone, Deserialize)]
pub struct Ready {
    /// By region.
    pub regions: BTreeMap<String, Doors>,
    /// By region and role: `admin`, `ingest`, `search`, `audit`.
    pub keys: BTreeMap<String, BTreeMap<String, String>>,
    /// Where everything lies.
    pub data: String,
}

/// The doors of one region.
#[derive(Clone, Deserialize)]
pub struct Doors {
    /// Base address of the Elasticsearch API.
    pub es: String,
    /// Base address of the native API.
    pub api: String,
    /// Address of the metrics.
    pub metrics: String,
    /// UDP address of the link.
    pub link: String,
    /// The node's process.
    pub pid: u32,
}
