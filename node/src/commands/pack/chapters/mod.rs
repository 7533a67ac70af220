//! The parts of the report, one function each. They say what the regions stated and what their ledgers come to, and judge
//! only by clocks and dates.

pub(in super::super::super) mod attacks;
mod breaches;
mod clocks;
mod things;
mod traffic;

pub(super) use attacks::{attacks, noteworthy};
pub(super) use breaches::{breaches, late_clocks};
pub(super) use clocks::{access, erasure, erasure_state, register, retention, retention_state, transfer_state};
pub(super) use things::{how_to_check, keys, ledgers, limits, nodes, places, policy, processing};
pub(super) use traffic::{crossings, flows, summary};
