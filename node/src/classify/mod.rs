//! Stage 4, `Record` -> `Classified`: finds personal data and replaces it before anything is stored.
//!
//! In reading order: [`classifier`] walks a record, [`scan`] finds spans with [`email`], [`card`] and [`address`], and each
//! span becomes a pseudonym token. Names and street addresses are not found: no pattern knows them.

mod address;
mod card;
mod classified;
mod classifier;
mod email;
mod scan;

pub(crate) use classified::Classified;
pub(crate) use classifier::Classifier;
