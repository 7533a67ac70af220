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

#[cfg(test)]
mod tests {
    use super::super::zone::Zone;
    use super::*;

    /// 2026-11-20T12:00:00Z.
    const NOW: Timestamp = Timestamp(1_795_176_000_000_000);

    #[test]
    fn lines_of_many_systems_are_understood() {
        for (line, at, level, host, program) in [
            (
                "<34>1 2026-11-20T10:00:00.003Z web1 su - ID47 - failed",
                "2026-11-20T10:00:00.003Z",
                Some(Level::Fatal),
                "web1",
                "su",
            ),
            ("<13>Nov 20 10:00:00 web1 cron[12]: done", "2026-11-20T10:00:00Z", Some(Level::Notice), "web1", "cron"),
            (
                "Nov 20 10:00:00 web1 sshd[2420]: error: gone",
                "2026-11-20T10:00:00Z",
                Some(Level::Error),
                "web1",
                "sshd",
            ),
            (
                "Nov 20 10:00:00 web1 su(pam_unix)[2420]: session opened",
                "2026-11-20T10:00:00Z",
                None,
                "web1",
                "su(pam_unix)",
            ),
            ("Nov 20 10:00:00 web1 last message repeated 2 times", "2026-11-20T10:00:00Z", None, "web1", ""),
            ("[Fri Nov 20 10:00:00 2026] [notice] workers ok", "2026-11-20T10:00:00Z", Some(Level::Notice), "", ""),
            ("[11.20 10:00:00] chrome.exe - proxy:5070 open", "2026-11-20T10:00:00Z", None, "", ""),
            (
                "- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL INFO corrected",
                "2005-06-03T22:42:50Z",
                Some(Level::Info),
                "",
                "",
            ),
            (
                "- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond[2915]: closed",
                "2005-11-09T20:01:01Z",
                None,
                "dn228/dn228",
                "crond",
            ),
            ("134681 node-246 unix.hw state 1077804742 1 Component State", "2004-02-26T14:12:22Z", None, "", ""),
            (
                "nova-api.log.1 2017-05-16 00:00:00.008 25746 INFO nova.api x",
                "2017-05-16T00:00:00.008Z",
                Some(Level::Info),
                "",
                "",
            ),
            ("081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T20:36:15Z", Some(Level::Info), "", ""),
            ("order 1234567890 shipped", "2009-02-13T23:31:30Z", None, "", ""),
            ("we shipped 1234567890 parts", "", None, "", ""),
            ("version 10.30 16:49:06 is out", "", None, "", ""),
            ("<999>no priority", "", None, "", ""),
            ("<", "", None, "", ""),
            ("[[[[", "", None, "", ""),
            ("", "", None, "", ""),
        ] {
            let context = Context { zone: &Zone::UTC, received_at: NOW };
            let understood = understand(line.to_owned(), &context);
            let expected = (!at.is_empty()).then(|| at.parse::<jiff::Timestamp>().unwrap().as_microsecond());
            assert_eq!(understood.at.map(|at| at.0), expected, "{line}");
            assert_eq!(understood.level, level, "{line}");
            let field = |name: &str| understood.source.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            assert_eq!((field("host").as_str(), field("program").as_str()), (host, program), "{line}");
            assert_eq!(field("message"), line);
        }
    }
}
