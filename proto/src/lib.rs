//! The border of Domicile: everything that may be said between machines, and nothing else.
//!
//! Audited as one unit. Reading order: [`ids`] (what things are called), [`aggregate`] (the closed set that may cross),
//! [`leaf`], [`numbers`] and [`noise`] (how a region judges), [`border`] (the only way out), [`metadata`], [`privacy`], [`transfer`], [`officer`] and [`region_key`] (what the metadata group may hold, who consents and who speaks),
//! [`message`] (what travels), [`codec`] (as which bytes), [`link`] (over which connection). Nothing here knows a log line.

pub mod aggregate;
pub mod border;
pub mod codec;
pub mod ids;
pub mod leaf;
pub mod link;
pub mod message;
pub mod metadata;
pub mod noise;
pub mod numbers;
pub mod officer;
pub mod privacy;
pub mod region_key;
mod signing;
pub mod transfer;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
#[cfg(test)]
use bolero as _;
