//! What whole-system tests need: three real regions on loopback, a plain HTTP client, inputs with independent counts, and a
//! tap on the link. It knows the product by its public doors only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "this crate exists for tests: a panic is how they fail, and a skipped test must say so"
)]

pub mod cluster;
