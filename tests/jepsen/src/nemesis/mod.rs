//! What is done to the cluster: drawn from a seed, done one after the other, healed in the end, each with a proof that it bit.

pub mod deeds;
pub mod schedule;

pub use deeds::Nemesis;
pub use schedule::{Deed, Kind, Needs, Step, Turns, schedule};
