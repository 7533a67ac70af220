//! Dates as people and tools write them in searches: ISO 8601 in all its lengths, with a blank for the `T` and with or
//! without a zone, milliseconds since 1970, and date math (`now-1h/d`, `2026-01-01||+1M`).
//!
//! Every date is a stretch of time: `2026-01-01` is a day. A lower bound begins where it begins, an upper one ends where
//! it ends.

use domicile_proto::ids::{TimeRange, Timestamp};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, ToSpan, Zoned};

/// What a date is read against.
#[derive(Clone)]
pub(crate) struct DateContext {
    /// Now.
    pub(crate) now: Timestamp,
    /// Zone of dates that name none.
    pub(crate) zone: TimeZone,
}

impl DateContext {
    /// Now, in UTC.
    pub(crate) const fn utc(now: Timestamp) -> Self {
        Self { now, zone: TimeZone::UTC }
    }

    /// The stretch of time that a text means.
    pub(crate) fn stretch(&self, text: &str) -> Option<TimeRange> {
        let text = text.trim();
        if let Some(math) = text.strip_prefix("now") {
            return self.reckon(Timestamp(self.now.0), one(self.now, 1), math);
        }
        if let Some((date, math)) = text.split_once("||") {
            let stretch = self.stretch(date)?;
            return self.reckon(stretch.from, stretch, math);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.len() > 4 && digits.len() < 17 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::of_millis);
        }
        self.date(text)
    }

    /// A millisecond since 1970.
    pub(crate) fn of_millis(millis: i64) -> TimeRange {
        one(Timestamp::from_millis(millis), 1_000)
    }

    /// Applies `+1d`, `-2h`, `/M` one after another.
    fn reckon(&self, mut at: Timestamp, mut stretch: TimeRange, math: &str) -> Option<TimeRange> {
        let mut rest = math;
        while let Some(sign) = rest.chars().next() {
            rest = rest.get(1..)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: i64 = if digits == 0 { 1 } else { rest.get(..digits)?.parse().ok()? };
            rest = rest.get(digits..)?;
            let unit = Unit::of_letter(rest.chars().next()?)?;
            rest = rest.get(1..)?;
            match sign {
                '+' => at = unit.later(at, count, &self.zone)?,
                '-' => at = unit.later(at, count.checked_neg()?, &self.zone)?,
                '/' if digits == 0 => {
                    stretch = unit.around(at, &self.zone)?;
                    at = stretch.from;
                    continue;
                }
                _ => return None,
            }
            stretch = one(at, 1);
        }
        Some(stretch)
    }

    /// `2026`, `2026-01`, `2026-01-02`, `2026-01-02T03`, … down to `2026-01-02T03:04:05.678901+09:00`.
    fn date(&self, text: &str) -> Option<TimeRange> {
        let (day, time) = match text.find(['T', 't', ' ']) {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?),
            None => (text, ""),
        };
        let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
            Some(at) => (time.get(..at)?.trim_end(), zone_of(time.get(at..)?)?),
            None => (time, self.zone.clone()),
        };
        let mut day = day.splitn(3, ['-', '/']);
        let year = number(day.next()?, 4)?;
        let month = day.next().map(|part| number(part, 2));
        let dom = day.next().map(|part| number(part, 2));
        let (clock, fraction) = match time.split_once(['.', ',']) {
            Some((clock, fraction)) => (clock, Some(fraction)),
            None => (time, None),
        };
        let mut clock = clock.splitn(3, ':').filter(|part| !part.is_empty());
        let hour = clock.next().map(|part| number(part, 2));
        let minute = clock.next().map(|part| number(part, 2));
        let second = clock.next().map(|part| number(part, 2));
        let part = |part: Option<Option<i64>>, least: i64| part.map_or(Some(least), |part| part);
        let civil = jiff::civil::DateTime::new(
            i16::try_from(year).ok()?,
            i8::try_from(part(month, 1)?).ok()?,
            i8::try_from(part(dom, 1)?).ok()?,
            i8::try_from(part(hour, 0)?).ok()?,
            i8::try_from(part(minute, 0)?).ok()?,
            i8::try_from(part(second, 0)?).ok()?.min(59),
            0,
        )
        .ok()?;
        let start = micros(&civil.to_zoned(zone.clone()).ok()?)?;
        if let Some(fraction) = fraction {
            second?;
            let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
            let value = number(fraction, fraction.len())?;
            let nanos = value * 10_i64.pow(9 - digits);
            let width = (10_i64.pow(9 - digits) / 1_000).max(1);
            return Some(one(Timestamp(start.0 + nanos / 1_000), width));
        }
        let unit = match (month, dom, hour, minute, second) {
            (None, ..) => Unit::Year,
            (_, None, ..) => Unit::Month,
            (_, _, None, ..) => Unit::Day,
            (_, _, _, None, _) => Unit::Hour,
            (.., None) => Unit::Minute,
            _ => Unit::Second,
        };
        let end = unit.later(start, 1, &zone)?;
        Some(TimeRange { from: start, to: end })
    }
}

/// A zone: `UTC`, `Z`, `+09:00`, `+0900`, `+09`, or a name such as `Asia/Tokyo`.
pub(crate) fn zone_of(text: &str) -> Option<TimeZone> {
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return Some(TimeZone::UTC);
    }
    let Some(sign) = text.chars().next().filter(|sign| matches!(sign, '+' | '-')) else {
        return TimeZone::get(text).ok();
    };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        1 | 2 => (number(&digits, digits.len())?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    let seconds = i32::try_from(hours * 3_600 + minutes * 60).ok()?;
    let seconds = if sign == '-' { -seconds } else { seconds };
    (minutes < 60).then_some(())?;
    Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))
}

fn number(text: &str, longest: usize) -> Option<i64> {
    let fits = !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

fn one(at: Timestamp, width: i64) -> TimeRange {
    TimeRange { from: at, to: Timestamp(at.0.saturating_add(width)) }
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    Some(jiff::Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone.clone()))
}

fn micros(at: &Zoned) -> Option<Timestamp> {
    let at = at.timestamp();
    Some(Timestamp(at.as_microsecond()))
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A month.
    Month,
    /// Three months.
    Quarter,
    /// A year.
    Year,
}

impl Unit {
    const fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            's' => Self::Second,
            'm' => Self::Minute,
            'h' | 'H' => Self::Hour,
            'd' => Self::Day,
            'w' => Self::Week,
            'M' => Self::Month,
            'y' => Self::Year,
            _ => return None,
        })
    }

    /// As Elasticsearch names calendar intervals.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "second" | "1s" => Self::Second,
            "minute" | "1m" => Self::Minute,
            "hour" | "1h" => Self::Hour,
            "day" | "1d" => Self::Day,
            "week" | "1w" => Self::Week,
            "month" | "1M" => Self::Month,
            "quarter" | "1q" => Self::Quarter,
            "year" | "1y" => Self::Year,
            _ => return None,
        })
    }

    fn span(self, count: i64) -> Option<Span> {
        // Beyond this no date is left.
        (count.abs() < 20_000_000_000).then_some(())?;
        let span = Span::new();
        match self {
            Self::Second => span.try_seconds(count),
            Self::Minute => span.try_minutes(count),
            Self::Hour => span.try_hours(count),
            Self::Day => span.try_days(count),
            Self::Week => span.try_weeks(count),
            Self::Month => span.try_months(count),
            Self::Quarter => span.try_months(count.checked_mul(3)?),
            Self::Year => span.try_years(count),
        }
        .ok()
    }

    fn later(self, at: Timestamp, count: i64, zone: &TimeZone) -> Option<Timestamp> {
        micros(&zoned(at, zone)?.checked_add(self.span(count)?).ok()?)
    }

    /// The unit around an instant, by the clocks of the zone.
    pub(crate) fn around(self, at: Timestamp, zone: &TimeZone) -> Option<TimeRange> {
        let now = zoned(at, zone)?;
        let date = now.date();
        let midnight = |date: jiff::civil::Date| date.at(0, 0, 0, 0).to_zoned(zone.clone()).ok();
        // Below a day units are counted from the instant itself, so that an hour that clocks repeat is two hours.
        let (hour, minute) = (i64::from(now.minute()), i64::from(now.second()));
        let below = i64::from(now.subsec_nanosecond());
        let start = match self {
            Self::Second => now.checked_sub(below.nanoseconds()).ok()?,
            Self::Minute => now.checked_sub(minute.seconds().nanoseconds(below)).ok()?,
            Self::Hour => now.checked_sub(hour.minutes().seconds(minute).nanoseconds(below)).ok()?,
            Self::Day => midnight(date)?,
            Self::Week => {
                let days = i64::from(date.weekday().to_monday_zero_offset());
                midnight(date.checked_sub(days.days()).ok()?)?
            }
            Self::Month => midnight(date.first_of_month())?,
            Self::Quarter => {
                let month = (date.month() - 1) / 3 * 3 + 1;
                midnight(jiff::civil::Date::new(date.year(), month, 1).ok()?)?
            }
            Self::Year => midnight(date.first_of_year())?,
        };
        let from = micros(&start)?;
        Some(TimeRange { from, to: self.later(from, 1, zone)? })
    }
}

/// A duration such as `90s`, `30m`, `1.5h` or `1d`, in microseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (if text.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, text),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: i64 = text.get(..digits)?.parse().ok()?;
    let unit = match text.get(digits..)? {
        "micros" => 1,
        "ms" => 1_000,
        "s" => Timestamp::MICROS,
        "m" => 60 * Timestamp::MICROS,
        "h" => 3_600 * Timestamp::MICROS,
        "d" => 86_400 * Timestamp::MICROS,
        "w" => 7 * 86_400 * Timestamp::MICROS,
        _ => return None,
    };
    count.checked_mul(unit)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("a time").as_microsecond()
    }

    fn check(text: &str, from: &str, to: &str) {
        let context = DateContext::utc(Timestamp(at("2026-03-04T05:06:07.500Z")));
        let stretch = context.stretch(text).unwrap_or_else(|| panic!("{text} is a date"));
        assert_eq!((stretch.from.0, stretch.to.0), (at(from), at(to)), "{text}");
    }

    #[test]
    fn a_date_is_a_stretch_of_time() {
        check("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        check("2026-02-28", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z");
        check("2026/02/28", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z");
        check("2026-02-28T10", "2026-02-28T10:00:00Z", "2026-02-28T11:00:00Z");
        check("2026-02-28 10:20", "2026-02-28T10:20:00Z", "2026-02-28T10:21:00Z");
        check("2026-02-28 10:20:30", "2026-02-28T10:20:30Z", "2026-02-28T10:20:31Z");
        check("2026-02-28T10:20:30.5Z", "2026-02-28T10:20:30.5Z", "2026-02-28T10:20:30.6Z");
        check("2026-02-28T10:20:30.123+09:00", "2026-02-28T01:20:30.123Z", "2026-02-28T01:20:30.124Z");
        check("2026-02-28T10:20:30.123456-0030", "2026-02-28T10:50:30.123456Z", "2026-02-28T10:50:30.123457Z");
        check("1772600767500", "2026-03-04T05:06:07.5Z", "2026-03-04T05:06:07.501Z");
    }

    #[test]
    fn date_math_is_reckoned() {
        check("now", "2026-03-04T05:06:07.5Z", "2026-03-04T05:06:07.500001Z");
        check("now-1h", "2026-03-04T04:06:07.5Z", "2026-03-04T04:06:07.500001Z");
        check("now-1d/d", "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z");
        check("now/w", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z");
        check("now/M", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
        check("2026-01-31||+1M", "2026-02-28T00:00:00Z", "2026-02-28T00:00:00.000001Z");
        check("now/d+8h", "2026-03-04T08:00:00Z", "2026-03-04T08:00:00.000001Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let context = DateContext::utc(Timestamp(0));
        for text in
            ["", "yesterday", "2026-13-01", "2026-02-30", "now-", "now-1x", "now*2d", "2026-01-01T1.5", "1é34", "now+é"]
        {
            assert!(context.stretch(text).is_none(), "{text}");
        }
        let _ = context.stretch("now+99999999999999999999d");
        assert!(context.stretch("now+9999999999999d").is_none());
    }

    #[test]
    fn zones_move_dates_and_units() {
        let context = DateContext { now: Timestamp(0), zone: zone_of("+09:00").expect("a zone") };
        let stretch = context.stretch("2026-03-04").expect("a date");
        assert_eq!(stretch.from.0, at("2026-03-03T15:00:00Z"));
        for (text, ok) in
            [("UTC", true), ("+9", true), ("-0330", true), ("+99:00", false), ("+09:99", false), ("", false)]
        {
            assert_eq!(zone_of(text).is_some(), ok, "{text}");
        }
        let quarter = Unit::Quarter.around(Timestamp(at("2026-05-20T00:00:00Z")), &TimeZone::UTC).expect("in range");
        assert_eq!((quarter.from.0, quarter.to.0), (at("2026-04-01T00:00:00Z"), at("2026-07-01T00:00:00Z")));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Some(90_000_000));
        assert_eq!(duration("-1h"), Some(-3_600_000_000));
        assert_eq!(duration("10"), None);
        assert_eq!(duration("1y"), None);
    }
}
