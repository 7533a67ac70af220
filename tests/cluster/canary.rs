//! A planted value and every disguise it is looked for in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shortest piece that counts as a find, in bytes.
const PIECE: usize = 8;
/// The same where so little is scanned that no chance makes one.
const SHORT_PIECE: usize = 6;

/// A planted value.
pub struct Canary {
    pieces: Vec<(String, Vec<u8>)>,
}

impl Canary {
    /// A value of at least two pieces' length.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn new(value: &str) -> Self {
        Self::of_pieces(value, PIECE)
    }

    /// The same, of which six bytes in a row are a find.
    pub fn of_short_pieces(value: &str) -> Self {
        Self::of_pieces(value, SHORT_PIECE)
    }

    fn of_pieces(value: &str, piece: usize) -> Self {
        assert!(value.len() >= 2 * piece, "too short to be cut into pieces");
        let mut pieces = Vec::new();
        let mut add = |disguise: &str, bytes: &[u8], length: usize| {
            for window in bytes.windows(length) {
                pieces.push((format!("{disguise} of `{value}`"), window.to_vec()));
            }
        };
        add("a piece", value.as_bytes(), piece);
        add("a piece in lower case", value.to_lowercase().as_bytes(), piece);
        add("a piece, reversed", &value.bytes().rev().collect::<Vec<u8>>(), piece);
        add("hexadecimal", hex::encode(value).as_bytes(), 2 * piece);
        add("hexadecimal in upper case", hex::encode_upper(value).as_bytes(), 2 * piece);
        for offset in 0..3 {
            // Base64 depends on where in a group of three the value begins; the first and last characters on its neighbours.
            let shifted = [&vec![0; offset][..], value.as_bytes()].concat();
            let text = STANDARD_NO_PAD.encode(shifted);
            let inner = &text[if offset == 0 { 0 } else { offset + 1 }..text.len() - 2];
            add("base64", inner.as_bytes(), 12);
        }
        Self { pieces }
    }

    /// The first disguise in which it occurs.
    pub fn find_in(&self, bytes: &[u8]) -> Option<&str> {
        use std::collections::HashMap;
        // By first two bytes, so that megabytes are scanned in one pass.
        let mut by_head: HashMap<[u8; 2], Vec<&(String, Vec<u8>)>> = HashMap::new();
        for piece in &self.pieces {
            by_head.entry([piece.1[0], piece.1[1]]).or_default().push(piece);
        }
        (0..bytes.len().saturating_sub(1)).find_map(|at| {
            let candidates = by_head.get(&[bytes[at], bytes[at + 1]])?;
            candidates.iter().find(|(_, piece)| bytes[at..].starts_with(piece)).map(|(what, _)| what.as_str())
        })
    }
}

#[cfg(test)]
#[test]
fn a_canary_is_found_in_every_disguise_and_not_where_it_is_not() {
    let value = "kq7XvZ2mPw9LtR4sBnC8";
    let canary = Canary::new(value);
    for offset in 0..3 {
        let text = STANDARD_NO_PAD.encode(format!("{}{value} more", &"abc"[..offset]));
        assert!(canary.find_in(text.as_bytes()).is_some(), "base64 at offset {offset}");
    }
    assert!(canary.find_in(format!("xx{}yy", &value[5..13]).as_bytes()).is_some());
    assert!(canary.find_in(hex::encode(format!("a{value}")).as_bytes()).is_some());
    assert!(canary.find_in(format!("xx{}yy", &value[5..12]).as_bytes()).is_none());
    assert!(canary.find_in(&[0; 10_000]).is_none());
    assert!(canary.find_in(value.chars().rev().collect::<String>().as_bytes()).is_some());
    assert!(Canary::of_short_pieces(value).find_in(format!("xx{}yy", &value[5..11]).as_bytes()).is_some());
}
