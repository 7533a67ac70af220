//! Stage 5, `Classified` -> `Durable`: what accepted means.
//!
//! Group commit, idempotence. Shards of durability `disk` are written to files and flushed; a failed fsync poisons them. Shards of
//! durability `bucket` are written into objects of the region's store instead. Takes nothing but `Classified`, so nothing
//! unredacted reaches a disk or a bucket. Does not index.

mod batch;
mod brought;
mod bucket;
#[cfg(test)]
mod bucket_test;
mod disk;
#[cfg(test)]
mod disk_double;
#[cfg(test)]
mod disk_sim;
mod durable;
mod errors;
mod frame;
#[cfg(test)]
mod fuzz_test;
mod ids;
mod log;
mod objects;
mod orphan;
mod reckon;
mod recover;
mod seen;
mod shipper;
#[cfg(test)]
mod sim_test;
mod stage;
mod takeover;
#[cfg(test)]
mod wal_test;
mod writer;
#[cfg(test)]
mod writer_test;

pub(crate) use batch::{Accepted, Batch, Op, Outcome, ProducerBatch};
pub(crate) use durable::Durable;
pub(crate) use errors::WalError;
pub(crate) use reckon::counts_from;
pub(crate) use shipper::Bucket;
pub(crate) use takeover::{Handed, Tail};
pub(crate) use writer::{EVERYTHING, Wal, WalConfig};
