//! The lifecycle through public doors: what moved is answered as before, byte for byte, and what cannot be read is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod bucket;
mod class;
mod midnight;
mod moved;
mod own_bucket;
mod questions;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
