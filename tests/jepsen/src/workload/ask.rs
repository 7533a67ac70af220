//! Questions to the world about records that are known: planted in closed cells, each large enough to leave its region.

use std::time::Duration;

use anyhow::{Context, Result};
use domicile_tests::cluster::REGIONS;
use domicile_tests::cluster::fixture::{bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Map, Value, json};

use super::Stage;
use crate::door::{self, Door, Request, Sent};

/// Patience of a client.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the regions may take until the first whole answer.
const WHOLE_WITHIN: Duration = Duration::from_secs(90);
/// Records of each region, over three minutes: every minute is far above the threshold.
const PLANTED: [u64; 3] = [600, 660, 720];

fn stream(stage: &Stage<'_>) -> String {
    format!("known-{}", stage.run)
}

/// Plants records in every region and waits until the world is whole.
///
/// # Errors
/// When it does not become whole.
pub fn plant(stage: &Stage<'_>) -> Result<()> {
    let stream = stream(stage);
    let mut recorded = stage.recorder.client();
    for ((region, number), seed) in stage.regions.iter().zip(PLANTED).zip(stage.seed..) {
        let (mut drawn, counts) = events(seed, number, 3);
        drawn.iter_mut().for_each(|event| stage.plant(event));
        let body = bulk(&drawn, Some("planted"));
        let headers = [("Content-Type", "application/x-ndjson"), ("X-Domicile-Batch", "planted")];
        for (path, body) in [(format!("/{stream}/_bulk"), body.as_slice()), (format!("/{stream}/_refresh"), b"")] {
            let request =
                Request { door: Door::Elastic, role: "ingest", method: "POST", path: &path, headers: &headers, body };
            let taken = wait_until(WHOLE_WITHIN, || match door::send(region, &request, PATIENCE) {
                Sent::Answered(answer) if answer.status == 200 => Some(()),
                _ => None,
            });
            taken.with_context(|| format!("`{}` does not take what is planted", region.name))?;
        }
        recorded.invoke(&region.name, "planted", json!(region.name), Value::Null);
        recorded.ok(json!(counts.total));
    }
    let all: u64 = PLANTED.iter().sum();
    for region in stage.regions {
        let whole = wait_until(WHOLE_WITHIN, || ask(region, &stream).ok().filter(|answer| answer["total"] == all));
        whole.with_context(|| format!("no whole answer in `{}`", region.name))?;
    }
    Ok(())
}

/// Asks until it is time to end.
pub fn work(stage: &Stage<'_>, region: &Region) {
    let mut recorded = stage.recorder.client();
    let stream = stream(stage);
    while stage.is_going() {
        recorded.invoke(&region.name, "ask", json!(region.name), json!(REGIONS));
        match ask(region, &stream) {
            Ok(answer) => recorded.ok(answer),
            Err(why) => recorded.info(&why),
        }
        stage.breathe(Duration::from_millis(20));
    }
}

fn ask(region: &Region, stream: &str) -> Result<Value, String> {
    let names: Vec<String> = REGIONS.iter().map(|name| format!("{name}:{stream}")).collect();
    // A time that is over: its cells are closed, so a region can tell all it has.
    let over = json!({"gte": "2026-11-20T00:00:00Z", "lt": "2026-11-20T00:03:00Z"});
    let body = json!({"size": 0, "track_total_hits": true, "query": {"range": {"timestamp": over}}});
    let path = format!("/{}/_search", names.join(","));
    let answered = door::json(region, Door::Elastic, "search", &path, &body, PATIENCE);
    let (status, answer) = answered.ok_or("no answer")?;
    if status != 200 {
        return Err(status.to_string());
    }
    let coverage: Map<String, Value> = answer["_clusters"]["details"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, detail)| (name.clone(), detail["residency"]["coverage"].clone()))
        .collect();
    Ok(json!({"total": answer["hits"]["total"]["value"], "regions": coverage}))
}
