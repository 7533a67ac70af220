//! How much is on its way to the disk.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what somebody waits for.
#[derive(Default)]
pub(crate) struct Underway(AtomicUsize);

/// One more of them, until it is dropped.
pub(crate) struct One<'a>(&'a Underway);

impl Underway {
    /// One more, until what is returned is dropped.
    pub(crate) fn begin(&self) -> One<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self)
    }

    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
