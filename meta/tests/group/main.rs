//! The metadata group as its nodes see it: several of them in one process, over a network that can be cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, in its harness too"
)]

mod air;
mod authority;
mod canary;
mod cluster;
mod decisions;
mod failover;
mod linked;
mod members;
mod network;
mod never;
mod over_air;
mod over_link;
mod restarts;
mod simulated;
mod turned;

// cargo-bolero builds every test of the package with hooks that bolero alone resolves.
use bolero as _;
