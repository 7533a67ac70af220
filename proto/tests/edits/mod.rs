//! Changes of good inputs, for tests that feed a decoder any bytes.
//!
//! `proto`, `meta` and `node` have this file in their tests by its path, and nothing that is no test has it. What telling bytes there
//! are, and whether a piece comes from somewhere else, is said by whoever knows the decoder.

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
    /// A byte that means something to the decoder.
    Telling {
        at: u16,
        which: u8,
    },
    Cut {
        at: u16,
    },
    /// A piece of another input, or of the same again where there is no other.
    Piece {
        at: u16,
        of: u8,
        from: u16,
        length: u8,
    },
}

/// Most edits of one input; with more, hardly anything is left that a decoder takes.
pub(crate) const MOST_EDITS: usize = 4;

/// What is left of something good: `telling` are the bytes that mean something, `others` what pieces may come from.
pub(crate) fn edited(good: &[u8], edits: &[Edit], telling: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    edits.iter().take(MOST_EDITS).for_each(|edit| edit.apply(&mut bytes, telling, others));
    bytes
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, telling: &[u8], others: &[&[u8]]) {
        let length = bytes.len();
        let place = |at: u16| usize::from(at) % length.max(1);
        let gap = |at: u16| usize::from(at) % (length + 1);
        match *self {
            Self::Insert { at, byte } => bytes.insert(gap(at), byte),
            Self::Cut { at } => bytes.truncate(place(at)),
            Self::Piece { at, of, from, length: most } => {
                let other = if others.is_empty() { bytes.as_slice() } else { others[usize::from(of) % others.len()] };
                let from = usize::from(from) % other.len().max(1);
                let piece = other[from..(from + usize::from(most % 40)).min(other.len())].to_vec();
                drop(bytes.splice(gap(at)..gap(at), piece));
            }
            Self::Remove { .. } | Self::Flip { .. } | Self::Telling { .. } if bytes.is_empty() => {}
            Self::Remove { at } => drop(bytes.remove(place(at))),
            Self::Flip { at, bit } => bytes[place(at)] ^= 1 << (bit % 8),
            Self::Telling { at, which } => bytes[place(at)] = telling[usize::from(which) % telling.len()],
        }
    }
}

/// How many inputs there are in an ordinary test run, where nobody says otherwise.
pub(crate) fn cases(ordinary: usize) -> usize {
    std::env::var("DOMICILE_FUZZ_CASES").ok().map_or(ordinary, |text| text.parse().expect("a number"))
}
