//! Requests and replies between machines, versioned by the frame they travel in.

pub mod answer;
pub mod batch;
pub mod gated;
pub mod health;
pub mod ledger;
pub mod metadata;
pub mod question;
pub mod region;
