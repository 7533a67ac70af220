//! Erasure through public doors: hidden at once, hidden after kill -9, gone after the purge, and nobody else touched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod canaries;
mod doors;
mod load;
mod neighbours;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
