//! One pass over a text: its words and its runs of digits, each handed on where it may be something.
//!
//! Kana and kanji stand beside digits without a blank, so a word here is a run of ASCII letters and digits; all else ends it.

use std::cell::Cell;

use super::finder::At;
use super::mask::{BLOCK, Seen, Word, Words};
use super::{packed, phone, secret, signs};

/// One run of digits.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The one sign between it and the group before it; 0 where there is none or are more.
    pub(super) sign: u8,
    /// Whether a letter stands directly before or after it.
    pub(super) is_glued: bool,
    /// Whether it is long enough for a number, or something is near behind it that it could be joined with.
    pub(super) may_be: bool,
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
    /// Which of the first 64 runs may be something, as bits.
    pub(super) likely: u64,
    pub(super) seen: Seen,
}

impl Cut {
    /// Cuts the text and has its words judged.
    pub(super) fn of(at: &mut At<'_>, depth: u8) -> Self {
        let mut cut = Self { groups: ROOM.take(), ..Self::default() };
        let bytes = at.text.as_bytes();
        let mut words = Words::of(bytes);
        let mut run_to = 0;
        for word in words.by_ref() {
            let Word { from, to, has_digit, has_letter, .. } = word;
            let length = to - from;
            let next = bytes.get(to).copied().unwrap_or(0);
            let is_pair = (length == 2) & (next == b'-') | (length == 4) & (next == b'.');
            let may_be_secret = has_letter & (length >= 3) & may_begin_secret(bytes, from);
            // What is shorter than a run must have one of its signs beside it.
            let before = bytes.get(from.wrapping_sub(1)).copied().unwrap_or(0);
            let is_long = (length >= SHORTEST_RUN) | ((beside(before) | beside(next)) & OF_RUN != 0);
            let may_be_packed = has_letter & (length >= SHORTEST_WORD_OF_RUN) & is_long;
            // Most words are nothing: they cost one question.
            if !(has_digit | is_pair | may_be_secret | may_be_packed) {
                continue;
            }
            if has_digit {
                cut.digits(bytes, &word);
            }
            if is_pair {
                signs::pair(at, from, length);
            }
            if has_digit & has_letter {
                signs::judge(at, from, to);
            }
            if may_be_secret {
                secret::judge(at, from, to);
            }
            if may_be_packed && from >= run_to {
                let (begin, end) = run_around(bytes, from, to);
                if end - begin >= SHORTEST_RUN {
                    packed::judge(at, begin, end, depth);
                }
                run_to = end;
            }
        }
        cut.seen = words.seen();
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
    fn digits(&mut self, bytes: &[u8], word: &Word) {
        let Word { from, to, has_letter, mut digits, .. } = *word;
        if !has_letter {
            self.push(bytes, from, to, false);
            return;
        }
        let text = bytes.get(from..to).unwrap_or_default();
        if text.len() >= LONGEST_WORD && text.iter().all(u8::is_ascii_hexdigit) {
            return;
        }
        if text.len() <= BLOCK {
            while digits != 0 {
                let begin = digits.trailing_zeros();
                let length = (!(digits >> begin)).trailing_zeros();
                self.push(bytes, from + begin as usize, from + (begin + length) as usize, true);
                // Adding to the lowest bit of a run carries through it.
                digits &= digits.wrapping_add(1 << begin);
            }
            return;
        }
        let mut here = 0;
        while let Some(start) = text.get(here..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
            let begin = here + start;
            let length = text.get(begin..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
            self.push(bytes, from + begin, from + begin + length, true);
            here = begin + length;
        }
    }

    fn push(&mut self, bytes: &[u8], from: usize, to: usize, is_glued: bool) {
        if self.groups.capacity() == 0 {
            self.groups.reserve(GROUPS);
        }
        let place = self.groups.len();
        let mut sign = 0;
        if let Some(last) = self.groups.last_mut() {
            let between = bytes.get(last.to()).copied().unwrap_or(0);
            let is_near = from - last.to() <= phone::LONGEST_GAP;
            last.may_be |= is_near & (beside(between) & OF_NUMBER != 0);
            self.likely |= u64::from(last.may_be) << ((place - 1) & 63);
            sign = if last.to() + 1 == from { between } else { 0 };
        }
        let narrow = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let may_be = to - from >= phone::SHORTEST_NATIONAL;
        self.likely |= u64::from(may_be) << (place & 63);
        self.groups.push(Group { from: narrow(from), to: narrow(to), sign, is_glued, may_be });
    }
}

/// The next run of digits from a place on that may be something.
pub(super) fn next_likely(groups: &[Group], likely: u64, from: usize) -> Option<usize> {
    let is_likely = |(place, group): (usize, &Group)| group.may_be.then_some(place);
    if groups.len() > 64 {
        return groups.iter().enumerate().skip(from).find_map(is_likely);
    }
    let rest = likely.checked_shr(u32::try_from(from).unwrap_or(u32::MAX)).unwrap_or(0);
    (rest != 0).then(|| from + rest.trailing_zeros() as usize)
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

/// Whether a short text lacks what anything personal of its length has: `@`, a colon, an escape, a sign outside ASCII, or digits
/// enough, which are four in an address, seven in a telephone number, and fewer only in a word as long as that of an identity card.
pub(super) fn is_bare(text: &str) -> bool {
    if text.len() >= SHORTEST_RUN {
        return false;
    }
    let (mut seen, mut digits, mut words) = (0, 0, 0_u16);
    for byte in text.bytes() {
        let sign = beside(byte);
        seen |= sign;
        digits += u16::from(sign & DIGIT);
        words = words << 1 | u16::from(sign & OF_WORD != 0);
    }
    // A bit is left where four, and then nine, stand side by side.
    let pairs = words & words >> 1;
    let fours = pairs & pairs >> 2;
    let has_long_word = fours & fours >> 4 & words >> 8 != 0;
    let may_count = (digits >= 4 * u16::from(DIGIT)) | (digits != 0 && has_long_word);
    seen & MATTERS == 0 && !may_count
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

/// What a sign beside a word or a number says, as bits.
fn beside(sign: u8) -> u8 {
    SIGNS.get(usize::from(sign)).copied().unwrap_or(0)
}

/// Whether a word of at least two signs begins as a secret does that names itself; `secret` looks at the rest.
fn may_begin_secret(bytes: &[u8], from: usize) -> bool {
    let sign = |at: usize, table: &[u8; 256]| {
        bytes.get(at).and_then(|byte| table.get(usize::from(*byte))).copied().unwrap_or(0)
    };
    sign(from, &FIRST_OF_SECRET) & sign(from + 1, &SECOND_OF_SECRET) != 0
}

/// Belongs to a run of base64.
const OF_RUN: u8 = 1;
/// May stand between two runs of digits of one number.
const OF_NUMBER: u8 = 1 << 1;
/// A letter or a digit.
const OF_WORD: u8 = 1 << 2;
/// Something personal may be short where it stands.
const MATTERS: u8 = 1 << 3;
/// A digit.
const DIGIT: u8 = 1 << 4;

#[allow(clippy::indexing_slicing, reason = "a constant table of 256 entries, filled at compile time")]
static SIGNS: [u8; 256] = {
    let mut table = [0; 256];
    marked(&mut table, b"+/-_=", OF_RUN);
    marked(&mut table, b" -./()+", OF_NUMBER);
    marked(&mut table, b"@:%\\&", MATTERS);
    marked(&mut table, b"0123456789", DIGIT | OF_WORD);
    marked(&mut table, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", OF_WORD);
    let mut place = 128;
    while place < 256 {
        table[place] |= MATTERS;
        place += 1;
    }
    table
};

#[allow(clippy::indexing_slicing, reason = "a constant table of 256 entries, filled at compile time")]
const fn marked(table: &mut [u8; 256], signs: &[u8], bit: u8) {
    let mut place = 0;
    while place < signs.len() {
        table[signs[place] as usize] |= bit;
        place += 1;
    }
}

/// How secrets begin: for each place of a pair, the signs that stand first and those that stand second.
const BEGINNINGS: [(&[u8], &[u8]); 8] = [
    (b"e", b"y"),
    (b"bB", b"aAeE"),
    (b"A", b"BCIKSc"),
    (b"g", b"hil"),
    (b"y", b"a"),
    (b"Gx", b"Oo"),
    (b"s", b"k"),
    (b"h", b"v"),
];
static FIRST_OF_SECRET: [u8; 256] = beginnings(true);
static SECOND_OF_SECRET: [u8; 256] = beginnings(false);

const fn beginnings(is_first: bool) -> [u8; 256] {
    let mut table = [0; 256];
    let (mut rest, mut bit) = (BEGINNINGS.as_slice(), 1);
    while let [(first, second), others @ ..] = rest {
        marked(&mut table, if is_first { first } else { second }, bit);
        (rest, bit) = (others, if bit == 128 { 0 } else { bit << 1 });
    }
    table
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::Keys;
    use super::super::finder::{Finder, Home};
    use super::*;

    fn keys() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "phone", "card", "ssn", "token", "secret", "idnr", "id card", "my_number", "ip"])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16_384, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_found_in_a_text_that_is_bare(
            text in "[ -~]{0,11}|[0-9A-Za-z]{7,11}|[0-9A-Z]{9,10}|[0-9. +-]{4,11}|[A-Z][0-9]{0,3}[A-Z0-9]{5,7}", key in keys(),
        ) {
            let bare = is_bare(&text);
            // Blanks at its end make the finders look at any text.
            let longer = format!("{text}{}", " ".repeat(SHORTEST_RUN));
            for home in ["JP", "SG", "DE"] {
                for finder in [Finder::new(Home::of(home)), Finder::new(Home::of(home)).strict()] {
                    let found = finder.all_spans(&longer, Keys { nearest: key, outer: key });
                    prop_assert!(!bare || found.is_empty(), "{} under {} in {}", text, key, home);
                }
            }
        }
    }

    #[test]
    fn what_is_bare_has_no_sign_that_matters_and_few_digits() {
        for text in ["", "service-07", "INFO", "v1.2", "a1b2c3", "timestamp", "12 3", "k8s-node-12"] {
            assert!(is_bare(text), "{text}");
        }
        for text in
            ["::1", "1.2.3.4", "a@b.de", "é", "%41", "a\\n", "&#64;", "1234", "S1ABCDEFG", "L1ABCDEFGH", "service-0007"]
        {
            assert!(!is_bare(text), "{text}");
        }
    }

    #[test]
    fn no_beginning_of_a_secret_is_passed_over() {
        let both = |text: &str| [text.to_owned(), text.to_uppercase(), text.to_lowercase()];
        let named = ["bearer", "basic"].into_iter().flat_map(both);
        let fixed = ["eyJ", "BEGIN", "AKIA", "ASIA", "ABIA", "ACCA"].map(str::to_owned);
        for text in named.chain(fixed).chain(secret::prefixes().map(str::to_owned)) {
            assert!(may_begin_secret(text.as_bytes(), 0), "{text}");
        }
        assert!(!may_begin_secret(b"user", 0) && !may_begin_secret(b"e", 0));
    }
}
