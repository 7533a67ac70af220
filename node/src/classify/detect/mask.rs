//! The words of a text, found by 64 bytes in one step: a bit for each byte that is a letter or a digit, and bits are counted.
//!
//! Plain integers, which a compiler turns into whatever its machine has. What a word is worth is decided in [`super::words`].

/// A run of ASCII letters and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) has_digit: bool,
    pub(super) has_letter: bool,
    /// Which of its bytes are digits, from its first one on; of a word that is longer than [`BLOCK`] only the first ones.
    pub(super) digits: u64,
}

/// The words of a text in order. What else the text holds is known once they are spent.
pub(super) struct Words<'a> {
    rest: &'a [u8],
    /// Where the block begins that the masks are of.
    base: usize,
    /// Letters and digits that were not handed out.
    word: u64,
    digits: u64,
    seen: Seen,
}

/// Signs of a text that decide which finders look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) has_at: bool,
    pub(super) has_colon: bool,
    pub(super) is_escaped: bool,
}

impl<'a> Words<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        // Before its first block: the next one begins at 0.
        let base = 0_usize.wrapping_sub(BLOCK);
        Self { rest: bytes, base, word: 0, digits: 0, seen: Seen::default() }
    }

    pub(super) const fn seen(&self) -> Seen {
        self.seen
    }

    /// Goes to the next block; `false` where there is none.
    fn advance(&mut self) -> bool {
        let block = match self.rest.split_first_chunk::<BLOCK>() {
            Some((block, rest)) => {
                self.rest = rest;
                Masks::of(block)
            }
            None if self.rest.is_empty() => return false,
            None => {
                let mut last = [0_u8; BLOCK];
                last.iter_mut().zip(self.rest).for_each(|(to, from)| *to = *from);
                self.rest = &[];
                Masks::of(&last)
            }
        };
        self.base = self.base.wrapping_add(BLOCK);
        (self.word, self.digits) = (block.letters | block.digits, block.digits);
        self.seen.has_at |= block.seen.has_at;
        self.seen.has_colon |= block.seen.has_colon;
        self.seen.is_escaped |= block.seen.is_escaped;
        true
    }

    /// Takes the first run out of the block: where it begins and ends in it, and its digits.
    const fn take(&mut self) -> (u32, u32, u64) {
        let from = self.word.trailing_zeros();
        let run = (!(self.word >> from)).trailing_zeros();
        let mask = ones(run) << from;
        self.word &= !mask;
        (from, from + run, (self.digits & mask) >> from)
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    #[inline]
    fn next(&mut self) -> Option<Word> {
        while self.word == 0 {
            if !self.advance() {
                return None;
            }
        }
        let (begin, mut end, digits) = self.take();
        let from = self.base + begin as usize;
        let has_letter = digits != ones(end - begin);
        let mut word = Word { from, to: self.base + end as usize, has_digit: digits != 0, has_letter, digits };
        // A word that touches the end of its block may go on in the next one.
        while end == u64::BITS && self.advance() && self.word & 1 != 0 {
            let digits;
            (_, end, digits) = self.take();
            let before = word.to - from;
            word.digits |= if before < BLOCK { digits << before } else { 0 };
            word.has_digit |= digits != 0;
            word.has_letter |= digits != ones(end);
            word.to = self.base + end as usize;
        }
        Some(word)
    }
}

/// What one block holds.
struct Masks {
    letters: u64,
    digits: u64,
    seen: Seen,
}

impl Masks {
    fn of(block: &[u8; BLOCK]) -> Self {
        let (mut letters, mut digits) = ([0_u8; BLOCK], [0_u8; BLOCK]);
        let (mut at, mut colon, mut escape) = (0_u8, 0_u8, 0_u8);
        // Comparisons without a branch: many bytes are looked at in one step.
        for ((byte, letter), digit) in block.iter().zip(&mut letters).zip(&mut digits) {
            *letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
            *digit = u8::from(byte.wrapping_sub(b'0') < 10);
            at |= u8::from(*byte == b'@');
            colon |= u8::from(*byte == b':');
            escape |= u8::from(*byte == b'%') | u8::from(*byte == b'\\') | u8::from(*byte == b'&');
        }
        let seen = Seen { has_at: at != 0, has_colon: colon != 0, is_escaped: escape != 0 };
        Self { letters: packed(&letters), digits: packed(&digits), seen }
    }
}

/// So many bits, of 1 to 64.
const fn ones(count: u32) -> u64 {
    u64::MAX >> (u64::BITS.wrapping_sub(count) & (u64::BITS - 1))
}

/// 64 bytes that are 0 or 1 as bits.
fn packed(flags: &[u8; BLOCK]) -> u64 {
    let (eights, _) = flags.as_chunks::<8>();
    let bits = |eight: &[u8; 8]| {
        // The product gathers the lowest bits of eight bytes in the highest byte.
        u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    eights.iter().enumerate().fold(0, |all, (place, eight)| all | bits(eight) << (8 * place))
}

/// Bytes that are looked at in one step.
pub(super) const BLOCK: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn plainly(text: &[u8]) -> (Vec<Word>, Seen) {
        let mut words = Vec::new();
        let mut from = 0;
        while from < text.len() {
            let to = from + text[from..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if to > from {
                let word = &text[from..to];
                let first = word.iter().take(BLOCK).enumerate();
                words.push(Word {
                    from,
                    to,
                    has_digit: word.iter().any(u8::is_ascii_digit),
                    has_letter: word.iter().any(u8::is_ascii_alphabetic),
                    digits: first.fold(0, |bits, (place, byte)| bits | u64::from(byte.is_ascii_digit()) << place),
                });
            }
            from = to + 1;
        }
        let has = |signs: &[u8]| text.iter().any(|byte| signs.contains(byte));
        (words, Seen { has_at: has(b"@"), has_colon: has(b":"), is_escaped: has(b"%\\&") })
    }

    #[track_caller]
    fn check(text: &[u8]) {
        let mut words = Words::of(text);
        let found: Vec<Word> = words.by_ref().collect();
        assert_eq!((found, words.seen()), plainly(text), "{}", text.escape_ascii());
    }

    #[test]
    fn every_byte_is_of_its_kind_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for place in [0, 1, 7, 8, 62, 63, 64, 65, 127, 128] {
                for (filling, length) in [(b'.', 130), (b'a', 130), (b'7', 129), (b'.', place + 1)] {
                    let mut text = vec![filling; length];
                    text[place] = byte;
                    check(&text);
                }
            }
        }
    }

    #[test]
    fn words_of_every_length_are_found_at_every_place() {
        for before in 0..70 {
            for length in 0..140 {
                for after in [0, 1, 60] {
                    let word = (0..length).map(|place| if place % 3 == 2 { b'4' } else { b'x' });
                    let text: Vec<u8> =
                        std::iter::repeat_n(b' ', before).chain(word).chain(std::iter::repeat_n(b'-', after)).collect();
                    check(&text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_are_those_that_are_found_byte_by_byte(
            text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b'Z'), Just(b'0'), Just(b' ')], 0..300),
        ) {
            check(&text);
        }
    }
}
