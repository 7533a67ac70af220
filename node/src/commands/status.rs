//! What is going on, as each region's own node sees it.

use futures::future::join_all;
use serde_json::{Value, json};

use super::arguments::StatusArguments;
use super::profile::Profile;
use super::table;

pub(super) async fn run(arguments: &StatusArguments, profile: &Profile) -> anyhow::Result<()> {
    let asked = profile.regions.keys().map(|region| async move {
        let answer = match profile.door(region) {
            Ok(door) => door.read("/api/v1/status").await,
            Err(error) => Err(error),
        };
        (region, answer)
    });
    let answers = join_all(asked).await;
    if arguments.json {
        for (region, answer) in &answers {
            match answer {
                Ok(status) => println!("{}", json!({ "region": region, "status": status })),
                Err(error) => println!("{}", json!({ "region": region, "error": super::chain(error) })),
            }
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|(region, answer)| match answer {
            Ok(status) => row(region.as_str(), status),
            Err(_) => vec![region.to_string(), "see below".to_owned()],
        })
        .collect();
    table::print(&["region", "state", "node", "leader", "shards", "segments", "round trips", "notes"], &rows);
    for (region, answer) in &answers {
        if let Err(error) = answer {
            eprintln!("{region}: {}", super::chain(error));
        }
    }
    Ok(())
}

fn row(region: &str, status: &Value) -> Vec<String> {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => table::harmless(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let round_trips = status.get("round_trips_ms").and_then(Value::as_object).map_or_else(String::new, |peers| {
        peers.iter().map(|(peer, millis)| format!("{peer} {millis} ms")).collect::<Vec<_>>().join(", ")
    });
    let notes = status.get("notes").and_then(Value::as_array).map_or_else(String::new, |notes| {
        notes.iter().filter_map(Value::as_str).map(table::harmless).collect::<Vec<_>>().join("; ")
    });
    vec![
        region.to_owned(),
        text("/state"),
        text("/node"),
        text("/meta/leader"),
        text("/shards"),
        text("/segments"),
        round_trips,
        notes,
    ]
}
