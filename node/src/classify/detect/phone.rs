//! Telephone numbers: international ones by the plan of their country, national ones of five plans where a word announces
//! them. Source of the plans: ITU-T E.164 and the national numbering plans.

use domicile_proto::privacy::PersonalClass;

use super::context::meaning;
use super::finder::At;
use super::words::Group;

/// A national plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Japan,
    Singapore,
    Germany,
    China,
    America,
}

impl Plan {
    const fn country(self) -> &'static str {
        match self {
            Self::Japan => "81",
            Self::Singapore => "65",
            Self::Germany => "49",
            Self::China => "86",
            Self::America => "1",
        }
    }

    /// The significant part of a number as it is dialled in the country, if it is one.
    fn significant(self, digits: &[u8]) -> Option<&[u8]> {
        let (first, second) = (digits.first().copied().unwrap_or(0), digits.get(1).copied().unwrap_or(0));
        let trunk = digits.strip_prefix(b"0");
        match self {
            Self::Japan => {
                let mobile = matches!(second, b'5' | b'7' | b'8' | b'9') && digits.get(2) == Some(&b'0');
                let length = if mobile { 11 } else { 10 };
                trunk.filter(|_| second != b'0' && digits.len() == length)
            }
            Self::Germany => trunk.filter(|_| second != b'0' && (7..=12).contains(&digits.len())),
            Self::Singapore => Some(digits).filter(|_| digits.len() == 8 && matches!(first, b'3' | b'6' | b'8' | b'9')),
            Self::China => {
                let mobile = digits.len() == 11 && first == b'1' && matches!(second, b'3'..=b'9');
                let line = matches!(digits.len(), 11 | 12) && first == b'0' && second != b'0';
                if mobile { Some(digits) } else { trunk.filter(|_| line) }
            }
            Self::America => Some(digits).filter(|digits| is_american(digits)),
        }
    }
}

/// A number with `+` and its country. How many groups it takes.
pub(super) fn international(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let first = groups.get(place)?;
    let from = first.from();
    // `(+81)`, `+81` and `+ 81`.
    let sign = match (at.byte_before(from), at.byte_before(from.saturating_sub(1))) {
        (b'+', _) => from - 1,
        (b' ', b'+') => from - 2,
        _ => return None,
    };
    let before = at.byte_before(sign);
    if before.is_ascii_alphanumeric() || before == b'+' || first.is_glued {
        return None;
    }
    let mut best = None;
    let mut digits = Digits::default();
    let mut count = 0;
    let mut has_other_sign = false;
    while let Some(group) = groups.get(place + count).filter(|group| !group.is_glued) {
        let between = gap(at, groups, place + count);
        if count > 0 {
            let Some(between) = between else { break };
            // After a whole number a blank begins something else, unless blanks have joined it so far.
            if best.is_some() && between == " " && (has_other_sign || count == 1) {
                break;
            }
            has_other_sign |= between != " ";
        }
        let part = at.bytes().get(group.from()..group.to()).unwrap_or_default();
        // `+49 (0)30`: the trunk zero is not dialled from abroad.
        let is_trunk = part == b"0" && between.is_some_and(|between| between.ends_with('('));
        if !is_trunk && !digits.push(part, 15) {
            break;
        }
        count += 1;
        if is_of_country(digits.all()) {
            best = Some((count, group.to(), digits));
        }
    }
    let (count, to, value) = best?;
    at.push(PersonalClass::Phone, sign, to, spelt("", value.all()));
    Some(count)
}

/// A number as it is dialled in its country. How many groups it takes.
pub(super) fn national(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let first = groups.get(place)?;
    let lead = at.byte(first.from());
    let opens = at.byte_before(first.from()) == b'(';
    let most = match lead {
        b'0' => 5,
        b'3' | b'6' | b'8' | b'9' if matches!(first.digits(), 4 | 8) => 2,
        b'1' if matches!(first.digits(), 3 | 11) => 3,
        b'2'..=b'9' if matches!(first.digits(), 3 | 10) => 3,
        b'1' | b'4' | b'6' | b'8' if first.digits() >= 10 => 1,
        _ => return None,
    };
    let follows_number = matches!(at.byte_before(first.from()), b'-' | b'.' | b'/' | b',') && first.sign != 0;
    if first.digits() > 13 || follows_number || (first.is_glued && !follows_word(at, first)) {
        return None;
    }
    let mut digits = Digits::default();
    let mut found = None;
    for count in 1..=most {
        let Some(group) = groups.get(place + count - 1) else { break };
        if count > 1 && ((group.is_glued && extension(at, group) == 0) || gap(at, groups, place + count - 1).is_none())
        {
            break;
        }
        if !digits.push(at.bytes().get(group.from()..group.to()).unwrap_or_default(), 13) {
            break;
        }
        if digits.length < SHORTEST_NATIONAL {
            continue;
        }
        let to = group.to() + if group.is_glued && count > 1 { extension(at, group) } else { 0 };
        let all = digits.all();
        if let Some(plan) = at.finder.plans().into_iter().find(|plan| plan.significant(all).is_some()) {
            found = Some((count, to, Some(plan), digits));
        } else if count == 1 && lead != b'0' && all.len() > 10 && is_of_country(all) {
            found = Some((count, to, None, digits));
        }
    }
    let (count, to, plan, digits) = found?;
    let goes_on = groups.get(place + count).is_some_and(|next| matches!(next.sign, b'-' | b'.' | b'/'));
    let run = groups.get(place..place + count)?;
    if goes_on || (is_date_like(run) && !at.finder.is_strict) {
        return None;
    }
    let from = first.from() - usize::from(opens);
    if !is_japanese_mobile(at, run) && !at.announces(from, to, meaning::PHONE) && !is_labelled_after(at, to) {
        return None;
    }
    let value = plan.and_then(|plan| Some(spelt(plan.country(), plan.significant(digits.all())?)));
    at.push(PersonalClass::Phone, from, to, value.unwrap_or_else(|| spelt("", digits.all())));
    Some(count)
}

/// Groups that a word announces and that no plan here has: other countries, and numbers that are dialled within a town.
pub(super) fn announced(at: &mut At<'_>, groups: &[Group], place: usize) -> Option<usize> {
    let first = groups.get(place)?;
    let before = at.byte_before(first.from());
    // A list of numbers is judged once, at its beginning; a line of nothing else would be looked at for each of them.
    let follows = matches!(first.sign, b'-' | b'.' | b'/' | b',' | b':' | b'_' | b' ');
    let next = groups.get(place + 1)?;
    let is_near =
        next.from() - first.to() <= 3 && matches!(at.byte(first.to()), b' ' | b'-' | b'.' | b'/' | b'(' | b')');
    if !is_near || first.digits() > 6 || first.is_glued || follows || at.finder.is_strict {
        return None;
    }
    let (plus, opens) = (usize::from(before == b'+'), usize::from(before == b'('));
    let (mut digits, mut count, mut to) = (Digits::default(), 0, first.to());
    let most = if plus > 0 { 15 } else { 13 };
    while let Some(group) = groups.get(place + count) {
        let extended = extension(at, group);
        if (group.is_glued && extended == 0) || (count > 0 && gap(at, groups, place + count).is_none()) {
            break;
        }
        if !digits.push(at.bytes().get(group.from()..group.to()).unwrap_or_default(), most) {
            break;
        }
        to = group.to() + extended;
        count += 1;
        if extended > 0 {
            break;
        }
    }
    let run = groups.get(place..place + count)?;
    let goes_on = groups.get(place + count).is_some_and(|next| matches!(next.sign, b'-' | b'.' | b'/' | b':' | b','));
    let is_long = count >= 2 && digits.length >= SHORTEST_NATIONAL;
    if !is_long || goes_on || is_listing(run, plus > 0) {
        return None;
    }
    let from = first.from() - plus - opens;
    if !is_labelled_after(at, to) && !at.announces(from, to, meaning::PHONE) {
        return None;
    }
    at.push(PersonalClass::Phone, from, to, spelt("", digits.all()));
    Some(count)
}

/// Whether groups are a date, or lone digits as a version or a list of numbers has them.
fn is_listing(run: &[Group], is_international: bool) -> bool {
    let is_short = |group: &Group| group.digits() <= 2;
    let is_date = |run: &[Group]| match run {
        [a, b, c, ..] => {
            (is_short(a) && is_short(b) && c.digits() == 4) || (a.digits() == 4 && is_short(b) && is_short(c))
        }
        _ => false,
    };
    let has_lone =
        run.iter().skip(usize::from(is_international)).any(|group| group.digits() == 1 && group.sign != b'(');
    has_lone || (is_date(run) && !is_international) || (run.len() == 3 && is_date_like(run))
}

/// Bytes of an extension behind a group: `555-0123x45`.
fn extension(at: &At<'_>, group: &Group) -> usize {
    let is_apart = !at.byte_before(group.from()).is_ascii_alphanumeric();
    if !is_apart || !matches!(at.byte(group.to()), b'x' | b'X') {
        return 0;
    }
    let after = at.bytes().get(group.to() + 1..).unwrap_or_default();
    let digits = after.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    let ends = !at.byte(group.to() + 1 + digits).is_ascii_alphanumeric();
    if digits > 0 && ends { 1 + digits } else { 0 }
}

/// Whether the word directly behind a number says what it is, and nothing else: `0312345678 (office)` is for `context`, this is
/// `03 1234 5678 fax` at the end of a line or of a list's entry.
fn is_labelled_after(at: &At<'_>, to: usize) -> bool {
    if !matches!(at.byte(to), b' ' | b'-') {
        return false;
    }
    let rest = at.bytes().get(to + 1..).unwrap_or_default();
    let length = rest.iter().take(8).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let word = rest.get(..length).unwrap_or_default();
    let is_label = LABELS.iter().any(|label| label.as_bytes().eq_ignore_ascii_case(word));
    is_label && matches!(rest.get(length), None | Some(b'\n' | b'\r' | b',' | b';' | b'.' | b')' | b'\\' | b'"'))
}

/// A number in its one spelling.
fn spelt(country: &str, digits: &[u8]) -> String {
    let mut spelt = String::with_capacity(1 + country.len() + digits.len());
    spelt.push('+');
    spelt.push_str(country);
    spelt.extend(digits.iter().map(|digit| char::from(*digit)));
    spelt
}

/// Digits of a candidate, of which most become nothing: on the stack.
#[derive(Clone, Copy, Default)]
struct Digits {
    digits: [u8; 16],
    length: usize,
}

impl Digits {
    /// Adds a run of digits; `false` where they would be more than `most`.
    fn push(&mut self, run: &[u8], most: usize) -> bool {
        let to = self.length + run.len();
        let Some(room) = self.digits.get_mut(self.length..to).filter(|_| to <= most) else { return false };
        room.copy_from_slice(run);
        self.length = to;
        true
    }

    fn all(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }
}

/// `TEL0312345678`: letters alone stand before it, and none after it.
fn follows_word(at: &At<'_>, group: &Group) -> bool {
    let before = at.bytes().get(..group.from()).unwrap_or_default();
    let letters = before.iter().rev().take(16).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let is_whole = !at.byte_before(group.from() - letters).is_ascii_alphanumeric();
    letters >= 2 && is_whole && !at.byte(group.to()).is_ascii_alphanumeric()
}

/// `090-1234-5678`: strong enough to stand alone.
fn is_japanese_mobile(at: &At<'_>, run: &[Group]) -> bool {
    let [first, second, third] = run else { return false };
    let lengths = (first.digits(), second.digits(), third.digits());
    let before = at.byte_before(first.from());
    let is_apart = !before.is_ascii_alphanumeric() && !matches!(before, b'-' | b'.' | b'_');
    let after = at.byte(third.to());
    lengths == (3, 4, 4)
        && second.sign == b'-'
        && third.sign == b'-'
        && matches!(at.slice(first.from(), first.to()), "070" | "080" | "090")
        && is_apart
        && !after.is_ascii_alphanumeric()
        && after != b'_'
}

/// `08-09-2026` and `12.30.45` have groups of two.
fn is_date_like(run: &[Group]) -> bool {
    run.len() >= 3 && run.iter().take(2).all(|group| group.digits() <= 2)
}

/// What stands between a group and the one before it, if one number may go on over it.
fn gap<'a>(at: &At<'a>, groups: &[Group], place: usize) -> Option<&'a str> {
    let last = groups.get(place.checked_sub(1)?)?;
    let next = groups.get(place)?;
    if next.from() - last.to() > LONGEST_GAP {
        return None;
    }
    let between = at.text.get(last.to()..next.from())?;
    matches!(between, " " | "-" | "." | "/" | "(" | ")" | " (" | ") " | ")-" | "-(" | " - " | " / " | "--")
        .then_some(between)
}

/// Whether digits are an international number of a country whose plan has such numbers.
fn is_of_country(digits: &[u8]) -> bool {
    let code_length = match digits {
        [b'1' | b'7', ..] => 1,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        [b'2', ..]
        | [b'3', b'5' | b'7' | b'8', ..]
        | [b'4', b'2', ..]
        | [b'5', b'0' | b'9', ..]
        | [b'6', b'7'..=b'9', ..]
        | [b'8', b'0' | b'5' | b'7' | b'8', ..]
        | [b'9', b'6' | b'7' | b'9', ..] => 3,
        _ => return false,
    };
    let Some((code, number)) = digits.split_at_checked(code_length) else { return false };
    let Some(first) = number.first().copied() else { return false };
    match code {
        b"1" => is_american(number),
        b"7" => number.len() == 10 && matches!(first, b'3' | b'4' | b'7' | b'8' | b'9'),
        b"65" => number.len() == 8 && matches!(first, b'3' | b'6' | b'8' | b'9'),
        b"81" => {
            let mobile = matches!(first, b'5' | b'7' | b'8' | b'9') && number.get(1) == Some(&b'0');
            first != b'0' && number.len() == if mobile { 10 } else { 9 }
        }
        b"86" => first != b'0' && matches!(number.len(), 10 | 11),
        b"49" => first != b'0' && (6..=11).contains(&number.len()),
        b"39" => (6..=11).contains(&number.len()),
        b"44" => first != b'0' && matches!(number.len(), 9 | 10),
        b"33" | b"34" | b"41" | b"48" | b"61" | b"27" | b"31" | b"32" | b"82" => {
            first != b'0' && (8..=10).contains(&number.len())
        }
        b"55" | b"52" | b"91" | b"90" | b"63" | b"92" => first != b'0' && matches!(number.len(), 10 | 11),
        _ => first != b'0' && (7..=11).contains(&number.len()),
    }
}

fn is_american(number: &[u8]) -> bool {
    let starts = |at: usize| number.get(at).is_some_and(|digit| (b'2'..=b'9').contains(digit));
    number.len() == 10 && starts(0) && starts(3) && number.get(1..3) != Some(b"11")
}

/// What people write behind a number of theirs.
const LABELS: [&str; 7] = ["office", "fax", "mobile", "desk", "cell", "tel", "phone"];
/// What may stand between two groups of one number, in bytes.
pub(super) const LONGEST_GAP: usize = 3;
/// Digits of the shortest national number of any plan.
pub(super) const SHORTEST_NATIONAL: usize = 7;
