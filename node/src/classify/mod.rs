//! Stage 4, `Record` -> `Classified`: finds personal data and replaces it before anything is stored.
//!
//! In reading order: [`classifier`] takes a record, [`cleaner`] walks it, [`named`] says which values a declared field means, [`detect`]
//! finds spans in the others, [`treatment`] says what happens to each class, and [`mark`] is what stands there afterwards;
//! [`rule_files`] reads the tenants' own rules. [`tally`], [`stated`] and [`statements`] hold what was found against what officers state of a stream. Names and street addresses are not found: no pattern knows them.

mod classified;
mod classifier;
mod cleaner;
mod detect;
mod mark;
#[cfg(test)]
mod measure_test;
mod named;
#[cfg(test)]
mod oracle_test;
mod rule_files;
mod stated;
mod statements;
mod tally;
mod treatment;
mod upheld;

pub(crate) use classified::Classified;
pub(crate) use classifier::Classifier;
pub(crate) use rule_files::{ClassifyError, RuleFiles};
pub(crate) use statements::Statements;
pub(crate) use treatment::Defaults;
pub(crate) use upheld::{Standing, Upheld};
