//! Beside the line: the keys of this region.

mod pseudonym;

pub(crate) use pseudonym::{KeysError, PseudonymKeys, TenantPseudonyms};
