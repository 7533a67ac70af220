//! Every decoder takes any bytes without panicking, and what it takes survives a second round.
//!
//! One target for each message, so that a long run guided by coverage has one decoder to explore (CONTRIBUTING.md says how).
//! In an ordinary test run the inputs are random: `DOMICILE_FUZZ_CASES` says how many for all targets together (default
//! 20,000). A failure prints the input and the `BOLERO_RANDOM_SEED` that gives it again.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod edits;
mod samples;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bolero::{TypeGenerator, check};
use domicile_proto::codec::{HEADER_BYTES, Header};
use edits::{Edit, MOST_EDITS, edited};
use samples::{DECODERS, Decoder, Sample};

/// What becomes the body of a frame.
#[derive(Debug, TypeGenerator)]
enum Body {
    /// A good one of the message, changed here and there: as often at one place as at the most.
    Changed { sample: u8, places: u8, edits: Vec<Edit> },
    /// Anything.
    Raw(Vec<u8>),
}

/// Bytes that a length, a tag or a number may be made of.
const TELLING: [u8; 9] = [0, 1, 2, 250, 251, 252, 253, 254, 255];

fn all() -> &'static [Sample] {
    static ALL: OnceLock<Vec<Sample>> = OnceLock::new();
    ALL.get_or_init(samples::all)
}

/// The good bodies of one kind of message.
fn bodies(kind: u8) -> Vec<&'static [u8]> {
    all().iter().filter(|sample| sample.frame[4] == kind).map(|sample| &sample.frame[HEADER_BYTES..]).collect()
}

impl Body {
    fn bytes(&self, good: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Changed { sample, places, edits } => {
                let most = (1 + usize::from(*places) % MOST_EDITS).min(edits.len());
                changed(good[usize::from(*sample) % good.len()], &edits[..most])
            }
        }
    }
}

/// What is left of something good, with pieces of other messages in it.
fn changed(good: &[u8], edits: &[Edit]) -> Vec<u8> {
    static FRAMES: OnceLock<Vec<&[u8]>> = OnceLock::new();
    let frames = FRAMES.get_or_init(|| all().iter().map(|sample| sample.frame.as_slice()).collect());
    edited(good, edits, &TELLING, frames)
}

/// How many inputs one target gets in an ordinary test run.
fn cases() -> usize {
    edits::cases(20_000) / DECODERS.len() + 1
}

/// One decoder, with what is good for it.
struct Target {
    decode: Decoder,
    header: &'static [u8],
    bodies: Vec<&'static [u8]>,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Target {
    fn new(decoder: usize) -> Self {
        let decode = DECODERS[decoder];
        let good = all().iter().find(|sample| decode(&sample.frame).is_ok()).expect("every message has a sample");
        assert_eq!((good.again)(&good.frame).as_ref(), Ok(&good.frame));
        let (header, bodies) = (&good.frame[..6], bodies(good.frame[4]));
        Self { decode, header, bodies, taken: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// A good header around any body, so that the body is looked at.
    fn look_at(&self, body: &Body) {
        let body = body.bytes(&self.bodies);
        let mut frame = self.header.to_vec();
        frame.extend(u32::try_from(body.len()).expect("small").to_be_bytes());
        frame.extend(crc32fast::hash(&body).to_be_bytes());
        frame.extend(body);
        match (self.decode)(&frame) {
            Ok(again) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                assert_eq!((self.decode)(&again).as_ref(), Ok(&again));
            }
            Err(_) => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn was_tried(self) {
        let (taken, refused) = (self.taken.into_inner(), self.refused.into_inner());
        let is_tame = taken < refused / 100 || refused == 0;
        assert!(
            !is_tame || taken + refused < 1_000,
            "{taken} taken, {refused} refused: the inputs are too tame or too wild"
        );
    }
}

/// `check!` stands in each test itself: cargo-bolero knows a target by the function that it stands in.
macro_rules! targets {
    ($($name:ident = $decoder:literal;)*) => {
        $(#[test]
        fn $name() {
            let target = Target::new($decoder);
            check!().with_iterations(cases()).with_type::<Body>().for_each(|body| target.look_at(body));
            target.was_tried();
        })*

        #[test]
        fn every_decoder_has_a_target() {
            assert_eq!([$($decoder),*].to_vec(), (0..DECODERS.len()).collect::<Vec<_>>());
        }
    };
}

targets! {
    no_question_panics = 0;
    no_answer_panics = 1;
    no_probe_panics = 2;
    no_signed_head_panics = 3;
    no_metadata_frame_panics = 4;
    no_entry_of_the_log_panics = 5;
    no_vote_panics = 6;
    no_snapshot_head_panics = 7;
    no_row_of_the_state_panics = 8;
    no_ask_about_erasures_panics = 9;
    no_reply_about_erasures_panics = 10;
    no_head_offer_panics = 11;
    no_verdict_of_a_witness_panics = 12;
    no_word_of_what_an_answer_was_drawn_from_panics = 13;
}

#[test]
fn no_frame_panics_whatever_its_header_says() {
    check!().with_iterations(cases()).with_type::<(u8, Vec<Edit>)>().for_each(|(sample, edits)| {
        let frame = changed(&all()[usize::from(*sample) % all().len()].frame, edits);
        let header = Header::read(&frame);
        let taken = DECODERS.iter().filter(|decode| decode(&frame).is_ok()).count();
        assert!(taken <= 1 && (taken == 0 || header.is_ok()), "{header:?} and taken by {taken} decoders");
    });
}
