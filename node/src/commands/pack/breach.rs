//! The first facts of a breach, out of a pack that was checked: which regions, streams, fields and times, how many records and at
//! most how many persons, what had left by then, and until when whom must be told.
//!
//! Numbers are upper bounds, and say so: what was really seen by whom is for people to find out.

use std::fmt::Write;

use domicile_proto::ids::Timestamp;

use super::compose::Home;
use super::tally::{Period, Way, instant};

const HOUR: i64 = 3_600_000_000;

/// What the law of a jurisdiction asks for, from the moment somebody learnt of it: hours, and what is due then.
const CLOCKS: [(&[&str], &str, i64, &str); 6] = [
    (&["GDPR"], "GDPR Art. 33", 72, "tell the supervisory authority; a processor tells the controller at once"),
    (&["APPI"], "APPI Art. 26, guideline", 3 * 24, "tell the PPC in a first report, at the latest 5 days after"),
    (&["APPI"], "APPI Art. 26, guideline", 30 * 24, "tell the PPC in a final report; 60 days where malice is likely"),
    (&["PDPA"], "PDPA s. 26C", 30 * 24, "have assessed whether it must be notified"),
    (
        &["PDPA"],
        "PDPA s. 26D",
        3 * 24,
        "tell the PDPC: 3 calendar days after it was assessed as notifiable, counted here from now",
    ),
    (
        &["GDPR", "APPI", "PDPA"],
        "GDPR Art. 34, APPI Art. 26(2), PDPA s. 26D(2)",
        0,
        "tell the persons without undue delay where the risk to them is high",
    ),
];

/// The facts in words, for the regions that are concerned.
pub(super) fn facts(homes: &[Home], concerned: &[String], window: Period, learned: Timestamp) -> String {
    let mut text = String::new();
    let homes: Vec<&Home> = homes
        .iter()
        .filter(|home| concerned.is_empty() || concerned.iter().any(|region| region == home.name()))
        .collect();
    // Writing into a text cannot fail.
    let _ = writeln!(
        text,
        "Records with times from {} up to {}, in {} region(s). Learnt on {}.\n",
        instant(window.from),
        instant(window.to),
        homes.len(),
        instant(learned)
    );
    for home in &homes {
        let _ = region(&mut text, home, window);
    }
    text.push_str("Who must be told, and until when:\n");
    let mut due: Vec<(i64, String)> = Vec::new();
    for (laws, source, hours, what) in CLOCKS {
        let hit = homes.iter().filter(|home| laws.iter().any(|law| home.statement.laws.iter().any(|own| own == law)));
        let names: Vec<&str> = hit.map(|home| home.name()).collect();
        if !names.is_empty() {
            let until = if hours == 0 {
                "at once".to_owned()
            } else {
                format!("by {}", instant(Timestamp(learned.0 + hours * HOUR)))
            };
            due.push((hours, format!("  {until}: {what} ({source}; {})\n", names.join(", "))));
        }
    }
    due.sort();
    for (_, line) in due {
        text.push_str(&line);
    }
    text.push_str("\nNumbers of records and persons are upper bounds. A lawyer decides what must be told.\n");
    text
}

fn region(text: &mut String, home: &Home, window: Period) -> std::fmt::Result {
    let statement = &home.statement;
    writeln!(text, "{} ({}, {})", home.label(), statement.jurisdiction, statement.laws.join(", "))?;
    let mut total = 0;
    for stream in &statement.streams {
        let own = statement.segments.iter().filter(|segment| segment.stream == stream.name);
        let inside = own.filter(|segment| segment.oldest < window.to && window.from <= segment.newest);
        let records: u64 = inside.map(|segment| segment.records).sum();
        if records == 0 {
            continue;
        }
        total += records;
        let subject = stream.personal.strip_prefix("subject ").unwrap_or("no field of a subject declared");
        let kept: Vec<&str> = stream
            .detectors
            .iter()
            .filter(|(_, action)| action.starts_with("keep"))
            .map(|(class, _)| class.as_str())
            .collect();
        let clear = if kept.is_empty() {
            "no class of personal data that detectors know is kept in the clear".to_owned()
        } else {
            format!("kept in the clear: {}", kept.join(", "))
        };
        writeln!(text, "  stream `{}`: at most {records} records; persons by: {subject}; {clear}", stream.name)?;
    }
    let persons = statement.keys.subjects.min(total);
    writeln!(text, "  at most {total} records, of which at most {persons} persons have sealed originals here")?;
    let (messages, bytes) = home.crossed(Way::Left, None);
    writeln!(
        text,
        "  in the time of the pack {messages} messages ({bytes} bytes) about the tenant left the region, released numbers and questions alone"
    )?;
    writeln!(text, "  originals asked for: {}; handed over: {}\n", home.tally.reveals.len(), home.tally.exports.len())
}

#[cfg(test)]
mod tests {
    use super::super::specimen::home;
    use super::*;

    #[test]
    fn each_region_brings_the_clocks_of_its_own_law() {
        let homes = [home("frankfurt", "GDPR"), home("singapore", "PDPA"), home("tokyo", "APPI")];
        let window = Period { from: Timestamp(15 * HOUR), to: Timestamp(16 * HOUR) };
        let told = facts(&homes, &[], window, Timestamp(0));
        for wanted in [
            "by 1970-01-04T00:00:00Z: tell the supervisory",
            "by 1970-01-31T00:00:00Z: have assessed",
            "by 1970-01-04T00:00:00Z: tell the PPC",
            "at once: tell the persons",
            "at most 7 records",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        let told = facts(&homes, &["tokyo".to_owned()], window, Timestamp(0));
        assert!(told.contains("PPC") && !told.contains("GDPR Art. 33") && !told.contains("frankfurt"), "{told}");
    }

    #[test]
    fn segments_outside_the_window_do_not_count() {
        let homes = [home("tokyo", "APPI")];
        for (from, to, wanted) in [(0, 10, 0), (0, 11, 7), (20, 21, 7), (21, 30, 0)] {
            let window = Period { from: Timestamp(from * HOUR), to: Timestamp(to * HOUR) };
            let told = facts(&homes, &[], window, Timestamp(0));
            assert!(told.contains(&format!("at most {wanted} records, of which")), "{from} {to}: {told}");
        }
    }
}
