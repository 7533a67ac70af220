//! Plain text lines: the time stamp, the level and, where it is syslog, host and program at their beginning.
//!
//! The line itself is kept whole as the message: nothing of what was sent is lost by being understood.

use domicile_proto::ids::{Level, Timestamp};
use serde_json::{Map, Value};

use super::level::{self, Before};
use super::timestamp::{self, Context, Found, Style};

/// What a line says of itself.
pub(super) struct Understood {
    pub(super) at: Option<Timestamp>,
    pub(super) level: Option<Level>,
    pub(super) source: Map<String, Value>,
}

/// Reads one line.
pub(super) fn understand(line: String, context: &Context<'_>) -> Understood {
    let (severity, rest) = priority(&line);
    let (at, level, host, program) = if severity.is_some() && rest.starts_with("1 ") {
        let header = modern_header(rest, context);
        (header.at, None, header.host, header.program)
    } else {
        classic(rest, severity.is_some(), context)
    };
    let level = severity.or(level);
    let mut source = Map::new();
    if let Some(host) = host.map(str::to_owned) {
        source.insert("host".to_owned(), Value::String(host));
    }
    if let Some(program) = program.map(str::to_owned) {
        source.insert("program".to_owned(), Value::String(program));
    }
    source.insert("message".to_owned(), Value::String(line));
    Understood { at, level, source }
}

/// `<134>` at the beginning: level, and what follows.
fn priority(line: &str) -> (Option<Level>, &str) {
    let read = || {
        let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
        let number: u64 = number.parse().ok().filter(|number| *number < 192)?;
        Some((level::of_severity(number % 8)?, rest))
    };
    read().map_or((None, line), |(level, rest)| (Some(level), rest))
}

#[derive(Default)]
struct Header<'a> {
    at: Option<Timestamp>,
    host: Option<&'a str>,
    program: Option<&'a str>,
}

/// `1 TIME HOST APP PROCID MSGID ...` of RFC 5424; `-` is nothing.
fn modern_header<'a>(rest: &'a str, context: &Context<'_>) -> Header<'a> {
    let mut words = rest.splitn(6, ' ').skip(1);
    let at = words.next().and_then(|word| timestamp::whole(word, context));
    let mut given = || words.next().filter(|word| *word != "-" && is_label(word));
    Header { at, host: given(), program: given() }
}

type Classic<'a> = (Option<Timestamp>, Option<Level>, Option<&'a str>, Option<&'a str>);

fn classic<'a>(line: &'a str, is_syslog: bool, context: &Context<'_>) -> Classic<'a> {
    let Some((found, from)) = find(line, context) else {
        return (None, level::of_text(line, Before::Nothing), None, None);
    };
    let rest = line.get(from..).unwrap_or_default();
    if found.style == Style::Syslog || is_syslog {
        let (host, program, message) = classic_header(rest);
        let before = if program.is_some() { Before::Header } else { Before::Nothing };
        return (Some(found.at), level::of_text(message, before), host, program);
    }
    // A number in front and the header of syslog behind it: collectors of super computers write that.
    if found.style == Style::Epoch
        && let Some((inner, from)) = later_header(rest, context)
    {
        let (host, program, message) = classic_header(rest.get(from..).unwrap_or_default());
        let _ = inner;
        return (Some(found.at), level::of_text(message, Before::Header), host, program);
    }
    let rest = rest.trim_start_matches([']', ')', ',', ' ', '-', '"']);
    (Some(found.at), level::of_text(rest, Before::Stamp), None, None)
}

/// The first stamp at the beginning of one of the first words, and where it ends.
fn find(line: &str, context: &Context<'_>) -> Option<(Found, usize)> {
    let begins_with_number = line.split(' ').next().is_some_and(is_number);
    for (place, from) in word_starts(line).take(MAX_WORDS).enumerate() {
        let Some(found) = line.get(from..).and_then(|rest| timestamp::leading(rest, context)) else { continue };
        let believed = match found.style {
            Style::Full | Style::Syslog => true,
            Style::Weak => place == 0,
            Style::Epoch => place <= 1 || place <= 4 && begins_with_number,
        };
        if believed {
            let end = from + found.end;
            return Some((found, end));
        }
    }
    None
}

fn later_header(rest: &str, context: &Context<'_>) -> Option<(Found, usize)> {
    word_starts(rest).take(5).find_map(|from| {
        let found = timestamp::leading(rest.get(from..)?, context).filter(|found| found.style == Style::Syslog)?;
        let end = from + found.end;
        Some((found, end))
    })
}

/// Where words begin, opening brackets left out.
fn word_starts(line: &str) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = line.get(at..).filter(|_| at <= MAX_BYTES)?;
        let word = rest.trim_start_matches([' ', '\t', '[', '(', '"']);
        if word.is_empty() {
            return None;
        }
        let start = line.len() - word.len();
        let length = word.find([' ', '\t']).unwrap_or(word.len());
        at = start + length;
        Some(start)
    })
}

/// ` HOST TAG[PID]: message` of RFC 3164.
fn classic_header(rest: &str) -> (Option<&str>, Option<&str>, &str) {
    let rest = rest.trim_start();
    let Some((host, after)) = rest.split_once(' ').filter(|(host, _)| is_label(host)) else {
        return (None, None, rest);
    };
    let after = after.trim_start();
    let end = after.find([':', '[', ' ']).unwrap_or(after.len());
    let (tag, behind) = after.split_at_checked(end).unwrap_or((after, ""));
    if !is_label(tag) || !behind.starts_with([':', '[']) {
        return (Some(host), None, after);
    }
    let message = behind.split_once(": ").map_or(behind, |(_, message)| message);
    (Some(host), Some(tag), message)
}

fn is_label(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'(' | b')' | b':' | b'#'))
        && text.bytes().any(|b| b.is_ascii_alphabetic() || b == b'.' || b == b':')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Words whose beginning may be the stamp.
const MAX_WORDS: usize = 6;
/// Bytes that are searched for a stamp.
const MAX_BYTES: usize = 160;
