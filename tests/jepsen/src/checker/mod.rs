//! Judges of histories. Each reads operations, knows nothing of the product, and has tests in which it convicts a broken one.

pub mod aggregates;
pub mod availability;
pub mod canary;
pub mod double_entry;
pub mod erasure;
pub mod failover;
pub mod fencing;
pub mod ledger;
pub mod linear;
pub mod metadata;
pub mod replaced;
pub mod set;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which checker.
    pub checker: String,
    /// What was counted on the way.
    pub counts: BTreeMap<String, u64>,
    /// What must not be; empty where all is well. At most [`SHOWN`] are kept, and their number is in the counts.
    pub violations: Vec<String>,
}

/// Violations that are written out.
pub const SHOWN: usize = 20;

impl Verdict {
    fn new(checker: &str) -> Self {
        Self { checker: checker.to_owned(), ..Self::default() }
    }

    fn count(&mut self, what: &str, number: u64) {
        *self.counts.entry(what.to_owned()).or_default() += number;
    }

    fn violation(&mut self, what: String) {
        self.count("violations", 1);
        if self.violations.len() < SHOWN {
            self.violations.push(what);
        }
    }
}
