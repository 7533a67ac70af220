//! Stage 11, released answers of all regions -> `Answer` with `Coverage`. Never sees a record or a hit.
//!
//! Every region answers through its own gate, this one as well; one question per region, all at the same time, one
//! deadline. The answer names every region that was asked (HON-1). The other way round, [`Answerer`] puts the questions of
//! other regions before the gate of this one; a question about a stream of another node of the region goes to that one ([`Carrier`]), which
//! judges it ([`Owner`]). Beside the gate, [`Guard`] keeps the questions of a day in mind, so that many
//! answers together tell no more than each alone.

mod answerer;
mod carried;
mod carry;
#[cfg(test)]
mod carry_test;
mod coverage;
mod errors;
mod federation;
mod gate;
mod guard;
mod journal;
mod predicate;
mod question;
mod reach;
mod translate;

#[cfg(test)]
mod link_test;
#[cfg(test)]
mod timing_test;

pub(crate) use answerer::Answerer;
pub(crate) use carried::Owner;
pub(crate) use carry::Carrier;
pub(crate) use coverage::{RegionCoverage, Standing};
pub(crate) use errors::FederateError;
pub(crate) use federation::{Answer, Federation, Total};
pub(crate) use gate::{Gate, Gated, Put, Timer};
pub(crate) use guard::Guard;
pub(crate) use question::{FederatedQuestion, OnMissing, Regions};
#[cfg(test)]
pub(crate) use reach::NoAnswer;
pub(crate) use reach::Reach;
pub(crate) use translate::{Untranslatable, group_field, translate};
