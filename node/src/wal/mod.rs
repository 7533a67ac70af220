//! Stage 5, `Classified` -> `Durable`: what accepted means.
//!
//! Group commit, fsync, idempotence; poisoned by a failed fsync. Takes nothing but `Classified`, so nothing unredacted
//! reaches a disk. Does not index.

mod batch;
mod disk;
#[cfg(test)]
mod disk_double;
#[cfg(test)]
mod disk_sim;
mod durable;
mod errors;
mod frame;
mod log;
mod recover;
mod seen;
#[cfg(test)]
mod sim_test;
#[cfg(test)]
mod wal_test;
mod writer;
#[cfg(test)]
mod writer_test;

pub(crate) use batch::{Accepted, Batch, Op, Outcome, ProducerBatch};
pub(crate) use durable::Durable;
pub(crate) use errors::WalError;
pub(crate) use writer::{Wal, WalConfig};
