//! Beside the line: a read-only snapshot of the metadata group's state, as one region's node honours it.
//!
//! Built whole from `meta`'s state, the node's region and the officer's public key; handed to stages at construction and
//! replaced whole. A widening change of this region without the officer's consent is ignored here (RES-4), whatever the
//! group says. Proposes nothing.

mod build;
mod consent;
mod follow;
mod lease;
mod snapshot;

pub(crate) use consent::Consents;
pub(crate) use follow::follow;
pub(crate) use snapshot::{Dictionary, Policy, PolicyWatch, StreamView};
