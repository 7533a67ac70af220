//! Stage 10, `Groups` -> `Cells` -> `Released` through the border. Does not talk to the network.
//!
//! Here a region decides, under its own policy and once more with its own detectors, whether and how it answers another
//! region's question. The comparison with k itself is the border's.

mod answer;
mod errors;
#[cfg(test)]
mod model;

pub(crate) use answer::{Answered, Asked, answer};
pub(crate) use errors::AggregateError;
