//! Batches and questions through any of three nodes of one region, which share its store: streams of durability `bucket`, whose
//! shards move from one node to another. And questions from abroad about what was planted there.

use std::time::Duration;

use anyhow::{Context, Result};
use domicile_tests::cluster::fixture::{Dice, bulk, events};
use domicile_tests::cluster::region::Region;
use domicile_tests::cluster::wait_until;
use serde_json::{Value, json};

use super::Stage;
use super::ingest::{self, DOCUMENTS};
use crate::checker::availability::ELSEWHERE;
use crate::door::{self, Door, Request, Sent};
use crate::history::Client;

/// What a node says of a batch that it could not bring to the node which has the stream.
const NOT_BROUGHT: [&str; 2] = [ELSEWHERE, "DMC-OWNERSHIP-11"];
/// Clients that write.
pub const WRITERS: usize = 6;
/// Streams that are written.
const STREAMS: usize = 3;
/// Patience of a client.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stream may be without an owner: a lease, and what a slow machine needs.
const TAKEN_WITHIN: Duration = Duration::from_secs(90);
/// Planted records, over three closed minutes.
const PLANTED: u64 = 600;

fn stream(stage: &Stage<'_>, number: usize) -> String {
    format!("shared-{}-{number}", stage.run)
}

fn known(stage: &Stage<'_>) -> String {
    format!("known-{}", stage.run)
}

/// Makes the streams, plants what is known, and lets nodes beside the first one write.
///
/// # Errors
/// When a node refuses.
pub fn prepare(stage: &Stage<'_>) -> Result<()> {
    let make = |name: &str| {
        let made = ["stream", "create", name, "--no-personal-data", "--durability", "bucket", "--region", "tokyo"];
        stage.operator.command(&made).map(drop)
    };
    (0..STREAMS).try_for_each(|number| make(&stream(stage, number)))?;
    make(&known(stage))?;
    // Two nodes begin; the third has everything to win. One that will be lost has something to lose.
    for number in 0..STREAMS {
        let (first, _) = events(60, 1, 1);
        let node = if stage.loses_first { number % stage.sharing.len() } else { 1 + number % 2 };
        plant(stage, &stage.sharing[node], &stream(stage, number), "first", &bulk(&first, None))?;
    }
    let mut recorded = stage.recorder.client();
    let (mut drawn, counts) = events(stage.seed, PLANTED, 3);
    drawn.iter_mut().for_each(|event| stage.plant(event));
    plant(stage, &stage.sharing[1], &known(stage), "planted", &bulk(&drawn, Some("planted")))?;
    recorded.invoke("tokyo", "planted", json!("tokyo"), Value::Null);
    recorded.ok(json!(counts.total));
    let whole = |answer: Option<Value>| answer.filter(|answer| answer["total"] == PLANTED);
    let asker = &stage.regions[2];
    wait_until(TAKEN_WITHIN, || whole(ask_abroad(asker, &known(stage)).ok())).context("no whole answer abroad")?;
    wait_until(TAKEN_WITHIN, || whole(ask_here(&stage.sharing[1], &known(stage)).ok())).context("no whole answer")?;
    Ok(())
}

fn plant(stage: &Stage<'_>, node: &Region, stream: &str, batch: &str, body: &[u8]) -> Result<()> {
    let path = format!("/{stream}/_bulk");
    let taken = wait_until(TAKEN_WITHIN, || match ingest::post(node, &path, batch, body) {
        Sent::Answered(answer) if answer.status == 200 && ingest::tally(&answer).is_some() => Some(()),
        _ => None,
    });
    taken.with_context(|| format!("`{}` does not take a first batch of {}", node.name, stage.run))?;
    let path = format!("/{stream}/_refresh");
    let request = Request { door: Door::Elastic, role: "ingest", method: "POST", path: &path, headers: &[], body: b"" };
    let shown = wait_until(TAKEN_WITHIN, || match door::send(node, &request, PATIENCE) {
        Sent::Answered(answer) if answer.status == 200 => Some(()),
        _ => None,
    });
    shown.with_context(|| format!("`{}` does not show what it took", node.name))
}

/// Writes until it is time to end: each batch under its id, at one node after the other, until one of them gives a definite
/// answer. Begins where the last one was taken, and now and then elsewhere, so that nobody is spared and batches are brought
/// from node to node.
pub fn write(stage: &Stage<'_>, client: usize) {
    let mut recorded = stage.recorder.client();
    let mut dice = Dice::new(stage.seed ^ ((client + 1) as u64) << 32);
    let stream = stream(stage, client % STREAMS);
    let (path, key) = (format!("/{stream}/_bulk"), json!(["tokyo", stream]));
    let (mut number, mut at) = (0, 1 + client % STREAMS % 2);
    while stage.is_going() {
        let batch = format!("b{client}-{number}");
        number += 1;
        let body = ingest::draw(stage, &mut dice, &batch);
        let mut turn = if dice.below(3) == 0 { draw(&mut dice, stage) } else { at };
        for attempt in 0_u64.. {
            let node = &stage.sharing[turn];
            let input = json!({"batch": batch, "documents": DOCUMENTS});
            recorded.invoke(&node.name, "ingest", key.clone(), input);
            let is_taken = note(&mut recorded, &ingest::post(node, &path, &batch, &body));
            if is_taken {
                at = turn;
            }
            if is_taken || !stage.is_going() {
                break;
            }
            turn = draw(&mut dice, stage);
            stage.breathe(Duration::from_millis(10 + dice.below(30) + 10 * attempt.min(10)));
        }
        stage.breathe(Duration::from_millis(5 + dice.below(10)));
    }
}

/// Writes down what came of a batch; whether it is over with it.
fn note(recorded: &mut Client<'_>, sent: &Sent) -> bool {
    match sent {
        Sent::Answered(answer) if answer.status == 200 => match told(&answer.body) {
            Some(told) => {
                recorded.ok(told);
                return true;
            }
            None => recorded.info("not now"),
        },
        // Another node has the stream, and nothing of the batch was brought there. Where nobody knows, it says so by another code.
        Sent::Answered(answer) if NOT_BROUGHT.iter().any(|code| answer.text().contains(code)) => {
            recorded.fail(ELSEWHERE);
        }
        Sent::Answered(answer) => recorded.info(&answer.status.to_string()),
        Sent::Refused(why) => recorded.fail(why),
        Sent::Lost(why) => recorded.info(why),
    }
    false
}

fn draw(dice: &mut Dice, stage: &Stage<'_>) -> usize {
    usize::try_from(dice.below(stage.sharing.len() as u64)).unwrap_or(0)
}

/// How many documents were taken and refused, and the first and last place that they were given; none where any of them may be
/// tried again.
fn told(body: &[u8]) -> Option<Value> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let items: Vec<&Value> = answer["items"].as_array()?.iter().map(|item| &item["create"]).collect();
    let status = |item: &&Value| item["status"].as_u64().unwrap_or_default();
    if items.iter().any(|item| status(item) >= 500 || status(item) == 429) {
        return None;
    }
    let places: Vec<u64> = items.iter().filter_map(|item| item["_seq_no"].as_u64()).collect();
    let refused = items.len() - places.len();
    Some(json!({"accepted": places.len(), "refused": refused, "places": [places.iter().min(), places.iter().max()]}))
}

/// Asks until it is time to end: each node of the region about what is known, and another region.
pub fn ask(stage: &Stage<'_>, client: usize) {
    let mut recorded = stage.recorder.client();
    let stream = known(stage);
    let here = stage.sharing.get(client);
    let node = here.unwrap_or(&stage.regions[2]);
    while stage.is_going() {
        recorded.invoke(&node.name, "ask", json!(node.name), json!(["tokyo"]));
        match if here.is_some() { ask_here(node, &stream) } else { ask_abroad(node, &stream) } {
            Ok(answer) => recorded.ok(answer),
            Err(why) if why == ELSEWHERE => recorded.fail(&why),
            Err(why) => recorded.info(&why),
        }
        stage.breathe(Duration::from_millis(50));
    }
}

fn over() -> Value {
    // A time that is over: its cells are closed, so that a region can tell abroad all it has.
    let over = json!({"gte": "2026-11-20T00:00:00Z", "lt": "2026-11-20T00:03:00Z"});
    json!({"size": 0, "track_total_hits": true, "query": {"range": {"timestamp": over}}})
}

fn answered(node: &Region, path: &str) -> Result<Value, String> {
    let (status, answer) =
        door::json(node, Door::Elastic, "search", path, &over(), PATIENCE).ok_or_else(|| "no answer".to_owned())?;
    match status {
        200 => Ok(answer),
        _ if answer.to_string().contains(ELSEWHERE) => Err(ELSEWHERE.to_owned()),
        _ => Err(status.to_string()),
    }
}

fn ask_here(node: &Region, stream: &str) -> Result<Value, String> {
    let answer = answered(node, &format!("/{stream}/_search"))?;
    let is_whole = answer["_shards"]["failed"] == 0 && answer["timed_out"] == false;
    let coverage = if is_whole { "complete" } else { "partial" };
    Ok(json!({"total": answer["hits"]["total"]["value"], "regions": {"tokyo": coverage}}))
}

fn ask_abroad(node: &Region, stream: &str) -> Result<Value, String> {
    let answer = answered(node, &format!("/tokyo:{stream}/_search"))?;
    let coverage = &answer["_clusters"]["details"]["tokyo"]["residency"]["coverage"];
    Ok(json!({"total": answer["hits"]["total"]["value"], "regions": {"tokyo": coverage}}))
}

/// Reads every record of every stream at whichever node has it, as often as it takes to be answered.
///
/// # Errors
/// When no node answers in time.
pub fn read(stage: &Stage<'_>) -> Result<()> {
    let mut recorded = stage.recorder.client();
    for number in 0..STREAMS {
        let stream = stream(stage, number);
        let mut turn = 0;
        let found = wait_until(TAKEN_WITHIN, || {
            let node = &stage.sharing[turn % stage.sharing.len()];
            turn += 1;
            recorded.invoke(&node.name, "read", json!(["tokyo", stream]), Value::Null);
            let found = ingest::batches(node, &stream);
            match &found {
                Some(found) => recorded.ok(json!(found)),
                None => recorded.info("no answer"),
            }
            found
        });
        found.with_context(|| format!("no node says what `{stream}` holds"))?;
    }
    Ok(())
}
