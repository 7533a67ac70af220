//! SipHash with 128 bits of output: one pass over what two hashes of 64 bits would each read. Source: Aumasson and Bernstein,
//! "SipHash: a fast short-input PRF", and the variant of 128 bits of their reference implementation.
//!
//! For memory alone: nothing that is stored or sent is made with it.

use std::hash::Hasher;

/// A hash on its way, with `C` rounds for each word and `D` at the end.
pub(super) struct Sip<const C: usize, const D: usize> {
    state: [u64; 4],
    /// The bytes that are not a word yet, and how many.
    tail: u64,
    count: usize,
    length: usize,
}

/// What this process hashes with: as many rounds as the hash tables of the standard library have.
pub(super) type Sip13 = Sip<1, 3>;

impl<const C: usize, const D: usize> Sip<C, D> {
    pub(super) const fn under([low, high]: [u64; 2]) -> Self {
        let state = [
            low ^ 0x736f_6d65_7073_6575,
            // 0xee says that there are 128 bits.
            high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        Self { state, tail: 0, count: 0, length: 0 }
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.state = [a, b, c, d];
    }

    fn word(&mut self, word: u64) {
        let [a, b, c, d] = self.state;
        self.state = [a, b, c, d ^ word];
        (0..C).for_each(|_| self.round());
        let [a, b, c, d] = self.state;
        self.state = [a ^ word, b, c, d];
    }

    fn last_rounds(&mut self) -> u64 {
        (0..D).for_each(|_| self.round());
        let [a, b, c, d] = self.state;
        a ^ b ^ c ^ d
    }

    /// The 128 bits of all that was written.
    pub(super) fn finish_128(mut self) -> u128 {
        self.word((self.length as u64) << 56 | self.tail);
        let [a, b, c, d] = self.state;
        self.state = [a, b, c ^ 0xee, d];
        let first = self.last_rounds();
        let [a, b, c, d] = self.state;
        self.state = [a, b ^ 0xdd, c, d];
        let second = self.last_rounds();
        u128::from(second) << 64 | u128::from(first)
    }
}

impl<const C: usize, const D: usize> Hasher for Sip<C, D> {
    fn write(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len());
        let begun = if self.count == 0 { 0 } else { bytes.len().min(8 - self.count) };
        let (first, rest) = bytes.split_at_checked(begun).unwrap_or((bytes, &[]));
        first.iter().for_each(|byte| self.byte(*byte));
        let (words, rest) = rest.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.byte(*byte));
    }

    /// Half of it: a map takes it.
    #[allow(clippy::cast_possible_truncation, reason = "half of it is enough")]
    fn finish(&self) -> u64 {
        let Self { state, tail, count, length } = *self;
        Self { state, tail, count, length }.finish_128() as u64
    }
}

impl<const C: usize, const D: usize> Sip<C, D> {
    fn byte(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * self.count);
        self.count += 1;
        if self.count == 8 {
            let word = std::mem::take(&mut self.tail);
            self.count = 0;
            self.word(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    fn of(bytes: &[u8]) -> String {
        let mut sip = Sip::<2, 4>::under(KEY);
        sip.write(bytes);
        hex::encode(sip.finish_128().to_le_bytes())
    }

    #[test]
    fn the_published_vectors_are_met() {
        // The key and the texts 00, 00 01, … of the reference implementation, two rounds and four.
        assert_eq!(of(&[]), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(of(&[0]), "da87c1d86b99af44347659119b22fc45");
    }

    /// Word by word as the paper writes it, over the padded text as a whole.
    fn plainly(bytes: &[u8], key: [u64; 2]) -> u128 {
        let mut padded = bytes.to_vec();
        padded.resize((bytes.len() / 8 + 1) * 8, 0);
        *padded.last_mut().unwrap() = bytes.len() as u8;
        let mut v = [
            key[0] ^ u64::from_be_bytes(*b"somepseu"),
            key[1] ^ u64::from_be_bytes(*b"dorandom") ^ 0xee,
            key[0] ^ u64::from_be_bytes(*b"lygenera"),
            key[1] ^ u64::from_be_bytes(*b"tedbytes"),
        ];
        fn round(v: &mut [u64; 4]) {
            v[0] = v[0].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(13);
            v[1] ^= v[0];
            v[0] = v[0].rotate_left(32);
            v[2] = v[2].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(16);
            v[3] ^= v[2];
            v[0] = v[0].wrapping_add(v[3]);
            v[3] = v[3].rotate_left(21);
            v[3] ^= v[0];
            v[2] = v[2].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(17);
            v[1] ^= v[2];
            v[2] = v[2].rotate_left(32);
        }
        for word in padded.chunks(8) {
            let word = u64::from_le_bytes(word.try_into().unwrap());
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xee;
        (0..3).for_each(|_| round(&mut v));
        let first = v.iter().fold(0, |all, part| all ^ part);
        v[1] ^= 0xdd;
        (0..3).for_each(|_| round(&mut v));
        u128::from(v.iter().fold(0, |all, part| all ^ part)) << 64 | u128::from(first)
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_its_hash_is_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..600), cuts in prop::collection::vec(0..20_usize, 0..40), key in any::<[u64; 2]>(),
        ) {
            let mut sip = Sip13::under(key);
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                sip.write(piece);
                rest = behind;
            }
            sip.write(rest);
            prop_assert_eq!(sip.finish(), plainly(&bytes, key) as u64);
            prop_assert_eq!(sip.finish_128(), plainly(&bytes, key));
        }
    }
}
