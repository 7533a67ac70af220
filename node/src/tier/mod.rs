//! Stage 8, `Segment` -> where it lies: hot, warm, cold, archived. Does not search.
//!
//! `plan` says what should move and why; the mover carries it out. A sealed segment is copied out into the region's bucket in parts
//! of bounded size and searched where it lies. From there it goes into the archive, and a copy of it comes back for a while where
//! somebody asks for it.

mod archive;
mod blocks;
mod cold;
mod copies;
mod errors;
mod forget;
mod kept;
mod mover;
mod pack;
mod plan;
mod renew;
mod restore;
mod tables;

pub(crate) use blocks::Blocks;
pub(crate) use errors::TierError;
pub(crate) use forget::{forget, forget_all, is_anywhere, is_copied};
pub(crate) use mover::{Mover, MoverParts};
pub(crate) use pack::{Cold, Tier};
pub(crate) use plan::{
    Action, DAY, InArchive, Lying, Move, Place, Room, Rule, StreamHold, Why, end_in_archive, end_of, plan,
};
pub(crate) use restore::{Asked, Back};
