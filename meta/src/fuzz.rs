//! Inputs for tests that feed a decoder any bytes: good ones, changed here and there, and anything at all.
//!
//! The targets stand beside their decoders, each in a test of its own, so that a long run guided by coverage has one decoder to
//! explore (CONTRIBUTING.md says how). In an ordinary test run the inputs are random and few: `DOMICILE_FUZZ_CASES` says how many
//! of each target.

use bolero::TypeGenerator;

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
    /// A byte that a length, a tag or a number may be made of.
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

const TELLING: [u8; 9] = [0, 1, 2, 250, 251, 252, 253, 254, 255];
/// Most edits of one input; with more, hardly anything is left that a decoder takes.
const MOST_EDITS: usize = 4;

/// What is left of something good.
pub(crate) fn edited(good: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    edits.iter().take(MOST_EDITS).for_each(|edit| edit.apply(&mut bytes));
    bytes
}

impl Edit {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
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
