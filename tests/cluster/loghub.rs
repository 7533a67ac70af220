//! Real log lines, if somebody has them: the Loghub collection (logpai/loghub) holds 2,000 lines each of sixteen systems as
//! they were written, and beside them the same lines taken apart by its authors. What a line says of its time and level is
//! counted here from that second form, so that the product's reading of the first is not checked against itself.
//!
//! Found under `DOMICILE_LOGHUB`, else under `shared/data/loghub` beside the workspace. Never required.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fixture::{days_of, utc};
use super::region::Counts;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Where a row of a system says its time, and how it is spelt there.
#[derive(Clone, Copy)]
enum Stamp {
    /// Columns that are joined by a blank: year, month, day, hour, minute and second in this order, as figures.
    Figures(&'static [&'static str]),
    /// The same without a year, which is the latest that is not ahead.
    FiguresNoYear(&'static [&'static str]),
    /// Six figures each: `081109` and `203615`.
    SixAndSix(&'static str, &'static str),
    /// Month by name, day, time; the latest year that is not ahead.
    Names(&'static [&'static str]),
    /// `Sun Dec 04 04:47:44 2005`.
    Long(&'static str),
    /// Seconds since 1970.
    Epoch(&'static str),
}

/// Where a line says its level.
#[derive(Clone, Copy)]
enum Said {
    /// In a column of its own, in the words of its system.
    Column,
    /// Nowhere by itself: one may stand in the prose of a line, and what is one there is a matter of opinion.
    Nowhere,
}

/// A system of the collection.
#[derive(Clone, Copy)]
pub struct System {
    /// The name of its directory.
    pub name: &'static str,
    stamp: Stamp,
    said: Said,
}

const DATE_TIME: Stamp = Stamp::Figures(&["Date", "Time"]);

/// All sixteen.
pub const SYSTEMS: [System; 16] = [
    System { name: "Android", stamp: Stamp::FiguresNoYear(&["Date", "Time"]), said: Said::Column },
    System { name: "Apache", stamp: Stamp::Long("Time"), said: Said::Column },
    System { name: "BGL", stamp: Stamp::Epoch("Timestamp"), said: Said::Column },
    System { name: "HDFS", stamp: Stamp::SixAndSix("Date", "Time"), said: Said::Column },
    System { name: "HPC", stamp: Stamp::Epoch("Time"), said: Said::Nowhere },
    System { name: "Hadoop", stamp: DATE_TIME, said: Said::Column },
    System { name: "HealthApp", stamp: Stamp::Figures(&["Time"]), said: Said::Nowhere },
    System { name: "Linux", stamp: Stamp::Names(&["Month", "Date", "Time"]), said: Said::Nowhere },
    System { name: "Mac", stamp: Stamp::Names(&["Month", "Date", "Time"]), said: Said::Nowhere },
    System { name: "OpenSSH", stamp: Stamp::Names(&["Date", "Day", "Time"]), said: Said::Nowhere },
    System { name: "OpenStack", stamp: DATE_TIME, said: Said::Column },
    System { name: "Proxifier", stamp: Stamp::FiguresNoYear(&["Time"]), said: Said::Nowhere },
    System { name: "Spark", stamp: DATE_TIME, said: Said::Column },
    System { name: "Thunderbird", stamp: Stamp::Epoch("Timestamp"), said: Said::Nowhere },
    System { name: "Windows", stamp: DATE_TIME, said: Said::Column },
    System { name: "Zookeeper", stamp: DATE_TIME, said: Said::Column },
];

/// The collection, where it is; else the test says that it skips itself and why.
pub fn find() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/loghub");
    let place = std::env::var_os("DOMICILE_LOGHUB").map_or(beside, PathBuf::from);
    let is_there = SYSTEMS.iter().all(|system| system.lines(&place).is_file() && system.table(&place).is_file());
    if !is_there {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("SKIPPED: {test}: no Loghub collection at `{}` (DOMICILE_LOGHUB)", place.display());
    }
    is_there.then_some(place)
}

/// One event as the authors of the collection understand it.
pub struct Event {
    /// Milliseconds since 1970 if its clock ran in UTC.
    pub at: i64,
    /// Whether its stamp names no zone, so that it depends on who receives it.
    pub is_civil: bool,
    /// The level it says; as the product names levels.
    pub level: &'static str,
    /// Its text.
    pub content: String,
}

impl Event {
    /// When it happened for a receiver whose clocks are ahead of UTC.
    pub const fn at(&self, minutes_ahead: i64) -> i64 {
        if self.is_civil { self.at - minutes_ahead * 60_000 } else { self.at }
    }

    /// The minute it happened in, in milliseconds since 1970.
    pub const fn minute(&self, minutes_ahead: i64) -> i64 {
        self.at(minutes_ahead).div_euclid(60_000) * 60_000
    }

    /// As a document with its time in UTC.
    pub fn document(&self, service: &str) -> Value {
        let mut document = json!({"@timestamp": utc(self.at), "service": service, "message": self.content});
        if self.level != "UNKNOWN" {
            document["level"] = self.level.into();
        }
        document
    }
}

impl System {
    /// The lines as they were written.
    pub fn lines(&self, place: &Path) -> PathBuf {
        place.join(self.name).join(format!("{}_2k.log", self.name))
    }

    fn table(&self, place: &Path) -> PathBuf {
        place.join(self.name).join(format!("{}_2k.log_structured.csv", self.name))
    }

    /// Whether its lines say their level.
    pub const fn says_levels(&self) -> bool {
        matches!(self.said, Said::Column)
    }

    /// The stream these tests send it to.
    pub fn stream(&self) -> String {
        self.name.to_lowercase()
    }

    /// The events of the second form. `now` decides the year of a stamp that has none.
    ///
    /// # Panics
    /// When the file is not what it was when this was written.
    pub fn events(&self, place: &Path, now: i64) -> Vec<Event> {
        let bytes = std::fs::read(self.table(place)).expect("the table");
        let rows = csv(&String::from_utf8_lossy(&bytes));
        let (head, rows) = rows.split_first().expect("a head");
        let column = |name: &str| head.iter().position(|found| found == name);
        let events = rows.iter().map(|row| {
            let get = |name: &str| row[column(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))].as_str();
            let (at, is_civil) = self.time(get, now);
            let content = get("Content").to_owned();
            let level = match self.said {
                Said::Column => level(get("Level")),
                Said::Nowhere => "UNKNOWN",
            };
            Event { at, is_civil, level, content }
        });
        events.collect()
    }

    fn time<'a>(&self, get: impl Fn(&str) -> &'a str, now: i64) -> (i64, bool) {
        let joined = |columns: &[&str]| columns.iter().map(|name| get(name)).collect::<Vec<_>>().join(" ");
        match self.stamp {
            Stamp::Figures(columns) => {
                let text = joined(columns);
                let compact = text.split('-').next().is_some_and(|first| first.len() == 8);
                let text = if compact { format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..]) } else { text };
                let f = figures(&text);
                let year = if f[0] < 100 { f[0] + 2_000 } else { f[0] };
                (moment(year, f[1], f[2], &f[3..]), true)
            }
            Stamp::FiguresNoYear(columns) => {
                let f = figures(&joined(columns));
                (latest(f[0], f[1], &f[2..], now), true)
            }
            Stamp::SixAndSix(date, time) => {
                let pairs = |text: &str| {
                    let text = format!("{text:0>6}");
                    [0, 2, 4].map(|at| text[at..at + 2].parse::<i64>().expect("figures"))
                };
                let ([year, month, day], time) = (pairs(get(date)), pairs(get(time)));
                (moment(2_000 + year, month, day, &time), true)
            }
            Stamp::Names(columns) => {
                let text = joined(columns);
                let f = figures(&text);
                (latest(month(&text), f[0], &f[1..], now), true)
            }
            Stamp::Long(name) => {
                let text = get(name);
                let f = figures(text);
                (moment(f[4], month(&text[4..]), f[0], &f[1..4]), true)
            }
            Stamp::Epoch(name) => (get(name).parse::<i64>().expect("seconds") * 1_000, false),
        }
    }
}

/// Counts of events as they are seen where clocks are ahead of UTC.
pub fn counts<'a>(events: impl IntoIterator<Item = &'a Event>, minutes_ahead: i64) -> Counts {
    let mut counts = Counts::default();
    for event in events {
        counts.total += 1;
        *counts.levels.entry(event.level.to_owned()).or_default() += 1;
        *counts.minutes.entry(event.minute(minutes_ahead)).or_default() += 1;
    }
    counts
}

fn figures(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap())
        .collect()
}

fn month(text: &str) -> i64 {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    MONTHS.find(&text[..3]).map(|at| at as i64 / 3 + 1).expect("a month")
}

/// Hour, minute, second; what is behind the second does not change the minute.
fn moment(year: i64, month: i64, day: i64, time: &[i64]) -> i64 {
    days_of(year, month, day) * DAY + (time[0] * 3_600 + time[1] * 60 + time[2]) * 1_000
}

/// A line tells of the past, give or take a fast clock and a zone: two days.
fn latest(month: i64, day: i64, time: &[i64], now: i64) -> i64 {
    let this = 1_970 + now.div_euclid(DAY) * 400 / 146_097;
    (this - 1..=this + 1).map(|year| moment(year, month, day, time)).filter(|at| *at <= now + 2 * DAY).max().unwrap()
}

/// The words of these systems in the product's words.
fn level(word: &str) -> &'static str {
    match word.to_ascii_uppercase().as_str() {
        "V" => "TRACE",
        "D" => "DEBUG",
        "I" | "INFO" => "INFO",
        "NOTICE" => "NOTICE",
        "W" | "WARN" | "WARNING" => "WARN",
        "E" | "ERROR" | "SEVERE" => "ERROR",
        "FATAL" => "FATAL",
        other => panic!("a level nobody has seen here before: `{other}`"),
    }
}

/// The rows of a table: fields by commas, in quotes where they hold one, quotes doubled.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_quotes() {
        let rows = csv("a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n2,\n");
        assert_eq!(rows, [vec!["a", "b"], vec!["1", "x, \"y\"\nz"], vec!["2", ""]]);
    }

    #[test]
    fn times_are_put_together_from_every_spelling() {
        let at = |system: &str, columns: &[(&str, &'static str)]| {
            let system = SYSTEMS.iter().find(|known| known.name == system).unwrap();
            let get = |name: &str| columns.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
            utc(system.time(get, days_of(2026, 11, 21) * DAY).0)
        };
        assert_eq!(at("HDFS", &[("Date", "81109"), ("Time", "35")]), "2008-11-09T00:00:35.000Z");
        assert_eq!(at("Spark", &[("Date", "17/06/09"), ("Time", "20:10:40")]), "2017-06-09T20:10:40.000Z");
        assert_eq!(at("HealthApp", &[("Time", "20171223-22:15:29:606")]), "2017-12-23T22:15:29.000Z");
        assert_eq!(at("Apache", &[("Time", "Sun Dec 04 04:47:44 2005")]), "2005-12-04T04:47:44.000Z");
        assert_eq!(at("OpenSSH", &[("Date", "Jan"), ("Day", "3"), ("Time", "06:55:46")]), "2026-01-03T06:55:46.000Z");
        assert_eq!(at("Proxifier", &[("Time", "10.30 16:49:06")]), "2026-10-30T16:49:06.000Z");
        assert_eq!(at("BGL", &[("Timestamp", "1117838570")]), "2005-06-03T22:42:50.000Z");
    }
}
