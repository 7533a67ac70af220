//! One pass over a text: its words and its runs of digits, each handed on where it may be something.
//!
//! Kana and kanji stand beside digits without a blank, so a word here is a run of ASCII letters and digits; all else ends it.

use std::cell::Cell;

use super::finder::At;
use super::{packed, secret, signs};

/// One run of digits.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The one sign between it and the group before it; 0 where there is none or are more.
    pub(super) sign: u8,
    /// Whether a letter stands directly before or after it.
    pub(super) is_glued: bool,
}

impl Group {
    pub(super) const fn from(self) -> usize {
        self.from as usize
    }

    pub(super) const fn to(self) -> usize {
        self.to as usize
    }

    pub(super) const fn digits(self) -> usize {
        (self.to - self.from) as usize
    }
}

/// What one pass found out.
#[derive(Default)]
pub(super) struct Cut {
    pub(super) groups: Vec<Group>,
    pub(super) has_at: bool,
    pub(super) has_colon: bool,
    pub(super) is_escaped: bool,
}

impl Cut {
    /// Cuts the text and has its words judged.
    pub(super) fn of(at: &mut At<'_>, depth: u8) -> Self {
        let mut cut = Self { groups: ROOM.take(), ..Self::default() };
        let text = at.text;
        let bytes = text.as_bytes();
        let mut seen = 0_u8;
        let mut here = 0;
        let mut run_to = 0;
        while here < bytes.len() {
            for byte in bytes.get(here..).unwrap_or_default() {
                let kind = kind(*byte);
                if kind & WORD != 0 {
                    break;
                }
                seen |= kind;
                here += 1;
            }
            let (from, mut kinds) = (here, 0);
            for byte in bytes.get(from..).unwrap_or_default() {
                let kind = kind(*byte);
                if kind & WORD == 0 {
                    break;
                }
                kinds |= kind;
                here += 1;
            }
            let Some(first) = bytes.get(from) else { break };
            if kinds & DIGIT != 0 {
                cut.digits(bytes, from, here, kinds & (UPPER | LOWER) != 0);
            }
            let length = here - from;
            let is_mixed = kinds & DIGIT != 0 && kinds & (UPPER | LOWER) != 0;
            match (length, bytes.get(here)) {
                (2, Some(b'-')) | (4, Some(b'.')) => signs::pair(at, from, length),
                _ => {}
            }
            if is_mixed {
                signs::judge(at, from, here);
            }
            if is_mixed || (kinds & DIGIT == 0 && length >= 3 && may_begin_secret(*first)) {
                secret::judge(at, from, here);
            }
            if length >= SHORTEST_WORD_OF_RUN && from >= run_to && kinds & (UPPER | LOWER) != 0 {
                let (begin, end) = run_around(bytes, from, here);
                if end - begin >= SHORTEST_RUN {
                    packed::judge(at, begin, end, depth);
                }
                run_to = end;
            }
        }
        cut.has_at = seen & AT != 0;
        cut.has_colon = seen & COLON != 0;
        cut.is_escaped = seen & ESCAPE != 0;
        cut
    }

    /// Leaves the room for runs of digits to the next text.
    pub(super) fn put_back(mut self) {
        if self.groups.capacity() <= MOST_GROUPS_KEPT {
            self.groups.clear();
            ROOM.set(self.groups);
        }
    }

    /// Adds the runs of digits of a word.
    fn digits(&mut self, bytes: &[u8], from: usize, to: usize, has_letters: bool) {
        if !has_letters {
            self.push(bytes, from, to, false);
            return;
        }
        let word = bytes.get(from..to).unwrap_or_default();
        if word.len() >= LONGEST_WORD && word.iter().all(u8::is_ascii_hexdigit) {
            return;
        }
        let mut here = 0;
        while let Some(start) = word.get(here..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
            let begin = here + start;
            let length = word.get(begin..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
            self.push(bytes, from + begin, from + begin + length, true);
            here = begin + length;
        }
    }

    fn push(&mut self, bytes: &[u8], from: usize, to: usize, is_glued: bool) {
        let last = self.groups.last().map_or(usize::MAX, |group| group.to());
        if self.groups.capacity() == 0 {
            self.groups.reserve(GROUPS);
        }
        let sign = if last.wrapping_add(1) == from { bytes.get(last).copied().unwrap_or(0) } else { 0 };
        let narrow = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        self.groups.push(Group { from: narrow(from), to: narrow(to), sign, is_glued });
    }
}

/// Whether a text holds signs that may stand for others: those of the blocks that `view` folds.
pub(super) fn has_wide(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_ascii() {
        return false;
    }
    // Sums of comparisons without a branch: many bytes are looked at in one step.
    let has_block =
        bytes.iter().fold(false, |has, byte| has | matches!(byte, 0xC2 | 0xD9 | 0xDB | 0xE0 | 0xE2 | 0xEF | 0xF0));
    if has_block {
        return true;
    }
    let is_wide = |(first, second, third): (&u8, &u8, &u8)| (*first == 0xE3) & (*second == 0x80) & (*third == 0x80);
    // The mark of a long vowel stands for a dash behind a digit.
    let is_dash = |(digit, first, second, third): (&u8, &u8, &u8, &u8)| {
        digit.is_ascii_digit() & (*first == 0xE3) & (*second == 0x83) & (*third == 0xBC)
    };
    let [after, second, third] = [1, 2, 3].map(|from| bytes.get(from..).unwrap_or_default());
    let wide = bytes.iter().zip(after).zip(second).fold(false, |has, ((a, b), c)| has | is_wide((a, b, c)));
    wide || bytes
        .iter()
        .zip(after)
        .zip(second)
        .zip(third)
        .fold(false, |has, (((a, b), c), d)| has | is_dash((a, b, c, d)))
}

/// Whether a short text has no sign without which nothing in it can be personal: a digit, `@`, a colon, an escape, or one
/// outside ASCII.
pub(super) fn is_bare(text: &str) -> bool {
    text.len() < SHORTEST_RUN && text.bytes().all(|byte| kind(byte) & !(UPPER | LOWER) == 0 && byte.is_ascii())
}

/// The run of base64 around a word.
fn run_around(bytes: &[u8], from: usize, to: usize) -> (usize, usize) {
    let joins = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let before = bytes.get(..from).unwrap_or_default().iter().rev().take(FARTHEST_BEGIN).take_while(joins).count();
    let after = bytes.get(to..).unwrap_or_default();
    let joined = after.iter().take_while(joins).count();
    let padding = after.iter().skip(joined).take(2).take_while(|byte| **byte == b'=').count();
    (from - before, to + joined + padding)
}

const fn may_begin_secret(byte: u8) -> bool {
    matches!(byte, b'e' | b'B' | b'b' | b'g' | b'x' | b'y' | b'G' | b'A' | b's' | b'h')
}

fn kind(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or(0)
}

const DIGIT: u8 = 1;
const UPPER: u8 = 1 << 1;
const LOWER: u8 = 1 << 2;
const AT: u8 = 1 << 3;
const COLON: u8 = 1 << 4;
const ESCAPE: u8 = 1 << 5;
const WORD: u8 = DIGIT | UPPER | LOWER;

static KINDS: [u8; 256] = kinds();

#[allow(clippy::indexing_slicing, reason = "a constant table of 256 entries, filled at compile time")]
const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 255_u8 {
        kinds[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'@' => AT,
            b':' => COLON,
            b'%' | b'\\' | b'&' => ESCAPE,
            _ => 0,
        };
        byte += 1;
    }
    kinds
}

thread_local! {
    /// Room for the runs of digits of the next text: taking new one costs more than finding them.
    static ROOM: Cell<Vec<Group>> = const { Cell::new(Vec::new()) };
}

/// Room for runs of digits: an ordinary line has fewer, and growing costs more than finding them.
const GROUPS: usize = 24;
/// More room than this is given back after a text.
const MOST_GROUPS_KEPT: usize = 1_024;
/// From this length on a word of hexadecimal digits is an id as a whole.
const LONGEST_WORD: usize = 24;
/// A word of packed text is at least this long somewhere.
const SHORTEST_WORD_OF_RUN: usize = 8;
/// Shortest packed text that can hold anything: `::1` would need four signs, but an address needs more.
const SHORTEST_RUN: usize = 12;
/// How far before its first long word a run may begin, in bytes.
const FARTHEST_BEGIN: usize = 64;
