//! One question to several regions: rows from each region's own endpoint with its own key, merged here by time; beside them
//! the federated total, and what each region said about its part (HON-1).

use std::cmp::Reverse;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::Region;
use futures::future::join_all;
use serde_json::{Value, json};

use super::arguments::SearchArguments;
use super::profile::Profile;
use super::table;
use crate::clock::Clock;

/// A length of time as people write it: `90s`, `15m`, `1h`, `2d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time; write a number and s, m, h or d, as `15m`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    let whole = number.checked_mul(seconds).filter(|whole| (1..=36_500 * 86_400).contains(whole)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(whole))
}

/// A row with the region it came from.
struct Row {
    region: Region,
    at: i64,
    source: Value,
}

pub(super) async fn run(arguments: SearchArguments, profile: &Profile) -> anyhow::Result<()> {
    let regions = profile.select(&arguments.regions)?;
    let to = Clock::system().now();
    let back = i64::try_from(arguments.last.as_millis()).unwrap_or(i64::MAX);
    let range = json!({ "from": iso(to.as_millis().saturating_sub(back)), "to": iso(to.as_millis()) });
    let rows = join_all(regions.iter().map(|region| rows(profile, region, &arguments, &range)));
    let total = total(profile, &regions, &arguments, &range);
    let (rows, total) = tokio::join!(rows, total);
    let mut merged = Vec::new();
    for (region, outcome) in regions.iter().zip(rows) {
        match outcome {
            Ok(rows) => merged.extend(rows),
            Err(error) => eprintln!("{region}: no rows: {}", super::chain(&error)),
        }
    }
    merged.sort_by_key(|row| Reverse(row.at));
    merged.truncate(arguments.limit as usize);
    if arguments.json || !std::io::stdout().is_terminal() {
        for row in &merged {
            println!("{}", json!({ "region": row.region, "record": row.source }));
        }
    } else {
        print_table(&merged);
    }
    match total {
        Ok(answer) => {
            eprintln!("{}", coverage(&answer));
            Ok(())
        }
        Err(error) => Err(error.context("the regions could not be asked for the total")),
    }
}

async fn rows(
    profile: &Profile,
    region: &Region,
    arguments: &SearchArguments,
    range: &Value,
) -> anyhow::Result<Vec<Row>> {
    if arguments.limit == 0 {
        return Ok(Vec::new());
    }
    let body = json!({
        "stream": arguments.stream, "query": arguments.query, "range": range, "size": arguments.limit,
        "regions": [region],
    });
    let answer = profile.door(region)?.post("/api/v1/search", &body).await?;
    let hits = answer.get("hits").and_then(Value::as_array).context("the region answered with no list of hits")?;
    Ok(hits.iter().map(|hit| row(region, hit)).collect())
}

fn row(region: &Region, hit: &Value) -> Row {
    let source = hit.get("source").or_else(|| hit.get("_source")).unwrap_or(hit).clone();
    let at = ["@timestamp", "timestamp"].iter().find_map(|key| {
        let found = source.get(*key)?;
        found.as_i64().or_else(|| found.as_str()?.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()))
    });
    let sort = hit.get("sort").and_then(|sort| sort.get(0)).and_then(Value::as_i64);
    Row { region: region.clone(), at: at.or(sort).unwrap_or_default(), source }
}

/// The federated question, to the first region of the profile that answers.
async fn total(
    profile: &Profile,
    regions: &[Region],
    arguments: &SearchArguments,
    range: &Value,
) -> anyhow::Result<Value> {
    let body = json!({
        "stream": arguments.stream, "query": arguments.query, "range": range, "size": 0,
        "regions": regions, "on_missing": "partial", "ask": "count",
    });
    let mut last = None;
    for region in profile.regions.keys() {
        match profile.door(region)?.post("/api/v1/search", &body).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => bail!("the profile names no region"),
    }
}

/// One line: the total, and what it holds of each region.
fn coverage(answer: &Value) -> String {
    let total = answer.pointer("/total/value").or_else(|| answer.get("total")).and_then(Value::as_u64);
    let relation = answer.pointer("/total/relation").and_then(Value::as_str);
    let total = match (total, relation) {
        (Some(0), Some("gte")) => "total withheld".to_owned(),
        (Some(total), Some("gte")) => format!("at least {total} in all"),
        (Some(total), _) => format!("{total} in all"),
        (None, _) => "no total".to_owned(),
    };
    let mut parts = vec![total];
    for (region, said) in covered(answer) {
        let status = said.get("status").and_then(Value::as_str).unwrap_or("unknown");
        let millis =
            said.get("took_ms").and_then(Value::as_f64).map_or_else(String::new, |ms| format!(" ({ms:.0} ms)"));
        let why = ["reason", "hint", "explanation"].iter().find_map(|key| said.get(*key)?.as_str());
        let why = why.map_or_else(String::new, |why| format!(": {}", table::harmless(why)));
        parts.push(format!("{region} {status}{millis}{why}"));
    }
    parts.extend(minutes(answer));
    parts.join(" | ")
}

/// Totals are counts of whole minutes: the minute that has just begun is not in them, though its rows are shown.
fn minutes(answer: &Value) -> Option<String> {
    let (_, said) = covered(answer).into_iter().find(|(_, said)| said.get("covered").is_some())?;
    let end = |key: &str| said.pointer(&format!("/covered/{key}")).and_then(Value::as_str);
    match (end("from"), end("to")) {
        (Some(from), Some(to)) => Some(format!("counted from {from} to {to}")),
        (Some(from), None) => Some(format!("counted from {from}")),
        (None, Some(to)) => Some(format!("counted to {to}")),
        (None, None) => None,
    }
}

/// What each region said, whether the answer lists them by name or one after the other.
fn covered(answer: &Value) -> Vec<(String, &Value)> {
    match answer.get("coverage") {
        Some(Value::Object(by_name)) => by_name.iter().map(|(region, said)| (region.clone(), said)).collect(),
        Some(Value::Array(list)) => {
            list.iter().filter_map(|said| Some((said.get("region")?.as_str()?.to_owned(), said))).collect()
        }
        _ => Vec::new(),
    }
}

fn print_table(rows: &[Row]) {
    let colours = table::has_colours();
    let field = |row: &Row, key: &str| match row.source.get(key) {
        Some(Value::String(text)) => table::harmless(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let level = painted(&field(row, "level"), colours);
            vec![iso(row.at), row.region.to_string(), level, field(row, "service"), table::cut(field(row, "message"))]
        })
        .collect();
    table::print(&["time (UTC)", "region", "level", "service", "message"], &cells);
}

fn painted(level: &str, colours: bool) -> String {
    let colour = match level {
        "ERROR" | "FATAL" => "31",
        "WARN" => "33",
        "DEBUG" | "TRACE" => "2",
        _ => return level.to_owned(),
    };
    if colours { format!("\u{1b}[{colour}m{level}\u{1b}[0m") } else { level.to_owned() }
}

fn iso(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("2d", 172_800)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "h", "1", "1w", "-1h", "1.5h", "0s", "99999999999999999999d", "1時"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_coverage_line_names_every_region() {
        let answer = json!({
            "total": {"value": 0, "relation": "gte"},
            "coverage": {
                "tokyo": {"status": "complete", "took_ms": 3},
                "frankfurt": {"status": "unreachable", "reason": "no answer\u{1b}"},
            }
        });
        let line = coverage(&answer);
        assert_eq!(line, "total withheld | tokyo complete (3 ms) | frankfurt unreachable: no answer·");
        let listed = json!({"total": 5, "coverage": [{"region": "tokyo", "status": "complete"}]});
        assert_eq!(coverage(&listed), "5 in all | tokyo complete");
        let covered = json!({"from": "2026-11-21T06:30:00Z", "to": "2026-11-21T07:30:00Z"});
        let shrunk = json!({"total": 0, "coverage": {"tokyo": {"status": "complete", "covered": covered}}});
        let line = "0 in all | tokyo complete | counted from 2026-11-21T06:30:00Z to 2026-11-21T07:30:00Z";
        assert_eq!(coverage(&shrunk), line);
    }

    #[test]
    fn rows_are_dated_by_their_time_stamp() {
        let region: Region = "tokyo".parse().expect("a name");
        let at = |hit: Value| row(&region, &hit).at;
        assert_eq!(at(json!({"source": {"@timestamp": "1970-01-01T00:00:01Z"}})), 1_000);
        assert_eq!(at(json!({"_source": {"timestamp": 7}})), 7);
        assert_eq!(at(json!({"_source": {}, "sort": [9]})), 9);
    }
}
