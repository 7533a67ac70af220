//! Payment card numbers: length and first digits of a real issuer, and a check digit that fits (ISO/IEC 7812).
//!
//! Shape alone fires on every fourth line of an ordinary system log; together the three leave nearly nothing by chance.

use super::scan::{Class, Span};

/// Fewest digits of a text that can hold a card number.
pub(super) const FEWEST_DIGITS: u32 = 13;

/// One run of digits without anything between them.
#[derive(Clone, Copy)]
struct Group {
    from: usize,
    to: usize,
    digits: usize,
    /// Place of its first digit among all digits of the text.
    first: usize,
    /// What stands between it and the group before it, if that is a single separator.
    separator: Option<char>,
}

/// Whether so many digits stand together with no more than one sign between two of them. Other scripts are let pass.
pub(super) fn may_hold(text: &str) -> bool {
    let mut digits = 0;
    let mut after_sign = false;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            digits += 1;
            after_sign = false;
            if digits >= FEWEST_DIGITS {
                return true;
            }
        } else if byte >= 0x80 {
            return true;
        } else if after_sign || !matches!(byte, b' ' | b'-' | b'.' | b'+') {
            digits = 0;
        } else {
            after_sign = true;
        }
    }
    false
}

/// Adds the card numbers of a text.
pub(super) fn find(text: &str, spans: &mut Vec<Span>) {
    let (groups, digits) = groups(text);
    let mut place = 0;
    while let Some(group) = groups.get(place) {
        let taken = candidate(&groups, place, &digits);
        let Some((count, value)) = taken else {
            place += 1;
            continue;
        };
        let last = groups.get(place + count - 1).unwrap_or(group);
        if is_part_of_more(text, group.from, last.to) || is_named_number(text, group.from, value.len()) {
            place += 1;
            continue;
        }
        spans.push(Span { class: Class::Card, from: group.from, to: last.to, value });
        place += count;
    }
}

/// Whether digits are a card number, as a whole.
pub(super) fn is_card(digits: &[u8]) -> bool {
    (13..=19).contains(&digits.len()) && has_issuer(digits) && passes_luhn(digits)
}

fn groups(text: &str) -> (Vec<Group>, Vec<u8>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut digits = Vec::new();
    // What was seen since the last digit: its end, and the one sign if there is just one.
    let mut gap: Option<(usize, Option<char>)> = None;
    for (at, c) in text.char_indices() {
        let Some(digit) = digit_of(c) else {
            gap = gap.map(|(signs, _)| (signs + 1, (signs == 0).then_some(c)));
            continue;
        };
        match (groups.last_mut(), gap) {
            (Some(group), Some((0, _))) => {
                group.to = at + c.len_utf8();
                group.digits += 1;
            }
            (_, gap) => {
                let separator = gap.and_then(|(signs, sign)| sign.filter(|_| signs == 1)).and_then(separator_of);
                groups.push(Group { from: at, to: at + c.len_utf8(), digits: 1, first: digits.len(), separator });
            }
        }
        digits.push(digit);
        gap = Some((0, None));
    }
    (groups, digits)
}

/// How many groups from `place` on are one card number, and its digits; the most groups win.
fn candidate(groups: &[Group], place: usize, digits: &[u8]) -> Option<(usize, String)> {
    let first = groups.get(place)?;
    (1..=5).rev().find_map(|count| {
        let run = groups.get(place..place + count)?;
        if count > 1 && !is_card_layout(run) {
            return None;
        }
        let length: usize = run.iter().map(|group| group.digits).sum();
        let number = digits.get(first.first..first.first + length)?;
        is_card(number).then(|| (count, number.iter().map(|digit| char::from(b'0' + digit)).collect()))
    })
}

/// The layouts cards are printed in, with one and the same sign between the groups.
fn is_card_layout(run: &[Group]) -> bool {
    let Some((first, rest)) = run.split_first() else { return false };
    let sign = rest.first().and_then(|group| group.separator);
    if sign.is_none() || rest.iter().any(|group| group.separator != sign) {
        return false;
    }
    let lengths = rest.iter().map(|group| group.digits);
    match (first.digits, rest.len()) {
        (4, 2) => lengths.eq([6, 5]) || run.iter().skip(1).map(|group| group.digits).eq([6, 4]),
        (4, 3 | 4) => {
            let all_fours = rest.iter().take(rest.len() - 1).all(|group| group.digits == 4);
            all_fours && rest.last().is_some_and(|last| last.digits <= 4) || lengths.eq([3, 3, 3])
        }
        (6, 1) => lengths.eq([10]) || run.iter().skip(1).map(|group| group.digits).eq([13]),
        (8, 1) => lengths.eq([8]),
        _ => false,
    }
}

fn digit_of(c: char) -> Option<u8> {
    let offset = match c {
        '0'..='9' => u32::from(c) - u32::from('0'),
        '\u{FF10}'..='\u{FF19}' => u32::from(c) - 0xFF10,
        '\u{0660}'..='\u{0669}' => u32::from(c) - 0x0660,
        '\u{06F0}'..='\u{06F9}' => u32::from(c) - 0x06F0,
        _ => return None,
    };
    u8::try_from(offset).ok()
}

/// Signs between groups, those that look alike as one.
const fn separator_of(c: char) -> Option<char> {
    match c {
        ' ' | '\u{A0}' | '\u{2007}' | '\u{2009}' | '\u{202F}' | '\u{3000}' | '+' => Some(' '),
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FF0D}' => Some('-'),
        '.' => Some('.'),
        _ => None,
    }
}

/// Whether the digits are the fraction of a number, or lie inside a long hexadecimal id.
fn is_part_of_more(text: &str, from: usize, to: usize) -> bool {
    let bytes = text.as_bytes();
    let before = |back: usize| from.checked_sub(back).and_then(|at| bytes.get(at)).copied();
    if before(1) == Some(b'.') && before(2).is_some_and(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let word = |byte: &&u8| byte.is_ascii_alphanumeric();
    let left = bytes.get(..from).unwrap_or_default().iter().rev().take(64).take_while(word).count();
    let right = bytes.get(to..).unwrap_or_default().iter().take(64).take_while(word).count();
    let whole = bytes.get(from - left..to + right).unwrap_or_default();
    left + right > 0 && whole.len() >= 24 && whole.iter().all(u8::is_ascii_hexdigit)
}

/// Whether a number of an uncommon length is the number of something named, as in `blk_-6952295868487656571`: storage systems
/// number their blocks like this, and every hundredth would pass for a card.
fn is_named_number(text: &str, from: usize, digits: usize) -> bool {
    let before = text.get(..from).unwrap_or_default();
    let before = before.strip_suffix('-').filter(|rest| rest.ends_with('_')).unwrap_or(before);
    !matches!(digits, 15 | 16) && before.ends_with(|c: char| c == '_' || c.is_ascii_alphabetic())
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = u32::from(*digit) * if place % 2 == 1 { 2 } else { 1 };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether a network issues numbers that begin like this, in this length.
fn has_issuer(digits: &[u8]) -> bool {
    let prefix = |count: usize| digits.iter().take(count).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    let (two, three, four, six) = (prefix(2), prefix(3), prefix(4), prefix(6));
    match digits.len() {
        13 => prefix(1) == 4 || MAESTRO.contains(&four),
        14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305) || four == 3095,
        15 => matches!(two, 34 | 37),
        16 => {
            prefix(1) == 4
                || matches!(two, 36 | 38 | 39 | 51..=55 | 60 | 62 | 65 | 81 | 82)
                || matches!(three, 508 | 644..=649)
                || matches!(four, 2200..=2204 | 2221..=2720 | 3528..=3589 | 6011)
                || matches!(six, 622_126..=622_925)
                || MAESTRO.contains(&four)
        }
        17 | 18 => two == 62 || matches!(four, 3528..=3589 | 2200..=2204) || MAESTRO.contains(&four),
        19 => {
            prefix(1) == 4
                || matches!(two, 62 | 65)
                || matches!(four, 3528..=3589 | 2200..=2204 | 6011)
                || MAESTRO.contains(&four)
        }
        _ => false,
    }
}

/// Maestro's beginnings.
const MAESTRO: [u32; 9] = [5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763];
