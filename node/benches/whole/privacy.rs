//! What the privacy core costs: the same lines by the same path, once with all detectors at their defaults and once in a stream
//! whose policy keeps every class, so that nothing is looked for, replaced or sealed. Each load has fresh regions; the order of
//! the two changes with every round, so that neither always comes first.

use anyhow::Result;
use domicile_proto::privacy::PersonalClass;
use serde_json::json;

use super::process::{Dev, REGIONS, client};
use super::{Cost, STREAM, ingest};

/// Loads the lines twice per round and prints the ratio of the sums.
pub(crate) async fn compare(lines: &[u8], rounds: u64, refresh_ms: u64) -> Result<()> {
    let all = PersonalClass::ALL.map(PersonalClass::as_str);
    let (mut guarded, mut kept) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for is_guarded in [round % 2 == 0, round % 2 == 1] {
            let dev = Dev::start(false)?;
            dev.create_stream(STREAM, refresh_ms, if is_guarded { &[] } else { &all })?;
            println!(
                "{}",
                json!({"figure": "load", "round": round, "detectors": if is_guarded { "all" } else { "none" }})
            );
            let cost = ingest(&dev, &client()?, REGIONS[0], lines, refresh_ms).await?;
            if is_guarded { guarded.push(cost) } else { kept.push(cost) }
        }
    }
    let sum = |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).sum::<f64>();
    let lost = |of: fn(&Cost) -> f64| 1.0 - sum(&kept, of) / sum(&guarded, of);
    println!(
        "{}",
        json!({
            "figure": "privacy", "rounds": rounds,
            "lost_to_searchable_by_wall": lost(|cost| cost.searchable_s),
            "lost_to_searchable_by_cpu": lost(|cost| cost.cpu_searchable_s),
            "lost_to_settled_by_cpu": lost(|cost| cost.cpu_settled_s),
        })
    );
    Ok(())
}
