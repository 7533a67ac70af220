//! What every error of the node can say of itself: a stable code with a page under `docs/errors/`, and what the caller
//! should do about it. Stands beside the line; the enums themselves stand in their stages.

/// What the caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wrong, or against a policy: repeating it is of no use.
    Refused,
    /// Not now: try again after this many seconds.
    NotNow(u32),
    /// Something is broken and a person must look.
    Broken,
}

/// An error with a code.
pub(crate) trait Coded: std::error::Error {
    /// `DMC-<STAGE>-<NN>`, stable for ever.
    fn code(&self) -> &'static str;
    /// What the caller should do.
    fn verdict(&self) -> Verdict;
}
