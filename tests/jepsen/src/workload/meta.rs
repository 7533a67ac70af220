//! Tenants by name and epochs of shards, decided by the metadata group at every region's door.

use std::time::Duration;

use anyhow::{Context, Result};
use domicile_tests::cluster::fixture::Dice;
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use super::Stage;
use crate::door::{self, Door, Request, Sent};

/// Clients of one region.
pub const CLIENTS: usize = 3;
/// Patience of a client: longer than the product's own, so that the product's answer is heard.
const PATIENCE: Duration = Duration::from_secs(20);
/// Operations on one stream before the next one is taken: the judge's work grows with the length.
const ON_ONE: u64 = 120;
/// How long the group may take to decide when all is well.
const DECIDE_WITHIN: Duration = Duration::from_secs(60);
/// Streams of a run, more than will be used.
const STREAMS: u64 = 200;
/// Streams that are asked for at once: one is decided after the other, and regions may be far apart.
const AT_ONCE: usize = 20;

enum Decided {
    Applied(Value),
    Refused(String),
    Unknown(String),
}

fn decide(region: &Region, command: &Value) -> Decided {
    let body = json!({"commands": [command]}).to_string().into_bytes();
    let path = "/api/v1/admin/commands";
    let request = Request { door: Door::Native, role: "admin", method: "POST", path, headers: &[], body: &body };
    match door::send(region, &request, PATIENCE) {
        Sent::Answered(answer) if answer.status == 200 => {
            let told: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            Decided::Applied(told["applied"][0].clone())
        }
        // 503: not decided, as far as the node knows.
        Sent::Answered(answer) => Decided::Unknown(answer.status.to_string()),
        Sent::Refused(why) => Decided::Refused(why),
        Sent::Lost(why) => Decided::Unknown(why),
    }
}

/// Makes the streams whose epochs are fought for. They hold no records.
///
/// # Errors
/// When the group does not decide.
pub fn prepare(stage: &Stage<'_>) -> Result<()> {
    let region = &stage.regions[0];
    let names: Vec<Value> = (0..STREAMS)
        .map(|number| json!({"CreateStream": {"tenant": 1, "stream": format!("epochs-{}-{number}", stage.run)}}))
        .collect();
    let mut ids: Vec<u64> = Vec::new();
    for names in names.chunks(AT_ONCE) {
        let body = json!({"commands": names});
        let decided = wait_until(DECIDE_WITHIN, || {
            let answer = door::json(region, Door::Native, "admin", "/api/v1/admin/commands", &body, PATIENCE);
            answer.filter(|(status, _)| *status == 200)
        });
        let (_, told) = decided.context("the metadata group does not decide")?;
        let told = told["applied"].as_array().into_iter().flatten();
        ids.extend(told.filter_map(|one| one["Stream"].as_u64()));
    }
    anyhow::ensure!(ids.len() as u64 == STREAMS, "streams were refused: there are {}", ids.len());
    // Their ids follow each other, for nobody else makes any; clients find them by the first.
    let rising = ids.windows(2).all(|pair| pair[1] == pair[0] + 1);
    anyhow::ensure!(rising, "ids do not follow each other: {ids:?}");
    stage.recorder.nemesis("streams", json!("first"), json!(ids[0]));
    Ok(())
}

/// The id of the first stream of this run.
fn first_stream(stage: &Stage<'_>) -> u64 {
    let events = stage.recorder.events().unwrap_or_default();
    events.iter().rev().find(|event| event.f == "streams").and_then(|event| event.value.as_u64()).unwrap_or_default()
}

/// Decides until it is time to end.
pub fn work(stage: &Stage<'_>, region: &Region, place: usize, client: usize) {
    let mut recorded = stage.recorder.client();
    let mut dice = Dice::new(stage.seed ^ ((place * CLIENTS + client + 77) as u64) << 32);
    let (first, region_name) = (first_stream(stage), region.name.as_str());
    let (mut stream, mut guess, mut tried) = (0, 0, 0);
    while stage.is_going() {
        if dice.below(4) == 0 {
            // Few names at a time, so that several clients ask for the same one.
            let name = format!("t-{}-{}", stage.run, stage.recorder.now() / 200_000_000);
            recorded.invoke(region_name, "create", json!(name), Value::Null);
            match decide(region, &json!({"CreateTenant": {"tenant": name}})) {
                Decided::Applied(told) if told["Tenant"].is_u64() => recorded.ok(json!({"id": told["Tenant"]})),
                Decided::Applied(told) => recorded.fail(&told.to_string()),
                Decided::Refused(why) => recorded.fail(&why),
                Decided::Unknown(why) => recorded.info(&why),
            }
            stage.breathe(Duration::from_millis(dice.below(10)));
            continue;
        }
        let assign = stage.tokyo.assign(first + stream, 1, guess);
        recorded.invoke(region_name, "assign", json!(format!("{}-{stream}", stage.run)), json!({"seen": guess}));
        match decide(region, &assign) {
            Decided::Applied(told) if told["Shard"].is_array() => {
                recorded.ok(json!({"epoch": told["Shard"][1]}));
                guess = told["Shard"][1].as_u64().unwrap_or_default();
            }
            Decided::Applied(told) if told["Refused"] == "StaleEpoch" => {
                recorded.ok(json!({"epoch": null}));
                guess += 1 + dice.below(3);
            }
            Decided::Applied(told) => recorded.fail(&told.to_string()),
            Decided::Refused(why) => recorded.fail(&why),
            Decided::Unknown(why) => recorded.info(&why),
        }
        tried += 1;
        if dice.below(20) == 0 {
            guess = guess.saturating_sub(1 + dice.below(2));
        }
        if tried % ON_ONE == 0 && stream + 1 < STREAMS {
            (stream, guess) = (stream + 1, 0);
        }
        stage.breathe(Duration::from_millis(dice.below(10)));
    }
}

/// Every region's own copy must come to hold every name that was made, and the epoch of no stream may have gone back.
///
/// # Errors
/// When a region does not catch up.
pub fn read(stage: &Stage<'_>) -> Result<()> {
    let made: Vec<String> = crate::history::operations(&stage.recorder.events()?)
        .into_iter()
        .filter(|one| one.f == "create" && one.kind == crate::history::Kind::Ok)
        .filter_map(|one| one.key.as_str().map(str::to_owned))
        .collect();
    for region in stage.regions {
        let found = wait_until(DECIDE_WITHIN, || {
            let listed = door::json(region, Door::Native, "admin", "/api/v1/admin/tenants", &Value::Null, PATIENCE)?;
            let names: std::collections::BTreeSet<&str> =
                listed.1["tenants"].as_array()?.iter().filter_map(|row| row["name"].as_str()).collect();
            made.iter().all(|name| names.contains(name.as_str())).then_some(())
        });
        found.with_context(|| format!("`{}` does not come to know every tenant that was made", region.name))?;
    }
    Ok(())
}
