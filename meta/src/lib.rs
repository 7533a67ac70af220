//! The metadata group of Domicile: what is decided once for all regions.
//!
//! Reading order: [`state`] (what is known), [`apply`] (what a command does to it), `raft` and `convert` (the consensus
//! library and its types), `log_store` and `machine` (what lies on the disk and in memory), [`transport`] and `network`
//! (how members talk), [`group`] (what a node uses), [`link_transport`] (the same over QUIC), [`backup`] (all of it in a file). It decides regions, nodes, tenants, streams, shards and their owners,
//! policy, dictionaries and access-key hashes. It holds no segment, no lease, and nothing about a person (RES-2).

#![allow(
    clippy::result_large_err,
    reason = "the consensus library's own error, in signatures it dictates; made only where a disk or a peer failed"
)]

pub mod apply;
pub mod backup;
mod convert;
pub mod error;
#[cfg(test)]
mod fuzz;
pub mod group;
pub mod limits;
pub mod link_transport;
mod log_store;
mod machine;
mod network;
pub mod raft;
pub mod state;
pub mod transport;
mod underway;
