//! What is planted in one region's log lines is found nowhere else: not on the wire, not in the metadata group, not in a
//! ledger, not in our own logs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod disks;
mod requests;
mod wire;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
