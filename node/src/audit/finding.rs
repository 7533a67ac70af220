//! What the entries of a log say against their region: in words, and about what.

use std::fmt;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A body that is gone, or an entry that says so.
    Gap,
    /// An erasure that took too long.
    Clock,
    /// Where the log ends.
    End,
    /// Whom the node honours as its region's officer.
    Officer,
}

/// Something that the entries say against the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// About what.
    pub(crate) about: About,
    /// In words, with the number of the entry.
    pub(crate) words: String,
}

impl Finding {
    pub(crate) const fn new(about: About, words: String) -> Self {
        Self { about, words }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
