//! Every decoder takes any bytes without panicking, and what it takes survives a second round.
//!
//! Deterministic: the seed is fixed, `DOMICILE_FUZZ_SEED` chooses another and `DOMICILE_FUZZ_CASES` how many cases there
//! are (default 20,000). A failure prints the seed and the number of the case.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod samples;

use domicile_proto::codec::{HEADER_BYTES, Header};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Bytes a length, a tag or a number may be made of.
const TELLING: [u8; 9] = [0, 1, 2, 250, 251, 252, 253, 254, 255];

fn mutate(body: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(body.len() + 1);
        match random.below(6) {
            0 => body.insert(at, random.next() as u8),
            1 if at < body.len() => drop(body.remove(at)),
            2 if at < body.len() => body[at] = TELLING[random.below(TELLING.len())],
            3 if at < body.len() => body[at] ^= 1 << random.below(8),
            4 => body.truncate(at),
            _ => {
                let from = random.below(other.len());
                let piece = &other[from..(from + random.below(40)).min(other.len())];
                body.splice(at..at, piece.iter().copied());
            }
        }
    }
}

#[test]
fn no_decoder_panics_on_any_bytes() {
    let (seed, cases) = (setting("DOMICILE_FUZZ_SEED", 42), setting("DOMICILE_FUZZ_CASES", 20_000));
    let samples = samples::all();
    assert!(samples.iter().all(|sample| (sample.again)(&sample.frame).is_ok()));
    let mut random = Random(seed);
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for case in 0..cases {
        let sample = &samples[random.below(samples.len())];
        let other = &samples[random.below(samples.len())];
        let mut frame = sample.frame.clone();
        if random.below(4) == 0 {
            // Anything, header included.
            mutate(&mut frame, &other.frame, &mut random);
        } else {
            // A good header around a bad body, so that the body is looked at.
            let mut body = frame.split_off(HEADER_BYTES);
            mutate(&mut body, &other.frame[HEADER_BYTES..], &mut random);
            let length = u32::try_from(body.len()).expect("small");
            frame[6..10].copy_from_slice(&length.to_be_bytes());
            frame[10..14].copy_from_slice(&crc32fast::hash(&body).to_be_bytes());
            frame.extend(body);
        }
        // Never panics either; what it says is checked with the frame.
        let _ = Header::read(&frame);
        for decode in samples::DECODERS {
            match decode(&frame) {
                Ok(again) => {
                    taken += 1;
                    let third = decode(&again).unwrap_or_else(|error| panic!("seed {seed} case {case}: {error}"));
                    assert_eq!(again, third, "seed {seed} case {case}");
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(cases < 1_000 || (taken > cases / 50 && refused > cases), "{taken} taken, {refused} refused: too tame");
}
