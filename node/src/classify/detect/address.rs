//! IPv6 addresses, and the addresses of network cards.

use std::net::Ipv6Addr;

use domicile_proto::privacy::PersonalClass;

use super::finder::At;

/// Looks at every run of hexadecimal digits with colons.
pub(super) fn find(at: &mut At<'_>) {
    let mut from = 0;
    while let Some(next) = memchr::memchr(b':', at.bytes().get(from..).unwrap_or_default()) {
        let colon = from + next;
        from = colon + 1;
        let (before, after) = (at.byte_before(colon), at.byte(colon + 1));
        if !belongs(after) || !(before.is_ascii_hexdigit() || after == b':') {
            continue;
        }
        let bytes = at.bytes();
        let left =
            bytes.get(..colon).unwrap_or_default().iter().rev().take(8).take_while(|b| b.is_ascii_hexdigit()).count();
        let mut begin = colon - left;
        // `mac:aa:bb:…`: the end of a word is no group.
        if is_word(at.byte_before(begin)) && after != b':' {
            begin = colon + 1;
        }
        let length = bytes.get(begin..).unwrap_or_default().iter().take_while(|b| belongs(**b)).count();
        let end = begin + length;
        from = end;
        if !is_word(at.byte_before(begin)) && !is_word(at.byte(end)) && begin < end {
            run(at, begin, end);
        }
    }
}

/// Judges one run of hexadecimal digits, dots and colons.
fn run(at: &mut At<'_>, from: usize, to: usize) {
    let whole = at.slice(from, to);
    let trimmed = whole.trim_end_matches('.');
    // `addr::1:` carries a colon of the sentence.
    let candidate = trimmed.strip_suffix(':').filter(|inner| !inner.ends_with(':')).unwrap_or(trimmed);
    let end = from + candidate.len();
    if candidate.len() > LONGEST {
        return;
    }
    if let Some(value) = mac(candidate, b':') {
        at.push(PersonalClass::Mac, from, end, value);
    } else if is_worth(candidate)
        && let Ok(address) = candidate.parse::<Ipv6Addr>()
    {
        let value = address.to_ipv4_mapped().map_or_else(|| address.to_string(), |mapped| mapped.to_string());
        at.push(PersonalClass::Ip, from, end, value);
    } else if let Some((inner, _)) = candidate.rsplit_once(':').filter(|_| is_worth(candidate))
        && inner.bytes().filter(|b| *b == b':').count() >= 7
        && let Ok(address) = inner.parse::<Ipv6Addr>()
    {
        // All eight groups, and a port without brackets.
        at.push(PersonalClass::Ip, from, from + inner.len(), address.to_string());
    }
}

/// `aa-bb-cc-dd-ee-ff`, from its first pair on; in digits alone it is more often a date or an order.
pub(super) fn dashed(at: &mut At<'_>, from: usize) {
    if at.byte(from + 5) != b'-' {
        return;
    }
    let text = at.slice(from, from + 17);
    let is_apart = !matches!(at.byte_before(from), b'-' | b'.' | b'_')
        && !is_word(at.byte(from + 17))
        && at.byte(from + 17) != b'-';
    if is_apart && let Some(value) = mac(text, b'-') {
        at.push(PersonalClass::Mac, from, from + 17, value);
    }
}

/// `aabb.ccdd.eeff`, as switches print it.
pub(super) fn dotted(at: &mut At<'_>, from: usize) {
    if at.byte(from + 9) != b'.' {
        return;
    }
    let text = at.slice(from, from + 14);
    let mut parts = text.split('.');
    let is_part =
        |part: Option<&str>| part.is_some_and(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    let has_shape = is_part(parts.next()) && is_part(parts.next()) && is_part(parts.next()) && parts.next().is_none();
    let after = (at.byte(from + 14), at.byte(from + 15));
    let goes_on = is_word(after.0) || (after.0 == b'.' && is_word(after.1));
    let is_apart = !matches!(at.byte_before(from), b'.' | b'-' | b'_') && !goes_on;
    if has_shape && is_apart && text.bytes().any(|b| b.is_ascii_digit()) {
        let value = text.replace('.', "").to_ascii_lowercase();
        at.push(PersonalClass::Mac, from, from + 14, value);
    }
}

/// The twelve digits of six pairs with one sign between them; not all the same digit, which names no card.
fn mac(text: &str, sign: u8) -> Option<String> {
    let bytes = text.as_bytes();
    // Most of what is asked about is a time or a date: it costs no allocation.
    let has_shape = bytes.len() == 17
        && bytes.iter().enumerate().all(|(place, b)| if place % 3 == 2 { *b == sign } else { b.is_ascii_hexdigit() });
    if !has_shape {
        return None;
    }
    let value: String = text.chars().filter(|c| *c != char::from(sign)).map(|c| c.to_ascii_lowercase()).collect();
    let first = value.chars().next()?;
    let says_something = !value.chars().all(|c| c == first);
    let has_letter = sign == b':' || value.bytes().any(|b| b.is_ascii_alphabetic());
    (says_something && has_letter).then_some(value)
}

/// `a::b` is a path of a program more often than an address, and `::` is nobody's.
fn is_worth(run: &str) -> bool {
    let colons = run.bytes().filter(|b| *b == b':').count();
    if colons < 2 || (colons < 7 && !run.contains("::")) {
        return false;
    }
    let groups = run.split(':').filter(|group| !group.is_empty()).count();
    groups >= 4 || (groups >= 1 && run.bytes().any(|b| b.is_ascii_digit()))
}

const fn belongs(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Of an address in text, with a port and a colon.
const LONGEST: usize = 52;
