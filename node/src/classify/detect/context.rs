//! Words that say what the number beside them is: a weak shape counts only where one of them does.
//!
//! Nearest wins. A key that stands directly before a value (`order=`, `"sku":`) speaks for it alone.

use std::cell::Cell;

use super::lexicon;

/// What a word can announce; a set of these is a `u8`.
pub(super) mod meaning {
    pub(in super::super) const PHONE: u8 = 1;
    pub(in super::super) const MY_NUMBER: u8 = 1 << 1;
    pub(in super::super) const TAX_ID: u8 = 1 << 2;
    pub(in super::super) const ID_CARD: u8 = 1 << 3;
    pub(in super::super) const SSN: u8 = 1 << 4;
    pub(in super::super) const SECRET: u8 = 1 << 5;
    pub(in super::super) const CARD: u8 = 1 << 6;
    /// Something that is not personal: an order, a version, a time.
    pub(in super::super) const OTHER: u8 = 1 << 7;
}

/// What stands around a text: the keys under which it was sent, the nearest last.
#[derive(Clone, Copy, Default)]
pub(crate) struct Keys<'a> {
    pub(crate) nearest: &'a str,
    pub(crate) outer: &'a str,
}

impl<'a> Keys<'a> {
    /// The ends of keys that are longer than any name: they are read anew for each candidate of a text.
    pub(super) fn ends(self) -> Self {
        let end = |key: &'a str| {
            let from = (key.len().saturating_sub(MOST_OF_KEY)..=key.len()).find(|from| key.is_char_boundary(*from));
            from.and_then(|from| key.get(from..)).unwrap_or_default()
        };
        Self { nearest: end(self.nearest), outer: end(self.outer) }
    }
}

/// What stands around the place of one text that was asked about last: a candidate is asked about several classes in turn.
#[derive(Default)]
pub(super) struct Memory(Cell<Option<Around>>);

/// What stands around one place.
#[derive(Clone, Copy)]
struct Around {
    from: usize,
    /// All that the key directly before it says, and whether that is too little.
    key: Option<(u8, bool)>,
    words: Option<Words>,
}

/// The words before a place: the window in which they stand, and for each meaning where the last word with it ends, counted
/// from the beginning of the window; 0 where there is none.
#[derive(Clone, Copy)]
struct Words {
    from: usize,
    to: usize,
    ends: [u8; 8],
}

impl Memory {
    /// Whether what stands around a span announces it as `wanted`.
    pub(super) fn announces(&self, text: &str, from: usize, to: usize, keys: Keys<'_>, wanted: u8) -> bool {
        if let Some((said, is_general)) = self.around(text, from).key {
            if said & wanted != 0 {
                return true;
            }
            if !is_general {
                return false;
            }
        }
        match self.nearest(text, from, wanted) {
            Some(is_wanted) => is_wanted,
            None => {
                in_brackets_after(text, to).is_some_and(|after| meanings(after) & wanted != 0) || of_keys(keys, wanted)
            }
        }
    }

    /// Whether the value is directly announced as something that is not personal, as `trace_id=` does.
    pub(super) fn is_named_otherwise(&self, text: &str, from: usize, keys: Keys<'_>, wanted: u8) -> bool {
        if self.nearest(text, from, wanted) == Some(false) {
            return true;
        }
        let key = machine_key(text, from).unwrap_or(keys.nearest);
        let said = meanings(key);
        let is_id = key.len() >= 2 && key.get(key.len() - 2..).is_some_and(|end| end.eq_ignore_ascii_case("id"));
        said & wanted == 0 && (said & meaning::OTHER != 0 || is_id)
    }

    /// Whether the last word before a value that announces anything announces `wanted`; `None` where none does.
    fn nearest(&self, text: &str, from: usize, wanted: u8) -> Option<bool> {
        let mut around = self.around(text, from);
        let words = *around.words.get_or_insert_with(|| Words::before(text, from));
        self.0.set(Some(around));
        let last = |meanings: u8| {
            // Without a branch: all eight are looked at in one step.
            let ends = words.ends.iter().zip(0..).map(|(end, bit)| end * (meanings >> bit & 1));
            ends.fold(0, u8::max)
        };
        let end = last(wanted | meaning::OTHER);
        let after = || text.get(words.from + usize::from(end)..words.to).unwrap_or_default();
        (end > 0).then(|| last(wanted) == end && !is_spent(after()))
    }

    fn around(&self, text: &str, from: usize) -> Around {
        self.0.get().filter(|around| around.from == from).unwrap_or_else(|| {
            let key = machine_key(text, from).map(|key| (meanings(key), is_general(key)));
            let around = Around { from, key, words: None };
            self.0.set(Some(around));
            around
        })
    }
}

impl Words {
    fn before(text: &str, place: usize) -> Self {
        let (from, to) = before(text, place);
        let mut ends = [0; 8];
        for (end, said) in words(text.get(from..to).unwrap_or_default()) {
            // The window is shorter than 256 bytes.
            let end = u8::try_from(end).unwrap_or(u8::MAX);
            // A word has one meaning.
            if let Some(last) = ends.get_mut(said.trailing_zeros() as usize) {
                *last = end;
            }
        }
        Self { from, to, ends }
    }
}

fn of_keys(keys: Keys<'_>, wanted: u8) -> bool {
    let said = meanings(keys.nearest);
    said & wanted != 0 || (is_general(keys.nearest) && meanings(keys.outer) & wanted != 0)
}

/// All that a text announces.
fn meanings(text: &str) -> u8 {
    if text.is_empty() {
        return 0;
    }
    words(text).fold(0, |all, (_, meaning)| all | meaning)
}

/// Whether a word has announced its number already: a long number follows it, and then other words.
fn is_spent(after: &str) -> bool {
    let mut digits = 0;
    for c in after.chars() {
        if c.is_alphabetic() && digits >= FEWEST_DIGITS {
            return true;
        }
        digits += usize::from(c.is_ascii_digit());
    }
    false
}

fn words(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let (begin, (word, said)) = lexicon::next(text.as_bytes(), from)?;
            from = begin + word.len();
            if stands_alone(text, begin, from, word) {
                return Some((from, said));
            }
        }
    })
}

/// A word of letters counts only where it begins one, and a short one only where it ends one too: `tel` is not in `hotel`.
fn stands_alone(text: &str, from: usize, to: usize, word: &str) -> bool {
    if !word.is_ascii() {
        return true;
    }
    let bytes = text.as_bytes();
    let at = |place: Option<usize>| place.and_then(|place| bytes.get(place)).copied();
    let (before, first) = (at(from.checked_sub(1)), at(Some(from)));
    let is_hump = |before: Option<u8>, first: Option<u8>| {
        before.is_some_and(|b| b.is_ascii_lowercase()) && first.is_some_and(|b| b.is_ascii_uppercase())
    };
    let begins = !before.is_some_and(|b| b.is_ascii_alphabetic()) || is_hump(before, first);
    let after = at(Some(to));
    let ends =
        word.len() > 4 || !after.is_some_and(|b| b.is_ascii_alphabetic()) || is_hump(at(to.checked_sub(1)), after);
    begins && ends
}

/// The key directly before a value, as machines write it: `key=value`, `"key":"value"`, `key:value`.
fn machine_key(text: &str, from: usize) -> Option<&str> {
    let head = text.get(..from)?;
    let bare = head.trim_end_matches(['"', '\'', '\\', '+', '(', '[']);
    let quoted = bare.len() < head.len();
    let (keyed, has_blank) = match bare.strip_suffix(['=', ':']) {
        Some(keyed) => (keyed, false),
        None => (bare.strip_suffix(' ')?.strip_suffix(['=', ':'])?, true),
    };
    let is_colon = bare.trim_end().ends_with(':');
    let key = keyed.trim_end_matches(['"', '\'', '\\', ' ']);
    // Prose has a blank after its colon; JSON a quote before it.
    if is_colon && has_blank && key.len() == keyed.len() && !quoted {
        return None;
    }
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let length = key.as_bytes().iter().rev().take(LONGEST_KEY).take_while(|b| is_key(b)).count();
    key.get(key.len() - length..).filter(|key| key.len() >= 2)
}

/// Keys that say nothing about their values.
fn is_general(key: &str) -> bool {
    let last = key.rsplit(['.', '_', '-']).next().unwrap_or(key);
    [
        "number", "no", "nr", "num", "value", "val", "data", "text", "v", "nummer", "msg", "message", "raw", "content",
        "input",
    ]
    .iter()
    .any(|word| word.eq_ignore_ascii_case(last))
        && meanings(key) & meaning::OTHER == 0
}

/// From where to where what stands before a value goes, not beyond its line; a value that begins its line may have its name
/// above it, with a colon.
fn before(text: &str, from: usize) -> (usize, usize) {
    let mut begin = from.saturating_sub(WINDOW_BYTES);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    let window = text.get(begin..from).unwrap_or_default();
    let last = |text: &str| memchr::memrchr3(b'\n', b';', b'|', text.as_bytes()).map_or(0, |end| end + 1);
    match window.strip_suffix('\n').filter(|above| above.ends_with(':')) {
        Some(above) => (begin + last(above), begin + above.len()),
        None => (begin + last(window), begin + window.len()),
    }
}

fn in_brackets_after(text: &str, to: usize) -> Option<&str> {
    let rest = text.get(to..)?;
    let inside = rest.trim_start_matches(' ').strip_prefix(['(', '（', '['])?;
    let mut end = inside.len().min(WINDOW_BYTES / 2);
    while !inside.is_char_boundary(end) {
        end -= 1;
    }
    let inside = inside.get(..end)?;
    Some(inside.split([')', '）', ']']).next().unwrap_or(inside))
}

/// How far before a value a word may stand, in bytes.
const WINDOW_BYTES: usize = 64;
const LONGEST_KEY: usize = 64;
/// How much of a key of the record is read, in bytes from its end.
const MOST_OF_KEY: usize = 256;
/// Of a number that a word announces.
const FEWEST_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::meaning::*;
    use super::*;

    fn announces(text: &str, from: usize, to: usize, keys: Keys<'_>, wanted: u8) -> bool {
        let memory = Memory::default();
        // What was asked before must not change the answer.
        let others = [PHONE, OTHER, CARD].map(|other| memory.announces(text, from, to, keys, other));
        let answer = memory.announces(text, from, to, keys, wanted);
        assert_eq!(answer, Memory::default().announces(text, from, to, keys, wanted), "{text}: {others:?}");
        answer
    }

    fn is_named_otherwise(text: &str, from: usize, keys: Keys<'_>, wanted: u8) -> bool {
        Memory::default().is_named_otherwise(text, from, keys, wanted)
    }

    #[track_caller]
    fn check(text: &str, wanted: u8, keys: [&str; 2], expected: bool) {
        let from = text.find(['0', '1']).expect("a number");
        let to = text.rfind(|c: char| c.is_ascii_digit()).expect("its end") + 1;
        let keys = Keys { nearest: keys[0], outer: keys[1] };
        assert_eq!(announces(text, from, to, keys, wanted), expected, "{text}");
    }

    #[test]
    fn the_nearest_word_decides() {
        for (text, wanted, expected) in [
            ("tel 0312345678", PHONE, true),
            ("Tel.: 0312345678", PHONE, true),
            ("hotel 0312345678", PHONE, false),
            ("userTel 0312345678", PHONE, true),
            ("電話は0312345678", PHONE, true),
            ("電話で注文 0312345678", PHONE, false),
            ("注文の電話 0312345678", PHONE, true),
            ("phone=x order_id=0312345678", PHONE, false),
            ("order=x phone=0312345678", PHONE, true),
            ("{\"phone\":\"0312345678", PHONE, true),
            ("{\"phone\": {\"number\": \"0312345678", PHONE, true),
            ("{\"phone\":\"-\",\"sku\":\"0312345678", PHONE, false),
            ("Steuer-ID des Kunden: 12345678901", TAX_ID, true),
            ("phone\n0312345678", PHONE, false),
            ("0312345678 (携帯)", PHONE, true),
            ("0312345678 (order)", PHONE, false),
            ("123456789018", MY_NUMBER, false),
        ] {
            check(text, wanted, ["", ""], expected);
        }
    }

    #[test]
    fn the_keys_of_the_record_count_where_the_text_says_nothing() {
        check("0312345678", PHONE, ["phoneNumber", ""], true);
        check("0312345678", PHONE, ["number", "phone"], true);
        check("0312345678", PHONE, ["order", "phone"], false);
        check("order 0312345678", PHONE, ["phone", ""], false);
        assert!(is_named_otherwise("4", 0, Keys { nearest: "trace_id", outer: "" }, CARD));
        assert!(!is_named_otherwise("4", 0, Keys { nearest: "card_id", outer: "" }, CARD));
        assert!(is_named_otherwise("span=4", 5, Keys::default(), CARD));
    }
}
