//! E-mail addresses, also with `%40` or a full-width sign, between letters of any script.
//!
//! Written Chinese, Japanese and Korean have no blanks: such letters belong to an address only where it has no others.

use super::scan::{Class, Span};

/// Adds the addresses of a text.
pub(super) fn find(text: &str, spans: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    let mut earliest = 0;
    while let Some(next) = bytes.get(from..).and_then(|rest| memchr::memchr3(b'@', b'%', FULL_WIDTH_AT[0], rest)) {
        let at = from + next;
        let rest = bytes.get(at..).unwrap_or_default();
        let sign = if rest.starts_with(b"@") {
            1
        } else if rest.starts_with(b"%40") || rest.starts_with(FULL_WIDTH_AT) {
            3
        } else {
            from = at + 1;
            continue;
        };
        from = at + sign;
        let (Some(before), Some(after)) = (text.get(earliest..at), text.get(at + sign..)) else { continue };
        let local = local_part(before);
        let domain = domain_length(after);
        if local == 0 || domain == 0 {
            continue;
        }
        let (begin, end) = (at - local, at + sign + domain);
        let local = text.get(begin..at).unwrap_or_default();
        let domain = text.get(at + sign..end).unwrap_or_default();
        let value = format!("{local}@{domain}").to_lowercase();
        spans.push(Span { class: Class::Email, from: begin, to: end, value });
        from = end;
        earliest = end;
    }
}

/// Bytes of the local part that ends a text.
fn local_part(before: &str) -> usize {
    if let Some(quoted) = before.strip_suffix('"') {
        let opened = quoted.rfind('"').filter(|at| quoted.len() - at <= MAX_LOCAL_BYTES);
        return opened.map_or(0, |at| before.len() - at);
    }
    let mut length = 0;
    let mut has_ascii = false;
    let mut has_ideograph = false;
    for c in before.chars().rev() {
        let taken = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' if !has_ideograph => true,
            '.' | '_' | '-' | '+' | '\'' => true,
            '\0'..='\x7f' => false,
            c if c.is_alphanumeric() && is_ideograph(c) => !has_ascii,
            c => c.is_alphanumeric() && !has_ideograph,
        };
        if !taken || length + c.len_utf8() > MAX_LOCAL_BYTES {
            break;
        }
        has_ascii |= c.is_ascii_alphanumeric();
        has_ideograph |= is_ideograph(c);
        length += c.len_utf8();
    }
    // Signs at the edge belong to the sentence.
    let local = before.get(before.len() - length..).unwrap_or_default();
    local.trim_start_matches(['.', '-', '+', '\'']).len()
}

/// Bytes of the domain that begins a text; 0 where there is none with at least two labels and letters at its end.
fn domain_length(after: &str) -> usize {
    let mut good = 0;
    let mut at = 0;
    let mut labels = 0;
    loop {
        let label = label_length(after.get(at..).unwrap_or_default());
        if label == 0 || at + label > MAX_DOMAIN_BYTES {
            return good;
        }
        labels += 1;
        let text = after.get(at..at + label).unwrap_or_default();
        at += label;
        if labels > 1 && ends_a_domain(text) {
            good = at;
        }
        if after.as_bytes().get(at) != Some(&b'.') {
            return good;
        }
        at += 1;
    }
}

fn label_length(text: &str) -> usize {
    let mut length = 0;
    let mut has_ascii = false;
    let mut has_ideograph = false;
    for c in text.chars() {
        let taken = match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => !has_ideograph,
            '-' => length > 0,
            '\0'..='\x7f' => false,
            c if c.is_alphanumeric() && is_ideograph(c) => !has_ascii,
            c => c.is_alphanumeric() && !has_ideograph,
        };
        if !taken {
            break;
        }
        has_ascii |= c.is_ascii();
        has_ideograph |= is_ideograph(c);
        length += c.len_utf8();
    }
    text.get(..length).unwrap_or_default().trim_end_matches('-').len()
}

fn ends_a_domain(label: &str) -> bool {
    label.chars().take(2).filter(|c| c.is_alphabetic()).count() == 2
}

/// Letters of scripts that are written without blanks.
const fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}')
}

/// U+FF20.
const FULL_WIDTH_AT: &[u8; 3] = b"\xef\xbc\xa0";
/// RFC 5321 section 4.5.3.1.1 says 64; letters outside ASCII take more bytes.
const MAX_LOCAL_BYTES: usize = 128;
/// RFC 5321 section 4.5.3.1.2.
const MAX_DOMAIN_BYTES: usize = 255;
