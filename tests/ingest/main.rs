//! What was acknowledged is there, once: counts, repeats, crashes and real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod clients;
mod counts;
mod crash;
mod loghub;
mod repeats;
mod restart;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
