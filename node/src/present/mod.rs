//! Stage 12, `Answer` and local `Hits` -> HTTP: format, status codes, what each role may see. Does not decide residency.
//!
//! [`desk`] is what every door stands on; [`elastic`] is the Elasticsearch API, [`native`] the native one, [`admin`] what an
//! operator may change. [`searching`] makes one answer of what the nodes of this region hold, [`owners`] is the way to them, and [`holdings`]
//! says how much they hold. Rows of other regions never pass through here: there are none.

pub(crate) mod admin;
mod ask;
pub(crate) mod auditor;
mod desk;
pub(crate) mod elastic;
mod errors;
mod holdings;
mod moving;
#[cfg(test)]
mod moving_test;
pub(crate) mod native;
mod owners;
#[cfg(test)]
mod owners_test;
#[cfg(test)]
mod personal_test;
mod searching;
mod stamp;
#[cfg(test)]
mod world;

pub(crate) use desk::{Desk, Facts, Parts, Refresh, Surroundings};
pub(crate) use owners::Owners;
pub(crate) use stamp::stamp;
