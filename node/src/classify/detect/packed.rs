//! Packed text: base64, and gzip inside of it. What is found in it is replaced in it, and it is packed again.
//!
//! A value that says it is packed and cannot be opened within the limits is personal for want of better knowledge.

use std::cell::Cell;
use std::io::{Read, Write};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domicile_proto::privacy::PersonalClass;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::finder::{At, MAX_DEPTH};
use super::secret;
use super::span::{Span, What};

/// A text that was packed, opened.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// What was packed.
    pub(crate) text: String,
    /// What is personal in it.
    pub(crate) spans: Vec<Span>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    is_url_safe: bool,
    is_padded: bool,
    is_gzip: bool,
}

impl Packed {
    /// Packs another text as this one was packed.
    pub(crate) fn pack(&self, text: &str) -> String {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        let zipped = if self.form.is_gzip {
            zipped.write_all(text.as_bytes()).and_then(|()| zipped.finish()).ok()
        } else {
            None
        };
        let bytes = zipped.as_deref().unwrap_or(text.as_bytes());
        let packed = if self.form.is_url_safe { URL_SAFE.encode(bytes) } else { STANDARD.encode(bytes) };
        if self.form.is_padded { packed } else { packed.trim_end_matches('=').to_owned() }
    }
}

/// Judges a run of base64 signs.
pub(super) fn judge(at: &mut At<'_>, from: usize, to: usize, depth: u8) {
    if secret::named(at, from, to) || depth >= MAX_DEPTH {
        return;
    }
    let run = at.bytes().get(from..to).unwrap_or_default();
    if !begins_as_text(run) {
        return;
    }
    let padding = run.iter().rev().take_while(|byte| **byte == b'=').count();
    let is_url_safe = run.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let is_gzip = run.starts_with(GZIP);
    let text = if is_gzip { unzipped(run, at.room) } else { plain(run, run.len()) };
    match text {
        Some(text) => {
            let spans = at.finder.spans_to_depth(&text, at.keys, depth + 1, at.room);
            if !spans.is_empty() {
                let form = Form { is_url_safe, is_padded: padding > 0, is_gzip };
                at.spans.push(Span { from, to, what: What::Packed(Box::new(Packed { text, spans, form })) });
            }
        }
        None if is_gzip && run.len() >= SHORTEST_GZIP => {
            at.push(PersonalClass::Opaque, from, to, at.slice(from, to).to_owned());
        }
        None => {}
    }
}

/// The text of a run, if it is text.
pub(super) fn plain(run: &[u8], most: usize) -> Option<String> {
    let bytes = opened(run).filter(|bytes| bytes.len() <= most)?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains(is_unprintable))
}

fn opened(run: &[u8]) -> Option<Vec<u8>> {
    let bare = run.len() - run.iter().rev().take_while(|byte| **byte == b'=').count();
    let bare = run.get(..bare)?;
    let engine = if bare.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    engine.decode(bare).ok()
}

/// The text behind gzip; `None` where it is none, longer than there is room, or damaged. What came out counts in any case.
fn unzipped(run: &[u8], room: &Cell<usize>) -> Option<String> {
    let bytes = opened(run)?;
    if room.get() < COST_OF_OPENING {
        return None;
    }
    let most = u64::try_from(room.get()).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    let read = GzDecoder::new(bytes.as_slice()).take(most + 1).read_to_end(&mut text);
    let left = room.get().checked_sub(text.len().max(COST_OF_OPENING));
    room.set(left.unwrap_or(0));
    read.ok().and(left)?;
    String::from_utf8(text).ok()
}

/// Whether the first signs are those of printable text or of gzip; random ids fail here.
fn begins_as_text(run: &[u8]) -> bool {
    if run.starts_with(GZIP) {
        return true;
    }
    if !may_begin_text(run) {
        return false;
    }
    let Some(head) = run.get(..12.min(run.len() / 4 * 4)).filter(|head| !head.is_empty()) else { return false };
    let engine = if head.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    let mut bytes = [0_u8; 9];
    let Ok(length) = engine.decode_slice(head, &mut bytes) else { return false };
    let bytes = bytes.get(..length).unwrap_or_default();
    let begun = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !begun.contains(is_unprintable)
}

/// Whether the first three bytes of a run may begin a text: most words fail here, before anything is opened.
fn may_begin_text(run: &[u8]) -> bool {
    let Some(signs) = run.first_chunk::<4>() else { return false };
    let value = |sign: u8| VALUES.get(usize::from(sign)).copied().unwrap_or(NO_SIGN);
    let [a, b, c, d] = signs.map(value);
    if (a | b | c | d) & NO_SIGN != 0 {
        return false;
    }
    let bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    // Behind the first byte that is not ASCII nothing is said.
    let ascii = bytes.iter().take_while(|byte| byte.is_ascii()).count();
    let is_plain = bytes.iter().take(ascii).all(|byte| !is_unprintable(char::from(*byte)));
    is_plain && bytes.get(ascii).is_none_or(|byte| matches!(byte, 0xC2..=0xF4))
}

fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

/// What the signs of both alphabets stand for.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "64 constants, at compile time")]
static VALUES: [u8; 256] = {
    let mut values = [NO_SIGN; 256];
    let (mut value, signs) = (0, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    while value < signs.len() {
        values[signs[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};
const NO_SIGN: u8 = 0x80;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
/// The first bytes of gzip, in base64.
const GZIP: &[u8] = b"H4sI";
/// A header and a trailer without anything between them.
const SHORTEST_GZIP: usize = 27;
/// What opening counts at least, in bytes: its tables are filled anew each time.
const COST_OF_OPENING: usize = 4 << 10;
