//! Stage 8, `Segment` -> where it lies. Does not search.
//!
//! Today a sealed segment can be copied out into the region's bucket in parts of bounded size, fetched again, and searched where it
//! lies. What decides when, the plan over age, room and holds, is not here yet: nothing moves by itself.

mod cold;
mod copies;
mod errors;
mod forget;
mod pack;
mod renew;

#[cfg(test)]
pub(crate) use cold::Blocks;
pub(crate) use errors::TierError;
pub(crate) use forget::{forget, is_copied};
pub(crate) use pack::{Cold, Tier};

/// Where a segment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the local disk, searched there.
    Hot,
    /// In the bucket alone; it is fetched and verified before it is searched.
    Cold(Cold),
}
