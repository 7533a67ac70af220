//! Time stamps in the spellings that logs use, read by hand: this runs once for every record.
//!
//! Day and month in figures with the year behind (`10/11/2026`) are not guessed at: half of the world would be wrong.

use domicile_proto::ids::Timestamp;
use serde_json::Number;

use super::civil::{Civil, YEARS};
use super::zone::Zone;

/// What a stamp is read against: the zone where it names none, and the time of receipt where it names no year.
pub(super) struct Context<'a> {
    pub(super) zone: &'a Zone,
    pub(super) received_at: Timestamp,
}

/// What kind of stamp was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Date and time with a year.
    Full,
    /// `Nov 20 10:00:00`, of RFC 3164.
    Syslog,
    /// Figures that could be something else: only believed where a stamp is expected.
    Weak,
    /// A number since 1970.
    Epoch,
}

/// A stamp at the beginning of a text.
pub(super) struct Found {
    pub(super) at: Timestamp,
    /// Bytes it takes.
    pub(super) end: usize,
    pub(super) style: Style,
}

/// The time a text is, as a whole.
pub(super) fn whole(text: &str, context: &Context<'_>) -> Option<Timestamp> {
    let text = text.trim();
    let found = leading(text, context)?;
    (found.end == text.len()).then_some(found.at)
}

/// A time as it is written into an event that has none: RFC 3339 in UTC, to the millisecond, or the microsecond where there
/// is one. `None` beyond the calendar.
pub(crate) fn written(at: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(at.0).ok()?;
    Some(if at.0 % 1_000 == 0 { format!("{time:.3}") } else { format!("{time:.6}") })
}

/// The time a text begins with.
pub(super) fn leading(text: &str, context: &Context<'_>) -> Option<Found> {
    let bytes = text.as_bytes();
    let first = *bytes.first()?;
    if first.is_ascii_digit() {
        let length = bytes.iter().take(24).take_while(|b| b.is_ascii_digit()).count();
        return match (length, bytes.get(length).copied()) {
            (4, Some(b'-' | b'/' | b'.')) => year_first(bytes, context),
            (8, _) => compact(bytes, context).or_else(|| digits_only(bytes, context)),
            (14, _) => digits_only(bytes, context),
            (6, Some(b' ')) => six_and_six(bytes, context),
            (2, Some(b'/' | b'-' | b'.')) => two_figures(bytes, context),
            (1 | 2, Some(b' ')) => day_first(bytes, 0, b' ', context),
            (10.., _) => epoch(bytes),
            _ => None,
        };
    }
    if first.is_ascii_alphabetic() { with_names(bytes, context) } else { None }
}

/// The time a number is: seconds, milliseconds, microseconds or nanoseconds since 1970, by its size.
pub(super) fn number(number: &Number) -> Option<Timestamp> {
    if let Some(whole) = number.as_i64() {
        return from_epoch(whole);
    }
    let float = number.as_f64().filter(|float| float.is_finite() && *float > 0.0)?;
    let micros = match float {
        ..1e11 => float * 1e6,
        ..1e14 => float * 1e3,
        ..1e17 => float,
        _ => float / 1e3,
    };
    #[allow(clippy::cast_possible_truncation, reason = "a cast of floats saturates; the year is checked")]
    believable(micros as i64)
}

fn from_epoch(whole: i64) -> Option<Timestamp> {
    let micros = match whole {
        ..100_000_000 => return None,
        100_000_000..100_000_000_000 => whole * 1_000_000,
        100_000_000_000..100_000_000_000_000 => whole * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => whole,
        _ => whole / 1_000,
    };
    believable(micros)
}

fn believable(micros: i64) -> Option<Timestamp> {
    let last = (YEARS.end - 1970) * 31_556_952_000_000;
    (0..last).contains(&micros).then_some(Timestamp(micros))
}

/// Reads figures and signs from left to right.
#[derive(Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn eat_one_of(&mut self, set: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|byte| set.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    fn blanks(&mut self) -> usize {
        let from = self.at;
        while self.peek() == Some(b' ') && self.at - from < 4 {
            self.at += 1;
        }
        self.at - from
    }

    /// A number of `min` to `max` figures.
    fn figures(&mut self, min: usize, max: usize) -> Option<u32> {
        let from = self.at;
        let mut value = 0_u32;
        while let Some(byte) = self.peek().filter(u8::is_ascii_digit) {
            if self.at - from == max {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
            self.at += 1;
        }
        (self.at - from >= min).then_some(value)
    }

    /// Exactly `count` figures, whatever follows.
    fn exactly(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.peek().filter(u8::is_ascii_digit)?;
            value = value * 10 + u32::from(byte - b'0');
            self.at += 1;
        }
        Some(value)
    }

    /// A word of letters, lower-cased, its first three.
    fn word(&mut self) -> Option<[u8; 3]> {
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().take(12).take_while(|b| b.is_ascii_alphabetic()).count();
        let first: [u8; 3] = rest.get(..3).filter(|_| length >= 3)?.try_into().ok()?;
        self.at += length;
        Some(first.map(|byte| byte.to_ascii_lowercase()))
    }

    /// `HH:mm[:ss[.frac]]` into a civil time.
    fn time(&mut self, civil: &mut Civil, separator: u8) -> Option<()> {
        civil.hour = self.figures(1, 2)?;
        self.eat(separator)?;
        civil.minute = self.figures(1, 2)?;
        if self.eat(separator).is_none() {
            return Some(());
        }
        civil.second = self.figures(1, 2)?;
        self.fraction(civil);
        Some(())
    }

    fn fraction(&mut self, civil: &mut Civil) {
        let is_figure = self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit);
        if !is_figure || self.eat_one_of(b".,:").is_none() {
            return;
        }
        let mut unit = 100_000;
        while let Some(byte) = self.peek().filter(u8::is_ascii_digit) {
            civil.micros += unit * u32::from(byte - b'0');
            unit /= 10;
            self.at += 1;
        }
    }

    /// Seconds east of UTC, where a zone is named next.
    fn zone(&mut self) -> Option<i32> {
        let mut ahead = self.clone();
        let spaced = ahead.blanks() > 0;
        let seconds = match ahead.peek()? {
            sign @ (b'+' | b'-') => {
                ahead.at += 1;
                let hours = ahead.exactly(2)?;
                let colon = ahead.eat(b':').is_some();
                let minutes = ahead.exactly(2);
                // ` -05` may be the beginning of anything.
                if minutes.is_none() && (spaced || colon) || hours > 15 || minutes.is_some_and(|m| m > 59) {
                    return None;
                }
                let seconds = i32::try_from(hours * 3_600 + minutes.unwrap_or(0) * 60).ok()?;
                if sign == b'-' { -seconds } else { seconds }
            }
            b'Z' | b'z' => {
                ahead.at += 1;
                0
            }
            _ => {
                let rest = ahead.bytes.get(ahead.at..)?;
                let (name, seconds) = ZONES.iter().find(|(name, _)| rest.starts_with(name.as_bytes()))?;
                ahead.at += name.len();
                *seconds
            }
        };
        if ahead.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        // RFC 9557: the name of the zone in brackets behind its offset.
        if ahead.peek() == Some(b'[')
            && let Some(length) = ahead.bytes.get(ahead.at..).and_then(|rest| memchr::memchr(b']', rest))
        {
            ahead.at += length + 1;
        }
        self.at = ahead.at;
        Some(seconds)
    }

    fn found(mut self, civil: &Civil, style: Style, context: &Context<'_>) -> Option<Found> {
        let micros = civil.micros()?;
        let micros = match self.zone() {
            Some(seconds) => micros - i64::from(seconds) * 1_000_000,
            None => context.zone.to_utc(micros),
        };
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Found { at: Timestamp(micros), end: self.at, style })
    }
}

/// `2026-11-20T10:00:00.123Z`, `2026/11/20 10:00`, `2026-11-20-10.00.00.123456`, `2026-11-20`.
fn year_first(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut civil = Civil { year: i64::from(cursor.exactly(4)?), ..Civil::default() };
    let separator = cursor.eat_one_of(b"-/.")?;
    civil.month = cursor.figures(1, 2)?;
    cursor.eat(separator)?;
    civil.day = cursor.figures(1, 2)?;
    let date_only = cursor.clone();
    let timed = (|| {
        match cursor.eat_one_of(b"Tt _-:")? {
            b'-' if cursor.bytes.get(cursor.at + 2) == Some(&b'.') => cursor.time(&mut civil, b'.')?,
            _ => {
                cursor.blanks();
                cursor.time(&mut civil, b':')?;
            }
        }
        Some(cursor)
    })();
    match timed {
        Some(cursor) => cursor.found(&civil, Style::Full, context),
        None => {
            let civil = Civil { hour: 0, minute: 0, second: 0, micros: 0, ..civil };
            let at = Timestamp(context.zone.to_utc(civil.micros()?));
            Some(Found { at, end: date_only.at, style: Style::Weak })
        }
    }
}

/// `20261120T100000Z`, `20261120-10:00:00:123`, `20261120 10:00:00`.
fn compact(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut civil = Civil { year: i64::from(cursor.exactly(4)?), ..Civil::default() };
    civil.month = cursor.exactly(2)?;
    civil.day = cursor.exactly(2)?;
    cursor.eat_one_of(b"Tt -_")?;
    let mut colons = cursor.clone();
    if colons.time(&mut civil, b':').is_some() {
        return colons.found(&civil, Style::Full, context);
    }
    civil.hour = cursor.exactly(2)?;
    civil.minute = cursor.exactly(2)?;
    civil.second = cursor.exactly(2)?;
    cursor.fraction(&mut civil);
    cursor.found(&civil, Style::Full, context)
}

/// `20261120100000`.
fn digits_only(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut civil = Civil { year: i64::from(cursor.exactly(4)?), ..Civil::default() };
    civil.month = cursor.exactly(2)?;
    civil.day = cursor.exactly(2)?;
    if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        civil.hour = cursor.exactly(2)?;
        civil.minute = cursor.exactly(2)?;
        civil.second = cursor.exactly(2)?;
        cursor.fraction(&mut civil);
    }
    match cursor.clone().found(&civil, Style::Weak, context) {
        Some(found) => Some(found),
        None => epoch(bytes),
    }
}

/// `081109 203615`: the day and the time, six figures each.
fn six_and_six(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut civil = Civil { year: 2_000 + i64::from(cursor.exactly(2)?), ..Civil::default() };
    civil.month = cursor.exactly(2)?;
    civil.day = cursor.exactly(2)?;
    cursor.eat(b' ')?;
    civil.hour = cursor.exactly(2)?;
    civil.minute = cursor.exactly(2)?;
    civil.second = cursor.exactly(2)?;
    cursor.fraction(&mut civil);
    cursor.found(&civil, Style::Weak, context)
}

/// Two figures and a sign: `17/06/09 20:10:40`, `10/Oct/2026:13:55:36 -0700`, `10-Oct-2026 13:55:36`, `03-17 16:13:38.811`,
/// `10.30 16:49:06`, `30.10.2026 16:49:06`.
fn two_figures(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let separator = *bytes.get(2)?;
    if bytes.get(3).is_some_and(u8::is_ascii_alphabetic) {
        return day_first(bytes, 0, separator, context);
    }
    let mut cursor = Cursor::new(bytes, 0);
    let first = cursor.exactly(2)?;
    cursor.eat(separator)?;
    let second = cursor.figures(2, 2)?;
    let mut civil = Civil::default();
    let style = match (separator, cursor.peek()?) {
        (b'/', b'/') => {
            cursor.eat(b'/')?;
            let day = cursor.figures(2, 2)?;
            civil = Civil { year: 2_000 + i64::from(first), month: second, day, ..civil };
            Style::Weak
        }
        (b'.', b'.') => {
            cursor.eat(b'.')?;
            civil = Civil { year: i64::from(cursor.figures(4, 4)?), month: second, day: first, ..civil };
            Style::Full
        }
        (b'-' | b'.', b' ') => {
            civil = Civil { month: first, day: second, ..civil };
            Style::Weak
        }
        _ => return None,
    };
    cursor.eat_one_of(b" T")?;
    cursor.time(&mut civil, b':')?;
    let civil = if civil.year == 0 { civil.latest_year(context.received_at.0)? } else { civil };
    cursor.found(&civil, style, context)
}

/// `10/Oct/2026:13:55:36 -0700`, `06 Nov 2026 08:49:37 GMT`.
fn day_first(bytes: &[u8], at: usize, separator: u8, context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, at);
    let mut civil = Civil { day: cursor.figures(1, 2)?, ..Civil::default() };
    cursor.eat(separator)?;
    civil.month = month(cursor.word()?)?;
    cursor.eat(separator)?;
    civil.year = i64::from(cursor.figures(4, 4)?);
    cursor.eat_one_of(b": ,T")?;
    cursor.blanks();
    cursor.time(&mut civil, b':')?;
    cursor.found(&civil, Style::Full, context)
}

/// `Dec 10 06:55:46`, `Sun Dec 04 04:47:44 2005`, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn with_names(bytes: &[u8], context: &Context<'_>) -> Option<Found> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut name = cursor.word()?;
    if DAYS.contains(&name) {
        let comma = cursor.eat(b',').is_some();
        (cursor.blanks() > 0).then_some(())?;
        if cursor.peek()?.is_ascii_digit() {
            return day_first(bytes, cursor.at, if comma { b' ' } else { *bytes.get(cursor.at + 2)? }, context);
        }
        name = cursor.word()?;
    }
    let mut civil = Civil { month: month(name)?, ..Civil::default() };
    (cursor.blanks() > 0).then_some(())?;
    civil.day = cursor.figures(1, 2)?;
    cursor.eat(b',');
    (cursor.blanks() > 0).then_some(())?;
    let mut before = cursor.clone();
    if let Some(year) = before.figures(4, 4)
        && before.blanks() > 0
    {
        civil.year = i64::from(year);
        before.time(&mut civil, b':')?;
        return before.found(&civil, Style::Full, context);
    }
    cursor.time(&mut civil, b':')?;
    let mut after = cursor.clone();
    let zone = after.zone();
    if after.blanks() > 0
        && let Some(year) = after.figures(4, 4)
        && YEARS.contains(&i64::from(year))
        && !after.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b':')
    {
        civil.year = i64::from(year);
        let micros = civil.micros()?;
        let at = zone.map_or_else(|| context.zone.to_utc(micros), |zone| micros - i64::from(zone) * 1_000_000);
        return Some(Found { at: Timestamp(at), end: after.at, style: Style::Full });
    }
    let civil = civil.latest_year(context.received_at.0)?;
    cursor.found(&civil, Style::Syslog, context)
}

/// `1763632800`, `1763632800.123`, `1763632800123` and longer.
fn epoch(bytes: &[u8]) -> Option<Found> {
    let length = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    let mut at = from_epoch(text.parse().ok()?)?;
    let mut cursor = Cursor::new(bytes, length);
    if length <= 11 {
        let mut fraction = Civil::default();
        cursor.fraction(&mut fraction);
        at = Timestamp(at.0 + i64::from(fraction.micros));
    }
    let ended = !cursor.peek().is_some_and(|byte| byte.is_ascii_alphanumeric());
    ended.then_some(Found { at, end: cursor.at, style: Style::Epoch })
}

fn month(word: [u8; 3]) -> Option<u32> {
    MONTHS.iter().position(|month| **month == word).and_then(|place| u32::try_from(place + 1).ok())
}

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [[u8; 3]; 7] = [*b"mon", *b"tue", *b"wed", *b"thu", *b"fri", *b"sat", *b"sun"];
/// Names of zones that mean one distance everywhere, in seconds east of UTC.
const ZONES: [(&str, i32); 8] = [
    ("UTC", 0),
    ("GMT", 0),
    ("JST", 32_400),
    ("KST", 32_400),
    ("SGT", 28_800),
    ("HKT", 28_800),
    ("CEST", 7_200),
    ("CET", 3_600),
];

#[cfg(test)]
#[path = "timestamp_test.rs"]
mod tests;
