//! Stage 6, `Durable` -> documents in a growing segment: schema, tokenizers, refresh.
//!
//! Does not know where segments lie.

pub(crate) mod schema;
pub(crate) mod stored;
pub(crate) mod words;
