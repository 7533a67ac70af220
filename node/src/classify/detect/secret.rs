//! Secrets that name themselves: web tokens, bearer tokens, keys of clouds and code hosts, private keys.
//!
//! Source of the shapes: RFC 7519, RFC 6750, RFC 7468 and the providers' own descriptions of their keys.

use domicile_proto::privacy::PersonalClass;

use super::context::meaning;
use super::finder::At;

/// Judges a word by how it begins.
pub(super) fn judge(at: &mut At<'_>, from: usize, to: usize) {
    let first = at.byte(from);
    let word = at.text.get(from..to).unwrap_or_default();
    match first {
        b'e' if word.starts_with("eyJ") => jwt(at, from),
        b'B' | b'b' if word.eq_ignore_ascii_case("bearer") => bearer(at, to),
        b'B' | b'b' if word.eq_ignore_ascii_case("basic") => basic(at, to),
        b'B' if word == "BEGIN" && at.slice(from.saturating_sub(5), from) == "-----" => private_key(at, from - 5),
        b'A' if word.len() == 20 && is_aws(word) => cloud(at, from, to),
        _ => prefixed(at, from),
    }
}

/// A run of base64 whose length a provider's keys have, where its name says that it is secret.
pub(super) fn named(at: &mut At<'_>, from: usize, to: usize) -> bool {
    let length = to - from;
    if !matches!(length, 40 | 43 | 44 | 64 | 86 | 88) || at.byte_before(from) == b'.' {
        return false;
    }
    let run = at.slice(from, to);
    let is_hex = run.bytes().all(|b| b.is_ascii_hexdigit());
    let varies = run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_uppercase());
    if !is_hex && varies && at.announces(from, to, meaning::SECRET) && !at.finder.is_strict {
        cloud(at, from, to);
        return true;
    }
    false
}

fn cloud(at: &mut At<'_>, from: usize, to: usize) {
    at.push(PersonalClass::CloudKey, from, to, at.slice(from, to).to_owned());
}

fn is_aws(word: &str) -> bool {
    ["AKIA", "ASIA", "ABIA", "ACCA"].iter().any(|prefix| word.starts_with(prefix))
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Three parts in base64 without padding; the last one may be empty.
fn jwt(at: &mut At<'_>, from: usize) {
    if is_url_safe(at.byte_before(from)) {
        return;
    }
    let header = length_of(at, from, is_url_safe);
    let payload_at = from + header + 1;
    let payload = length_of(at, payload_at, is_url_safe);
    let signature_at = payload_at + payload + 1;
    let has_shape =
        header >= 10 && payload >= 4 && at.byte(payload_at - 1) == b'.' && at.byte(signature_at - 1) == b'.';
    if has_shape {
        let to = signature_at + length_of(at, signature_at, is_url_safe);
        at.push(PersonalClass::Jwt, from, to, at.slice(from, to).to_owned());
    }
}

fn bearer(at: &mut At<'_>, to: usize) {
    let from = to + length_of(at, to, |b| matches!(b, b' ' | b'\t'));
    let length = length_of(at, from, |b| is_url_safe(b) || matches!(b, b'.' | b'~' | b'+' | b'/' | b'='));
    let token = at.slice(from, from + length);
    let is_token = from > to && length >= 16 && token.bytes().any(|b| b.is_ascii_digit()) && !token.starts_with("eyJ");
    if is_token {
        at.push(PersonalClass::Bearer, from, from + length, token.to_owned());
    }
}

/// A name and a password in base64, as HTTP sends them.
fn basic(at: &mut At<'_>, to: usize) {
    let from = to + length_of(at, to, |b| b == b' ');
    let length = length_of(at, from, |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    let run = at.slice(from, from + length);
    if from == to || length < 8 {
        return;
    }
    let opened = super::packed::plain(run.as_bytes(), length);
    if opened.is_some_and(|text| text.contains(':') && !text.contains(char::is_control)) {
        at.push(PersonalClass::Bearer, from, from + length, run.to_owned());
    }
}

/// From its first line to its last, or to the end of the text.
fn private_key(at: &mut At<'_>, from: usize) {
    let rest = at.text.get(from..).unwrap_or_default();
    let near = rest.as_bytes().get(..rest.len().min(LONGEST_LABEL)).unwrap_or_default();
    if memchr::memmem::find(near, b"PRIVATE KEY").is_none() {
        return;
    }
    let body = rest.as_bytes().get(..rest.len().min(LONGEST_KEY)).unwrap_or_default();
    let end = memchr::memmem::find(body, b"-----END").map_or(rest.len(), |end| {
        let line = rest.as_bytes().get(end + 8..).unwrap_or_default();
        let dashes = memchr::memmem::find(line.get(..line.len().min(LONGEST_LABEL)).unwrap_or_default(), b"-----");
        end + 8 + dashes.map_or(0, |dashes| dashes + 5)
    });
    let to = from + end;
    // One key is found once: what begins inside of it belongs to it.
    if at.spans.last().is_none_or(|last| last.to <= from) {
        at.push(PersonalClass::PrivateKey, from, to, at.slice(from, to).to_owned());
    }
}

/// Keys that begin with a word of their provider.
fn prefixed(at: &mut At<'_>, from: usize) {
    let begins = matches!(
        (at.byte(from), at.byte(from + 1)),
        (b'g', b'h' | b'i' | b'l')
            | (b'A', b'I' | b'c')
            | (b'y', b'a')
            | (b'G', b'O')
            | (b'x', b'o')
            | (b's', b'k')
            | (b'h', b'v')
    );
    if !begins || is_url_safe(at.byte_before(from)) {
        return;
    }
    let rest = at.bytes().get(from..).unwrap_or_default();
    let Some((prefix, least, most)) = PREFIXES.iter().find(|(prefix, ..)| rest.starts_with(prefix.as_bytes())).copied()
    else {
        return;
    };
    let length = length_of(at, from + prefix.len(), is_url_safe);
    let (to, body) = (from + prefix.len() + length, at.slice(from + prefix.len(), from + prefix.len() + length));
    if (least..=most).contains(&length) && body.bytes().any(|b| b.is_ascii_digit()) {
        cloud(at, from, to);
    }
}

fn length_of(at: &At<'_>, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    at.bytes().get(from..).unwrap_or_default().iter().take_while(|b| belongs(**b)).count()
}

const fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Prefix, and the fewest and most signs after it.
const PREFIXES: [(&str, usize, usize); 18] = [
    ("ghp_", 36, 255),
    ("gho_", 36, 255),
    ("ghu_", 36, 255),
    ("ghs_", 36, 255),
    ("ghr_", 36, 255),
    ("github_pat_", 40, 255),
    ("glpat-", 20, 64),
    ("AIza", 35, 35),
    ("ya29.", 20, 512),
    ("GOCSPX-", 28, 28),
    ("xoxb-", 20, 255),
    ("xoxp-", 20, 255),
    ("xoxa-", 20, 255),
    ("xoxs-", 20, 255),
    ("sk_live_", 16, 255),
    ("sk_test_", 16, 255),
    ("hvs.", 24, 255),
    ("AccountKey=", 80, 88),
];
#[cfg(test)]
pub(super) fn prefixes() -> impl Iterator<Item = &'static str> {
    PREFIXES.iter().map(|(prefix, ..)| *prefix)
}

/// Of the first and last line of a key, in bytes.
const LONGEST_LABEL: usize = 64;
/// How far the end of a key is looked for, in bytes.
const LONGEST_KEY: usize = 16 << 10;
