//! Beside the line: who writes a shard; streams that begin with their first record; which shards of an owner that fell silent
//! this node may take over; what shards ask of a node, and which should lie with another one for that; what is tried again while a
//! stream goes from node to node.
//!
//! What is known is answered from the policy's snapshot at once, with the metadata group out of reach as well. Only a
//! stream that is new, or has no shard here yet, is proposed to the group; one proposal per stream, however many wait.
//! Does not look at records.

mod errors;
mod handover;
mod load;
mod place;
mod propose;
mod streams;
mod takeover;
#[cfg(test)]
mod takeover_test;

pub(crate) use errors::OwnershipError;
pub(crate) use handover::{Giving, Passing, Patience};
pub(crate) use load::Loads;
pub(crate) use place::{Load, Placed, Sights, Standing, Step, carried, spread, takers};
#[cfg(test)]
pub(crate) use propose::NotProposed;
pub(crate) use propose::Propose;
pub(crate) use streams::Ownership;
pub(crate) use takeover::{Heard, Owned, Sight, heir, plan};
