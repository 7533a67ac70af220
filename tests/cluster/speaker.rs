//! What a node of a region says with the region's key, said by a test that has the key's file.

use std::path::Path;

use anyhow::{Context, Result};
use domicile_proto::ids::{Epoch, NodeId, Region, StreamId};
use domicile_proto::region_key::RegionKey;
use serde_json::Value;

/// A region and its key.
pub struct Speaker {
    region: Region,
    key: RegionKey,
}

impl Speaker {
    /// With the key that `dev` made under `data`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(data: &Path, region: &str) -> Result<Self> {
        let path = data.join("pki").join(region).join("region.key");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { region: region.parse()?, key: RegionKey::from_text(&text)? })
    }

    /// The command that makes a node the owner of a stream's shard in the region.
    pub fn assign(&self, stream: u64, owner: u64, seen: u64) -> Value {
        self.assign_in(self.region.as_str(), stream, owner, seen)
    }

    /// The same for a shard of any region, in this region's words.
    pub fn assign_in(&self, region: &str, stream: u64, owner: u64, seen: u64) -> Value {
        let stream = StreamId(u32::try_from(stream).unwrap_or(u32::MAX));
        let region = region.parse().unwrap_or_else(|_| self.region.clone());
        let command = self.key.assign(stream, region, NodeId(owner), Epoch(seen));
        serde_json::to_value(command).unwrap_or_default()
    }
}
