//! Inputs for tests that feed a decoder any bytes: good ones, changed here and there, and anything at all.
//!
//! The targets stand beside their decoders, each in a test of its own, so that a long run guided by coverage has one decoder to
//! explore (CONTRIBUTING.md says how). In an ordinary test run the inputs are random and few: `DOMICILE_FUZZ_CASES` says how many
//! of each target.

#[path = "../../proto/tests/edits/mod.rs"]
mod edits;

use bolero::TypeGenerator;
use edits::Edit;

/// What a decoder is given.
#[derive(Debug, TypeGenerator)]
pub(crate) enum Input {
    /// A good one, changed here and there.
    Changed { sample: u8, edits: Vec<Edit> },
    /// Anything.
    Raw(Vec<u8>),
}

/// Bytes that a length, a tag or a sign may be made of.
const TELLING: [u8; 14] = [0, 1, 2, 127, 128, 254, 255, b'"', b'{', b'[', b'\\', b'*', b'-', b'('];

impl Input {
    /// The bytes, of some that are good.
    pub(crate) fn bytes(&self, good: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Changed { sample, edits } => {
                edits::edited(&good[usize::from(*sample) % good.len()], edits, &TELLING, &[])
            }
        }
    }
}

/// How many inputs a target gets in an ordinary test run.
pub(crate) fn cases() -> usize {
    edits::cases(1_500)
}

#[test]
fn edits_never_leave_what_is_there_and_none_changes_nothing() {
    let good = vec![b"good".to_vec(), Vec::new()];
    bolero::check!().with_iterations(cases()).with_type::<Input>().for_each(|input| {
        let bytes = input.bytes(&good);
        if let Input::Changed { sample, edits } = input
            && edits.is_empty()
        {
            assert_eq!(bytes, good[usize::from(*sample) % 2]);
        }
    });
}
