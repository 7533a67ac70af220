//! Beside the line: the keys of this region.

mod original;
mod pseudonym;

pub(crate) use original::Original;
pub(crate) use pseudonym::{KeysError, PseudonymKeys, TenantPseudonyms};
