//! Whether the region's officer consents (RES-4), asked of every widening row at every build and remembered in between.
//!
//! The key is the one in the node's own configuration. A signature is checked once: what held for the same bytes before
//! holds again. Does not decide what follows from a consent.

use std::collections::BTreeMap;

use domicile_proto::ids::Region;
use domicile_proto::metadata::RegionalChange;
use domicile_proto::officer::OfficerPublic;
use ring::digest::{SHA256, digest};

/// The officer of one region, with a memory of the changes that were looked at.
pub(crate) struct Consents {
    region: Region,
    officer: OfficerPublic,
    known: BTreeMap<[u8; 32], bool>,
    /// The verdicts used since the last [`Consents::forget_unused`].
    used: BTreeMap<[u8; 32], bool>,
}

impl Consents {
    /// The officer of `region`, by the key in this node's own configuration.
    pub(crate) const fn new(region: Region, officer: OfficerPublic) -> Self {
        Self { region, officer, known: BTreeMap::new(), used: BTreeMap::new() }
    }

    /// The same officer without the memory.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.region.clone(), self.officer)
    }

    /// The region it speaks for.
    pub(crate) const fn region(&self) -> &Region {
        &self.region
    }

    /// Whether the change is one of this region and carries its officer's consent.
    pub(crate) fn hold(&mut self, change: &RegionalChange) -> bool {
        if change.region != self.region || change.signature.is_none() {
            return false;
        }
        let Ok(bytes) = serde_json::to_vec(change) else { return false };
        let mut place = [0; 32];
        place.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        let verdict = self.used.get(&place).or_else(|| self.known.get(&place)).copied();
        let verdict = verdict.unwrap_or_else(|| self.officer.consents(change));
        self.used.insert(place, verdict);
        verdict
    }

    /// Forgets what was not asked about since the last call, so that the memory never outgrows the state.
    pub(crate) fn forget_unused(&mut self) {
        self.known = std::mem::take(&mut self.used);
    }
}
