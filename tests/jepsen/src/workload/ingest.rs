//! Batches under ids to every region's `_bulk`, repeated with the same bytes until the answer is definite. Some carry a document
//! that cannot be taken, which the answer must name.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use domicile_tests::cluster::fixture::{Dice, bulk, events};
use domicile_tests::cluster::http::Response;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use super::Stage;
use crate::door::{self, Door, Request, Sent};

/// Clients of one region.
pub const CLIENTS: usize = 2;
/// Documents of one batch.
pub const DOCUMENTS: u64 = 20;
/// Patience of a client.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the regions may take to answer the last question.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Most batches one question counts.
const MOST_BATCHES: u64 = 60_000;

/// The stream of a run.
fn stream(stage: &Stage<'_>) -> String {
    format!("set-{}", stage.run)
}

/// Makes the stream in every region, so that no client waits for the metadata group.
///
/// # Errors
/// When a region refuses.
pub fn prepare(stage: &Stage<'_>) -> Result<()> {
    let (first, _) = events(60, 1, 1);
    for region in stage.regions {
        let path = format!("/{}/_bulk", stream(stage));
        let body = bulk(&first, None);
        wait_until(READ_WITHIN, || match post(region, &path, "first", &body) {
            Sent::Answered(answer) if answer.status == 200 => Some(()),
            _ => None,
        })
        .with_context(|| format!("`{}` does not take a first batch", region.name))?;
    }
    Ok(())
}

/// Sends one batch under its id.
pub fn post(region: &Region, path: &str, batch: &str, body: &[u8]) -> Sent {
    let headers = [("Content-Type", "application/x-ndjson"), ("X-Domicile-Batch", batch)];
    let request = Request { door: Door::Elastic, role: "ingest", method: "POST", path, headers: &headers, body };
    door::send(region, &request, PATIENCE)
}

/// A batch of random documents that carry its name and the canary.
pub fn draw(stage: &Stage<'_>, dice: &mut Dice, batch: &str) -> Vec<u8> {
    let (mut drawn, _) = events(dice.below(1_000), DOCUMENTS, 1);
    drawn.iter_mut().for_each(|event| {
        event["service"] = Value::from(batch);
        stage.plant(event);
    });
    bulk(&drawn, None)
}

/// Sends until it is time to end.
pub fn work(stage: &Stage<'_>, region: &Region, place: usize, client: usize) {
    let mut recorded = stage.recorder.client();
    let mut dice = Dice::new(stage.seed ^ ((place * CLIENTS + client + 1) as u64) << 32);
    let path = format!("/{}/_bulk", stream(stage));
    let key = json!([region.name, stream(stage)]);
    let mut number = 0;
    while stage.is_going() {
        let batch = format!("b{client}-{number}");
        number += 1;
        let mut body = draw(stage, &mut dice, &batch);
        let spoiled = u64::from(dice.below(10) == 0);
        if spoiled == 1 {
            body.extend_from_slice(b"{\"create\":{}}\n{\"message\": cut short\n");
        }
        let input = json!({"batch": batch, "documents": DOCUMENTS + spoiled});
        for attempt in 0_u64.. {
            recorded.invoke(&region.name, "ingest", key.clone(), input.clone());
            let is_done = match post(region, &path, &batch, &body) {
                Sent::Answered(answer) if answer.status == 200 => match tally(&answer) {
                    Some(tally) => {
                        recorded.ok(tally);
                        true
                    }
                    None => {
                        recorded.info("not now");
                        false
                    }
                },
                // Refused as a whole: the product says that nothing of it was taken, now or later.
                Sent::Answered(answer) if answer.status == 429 => {
                    recorded.fail("429");
                    false
                }
                Sent::Answered(answer) => {
                    recorded.info(&answer.status.to_string());
                    false
                }
                Sent::Refused(why) => {
                    recorded.fail(&why);
                    false
                }
                Sent::Lost(why) => {
                    recorded.info(&why);
                    false
                }
            };
            if is_done || !stage.is_going() {
                break;
            }
            stage.breathe(Duration::from_millis(20 + dice.below(30) + 20 * attempt.min(5)));
        }
        stage.breathe(Duration::from_millis(5 + dice.below(10)));
    }
}

/// How many documents were taken and how many refused for good; none where any of them may be tried again.
pub(super) fn tally(answer: &Response) -> Option<Value> {
    let items: Value = serde_json::from_slice(&answer.body).ok()?;
    let status = |item: &Value| item["create"]["status"].as_u64();
    let statuses: Vec<u64> = items["items"].as_array()?.iter().filter_map(status).collect();
    let is_definite = statuses.iter().all(|status| *status < 500 && *status != 429);
    let accepted = statuses.iter().filter(|status| (200..300).contains(*status)).count();
    is_definite.then(|| json!({"accepted": accepted, "refused": statuses.len() - accepted}))
}

/// Reads every record of every region, as often as it takes to be answered.
///
/// # Errors
/// When a region does not answer in time.
pub fn read(stage: &Stage<'_>) -> Result<()> {
    let mut recorded = stage.recorder.client();
    for region in stage.regions {
        let key = json!([region.name, stream(stage)]);
        let found = wait_until(READ_WITHIN, || {
            recorded.invoke(&region.name, "read", key.clone(), Value::Null);
            let found = batches(region, &stream(stage));
            match &found {
                Some(found) => recorded.ok(json!(found)),
                None => recorded.info("no answer"),
            }
            found
        });
        found.with_context(|| format!("`{}` does not say what it holds", region.name))?;
    }
    Ok(())
}

/// Records of each batch that the region finds, after it was told to make everything searchable.
pub fn batches(region: &Region, stream: &str) -> Option<BTreeMap<String, u64>> {
    let within = Duration::from_secs(20);
    let path = format!("/{stream}/_refresh");
    let request = Request { door: Door::Elastic, role: "ingest", method: "POST", path: &path, headers: &[], body: b"" };
    let Sent::Answered(refreshed) = door::send(region, &request, within) else { return None };
    if refreshed.status != 200 {
        return None;
    }
    let body = json!({"size": 0, "aggs": {"batches": {"terms": {"field": "service", "size": MOST_BATCHES}}}});
    let path = format!("/{stream}/_search");
    let (status, answer) = door::json(region, Door::Elastic, "search", &path, &body, within)?;
    let is_whole = answer["_shards"]["failed"] == 0 && answer["timed_out"] == false;
    if status != 200 || !is_whole {
        return None;
    }
    let buckets = answer["aggregations"]["batches"]["buckets"].as_array()?;
    let count = |bucket: &Value| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?));
    Some(buckets.iter().filter_map(count).filter(|(batch, _)| batch.starts_with('b')).collect())
}
