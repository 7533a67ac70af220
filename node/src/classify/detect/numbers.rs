//! Runs of digits: IPv4 addresses, cards, telephone numbers, and the numbers states give to people.

use std::net::Ipv4Addr;

use domicile_proto::privacy::PersonalClass;

use super::context::meaning;
use super::finder::At;
use super::words::{Group, next_likely};
use super::{card, check, phone};

/// Judges all groups, from left to right; what is taken is not judged again.
pub(super) fn find(at: &mut At<'_>, groups: &[Group], likely: u64) {
    let mut from = 0;
    while let Some(place) = next_likely(groups, likely, from) {
        let shapes = shapes(at, groups, place);
        let has = |shape: u8| shapes & shape != 0;
        let mut taken = None;
        if has(V4) {
            taken = v4(at, groups, place);
        }
        if taken.is_none() && has(CARD) {
            taken = card::judge(at, groups, place);
        }
        if taken.is_none() && has(ABROAD) {
            taken = phone::international(at, groups, place);
        }
        if taken.is_none() && has(STATE) {
            taken = national(at, groups, place);
        }
        if taken.is_none() && has(PHONE) {
            taken = phone::national(at, groups, place);
        }
        if taken.is_none() && has(ANNOUNCED) {
            taken = phone::announced(at, groups, place);
        }
        from = place + taken.unwrap_or(1);
    }
}

/// What a likely run of digits may be by its length and the signs beside it, as bits. Few runs are more than one thing, and none
/// is shown to a finder that would only look at the same and decline.
fn shapes(at: &At<'_>, groups: &[Group], place: usize) -> u8 {
    let Some(group) = groups.get(place) else { return 0 };
    let from = group.from();
    let next = groups.get(place + 1).map_or(0, |next| next.sign);
    let (lead, before, earlier) = (at.byte(from), at.byte_before(from), at.byte_before(from.saturating_sub(1)));
    let length = group.digits().min(LONGEST_SHAPE);
    let of = |table: &[u8; LONGEST_SHAPE + 1]| table.get(length).copied().unwrap_or(0);
    let dialled = DIALLED.get(length).map_or(0, |leads| leads >> (lead.wrapping_sub(b'0') & 15) & 1);
    let is_abroad = (before == b'+') | ((before == b' ') & (earlier == b'+'));
    let of_country = (ABROAD * u8::from(is_abroad)) | (PHONE * u8::from(dialled != 0));
    let all = of(&ALONE) | (of(&JOINED) & beside(next).0) | of_country;
    all & !beside(group.sign).1
}

/// What two runs of digits with a sign between them may be, and what the second one is not: looked up, for no processor foresees
/// where a `match` on the sign goes.
#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "256 constants, at compile time")]
static BESIDE: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut sign = 0;
    while sign < 256 {
        table[sign] = (joins(sign as u8), follows(sign as u8));
        sign += 1;
    }
    table
};

fn beside(sign: u8) -> (u8, u8) {
    BESIDE.get(usize::from(sign)).copied().unwrap_or_default()
}

const fn joins(sign: u8) -> u8 {
    match sign {
        b'.' => V4 | CARD | STATE,
        b' ' | b'-' => CARD | STATE,
        b'/' => STATE,
        b'+' => CARD,
        _ => 0,
    }
}

/// What a run of digits behind another one and a sign is not: the rest of something is judged at its beginning.
const fn follows(sign: u8) -> u8 {
    match sign {
        b'-' | b'.' | b'/' | b',' => PHONE | ANNOUNCED,
        b':' | b'_' | b' ' => ANNOUNCED,
        _ => 0,
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

const V4: u8 = 1;
const CARD: u8 = 1 << 1;
/// A telephone number with its country.
const ABROAD: u8 = 1 << 2;
/// A number that a state gives to people.
const STATE: u8 = 1 << 3;
/// A telephone number as it is dialled at home.
const PHONE: u8 = 1 << 4;
/// A telephone number because a word says so.
const ANNOUNCED: u8 = 1 << 5;

/// Runs from this length on are alike.
const LONGEST_SHAPE: usize = 20;

/// What a run of so many digits may be, whatever follows.
#[rustfmt::skip]
const ALONE: [u8; LONGEST_SHAPE + 1] = [
    0, ANNOUNCED, ANNOUNCED, ANNOUNCED, ANNOUNCED, ANNOUNCED, ANNOUNCED, 0, 0, STATE, 0, STATE, STATE | CARD, CARD, CARD, CARD,
    CARD, CARD, CARD, CARD, 0,
];
/// What it may begin where the right sign follows.
#[rustfmt::skip]
const JOINED: [u8; LONGEST_SHAPE + 1] = [
    0, V4, V4 | STATE, V4 | STATE, STATE | CARD, 0, CARD, 0, CARD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// With which digits a number may begin that is dialled like this, as bits.
#[rustfmt::skip]
const DIALLED: [u16; LONGEST_SHAPE + 1] = [
    1, 1, 1, 0x3FF, 0x349, 1, 1, 1, 0x349, 1, 0x3FF, 0x153, 0x153, 0x153, 0, 0, 0, 0, 0, 0, 0,
];
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::super::context::Keys;
    use super::super::finder::{Finder, Home};
    use super::super::span::What;
    use super::super::words::Cut;
    use super::*;

    /// Every finder at every run, in their order: what [`find`] leaves out was never anything.
    fn find_plainly(at: &mut At<'_>, groups: &[Group]) {
        let mut place = 0;
        while place < groups.len() {
            let taken = v4(at, groups, place)
                .or_else(|| card::judge(at, groups, place))
                .or_else(|| phone::international(at, groups, place))
                .or_else(|| national(at, groups, place))
                .or_else(|| phone::national(at, groups, place))
                .or_else(|| phone::announced(at, groups, place));
            place += taken.unwrap_or(1);
        }
    }

    fn check(text: &str) {
        for (home, is_strict) in [("JP", false), ("SG", false), ("DE", false), ("JP", true)] {
            let finder = Finder::new(Home::of(home));
            let (finder, room) = (if is_strict { finder.strict() } else { finder }, Cell::new(0));
            let found = |judge: &dyn Fn(&mut At<'_>, &Cut)| {
                let mut at = At::new(text, Keys::default(), &finder, &room);
                let cut = Cut::of(&mut at, 3);
                at.spans.clear();
                judge(&mut at, &cut);
                let told = at.spans.iter().map(|span| match &span.what {
                    What::Personal { class, value } => (span.from, span.to, class.clone(), value.clone()),
                    What::Packed(_) => panic!("numbers are not packed"),
                });
                told.collect::<Vec<_>>()
            };
            let all = found(&|at, cut| find_plainly(at, &cut.groups));
            assert_eq!(found(&|at, cut| find(at, &cut.groups, cut.likely)), all, "{home} {is_strict}: {text}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let digits = prop_oneof![
            4 => "[0-9]{1,6}",
            2 => "[0-9]{7,20}",
            1 => prop::sample::select(vec!["4111", "1111", "090", "03", "192", "168", "81", "49", "123456789018", "5500000000000004"])
                .prop_map(str::to_owned),
        ];
        let sign = prop::sample::select(vec![
            "", " ", "-", ".", "/", "(", ")", " (", ") ", "+", " +", ",", ":", "_", "x", "T", " - ", "    ", " tel ",
            " card ", " ssn ", "電話", " office", "\n",
        ]);
        prop::collection::vec((digits, sign), 0..80).prop_map(|all| all.into_iter().map(|(a, b)| a + b).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn no_finder_is_kept_from_a_run_that_it_would_take(text in pieces()) {
            check(&text);
        }
    }

    #[test]
    fn the_last_of_many_runs_is_looked_at_as_the_first_is() {
        for before in [0, 1, 62, 63, 64, 65, 200] {
            check(&format!("{}tel 03-1234-5678, card 4111 1111 1111 1111", "7:".repeat(before)));
            check(&format!("{}4111111111111111 192.168.1.1", "7.8:".repeat(before)));
        }
    }
}
