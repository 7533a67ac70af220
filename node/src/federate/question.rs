//! A question to several regions, as a client of this region puts it.

use std::collections::BTreeSet;
use std::time::Duration;

use domicile_proto::ids::{Name, Region, TenantId, TimeRange};
use domicile_proto::message::question::{Ask, Filter};
use domicile_proto::message::region::Asker;

/// Which regions are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Regions {
    /// Every region the metadata group knows.
    All,
    /// These.
    Only(BTreeSet<Region>),
}

/// What becomes of the answer where a region is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// An error that names the region.
    Fail,
    /// The answer of the others, which names the region.
    #[default]
    Partial,
}

/// A question to several regions. No `Debug`: its filters may hold a literal.
#[derive(Clone)]
pub(crate) struct FederatedQuestion {
    /// Whose records.
    pub(crate) tenant: TenantId,
    /// For whom: another node of this region that owns the stream looks the key up again.
    pub(crate) asker: Asker,
    /// Of which stream.
    pub(crate) stream: Name,
    /// Who is asked.
    pub(crate) regions: Regions,
    /// From when to when.
    pub(crate) range: TimeRange,
    /// All of these must hold; an error where the question cannot be put in words that may travel, so that other regions
    /// are `refused` and this one answers its own clients by other means.
    pub(crate) filters: Vec<Filter>,
    /// What is wanted.
    pub(crate) ask: Ask,
    /// Fail or partial.
    pub(crate) on_missing: OnMissing,
    /// How long the answer may take in all.
    pub(crate) deadline: Duration,
}
