//! Stage 5, `Classified` -> `Durable`: what accepted means.
//!
//! Group commit, fsync, idempotence; poisoned by a failed fsync. Takes nothing but `Classified`, so nothing unredacted
//! reaches a disk. Does not index.

mod batch;
mod durable;

pub(crate) use batch::{Accepted, Batch, Op, Outcome, ProducerBatch};
pub(crate) use durable::Durable;
