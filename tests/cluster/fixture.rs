//! Inputs with an independent count: events drawn from a seed, and text lines of several formats with what each of them says.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::region::Counts;

/// Levels with their share of a hundred.
const LEVELS: [(&str, u64); 5] = [("INFO", 60), ("DEBUG", 20), ("WARN", 12), ("ERROR", 7), ("FATAL", 1)];
/// Services that write.
const SERVICES: [&str; 4] = ["checkout", "payments", "search", "shipping"];
/// 2026-11-20T00:00:00Z in milliseconds.
pub const DAY_MS: i64 = 1_795_132_800_000;

/// A small generator whose whole state is its seed. The product's own would do, but whoever names one thing of the product links all of
/// it, a dozen times.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `bound`: `SplitMix64`, <https://doi.org/10.1145/2714064.2660195>.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Events drawn from a seed over some minutes, with their counts.
pub fn events(seed: u64, number: u64, minutes: u64) -> (Vec<Value>, Counts) {
    let mut dice = Dice::new(seed);
    let mut counts = Counts::default();
    let mut events = Vec::new();
    for index in 0..number {
        let level = level(dice.below(100));
        let minute = DAY_MS + i64::try_from(dice.below(minutes)).unwrap() * 60_000;
        let at = minute + i64::try_from(dice.below(60_000)).unwrap();
        counts.total += 1;
        *counts.levels.entry(level.to_owned()).or_default() += 1;
        *counts.minutes.entry(minute).or_default() += 1;
        events.push(json!({
            "timestamp": utc(at),
            "level": level,
            "service": SERVICES[usize::try_from(dice.below(4)).unwrap()],
            "host": format!("host-{}", dice.below(20)),
            "message": format!("order {index} took {} ms", dice.below(900)),
            "attributes": {"attempt": dice.below(3), "route": "/cart"},
        }));
    }
    (events, counts)
}

fn level(percent: u64) -> &'static str {
    let mut below = 0;
    for (level, share) in LEVELS {
        below += share;
        if percent < below {
            return level;
        }
    }
    "INFO"
}

/// A `_bulk` body that creates these events; `id` names each when given.
pub fn bulk(events: &[Value], id: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let action = id.map_or_else(|| json!({"create": {}}), |id| json!({"create": {"_id": format!("{id}-{index}")}}));
        body.extend_from_slice(action.to_string().as_bytes());
        body.push(b'\n');
        body.extend_from_slice(event.to_string().as_bytes());
        body.push(b'\n');
    }
    body
}

/// `YYYY-MM-DDThh:mm:ss.mmmZ` of milliseconds since 1970. Written here anew, so that the product's own arithmetic is not
/// checked against itself.
pub fn utc(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", rest / 1_000 % 60, rest % 1_000)
}

/// Year, month, day of a number of days since 1970, by counting.
fn civil(days: i64) -> (i64, i64, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut rest) = (1970, days);
    while rest >= if is_leap(year) { 366 } else { 365 } {
        rest -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

/// Days from 1970 to a date, by counting.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = (1..).zip(lengths).filter(|(number, _)| *number < month).map(|(_, length)| length).sum();
    years + months + day - 1
}

/// Text lines of several formats with their counts. Lines without a zone are in one that is `ahead` minutes of UTC.
pub fn text(number: u64, ahead: i64) -> (String, Counts) {
    let mut dice = Dice::new(7);
    let mut counts = Counts::default();
    let mut lines = String::new();
    for index in 0..number {
        let level = ["INFO", "WARN", "ERROR"][usize::try_from(dice.below(3)).unwrap()];
        let minute = DAY_MS + i64::try_from(dice.below(10)).unwrap() * 60_000;
        let at = minute + i64::try_from(dice.below(60_000)).unwrap();
        let (iso, local) = (utc(at), utc(at + ahead * 60_000));
        let (date, time) = (&local[..10], &local[11..19]);
        let line = match index % 4 {
            0 => format!("{date} {time},{} - {level} [worker-{index}] - connection {index} closed", &iso[20..23]),
            1 => format!("{iso} {level} shop.cart: item {index} added"),
            2 => format!("{date} {time} {level} nova.compute [req-{index}] instance {index} spawned"),
            _ => format!("[{date} {time}] [{level}] mod_jk child {index} in scoreboard slot 6"),
        };
        lines.push_str(&line);
        lines.push('\n');
        counts.total += 1;
        *counts.levels.entry(level.to_owned()).or_default() += 1;
        *counts.minutes.entry(minute).or_default() += 1;
    }
    (lines, counts)
}

/// Adds counts up.
pub fn merge(all: &[Counts]) -> Counts {
    let mut merged = Counts::default();
    for counts in all {
        merged.total += counts.total;
        counts.levels.iter().for_each(|(level, count)| *merged.levels.entry(level.clone()).or_default() += count);
        counts.minutes.iter().for_each(|(minute, count)| *merged.minutes.entry(*minute).or_default() += count);
    }
    merged
}

/// What a region lets out of events by minute and level, reckoned anew: minutes of at least `k` records, and the sums over
/// them of the levels with at least `k`; where the other levels of a minute are fewer than `k` together, the smallest ones go
/// with them.
pub fn released(events: impl Iterator<Item = (i64, String)>, k: u64) -> Counts {
    let mut cells: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
    for (minute, level) in events {
        *cells.entry(minute).or_default().entry(level).or_default() += 1;
    }
    let mut told = Counts::default();
    for (minute, levels) in cells {
        let total: u64 = levels.values().sum();
        if total < k {
            continue;
        }
        told.total += total;
        *told.minutes.entry(minute).or_default() += total;
        let mut rising: Vec<_> = levels.into_iter().map(|(level, count)| (count, severity(&level), level)).collect();
        rising.sort();
        let mut withheld = 0;
        for (count, _, level) in rising {
            if count < k || (1..k).contains(&withheld) {
                withheld += count;
            } else {
                *told.levels.entry(level).or_default() += count;
            }
        }
    }
    told
}

/// Of two equal cells the one of the lesser level is withheld first.
fn severity(level: &str) -> usize {
    ["UNKNOWN", "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "ERROR", "FATAL"]
        .iter()
        .position(|it| *it == level)
        .unwrap()
}

/// Everybody of so many once in every hour, of some that are counted from the beginning of the day.
pub fn visits(hours: std::ops::Range<i64>, persons: i64) -> Vec<Value> {
    let event = |hour: i64, person: i64| {
        let at = DAY_MS + hour * 3_600_000 + person * 1_000;
        let level = ["INFO", "WARN"][usize::try_from(person % 2).unwrap()];
        json!({"timestamp": utc(at), "level": level, "user": format!("u{person}"), "message": "seen",
            "service": "shop", "zone": "z", "rack": "r"})
    };
    hours.flat_map(|hour| (0..persons).map(move |person| event(hour, person))).collect()
}

/// The tables that a day of [`visits`] pays for: the total and three sets of fields; and one more.
pub fn tables() -> (Vec<Value>, Value) {
    let by = |field: &str| json!({"terms": field, "histogram": 3_600});
    (vec![json!({"histogram": 3_600}), by("service"), by("zone"), by("rack")], by("level"))
}

/// Numbers of the cells of an answer.
pub fn cell_counts(said: &Value) -> Vec<u64> {
    match said {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match value.as_u64().filter(|_| key == "count") {
                Some(count) => vec![count],
                None => cell_counts(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(cell_counts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_know_them() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(DAY_MS + 61_002), "2026-11-20T00:01:01.002Z");
        assert_eq!(days_of(2026, 11, 20) * 86_400_000, DAY_MS);
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_every_count_adds_up() {
        let (events, counts) = events(3, 500, 5);
        assert_eq!((events.len() as u64, counts.total), (500, 500));
        assert_eq!(counts.levels.values().sum::<u64>(), 500);
        assert_eq!(counts.minutes.values().sum::<u64>(), 500);
        assert_eq!(super::events(3, 500, 5).0, events);
        assert_ne!(super::events(4, 500, 5).0, events);
    }
}
