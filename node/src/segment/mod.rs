//! Stage 7, growing segment -> sealed `Segment` and manifest: roll-over, merges, publication.
//!
//! Does not move data between tiers.

mod segment;

pub(crate) use segment::{Segment, SegmentId};
