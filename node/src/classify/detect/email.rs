//! E-mail addresses between letters of any script.
//!
//! Written Chinese, Japanese and Korean have no blanks: such letters belong to an address only where it has no others.

use domicile_proto::privacy::PersonalClass;

use super::finder::At;

/// Adds the addresses of a text, and the passwords of addresses like `scheme://user:password@host`.
pub(super) fn find(at: &mut At<'_>) {
    let text = at.text;
    let mut from = 0;
    let mut earliest = 0;
    while let Some(next) = memchr::memchr(b'@', text.as_bytes().get(from..).unwrap_or_default()) {
        let sign = from + next;
        from = sign + 1;
        let (Some(before), Some(after)) = (text.get(earliest..sign), text.get(sign + 1..)) else { continue };
        if let Some(length) = login(before) {
            let begin = sign - length;
            at.push(PersonalClass::Bearer, begin, sign, at.slice(begin, sign).to_owned());
            earliest = sign;
            continue;
        }
        let local = local_part(before);
        let domain = domain_length(after);
        if local == 0 || domain == 0 {
            continue;
        }
        let (begin, end) = (sign - local, sign + 1 + domain);
        at.push(PersonalClass::Email, begin, end, at.slice(begin, end).to_lowercase());
        from = end;
        earliest = end;
    }
}

/// Bytes of a `user:password` that ends a text after `://`.
fn login(before: &str) -> Option<usize> {
    let bytes = before.as_bytes();
    let length = bytes.iter().rev().take(MAX_LOGIN_BYTES).take_while(|b| **b > b' ' && !b"/@\"'<>".contains(b)).count();
    let begin = bytes.len() - length;
    let (user, password) = before.get(begin..)?.split_once(':')?;
    let follows = bytes.get(..begin)?.ends_with(b"://");
    (follows && !password.is_empty() && !user.contains('\u{2039}')).then_some(length)
}

/// Bytes of the local part that ends a text.
fn local_part(before: &str) -> usize {
    if let Some(quoted) = before.strip_suffix('"') {
        let mut farthest = quoted.len().saturating_sub(MAX_LOCAL_BYTES);
        while !quoted.is_char_boundary(farthest) {
            farthest += 1;
        }
        let opened = quoted.get(farthest..).and_then(|near| near.rfind('"')).map(|place| farthest + place);
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

/// RFC 5321 section 4.5.3.1.1 says 64; letters outside ASCII take more bytes.
const MAX_LOCAL_BYTES: usize = 128;
/// RFC 5321 section 4.5.3.1.2.
const MAX_DOMAIN_BYTES: usize = 255;
/// Longest login of an address, in bytes.
const MAX_LOGIN_BYTES: usize = 256;
