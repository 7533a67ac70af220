//! People who are written, looked for at several doors and erased through the public one, while what is theirs moves to cold
//! storage, is purged and comes in again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use domicile_tests::cluster::fixture::{DAY_MS, Dice, bulk, utc};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use super::{Stage, ingest};
use crate::door::{self, Door, Request, Sent};

/// Every segment goes to the bucket as soon as it may.
pub const SECTIONS: &[(&str, &str)] = &[("lifecycle", "disk_mark_bytes = 1\nmove_bytes_per_second = 1000000000")];
/// Records of one person in one batch.
const EACH: i64 = 4;
/// Persons who are there before the first fault.
const FIRST: u64 = 12;
/// Most persons one question counts.
const MOST_PEOPLE: u64 = 20_000;
/// Patience of a client.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an order may take until the region says that it is done.
const SHREDDED_WITHIN: Duration = Duration::from_secs(60);
/// How long a region may take to answer the last questions.
const READ_WITHIN: Duration = Duration::from_secs(90);

fn stream(stage: &Stage<'_>) -> String {
    format!("people-{}", stage.run)
}

/// Makes the stream with its subjects in every region, and the first people.
///
/// # Errors
/// When a region refuses.
pub fn prepare(stage: &Stage<'_>) -> Result<()> {
    let stream = stream(stage);
    let made = ["stream", "create", &stream, "--tenant", "default", "--subject", "uid"];
    let regions: Vec<[&str; 2]> = stage.regions.iter().map(|region| ["--region", region.name.as_str()]).collect();
    stage.operator.command(&[&made[..], &regions.concat()].concat())?;
    let mut recorded = stage.recorder.client();
    for region in stage.regions {
        for person in 0..FIRST {
            let taken = wait_until(READ_WITHIN, || {
                write(stage, region, &mut recorded, person, &format!("first-{person}"), 0).then_some(())
            });
            taken.with_context(|| format!("`{}` does not take the first people", region.name))?;
        }
        refresh(region, &stream);
    }
    Ok(())
}

fn name(person: u64) -> String {
    format!("p{person}")
}

/// One batch about one person; whether it was taken.
fn write(
    stage: &Stage<'_>,
    region: &Region,
    recorded: &mut crate::history::Client<'_>,
    person: u64,
    batch: &str,
    turn: i64,
) -> bool {
    let event = |n: i64| {
        let at = DAY_MS + i64::try_from(person).unwrap_or(0) * 1_000 + turn * 100 + n;
        let mut event = json!({"timestamp": utc(at), "level": "INFO", "uid": format!("uid-{person}"),
            "message": format!("visit {n}")});
        stage.plant(&mut event);
        // What can be asked for in clear, so that a record that is shown is known for whose it is.
        event["service"] = name(person).into();
        event
    };
    let body = bulk(&(0..EACH).map(event).collect::<Vec<_>>(), None);
    recorded.invoke(&region.name, "write", json!([region.name, name(person)]), json!(batch));
    match ingest::post(region, &format!("/{}/_bulk", stream(stage)), batch, &body) {
        Sent::Answered(answer) if answer.status == 200 => match ingest::tally(&answer) {
            Some(tally) => {
                recorded.ok(tally);
                return true;
            }
            None => recorded.info("not now"),
        },
        Sent::Refused(why) => recorded.fail(&why),
        Sent::Answered(answer) => recorded.info(&answer.status.to_string()),
        Sent::Lost(why) => recorded.info(&why),
    }
    false
}

fn refresh(region: &Region, stream: &str) -> bool {
    let path = format!("/{stream}/_refresh");
    let request = Request { door: Door::Elastic, role: "ingest", method: "POST", path: &path, headers: &[], body: b"" };
    matches!(door::send(region, &request, PATIENCE), Sent::Answered(answer) if answer.status == 200)
}

/// Writes new people, and erases some, until it is time to end; of those who are erased, more comes in afterwards.
pub fn work(stage: &Stage<'_>, region: &Region, place: usize) {
    let mut recorded = stage.recorder.client();
    let mut dice = Dice::new(stage.seed ^ ((place + 31) as u64) << 32);
    let (mut people, mut turn) = (FIRST, 0);
    let mut erased = Vec::new();
    while stage.is_going() {
        turn += 1;
        match dice.below(4) {
            0 | 1 => {
                let batch = format!("new-{people}");
                // The same bytes under the same name until it is known what became of them.
                while !write(stage, region, &mut recorded, people, &batch, 0) && stage.is_going() {
                    stage.breathe(Duration::from_millis(50));
                }
                people += 1;
            }
            2 => {
                let person = dice.below(people);
                if !erased.contains(&person) {
                    erase(stage, region, &mut recorded, person);
                    erased.push(person);
                }
            }
            _ => {
                let Some(person) = erased.get(usize::try_from(dice.below(64)).unwrap_or(0)).copied() else { continue };
                write(stage, region, &mut recorded, person, &format!("late-{person}-{turn}"), turn);
            }
        }
        stage.breathe(Duration::from_millis(20 + dice.below(40)));
    }
}

/// Orders it, and waits until the region says that it is done.
fn erase(stage: &Stage<'_>, region: &Region, recorded: &mut crate::history::Client<'_>, person: u64) {
    let key = json!([region.name, name(person)]);
    recorded.invoke(&region.name, "erase", key, Value::Null);
    let body = json!({"subject": format!("uid-{person}")});
    let ordered = door::json(region, Door::Native, "admin", "/api/v1/subjects/erase", &body, PATIENCE);
    let Some((200, order)) = ordered else {
        recorded.info(&ordered.map_or_else(|| "no answer".to_owned(), |(status, _)| status.to_string()));
        return;
    };
    let is_done = |order: &Value| matches!(order["state"].as_str(), Some("shredded" | "gone"));
    let path = format!("/api/v1/subjects/status?id={}", order["id"].as_str().unwrap_or_default());
    let done = wait_until(SHREDDED_WITHIN, || {
        let stands = || door::json(region, Door::Native, "admin", &path, &Value::Null, PATIENCE);
        let is_over = !stage.is_going();
        (is_done(&order) || is_over || stands().is_some_and(|(_, order)| is_done(&order))).then_some(is_over)
    });
    match done {
        Some(false) => recorded.ok(json!("erased")),
        _ => recorded.info("not yet"),
    }
}

/// Looks for everybody until it is time to end, at one door after the other.
pub fn look(stage: &Stage<'_>, region: &Region, place: usize) {
    let mut recorded = stage.recorder.client();
    let mut dice = Dice::new(stage.seed ^ ((place + 61) as u64) << 32);
    let stream = stream(stage);
    while stage.is_going() {
        let door = DOORS[usize::try_from(dice.below(DOORS.len() as u64)).unwrap_or(0)];
        recorded.invoke(&region.name, "look", json!([region.name, door]), Value::Null);
        match shown(region, &stream, door) {
            Some(shown) => recorded.ok(json!(shown)),
            None => recorded.info("no answer"),
        }
        stage.breathe(Duration::from_millis(40 + dice.below(60)));
    }
}

/// Ways to see who is there.
const DOORS: [&str; 3] = ["groups", "rows", "native"];

/// Records of each person, as a door shows them; none where it does not answer, or says that it does not know all.
fn shown(region: &Region, stream: &str, door: &str) -> Option<BTreeMap<String, u64>> {
    let path = format!("/{stream}/_search");
    let ask = |body: &Value| {
        let (status, answer) = door::json(region, Door::Elastic, "search", &path, body, PATIENCE)?;
        (status == 200 && answer["_shards"]["failed"] == 0 && answer["timed_out"] == false).then_some(answer)
    };
    let mut people = BTreeMap::new();
    match door {
        "groups" => {
            let aggs = json!({"people": {"terms": {"field": "service", "size": MOST_PEOPLE}}});
            let answer = ask(&json!({"size": 0, "aggs": aggs}))?;
            for bucket in answer["aggregations"]["people"]["buckets"].as_array()? {
                people.insert(bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?);
            }
        }
        "rows" => {
            let mut after = Value::Null;
            loop {
                let mut body = json!({"size": 1_000, "sort": [{"timestamp": "asc"}], "query": {"match_all": {}}});
                if !after.is_null() {
                    body["search_after"] = after;
                }
                let answer = ask(&body)?;
                let rows = answer["hits"]["hits"].as_array()?;
                for row in rows {
                    *people.entry(row["_source"]["service"].as_str()?.to_owned()).or_default() += 1;
                }
                let Some(last) = rows.last() else { break };
                after = last["sort"].clone();
            }
        }
        _ => {
            // By hand, the first few, of whom some are erased.
            for person in 0..FIRST {
                let query = json!({"query": {"term": {"service": name(person)}}});
                let path = format!("/{stream}/_count");
                let (status, answer) = door::json(region, Door::Elastic, "search", &path, &query, PATIENCE)?;
                let is_whole = status == 200 && answer["_shards"]["failed"] == 0;
                people.insert(name(person), is_whole.then(|| answer["count"].as_u64()).flatten()?);
            }
        }
    }
    Some(people)
}

/// Purges what waits and lets segments go to the bucket, again and again.
pub fn cool(stage: &Stage<'_>, region: &Region) {
    let mut recorded = stage.recorder.client();
    while stage.is_going() {
        for (f, path) in [("purge", "/api/v1/subjects/purge"), ("cool", "/api/v1/lifecycle/run")] {
            recorded.invoke(&region.name, f, json!(region.name), Value::Null);
            match door::json(region, Door::Native, "admin", path, &json!({}), PATIENCE) {
                Some((200, told)) if told["moved"].as_u64() == Some(0) => recorded.fail("nothing to move"),
                Some((200, told)) => recorded.ok(told),
                Some((status, _)) => recorded.info(&status.to_string()),
                None => recorded.info("no answer"),
            }
        }
        stage.breathe(Duration::from_millis(700));
    }
}

/// Counts everybody in every region, as often as it takes to be answered.
///
/// # Errors
/// When a region does not answer in time.
pub fn read(stage: &Stage<'_>) -> Result<()> {
    let mut recorded = stage.recorder.client();
    let stream = stream(stage);
    for region in stage.regions {
        for door in ["groups", "rows"] {
            let found = wait_until(READ_WITHIN, || {
                if !refresh(region, &stream) {
                    return None;
                }
                recorded.invoke(&region.name, "census", json!([region.name, door]), Value::Null);
                let found = shown(region, &stream, door);
                match &found {
                    Some(found) => recorded.ok(json!(found)),
                    None => recorded.info("no answer"),
                }
                found
            });
            found.with_context(|| format!("`{}` does not say who is there", region.name))?;
        }
    }
    Ok(())
}
