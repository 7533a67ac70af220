//! An audit pack through public doors: made by an auditor's key, checked offline, and seen through when one byte was changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod destroy;
mod later;
mod pack;
mod page;
mod replay;
mod rules;
mod wire;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
