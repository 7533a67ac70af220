//! Stage 3, `Admitted` -> `Record`: time, level, envelope and bounds of one event.
//!
//! Unknown fields are kept as they are, within bounds; nothing is dropped for reasons of policy.

mod record;

pub(crate) use record::{Envelope, Record, spellings};
