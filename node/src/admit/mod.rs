//! Stage 2, `Arrival` -> `Admitted`: whose data this is, and whether there is room for it.
//!
//! Access key to tenant, roles, quota and rate. Does not look inside a record.

mod admitter;
mod credential;
mod errors;
mod places;
mod principal;

pub(crate) use admitter::{Admitter, Rates};
pub(crate) use credential::key_digest;
pub(crate) use places::{Place, Places};
pub(crate) use principal::Principal;
