//! Who writes a shard: what the bucket keeps when a node and its disk are gone, and of two that take themselves for the owner one
//! steps down (DUR-1, OWN-1).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]

mod adopt;
mod anywhere;
mod brought;
mod gated;
mod generation;
mod handed;
mod moved;
mod placed;
mod rebuild;
mod removed;
mod rolling;
mod rounds;

/// The product, built with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_domicile-under-test");
