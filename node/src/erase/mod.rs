//! After `tier`: erasure as a workflow over several stages.
//!
//! What will come here: an order from the metadata group (a salted commitment, never a name) is resolved against the keyring of
//! this region; the keys of the subject are destroyed and its records hidden at once; segments hot and cold that hold them are
//! rewritten within the stated time; each step is told to the ledger. Nothing of it happens yet, and nothing is reported done.

/// How far an erasure has come. Each step is reached only after the one before, and none is claimed early (ERA-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// The order is known here; nothing was done.
    Ordered,
    /// Keys are destroyed and tombstones enforced: nobody in the region can read the records any more.
    Unreadable,
    /// Every segment, object version, cache and restore that held them has been rewritten.
    Gone,
}
