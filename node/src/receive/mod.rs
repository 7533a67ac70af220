//! Stage 1, bytes on a socket -> `Arrival`: framing per protocol, size limits, back-pressure. Does not look inside a record.
//!
//! In reading order: [`listen`] accepts connections, [`elastic`] and [`native`] are the doors, [`body`] reads and unpacks
//! what came through them, [`inlet`] hands the [`Arrival`] to the line and waits for its [`Reply`], [`answer`] writes the
//! reply in the door's own shape.

mod answer;
mod arrival;
mod body;
pub(crate) mod elastic;
mod errors;
pub(crate) mod filter_path;
pub(crate) mod glob;
mod inlet;
pub(crate) mod listen;
pub(crate) mod native;
mod patience;
mod reply;

pub(crate) use answer::{elastic_error, elastic_failure, native_failure};
pub(crate) use arrival::{Arrival, Content, Posted};
pub(crate) use errors::ReceiveError;
pub(crate) use inlet::{Inlet, Knock};
pub(crate) use reply::{Action, Failure, Item, ItemOutcome, Reply};

#[cfg(test)]
#[path = "receive_test.rs"]
mod tests;
