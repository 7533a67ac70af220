//! Stage 2, `Arrival` -> `Admitted`: whose data this is, and whether there is room for it.
//!
//! Access key to tenant, roles, quota and rate. Does not look inside a record.

mod principal;

pub(crate) use principal::Principal;
