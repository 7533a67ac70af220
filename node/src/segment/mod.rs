//! Stage 7, growing segment -> sealed `Segment` and manifest: roll-over, merges, publication.
//!
//! Does not move data between tiers.

mod adopt;
#[cfg(test)]
mod adopt_test;
mod archived;
mod catalog;
mod copied;
mod errors;
pub(crate) mod files;
mod hidden;
mod intake;
pub(crate) mod lookup;
mod lost;
#[cfg(test)]
mod lost_test;
pub(crate) mod manifest;
mod merge;
mod moved;
pub(crate) mod places;
pub(crate) mod plan;
mod publish;
mod purge;
#[cfg(test)]
mod purge_test;
pub(crate) mod ranged;
mod repair;
mod roll;
#[cfg(test)]
mod roll_test;
#[allow(clippy::module_inception, reason = "the main type of the stage has its name")]
mod segment;
mod shards;
#[cfg(test)]
mod shards_test;
mod shared;
#[cfg(test)]
pub(crate) mod specimen;
pub(crate) mod walk;

pub(crate) use archived::{Archived, PurgeArchive, Unsearched, archive_of, is_archive, restored_of};
pub(crate) use catalog::Catalog;
pub(crate) use copied::{COPIES, Copied, CopyOut, OpenCopied, delete_copy, object_of};
pub(crate) use errors::SegmentError;
pub(crate) use hidden::Hidden;
pub(crate) use lost::{Loss, Sum};
pub(crate) use purge::{Rewritten, Sha256, Whole, renew, sha256_of};
pub(crate) use roll::RollOver;
pub(crate) use segment::{Segment, SegmentId};
pub(crate) use shards::{Opened, Shards};
