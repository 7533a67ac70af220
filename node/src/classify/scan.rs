//! Finds personal spans in one text: cheap questions first, precise scanners only where those say maybe.

use super::{address, card, email};

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// An e-mail address.
    Email,
    /// A payment card number.
    Card,
    /// An IP address.
    Ip,
}

impl Class {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ip => "ip",
        }
    }
}

/// A personal span of a text, and the value under which it gets its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) class: Class,
    pub(super) from: usize,
    pub(super) to: usize,
    /// The value in its one spelling.
    pub(super) value: String,
}

/// The personal spans of a text, in order, never overlapping.
pub(super) fn spans(text: &str, with_ip: bool) -> Vec<Span> {
    let mut spans = Vec::new();
    if text.len() < SHORTEST {
        return spans;
    }
    let mut seen = Seen::default();
    for byte in text.as_bytes() {
        seen.digits += u32::from(byte.is_ascii_digit());
        seen.signs += u32::from(matches!(byte, b'@' | b'%'));
        seen.dots += u32::from(*byte == b'.');
        seen.colons += u32::from(*byte == b':');
        seen.others += u32::from(*byte >= 0x80);
    }
    if seen.signs > 0 || seen.others > 2 {
        email::find(text, &mut spans);
    }
    if seen.digits + seen.others / 2 >= card::FEWEST_DIGITS && card::may_hold(text) {
        card::find(text, &mut spans);
    }
    let v4 = seen.dots >= 3 && seen.digits >= 4;
    let v6 = seen.colons >= 7 || seen.colons >= 2 && text.as_bytes().windows(2).any(|pair| pair == b"::");
    if with_ip && (v4 || v6) {
        address::find(text, &mut spans);
    }
    if spans.len() > 1 {
        spans.sort_by_key(|span| (span.from, std::cmp::Reverse(span.to)));
        let mut end = 0;
        spans.retain(|span| {
            let apart = span.from >= end;
            if apart {
                end = span.to;
            }
            apart
        });
    }
    spans
}

#[derive(Default)]
struct Seen {
    digits: u32,
    signs: u32,
    dots: u32,
    colons: u32,
    others: u32,
}

/// Shortest text that can hold anything personal: `::1`.
const SHORTEST: usize = 3;
