//! The fault suite: real processes, real faults, histories of what clients saw, and checkers that judge them.
//!
//! Reading order: [`history`] (what is written down), [`checker`] (who judges it).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this crate exists for tests: a panic is how they fail"
)]

pub mod checker;
pub mod history;
