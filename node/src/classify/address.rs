//! IP addresses, of both versions.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::scan::{Class, Span};

/// Adds the addresses of a text.
pub(super) fn find(text: &str, spans: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(skip) = rest.iter().position(|b| belongs(*b)) else { return };
        let from = at + skip;
        let run = bytes.get(from..).unwrap_or_default();
        let length = run.iter().take_while(|b| belongs(**b)).count();
        at = from + length;
        let before = from.checked_sub(1).and_then(|before| bytes.get(before)).copied();
        let after = bytes.get(at).copied();
        run_of(text, from, at, is_word(before), is_word(after), spans);
    }
}

/// Judges one run of hexadecimal digits, dots and colons.
fn run_of(text: &str, from: usize, to: usize, word_before: bool, word_after: bool, spans: &mut Vec<Span>) {
    let run = text.get(from..to).unwrap_or_default();
    let colons = run.bytes().filter(|b| *b == b':').count();
    if colons >= 2 && !word_before && !word_after {
        let begun = run.trim_start_matches('.').len();
        let begin = to - begun;
        let trimmed = run.trim_start_matches('.').trim_end_matches('.');
        // `addr:::1` and `::1:` carry a colon of the sentence.
        let single = trimmed.strip_suffix(':').filter(|inner| !inner.ends_with(':'));
        let candidate = single.unwrap_or(trimmed);
        if is_worth(candidate)
            && let Ok(address) = candidate.parse::<Ipv6Addr>()
        {
            let end = begin + candidate.len();
            let value = address.to_ipv4_mapped().map_or_else(|| address.to_string(), |mapped| mapped.to_string());
            spans.push(Span { class: Class::Ip, from: begin, to: end, value });
            return;
        }
    }
    let mut begin = from;
    for part in run.split(':') {
        let (at, end) = (begin, begin + part.len());
        begin = end + 1;
        let trimmed = part.trim_matches('.');
        let leading = part.len() - part.trim_start_matches('.').len();
        if trimmed.bytes().filter(|b| *b == b'.').count() != 3 {
            continue;
        }
        let touches =
            (at == from && word_before && leading == 0) || (end == to && word_after && part.ends_with(trimmed));
        if touches {
            // A letter beside it: `v1.2.3.4` is a version, but `ip1.2.3.4x` is nothing one can tell from an address.
            continue;
        }
        if let Some(address) = v4(trimmed) {
            let start = at + leading;
            spans.push(Span { class: Class::Ip, from: start, to: start + trimmed.len(), value: address.to_string() });
        }
    }
}

/// Four numbers; with leading zeros too, which the standard library refuses.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// `a::b` is a path of a program more often than an address.
fn is_worth(run: &str) -> bool {
    let groups = run.split(':').filter(|group| !group.is_empty()).count();
    groups >= 4 || (groups >= 1 && run.bytes().any(|b| b.is_ascii_digit()))
}

const fn belongs(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
