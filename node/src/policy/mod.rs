//! Beside the line: a read-only snapshot of the metadata group's state, as one region's node honours it.
//!
//! Built whole from `meta`'s state, the node's region and the officer's public key; handed to stages at construction and
//! replaced whole. A widening change of this region without the officer's consent, or with one that an earlier state has
//! overtaken, is ignored here (RES-4), whatever the group says. Proposes nothing.

mod awareness;
mod build;
mod consent;
mod errors;
mod follow;
mod honoured;
mod lease;
mod memory;
mod routes;
mod snapshot;
mod suppression;

pub(crate) use awareness::{Awareness, Unaware, Unknown};
pub(crate) use consent::Consents;
pub(crate) use errors::PolicyError;
pub(crate) use follow::follow;
pub(crate) use honoured::Honoured;
#[cfg(test)]
pub(crate) use routes::Routes;
pub(crate) use routes::{FileRoute, REVIEW_TOLD, Route, Shut, date_of, day_of, seconds_until};
pub(crate) use snapshot::{Dictionary, Policy, PolicyWatch, StreamView};
pub(crate) use suppression::{Scope, Suppressed, Suppression, Suppressions, Wanted, tokens_in};
