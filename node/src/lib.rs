//! The regional node of Domicile and the operator's commands.
//!
//! The line, in reading order; imports point upstream, data moves downstream:
//! receive, admit, parse, classify, wal, index, segment, tier, (erase) | query, aggregate, federate, present.

pub mod attack;
// the operator's commands, and the one place that names all stages
mod commands;
mod node;
// beside the line
mod audit;
#[cfg(feature = "jepsen-bugs")]
mod bugs;
mod clock;
mod config;
mod errors;
#[cfg(test)]
mod fuzz;
mod keys;
mod limits;
mod ownership;
mod policy;
mod store;
mod tasks;
mod telemetry;
// the line
mod admit;
mod aggregate;
mod classify;
#[allow(dead_code, reason = "the types of the erasure workflow; its steps follow")]
mod erase;
mod federate;
mod index;
mod parse;
mod present;
mod query;
mod receive;
mod segment;
#[allow(
    dead_code,
    unused_imports,
    reason = "segments can be copied out and opened again; the lifecycle that does so follows"
)]
mod tier;
mod wal;

pub use clock::run_ahead;

/// Does what the arguments say: runs a node, or one of the operator's commands.
pub fn main() -> std::process::ExitCode {
    commands::run()
}
