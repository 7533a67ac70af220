//! Inputs for tests that feed a decoder any bytes: good ones, changed here and there, and anything at all.
//!
//! The targets stand beside their decoders, each in a test of its own, so that a long run guided by coverage has one decoder to
//! explore (CONTRIBUTING.md says how). In an ordinary test run the inputs are random and few: `DOMICILE_FUZZ_CASES` says how many
//! of each target.

#[path = "../../proto/tests/edits/mod.rs"]
mod edits;

pub(crate) use edits::Edit;

/// Bytes that a length, a tag or a number may be made of.
const TELLING: [u8; 9] = [0, 1, 2, 250, 251, 252, 253, 254, 255];

/// What is left of something good.
pub(crate) fn edited(good: &[u8], edits: &[Edit]) -> Vec<u8> {
    edits::edited(good, edits, &TELLING, &[])
}

/// How many inputs a target gets in an ordinary test run.
pub(crate) fn cases() -> usize {
    edits::cases(1_500)
}
