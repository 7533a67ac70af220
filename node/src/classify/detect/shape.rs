//! Texts that one look at their whole shape settles: a time stamp, the id of a trace, an IPv4 address and nothing else.
//!
//! Records of machines hold most of their fields in these three. Says of no text what the other finders would not say of it.

use std::borrow::Cow;
use std::net::Ipv4Addr;

/// What a text is as a whole.
pub(super) enum Shape<'a> {
    /// Nothing in it is personal, whatever its key is called.
    Harmless,
    /// An IPv4 address, in its one spelling.
    V4(Cow<'a, str>),
    /// The finders have to look.
    Other,
}

/// Judges a text by its whole shape.
pub(super) fn of(text: &str) -> Shape<'_> {
    let bytes = text.as_bytes();
    match bytes {
        [_, b'.', ..] | [_, _, b'.', ..] | [_, _, _, b'.', ..] => v4(bytes).map_or(Shape::Other, Shape::V4),
        [_, _, _, _, b'-', ..] if is_stamp(bytes) => Shape::Harmless,
        _ if bytes.len() == TRACE_BYTES && is_hex(bytes) => Shape::Harmless,
        _ => Shape::Other,
    }
}

/// `2026-11-20T00:00:00.117Z` of RFC 3339, also with an offset to the east, of the years 1900 to 2199. The digits of others could be
/// joined to somebody's number under a key that says so.
fn is_stamp(bytes: &[u8]) -> bool {
    let Some((head, mut rest)) = bytes.split_first_chunk::<19>() else { return false };
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    let is_of_our_time = head.starts_with(b"19") || head.starts_with(b"20") || head.starts_with(b"21");
    if !is_of_our_time || !head.iter().zip(b"0000-00-00T00:00:00").all(fits) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=MOST_FRACTION).contains(&digits) {
            return false;
        }
        rest = fraction.get(digits..).unwrap_or_default();
    }
    match rest {
        b"Z" => true,
        [b'+', offset @ ..] => offset.len() == 5 && offset.iter().zip(b"00:00").all(fits),
        _ => false,
    }
}

/// In small letters, as tracers write it.
fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & (byte.is_ascii_digit() | matches!(byte, b'a'..=b'f')))
}

/// Four numbers of one to three digits with dots between them, also with leading zeros.
fn v4(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if bytes.len() > LONGEST_V4 {
        return None;
    }
    let (mut octets, mut place, mut digits, mut number) = ([0_u8; 4], 0, 0, 0_u32);
    let mut has_zero = false;
    for byte in bytes {
        match byte {
            b'0'..=b'9' if digits < 3 => {
                has_zero |= digits == 1 && number == 0;
                number = number * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 => {
                *octets.get_mut(place)? = u8::try_from(number).ok()?;
                (place, digits, number) = (place + 1, 0, 0);
            }
            _ => return None,
        }
    }
    if digits == 0 || place != 3 {
        return None;
    }
    *octets.last_mut()? = u8::try_from(number).ok()?;
    if has_zero {
        return Some(Cow::Owned(Ipv4Addr::from(octets).to_string()));
    }
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

/// Digits of a fraction of a second: with the seconds before them fewer than any number of a person has.
const MOST_FRACTION: usize = 3;
/// Bytes of the id of a trace (W3C Trace Context).
const TRACE_BYTES: usize = 32;
/// `255.255.255.255`.
const LONGEST_V4: usize = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::Keys;
    use super::super::finder::{Finder, Home};
    use super::super::span::What;
    use super::*;

    /// What all finders say, and what they say after a look at the shape.
    fn check(text: &str, key: &str) -> Result<(), TestCaseError> {
        for home in ["JP", "SG", "DE"] {
            for finder in [Finder::new(Home::of(home)), Finder::new(Home::of(home)).strict()] {
                let keys = Keys { nearest: key, outer: key };
                let told = |spans: Vec<super::super::span::Span>| {
                    let told = |span: super::super::span::Span| match span.what {
                        What::Personal { class, value } => (span.from, span.to, class.as_str().to_owned(), value),
                        What::Packed(packed) => (span.from, span.to, "packed".to_owned(), packed.text),
                    };
                    spans.into_iter().map(told).collect::<Vec<_>>()
                };
                prop_assert_eq!(
                    told(finder.spans(text, keys)),
                    told(finder.all_spans(text, keys)),
                    "{} {}",
                    home,
                    text
                );
            }
        }
        Ok(())
    }

    fn keys() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "ts", "phone", "tel", "card", "ssn", "token", "secret", "idnr", "ip", "id card"])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8_192, ..ProptestConfig::default() })]

        #[test]
        fn no_finder_finds_anything_in_a_time_stamp(
            text in "(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?(Z|\\+[0-9]{2}:[0-9]{2})",
            key in keys(),
        ) {
            prop_assert!(matches!(of(&text), Shape::Harmless));
            check(&text, key)?;
        }

        #[test]
        fn no_finder_finds_anything_in_the_id_of_a_trace(text in "[0-9a-f]{32}|[0-9]{32}|[a-f]{32}|[0-9]{19}[a-f0-9]{13}", key in keys()) {
            prop_assert!(matches!(of(&text), Shape::Harmless));
            check(&text, key)?;
        }

        #[test]
        fn an_address_alone_is_the_span_that_all_finders_find(
            text in "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}|(0?[0-9]{1,2}\\.){3}0{0,2}[0-9]", key in keys(),
        ) {
            check(&text, key)?;
        }

        #[test]
        fn what_is_nearly_one_of_them_is_judged_as_before(
            text in "[0-9]{1,4}(\\.[0-9]{0,4}){2,5}|[0-9a-fA-F]{30,34}|(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9:]{5,9}[.,]?[0-9]{0,10}[Z+ -]?[0-9:]{0,6}",
            key in keys(),
        ) {
            check(&text, key)?;
        }
    }

    #[test]
    fn a_fraction_that_could_be_a_number_of_somebody_is_looked_at() {
        for (text, is_harmless) in [
            ("2026-11-20T00:00:00Z", true),
            ("2026-11-20T00:00:00.117+09:00", true),
            ("2026-11-20T00:00:00.117-09:00", false),
            ("2026-11-20T00:00:00.1234Z", false),
            ("1900-00-00T00:00:00.001010001+00:00", false),
        ] {
            assert_eq!(matches!(of(text), Shape::Harmless), is_harmless, "{text}");
        }
    }

    #[test]
    fn an_address_has_one_spelling() {
        let value = |text: &str| match of(text) {
            Shape::V4(value) => Some(value.into_owned()),
            _ => None,
        };
        assert_eq!(value("10.1.2.3").as_deref(), Some("10.1.2.3"));
        assert_eq!(value("010.001.002.000").as_deref(), Some("10.1.2.0"));
        for text in
            ["256.1.1.1", "1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.4 ", "1.2.3.", ".1.2.3", "1.2.3.0004", "v.1.2.3"]
        {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
