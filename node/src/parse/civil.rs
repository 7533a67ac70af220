//! Civil time to microseconds, without a zone: the arithmetic under [`super::timestamp`].
//!
//! Days from civil after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// A civil time, fields as they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) micros: u32,
}

impl Civil {
    /// Microseconds since 1970 as if it were UTC; `None` where there is no such time, or in a year that no log line has.
    pub(super) fn micros(&self) -> Option<i64> {
        let fits = YEARS.contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60;
        // A leap second is the last microsecond it can be told apart from.
        let seconds = i64::from(self.second.min(59));
        let time = i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + seconds;
        fits.then(|| (days(self.year, self.month, self.day) * 86_400 + time) * 1_000_000 + i64::from(self.micros))
    }

    /// The same time in the latest year that does not put it more than [`AHEAD_MICROS`] after `now`: a line tells of what
    /// has been, so a December that is read in November is last year's.
    pub(super) fn latest_year(self, now_micros: i64) -> Option<Self> {
        let year = year_of(now_micros);
        let candidates = [year + 1, year, year - 1].into_iter().map(|year| Self { year, ..self });
        let limit = now_micros.saturating_add(AHEAD_MICROS);
        candidates.into_iter().find(|civil| civil.micros().is_some_and(|micros| micros <= limit))
    }
}

/// How far a time without a year may be ahead: one day for a clock that is fast, and one for a zone that is not known yet.
const AHEAD_MICROS: i64 = 2 * 86_400_000_000;

/// Years that are believed; anything else is a broken clock or no date at all.
pub(super) const YEARS: std::ops::Range<i64> = 1970..2200;

fn year_of(micros: i64) -> i64 {
    let days = micros.div_euclid(86_400_000_000);
    let mut year = 1970 + days.div_euclid(366);
    while self::days(year + 1, 1, 1) <= days {
        year += 1;
    }
    year
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days(year: i64, month: u32, day: u32) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
