//! After `tier`: erasure and retention as workflows over several stages (ERA-1).
//!
//! An order is durable in the region before anything else happens, and every node of the region is told of it. Then it is hidden from every search and the keys of its
//! originals are destroyed, at once and in this region alone; later, for all orders that wait together, every segment that
//! holds something of them is made anew. Each step is in the ledger before it is on record, and is only on record when it is
//! done. Holds keyed hashes and tokens, never a value; nothing of it leaves the region. Does not answer searches.

#[cfg(test)]
mod archive_test;
mod deletion;
#[cfg(test)]
mod deletion_test;
mod errors;
#[cfg(test)]
mod fuzz_test;
mod handed;
mod held;
mod holds;
#[cfg(test)]
mod measure_test;
#[cfg(test)]
mod moving_test;
mod neighbours;
mod order;
mod receipt;
mod recorded;
mod retention;
mod taken;
mod told;
#[cfg(test)]
mod told_test;
mod whole;
#[cfg(test)]
mod whole_test;
mod workflow;
#[cfg(test)]
pub(crate) mod workflow_test;

pub(crate) use errors::EraseError;
pub(crate) use handed::{Before, is_link};
pub(crate) use holds::HoldStands;
pub(crate) use neighbours::{GroupView, Neighbours, RowsHere};
pub(crate) use order::{Records, Whom};
pub(crate) use retention::{Fate, Planned};
pub(crate) use whole::{AtNode, SilentNode, Stands};
pub(crate) use workflow::{Erasure, Parts};

/// How far an erasure has come. Each step is reached only after the one before, and none is claimed early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// The order is durable, and hidden from every search; keys may be left.
    Ordered,
    /// Keys are destroyed: nobody in the region can find the records or read an original any more.
    Shredded,
    /// Every segment and file of the log that held them has been replaced, and a scan found nothing.
    Gone,
}

impl Progress {
    /// As it is told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Shredded => "shredded",
            Self::Gone => "gone",
        }
    }
}
