//! Beside the line: node configuration (TOML) and region facts (YAML).
//!
//! Settings change behaviour and are passed on explicitly; a key nobody knows is refused. What a region is stands in
//! `regions/*.yaml` alone, which Terraform reads as well. Decides nothing about policy: that is the metadata group's.

mod buckets;
mod errors;
mod keys;
mod node_config;
mod placement;
mod region;
mod segments;
mod store;

pub(crate) use errors::ConfigError;
pub(crate) use keys::{KeysConfig, Pkcs11Config, StoreKind, TransitConfig};
pub(crate) use node_config::{
    AuditConfig, LifecycleConfig, LinkSection, ListenersConfig, LogFormat, MetaConfig, NodeConfig, OfficerConfig, Seed,
    TelemetryConfig,
};
pub(crate) use placement::PlacementConfig;
pub(crate) use region::{Clouds, RegionFacts, Regions};
pub(crate) use segments::SegmentsConfig;
pub(crate) use store::{Addressing, Backend, Cloud, Credentials, Encryption, StoreSection, Vouched};
