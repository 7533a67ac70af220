//! Runs of digits: IPv4 addresses, cards, telephone numbers, and the numbers states give to people.

use std::net::Ipv4Addr;

use domicile_proto::privacy::PersonalClass;

use super::context::meaning;
use super::finder::At;
use super::words::Group;
use super::{card, check, phone};

/// Judges all groups, from left to right; what is taken is not judged again.
pub(super) fn find(at: &mut At<'_>, groups: &[Group]) {
    let mut place = 0;
    while let Some(group) = groups.get(place) {
        let taken = match group.digits() {
            1..=3 => v4(at, groups, place),
            _ => None,
        };
        let taken = taken
            .or_else(|| card::judge(at, groups, place))
            .or_else(|| phone::international(at, groups, place))
            .or_else(|| national(at, groups, place))
            .or_else(|| phone::national(at, groups, place))
            .or_else(|| phone::announced(at, groups, place));
        place += taken.unwrap_or(1);
    }
}

/// Four numbers with dots, also with leading zeros; not five, and not a version.
fn v4(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let run = groups.get(place..place + 4)?;
    let (first, rest) = run.split_first()?;
    if rest.iter().any(|group| group.sign != b'.' || group.digits() > 3) {
        return None;
    }
    let last = rest.last()?;
    let goes_on = groups.get(place + 4).is_some_and(|next| next.sign == b'.');
    let follows = first.sign == b'.' && at.byte_before(first.from()) == b'.';
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (before, after) = (at.byte_before(first.from()), at.byte(last.to()));
    if goes_on || follows || is_word(before) || is_word(after) || is_product(at, first.from()) {
        return None;
    }
    let mut octets = [0_u8; 4];
    for (octet, group) in octets.iter_mut().zip(run) {
        *octet = at.slice(group.from(), group.to()).parse().ok()?;
    }
    at.push(PersonalClass::Ip, first.from(), last.to(), Ipv4Addr::from(octets).to_string());
    Some(4)
}

/// Whether a number is the version in the name of a program: `Chrome/120.0.0.0`, `version 1.2.3.4`.
fn is_product(at: &At<'_>, from: usize) -> bool {
    let before = at.slice(from.saturating_sub(LONGEST_PRODUCT), from);
    let Some(name) = before.strip_suffix('/') else {
        let word = before.trim_end_matches([' ', '=', ':', '"']);
        let is_apart = word.len() < before.len();
        return is_apart && ends_with_word(word, &["version", "ver", "rev", "release", "Build", "build", "firmware"]);
    };
    ends_with_word(name, &PRODUCTS)
}

fn ends_with_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        let begin = text.len().checked_sub(word.len());
        let fits = begin.and_then(|begin| text.get(begin..)).is_some_and(|end| end.eq_ignore_ascii_case(word));
        let before = begin.and_then(|begin| text.as_bytes().get(begin.wrapping_sub(1)));
        fits && !before.is_some_and(u8::is_ascii_alphabetic)
    })
}

/// Numbers of people: weak shapes that need their check digit and a word beside them.
fn national(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let run = |count: usize| groups.get(place..place + count);
    let first = groups.get(place)?;
    if first.is_glued && first.digits() > 4 && at.byte(first.to()).is_ascii_alphabetic() {
        return None;
    }
    type Rule = (PersonalClass, u8, fn(&[u8]) -> bool);
    let my_number: Rule = (PersonalClass::MyNumber, meaning::MY_NUMBER, check::my_number);
    let tax_id: Rule = (PersonalClass::TaxId, meaning::TAX_ID, check::tax_id);
    let ssn: Rule = (PersonalClass::Ssn, meaning::SSN, check::ssn);
    let is_like = |run: &[Group], lengths: &[usize], signs: &[u8]| {
        let same = run.get(1).map(|group| group.sign);
        run.iter().map(|group| group.digits()).eq(lengths.iter().copied())
            && run.iter().skip(1).all(|group| signs.contains(&group.sign) && Some(group.sign) == same)
    };
    let (count, (class, wanted, holds)) = match first.digits() {
        12 => (1, my_number),
        11 => (1, tax_id),
        9 => (1, ssn),
        4 if run(3).is_some_and(|run| is_like(run, &[4, 4, 4], b" -")) => (3, my_number),
        2 if run(4).is_some_and(|run| is_like(run, &[2, 3, 3, 3], b" /-.")) => (4, tax_id),
        3 if run(3).is_some_and(|run| is_like(run, &[3, 2, 4], b" -")) => (3, ssn),
        _ => return None,
    };
    let run = run(count)?;
    let to = run.last()?.to();
    let goes_on = groups.get(place + count).is_some_and(|next| matches!(next.sign, b'-' | b'.'));
    let (mut digits, mut length) = ([0_u8; LONGEST_NUMBER], 0);
    for group in run {
        let part = at.bytes().get(group.from()..group.to())?;
        digits.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    let digits = digits.get(..length)?;
    if goes_on || !holds(digits) || !at.announces(first.from(), to, wanted) {
        return None;
    }
    at.push(class, first.from(), to, digits.iter().map(|digit| char::from(*digit)).collect());
    Some(count)
}

/// Programs whose versions have four numbers.
const PRODUCTS: [&str; 16] = [
    "Chrome",
    "Chromium",
    "HeadlessChrome",
    "CriOS",
    "Edg",
    "Edge",
    "EdgA",
    "OPR",
    "YaBrowser",
    "Version",
    "Electron",
    "SamsungBrowser",
    "Brave",
    "Vivaldi",
    "MicroMessenger",
    "QQBrowser",
];
/// Digits of the longest number that a state gives to people.
const LONGEST_NUMBER: usize = 12;
/// In bytes.
const LONGEST_PRODUCT: usize = 24;
