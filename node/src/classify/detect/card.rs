//! Payment card numbers: length and first digits of a real issuer, and a check digit that fits (ISO/IEC 7812).
//!
//! Shape alone fires on every fourth line of an ordinary system log; together the three leave nearly nothing by chance.

use domicile_proto::privacy::PersonalClass;

use super::check::luhn;
use super::context::meaning;
use super::finder::At;
use super::words::Group;

/// Judges the groups from `place` on; how many of them are one card number.
pub(super) fn judge(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let first = groups.get(place)?;
    if !matches!(first.digits(), 4 | 6 | 8 | 12..=19) {
        return None;
    }
    let (count, number, is_issued) = candidate(at.bytes(), groups, place)?;
    let value = number.all();
    let last = groups.get(place + count - 1)?;
    let is_more = is_part_of_more(at.bytes(), first.from(), last.to());
    if is_more || is_named_number(at, first.from(), value.len()) {
        return None;
    }
    if !is_issued && (at.finder.is_strict || !is_announced_card(at, first.from(), last.to(), value.len())) {
        return None;
    }
    let value = value.iter().map(|digit| char::from(*digit)).collect();
    at.push(PersonalClass::Card, first.from(), last.to(), value);
    Some(count)
}

/// Individual numbers have twelve digits too, and cards they are printed on.
fn is_announced_card(at: &At<'_>, from: usize, to: usize, digits: usize) -> bool {
    at.announces(from, to, meaning::CARD) && (digits > 12 || !at.announces(from, to, meaning::MY_NUMBER))
}

/// Digits of a candidate, of which most become nothing: on the stack.
#[derive(Clone, Copy)]
struct Number {
    digits: [u8; 19],
    length: usize,
}

impl Number {
    fn of(bytes: &[u8], run: &[Group]) -> Option<Self> {
        let mut number = Self { digits: [0; 19], length: 0 };
        for group in run {
            let digits = bytes.get(group.from()..group.to())?;
            number.digits.get_mut(number.length..number.length + digits.len())?.copy_from_slice(digits);
            number.length += digits.len();
        }
        Some(number)
    }

    fn all(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }
}

/// How many groups from `place` on are one card number, its digits, and whether an issuer has such numbers; the most groups win.
/// Issuers come and go: where none has it, a word may still say that it is a card, and the check digit is enough.
fn candidate(bytes: &[u8], groups: &[Group], place: usize) -> Option<(usize, Number, bool)> {
    let first = groups.get(place)?;
    let most = if first.digits() > 8 { 1 } else { 5 };
    let mut like = None;
    for count in (1..=most).rev() {
        let Some(run) = groups.get(place..place + count) else { continue };
        if count > 1 && !is_card_layout(run) || count == 1 && first.digits() < 12 {
            continue;
        }
        let Some(number) = Number::of(bytes, run).filter(|number| number.length >= 12 && luhn(number.all())) else {
            continue;
        };
        if number.length >= 13 && has_issuer(number.all()) {
            return Some((count, number, true));
        }
        like = like.or(Some((count, number, false)));
    }
    like
}

/// The layouts cards are printed in, with one and the same sign between the groups.
fn is_card_layout(run: &[Group]) -> bool {
    let Some((first, rest)) = run.split_first() else { return false };
    let sign = rest.first().map_or(0, |group| group.sign);
    if !matches!(sign, b' ' | b'-' | b'.' | b'+') || rest.iter().any(|group| group.sign != sign) {
        return false;
    }
    let lengths = || rest.iter().map(|group| group.digits());
    match (first.digits(), rest.len()) {
        (4, 2) => lengths().eq([6, 5]) || lengths().eq([6, 4]),
        (4, 3 | 4) => {
            let all_fours = lengths().take(rest.len() - 1).all(|digits| digits == 4);
            all_fours && rest.last().is_some_and(|last| last.digits() <= 4) || lengths().eq([3, 3, 3])
        }
        (6, 1) => lengths().eq([10]) || lengths().eq([13]),
        (8, 1) => lengths().eq([8]),
        _ => false,
    }
}

/// Whether the digits are the fraction of a number, follow `0x`, or lie inside a long hexadecimal id.
fn is_part_of_more(bytes: &[u8], from: usize, to: usize) -> bool {
    let before = |back: usize| from.checked_sub(back).and_then(|at| bytes.get(at)).copied();
    if before(1) == Some(b'.') && before(2).is_some_and(|byte| byte.is_ascii_digit()) {
        return true;
    }
    if matches!((before(2), before(1)), (Some(b'0'), Some(b'x' | b'X'))) {
        return true;
    }
    let word = |byte: &&u8| byte.is_ascii_alphanumeric();
    let left = bytes.get(..from).unwrap_or_default().iter().rev().take(64).take_while(word).count();
    let right = bytes.get(to..).unwrap_or_default().iter().take(64).take_while(word).count();
    let whole = bytes.get(from - left..to + right).unwrap_or_default();
    left + right > 0 && whole.len() >= 24 && whole.iter().all(u8::is_ascii_hexdigit)
}

/// Whether a number of an uncommon length is the number of something named, as in `blk_-6952295868487656571` or `span_id=…`:
/// storage systems and tracers number like this, and every hundredth would pass for a card.
fn is_named_number(at: &At<'_>, from: usize, digits: usize) -> bool {
    if matches!(digits, 15 | 16) {
        return false;
    }
    // Nobody issues these lengths any more, and article numbers have them.
    if matches!(digits, 13 | 17 | 18) && !at.announces(from, from + digits, meaning::CARD) {
        return true;
    }
    let before = at.slice(0, from);
    let before = before.strip_suffix('-').filter(|rest| rest.ends_with('_')).unwrap_or(before);
    before.ends_with(|c: char| c == '_' || c.is_ascii_alphabetic()) || at.is_named_otherwise(from)
}

/// Whether a network issues numbers that begin like this, in this length.
fn has_issuer(digits: &[u8]) -> bool {
    let prefix =
        |count: usize| digits.iter().take(count).fold(0_u32, |number, digit| number * 10 + u32::from(*digit - b'0'));
    let (two, three, four, six) = (prefix(2), prefix(3), prefix(4), prefix(6));
    match digits.len() {
        13 => prefix(1) == 4 || MAESTRO.contains(&four),
        14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305) || four == 3095,
        15 => matches!(two, 34 | 37) || matches!(four, 1800 | 2131),
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
