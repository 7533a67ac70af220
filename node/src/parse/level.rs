//! How bad an event is, from its fields or from the beginning of its text.

use domicile_proto::ids::Level;
use serde_json::{Map, Value};

/// What the numbers of a field mean.
#[derive(Clone, Copy)]
enum Scale {
    /// 0 to 7 of syslog, 10 to 60 of Bunyan and Pino.
    Mixed,
    /// 0 to 7 of syslog, or a whole PRI.
    Syslog,
    /// 10 to 50 of Python.
    Python,
    /// 1 to 24 of OpenTelemetry.
    Telemetry,
}

/// The level that a record's fields name.
pub(super) fn of_fields(source: &Map<String, Value>) -> Option<Level> {
    let mut best: Option<(u8, Level)> = None;
    for (key, value) in source {
        let (rank, scale) = match key.as_str() {
            "level" | "Level" | "LEVEL" | "@level" => (0, Scale::Mixed),
            "severity" | "Severity" => (1, Scale::Syslog),
            "log.level" | "levelname" | "loglevel" | "log_level" | "logLevel" | "lvl" | "level_name" => {
                (2, Scale::Mixed)
            }
            "severity_text" | "severityText" | "SeverityText" => (3, Scale::Mixed),
            "severity_number" | "severityNumber" | "SeverityNumber" => (4, Scale::Telemetry),
            "levelno" => (5, Scale::Python),
            "priority" | "PRIORITY" | "syslog_severity" => (6, Scale::Syslog),
            "log" if value.is_object() => (2, Scale::Mixed),
            _ => continue,
        };
        let value = if key == "log" { value.get("level").unwrap_or(&Value::Null) } else { value };
        if best.is_none_or(|(found, _)| rank < found)
            && let Some(level) = of_value(value, scale)
        {
            best = Some((rank, level));
        }
    }
    best.map(|(_, level)| level)
}

fn of_value(value: &Value, scale: Scale) -> Option<Level> {
    match value {
        Value::String(text) => of_word(text).or_else(|| of_number(text.trim().parse().ok()?, scale)),
        Value::Number(number) => of_number(number.as_u64()?, scale),
        _ => None,
    }
}

/// The level a whole text is.
fn of_word(text: &str) -> Option<Level> {
    let word = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    Level::recognise(word).or_else(|| of_letter(word))
}

fn of_letter(word: &str) -> Option<Level> {
    Some(match word {
        "V" | "T" => Level::Trace,
        "D" => Level::Debug,
        "I" => Level::Info,
        "N" => Level::Notice,
        "W" => Level::Warn,
        "E" => Level::Error,
        "F" | "A" | "C" => Level::Fatal,
        _ => return None,
    })
}

fn of_number(number: u64, scale: Scale) -> Option<Level> {
    match scale {
        Scale::Syslog if number > 7 => of_severity(number % 8).filter(|_| number < 192),
        Scale::Syslog => of_severity(number),
        Scale::Mixed if number <= 7 => of_severity(number),
        Scale::Mixed => Some(match number {
            10 => Level::Trace,
            20 => Level::Debug,
            30 => Level::Info,
            40 => Level::Warn,
            50 => Level::Error,
            60 => Level::Fatal,
            _ => return None,
        }),
        Scale::Python => Some(match number {
            10 => Level::Debug,
            20 => Level::Info,
            30 => Level::Warn,
            40 => Level::Error,
            50 => Level::Fatal,
            _ => return None,
        }),
        Scale::Telemetry => Some(match number {
            1..=4 => Level::Trace,
            5..=8 => Level::Debug,
            9..=12 => Level::Info,
            13..=16 => Level::Warn,
            17..=20 => Level::Error,
            21..=24 => Level::Fatal,
            _ => return None,
        }),
    }
}

/// The level of a severity of syslog. Source: RFC 5424 section 6.2.1.
pub(super) fn of_severity(severity: u64) -> Option<Level> {
    Some(match severity {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 => Level::Notice,
        6 => Level::Info,
        7 => Level::Debug,
        _ => return None,
    })
}

/// What stands before the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or nothing that was understood.
    Nothing,
    /// A time stamp.
    Stamp,
    /// A header of syslog.
    Header,
}

/// The level that the beginning of a text names. A word of prose is none: it must be in capitals, in brackets, behind
/// `level=`, or the first word with a colon (or, right behind a time stamp, the first word).
pub(super) fn of_text(text: &str, before: Before) -> Option<Level> {
    let mut from = 0;
    let mut first = true;
    let mut numbers = 0;
    for _ in 0..MAX_WORDS {
        let rest = text.get(from..)?;
        let rest = rest.trim_start_matches([' ', '\t', '|']);
        let word = rest.split([' ', '\t', '|']).next().filter(|word| !word.is_empty())?;
        from = text.len() - rest.len() + word.len();
        if from > MAX_BYTES {
            return None;
        }
        let letters = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if letters.is_empty() {
            continue;
        }
        if let Some(level) = of_place(word, letters, first, before) {
            return Some(level);
        }
        if numbers >= 2 && letters == word && letters.len() == 1 {
            return of_letter(letters);
        }
        numbers = if letters.bytes().all(|b| b.is_ascii_digit()) { numbers + 1 } else { 0 };
        first = false;
    }
    None
}

fn of_place(word: &str, letters: &str, first: bool, before: Before) -> Option<Level> {
    // `[Component]ERROR:` without a blank between the two.
    if let Some((tag, word)) = word.rsplit_once(']')
        && tag.starts_with('[')
        && word.ends_with(':')
        && word.starts_with(|c: char| c.is_ascii_uppercase())
    {
        return of_place(word, word.trim_end_matches(':'), false, before);
    }
    if let Some((key, value)) = word.split_once('=') {
        let is_level = ["level", "lvl", "severity", "loglevel"].iter().any(|name| key.eq_ignore_ascii_case(name));
        return if is_level { of_word(value) } else { None };
    }
    if letters.len() < 3 || letters.len() > 9 || PROSE.iter().any(|prose| letters.eq_ignore_ascii_case(prose)) {
        return None;
    }
    let capitals = letters.bytes().all(|b| b.is_ascii_uppercase());
    let bracketed = word.starts_with(['[', '<', '(']) && word.ends_with([']', '>', ')', ':', '-']);
    let announced = first && (word.ends_with(':') || before == Before::Stamp);
    if capitals || bracketed || announced { Level::recognise(letters) } else { None }
}

/// Words a text is searched for its level.
const MAX_WORDS: usize = 10;
/// Bytes a text is searched for its level.
const MAX_BYTES: usize = 200;
/// Spellings that are believed in a field only.
const PROSE: [&str; 9] =
    ["config", "fine", "finer", "finest", "unknown", "information", "informational", "alert", "verbose"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_name_the_level() {
        for (source, expected) in [
            (json!({"level": "warn"}), Some(Level::Warn)),
            (json!({"level": "[ERROR]"}), Some(Level::Error)),
            (json!({"level": "E"}), Some(Level::Error)),
            (json!({"level": 30}), Some(Level::Info)),
            (json!({"level": 3}), Some(Level::Error)),
            (json!({"level": "50"}), Some(Level::Error)),
            (json!({"level": 999}), None),
            (json!({"level": -1}), None),
            (json!({"level": {"a": 1}}), None),
            (json!({"level": "loud", "severity": "critical"}), Some(Level::Fatal)),
            (json!({"severity": 6}), Some(Level::Info)),
            (json!({"priority": 134}), Some(Level::Info)),
            (json!({"PRIORITY": "3"}), Some(Level::Error)),
            (json!({"priority": 999}), None),
            (json!({"levelno": 40}), Some(Level::Error)),
            (json!({"severityNumber": 17}), Some(Level::Error)),
            (json!({"log.level": "debug"}), Some(Level::Debug)),
            (json!({"log": {"level": "debug"}}), Some(Level::Debug)),
            (json!({"log": "level debug"}), None),
            (json!({"severity": "info", "level": "error"}), Some(Level::Error)),
        ] {
            let Value::Object(map) = &source else { panic!("an object") };
            assert_eq!(of_fields(map), expected, "{source}");
        }
    }

    #[test]
    fn text_names_its_level_and_prose_does_not() {
        for (text, before, expected) in [
            ("INFO starting", Before::Nothing, Some(Level::Info)),
            ("[error] mod_jk", Before::Stamp, Some(Level::Error)),
            ("Info                  CBS    Loaded", Before::Stamp, Some(Level::Info)),
            ("- INFO  [main]", Before::Stamp, Some(Level::Info)),
            ("1702  2395 D WindowManager: x", Before::Stamp, Some(Level::Debug)),
            ("148 WARN dfs", Before::Stamp, Some(Level::Warn)),
            ("error: disk is full", Before::Header, Some(Level::Error)),
            ("level=warn msg=x", Before::Nothing, Some(Level::Warn)),
            ("|ERROR|x", Before::Nothing, Some(Level::Error)),
            ("[BluetoothHIDDeviceController]ERROR: no object", Before::Header, Some(Level::Error)),
            ("[a][b]WARN: x", Before::Nothing, Some(Level::Warn)),
            ("[a]Error: x", Before::Nothing, None),
            ("[a]b: x", Before::Nothing, None),
            ("x]ERROR: y", Before::Nothing, None),
            ("there was an error in the log", Before::Nothing, None),
            ("error in the log", Before::Header, None),
            ("a D b", Before::Stamp, None),
            ("TERROR and WARNINGS", Before::Nothing, None),
            ("CONFIG loaded", Before::Nothing, None),
            ("a b c d e f g h i j k ERROR", Before::Nothing, None),
            ("", Before::Nothing, None),
            ("エラー ERROR", Before::Nothing, Some(Level::Error)),
        ] {
            assert_eq!(of_text(text, before), expected, "{text}");
        }
        assert_eq!(of_text(&format!("{} ERROR", "x".repeat(5 << 20)), Before::Nothing), None);
    }
}
