//! Stage 6, `Durable` -> documents in a growing segment: schema, tokenizers, refresh.
//!
//! Does not know where segments lie.

pub(crate) mod builder;
pub(crate) mod directory;
mod document;
mod errors;
pub(crate) mod growing;
pub(crate) mod schema;
pub(crate) mod stored;
pub(crate) mod token;
pub(crate) mod words;

pub(crate) use errors::IndexError;
