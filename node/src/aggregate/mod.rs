//! Stage 10, `Groups` -> `Cells` -> `Released` through the border. Does not talk to the network.
//!
//! Here a region decides, under its own policy and once more with its own detectors, whether and how it answers another
//! region's question. What it tells over allow-listed fields is summed up from one table of released cells: [`judge`] fills
//! it, [`journal`] keeps it, [`compose`] reads it, [`ahead`] fills it before somebody waits. Who may know what is the border's to say, in `proto`.

mod ahead;
mod answer;
mod book;
mod compose;
pub(crate) mod contributors;
mod draft;
mod errors;
mod examined;
mod journal;
mod judge;
#[cfg(test)]
mod model;
#[cfg(test)]
mod noise_test;
#[cfg(test)]
mod released_model;
#[cfg(test)]
mod released_test;
mod releases;
mod replay;
#[cfg(test)]
mod replay_test;
mod rules;
mod spent;
mod sums;
#[cfg(test)]
mod sums_test;
mod text;

pub(crate) use answer::{Answered, Asked};
pub(crate) use errors::AggregateError;
pub(crate) use releases::Releases;
pub(crate) use replay::Replayed;
pub(crate) use rules::{Rules, RulesDigest};
