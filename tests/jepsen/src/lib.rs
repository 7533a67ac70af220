//! The fault suite: real processes, real faults, histories of what clients saw, and checkers that judge them.
//!
//! Reading order: [`history`] (what is written down), [`checker`] (who judges it), [`workload`] (what clients do), [`nemesis`]
//! (what is done to the cluster), [`env`], [`disk`], [`clocks`] and [`bucket`] (the network, the disks, the clocks and the store it
//! is done to), [`cluster`] (the processes), [`run`] and [`matrix`] (one run, and all of them), [`report`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this crate exists for tests: a panic is how they fail"
)]

pub mod bucket;
pub mod bugs;
pub mod checker;
pub mod clocks;
pub mod cluster;
pub mod disk;
pub mod door;
pub mod env;
pub mod history;
mod kernel;
pub mod ledgers;
pub mod matrix;
pub mod nemesis;
pub mod pages;
pub mod report;
pub mod run;
pub mod store_log;
pub mod trio;
pub mod workload;
