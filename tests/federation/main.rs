//! One question, three regions: the answer equals the regions' own answers minus what it names as withheld, and a region
//! that is gone is always named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod absence;
mod leader;
mod metrics;
mod neighbours;
mod routes;
mod sum;
mod witnesses;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
