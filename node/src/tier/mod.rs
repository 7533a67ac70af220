//! Stage 8, `Segment` -> where it lies: hot, warm, cold. Does not search.
//!
//! `plan` says what should move and why; the mover carries it out. A sealed segment is copied out into the region's bucket in parts
//! of bounded size and searched where it lies.

mod cold;
mod copies;
mod errors;
mod forget;
mod kept;
mod mover;
mod pack;
mod plan;
mod renew;

pub(crate) use cold::Blocks;
pub(crate) use errors::TierError;
pub(crate) use forget::{forget, is_copied};
pub(crate) use mover::{Mover, MoverParts};
pub(crate) use pack::{Cold, Tier};
pub(crate) use plan::{Action, DAY, Lying, Move, Place, Room, Rule, StreamHold, Why, end_of, plan};
