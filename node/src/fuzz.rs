//! Inputs for tests that feed a decoder any bytes: good ones, changed here and there, and anything at all.
//!
//! The targets stand beside their decoders, each in a test of its own, so that a long run guided by coverage has one decoder to
//! explore (CONTRIBUTING.md says how). In an ordinary test run the inputs are random and few: `DOMICILE_FUZZ_CASES` says how many
//! of each target.

use bolero::TypeGenerator;

/// What a decoder is given.
#[derive(Debug, TypeGenerator)]
pub(crate) enum Input {
    /// A good one, changed here and there.
    Changed { sample: u8, edits: Vec<Edit> },
    /// Anything.
    Raw(Vec<u8>),
}

/// One change; places count modulo the length of what is there.
#[derive(Debug, TypeGenerator)]
pub(crate) enum Edit {
    Insert {
        at: u16,
        byte: u8,
    },
    Remove {
        at: u16,
    },
    Flip {
        at: u16,
        bit: u8,
    },
    /// A byte that a length, a tag or a sign may be made of.
    Telling {
        at: u16,
        which: u8,
    },
    Cut {
        at: u16,
    },
    /// A piece of the same again.
    Twice {
        at: u16,
        from: u16,
        length: u8,
    },
}

const TELLING: [u8; 14] = [0, 1, 2, 127, 128, 254, 255, b'"', b'{', b'[', b'\\', b'*', b'-', b'('];
/// Most edits of one input; with more, hardly anything is left that a decoder takes.
const MOST_EDITS: usize = 4;

impl Input {
    /// The bytes, of some that are good.
    pub(crate) fn bytes(&self, good: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Changed { sample, edits } => {
                let mut bytes = good[usize::from(*sample) % good.len()].clone();
                edits.iter().take(MOST_EDITS).for_each(|edit| edit.apply(&mut bytes));
                bytes
            }
        }
    }
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: u16| usize::from(at) % length.max(1);
        match *self {
            Self::Insert { at, byte } => bytes.insert(usize::from(at) % (length + 1), byte),
            Self::Cut { at } => bytes.truncate(place(at)),
            _ if bytes.is_empty() => {}
            Self::Twice { at, from, length: most } => {
                let from = place(from);
                let piece = bytes[from..(from + usize::from(most % 40)).min(length)].to_vec();
                drop(bytes.splice(place(at)..place(at), piece));
            }
            Self::Remove { at } => drop(bytes.remove(place(at))),
            Self::Flip { at, bit } => bytes[place(at)] ^= 1 << (bit % 8),
            Self::Telling { at, which } => bytes[place(at)] = TELLING[usize::from(which) % TELLING.len()],
        }
    }
}

/// How many inputs a target gets in an ordinary test run.
pub(crate) fn cases() -> usize {
    std::env::var("DOMICILE_FUZZ_CASES").ok().map_or(1_500, |text| text.parse().expect("a number"))
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
