//! What stands in a record in place of a value: a token that is the same for the same value, or a mark that only names the class.
//!
//! `‹email:` and 26 characters of base32 `›` is a token, `‹email›` a mark, `‹card:*1111›` a mark with the last four characters.
//! What clients send in this form is defused, so that nobody can forge one.

use std::borrow::Cow;

/// The token of a class with this hash, behind a text.
pub(super) fn push_token(text: &mut String, class: &str, hash: [u8; 16]) {
    let hash = u128::from_be_bytes(hash);
    let mut letters = [b'a'; LETTERS];
    // 26 characters of 5 bits hold 130: the two missing ones are zeros at the end.
    let parts = [(hash >> 68, 12), (hash >> 8 & ((1 << 60) - 1), 12), ((hash & 0xFF) << 2, 2)];
    let mut room = letters.iter_mut();
    for (part, count) in parts {
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        for (place, letter) in (0..count).rev().zip(room.by_ref()) {
            let symbol = usize::try_from(part >> (5 * place) & 31).unwrap_or(0);
            *letter = BASE32.get(symbol).copied().unwrap_or(b'a');
        }
    }
    text.push(OPENING);
    text.push_str(class);
    text.push(':');
    text.push_str(std::str::from_utf8(&letters).unwrap_or_default());
    text.push(CLOSING);
}

/// The mark of a class.
pub(super) fn mask(class: &str) -> String {
    format!("{OPENING}{class}{CLOSING}")
}

/// The mark of a class with the last four characters of a value that has enough others.
pub(super) fn partial(class: &str, value: &str) -> String {
    let count = value.chars().count();
    if count < FEWEST_CHARS {
        return mask(class);
    }
    let last: String = value.chars().skip(count - 4).map(|c| if is_bracket(c) { '*' } else { c }).collect();
    format!("{OPENING}{class}:*{last}{CLOSING}")
}

/// A text in which nothing reads as one of our marks: an opening bracket before a class becomes a plain one.
pub(super) fn defused(text: &str) -> Cow<'_, str> {
    if memchr::memchr(FIRST_OF_OPENING, text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let begins_mark = |(at, bracket): &(usize, &str)| {
        let after = text.as_bytes().get(at + bracket.len());
        after.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let mut from = 0;
    let mut defused = String::new();
    for (at, bracket) in text.match_indices(OPENING).filter(begins_mark) {
        defused.push_str(text.get(from..at).unwrap_or_default());
        defused.push('<');
        from = at + bracket.len();
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    defused.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(defused)
}

const fn is_bracket(c: char) -> bool {
    matches!(c, OPENING | CLOSING)
}

/// U+2039.
const OPENING: char = '\u{2039}';
/// The first byte of [`OPENING`], which few other signs share.
const FIRST_OF_OPENING: u8 = 0xE2;
/// U+203A.
const CLOSING: char = '\u{203A}';
/// RFC 4648 section 6, in lower case.
pub(super) const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of base32 in a token: 16 bytes.
const LETTERS: usize = 26;
/// Of a shorter value four characters say too much.
const FEWEST_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_a_token_are_those_of_rfc_4648() {
        // Computed with another implementation of the encoding, without its padding.
        for (hash, letters) in [
            ([0; 16], "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ([0xFF; 16], "77777777777777777777777774"),
            (*b"sixteen bytes ok", "ONUXQ5DFMVXCAYTZORSXGIDPNM"),
            (0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3211_u128.to_be_bytes(), "AERUKZ4JVPG677W4XKMHMVBSCE"),
        ] {
            let mut text = String::from("x ");
            push_token(&mut text, "ip", hash);
            assert_eq!(text, format!("x ‹ip:{}›", letters.to_lowercase()));
        }
    }

    #[test]
    fn four_characters_stay_only_of_a_value_with_enough_others() {
        assert_eq!(partial("card", "4111111111111111"), "‹card:*1111›");
        assert_eq!(partial("declared", "1234567"), "‹declared›");
        assert_eq!(partial("declared", "電話番号一二三四"), "‹declared:*一二三四›");
        assert_eq!(partial("declared", "abcdefg‹"), "‹declared:*efg*›", "a mark never opens a mark");
    }

    #[test]
    fn what_looks_like_a_mark_is_defused_and_other_brackets_stay() {
        assert_eq!(defused("a ‹email:x› ‹ip› ‹‹card›"), "a <email:x› <ip› ‹<card›");
        assert!(matches!(defused("‹ quoted › ‹Über› ‹"), Cow::Borrowed(_)));
    }
}
